"""Retrain: a challenger on the newest window, evaluated against the champion, which only something better replaces.

The registered version decides whether the work is done: it carries the key of everything that determined it. A run that
was killed before it registered one is done again, from its last checkpoint; one that was killed after is finished.
"""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines.data import find_source
from pipelines.data.validation import require_publishing
from pipelines.data.window_rows import WindowRows
from pipelines.flows import tasks
from pipelines.flows.prefect_run import this_run
from pipelines.flows.publication import ended, resume_publication
from pipelines.flows.retraining_steps import KIND, Champion, Retraining, fetch_champion, forget_checkpoints
from pipelines.operations.stale import close_stale_runs
from pipelines.progress import Stages, tell
from pipelines.retraining.retrain_result import SKIPPED, RetrainResult
from pipelines.second_process import SecondProcess
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.finished import Work
from pipelines.store.names import CONFIG_TAG, KIND_TAG, PREVIOUS_TAG, PUBLICATION_TAG
from pipelines.store.origin import environment_tags
from pipelines.store.run_life import open_run
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version
from pipelines.training.plan import Prepared, require_fitting_settings


@flow(name="som-retrain")
def retrain_flow(config: PipelineConfig, force: bool = False) -> RetrainResult:
    """Train a challenger on the newest window, evaluate it against the champion, promote it or keep the champion.

    A run that was killed goes on where it was when it is started again; one that was finished before is recognized,
    and its result comes back.

    Args:
        config: The experiment.
        force: Whether to train also where a finished run did the same work before, and where nothing has drifted.

    Raises:
        pipelines.errors.PipelineError: The data, the tracking store or the champion cannot be used, the challenger
            fails its smoke test, or somebody else keeps changing the champion. The champion serves on; the MLflow run,
            if there is one by then, is FAILED with the reason in its tag `som.failure`.
    """
    require_publishing(config)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stages = Stages()
        with stages("connect"):
            run = stack.enter_context(_new_run(config))
        with stages("load"):
            rows = _window_rows(config, run)
            champion = fetch_champion(config, rows.dataset, folder)
        work = _work(config, rows, champion)
        if not force and (done := _registered(config, work, champion)) is not None:
            run.discard()
            return _finished_before(config, *done)
        run.tags(work.tags)
        tell(f"run {left.run.name} was left open, {left.reason}: FAILED now" for left in close_stale_runs())
        with stages("scale", rows=len(rows.dataset.features)):
            samples = tasks.window_samples(rows, config)
            grid = None if champion is None else champion.model.som.grid
            plan = tasks.plan_training(config, rows.source, rows.dataset, samples, grid)
            tell(plan.notes)
        prepared = Prepared(rows.source, rows.dataset, samples, plan)
        retraining = Retraining(config, run, stages, prepared, work, folder, SecondProcess(folder))
        with stages("drift"):
            drift = retraining.drift(champion)
        if not force and config.retrain.skip_without_drift and drift is not None and drift.level == "none":
            return ended(config, run, None, None, SKIPPED, drift.reasons[0])
        challenger = retraining.challenger(champion)
        with stages("analyze"):
            analysis, challenger = retraining.analyze_challenger(champion, challenger)
        evaluation = retraining.evaluate(champion, challenger)
        logged = retraining.log_challenger(challenger, analysis)
        version = retraining.register(logged, force)
        if version.run_id != run.run_id:  # somebody who did the same at the same time was faster
            run.discard()
            return _finished_before(config, version, work)
        result = retraining.finish(challenger, version, evaluation)
        run.metrics(stages.metrics())
    return result


def _new_run(config: PipelineConfig) -> AbstractContextManager[TrackedRun]:
    me = this_run()
    tags = {**environment_tags(), **me.tags, KIND_TAG: KIND, CONFIG_TAG: config.retrain_digest}
    return open_run(config.experiment_name, config.tracking.uri, tags, me.name)


def _window_rows(config: PipelineConfig, run: TrackedRun) -> WindowRows:
    run.params(config.resolved())
    window = tasks.choose_window(config.data, config.window)
    require_fitting_settings(config, find_source(window.train))
    rows = tasks.read_window(window, config.som.missing)
    run.dataset(rows.dataset, config.name)
    return rows


def _work(config: PipelineConfig, rows: WindowRows, champion: Champion | None) -> Work:
    against = None if champion is None else champion.version.version
    return Work(KIND, config.retrain_digest, rows.dataset.sha256, against)


def _registered(config: PipelineConfig, work: Work, champion: Champion | None) -> tuple[Version, Work] | None:
    """The version that the same work has registered before: a challenger of the champion, or the champion itself."""
    if champion is not None:
        before = replace(work, champion=champion.version.tags.get(PREVIOUS_TAG) or None)
        if champion.version.tags.get(PUBLICATION_TAG) == before.key:
            return champion.version, before
    version = registry.of_publication(config.model_name, work.key)
    return None if version is None else (version, work)


def _finished_before(config: PipelineConfig, version: Version, work: Work) -> RetrainResult:
    """The result of the run that has registered a version by the same work."""
    forget_checkpoints(config, work)
    return resume_publication(config, version)

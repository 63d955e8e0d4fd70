"""Retrain: a challenger on the newest window, judged against the champion, which only something better replaces.

The registered version is where the work is settled: it carries the key of all that decided it. A run that was killed
before it registered one is done again, from its last checkpoint; one that was killed after is brought to its end.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from prefect import flow

from pipelines.data import find_source
from pipelines.data.samples import Samples
from pipelines.data.validation import require_publishing
from pipelines.data.window_rows import WindowRows
from pipelines.errors import ChampionChanged
from pipelines.flows import tasks
from pipelines.flows.prefect_run import this_run
from pipelines.flows.publication import FIGURES, ended, finish_publication, resume_publication
from pipelines.model.map_model import MapModel
from pipelines.monitoring.drift import DriftReport
from pipelines.operations.stale import close_stale_runs
from pipelines.progress import Stages, announced, tell
from pipelines.publishing.log_map import LoggedMap
from pipelines.retraining.decision import Record
from pipelines.retraining.evaluation import Candidate, better, require_comparable
from pipelines.retraining.map_alignment import AlignedMap
from pipelines.retraining.retrain_result import SKIPPED, Evaluation, RetrainResult
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry, servable
from pipelines.store.finished import Work
from pipelines.store.locks import exclusive
from pipelines.store.names import CONFIG_TAG, DRIFT_TAG, KIND_TAG, MODEL_TAG, PREVIOUS_TAG, PUBLICATION_TAG
from pipelines.store.origin import environment_tags
from pipelines.store.tracking import REASON_CHARACTERS, TrackedRun, open_run
from pipelines.store.versions import Version
from pipelines.training.analysis import Analysis
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.fitting import TrainedMap, in_units_of
from pipelines.training.local_scores import LocalResults
from pipelines.training.plan import Plan, require_fitting_settings
from somlib import SOM
from somlib.core.trainer import EpochReport, OnEpoch

KIND = "retrain"
MOST_EVALUATIONS = 3  # of one challenger, where the champion changes under its evaluation
STABILITY = "cluster_stability"  # adjusted Rand index of the rows' clusters on both maps


@dataclass(frozen=True)
class Champion:
    """What serves."""

    version: Version
    model: MapModel


@dataclass(frozen=True)
class Challenger:
    """A map that was trained, turned like the champion, with its local models.

    Attributes:
        trained: The map.
        local: Local models of its targets; None where there are none.
        moved: How far it lies from the champion, and how many rows kept their cluster, as metrics.
    """

    trained: TrainedMap
    local: LocalResults | None
    moved: Mapping[str, float]


@dataclass(frozen=True)
class Retraining:
    """What the steps of one retraining share.

    Attributes:
        config: The experiment.
        run: The MLflow run.
        stages: Its stages.
        rows: The window.
        samples: Likewise, scaled.
        plan: What a training does with them.
        work: What is being done.
        folder: Where files may be put for the time of it.
    """

    config: PipelineConfig
    run: TrackedRun
    stages: Stages
    rows: WindowRows
    samples: Samples
    plan: Plan
    work: Work
    folder: Path

    @property
    def artifacts(self) -> Path:
        """Folder of what shall be artifacts of the run."""
        return self.folder / "artifacts"

    @property
    def heldout(self) -> NDArray[np.int64]:
        """Numbers of the held-out rows."""
        return self.samples.heldout.numbers


@flow(name="som-retrain")
def retrain_flow(config: PipelineConfig, force: bool = False) -> RetrainResult:
    """Train a challenger on the newest window, judge it against the champion, promote it or keep the champion.

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
            champion = _champion(config, rows, folder)
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
            this = Retraining(config, run, stages, rows, samples, plan, work, folder)
        with stages("drift"):
            drifted = _drift(this, champion)
        if not force and config.retrain.skip_without_drift and drifted is not None and drifted.level == "none":
            return ended(config, run, None, None, SKIPPED, drifted.reasons[0])
        challenger = _challenger(this, champion)
        with stages("analyze"):
            analysis, challenger = _analysis(this, champion, challenger)
        evaluation = _evaluate(this, champion, challenger)
        logged = _logged(this, challenger, analysis)
        version = _published(this, logged, force)
        if version.run_id != run.run_id:  # somebody who did the same at the same time was faster
            run.discard()
            return _finished_before(config, version, work)
        result = _finish(this, challenger, version, evaluation)
        run.metrics(stages.metrics())
    return result


# ---------------------------------------------------------------- before training


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


def _champion(config: PipelineConfig, rows: WindowRows, folder: Path) -> Champion | None:
    """What serves now, fetched into a folder, if anything does."""
    version = registry.champion(config.model_name)
    if version is None:
        return None
    model = servable.fetch(version, folder / f"version-{version.version}")
    require_comparable(model, config, rows.dataset)
    return Champion(version, model)


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
    _forget_checkpoints(config, work)
    return resume_publication(config, version)


def _drift(this: Retraining, champion: Champion | None) -> DriftReport | None:
    """How far the held-out rows have drifted from what the champion was trained on; None where that is not known."""
    if champion is None or champion.model.profile is None:
        return None
    assigned = tasks.assigned_rows(champion.model, this.rows.dataset, this.samples.heldout.numbers)
    report = tasks.drift(champion.model.profile, assigned, this.config.drift)
    reasons = "" if report.level == "none" else f": {'; '.join(report.reasons)}"
    this.run.tags({DRIFT_TAG: f"{report.level}{reasons}"[:REASON_CHARACTERS]})
    this.run.metrics(report.metrics)
    return report


# ---------------------------------------------------------------- training


def _challenger(this: Retraining, champion: Champion | None) -> Challenger:
    """The map that goes into the contest: started from the champion, or the better of that and one from scratch."""
    if champion is None or not this.config.retrain.from_scratch:
        return _trained(this, champion, "train", this.work, this.run.epoch)
    warm_epochs: list[EpochReport] = []
    scratch_epochs: list[EpochReport] = []
    warm = _trained(this, champion, "train", this.work, warm_epochs.append)
    cold = _trained(this, champion, "train from scratch", _from_scratch(this.work), scratch_epochs.append)
    reference = Candidate(champion.model.som, champion.model.scaler)
    records = [_record(this, _candidate(this, each), reference) for each in (warm, cold)]
    chosen = better(records, this.config.promotion)
    tell([f"the challenger {('that started from the champion', 'from scratch')[chosen]} is the better one of the two"])
    for report in (warm_epochs, scratch_epochs)[chosen]:
        this.run.epoch(report)
    return (warm, cold)[chosen]


def _trained(this: Retraining, champion: Champion | None, stage: str, work: Work, then: OnEpoch) -> Challenger:
    """A trained map, turned like the champion, with its local models; it starts from the champion unless from scratch.

    Args:
        this: The retraining.
        champion: What serves.
        stage: What the training is called.
        work: The work of the retraining, or a part of it that has checkpoints of its own: the training from scratch.
        then: Is told of each epoch.
    """
    config, samples, dataset = this.config, this.samples, this.rows.dataset
    start = None
    if champion is not None and work == this.work:
        start = in_units_of(samples.scaler, champion.model.som, champion.model.scaler)
    with this.stages(stage, rows=len(samples.train) * config.som.epochs):
        trained = tasks.train_som(
            samples.train.samples,
            config.som,
            dataset.feature_names,
            threads=config.runtime.threads,
            on_epoch=announced(then),
            start_from=start,
            checkpoints=_checkpoints(config, work),
        )
    aligned = AlignedMap(trained, {})
    if champion is not None:
        aligned = tasks.align_to(champion.model, trained, samples.scaler, dataset, this.heldout)
    local = _local_models(this, aligned.trained.som, stage) if this.plan.local.rows else None
    return Challenger(aligned.trained, local, aligned.moved)


def _from_scratch(work: Work) -> Work:
    """The part of the work that has checkpoints of its own."""
    return replace(work, kind=f"{KIND} from scratch")


def _checkpoints(config: PipelineConfig, work: Work) -> Checkpoints:
    return Checkpoints(Path(config.runtime.state), config.name, work.key, config.runtime.checkpoint_seconds)


def _forget_checkpoints(config: PipelineConfig, work: Work) -> None:
    for each in (work, _from_scratch(work)):
        _checkpoints(config, each).remove()


def _local_models(this: Retraining, som: SOM, stage: str) -> LocalResults:
    config, samples = this.config, this.samples
    with this.stages(stage.replace("train", "local models"), rows=len(samples.train) * len(samples.targets)):
        return tasks.learn_targets(som, samples, config.jitl, config.som.random_seed, config.runtime.threads)


def _analysis(this: Retraining, champion: Champion | None, challenger: Challenger) -> tuple[Analysis, Challenger]:
    """What the challenger's map says, clusters numbered like the champion's; the challenger with their stability."""
    samples, som = this.samples, challenger.trained.som
    analysis = tasks.analyze(som, samples.train.samples, samples.targets, samples.scaler, this.config.analysis)
    if champion is None:
        return analysis, challenger
    dataset, clusters = this.rows.dataset, analysis.clusters
    same = tasks.match_labels(champion.model, som, samples.scaler, clusters, dataset, this.heldout)
    moved = {**challenger.moved, STABILITY: same.stability}
    return replace(analysis, clusters=same.clusters), replace(challenger, moved=moved)


# ---------------------------------------------------------------- evaluation


def _candidate(this: Retraining, challenger: Challenger) -> Candidate:
    answers = None if challenger.local is None else challenger.local.answers
    return Candidate(challenger.trained.som, this.samples.scaler, answers)


def _record(this: Retraining, candidate: Candidate, reference: Candidate) -> Record:
    return tasks.evaluate(candidate, reference, this.rows.dataset, this.samples.heldout)


def _evaluate(this: Retraining, champion: Champion | None, challenger: Challenger) -> Evaluation:
    """Whether the challenger is better than what serves; told among the metrics and artifacts of the run."""
    with this.stages("judge"):
        mine, other, before = _candidate(this, challenger), None, None
        if champion is not None:
            other = tasks.champion_candidate(champion.model, this.rows.dataset, this.samples, this.config)
            before = _record(this, other, other)
        after = _with_stability(_record(this, mine, other or mine), challenger)
        verdict = tasks.decide(before, after, this.config.promotion)
        told = () if other is None or not other.remark else (other.remark,)
        evaluation = Evaluation(verdict, None if champion is None else champion.version.version, told)
        tell(told)
        for who, record in (("champion", before), ("challenger", after)):
            this.run.metrics({} if record is None else {f"{who}/{name}": v for name, v in record.values.items()})
        _write_evaluation(this, evaluation, champion, challenger)
    return evaluation


def _with_stability(record: Record, challenger: Challenger) -> Record:
    stability = {name: value for name, value in challenger.moved.items() if name == STABILITY}
    return replace(record, metrics={**record.metrics, **stability})


def _write_evaluation(
    this: Retraining, evaluation: Evaluation, champion: Champion | None, challenger: Challenger
) -> None:
    """The verdict and both U-matrices, in the champion's units, as artifacts."""
    this.artifacts.mkdir(exist_ok=True)
    evaluation.write(this.artifacts)
    som, scaler = challenger.trained.som, this.samples.scaler
    maps = {"Challenger": som}
    if champion is not None:
        model = champion.model
        new = in_units_of(model.scaler, som, scaler)
        maps = {f"Champion, version {champion.version.version}": model.som, "Challenger": new}
    tasks.draw_u_matrices(maps, this.artifacts / FIGURES)


# ---------------------------------------------------------------- logging and publishing


def _logged(this: Retraining, challenger: Challenger, analysis: Analysis) -> LoggedMap:
    """Log the challenger as `som train` logs a map, with how far it has moved."""
    config, run, samples, dataset = this.config, this.run, this.samples, this.rows.dataset
    trained, local, artifacts = challenger.trained, challenger.local, this.artifacts
    metrics = tasks.measure(trained, samples.heldout.samples, analysis.clusters)
    metrics |= {} if local is None else local.metrics
    with this.stages("draw"):
        tasks.draw_figures(trained, analysis, artifacts / FIGURES)
        told = tasks.flow_facts(trained.som, config, this.rows.source, dataset, samples, this.plan)
        predictions = None if local is None else local.answers
        tasks.write_report(run, told, trained, analysis, metrics, artifacts, config.to_yaml(), predictions)
    with this.stages("log"):
        (artifacts / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        profile = tasks.profile_training(trained.som, dataset, samples, local)
        run.metrics({**challenger.moved, **{f"rows/{name}": float(count) for name, count in samples.counts.items()}})
        return tasks.log_map(
            run, trained, analysis, metrics, samples.scaler, dataset.features[:100], artifacts, None, local, profile
        )


def _published(this: Retraining, logged: LoggedMap, force: bool) -> Version:
    """The challenger as a registered version, for a person to look at whatever the verdict is.

    Where another run has registered the same work, it is that run's version.
    """
    name, run_id = this.config.model_name, this.run.run_id
    key = f"{this.work.key}/{run_id}" if force else this.work.key
    tags = {MODEL_TAG: this.run.facts().tags[MODEL_TAG]}
    with this.stages("publish"), exclusive(name):
        version = registry.register(name, logged.model_uri.removeprefix("models:/"), run_id, key, tags)
        if version.run_id == run_id:
            version = registry.offer(version, smoke_test)
    _forget_checkpoints(this.config, this.work)
    return version


def _finish(this: Retraining, challenger: Challenger, version: Version, evaluation: Evaluation) -> RetrainResult:
    """Promote or keep; judge again where another champion serves by now."""
    config, run = this.config, this.run
    for _ in range(MOST_EVALUATIONS - 1):
        try:
            return finish_publication(config, run, version, evaluation)
        except ChampionChanged as change:
            tell([f"{change}: judged again"])
            evaluation = _evaluate(this, _champion(config, this.rows, this.folder), challenger)
            run.files(this.artifacts)
    return finish_publication(config, run, version, evaluation)

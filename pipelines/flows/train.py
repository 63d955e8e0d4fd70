"""Train a map: load, validate, scale, train, analyze, measure, learn the targets, draw, log, register."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines.errors import TrackingError
from pipelines.flows import tasks
from pipelines.flows.prefect_run import publish_figure, publish_summary, this_run
from pipelines.flows.publication import FIGURES, run_of
from pipelines.flows.training_steps import Training, checkpoints_of
from pipelines.progress import Stages, announced, tell
from pipelines.publishing.log_map import LoggedMap
from pipelines.publishing.train_result import TrainResult
from pipelines.second_process import SecondProcess
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.finished import Work, finished_runs
from pipelines.store.names import CONFIG_TAG, KIND_TAG, PUBLICATION_TAG
from pipelines.store.origin import environment_tags
from pipelines.store.run_life import open_run, reopened_run
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.findings import Findings
from pipelines.training.plan import Prepared

KIND = "train"


@flow(name="som-train")
def train_flow(config: PipelineConfig, force: bool = False) -> TrainResult:
    """Train a map on a Parquet dataset and leave it, with everything known about it, in MLflow.

    A run that was killed goes on from its last checkpoint when it is started again, or is completed where it had
    registered its version; one that was finished before, or by another process meanwhile, is recognized, and its result
    comes back.

    Args:
        config: The experiment.
        force: Whether to train also where a finished run did the same work before.

    Raises:
        pipelines.errors.PipelineError: The data or the tracking store cannot be used. The MLflow run, if there is one
            by then, is FAILED with the reason in its tag `som.failure`.
    """
    stages = Stages()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        with stages("connect"):
            run = stack.enter_context(_new_run(config))
            run.params(config.resolved())
        with stages("load"):
            source, found = tasks.inspect(config)
            dataset, streamed = tasks.read_rows(source, found, config)
            run.dataset(dataset, config.name)
            stages.rows["load"] = found.found
        work = Work(KIND, config.digest, dataset.sha256)
        kept = checkpoints_of(config, work)
        if not force and (earlier := _earlier(config, run, work)) is not None:
            run.discard()
            kept.remove()
            tell([f"already done: run {earlier.run_name} ({earlier.run_id}), use --force to train again"])
            return earlier
        with stages("scale", rows=found.used):
            samples = tasks.prepare_samples(dataset, config) if streamed is None else streamed
            plan = tasks.plan_training(config, source, dataset, samples)
            tell(plan.notes)
        training = Training(
            config, run, stages, Prepared(source, dataset, samples, plan), work, folder, SecondProcess(folder)
        )
        findings = _findings(training, kept)
        logged = training.log(findings)
        # All that the run has to say, before it registers a version: killed after that, nothing is missing in it.
        run.metrics({**stages.metrics(), **training.row_counts})
        if config.tracking.publish:
            version = _published(training, logged, force)
            if version.run_id != run.run_id:  # somebody who did the same at the same time was faster
                run.discard()
                kept.remove()
                return _finished_before(config, version)
            logged = replace(logged, published=version)
        result = TrainResult.of(config, run, findings.trained.som, logged, plan.rows, stages.seconds)
        publish_figure(f"som-train-{config.name}-clusters", training.artifacts / FIGURES / "cluster_map.png")
    kept.remove()
    publish_summary(f"som-train-{config.name}", result.markdown())
    return result


def _new_run(config: PipelineConfig) -> AbstractContextManager[TrackedRun]:
    me = this_run()
    tags = {**environment_tags(), **me.tags, KIND_TAG: KIND, CONFIG_TAG: config.digest}
    return open_run(config.experiment_name, config.tracking.uri, tags, me.name)


def _findings(training: Training, kept: Checkpoints) -> Findings:
    """Train the map, analyze it, and fit its local models."""
    config, samples, stages = training.config, training.prepared.samples, training.stages
    with stages("train", rows=samples.counts["train"] * config.som.epochs):
        trained = tasks.train_som(
            samples.train.samples if samples.streamed is None else samples.streamed,
            training.prepared.plan.som,
            samples.scaler.features,
            threads=config.runtime.threads,
            on_epoch=announced(training.run.epoch),
            checkpoints=kept,
        )
    with stages("analyze", rows=len(samples.train)):
        analysis = training.analyze(trained.som, trained.winners)
        metrics = training.measure(trained, analysis)
    training.begin_figures(trained, analysis)
    local = training.learn_targets(trained.som)
    return Findings(trained, analysis, metrics | ({} if local is None else local.metrics), samples.scaler, local)


def _published(training: Training, logged: LoggedMap, force: bool) -> Version:
    """The map as a registered version; where another run has registered the same work, the version of that run."""
    config, run, work, stages = training.config, training.run, training.work, training.stages
    key = f"{work.key}/{run.run_id if force else run.experiment_id}"
    with stages("publish"):
        model_id, tags = logged.model_uri.removeprefix("models:/"), training.version_tags()
        version = tasks.publish(config.model_name, model_id, run.run_id, key, tags, check=smoke_test)
    if version.run_id == run.run_id:
        try:
            run.metrics({name: value for name, value in stages.metrics().items() if name.endswith("/publish")})
        except TrackingError as error:  # the version is registered: nothing may end the run as failed any more
            tell([f"the seconds of publishing are not in the run: {error}"])
    return version


def _earlier(config: PipelineConfig, run: TrackedRun, work: Work) -> TrainResult | None:
    """The result of a run that did the same work, and registered a model if one is to be registered."""
    if config.tracking.publish:
        version = registry.of_publication(config.model_name, f"{work.key}/{run.experiment_id}")
        if version is not None:
            return _finished_before(config, version)
    for earlier in finished_runs(run, work):
        published = registry.of_run(config.model_name, earlier.run_id) if config.tracking.publish else None
        if published is not None or not config.tracking.publish:
            return TrainResult.of_finished(config, earlier, published)
    return None


def _finished_before(config: PipelineConfig, version: Version) -> TrainResult:
    """The result of the run that has registered a version by the same work; its publication is completed if need be.

    Raises:
        ModelBusyError: Somebody is at it, and does not end.
    """
    run = run_of(version)
    if run.status != "FINISHED":
        with reopened_run(run.run_id):
            key = version.tags[PUBLICATION_TAG]
            version = registry.publish(version.name, "", version.run_id, key, version.tags, check=smoke_test)
    return TrainResult.of_finished(config, run, registry.find(version.name, version.version))

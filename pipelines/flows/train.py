"""Train a map: load, validate, scale, train, analyze, measure, learn the targets, draw, log, register."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines.errors import TrackingError
from pipelines.flows import tasks
from pipelines.flows.prefect_run import publish_figure, publish_summary, this_run
from pipelines.flows.publication import run_of
from pipelines.progress import Stages, announced, tell
from pipelines.publishing.log_map import LoggedMap
from pipelines.publishing.train_result import TrainResult
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.finished import Work, finished_runs
from pipelines.store.names import CONFIG_TAG, KIND_TAG, MODEL_TAG, PUBLICATION_TAG
from pipelines.store.origin import environment_tags
from pipelines.store.tracking import TrackedRun, open_run, reopened_run
from pipelines.store.versions import Version
from pipelines.training.checkpoints import Checkpoints

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
    stages, me = Stages(), this_run()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        with stages("connect"):
            tags = {**environment_tags(), **me.tags, KIND_TAG: KIND, CONFIG_TAG: config.digest}
            run = stack.enter_context(open_run(config.experiment_name, config.tracking.uri, tags, me.name))
            run.params(config.resolved())
        with stages("load"):
            source, found = tasks.inspect(config)
            dataset = tasks.read_dataset(source, found, config.data.drop_incomplete)
            run.dataset(dataset, config.name)
            stages.rows["load"] = found.found
        work = Work(KIND, config.digest, dataset.sha256)
        kept = Checkpoints(Path(config.runtime.state), config.name, work.key, config.runtime.checkpoint_seconds)
        if not force and (earlier := _earlier(config, run, work)) is not None:
            run.discard()
            kept.remove()
            tell([f"already done: run {earlier.run_name} ({earlier.run_id}), use --force to train again"])
            return earlier
        with stages("scale", rows=found.used):
            samples = tasks.prepare_samples(dataset, config)
            plan = tasks.plan_training(config, source, dataset, samples)
            tell(plan.notes)
        with stages("train", rows=len(samples.train) * config.som.epochs):
            names, threads, on_epoch = dataset.feature_names, config.runtime.threads, announced(run.epoch)
            trained = tasks.train_som(
                samples.train.samples, plan.som, names, threads=threads, on_epoch=on_epoch, checkpoints=kept
            )
        with stages("analyze", rows=len(samples.train)):
            analysis = tasks.analyze(
                trained.som, samples.train.samples, samples.targets, samples.scaler, config.analysis
            )
            metrics = tasks.measure(trained, samples.heldout.samples, analysis.clusters)
        local = None
        if plan.local.rows:
            with stages("local models", rows=len(samples.train) * len(samples.targets)):
                local = tasks.learn_targets(trained.som, samples, config.jitl, config.som.random_seed, threads)
                metrics |= local.metrics
        with stages("draw"):
            tasks.draw_figures(trained, analysis, folder / "figures")
            told = tasks.flow_facts(trained.som, config, source, dataset, samples, plan)
            predictions = None if local is None else local.answers
            tasks.write_report(run, told, trained, analysis, metrics, folder, config.to_yaml(), predictions)
        with stages("log"):
            (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
            profile = tasks.profile_training(trained.som, dataset, samples, local)
            example = dataset.features[:100]
            logged = tasks.log_map(
                run, trained, analysis, metrics, samples.scaler, example, folder, None, local, profile
            )
        # All that the run has to say, before it registers a version: killed after that, nothing is missing in it.
        run.metrics(stages.metrics() | {f"rows/{name}": float(count) for name, count in plan.rows.items()})
        if config.tracking.publish:
            with stages("publish"):
                version = _published(config, run, logged, f"{work.key}/{run.run_id if force else run.experiment_id}")
            if version.run_id != run.run_id:  # somebody who did the same at the same time was faster
                run.discard()
                kept.remove()
                return _finished_before(config, version)
            logged = replace(logged, published=version)
            try:
                run.metrics({name: value for name, value in stages.metrics().items() if name.endswith("/publish")})
            except TrackingError as error:  # the version is registered: nothing may end the run as failed any more
                tell([f"the seconds of publishing are not in the run: {error}"])
        result = TrainResult.of(config, run, trained.som, logged, plan.rows, stages.seconds)
        publish_figure(f"som-train-{config.name}-clusters", folder / "figures" / "cluster_map.png")
    kept.remove()
    publish_summary(f"som-train-{config.name}", result.markdown())
    return result


def _published(config: PipelineConfig, run: TrackedRun, logged: LoggedMap, publication: str) -> Version:
    """The map as a registered version; where another run has registered the same work, the version of that run."""
    model_id, tags = logged.model_uri.removeprefix("models:/"), {MODEL_TAG: run.facts().tags[MODEL_TAG]}
    return tasks.publish(config.model_name, model_id, run.run_id, publication, tags, check=smoke_test)


def _earlier(config: PipelineConfig, run: TrackedRun, work: Work) -> TrainResult | None:
    """What a run came to that did the same work, and registered a model where one shall be."""
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

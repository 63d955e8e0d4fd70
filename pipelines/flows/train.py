"""Train a map: load, validate, scale, train, analyze, measure, learn the targets, draw, log, register."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines import tasks
from pipelines.checkpoints import Checkpoints
from pipelines.config import PipelineConfig
from pipelines.flows.prefect_run import publish_figure, publish_summary, this_run
from pipelines.jitl.models import require_dates
from pipelines.progress import Stages, announced, tell
from pipelines.store import registry
from pipelines.store.finished import Work, finished_runs
from pipelines.store.names import CONFIG_TAG, KIND_TAG
from pipelines.store.origin import environment_tags
from pipelines.store.tracking import TrackedRun, open_run
from pipelines.summary import TrainResult
from pipelines.validation import remarks

KIND = "train"


@flow(name="som-train")
def train_flow(config: PipelineConfig, force: bool = False) -> TrainResult:
    """Train a map on a Parquet dataset and leave it, with everything known about it, in MLflow.

    A run that was killed goes on from its last checkpoint when it is started again; one that was finished before is
    recognized, and its result comes back.

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
            run.params(config.settled())
        with stages("load"):
            source = tasks.find_source(config.data)
            found = tasks.survey(source, config.data.drop_incomplete)
            tasks.require_usable(source, found, config.data, config.som.missing)
            require_dates(config.jitl, source.time_type)
            tell(remarks(source, found))
            dataset = tasks.read_dataset(source, found, config.data.drop_incomplete)
            run.dataset(dataset, config.name)
            stages.rows["load"] = found.found
        work = Work(KIND, config.digest, dataset.sha256)
        if not force and (earlier := _earlier(config, run, work)) is not None:
            run.discard()
            tell([f"already done: run {earlier.run_name} ({earlier.run_id}), use --force to train again"])
            return earlier
        with stages("scale", rows=found.used):
            samples = tasks.prepare_samples(dataset, config)
        with stages("train", rows=len(samples.train) * config.som.epochs):
            names, threads, on_epoch = dataset.feature_names, config.runtime.threads, announced(run.epoch)
            kept = Checkpoints(Path(config.runtime.state), config.name, work.key, config.runtime.checkpoint_seconds)
            trained = tasks.train_som(
                samples.train, config.som, names, threads=threads, on_epoch=on_epoch, checkpoints=kept
            )
        with stages("analyze", rows=len(samples.train)):
            analysis = tasks.analyze(trained.som, samples.train, samples.targets, samples.scaler, config.analysis)
            metrics = tasks.measure(trained, samples.heldout, analysis.clusters)
        local = None
        if config.predicts:
            with stages("local models", rows=len(samples.train) * len(samples.targets)):
                local = tasks.learn_targets(trained.som, samples, config.jitl, config.som.random_seed, threads)
                tell(local.remarks)
                metrics |= local.metrics
        with stages("draw"):
            tasks.draw_figures(trained, samples.train, analysis, folder / "figures")
            told = tasks.flow_facts(trained.som, config, source, dataset, samples)
            predictions = None if local is None else local.answers
            tasks.write_report(run, told, trained, analysis, metrics, folder, config.to_yaml(), predictions)
        with stages("log"):
            (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
            profile = tasks.profile_training(trained.som, dataset, samples, local)
            example, register_as = dataset.features[:100], config.model_name if config.tracking.publish else None
            logged = tasks.log_map(
                run, trained, analysis, metrics, samples.scaler, example, folder, register_as, local, profile
            )
        rows = {"found": found.found, "left_out": found.left_out, **samples.counts}
        run.metrics(stages.metrics() | {f"rows/{name}": float(count) for name, count in rows.items()})
        result = TrainResult.of(config, run, trained.som, logged, rows, stages.seconds)
        publish_figure(f"som-train-{config.name}-clusters", folder / "figures" / "cluster_map.png")
    kept.remove()
    publish_summary(f"som-train-{config.name}", result.markdown())
    return result


def _earlier(config: PipelineConfig, run: TrackedRun, work: Work) -> TrainResult | None:
    """What a finished run came to that did the same work, and registered a model where one shall be."""
    for earlier in finished_runs(run, work):
        published = registry.of_run(config.model_name, earlier.run_id) if config.tracking.publish else None
        if published is not None or not config.tracking.publish:
            return TrainResult.of_finished(config, earlier, published)
    return None

"""Train a map: load, validate, scale, train, analyze, measure, draw, log, register."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines import tasks
from pipelines.config import PipelineConfig
from pipelines.flows.prefect_run import publish_figure, publish_summary, this_run
from pipelines.progress import Stages, announced, tell
from pipelines.summary import TrainResult
from pipelines.tracking import environment_tags, open_run
from pipelines.validation import remarks


@flow(name="som-train")
def train_flow(config: PipelineConfig) -> TrainResult:
    """Train a map on a Parquet dataset and leave it, with everything known about it, in MLflow.

    Args:
        config: The experiment.

    Raises:
        pipelines.errors.PipelineError: The data or the tracking store cannot be used. The MLflow run, if there is one
            by then, is FAILED with the reason in its tag `som.failure`.
    """
    stages, me = Stages(), this_run()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        with stages("connect"):
            tags = {**environment_tags(), **me.tags, "som.config_digest": config.digest}
            run = stack.enter_context(open_run(config.experiment_name, config.tracking.uri, tags, me.name))
            run.params(config.settled())
        with stages("load"):
            source = tasks.find_source(config.data)
            found = tasks.survey(source, config.data.drop_incomplete)
            tasks.require_usable(source, found, config.data, config.som.missing)
            tell(remarks(source, found))
            dataset = tasks.read_dataset(source, found, config.data.drop_incomplete)
            run.dataset(dataset, config.name)
            stages.rows["load"] = found.found
        with stages("scale", rows=found.used):
            samples = tasks.prepare_samples(dataset, config)
        with stages("train", rows=len(samples.train) * config.som.epochs):
            names, threads = dataset.feature_names, config.runtime.threads
            trained = tasks.train_som(samples.train, config.som, names, threads=threads, on_epoch=announced(run.epoch))
        with stages("analyze", rows=len(samples.train)):
            analysis = tasks.analyze(trained.som, samples.train, samples.targets, samples.scaler, config.analysis)
            metrics = tasks.measure(trained, samples.heldout, analysis.clusters)
        with stages("draw"):
            tasks.draw_figures(trained, samples.train, analysis, folder / "figures")
            told = tasks.flow_facts(trained.som, config, source, dataset, samples)
            tasks.write_report(run, told, trained, analysis, metrics, folder, config.to_yaml())
        with stages("log"):
            (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
            example, register_as = dataset.features[:100], config.model_name if config.tracking.publish else None
            logged = tasks.log_map(run, trained, analysis, metrics, samples.scaler, example, folder, register_as)
        rows = {"found": found.found, "left_out": found.left_out, **samples.counts}
        run.metrics(stages.metrics() | {f"rows/{name}": float(count) for name, count in rows.items()})
        result = TrainResult.of(config, run, trained.som, logged, rows, stages.seconds)
        publish_figure(f"som-train-{config.name}-clusters", folder / "figures" / "cluster_map.png")
    publish_summary(f"som-train-{config.name}", result.markdown())
    return result

"""The result of a training, for a terminal and for a Prefect artifact."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pipelines.publishing.log_map import LoggedMap
from pipelines.settings.config import PipelineConfig
from pipelines.store.names import UNDEFINED_TAG
from pipelines.store.run_place import RunPlace, place_of
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version
from pipelines.training.analysis import file_stems
from pipelines.training.class_scores import RIVALS
from pipelines.wording import counted
from somlib import SOM


@dataclass(frozen=True)
class TrainResult(RunPlace):
    """The result of a training.

    Attributes:
        model_uri: What `mlflow.pyfunc.load_model` takes.
        published: The registered version, None if it was not registered.
        rows: Numbers of rows: `found`, `left_out`, `train`, `heldout`.
        features: Number of features.
        map_size: Rows and columns of the map.
        topology: Of the map.
        metrics: Errors and scores.
        seconds: By stage.
        report: Where `report.html` is.
        targets: Names of the targets.
    """

    model_uri: str
    published: Version | None
    rows: Mapping[str, int]
    features: int
    map_size: tuple[int, int]
    topology: str
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    report: str = ""
    targets: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        config: PipelineConfig,
        run: TrackedRun,
        som: SOM,
        logged: LoggedMap,
        rows: Mapping[str, int],
        seconds: Mapping[str, float],
    ) -> Self:
        """The result of a run that is about to end."""
        return cls(
            **place_of(run, config.experiment_name),
            model_uri=logged.model_uri,
            published=logged.published,
            rows=rows,
            features=som.num_features or 0,
            map_size=(som.grid.x, som.grid.y),
            topology=som.topology,
            metrics=logged.metrics,
            seconds=dict(seconds),
            report=run.address("report.html"),
            targets=config.data.target,
        )

    @classmethod
    def of_finished(cls, config: PipelineConfig, run: TrackedRun, published: Version | None) -> Self:
        """The result of a run that finished before, as it is on record there."""
        settings, logged = run.settings(), run.last_metrics()
        undefined = run.facts().tags.get(UNDEFINED_TAG, "").split(", ")
        parts = {part: _below(logged, f"{part}/") for part in ("rows", "seconds")}
        return cls(
            **place_of(run, config.experiment_name),
            model_uri=run.model_uri(),
            published=published,
            rows={name: int(count) for name, count in parts["rows"].items()},
            features=int(settings["som.num_features"]),
            map_size=(int(settings["som.x"]), int(settings["som.y"])),
            topology=settings["som.topology"],
            metrics={name: math.nan for name in undefined if name} | logged,
            seconds=parts["seconds"],
            report=run.address("report.html"),
            targets=config.data.target,
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of each line of the summary."""
        rows, metrics = self.rows, self.metrics
        left_out = f", {rows['left_out']:,} left out" if rows["left_out"] else ""
        yield (
            "rows",
            f"{rows['train']:,} trained, {rows['heldout']:,} held out{left_out}; {counted(self.features, 'feature')}",
        )
        yield "map", f"{self.map_size[0]} x {self.map_size[1]} {self.topology}"
        yield "quantization error", _pair(metrics, "qe", "{:.4g}")
        yield "topographic error", _pair(metrics, "te", "{:.1%}")
        yield "clusters", _clusters(metrics)
        yield from _predictions(metrics, self.targets)
        yield (
            "seconds",
            f"{sum(self.seconds.values()):.1f}: " + ", ".join(f"{k} {v:.1f}" for k, v in self.seconds.items()),
        )
        yield "MLflow run", self.run_line
        yield "model", _model(self.published, self.model_uri)

    def markdown(self) -> str:
        """The summary as a Markdown table with a link to the run."""
        table = "\n".join(f"| {name} | {value} |" for name, value in self.lines())
        opening = "" if self.how_to_open == self.page else f"\n\nOpen it with `{self.how_to_open}`."
        links = f"[MLflow run {self.run_name}]({self.page}), [report]({self.page}/artifacts/report.html)"
        return f"| | |\n| --- | --- |\n{table}\n\n{links}{opening}\n"


def _below(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The metrics of that prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _pair(metrics: Mapping[str, float], name: str, form: str) -> str:
    """An error on training rows, and on held-out rows where there are any."""
    text = form.format(metrics[f"train_{name}"])
    heldout = metrics.get(f"heldout_{name}")
    return text if heldout is None else f"{text}, held out {form.format(heldout)}"


def _clusters(metrics: Mapping[str, float]) -> str:
    silhouette = metrics["cluster/silhouette_score"]
    noise = f", {metrics['cluster/noise_ratio']:.0%} of the neurons in none" if metrics["cluster/noise_ratio"] else ""
    score = f", silhouette {silhouette:.2f}" if math.isfinite(silhouette) else ""
    return f"{metrics['clusters']:.0f}{score}{noise}"


def _predictions(metrics: Mapping[str, float], targets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """For each target the error of its local models beside that of the better rival."""
    for target, stem in zip(targets, file_stems(targets), strict=True):
        if f"jitl/{stem}/log_loss" in metrics:
            yield f"jitl log loss {target}", _class_line(metrics, f"jitl/{stem}/")
        name = f"jitl/{stem}/rmse"
        if name not in metrics:
            continue
        rivals = {"ridge": metrics[f"{name}_ridge"], "neighbors": metrics[f"{name}_neighbors"]}
        better = min(rivals, key=lambda rival: rivals[rival])
        within = f"{metrics[f'jitl/{stem}/coverage']:.0%} within their intervals"
        yield f"jitl rmse {target}", f"{metrics[name]:.4g} held out, {better} {rivals[better]:.4g}; {within}"


def _class_line(metrics: Mapping[str, float], prefix: str) -> str:
    rivals = {rival: metrics[f"{prefix}log_loss_{rival}"] for rival in RIVALS}
    better = min(rivals, key=lambda rival: rivals[rival])
    loss, balanced = metrics[f"{prefix}log_loss"], metrics[f"{prefix}balanced_accuracy"]
    return (
        f"{loss:.4g} held out, {better} {rivals[better]:.4g}; balanced accuracy {balanced:.1%}, "
        f"calibration error {metrics[f'{prefix}calibration_error']:.3f}"
    )


def _model(published: Version | None, model_uri: str) -> str:
    if published is None:
        return f"{model_uri}, not registered"
    return f"{published.name} version {published.version}, now {' and '.join(published.aliases)}"

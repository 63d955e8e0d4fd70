"""What is known about the data of a run and kept beside its maps: `facts.json`, and each row's neuron: `rows.parquet`.

With both, the report can be made again from the artifacts of a run alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.data import Source, Survey
from pipelines.data.classes import Classes
from pipelines.data.columns import NumberColumn
from pipelines.data.encoding import Encoding
from pipelines.data.samples import Labelled
from pipelines.data.scaling import Scaler
from pipelines.errors import TrackingError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import AnalysisConfig
from pipelines.training.analysis import file_stems
from somlib import SOM
from somlib.errors import NotFittedError
from somlib.utils.clustering import ClusterResult, row_clusters
from somlib.utils.grid import Grid
from somlib.utils.precision import tidied

if TYPE_CHECKING:
    from pipelines.training.plan import Prepared

FACTS, ROWS = "facts.json", "rows.parquet"
# Rows whose neurons are kept, every second or third or ... where there are more: 0.27 MB in the page, and 0.53 MB more
# with times.
MOST_ROWS = 100_000


class Known(BaseModel):
    """Frozen, unknown fields refused; NaN survives JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ColumnFacts(Known):
    """What a column holds in the training rows, in its own units; NaN where it holds no value.

    Attributes:
        mean: Of the observed values.
        deviation: Their standard deviation.
        low: Their smallest.
        high: Their largest.
        missing: Rows without a value.
        period: How long the cycle is after which values begin again, None for none; mean and deviation are those on
            the circle then.
        start: Value that the cycle begins with.
    """

    mean: float
    deviation: float
    low: float
    high: float
    missing: int
    period: float | None = None
    start: float = 0.0

    def difference(self, value: float) -> float:
        """How far a value lies above the mean; on a circle the shorter way round."""
        apart = value - self.mean
        return apart if self.period is None else (apart + self.period / 2) % self.period - self.period / 2


class ClassFacts(Known):
    """What a target that is a class holds in the training rows.

    Attributes:
        rows: By class, in the order of the classes.
        missing: Rows without one.
    """

    rows: Mapping[str, int]
    missing: int


class TimeSpan(Known):
    """The column that orders the rows, and its first and last moment, as text."""

    column: str
    first: str
    last: str


class Facts(Known):
    """What is known about the data of a run.

    Attributes:
        rows: Numbers of rows: `found`, `left_out`, `train`, `heldout`.
        features: By name, in the order of the map.
        targets: Those that are numbers, by name.
        one_neuron_error: Quantization error of the training rows on a map of one neuron that lies at their mean; NaN
            where it is not defined.
        scaling: How features were scaled.
        clustering: How neurons were clustered.
        feature_space: What they were compared by.
        n_clusters: How many were asked for; None where the method chose.
        coverage: Share of targets that the intervals of local models shall hold, None without such models.
        data: Where the rows came from, None in a notebook.
        time: None without a time column.
        remarks: What the user was warned of on the way.
        classes: Targets that are classes, by name.
        target_names: Of all targets, in the order of the experiment; none stands for those of `targets`.
    """

    rows: Mapping[str, int]
    features: Mapping[str, ColumnFacts]
    targets: Mapping[str, ColumnFacts]
    one_neuron_error: float
    scaling: str
    clustering: str
    feature_space: str
    n_clusters: int | None = None
    coverage: float | None = None
    data: str | None = None
    time: TimeSpan | None = None
    remarks: tuple[str, ...] = ()
    classes: Mapping[str, ClassFacts] = {}
    target_names: tuple[str, ...] = ()

    @property
    def stems(self) -> dict[str, str]:
        """The name of each target in files and metrics."""
        names = self.target_names or tuple(self.targets)
        return dict(zip(names, file_stems(names), strict=True))

    def write(self, folder: Path) -> None:
        """Write `facts.json` into a folder."""
        (folder / FACTS).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The facts in a folder.

        Raises:
            TrackingError: `facts.json` is missing or damaged.
        """
        try:
            return cls.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise TrackingError(
                f"the run has no {FACTS} among its artifacts: it has not got that far, or an older version made it"
            ) from None
        except ValidationError as error:
            raise TrackingError(f"{FACTS} of the run is damaged: {error.errors()[0]['msg']}") from error


@dataclass(frozen=True)
class RunData:
    """What is known about the data, and where each row fell.

    Attributes:
        facts: The former.
        rows: The latter, see `row_table` and `clustered`; None where an older version kept none.
    """

    facts: Facts
    rows: pl.DataFrame | None

    def clustered(self, clusters: ClusterResult, grid: Grid) -> Self:
        """The same, with the `cluster` of each row, that of its neuron, and its `strength`.

        Rows of noise and rows without a neuron have cluster -1 and strength 0; the strength is null where the method
        gives none.

        Args:
            clusters: Of the neurons.
            grid: Of the map on which the rows fell.
        """
        if self.rows is None:
            return self
        row, col = (torch.from_numpy(self.rows[name].to_numpy().astype(np.int64)) for name in ("row", "col"))
        found = row_clusters(torch.where(row < 0, row, row * grid.y + col), clusters)
        strength = pl.Series("strength", found.strength.cpu().double().numpy(), nan_to_null=True)
        rows = self.rows.with_columns(pl.Series("cluster", found.labels.cpu().numpy()), strength)
        return replace(self, rows=rows)

    def write(self, folder: Path) -> None:
        """Write `facts.json` and, if there are rows, `rows.parquet` into a folder."""
        self.facts.write(folder)
        if self.rows is not None:
            self.rows.write_parquet(folder / ROWS)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What `write` wrote.

        Raises:
            TrackingError: `facts.json` is missing or damaged.
        """
        rows = folder / ROWS
        return cls(Facts.read(folder), pl.read_parquet(rows, glob=False) if rows.is_file() else None)


def flow_facts(som: SOM, config: PipelineConfig, prepared: "Prepared") -> RunData:
    """What a training flow knows about its data.

    Args:
        som: The trained map.
        config: The experiment.
        prepared: What was known before the training: the rows, and what was planned with them.
    """
    dataset, samples, plan = prepared.dataset, prepared.samples, prepared.plan
    facts = Facts(
        rows=plan.rows,
        **_described(
            som, samples.train.samples, samples.targets, samples.scaler, config.analysis, samples.train.classes
        ),
        coverage=config.jitl.coverage if plan.local.rows else None,
        data=dataset.path,
        time=_time_span(prepared.source, dataset.survey),
        remarks=plan.notes,
    )
    return RunData(facts, row_table(som, (samples.train, samples.heldout), dataset.moments, dataset.step))


def notebook_facts(
    som: SOM,
    samples: NDArray[np.float32],
    targets: Mapping[str, NDArray[np.float64]],
    scaler: Scaler,
    analysis: AnalysisConfig,
) -> RunData:
    """What is known about samples (n, d) that a map was fitted to by hand; arguments as in `analyze`."""
    rows = {"found": len(samples), "left_out": 0, "train": len(samples), "heldout": 0}
    facts = Facts(rows=rows, **_described(som, samples, targets, scaler, analysis))
    part = Labelled(samples, {}, None, np.arange(len(samples)))
    return RunData(facts, row_table(som, (part, part.take(np.arange(0)))))


def _described(
    som: SOM,
    train: NDArray[np.float32],
    targets: Mapping[str, NDArray[np.float64]],
    scaler: Scaler,
    analysis: AnalysisConfig,
    classes: Mapping[str, Classes] | None = None,
) -> dict[str, Any]:
    known = classes or {}
    features = dict(_of_features(train, scaler))
    means = np.array([_mean(column) for column in train.T])
    return {
        "features": features,
        "targets": {name: column_facts(values) for name, values in targets.items() if name not in known},
        "classes": {name: class_facts(targets[name], each) for name, each in known.items()},
        "target_names": tuple(targets),
        "one_neuron_error": one_neuron_error(som, train, means),
        "scaling": scaler.method,
        "clustering": analysis.clustering,
        "feature_space": analysis.feature_space,
        "n_clusters": analysis.n_clusters,
    }


def _of_features(train: NDArray[np.float32], scaler: Scaler) -> Iterator[tuple[str, ColumnFacts]]:
    """The facts of scaled samples (n, d) by the names of what a person reads, one column at a time."""
    encoding = scaler.encoding or Encoding(tuple(NumberColumn(name=name) for name in scaler.features))
    for part, column in zip(encoding.parts("features"), encoding.columns, strict=True):
        values = train[:, part].astype(np.float64) * scaler.scale[part] + scaler.center[part]
        readable = column.collapse(values)
        for i, (name, cycle) in enumerate(zip(column.readable, column.cycles, strict=True)):
            yield name, column_facts(readable[:, i], *(cycle or ()))


def _mean(column: NDArray[np.float32]) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = column[~np.isnan(column)]
    return float(known.mean(dtype=np.float64)) if len(known) else np.nan


def class_facts(codes: NDArray[np.float64], classes: Classes) -> ClassFacts:
    """Rows of each class by their codes (n,), NaN where missing."""
    known = codes[np.isfinite(codes)].astype(np.int64)
    counts = np.bincount(known, minlength=len(classes)).tolist()
    return ClassFacts(rows=dict(zip(classes.names, counts, strict=True)), missing=len(codes) - len(known))


def column_facts(values: NDArray[np.float64], period: float | None = None, start: float = 0.0) -> ColumnFacts:
    """Mean, standard deviation, range and missing values of a column, shape (n,); on the circle where it has a period.

    The mean direction is that of the sum of unit vectors, the deviation sqrt(-2 ln R) for their mean length R, both in
    the units of the column.

    References:
        Mardia and Jupp, Directional Statistics, Wiley 2000, ch. 2.3.
    """
    seen = values[np.isfinite(values)]
    missing = len(values) - len(seen)
    if not len(seen):
        return ColumnFacts(mean=np.nan, deviation=np.nan, low=np.nan, high=np.nan, missing=missing)
    low, high = float(seen.min()), float(seen.max())
    if period is not None:
        direction = np.exp(2j * np.pi * seen / period).mean()
        mean = (np.angle(direction) * period / (2 * np.pi) - low) % period + low
        spread = np.sqrt(-2 * np.log(min(1.0, max(abs(direction), 1e-12)))) * period / (2 * np.pi)
        facts = {"mean": float(mean), "deviation": float(spread), "low": low, "high": high}
        return ColumnFacts(**facts, missing=missing, period=period, start=start)
    mean, low, high = (tidied(value, high - low) for value in (float(seen.mean()), low, high))
    return ColumnFacts(mean=mean, deviation=float(seen.std()), low=low, high=high, missing=missing)


def one_neuron_error(som: SOM, samples: NDArray[np.float32], mean: NDArray[np.float64]) -> float:
    """Mean distance of samples (n, d) to their mean (d,) in the metric of the map: what a map has to improve on."""
    settings = {"x": 1, "y": 1, "topology": "rectangular", "pbc": False}
    single = SOM.from_config(som.config.model_copy(update=settings), num_features=som.num_features)
    single.weights = torch.from_numpy(mean).float().reshape(1, 1, -1).to(single.device)
    return single.quantization_error(torch.from_numpy(samples))


def row_table(
    som: SOM, parts: tuple[Labelled, Labelled], time: pl.Series | None = None, every: int = 1
) -> pl.DataFrame:
    """Where rows fell, one line a row: all, or of more than `MOST_ROWS` every second, third, ..., from the first on.

    Args:
        som: The map.
        parts: Rows that trained, and rows that were held out; their numbers are 0 to n - 1, times `every`.
        time: Of each of these n rows; None without a time column.
        every: Which rows of a larger dataset they are.

    Returns:
        `sample`, the number of the row in reading order from 0; `row` and `col` of its neuron, -1 where it has none;
        `distance` to it, as `quantization_error` of an answer; `anomaly`, the distance in units of what is normal for
        that neuron (`SOM.anomaly_score`); both null where there is no neuron, and `anomaly` on a map whose weights were
        not trained; `heldout`, whether it was kept from training; and `time` where there is one.
    """
    step = max(1, -(-sum(map(len, parts)) // MOST_ROWS))
    tables = [
        _places(som, part.take(np.flatnonzero(part.numbers // every % step == 0)), i == 1)
        for i, part in enumerate(parts)
    ]
    table = pl.concat(tables).sort("sample")
    return table if time is None else table.with_columns(time.gather(table["sample"] // every).alias("time"))


def _places(som: SOM, rows: Labelled, heldout: bool) -> pl.DataFrame:
    """The lines of some rows."""
    index, distance, score = np.empty((0, 1), dtype=np.int64), np.empty(0), np.empty(0)
    if len(rows):
        samples = torch.from_numpy(rows.samples).to(som.device)
        found = som.winners(samples, distances=True)
        index, distance = found.index[:, :1].cpu().numpy(), found.distance[:, 0].cpu().double().numpy()
        score = _anomaly_score(som, samples)
    places = som.places(torch.from_numpy(index[:, 0])).numpy().astype(np.int32)
    return pl.DataFrame(
        {
            "sample": rows.numbers,
            "row": places[:, 0],
            "col": places[:, 1],
            "distance": pl.Series(distance, nan_to_null=True),
            "anomaly": pl.Series(score, nan_to_null=True),
            "heldout": np.full(len(rows), heldout),
        }
    )


def _anomaly_score(som: SOM, samples: torch.Tensor) -> NDArray[np.float64]:
    """How unusual samples (n, d) are, shape (n,); NaN on a map that does not know what is normal."""
    try:
        return np.asarray(som.anomaly_score(samples).cpu().numpy())
    except NotFittedError:
        return np.full(len(samples), np.nan)


def _time_span(source: Source, found: Survey) -> TimeSpan | None:
    if source.time is None:
        return None
    return TimeSpan(column=source.time, first=str(found.first), last=str(found.last))

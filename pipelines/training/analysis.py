"""What a trained map says: maps of hits, distances and targets, clusters of neurons, and how good it is."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from pipelines.data.classes import Classes
from pipelines.data.scaling import Scaler
from pipelines.settings.sections import AnalysisConfig
from pipelines.training.fitting import TrainedMap
from somlib import SOM
from somlib.utils.clustering import CLUSTERING_METHODS, ClusterResult
from somlib.utils.grid import Grid
from somlib.utils.maps import NeuronSamples, mean_map, neuron_samples, rank_map, score_map, std_map
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.winners import Winners

TARGET_MAPS: Mapping[str, Callable[[NeuronSamples, torch.Tensor], torch.Tensor]] = {
    "mean": mean_map, "std": std_map, "score": score_map, "rank": rank_map
}  # fmt: skip


@dataclass(frozen=True)
class TargetMaps:
    """How one target is spread over the map.

    Attributes:
        counts: Training rows of each neuron that have a value of it, int64, shape (x, y).
        maps: `mean`, `std`, `score` and `rank` of these, shape (x, y) each; NaN where a neuron has no such row.
    """

    counts: NDArray[np.int64]
    maps: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ClassMaps:
    """How the classes of one target are spread over the map.

    Attributes:
        names: Of the classes, as text.
        counts: Training rows of each class on each neuron, int64, shape (x, y, c).
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows with a known class, shape (x, y)."""
        rows: NDArray[np.int64] = self.counts.sum(axis=2)
        return rows

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class among them, NaN on a neuron without any, shape (x, y, c)."""
        rows = self.rows[..., None].astype(np.float64)
        shares: NDArray[np.float64] = np.divide(
            self.counts, rows, out=np.full(self.counts.shape, np.nan), where=rows > 0
        )
        return shares

    @property
    def most(self) -> NDArray[np.float64]:
        """Place of the most frequent class, the first among equals; NaN on a neuron without any, shape (x, y)."""
        return np.where(self.rows > 0, self.counts.argmax(axis=2), np.nan)

    @property
    def purity(self) -> NDArray[np.float64]:
        """Share of the most frequent class, shape (x, y)."""
        purity: NDArray[np.float64] = self.shares.max(axis=2)
        return purity


@dataclass(frozen=True)
class Analysis:
    """What a map says about the samples it was trained on.

    Attributes:
        hits: Training samples of each neuron, shape (x, y).
        distances: Mean distance of each neuron to its neighbors, scaled to at most 1, shape (x, y).
        weights: In the units of the data, shape (x, y, d).
        means: Means over the training rows of each neuron, in the units of the data, NaN where no row has a value,
            shape (x, y, d).
        counts: Training rows with a value that these are means of, int64, shape (x, y, d).
        scaler: How the features were made and scaled.
        targets: Those that are numbers, by name.
        clusters: Of neurons.
        winner: Nearest neuron of each training row, flat index, -1 for none, int64, shape (n,).
        distance: To it, NaN for none, float64, shape (n,).
        classes: Targets that are classes, by name.
        target_names: Of all targets, in the order of the experiment; none stands for those of `targets`.
    """

    hits: NDArray[np.float64]
    distances: NDArray[np.float64]
    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    counts: NDArray[np.int64]
    scaler: Scaler
    targets: Mapping[str, TargetMaps]
    clusters: ClusterResult
    winner: NDArray[np.int64]
    distance: NDArray[np.float64]
    classes: Mapping[str, ClassMaps] = field(default_factory=dict)
    target_names: tuple[str, ...] = ()

    @property
    def stems(self) -> dict[str, str]:
        """The name of each target in files and metrics."""
        names = self.target_names or tuple(self.targets)
        return dict(zip(names, file_stems(names), strict=True))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what a person reads: a cycle is one value, a category a share for each of its values; length q."""
        return self.scaler.readable

    @cached_property
    def planes(self) -> NDArray[np.float64]:
        """What the weights stand for, by `features`, shape (x, y, q)."""
        return self.scaler.collapse(self.weights)


def analyze(  # seven: the last two are independent, may be left out and are given by name
    som: SOM,
    samples: NDArray[np.float32],
    targets: Mapping[str, NDArray[np.float64]],
    scaler: Scaler,
    config: AnalysisConfig,
    winners: Winners | None = None,
    classes: Mapping[str, Classes] | None = None,
) -> Analysis:
    """Maps and clusters of a trained map.

    Args:
        som: The map.
        samples: What it was trained on, scaled, shape (n, d).
        targets: By name, shape (n,), NaN where missing.
        scaler: How the samples were scaled.
        config: How neurons are clustered.
        winners: Nearest neurons of the samples, with distances; None searches for them.
        classes: Of the targets that are classes, whose values are codes.
    """
    known = classes or {}
    found = winners or som.winners(torch.from_numpy(samples), distances=True)  # one search serves all
    winner, shape = found.index[:, 0].cpu(), (som.grid.x, som.grid.y)
    groups = neuron_samples(winner, som.grid.m)
    means, counts = _row_means(samples, groups)
    return Analysis(
        hits=_array(groups.count).reshape(shape),
        distances=_array(som.build_map("distance", scaling="mean")),
        weights=scaler.inverse(_array(som.weights)),
        means=scaler.inverse(means).reshape(*shape, -1),
        counts=counts.reshape(*shape, -1),
        scaler=scaler,
        targets={n: _target_maps(groups, values, shape) for n, values in targets.items() if n not in known},
        clusters=_clusters(som, samples, config),
        winner=winner.numpy(),
        distance=_array(found.distance[:, 0]),
        classes={name: _class_maps(winner.numpy(), targets[name], each, shape) for name, each in known.items()},
        target_names=tuple(targets),
    )


def _clusters(som: SOM, samples: NDArray[np.float32], config: AnalysisConfig) -> ClusterResult:
    """Clusters of neurons, with the stability of each where there are several."""
    data = torch.from_numpy(samples)
    rows = {"data": data} if CLUSTERING_METHODS[config.clustering].needs_data else {}
    clusters = som.cluster(config.clustering, config.n_clusters, config.feature_space, **rows)
    if clusters["n_clusters"] > 1:
        clusters["stability"] = som.cluster_stability(clusters, data, config.n_clusters)
    return clusters


def _row_means(samples: NDArray[np.float32], groups: NeuronSamples) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean of each feature over the observed values of the rows of each neuron, and their number, (m, d) each."""
    offset = groups.offset.numpy()
    m, d = len(offset) - 1, samples.shape[1]
    sums, counts = np.zeros((m, d)), np.zeros((m, d), dtype=np.int64)
    for neuron in np.flatnonzero(np.diff(offset)).tolist():  # few rows at a time: no copy of all in float64
        values = samples[groups.sample[offset[neuron] : offset[neuron + 1]].numpy()].astype(np.float64)
        sums[neuron], counts[neuron] = np.nansum(values, axis=0), (~np.isnan(values)).sum(axis=0)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0), counts


def _target_maps(groups: NeuronSamples, values: NDArray[np.float64], shape: tuple[int, int]) -> TargetMaps:
    """The maps of a target on the rows that have a value of it."""
    target = torch.from_numpy(values)[:, None]
    known = groups.without(~torch.isfinite(target[:, 0]))
    maps = {name: _array(build(known, target)).reshape(shape) for name, build in TARGET_MAPS.items()}
    return TargetMaps(known.count.numpy().reshape(shape), maps)


def _class_maps(
    winner: NDArray[np.int64], codes: NDArray[np.float64], classes: Classes, shape: tuple[int, int]
) -> ClassMaps:
    """The maps of classes by the neuron and the code of each row."""
    known = np.isfinite(codes) & (winner >= 0)
    place = winner[known] * len(classes) + codes[known].astype(np.int64)
    counts = np.bincount(place, minlength=shape[0] * shape[1] * len(classes))
    return ClassMaps(classes.names, counts.reshape(*shape, len(classes)))


def _array(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()


# ---------------------------------------------------------------- metrics


def train_scores(trained: TrainedMap) -> dict[str, float]:
    """Both errors on all training samples, as the last epoch of training measured them."""
    return {"train_qe": trained.quantization_errors[-1], "train_te": trained.topographic_errors[-1]}


def heldout_scores(som: SOM, heldout: NDArray[np.float32]) -> dict[str, float]:
    """Both errors on scaled samples that did not train, shape (k, d); nothing where there are none."""
    if not len(heldout):
        return {}
    found = som.winners(torch.from_numpy(heldout), k=2, distances=True)  # one search serves both
    return {"heldout_qe": quantization_error(found), "heldout_te": topographic_error(found, som.grid)}


def measure(trained: TrainedMap, heldout: NDArray[np.float32], clusters: ClusterResult) -> dict[str, float]:
    """Everything that says how good a map is."""
    return train_scores(trained) | heldout_scores(trained.som, heldout) | cluster_scores(clusters)


def cluster_scores(clusters: ClusterResult) -> dict[str, float]:
    """Number of clusters, the scores under `cluster/`, and the stability of each under `cluster/stability/`."""
    scores: dict[str, Any] = {
        name: clusters[name] for name in ("inertia", "bic", "aic", "n_components") if name in clusters
    }
    scores |= clusters["metrics"]
    numbers = {f"cluster/{name}": float(value) for name, value in scores.items()}
    for cluster, value in enumerate(clusters.get("stability", torch.empty(0)).tolist(), start=1):
        if np.isfinite(value):  # a number that a cluster of an earlier map has
            numbers[f"cluster/stability/{cluster}"] = value
    return {"clusters": float(clusters["n_clusters"])} | numbers


# ---------------------------------------------------------------- tables


def tables(analysis: Analysis) -> dict[str, pl.DataFrame]:
    """Every map as a table with one row a neuron in flat order, by the path of its file without suffix.

    All tables open with `row` and `col`, by which they join.
    """
    row, col = np.indices(analysis.hits.shape)
    places = pl.DataFrame({"row": row.ravel(), "col": col.ravel()})
    hits = analysis.hits.ravel().astype(np.int64)
    planes = pl.DataFrame(analysis.planes.reshape(-1, len(analysis.features)), schema=list(analysis.features))
    by_path = {
        "maps/hits": places.with_columns(hits=hits),
        "maps/distances": places.with_columns(distance=analysis.distances.ravel()),
        "maps/component_planes": pl.concat([_beside(places, planes), planes], how="horizontal"),
        "clusters": places.with_columns(cluster=analysis.clusters["labels"].cpu().numpy(), hits=hits),
    }
    by_path["cluster_profiles"] = cluster_profiles(analysis)
    for name, target in analysis.targets.items():
        flat = {statistic: values.ravel() for statistic, values in target.maps.items()}
        by_path[f"maps/target_{analysis.stems[name]}"] = places.with_columns(**flat)
    for name, classes in analysis.classes.items():
        by_path[f"maps/target_{analysis.stems[name]}"] = class_table(places, classes)
    return by_path


def class_table(places: pl.DataFrame, classes: ClassMaps) -> pl.DataFrame:
    """Each class of each neuron that has rows of it: `row`, `col`, `class` as text and `rows`; neuron by neuron."""
    counts = classes.counts.reshape(-1, len(classes.names))
    neuron, code = np.nonzero(counts)
    return places[neuron].with_columns(
        pl.Series("class", [classes.names[i] for i in code], pl.String), pl.Series("rows", counts[neuron, code])
    )


def class_maps_of(table: pl.DataFrame, names: tuple[str, ...], grid: Grid) -> ClassMaps:
    """The maps of classes from what `class_table` gave."""
    counts = np.zeros((grid.x, grid.y, len(names)), dtype=np.int64)
    place = {name: i for i, name in enumerate(names)}
    for row, col, name, rows in table.iter_rows():
        counts[row, col, place[name]] = rows
    return ClassMaps(names, counts)


def cluster_profiles(analysis: Analysis) -> pl.DataFrame:
    """What the training rows of each cluster are like: one line for each cluster and column, and for all rows.

    Returns:
        `cluster` (-1: in none, null: all rows), `column` and its `role`, `feature` or `target`; `rows`, how many
        training rows of the cluster have a value; `row_mean`, their mean in the units of the data, null where none has
        (of a target that is a class a line `TARGET=CLASS` for each, with its share);
        and `neuron_mean`, the mean weight of the cluster's neurons, whether rows fell on them or not, null for targets.
    """
    labels, d, scaler = analysis.clusters["labels"].cpu().numpy(), analysis.weights.shape[-1], analysis.scaler
    means, counts, weights = (each.reshape(-1, d) for each in (analysis.means, analysis.counts, analysis.weights))
    lines: list[tuple[int | None, str, str, int, float, float]] = []
    for cluster in (*np.unique(labels).tolist(), None):
        inside = np.ones(len(labels), dtype=bool) if cluster is None else labels == cluster
        rows, row_means = _pooled(means[inside], counts[inside])
        rows, row_means = scaler.firsts(rows), scaler.collapse(row_means)
        neuron_means = scaler.collapse(weights[inside].mean(axis=0))
        lines += [
            (cluster, name, "feature", int(rows[i]), float(row_means[i]), float(neuron_means[i]))
            for i, name in enumerate(analysis.features)
        ]
        for name, target in analysis.targets.items():
            rows, row_means = _pooled(target.maps["mean"].ravel()[inside, None], target.counts.ravel()[inside, None])
            lines.append((cluster, name, "target", int(rows[0]), float(row_means[0]), np.nan))
        for name, classes in analysis.classes.items():
            counts_of = classes.counts.reshape(-1, len(classes.names))[inside].sum(axis=0)
            total = int(counts_of.sum())
            lines += [
                (cluster, f"{name}={label}", "target", total, count / total if total else np.nan, np.nan)
                for label, count in zip(classes.names, counts_of.tolist(), strict=True)
            ]
    schema = {"cluster": pl.Int64, "column": pl.String, "role": pl.String, "rows": pl.Int64}
    table = pl.DataFrame(lines, schema=schema | {"row_mean": pl.Float64, "neuron_mean": pl.Float64}, orient="row")
    return table.with_columns(pl.col("row_mean", "neuron_mean").fill_nan(None))


def _pooled(means: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows (d,) and mean (d,) of several neurons together, from those of each (m, d); NaN where there is no row."""
    rows: NDArray[np.int64] = counts.sum(axis=0)
    sums = np.where(counts > 0, counts * means, 0.0).sum(axis=0)
    return rows, np.divide(sums, rows, out=np.full(len(rows), np.nan), where=rows > 0)


def _beside(places: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """`row` and `col`, renamed to `neuron_row`, `neuron_col` beside features that have these names."""
    free = {name: name for name in places.columns}
    while taken := [name for name, new in free.items() if new in named.columns]:
        free |= {name: f"neuron_{free[name]}" for name in taken}
    return places.rename(free)


def file_stems(names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """A file name for each column name: what file systems dislike becomes `_`, and a number tells equal ones apart."""
    stems: list[str] = []
    for name in names:
        stem = base = re.sub(r"[^\w.-]", "_", name).lstrip(".") or "_"
        count = 2
        while stem.lower() in (taken.lower() for taken in stems):
            stem, count = f"{base}_{count}", count + 1
        stems.append(stem)
    return stems

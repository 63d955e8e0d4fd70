"""A new map that reads like the one before it: aligned to it, its clusters under their old numbers.

Which way a map lies, and in which order clusters are found, is chance. Without care every
retrained map would be turned, mirrored and renumbered, and whoever watches its neurons and clusters over time would see
a change where there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.data import Dataset
from pipelines.data.samples import samples_of
from pipelines.data.scaling import Scaler
from pipelines.model.map_model import MapModel
from pipelines.training.analysis import file_stems
from pipelines.training.fitting import TrainedMap, in_units_of
from somlib import SOM
from somlib.utils.alignment import NOISE, Displacement, aligned, cluster_stability, matched_labels
from somlib.utils.clustering import ClusterResult


@dataclass(frozen=True)
class AlignedMap:
    """A map aligned to the one before it.

    Attributes:
        trained: The map; as it was where it has another grid, and cannot be compared neuron by neuron.
        moved: How far it lies from the one before, as metrics: `share` and `share_before` (as a share of the spread of
            the old map, after and before it was aligned), `grid_distance` (cell widths that rows have moved),
            `feature/NAME` (mean difference of weights, in the units of the data). Empty with another grid.
    """

    trained: TrainedMap
    moved: Mapping[str, float]


def align_to(
    champion: MapModel, trained: TrainedMap, scaler: Scaler, dataset: Dataset, rows: NDArray[np.int64]
) -> AlignedMap:
    """A trained map, turned or mirrored so that it lies like the champion.

    Args:
        champion: What serves.
        trained: The new map, of the same features.
        scaler: How its samples are scaled.
        dataset: Rows.
        rows: Numbers of those whose places on both maps measure the movement.
    """
    if trained.som.grid != champion.som.grid:
        return AlignedMap(trained, {})
    old, new = _in_data_units(champion, champion.som, champion.scaler), _in_data_units(champion, trained.som, scaler)
    winners = winner(champion.som, champion.scaler, dataset, rows), winner(trained.som, scaler, dataset, rows)
    found = aligned(old, new, champion.som.grid, *winners)
    moved = _metrics(found.after, champion.scaler.features) | {"moved/share_before": found.before.share}
    return AlignedMap(replace(trained, som=trained.som.reoriented(found.permutation), winners=None), moved)


def _in_data_units(champion: MapModel, som: SOM, scaler: Scaler) -> Tensor:
    """A codebook with the features in the champion's order, shape (m, d)."""
    codebook = in_units_of(champion.scaler, som, scaler).codebook.cpu()
    return torch.from_numpy(champion.scaler.inverse(codebook))


def winner(som: SOM, scaler: Scaler, dataset: Dataset, rows: NDArray[np.int64]) -> Tensor:
    """Flat index of the neuron of rows of a dataset, -1 where they have none, int64, shape (n,)."""
    samples = samples_of(dataset, scaler, rows)
    return som.winners(torch.from_numpy(samples).to(som.device)).index[:, 0].cpu()


def _metrics(displacement: Displacement, features: tuple[str, ...]) -> dict[str, float]:
    by_feature = zip(file_stems(features), displacement.by_feature.tolist(), strict=True)
    distance = displacement.grid_distance
    return {
        "moved/share": displacement.share,
        **({} if distance is None else {"moved/grid_distance": distance}),
        **{f"moved/feature/{stem}": value for stem, value in by_feature},
    }


# ---------------------------------------------------------------- clusters


@dataclass(frozen=True)
class MatchedClusters:
    """Clusters under the numbers that the champion's have.

    Attributes:
        clusters: They; numbers may have gaps, where a cluster of the champion has no successor.
        stability: Adjusted Rand index of the rows' clusters on both maps: 1 where they are the same, 0 for chance; NaN
            where it is not defined.
    """

    clusters: ClusterResult
    stability: float


def match_labels(
    champion: MapModel, som: SOM, scaler: Scaler, clusters: ClusterResult, dataset: Dataset, rows: NDArray[np.int64]
) -> MatchedClusters:
    """The clusters of a new map, each under the number of the champion's cluster that shares most rows with it.

    Args:
        champion: What serves.
        som: The new map.
        scaler: How its samples are scaled.
        clusters: Of its neurons.
        dataset: Rows.
        rows: Numbers of those whose clusters on both maps are compared.
    """
    old, new = winner(champion.som, champion.scaler, dataset, rows), winner(som, scaler, dataset, rows)
    assigned = (old >= 0) & (new >= 0)
    labels = clusters["labels"].cpu()
    before, after = champion.clusters[old[assigned]], labels[new[assigned]]
    numbers = matched_labels(before, after, labels, highest=int(champion.clusters.max()))
    return MatchedClusters(_with_numbers(clusters, labels, numbers), cluster_stability(before, after))


def _with_numbers(clusters: ClusterResult, labels: Tensor, numbers: Tensor) -> ClusterResult:
    """Clusters under other numbers; a number that no cluster has gets NaN for its center, and 0 for its probability."""
    pairs = {int(old): int(new) for old, new in zip(labels, numbers, strict=True) if old != NOISE}
    old, new = (torch.tensor(list(each), dtype=torch.int64) - 1 for each in (pairs.keys(), pairs.values()))
    count = max(pairs.values(), default=0)
    centers = clusters["centers"].new_full((count, clusters["centers"].shape[1]), torch.nan)
    centers[new] = clusters["centers"][old]
    changed = dict(clusters) | {"labels": numbers.to(clusters["labels"].device), "centers": centers}
    if "stability" in clusters:
        stability = clusters["stability"].new_full((count,), torch.nan)
        stability[new] = clusters["stability"][old]
        changed["stability"] = stability
    for name in ("probabilities", "membership"):
        values = clusters.get(name)
        if isinstance(values, Tensor) and values.ndim == 2:
            columns = values.new_zeros((len(values), count))
            columns[:, new] = values[:, old]
            changed[name] = columns
    return cast(ClusterResult, changed)

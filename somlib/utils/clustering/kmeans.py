"""The smallest sum of squared distances to k means."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.clustering.choosing import best_silhouette
from somlib.utils.clustering.method import ClusteringMethod, Partition, one_thread, starts
from somlib.utils.clustering.neurons import Neurons, checked, is_whole, neurons_of
from somlib.utils.grid import Grid

if TYPE_CHECKING:
    from sklearn.cluster import KMeans


KMEANS_STARTS, KMEANS_STARTED = 10, 20_000  # starts, and neurons that all starts have together where a map is large


def kmeans_inertias(features: Tensor, max_k: int, random_seed: int = 0) -> tuple[list[int], list[float]]:
    """The K-Means inertia by number of clusters: the curve with the elbow.

    Args:
        features: Features of the neurons, finite, shape (m, f).
        max_k: Largest number of clusters, at least 1; the curve ends earlier where fewer neurons are distinct.
        random_seed: Fixes the starts, >= 0.

    Returns:
        Numbers of clusters from 1 up, and the sum of squared distances to the centers for each.

    Raises:
        ArgumentError: `max_k` is below 1, or `random_seed` below 0.
        ShapeError: `features` is not of shape (m, f).
        DataError: `features` is not finite.
        DataTypeError: `features` is not of a float type.
    """
    if not is_whole(max_k, least=1):
        raise ArgumentError(f"max_k must be a whole number of at least 1, got {max_k!r}")
    values = checked(features, "features")
    neurons = neurons_of(values, torch.finfo(features.dtype).eps, Grid(1, len(values)), random_seed)
    counts = list(range(1, min(max_k, neurons.distinct) + 1))
    with one_thread():
        return counts, [float(_fit_kmeans(neurons, k, {}).inertia_) for k in counts]


def _kmeans(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    def partition(k: int) -> Partition:
        model = _fit_kmeans(neurons, k, options)
        return Partition(model.labels_.astype(np.int64), scores={"inertia": float(model.inertia_)})

    return partition(n_clusters) if n_clusters else best_silhouette(neurons, partition)


def _fit_kmeans(neurons: Neurons, k: int, options: Mapping[str, Any]) -> "KMeans":
    from sklearn.cluster import KMeans  # slow to import, and no map needs it to train

    # No tolerance: it ends when no neuron moves, so that the centers are the means of their members.
    defaults = {"n_init": starts(len(neurons.points), KMEANS_STARTS, KMEANS_STARTED), "tol": 0.0}
    return KMeans(k, random_state=neurons.seed, **{**defaults, **options}).fit(neurons.points)


KMEANS = ClusteringMethod(_kmeans, "K-Means", ("n_init", "max_iter", "tol", "algorithm"))

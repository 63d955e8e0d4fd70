"""Merges of neighboring clusters that add the least variance."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from somlib.utils.clustering.choosing import best_silhouette
from somlib.utils.clustering.contiguity import graph_of, neighbor_pairs, pieces
from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one
from somlib.utils.clustering.neurons import IntArray, Neurons


def _ward(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        return Partition(all_in_one(neurons))
    from sklearn.cluster import ward_tree  # slow to import, and no map needs it to train

    connectivity = graph_of(*neighbor_pairs(neurons.grid), neurons.grid.m)
    merges = ward_tree(neurons.points, connectivity=connectivity)[0].astype(np.int64)

    def partition(k: int) -> Partition:
        return Partition(_cut(merges, k))

    return partition(n_clusters) if n_clusters else best_silhouette(neurons, partition)


def _cut(merges: IntArray, k: int) -> IntArray:
    """The k clusters after the first m - k merges; row i joins two nodes into node m + i, shape (m - 1, 2)."""
    m = len(merges) + 1
    done = merges[: m - k]
    parents = np.repeat(np.arange(m, m + len(done)), 2)
    cluster = pieces(graph_of(done.ravel(), parents, m + len(done)))
    return cluster[:m]


WARD = ClusteringMethod(_ward, "Ward's method")

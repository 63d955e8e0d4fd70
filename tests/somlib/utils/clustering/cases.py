"""Maps with known groups, and the scores of clusters as plain loops."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import make_blobs
from torch import Tensor

from somlib.utils.clustering import CLUSTERING_METHODS
from tests.somlib import oracle
from tests.somlib.oracle import Lattice

METHODS = [name for name, method in CLUSTERING_METHODS.items() if not (method.needs_rows or method.needs_data)]
SEPARATE = [[-20.0, 0.0], [20.0, 0.0], [0.0, 30.0], [0.0, -30.0], [45.0, 45.0]]
TIGHT = torch.arange(6).double() / 10
Array = NDArray[np.float64]


def normal(m: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(sizes: Sequence[int], seed: int = 0) -> tuple[Tensor, list[int]]:
    """Round, well separated groups in flat order, and the group of each neuron from 1."""
    data, group = make_blobs(list(sizes), centers=np.array(SEPARATE[: len(sizes)]), shuffle=False, random_state=seed)
    return torch.from_numpy(data), (group + 1).tolist()


def silhouettes_by_definition(points: Array, labels: Sequence[int]) -> list[float]:
    values = []
    for i in range(len(points)):
        mean = {
            cluster: np.mean(
                [math.dist(points[i], points[j]) for j in range(len(points)) if labels[j] == cluster and j != i]
            )
            for cluster in set(labels)
            if any(labels[j] == cluster and j != i for j in range(len(points)))
        }
        if labels[i] not in mean:
            values.append(0.0)
            continue
        a, b = mean[labels[i]], min(value for cluster, value in mean.items() if cluster != labels[i])
        values.append(float((b - a) / max(a, b)))
    return values


def contiguity_by_definition(lattice: Lattice, labels: Sequence[int]) -> float:
    """Walk through each cluster from every neuron; the largest piece counts."""
    largest: dict[int, int] = {}
    for start, cluster in enumerate(labels):
        seen, stack = {start}, [start]
        while stack:
            for there in oracle.neighbors(lattice)[stack.pop()] - seen:
                if labels[there] == cluster:
                    seen.add(there)
                    stack.append(there)
        largest[cluster] = max(largest.get(cluster, 0), len(seen))
    return sum(size for cluster, size in largest.items() if cluster > 0) / sum(cluster > 0 for cluster in labels)

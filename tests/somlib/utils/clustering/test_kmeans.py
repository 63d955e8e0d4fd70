"""K-Means against an exhaustive search and its own conditions."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from somlib.errors import ArgumentError
from somlib.utils.clustering import cluster_neurons, kmeans_inertias
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import normal


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmeans_finds_the_partition_that_an_exhaustive_search_finds(k: int) -> None:
    codebook = normal(8, 2, seed=3)
    points = codebook.numpy()

    def inertia(labels: Sequence[int]) -> float:
        groups = [points[np.array(labels) == cluster] for cluster in range(k)]
        return sum(float(np.square(group - group.mean(axis=0)).sum()) for group in groups)

    best = min(inertia(labels) for labels in itertools.product(range(k), repeat=8) if len(set(labels)) == k)
    result = cluster_neurons(codebook, Grid(2, 4), "kmeans", n_clusters=k)
    assert result["inertia"] == pytest.approx(best, rel=1e-5, abs=1e-9)
    assert inertia([label - 1 for label in result["labels"].tolist()]) == pytest.approx(best)


def test_kmeans_ends_with_every_neuron_nearest_to_its_center_and_every_center_the_mean_of_its_members() -> None:
    codebook = normal(400, 3)
    result = cluster_neurons(codebook, Grid(20, 20), n_clusters=7)
    squares = ((codebook[:, None] - result["centers"]) ** 2).sum(dim=2)
    assert torch.equal(squares.argmin(dim=1) + 1, result["labels"])
    assert result["inertia"] == pytest.approx(squares.min(dim=1).values.sum().item(), rel=1e-6)


def test_the_elbow_curve_is_the_inertia_of_each_clustering() -> None:
    codebook, grid = normal(25, 2), Grid(5, 5)
    counts, inertias = kmeans_inertias(codebook, max_k=6, random_seed=3)
    assert counts == [1, 2, 3, 4, 5, 6]
    assert inertias[0] == pytest.approx(25 * codebook.var(dim=0, correction=0).sum().item(), rel=1e-5)
    assert inertias == sorted(inertias, reverse=True)
    for k, inertia in zip(counts, inertias, strict=True):
        assert cluster_neurons(codebook, grid, n_clusters=k, random_seed=3)["inertia"] == inertia


def test_the_elbow_curve_ends_with_the_distinct_neurons() -> None:
    counts, inertias = kmeans_inertias(torch.tensor([[0.1], [0.7], [0.1], [0.9]]), max_k=10)
    assert counts == [1, 2, 3]
    assert inertias[-1] == pytest.approx(0, abs=1e-12)


def test_an_elbow_curve_needs_a_k() -> None:
    with pytest.raises(ArgumentError, match="max_k must be a whole number of at least 1, got 0"):
        kmeans_inertias(normal(6, 2), max_k=0)

"""How stable clusters are: by hand, and on maps of rows with and without groups."""

from typing import Any

import numpy as np
import pytest
import torch

from somlib.errors import ArgumentError, ShapeError
from somlib.utils.clustering import cluster_stability
from tests.somlib.utils.clustering.test_connectivity import blobs, trained

LABELS = torch.tensor([1, 1, 2, 2, -1, 3])
WINNER = torch.tensor([0, 1, 1, 1, 2, 3, 4])  # no row on the last neuron


def test_the_stability_is_the_mean_of_the_largest_jaccard_indices() -> None:
    """Four rows in 1, two in 2, one in noise. Of two answers one is the same, the other moves neuron 1 over to 2."""
    answers = [np.array([7, 7, 5, 5, -1, 1]), np.array([1, 2, 2, 2, 2, 1])]
    found = cluster_stability(LABELS, WINNER, torch.ones(7), lambda weight, seed: answers.pop(), 2, 0)
    # 1 is {0, 1, 2, 3}: with {0} 1/4, with {1, ..., 6} 3/7. 2 is {4, 5}: with {1, ..., 6} 2/6.
    np.testing.assert_allclose(found[:2], [(1 + 3 / 7) / 2, (1 + 1 / 3) / 2])
    assert torch.isnan(found[2])


def test_rows_are_drawn_by_their_weight_and_seeds_differ() -> None:
    weights, seeds = [], []

    def recluster(weight: Any, seed: int) -> Any:
        weights.append(weight)
        seeds.append(seed)
        return LABELS.numpy()

    given = torch.tensor([1.0, 2, 3, 4, 5, 6, 7])
    found = cluster_stability(LABELS, WINNER, given, recluster, 300, 1)
    np.testing.assert_allclose(found[:2], [1.0, 1.0])
    assert np.sum(weights, axis=1) == pytest.approx(28.0)
    np.testing.assert_allclose(np.mean(weights, axis=0), given, rtol=0.15)
    assert len(set(seeds)) == 300


@pytest.mark.parametrize("method", ["mixture", "connectivity", "kmeans", "hdbscan"])
def test_groups_that_lie_apart_are_stable(method: str) -> None:
    data, _ = blobs(3, n=60)
    som = trained(data)
    stability = som.cluster_stability(som.cluster(method, data=data), data, resamples=3)
    assert stability.shape == (3,)
    assert stability.min() > 0.9


def test_more_clusters_than_groups_are_not_and_the_same_call_says_the_same() -> None:
    data, _ = blobs(1, n=300)
    som = trained(data)
    clusters = som.cluster("mixture", 4, data=data)
    first, second = (som.cluster_stability(clusters, data, 4, resamples=4) for _ in range(2))
    assert first.min() < 0.75
    assert torch.equal(first, second)


def test_what_does_not_fit_is_refused() -> None:
    data, _ = blobs(2, n=30)
    som, other = trained(data), trained(data, x=2, y=2)
    clusters = som.cluster()
    with pytest.raises(ShapeError, match="clusters must be of 4 neurons"):
        other.cluster_stability(clusters, data)
    with pytest.raises(ArgumentError, match="resamples must be a whole number"):
        som.cluster_stability(clusters, data, resamples=0)
    with pytest.raises(ShapeError, match="of the same rows"):
        cluster_stability(LABELS, WINNER, torch.ones(3), lambda weight, seed: LABELS.numpy(), 1, 0)

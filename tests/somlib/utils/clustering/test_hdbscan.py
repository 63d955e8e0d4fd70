"""HDBSCAN of the package against that of scikit-learn, and what the package gives beside it."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from somlib.errors import SomlibWarning
from somlib.utils.clustering import cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib.oracle import Lattice
from tests.somlib.utils.clustering.cases import blobs, normal


@pytest.mark.parametrize("options", [{}, {"min_cluster_size": 8}, {"cluster_selection_method": "leaf"}])
def test_hdbscan_agrees_with_scikit_learn(options: dict[str, Any]) -> None:
    """Whose min_samples counts the neuron itself."""
    codebook = torch.cat([blobs([40, 40, 15])[0], 60 * normal(5, 2)])
    model = HDBSCAN(**{"min_cluster_size": 5, "min_samples": 2, **options}, copy=True).fit(codebook.numpy())
    result = cluster_neurons(codebook, Grid(10, 10), "hdbscan", **options)
    labels = result["labels"].numpy()
    assert 0 < (model.labels_ < 0).sum() < 50
    assert ((labels < 0) == (model.labels_ < 0)).all()
    assert adjusted_rand_score(model.labels_, labels) == 1
    np.testing.assert_allclose(result["probabilities"].numpy(), model.probabilities_, rtol=1e-3)


def test_hdbscan_says_how_much_each_neuron_belongs_to_each_cluster() -> None:
    codebook, group = blobs([40, 40, 15])
    between = codebook[[0, 40]].mean(dim=0, keepdim=True)
    result = cluster_neurons(torch.cat([codebook, between, between + 200]), Grid(1, 97), "hdbscan")
    membership, labels = result["membership"].numpy(), result["labels"].numpy()
    assert membership.shape == (97, result["n_clusters"]) == (97, 3)
    assert (membership >= 0).all()
    assert (membership.sum(axis=1) <= 1 + 1e-6).all()
    inside = (labels > 0) & (np.arange(97) < 95)
    assert (membership[inside].argmax(axis=1) + 1 == labels[inside]).all()
    assert labels[inside].tolist() == [k for k, held in zip(group, inside, strict=False) if held]
    scores = result["outlier_scores"].numpy()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[96] == scores.max()
    assert 0.5 < result["relative_validity"] <= 1


def test_fewer_than_two_clusters_have_membership_and_no_validity() -> None:
    codebook = normal(60, 2)
    nothing = cluster_neurons(codebook, Grid(6, 10), "hdbscan", min_cluster_size=40)
    assert (nothing["n_clusters"], tuple(nothing["membership"].shape)) == (0, (60, 0))
    one = cluster_neurons(codebook, Grid(6, 10), "hdbscan", allow_single_cluster=True, min_cluster_size=40)
    assert (one["n_clusters"], tuple(one["membership"].shape)) == (1, (60, 1))
    assert np.isnan(nothing["relative_validity"])
    assert np.isnan(one["relative_validity"])


def test_cells_of_equal_density_are_no_dense_regions() -> None:
    """Distances between hexagons differ in their last bits, and HDBSCAN takes them for a hierarchy."""
    for lattice in (Lattice(10, 10, False, False), Lattice(10, 10, True, False), Lattice(25, 15, True, False)):
        grid = Grid(**lattice.arguments)
        result = cluster_neurons(normal(grid.m, 2), grid, "hdbscan", feature_space="positions")
        assert result["n_clusters"] == 0
        assert result["centers"].shape == (0, 2)
        assert result["metrics"]["noise_ratio"] == 1


def test_hdbscan_says_that_it_takes_no_number_of_clusters() -> None:
    codebook, _ = blobs([18, 18])
    with pytest.warns(SomlibWarning, match="n_clusters=5 has no effect: method='hdbscan' finds the number"):
        assert cluster_neurons(codebook, Grid(6, 6), "hdbscan", n_clusters=5)["n_clusters"] == 2

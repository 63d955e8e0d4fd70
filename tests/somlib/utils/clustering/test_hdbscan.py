"""HDBSCAN against scikit-learn."""

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
    codebook = torch.cat([blobs([40, 40, 15])[0], 60 * normal(5, 2)])
    model = HDBSCAN(**{"min_cluster_size": 5, "min_samples": 2, **options}, copy=True).fit(codebook.numpy())
    result = cluster_neurons(codebook, Grid(10, 10), "hdbscan", **options)
    labels = result["labels"].numpy()
    assert 0 < (model.labels_ < 0).sum() < 50
    assert ((labels < 0) == (model.labels_ < 0)).all()
    assert adjusted_rand_score(model.labels_, labels) == 1
    np.testing.assert_allclose(result["probabilities"].numpy(), model.probabilities_, rtol=1e-3)


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

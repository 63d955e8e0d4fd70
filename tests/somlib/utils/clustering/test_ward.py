"""Ward's method against scikit-learn."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from somlib.utils.clustering import cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Lattice
from tests.somlib.utils.clustering.cases import contiguity_by_definition, normal


@pytest.mark.parametrize("k", [1, 2, 5, 20])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_ward_agrees_with_scikit_learn_under_the_grids_own_connectivity(lattice: Lattice, k: int) -> None:
    codebook = normal(lattice.m, 3, seed=lattice.x)
    pairs = [(a, b) for a, found in enumerate(oracle.neighbors(lattice)) for b in found]
    ones, (rows, columns) = np.ones(len(pairs)), zip(*pairs, strict=True)
    connectivity = coo_array((ones, (rows, columns)), shape=(lattice.m, lattice.m)).tocsr()
    model = AgglomerativeClustering(k, linkage="ward", connectivity=connectivity)
    expected = model.fit_predict(codebook.numpy())
    result = cluster_neurons(codebook, Grid(**lattice.arguments), "ward", n_clusters=k)
    assert adjusted_rand_score(expected, result["labels"].numpy()) == 1
    assert contiguity_by_definition(lattice, result["labels"].tolist()) == 1

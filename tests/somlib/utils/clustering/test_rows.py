"""Rows in the clusters of their nearest neurons."""

import numpy as np
import pytest
import torch

from somlib import SOM
from somlib.errors import ShapeError
from somlib.utils.clustering import cluster_neurons, row_clusters
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import METHODS, blobs

CODEBOOK, GROUP = blobs([40, 30, 30])


@pytest.mark.parametrize("method", METHODS)
def test_a_row_has_label_and_strength_of_its_nearest_neuron(method: str) -> None:
    clusters = cluster_neurons(CODEBOOK, Grid(10, 10), method)
    winner = torch.tensor([99, 3, -1, 40, 3])
    found = row_clusters(winner, clusters, torch.tensor([False, False, False, False, True]))
    for row, neuron in enumerate(winner.tolist()):
        away = neuron < 0 or row == 4
        assert found.labels[row] == (-1 if away else clusters["labels"][neuron])
        own = float("nan")
        if "probabilities" in clusters:
            of = clusters["probabilities"][neuron]
            own = float(of if of.ndim == 0 else of[clusters["labels"][neuron] - 1])
        assert float(found.strength[row]) == pytest.approx(0.0 if away else own, nan_ok=True)


def test_a_map_assigns_its_rows_and_new_ones() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(240) % 3
    data = (np.array([[0, 0], [12, 0], [0, 12]])[group] + rng.normal(size=(240, 2))).astype(np.float32)
    som = SOM(8, 8, 2, preset="balanced")
    som.fit(data, verbose=False)
    clusters = som.cluster("connectivity")
    found = som.labels_of(data, clusters)
    assert len({(int(a), int(b)) for a, b in zip(group, found.labels, strict=True)}) == 3
    assert found.strength.min() > 0.9
    far = np.array([[80.0, 80.0], data[0]], dtype=np.float32)
    assert som.labels_of(far, clusters).labels[0] > 0
    away = som.labels_of(far, clusters, alpha=0.01)
    assert (int(away.labels[0]), float(away.strength[0])) == (-1, 0.0)
    assert away.labels[1] == found.labels[0]


def test_clusters_of_another_map_are_refused() -> None:
    clusters = cluster_neurons(CODEBOOK, Grid(10, 10), "ward")
    with pytest.raises(ShapeError, match="clusters must be of 4 neurons, got 100"):
        SOM(2, 2, 2).labels_of(torch.zeros(1, 2), clusters)
    with pytest.raises(ShapeError, match="got 100 of them"):
        row_clusters(torch.tensor([100]), clusters)
    with pytest.raises(ShapeError, match=r"off_map must have shape \(1,\), like winner, got \(2,\)"):
        row_clusters(torch.tensor([0]), clusters, torch.tensor([True, False]))

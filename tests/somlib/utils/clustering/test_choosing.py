"""The number of clusters that a method takes by itself."""

import numpy as np
import pytest
import torch

from somlib.utils.clustering import MOST_CLUSTERS, cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import normal, silhouettes_by_definition
from tests.somlib.utils.clustering.test_connectivity import blobs, trained


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_the_chosen_k_has_the_best_silhouette_of_all_that_were_tried(method: str) -> None:
    codebook, grid = normal(64, 2, seed=5), Grid(8, 8)
    scores = {}
    for k in range(2, 9):
        labels = cluster_neurons(codebook, grid, method, n_clusters=k)["labels"].tolist()
        scores[k] = np.mean(silhouettes_by_definition(codebook.numpy(), labels))
    assert cluster_neurons(codebook, grid, method)["n_clusters"] == max(scores, key=lambda k: scores[k])


def test_an_automatic_k_has_an_upper_end() -> None:
    codebook = torch.arange(900.0)[:, None] // 30 * 1000 + normal(900, 1).float()  # 30 groups
    assert cluster_neurons(codebook, Grid(30, 30), "ward")["n_clusters"] == MOST_CLUSTERS


@pytest.mark.parametrize("method", ["kmeans", "ward", "hdbscan", "gmm"])
@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_rows_of_one_group_are_one_cluster_where_they_are_known(method: str, draw: str) -> None:
    rows = getattr(np.random.default_rng(0), draw)(size=(600, 3)).astype(np.float32)
    assert trained(rows).cluster(method)["n_clusters"] == 1


@pytest.mark.parametrize("method", ["kmeans", "ward", "hdbscan"])
def test_rows_of_several_groups_are_not(method: str) -> None:
    rows, _ = blobs(3)
    found = trained(rows).cluster(method)["n_clusters"]
    assert found > 1 if method == "hdbscan" else found == 3  # it may find dense spots within a group

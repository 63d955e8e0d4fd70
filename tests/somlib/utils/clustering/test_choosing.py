"""The number of clusters that a method takes by itself."""

import numpy as np
import pytest
import torch

from somlib.utils.clustering import MOST_CLUSTERS, cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import normal, silhouettes_by_definition


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

import numpy as np
import pytest
import torch

from somlib.jitl.moments import FloatArray
from somlib.jitl.neighborhoods import GaussianNeighborhood, RetrievedNeighborhood
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import neuron_samples
from somlib.utils.retrieval import RETRIEVAL_MODES, retrieve

GRIDS = [Grid(5, 4), Grid(4, 6, "hexagonal"), Grid(4, 4, "hexagonal", True), Grid(3, 3, "rectangular", True)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_gaussian_sums_match_their_definition(grid: Grid) -> None:
    sums = np.random.default_rng(0).normal(size=(grid.m, 2, 3))
    count = np.ones(grid.m)
    neighborhood = GaussianNeighborhood(grid, 1.3)
    smoothed = neighborhood.smoothed(sums, count)
    for k in range(grid.m):
        weights = np.exp(-grid.squared_distances_from(k).numpy() / (2 * 1.3**2))
        np.testing.assert_allclose(smoothed[k], np.tensordot(weights, sums, 1), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(neighborhood.weights(k, count), weights)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("mode", RETRIEVAL_MODES)
@pytest.mark.parametrize("n", [15, 400])
def test_retrieved_sums_are_those_of_the_samples_that_retrieval_finds(grid: Grid, mode: str, n: int) -> None:
    generator = torch.Generator().manual_seed(1)
    codebook = torch.randn(grid.m, 3, generator=generator)
    winner = torch.randint(0, grid.m, (n,), generator=generator)
    winner[winner == 2] = 3  # a neuron without samples
    values = torch.randn(n, generator=generator).double()
    metric, groups = Metric("euclidean"), neuron_samples(winner, grid.m)
    sums: FloatArray = np.bincount(winner.numpy(), values.numpy(), grid.m)[:, None].astype(np.float64)
    neighborhood = RetrievedNeighborhood(codebook, grid, metric, mode, 1, 30)
    smoothed = neighborhood.smoothed(sums, groups.count.double().numpy())
    found = retrieve(torch.arange(grid.m), groups, codebook, grid, metric, mode, 1, 30)
    expected = [float(values[found.of(k)].sum()) for k in range(grid.m)]
    np.testing.assert_allclose(smoothed[:, 0], expected, rtol=1e-10, atol=1e-10)


def test_retrieved_neighborhoods_follow_the_counts() -> None:
    grid, codebook = Grid(1, 4), torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    neighborhood = RetrievedNeighborhood(codebook, grid, Metric("euclidean"), "bmu_neighborhood_knn", 1, 10)
    assert neighborhood.weights(0, np.array([1.0, 1.0, 20.0, 5.0])).tolist() == [1, 1, 1, 0]
    assert neighborhood.weights(0, np.array([9.0, 1.0, 20.0, 5.0])).tolist() == [1, 1, 0, 0]

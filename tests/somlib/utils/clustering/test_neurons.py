"""What is clustered: features, and what is refused."""

import math

import pytest
import torch

from somlib.errors import DataError, DataTypeError, ShapeError
from somlib.utils.clustering import cluster_neurons, neuron_features
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import normal


def test_weights_are_clustered_as_they_are_and_positions_as_the_grid_has_them() -> None:
    grid, codebook = Grid(3, 4, "hexagonal"), normal(12, 2)
    assert torch.equal(neuron_features(codebook, grid, "weights"), codebook)
    assert torch.equal(neuron_features(codebook, grid, "positions"), grid.positions)


def test_combined_joins_weights_then_row_then_column_each_block_of_the_same_total_variance() -> None:
    grid, codebook = Grid(4, 6), 1000 + 250 * normal(24, 3)
    combined = neuron_features(codebook, grid, "combined")
    assert combined.shape == (24, 5)
    variances = combined.var(dim=0, correction=0)
    assert variances[:3].sum() == pytest.approx(1)
    assert variances[3:].sum() == pytest.approx(1)
    torch.testing.assert_close(combined[:, :3], codebook * (combined[0, 0] / codebook[0, 0]))  # one factor a block
    torch.testing.assert_close(combined[:, 3:], grid.positions * combined[1, 4])


def test_a_block_without_variance_joins_unscaled() -> None:
    equal = torch.full((6, 2), 0.1)
    combined = neuron_features(equal, Grid(2, 3), "combined")
    torch.testing.assert_close(combined[:, :2], equal)
    assert combined[:, 2:].var(dim=0, correction=0).sum().item() == pytest.approx(1)
    assert neuron_features(torch.tensor([[5.0]]), Grid(1, 1), "combined").tolist() == [[5.0, 0.0, 0.0]]


def test_bad_codebooks_are_refused() -> None:
    with pytest.raises(ShapeError, match="codebook must have 6 rows on a 2 x 3 grid, got 5"):
        cluster_neurons(normal(5, 2), Grid(2, 3))
    with pytest.raises(ShapeError, match=r"codebook must have shape \(m, f\), one row a neuron, got \(2, 3, 2\)"):
        cluster_neurons(normal(6, 2).reshape(2, 3, 2), Grid(2, 3))
    with pytest.raises(DataTypeError, match=r"codebook must be of a float type, got torch\.int64"):
        cluster_neurons(torch.arange(6)[:, None], Grid(2, 3))
    codebook = normal(6, 2)
    codebook[4, 1] = math.nan
    with pytest.raises(DataError, match="codebook must be finite, got nan at neuron 4, feature 1"):
        cluster_neurons(codebook, Grid(2, 3))

"""The topographic product against its definition, and maps with a known answer."""

import logging
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.quality import topographic, topographic_product
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice
from tests.somlib.utils.quality.cases import EUCLIDEAN, grid_of, random_map


def in_order(row: Array, j: int) -> list[list[int]]:
    """The others by distance, in groups of equal distance."""
    others = sorted((n for n in range(len(row)) if n != j), key=lambda n: row[n])
    groups: list[list[int]] = []
    for n in others:
        if groups and row[n] - row[groups[-1][0]] < 1e-9:
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def logs_by_rank(groups: list[list[int]], row: Array) -> list[float]:
    """Log distance of the l-th nearest, on average over the orders of those that tie."""
    return [sum(math.log(row[n]) for n in group) / len(group) for group in groups for _ in group]


def topographic_product_by_loops(on_grid: Array, in_features: Array) -> float:
    m, total = len(on_grid), 0.0
    for j in range(m):
        a, v = in_order(on_grid[j], j), in_order(in_features[j], j)
        q1 = np.subtract(logs_by_rank(a, in_features[j]), logs_by_rank(v, in_features[j]))
        q2 = np.subtract(logs_by_rank(a, on_grid[j]), logs_by_rank(v, on_grid[j]))
        for k in range(1, m):
            total += sum(q1[:k] + q2[:k]) / (2 * k)
    return total / (m * (m - 1))


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_topographic_product_matches_its_definition(lattice: Lattice, name: str) -> None:
    codebook = random_map(lattice)[1]
    features = np.array([[oracle.feature_distance(a, b, name) for b in codebook.numpy()] for a in codebook.numpy()])
    expected = topographic_product_by_loops(oracle.distances(lattice), features)
    assert topographic_product(codebook, grid_of(lattice), Metric(name)) == pytest.approx(expected, rel=1e-9)


def test_topographic_product_of_equally_far_neurons_matches_its_definition() -> None:
    lattice = FOUR[1]
    codebook = torch.from_numpy(np.random.default_rng(0).permutation(20)).double()[:, None]  # many tie in features too
    features = (codebook - codebook.T).abs().numpy()
    expected = topographic_product_by_loops(oracle.distances(lattice), features)
    assert topographic_product(codebook, grid_of(lattice), EUCLIDEAN) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("grid", [Grid(1, 12), Grid(6, 5), Grid(6, 5, "hexagonal")], ids=str)
def test_topographic_product_of_the_grid_itself_is_zero_at_any_scale(grid: Grid) -> None:
    # The log of a tie that rounding breaks changes nothing: both distances are equal there.
    assert topographic_product(1e3 * grid.positions + 7, grid, EUCLIDEAN) == pytest.approx(0, abs=1e-12)


def test_topographic_product_is_negative_for_a_chain_folded_into_a_plane() -> None:
    snake = [(row, column if row % 2 == 0 else 5 - column) for row in range(6) for column in range(6)]
    assert topographic_product(torch.tensor(snake).double(), Grid(1, 36), EUCLIDEAN) < -0.05


def test_topographic_product_is_positive_for_a_plane_squeezed_onto_a_line() -> None:
    grid = Grid(6, 6)
    line = grid.positions @ torch.tensor([[1.0], [0.01]], dtype=torch.float64)
    assert topographic_product(line, grid, EUCLIDEAN) > 0.05


def test_topographic_product_under_cosine_is_that_of_the_unit_vectors() -> None:
    codebook = random_map(FOUR[0])[1]
    units = codebook / codebook.norm(dim=1, keepdim=True)
    under_cosine = topographic_product(codebook, grid_of(FOUR[0]), Metric("cosine"))
    assert under_cosine == pytest.approx(topographic_product(units, grid_of(FOUR[0]), EUCLIDEAN), rel=1e-9)


def test_topographic_product_of_a_part_of_the_neurons_estimates_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = random_map(FOUR[2])[1]
    whole = topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN)
    monkeypatch.setattr(topographic, "NEURON_PAIRS", 5 * 20)
    generator = torch.Generator().manual_seed(0)
    parts = [topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN, generator) for _ in range(300)]
    assert np.std(parts) > 0
    assert np.mean(parts) == pytest.approx(whole, abs=4 * float(np.std(parts)) / math.sqrt(300))
    assert topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN) == whole


@pytest.mark.parametrize("codebook", [torch.zeros(1, 2), torch.tensor([[0.0], [1.0], [0.0]])], ids=["one", "equal"])
def test_topographic_product_needs_neurons_that_differ(codebook: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert math.isnan(topographic_product(codebook, Grid(1, len(codebook)), EUCLIDEAN))
    assert "topographic product not defined: it needs two neurons at least, and no two at distance 0" in caplog.text

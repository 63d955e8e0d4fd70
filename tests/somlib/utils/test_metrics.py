"""Quantization and topographic error against plain loops over samples."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.metrics import Adjacency, adjacent, quantization_error, topographic_error
from somlib.utils.search import Winners, make_search
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, SMALL, Lattice

NAN = float("nan")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def winners(first: Sequence[int], second: Sequence[int], distance: Sequence[float] = ()) -> Winners:
    far = torch.tensor([[d, 2 * d] for d in distance]) if distance else torch.empty(len(first), 0)
    return Winners(torch.tensor([first, second]).T, far)


def edge_neighbors(lattice: Lattice, neuron: int) -> set[int]:
    """Neurons whose cells share an edge: one cell width away (4 around a square, 6 around a hexagon)."""
    return {b for b in range(lattice.m) if b != neuron and abs(oracle.distances(lattice)[neuron, b] - 1) < 1e-9}


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_both_errors_are_those_of_a_loop_over_samples(lattice: Lattice, metric: str) -> None:
    data, codebook = normal(40, 3), normal(lattice.m, 3, seed=1)
    found = make_search(codebook, Metric(metric)).nearest(data, k=2)
    grid = Grid(**lattice.arguments)
    expected = oracle.errors(codebook.double().numpy(), data.double().numpy(), lattice, metric=metric)
    assert quantization_error(found) == pytest.approx(expected[0], rel=1e-6)
    assert topographic_error(found, grid) == pytest.approx(expected[1])
    weight = torch.arange(40) % 4
    expected = oracle.errors(codebook.double().numpy(), data.double().numpy(), lattice, weight.tolist(), metric)
    assert quantization_error(found, weight) == pytest.approx(expected[0], rel=1e-6)
    assert topographic_error(found, grid, weight=weight) == pytest.approx(expected[1])


@pytest.mark.parametrize("lattice", SMALL, ids=str)
def test_adjacency_is_that_of_the_grid_for_every_pair(lattice: Lattice) -> None:
    grid, all_of_them = Grid(**lattice.arguments), torch.arange(lattice.m)
    lattice_pairs = adjacent(grid, all_of_them[:, None], all_of_them)
    edge_pairs = adjacent(grid, all_of_them[:, None], all_of_them, "edge")
    for a in range(lattice.m):
        own = {a}
        assert set(torch.nonzero(lattice_pairs[a]).flatten().tolist()) == oracle.neighbors(lattice)[a] | own
        assert set(torch.nonzero(edge_pairs[a]).flatten().tolist()) == edge_neighbors(lattice, a) | own


@pytest.mark.parametrize("lattice", FOUR, ids=str)
@pytest.mark.parametrize("adjacency", ["lattice", "edge"])
def test_topographic_error_counts_second_winners_that_are_not_next_to_the_first(
    lattice: Lattice, adjacency: Adjacency
) -> None:
    pairs = [(a, b) for a in range(lattice.m) for b in range(lattice.m) if a != b]
    near = oracle.neighbors(lattice) if adjacency == "lattice" else [edge_neighbors(lattice, k) for k in range(lattice.m)]  # fmt: skip  # noqa: E501
    expected = sum(b not in near[a] for a, b in pairs) / len(pairs)
    found = winners([a for a, _ in pairs], [b for _, b in pairs])
    assert topographic_error(found, Grid(**lattice.arguments), adjacency) == pytest.approx(expected)


def test_errors_of_numbers_worked_by_hand() -> None:
    grid = Grid(2, 3)  # 0 1 2 / 3 4 5: 0 and 4 touch at a corner, 0 and 2 do not
    found = winners([0, 0, 0, 5], [4, 2, 1, 3], [1.0, 2.0, 3.0, 10.0])
    assert quantization_error(found) == 4.0
    assert topographic_error(found, grid) == 0.5
    assert topographic_error(found, grid, "edge") == 0.75
    assert quantization_error(found, torch.tensor([1.0, 0.0, 1.0, 0.0])) == 2.0
    assert topographic_error(found, grid, weight=torch.tensor([3, 1, 0, 0])) == 0.25


def test_samples_without_a_winner_are_left_out() -> None:
    found = winners([0, -1, 0], [1, -1, 5], [1.0, NAN, 3.0])
    assert quantization_error(found) == 2.0
    assert topographic_error(found, Grid(2, 3)) == 0.5
    assert quantization_error(found, torch.tensor([1.0, 100.0, 0.0])) == 1.0


def test_an_error_of_no_samples_is_not_a_number_and_never_0() -> None:
    nobody = winners([-1, -1], [-1, -1], [NAN, NAN])
    assert math.isnan(quantization_error(nobody))
    assert math.isnan(topographic_error(nobody, Grid(2, 3)))
    only_one_neuron = winners([0, 0], [-1, -1], [1.0, 3.0])
    assert quantization_error(only_one_neuron) == 2.0
    assert math.isnan(topographic_error(only_one_neuron, Grid(1, 1)))
    assert math.isnan(quantization_error(winners([0], [1], [1.0]), torch.zeros(1)))


def test_the_mean_of_many_float32_distances_is_taken_in_float64() -> None:
    distance = torch.full((200_000, 1), 0.1)
    found = Winners(torch.zeros(200_000, 1, dtype=torch.int64), distance)
    assert quantization_error(found) == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_an_unknown_adjacency_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="adjacency must be one of 'lattice', 'edge', got 'corner'"):
        topographic_error(winners([0], [1]), Grid(2, 2), "corner")  # type: ignore[arg-type]  # wrong on purpose

"""Hops and neighbors, against a breadth-first search over the lattice."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from somlib.errors import ArgumentError
from somlib.utils.grid import Grid
from somlib.utils.topology import hop_distances, neighbor_table, neighbors
from tests.somlib import oracle
from tests.somlib.oracle import SMALL, Lattice
from tests.somlib.utils.test_grid import grids

properties = settings(max_examples=60, deadline=None, derandomize=True)


def all_hops(grid: Grid) -> torch.Tensor:
    every = torch.arange(grid.m)
    return hop_distances(grid, every[:, None], every)


def listed(table: torch.Tensor) -> list[list[int]]:
    """The rows of a neighbor table without their padding."""
    return [[k for k in row if k >= 0] for row in table.tolist()]


@pytest.mark.parametrize("lattice", SMALL, ids=str)
def test_hops_are_the_shortest_walks_between_neighbors(lattice: Lattice) -> None:
    assert all_hops(Grid(**lattice.arguments)).tolist() == oracle.hops(lattice).tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 9])
@pytest.mark.parametrize("lattice", SMALL, ids=str)
def test_neighbors_are_what_a_walk_reaches_each_once_and_never_oneself(lattice: Lattice, order: int) -> None:
    grid = Grid(**lattice.arguments)
    expected = [oracle.within(lattice, k, order) for k in range(lattice.m)]
    table = neighbor_table(grid, order)
    assert listed(table) == expected  # ascending, so also without repeats
    assert table.shape == (lattice.m, max(len(row) for row in expected))
    assert [neighbors(grid, k, order).tolist() for k in range(lattice.m)] == expected


def test_padding_stands_at_the_end_of_each_row() -> None:
    assert neighbor_table(Grid(1, 3)).tolist() == [[1, -1], [0, 2], [1, -1]]


def test_the_hexagons_around_one_in_an_even_and_in_an_odd_row() -> None:
    grid = Grid(5, 5, "hexagonal")
    even, odd = 2 * 5 + 2, 3 * 5 + 2
    assert neighbors(grid, even).tolist() == [1 * 5 + 1, 1 * 5 + 2, 2 * 5 + 1, 2 * 5 + 3, 3 * 5 + 1, 3 * 5 + 2]
    assert neighbors(grid, odd).tolist() == [2 * 5 + 2, 2 * 5 + 3, 3 * 5 + 1, 3 * 5 + 3, 4 * 5 + 2, 4 * 5 + 3]


def test_corners_of_hexagonal_maps_have_two_or_three_neighbors() -> None:
    grid = Grid(3, 3, "hexagonal")
    assert neighbors(grid, 0).tolist() == [1, 3]
    assert neighbors(grid, 2).tolist() == [1, 4, 5]
    assert neighbors(Grid(2, 3, "hexagonal"), 5).tolist() == [2, 4]  # the last row is odd: its right corner sticks out


def test_the_wrap_joins_first_and_last_rows_and_columns_of_hexagons() -> None:
    assert neighbors(Grid(4, 4, "hexagonal", pbc=True), 0).tolist() == [1, 3, 4, 7, 12, 15]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_rings_on_a_large_torus_have_their_known_sizes(order: int) -> None:
    squares = neighbor_table(Grid(10, 10, pbc=True), order)
    hexagons = neighbor_table(Grid(10, 10, "hexagonal", pbc=True), order)
    assert squares.shape == (100, (2 * order + 1) ** 2 - 1)
    assert hexagons.shape == (100, 3 * order * (order + 1))
    assert int(torch.minimum(squares.min(), hexagons.min())) >= 0


@pytest.mark.parametrize(("x", "y"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_tiny_tori_count_each_neighbor_once(x: int, y: int) -> None:
    everyone_else = [[k for k in range(x * y) if k != own] for own in range(x * y)]
    assert listed(neighbor_table(Grid(x, y, pbc=True), 2)) == everyone_else
    if x % 2 == 0:
        assert listed(neighbor_table(Grid(x, y, "hexagonal", pbc=True), 2)) == everyone_else


def test_a_map_of_one_neuron_has_no_neighbors() -> None:
    assert neighbor_table(Grid(1, 1)).shape == (1, 0)
    assert neighbors(Grid(1, 1), 0).shape == (0,)


@properties
@given(grids(), st.integers(1, 4))
def test_neighborhood_is_mutual(grid: Grid, order: int) -> None:
    rows = listed(neighbor_table(grid, order))
    assert all(own in rows[other] for own, row in enumerate(rows) for other in row)


@properties
@given(grids(hexagonal=True))
def test_hexagons_are_neighbors_exactly_where_their_centers_are_one_apart(grid: Grid) -> None:
    every = torch.arange(grid.m)
    squared = grid.squared_distances(every[:, None], every)
    assert torch.equal(all_hops(grid) == 1, (squared - 1).abs() < 1e-9)


@properties
@given(grids(pbc=True), st.integers(0, 11), st.integers(0, 11))
def test_hops_on_a_torus_do_not_depend_on_where_one_stands(grid: Grid, down: int, right: int) -> None:
    down = 2 * down if grid.hexagonal else down
    rows, columns = grid.coordinates.unbind(1)
    moved = (rows + down) % grid.x * grid.y + (columns + right) % grid.y
    hops = all_hops(grid)
    assert torch.equal(hops[moved][:, moved], hops)


@pytest.mark.parametrize("order", [0, -1, 1.0, True, None])
def test_an_order_that_is_no_integer_of_at_least_one_is_refused(order: Any) -> None:
    message = "neighborhood_order must be an integer of at least 1, got"
    with pytest.raises(ArgumentError, match=message):
        neighbor_table(Grid(3, 3), order)
    with pytest.raises(ArgumentError, match=message):
        neighbors(Grid(3, 3), 0, order)

"""Where neurons are and how far apart, against the positions of the hexagonal and the square lattice."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from somlib.errors import ArgumentError
from somlib.utils.grid import Grid, Topology
from tests.somlib import oracle
from tests.somlib.oracle import SMALL, Lattice

properties = settings(max_examples=60, deadline=None, derandomize=True)


def all_distances(grid: Grid) -> torch.Tensor:
    every = torch.arange(grid.m)
    return grid.squared_distances(every[:, None], every).sqrt()


@st.composite
def grids(draw: st.DrawFn, pbc: bool | None = None, hexagonal: bool | None = None) -> Grid:
    wrapped = draw(st.booleans()) if pbc is None else pbc
    hexagons = draw(st.booleans()) if hexagonal is None else hexagonal
    x = draw(st.integers(1, 6)) * 2 if hexagons and wrapped else draw(st.integers(1, 12))
    return Grid(x, draw(st.integers(1, 12)), "hexagonal" if hexagons else "rectangular", wrapped)


@pytest.mark.parametrize("lattice", SMALL, ids=str)
def test_positions_and_distances_are_those_of_the_lattice(lattice: Lattice) -> None:
    grid = Grid(**lattice.arguments)
    positions = [oracle.position(lattice, k) for k in range(lattice.m)]
    torch.testing.assert_close(grid.positions, torch.tensor(positions, dtype=torch.float64), rtol=0, atol=1e-12)
    expected = torch.from_numpy(oracle.distances(lattice))
    torch.testing.assert_close(all_distances(grid), expected, rtol=0, atol=1e-12)


def test_flat_order_runs_along_the_columns_of_each_row() -> None:
    assert Grid(2, 3).coordinates.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert Grid(2, 3).m == 6


def test_odd_hexagonal_rows_are_shifted_half_a_cell_to_the_right() -> None:
    height = math.sqrt(3) / 2
    expected = [[0.0, 0.0], [0.0, 1.0], [height, 0.5], [height, 1.5], [2 * height, 0.0], [2 * height, 1.0]]
    assert Grid(3, 2, "hexagonal").positions.tolist() == expected


@pytest.mark.parametrize("row", [1, 2])  # an odd and an even row
def test_all_six_neighbors_of_an_inner_hexagon_lie_at_distance_one(row: int) -> None:
    grid = Grid(4, 5, "hexagonal")
    left = [2, 3] if row % 2 else [1, 2]
    around = [(row, 1), (row, 3), *((other, column) for other in (row - 1, row + 1) for column in left)]
    flat = torch.tensor([i * 5 + j for i, j in around])
    distances = grid.squared_distances(torch.tensor(row * 5 + 2), flat).sqrt()
    torch.testing.assert_close(distances, torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("columns", [3, 4, 7])
def test_every_hexagon_of_a_torus_has_six_others_at_distance_one_and_none_nearer(columns: int) -> None:
    distances = all_distances(Grid(4, columns, "hexagonal", pbc=True)).fill_diagonal_(torch.inf)
    assert ((distances - 1).abs() < 1e-12).sum(dim=1).tolist() == [6] * 4 * columns
    assert bool((distances > 1 - 1e-12).all())


def test_a_torus_takes_the_shorter_way_around_both_axes() -> None:
    rectangular = Grid(6, 10, pbc=True)
    corner_to_corner = rectangular.squared_distances(torch.tensor(0), torch.tensor(59))
    assert float(corner_to_corner) == 1 + 1
    hexagonal = Grid(4, 5, "hexagonal", pbc=True)  # (3, 4) lies half a column left of (4, 0), which is (0, 0) again
    assert float(hexagonal.squared_distances(torch.tensor(0), torch.tensor(19))) == pytest.approx(1, abs=1e-12)


@properties
@given(grids())
def test_distances_are_a_metric(grid: Grid) -> None:
    distances = all_distances(grid)
    assert torch.equal(distances, distances.T)
    assert bool((distances.diagonal() == 0).all())
    apart = distances + torch.eye(grid.m, dtype=torch.float64)
    assert bool((apart > 1 - 1e-12).all())
    detour = (distances[:, :, None] + distances[None]).amin(dim=1)
    assert bool((distances <= detour + 1e-12).all())


@properties
@given(grids(pbc=True), st.integers(0, 11), st.integers(0, 11))
def test_distances_on_a_torus_do_not_depend_on_where_one_stands(grid: Grid, down: int, right: int) -> None:
    down = 2 * down if grid.hexagonal else down  # an odd number of rows moves hexagons off the lattice's columns
    rows, columns = grid.coordinates.unbind(1)
    moved = (rows + down) % grid.x * grid.y + (columns + right) % grid.y
    distances = all_distances(grid)
    torch.testing.assert_close(distances[moved][:, moved], distances, rtol=0, atol=1e-12)


@properties
@given(grids())
def test_wrapping_never_makes_two_neurons_further_apart(grid: Grid) -> None:
    flat = Grid(grid.x, grid.y, grid.topology, pbc=False)
    assert bool((all_distances(grid) <= all_distances(flat) + 1e-12).all())


def test_distances_from_one_neuron_are_its_row_of_all_distances() -> None:
    grid = Grid(4, 3, "hexagonal", pbc=True)
    torch.testing.assert_close(grid.squared_distances_from(7).sqrt(), all_distances(grid)[7])


def test_squared_distances_of_whole_columns_are_exact() -> None:
    grid = Grid(1, 200_000)
    assert float(grid.squared_distances(torch.tensor(0), torch.tensor(199_999))) == 199_999.0**2


@pytest.mark.parametrize(("x", "y", "name"), [(0, 3, "x"), (3, 0, "y"), (-1, 3, "x")])
def test_a_side_below_one_is_refused(x: int, y: int, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be at least 1, got {min(x, y)}"):
        Grid(x, y)


def test_an_unknown_topology_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="'rectangular', 'hexagonal', got 'triangular'"):
        Grid(3, 3, "triangular")  # type: ignore[arg-type]  # the mistake under test


def test_a_hexagonal_torus_with_an_odd_number_of_rows_is_refused() -> None:
    with pytest.raises(ArgumentError, match="even number of rows, got x=3"):
        Grid(3, 4, "hexagonal", pbc=True)
    assert Grid(3, 4, "rectangular", pbc=True).m == 12


@pytest.mark.parametrize("pbc", [False, True])
@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_squared_distances_are_exact_whole_numbers_in_float32_too(topology: Topology, pbc: bool) -> None:
    grid = Grid(40, 30, topology, pbc)
    squares = grid.squared_distances_from(0)
    assert torch.equal(squares.float().double(), squares)
    assert torch.equal(squares.round(), squares)

import numpy as np
import pytest
import torch
from scipy import ndimage

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbors
from somlib.visualization.lattice import Floats, Lattice, expanded_distances, links
from tests.somlib.visualization.reading import GRIDS, outline


def lattice(grid: Grid) -> Lattice:
    return Lattice.of(grid, outline(grid.topology))


def area(ring: Floats) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def test_a_hexagon_is_regular_one_wide_and_stands_on_a_corner() -> None:
    corners = outline("hexagonal")
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    np.testing.assert_allclose(sides, 1 / np.sqrt(3))
    np.testing.assert_allclose(np.linalg.norm(corners, axis=1), 1 / np.sqrt(3))
    np.testing.assert_allclose(np.ptp(corners, axis=0), (2 / np.sqrt(3), 1))  # height, width
    assert any(np.allclose(corner, (1 / np.sqrt(3), 0)) for corner in corners)


@pytest.mark.parametrize("pbc", [False, True])
def test_hexagons_share_an_edge_with_exactly_their_neighbors(pbc: bool) -> None:
    grid = Grid(6, 5, "hexagonal", pbc)
    across = lattice(grid).across(wrapped=True)
    for neuron in range(grid.m):
        assert sorted(across[neuron][across[neuron] >= 0]) == neighbors(grid, neuron).tolist()


@pytest.mark.parametrize("pbc", [False, True])
def test_squares_share_an_edge_with_the_cells_beside_above_and_below(pbc: bool) -> None:
    x, y = 4, 5
    across = lattice(Grid(x, y, "rectangular", pbc)).across(wrapped=True)
    for i in range(x):
        for j in range(y):
            around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
            if pbc:
                around = [(a % x, b % y) for a, b in around]
            expected = sorted(a * y + b for a, b in around if 0 <= a < x and 0 <= b < y)
            assert sorted(across[i * y + j][across[i * y + j] >= 0]) == expected


def test_touching_hexagons_have_the_same_two_corners() -> None:
    cells = lattice(Grid(4, 3, "hexagonal"))
    for cell, others in enumerate(cells.across(wrapped=False)):
        for other in others[others >= 0]:
            gaps = np.linalg.norm(cells.corners[cell][:, None] - cells.corners[other][None], axis=-1)
            assert (gaps < 1e-12).sum() == 2


@pytest.mark.parametrize(("topology", "pbc"), GRIDS)
@pytest.mark.parametrize(("x", "y"), [(2, 1), (2, 7), (6, 5)])
def test_the_border_encloses_the_area_of_all_cells(topology: str, pbc: bool, x: int, y: int) -> None:
    grid = Grid(x, y, topology, pbc)  # type: ignore[arg-type]
    cells = lattice(grid)
    assert area(cells.border) == pytest.approx(grid.m * area(outline(topology)))


def test_lines_between_two_halves_run_along_their_common_border() -> None:
    labels = np.tile([0, 0, 1, 1], 3)  # three rows, two columns each
    flat = lattice(Grid(3, 4)).lines_between(labels)
    assert len(flat) == 2 * 3  # each side once for either cell
    assert set(flat[..., 1].ravel()) == {1.5}
    torus = lattice(Grid(3, 4, pbc=True)).lines_between(labels)
    assert set(torus[..., 1].ravel()) == {-0.5, 1.5, 3.5}


def test_background_cells_have_no_lines_of_their_own() -> None:
    labels = np.zeros(9, dtype=np.int64)
    labels[4] = 1
    lines = lattice(Grid(3, 3)).lines_between(labels, background=0)
    assert len(lines) == 4
    np.testing.assert_allclose(np.abs(lines - 1).max(axis=(1, 2)), 0.5)  # all around (1, 1)


def test_pieces_are_the_connected_components_that_ndimage_finds() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (7, 9))
    pieces = lattice(Grid(7, 9)).pieces(labels.ravel())
    sizes = [len(piece) for piece in pieces]
    expected = [n for k in (0, 1) for n in np.bincount(ndimage.label(labels == k)[0].ravel())[1:]]
    assert sizes == sorted(expected, reverse=True)
    assert all(len(set(labels.ravel()[piece])) == 1 for piece in pieces)


@pytest.mark.parametrize(("topology", "pbc"), GRIDS)
def test_links_are_all_pairs_of_neighbors_halfway_between_them(topology: str, pbc: bool) -> None:
    grid = Grid(6, 5, topology, pbc)  # type: ignore[arg-type]
    found = links(grid)
    pairs = {frozenset(pair) for pair in zip(found.a.tolist(), found.b.tolist(), strict=True)}
    assert pairs == {frozenset((i, j)) for i in range(grid.m) for j in neighbors(grid, i).tolist()}
    positions, period = grid.positions.numpy(), np.array([6 * grid.row_height, 5.0])
    for end in (found.a, found.b):
        offset = np.abs(found.middle - positions[end])
        offset = np.minimum(offset, period - offset) if pbc else offset
        length = np.sqrt(grid.squared_distances(torch.tensor(found.a), torch.tensor(found.b)).numpy())
        np.testing.assert_allclose(np.linalg.norm(offset, axis=1), length / 2)


def test_the_expanded_map_of_four_squares_by_hand() -> None:
    codebook = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # 0 1 / 3 7
    cells, values = expanded_distances(codebook, Grid(2, 2), Metric("euclidean"), outline("rectangular"))
    at = {tuple(center): value for center, value in zip(cells.centers.tolist(), values.tolist(), strict=True)}
    assert at == {
        (0, 0): pytest.approx((1 + 3 + 7) / 3),
        (0, 1): pytest.approx((1 + 2 + 6) / 3),
        (1, 0): pytest.approx((3 + 2 + 4) / 3),
        (1, 1): pytest.approx((7 + 6 + 4) / 3),
        (0, 0.5): 1,
        (1, 0.5): 4,
        (0.5, 0): 3,
        (0.5, 1): 6,
        (0.5, 0.5): (7 + 2) / 2,  # where the two diagonals cross
    }


@pytest.mark.parametrize(("topology", "pbc"), GRIDS)
@pytest.mark.parametrize(("x", "y"), [(2, 3), (6, 5)])
def test_expanded_cells_tile_the_map_without_gap_or_overlap(topology: str, pbc: bool, x: int, y: int) -> None:
    grid = Grid(x, y, topology, pbc)  # type: ignore[arg-type]
    codebook = torch.rand(grid.m, 2, generator=torch.Generator().manual_seed(0))
    cells, values = expanded_distances(codebook, grid, Metric("euclidean"), outline(topology))
    if pbc:
        assert len(values) == 4 * grid.m  # one period at twice the resolution
    assert len(np.unique(np.round(cells.centers, 6), axis=0)) == len(values)
    assert area(cells.border) == pytest.approx(len(values) * area(cells.outline))


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_rolling_a_torus_rolls_its_expanded_map(topology: str) -> None:
    grid = Grid(4, 5, topology, True)  # type: ignore[arg-type]
    weights = torch.rand(4, 5, 2, generator=torch.Generator().manual_seed(0))
    period = np.array([4 * grid.row_height, 5.0])

    def values_by_place(weights: torch.Tensor, shift: Floats) -> dict[tuple[int, int], float]:
        cells, values = expanded_distances(weights.flatten(0, 1), grid, Metric("euclidean"), outline(topology))
        places = np.round(np.mod(cells.centers + shift + 0.1, period) * 1e3).astype(int)
        return {tuple(place): value for place, value in zip(places.tolist(), values.tolist(), strict=True)}

    before = values_by_place(weights, np.array([2 * grid.row_height, 3.0]))
    after = values_by_place(weights.roll((2, 3), dims=(0, 1)), np.zeros(2))
    assert after == pytest.approx(before)


def test_the_expanded_map_takes_metric_and_feature_weights() -> None:
    codebook = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    metric = Metric("manhattan", feature_weights=(3.0, 0.5))
    _, values = expanded_distances(codebook, Grid(1, 2), metric, outline("rectangular"))
    np.testing.assert_allclose(values, 3 * 1 + 0.5 * 2)

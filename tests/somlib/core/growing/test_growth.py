"""Accumulated errors by their definition as a loop; insertions by hand and by planes that interpolation must keep."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.core.growing.growth import (
    Insertion,
    grown_codebook,
    grown_grid,
    growth_threshold,
    place_to_grow,
    relative_errors,
    weighted_means,
)
from somlib.core.rule import TrainingSet
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.initialization import feature_means
from somlib.utils.search import make_search
from tests.somlib import oracle
from tests.somlib.oracle import Array

METRICS = ("euclidean", "manhattan", "chebyshev", "cosine")
EUCLIDEAN = Metric("euclidean")


def some_data(missing: bool = False) -> tuple[Array, Array, Array]:
    """Samples, a codebook and sample weights."""
    rng = np.random.default_rng(3)
    middle = np.array([4.0, 0.0, -1.0])
    data, codebook = rng.normal(size=(40, 3)) * [1, 5, 0.2] + middle, rng.normal(size=(6, 3)) + middle
    if missing:
        data[rng.random(data.shape) < 0.2] = math.nan
        data[7] = math.nan
    return data, codebook, rng.integers(0, 4, size=40).astype(float)


def rows_of(data: Array, weight: Array | None = None) -> TrainingSet:
    samples = torch.from_numpy(data)
    share = None if weight is None else torch.from_numpy(weight)
    return TrainingSet(samples, share, feature_means(samples), bool(np.isnan(data).any()))


def errors_of(data: Array, codebook: Array, metric: Metric, weight: Array | None = None) -> Array:
    winners = make_search(torch.from_numpy(codebook), metric).nearest(torch.from_numpy(data))
    return relative_errors(winners, len(codebook), rows_of(data, weight), metric).numpy()


def errors_by_loop(data: Array, codebook: Array, name: str, weight: Array | None = None) -> Array:
    """100 d times the share of the data's deviation from its mean that the samples of each neuron still have."""
    share = np.ones(len(data)) if weight is None else weight
    mean = np.array([weighted_mean_of(column, share) for column in data.T])
    won, deviation = np.zeros(len(codebook)), 0.0
    for sample, s in zip(data, share, strict=True):
        order = oracle.ranked(sample, codebook, name)
        if order:
            won[order[0]] += s * delta(oracle.feature_distance(sample, codebook[order[0]], name), name)
            deviation += s * delta(oracle.feature_distance(sample, mean, name), name)
    return np.asarray(100 * data.shape[1] * won / deviation)


def weighted_mean_of(column: Array, share: Array) -> float:
    seen = [(value, s) for value, s in zip(column, share, strict=True) if not math.isnan(value)]
    return float(sum(value * s for value, s in seen) / sum(s for _, s in seen))


def delta(distance: float, name: str) -> float:
    return distance if name == "cosine" else distance**2


def test_threshold_is_minus_d_times_the_logarithm_of_the_spread_factor() -> None:
    assert growth_threshold(3, 0.5) == pytest.approx(2.0794415416798357)
    assert growth_threshold(1, math.exp(-2)) == pytest.approx(2)


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", METRICS)
def test_errors_match_their_definition(name: str, weighted: bool, missing: bool) -> None:
    data, codebook, weight = some_data(missing)
    share = weight if weighted else None
    np.testing.assert_allclose(
        errors_of(data, codebook, Metric(name), share), errors_by_loop(data, codebook, name, share), rtol=1e-9
    )


def test_one_neuron_at_the_mean_has_100_d_whatever_scale_and_number() -> None:
    data = some_data()[0]
    for samples in (data, 1e6 * data + 1e7, np.tile(data, (7, 1))):
        assert errors_of(samples, samples.mean(axis=0, keepdims=True), EUCLIDEAN) == pytest.approx([300])


def test_cosine_takes_data_around_zero_as_at_right_angles_to_its_mean() -> None:
    data = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    codebook = np.array([[1.0, 0.0], [-1.0, 0.0]])
    # Two samples lie on their neurons. The two at right angles are 1 away, of 4 in all, and fall to the first neuron.
    assert errors_of(data, codebook, Metric("cosine")) == pytest.approx([100 * 2 * 2 / 4, 0])


def test_data_that_does_not_deviate_has_no_error() -> None:
    data = np.full((5, 2), 3.0)
    assert errors_of(data, np.array([[0.0, 0.0], [9.0, 9.0]]), EUCLIDEAN).tolist() == [0, 0]


def test_weighted_means_keep_small_differences_at_a_large_offset() -> None:
    data = np.array([[1e9, math.nan], [1e9 + 3, math.nan]])
    means = weighted_means(rows_of(data, np.array([1.0, 2.0])))
    assert means.tolist() == [1e9 + 2, 0]


# ---- where to insert


def codebook_at(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(
    ("grid", "values", "neuron", "expected"),
    [
        # 0  1  9
        # 2  4  7      around the 4: above 1, left 2, right 7, below 9
        # 0  9  0
        (Grid(3, 3), [0, 1, 9, 2, 4, 7, 0, 9, 0], 4, Insertion("row", 1)),
        (Grid(3, 3), [0, 1, 9, 2, 4, 99, 0, 9, 0], 4, Insertion("column", 1)),
        (Grid(3, 3), [0, -9, 9, 2, 4, 7, 0, 9, 0], 4, Insertion("row", 0)),
        (Grid(3, 3), [-99, 1, 99, 2, 4, 7, -99, 9, 99], 4, Insertion("row", 1)),  # diagonal cells share no edge
        (Grid(2, 1), [0, 1], 1, Insertion("row", 0)),
        (Grid(1, 3), [0, 1, 5], 2, Insertion("column", 1)),
        (Grid(3, 3, pbc=True), [0, 1, 2, 0, 0, 0, 9, 0, 0], 0, Insertion("row", 2)),  # across the seam
        (Grid(3, 3, pbc=True), [0, 1, 9, 0, 0, 0, 2, 0, 0], 0, Insertion("column", 2)),
        (Grid(2, 2, pbc=True), [0, 1, 9, 0], 0, Insertion("row", 0)),
        # Row 1 lies half a cell to the right: its first cell touches both cells above and below it.
        (Grid(3, 2, "hexagonal"), [0, 9, 0, 1, 0, 0], 2, Insertion("row", 0)),
        (Grid(3, 2, "hexagonal"), [0, 0, 0, 1, 0, 9], 2, Insertion("row", 1)),
        (Grid(3, 2, "hexagonal"), [9, 0, -1, 1, 0, 0], 3, Insertion("column", 0)),  # the 9 does not touch (1, 1)
        (Grid(4, 2, "hexagonal", True), [0, 0, 0, 0, 0, 0, 9, 0], 0, Insertion("row", 3)),
    ],
)
def test_grows_between_a_neuron_and_its_most_distant_direct_neighbor(
    grid: Grid, values: list[float], neuron: int, expected: Insertion
) -> None:
    assert place_to_grow(codebook_at(values), grid, EUCLIDEAN, neuron) == expected


# ---- what is inserted


def grown(grid: Grid, values: list[float], axis: str, after: int) -> list[list[float]]:
    insertion = Insertion(axis, after)  # type: ignore[arg-type]  # a literal in each test
    bigger = grown_grid(grid, insertion)
    codebook = grown_codebook(codebook_at(values), grid, insertion)
    assert codebook.shape == (bigger.m, 1)
    return [list(row) for row in codebook.reshape(bigger.x, bigger.y).numpy()]


def test_a_new_column_is_the_mean_of_the_columns_beside_it() -> None:
    expected = [[0, 1, 2, 6], [10, 15, 20, 60]]
    assert grown(Grid(2, 3), [0, 2, 6, 10, 20, 60], "column", 0) == expected
    assert grown(Grid(2, 3, "hexagonal"), [0, 2, 6, 10, 20, 60], "column", 0) == expected


def test_a_new_row_is_the_mean_of_the_rows_beside_it() -> None:
    assert grown(Grid(3, 2), [0, 1, 4, 7, 100, 200], "row", 0) == [[0, 1], [2, 4], [4, 7], [100, 200]]


def test_on_a_torus_the_last_place_closes_the_seam() -> None:
    assert grown(Grid(2, 2, pbc=True), [0, 2, 10, 20], "column", 1) == [[0, 2, 1], [10, 20, 15]]
    assert grown(Grid(2, 2, pbc=True), [0, 2, 10, 20], "row", 1) == [[0, 2], [10, 20], [5, 11]]


def test_a_new_hexagonal_row_moves_the_rows_below_by_half_a_cell() -> None:
    # New row 1 lies half a cell to the right: above it (0 + 8) / 2 and, at the edge, 8; below it row 1 as it was.
    # Row 1 then becomes row 2, without shift: 10 at the edge and (10 + 30) / 2. Row 2 becomes row 3, shifted.
    expected = [[0, 8], [7, 19], [10, 20], [150, 200]]
    assert grown(Grid(3, 2, "hexagonal"), [0, 8, 10, 30, 100, 200], "row", 0) == expected


def test_a_hexagonal_torus_gets_two_rows_a_third_apart() -> None:
    # Rows 0 and 1 of [0, 6] and [9, 21]. New row 1 is shifted: row 0 read there gives [3, 3], around the torus.
    # New row 2 is not: row 1 read there gives [15, 15].
    got = grown(Grid(2, 2, "hexagonal", True), [0, 6, 9, 21], "row", 0)
    expected = [[0, 6], [(2 * 3 + 9) / 3, (2 * 3 + 21) / 3], [(0 + 2 * 15) / 3, (6 + 2 * 15) / 3], [9, 21]]
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-14)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("axis", ["row", "column"])
@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_a_plane_over_the_grid_stays_that_plane(topology: str, axis: str, after: int) -> None:
    grid = Grid(5, 6, topology)  # type: ignore[arg-type]  # parametrized
    insertion = Insertion(axis, after)  # type: ignore[arg-type]
    bigger = grown_grid(grid, insertion)
    plane = grid.positions @ torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    got = grown_codebook(plane, grid, insertion).reshape(bigger.x, bigger.y, 2)
    for row in range(bigger.x):
        for column in range(bigger.y):
            old_row, old_column = float(row), column + (0.5 * (row % 2) if grid.hexagonal else 0)
            if axis == "row" and row > after:
                old_row = after + 0.5 if row == after + 1 else row - 1
            if axis == "column" and column > after:
                old_column -= 0.5 if column == after + 1 else 1
            at = torch.tensor([old_row * grid.row_height, old_column], dtype=torch.float64)
            expected = at @ torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
            if not (grid.hexagonal and column in (0, bigger.y - 1)):  # read beyond the edge there
                torch.testing.assert_close(got[row, column], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", ["row", "column"])
@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_growing_a_torus_rolls_with_the_torus(topology: str, axis: str) -> None:
    grid = Grid(4, 3, topology, True)  # type: ignore[arg-type]  # parametrized
    weights = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    side, dim, steps = (grid.x, 0, 2) if axis == "row" else (grid.y, 1, 1)
    seam, inner = Insertion(axis, side - 1), Insertion(axis, steps - 1)  # type: ignore[arg-type]
    bigger = grown_grid(grid, seam)
    across = grown_codebook(weights.flatten(0, 1), grid, seam).reshape(bigger.x, bigger.y, 2)
    inside = grown_codebook(weights.roll(steps, dim).flatten(0, 1), grid, inner).reshape(bigger.x, bigger.y, 2)
    new = across.shape[dim] - side
    torch.testing.assert_close(across.roll(steps + new, dim), inside)

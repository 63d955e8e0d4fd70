"""Settings taken from the data, against the rules worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from somlib.utils import heuristics
from somlib.utils.grid import Grid
from somlib.utils.heuristics import (
    FEWEST_ROWS,
    ROWS_PER_NEIGHBORHOOD,
    SHORT_STEPS,
    map_size,
    minibatch_size,
    rows_of_step,
    start_sigma,
    steps_per_epoch,
)


def stretched(n: int, *deviations: float) -> torch.Tensor:
    """Samples whose covariance is exactly diagonal with these standard deviations (n a multiple of 2 d)."""
    d = len(deviations)
    signs = torch.cat((torch.eye(d), -torch.eye(d))).double().repeat(n // (2 * d), 1)
    return signs * torch.tensor(deviations, dtype=torch.float64) * math.sqrt(d * (n - 1) / n)


@pytest.mark.parametrize(
    ("n", "deviations", "size"),
    [
        (400, (1.0, 1.0), (10, 10)),  # 5 sqrt(400) = 100 neurons, no longer one way than the other
        (400, (4.0, 1.0), (20, 5)),  # ratio 4
        (400, (400.0, 1.0), (20, 5)),  # a longer ratio is cut to 4
        (1_600, (2.0, 1.0), (20, 10)),  # 200 neurons, ratio 2
        (1_600, (1.0, 2.0), (20, 10)),  # the rows are the longer side whatever the order of the features
        (4, (1.0, 1.0), (2, 2)),  # not more neurons than samples
    ],
)
def test_map_size_by_hand(n: int, deviations: tuple[float, ...], size: tuple[int, int]) -> None:
    assert map_size(stretched(n, *deviations)) == size
    assert map_size(stretched(n, *deviations) + 1e6) == size


def test_hexagonal_rows_are_lower_so_there_are_more_of_them() -> None:
    rows, columns = map_size(stretched(10_000, 1.0, 1.0), hexagonal=True)
    assert (rows, columns) == (24, 21)  # sqrt(500 / (sqrt(3) / 2)) = 24.03
    assert rows * math.sqrt(3) / 2 == pytest.approx(columns, abs=1)


def test_data_on_a_line_gets_the_longest_map_and_constant_data_a_square() -> None:
    line = torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
    assert map_size(line) == (20, 5)
    assert map_size(line @ torch.tensor([[1.0, -1.0, 2.0]]).double()) == (20, 5)
    assert map_size(torch.full((400, 3), 7.0)) == (10, 10)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 3_000), st.integers(1, 3), st.booleans(), st.booleans(), st.floats(0, 9))
def test_map_size_makes_a_valid_grid_of_about_five_roots_of_n_neurons(
    n: int, d: int, hexagonal: bool, pbc: bool, stretch: float
) -> None:
    data = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
    data[:, 0] *= 1 + stretch
    x, y = map_size(data, hexagonal, pbc)
    m = Grid(x, y, "hexagonal" if hexagonal else "rectangular", pbc).m
    smallest = 2 if hexagonal and pbc else 1
    wanted = min(5 * math.sqrt(n), n)
    assert m <= max(n, smallest)
    assert wanted - max(x, y) - 1 <= m <= wanted + max(x, y) + smallest


def test_map_size_stops_at_the_largest_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heuristics, "LARGEST_MAP", 100)
    assert map_size(torch.zeros(10_000, 1)) == (10, 10)
    assert map_size(stretched(10_000, 3.0, 1.0)) == (17, 5)  # 17 x 6 would be more than 100


@pytest.mark.parametrize(("x", "y", "sigma"), [(24, 12, 3.0), (30, 30, 5.0), (12, 12, 2.0), (1, 1, 2.0), (1, 47, 4.0)])
def test_sigma_starts_at_a_sixth_of_the_mean_side_but_not_below_two(x: int, y: int, sigma: float) -> None:
    assert start_sigma(x, y) == pytest.approx(sigma)


@pytest.mark.parametrize(("n", "size"), [(1, 1), (399, 1), (1_000, 5), (4_000, 20), (51_200, 256), (10**7, 256)])
def test_minibatches_are_a_two_hundredth_of_the_data_within_bounds(n: int, size: int) -> None:
    assert minibatch_size(n) == size
    assert isinstance(minibatch_size(n), int)


@pytest.mark.parametrize(
    ("grid", "sigma", "neighborhoods"),
    [
        (Grid(10, 10), 1.0, 15.9155),  # 100 / (2 pi)
        (Grid(10, 10, pbc=True), 2.0, 3.97887),
        (Grid(10, 10, "hexagonal"), 1.0, 13.7832),  # cells of area sqrt(3) / 2
        (Grid(30, 20), 0.5, 381.972),
    ],
    ids=str,
)
def test_a_short_step_takes_as_many_rows_for_every_independent_neighborhood(
    grid: Grid, sigma: float, neighborhoods: float
) -> None:
    rows = rows_of_step(grid, sigma, 10**9)
    assert isinstance(rows, int)
    assert rows == pytest.approx(ROWS_PER_NEIGHBORHOOD * neighborhoods, abs=0.6)


def test_a_short_step_takes_a_row_at_least_and_never_more_than_there_are() -> None:
    assert rows_of_step(Grid(1, 1), 1e6, 100) == 1
    assert rows_of_step(Grid(50, 50), 0.1, 100) == 100


@pytest.mark.parametrize("sigmas", [(1.0,), (4.0, 2.0, 1.0)])
def test_an_epoch_is_made_of_short_steps_where_these_touch_fewer_rows(sigmas: tuple[float, ...]) -> None:
    grid = Grid(20, 20)
    touched = SHORT_STEPS * sum(ROWS_PER_NEIGHBORHOOD * 400 / (2 * math.pi * sigma**2) for sigma in sigmas)
    breaks_even = max(touched / len(sigmas), FEWEST_ROWS)
    assert breaks_even > FEWEST_ROWS
    assert steps_per_epoch(grid, sigmas, round(0.98 * breaks_even)) == 1
    assert steps_per_epoch(grid, sigmas, round(1.02 * breaks_even)) == SHORT_STEPS


def test_an_epoch_of_few_rows_is_one_step() -> None:
    assert steps_per_epoch(Grid(2, 2), [2.0], FEWEST_ROWS - 1) == 1
    assert steps_per_epoch(Grid(2, 2), [2.0], FEWEST_ROWS) == SHORT_STEPS

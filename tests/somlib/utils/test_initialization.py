"""Where neurons start: against NumPy's eigenvectors, and ramps that interpolation must keep."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from somlib.utils import initialization
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.initialization import (
    feature_means,
    interpolated_weights,
    leading_axes,
    moments,
    pca_weights,
    sampled_weights,
)
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice

SIDES = [(6, 4), (4, 6), (4, 4), (6, 1), (1, 6), (2, 1), (1, 1)]
KINDS = [("rectangular", False), ("hexagonal", False), ("rectangular", True), ("hexagonal", True)]
GRIDS = [Grid(x, y, t, pbc) for x, y in SIDES for t, pbc in KINDS if not (t == "hexagonal" and pbc and x % 2)]  # type: ignore[arg-type]  # names of topologies


def correlated(n: int = 200, d: int = 4, offset: float = 0.0) -> Array:
    rng = np.random.default_rng(5)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + offset


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plane(data: Array, grid: Grid) -> Array:
    """The definition: mean + u sqrt(l1) e1 + v sqrt(l2) e2, by NumPy's covariance and eigenvectors."""
    values, vectors = np.linalg.eigh(np.cov(data, rowvar=False))
    lattice = Lattice(grid.x, grid.y, grid.hexagonal, grid.pbc)
    places = np.array([oracle.position(lattice, k) for k in range(grid.m)])
    weights = np.tile(data.mean(axis=0), (grid.m, 1))
    long_side_first = (0, 1) if grid.x >= grid.y else (1, 0)
    for rank, axis in enumerate(long_side_first, start=1):
        if (grid.x, grid.y)[axis] > 1:
            e = vectors[:, -rank] * np.sign(vectors[np.abs(vectors[:, -rank]).argmax(), -rank])
            low, high = places[:, axis].min(), places[:, axis].max()
            weights += np.outer((2 * places[:, axis] - low - high) / (high - low) * np.sqrt(values[-rank]), e)
    return weights


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_pca_lays_the_map_on_the_plane_of_the_two_leading_axes(grid: Grid) -> None:
    for offset in (0.0, 1e7):
        data = correlated(offset=offset)
        weights = pca_weights(torch.from_numpy(data), grid)
        np.testing.assert_allclose(weights.numpy(), plane(data, grid), rtol=0, atol=1e-12 * max(offset, 1e3))


def test_pca_spreads_by_the_standard_deviation_along_each_axis_the_long_side_first() -> None:
    data = torch.tensor([[3.0, 0, 9], [-3, 0, 9], [0, 2, 9], [0, -2, 9], [0, 0, 9]]).double()
    wide, narrow = np.sqrt(18 / 4), np.sqrt(8 / 4)  # sample standard deviations of the two features that vary
    for x, y in ((5, 3), (3, 5)):
        weights = pca_weights(data, Grid(x, y)).reshape(x, y, 3)
        along, across = ((weights[:, 0], weights[0])) if x > y else ((weights[0], weights[:, 0]))
        np.testing.assert_allclose(along[:, 0], np.linspace(-wide, wide, 5), atol=1e-12)
        np.testing.assert_allclose(across[:, 1], np.linspace(-narrow, narrow, 3), atol=1e-12)
        np.testing.assert_allclose(weights[..., 2], 9, atol=1e-12)


def test_pca_puts_the_rows_first_on_a_square_map() -> None:
    data = torch.tensor([[3.0, 0], [-3, 0], [0, 2], [0, -2]])
    weights = pca_weights(data, Grid(4, 4)).reshape(4, 4, 2)
    assert bool((weights[1:, :, 0] > weights[:-1, :, 0]).all())
    assert bool((weights[:, 1:, 1] > weights[:, :-1, 1]).all())


@pytest.mark.parametrize("shift", [1, -1])
def test_pca_fixes_the_sign_of_each_axis_by_its_largest_component(shift: int) -> None:
    data = shift * correlated()
    values, axes = leading_axes(moments(torch.from_numpy(data))[1], 2)
    expected_values, vectors = np.linalg.eigh(np.cov(data, rowvar=False))
    np.testing.assert_allclose(values, expected_values[[-1, -2]], rtol=1e-10)
    for rank in (0, 1):
        axis = axes[:, rank].numpy()
        assert axis[np.abs(axis).argmax()] > 0
        assert abs(axis @ vectors[:, -1 - rank]) == pytest.approx(1)


@pytest.mark.parametrize(("x", "y"), [(6, 4), (5, 7), (4, 4)])
def test_pca_does_not_fold_a_hexagonal_map(x: int, y: int) -> None:
    data = torch.from_numpy(correlated(d=2))
    grid = Grid(x, y, "hexagonal")
    weights = pca_weights(data, grid)
    _, axes = leading_axes(moments(data)[1], 2)
    down, right = (axes[:, 0], axes[:, 1]) if x >= y else (axes[:, 1], axes[:, 0])
    place = (weights @ torch.stack((down, right), dim=1)).reshape(x, y, 2)
    assert bool((place[1:, :, 0] > place[:-1, :, 0]).all())
    assert bool((place[:, 1:, 1] > place[:, :-1, 1]).all())
    step = place[0, 1, 1] - place[0, 0, 1]
    shift = place[1::2, :, 1] - place[0, :, 1]  # odd rows lie half a cell right of even rows, in data space too
    torch.testing.assert_close(shift, (step / 2).expand_as(shift))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_pca_keeps_a_side_of_one_neuron_at_the_mean(grid: Grid) -> None:
    data = torch.from_numpy(correlated())
    off_mean = pca_weights(data, grid) - data.mean(dim=0)
    sides = int(grid.x > 1) + int(grid.y > 1)
    assert int(torch.linalg.matrix_rank(off_mean, atol=1e-9)) == sides


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_pca_of_data_on_a_line_stays_on_the_line(grid: Grid) -> None:
    t = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
    data = t @ torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64) + 3
    off_mean = pca_weights(data, grid) - 3
    coordinate = off_mean[:, :1]
    torch.testing.assert_close(off_mean, coordinate @ torch.tensor([[1.0, -2.0, 0.5]]).double(), rtol=0, atol=1e-6)


def test_pca_of_one_feature_runs_along_the_longer_side() -> None:
    data = torch.tensor([[1.0], [3.0]])
    weights = pca_weights(data, Grid(2, 3)).reshape(2, 3)
    torch.testing.assert_close(weights, (2 + torch.tensor([[-1.0, 0, 1], [-1, 0, 1]]) * 2**0.5))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_pca_of_constant_data_is_the_constant_everywhere(n: int) -> None:
    weights = pca_weights(torch.tensor([[4.5, -2.0, 1e6]]).expand(n, 3), Grid(3, 4))
    assert torch.equal(weights, torch.tensor([[4.5, -2.0, 1e6]]).expand(12, 3))


def test_pca_works_with_more_features_than_samples() -> None:
    data = correlated(n=5, d=30)
    np.testing.assert_allclose(pca_weights(torch.from_numpy(data), Grid(4, 3)), plane(data, Grid(4, 3)), atol=1e-10)


def test_pca_keeps_the_dtype_and_the_data() -> None:
    data = torch.from_numpy(correlated()).float()
    before = data.clone()
    weights = pca_weights(data, Grid(4, 3))
    assert weights.dtype == torch.float32
    assert torch.equal(data, before)
    np.testing.assert_allclose(weights, plane(before.double().numpy(), Grid(4, 3)), rtol=1e-5, atol=1e-5)


def test_means_and_covariance_take_missing_values_as_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "GRAM_ENTRIES", 7)  # many chunks
    data = correlated(offset=100)
    data[np.random.default_rng(0).random(data.shape) < 0.2] = np.nan
    mean, covariance = moments(torch.from_numpy(data))
    filled = np.where(np.isnan(data), np.nanmean(data, axis=0), data)
    np.testing.assert_allclose(mean, np.nanmean(data, axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(filled, rowvar=False), rtol=1e-10)
    np.testing.assert_allclose(pca_weights(torch.from_numpy(data), Grid(4, 3)), plane(filled, Grid(4, 3)), rtol=1e-9)


def test_a_feature_that_nobody_observed_starts_at_zero() -> None:
    data = torch.tensor([[1.0, torch.nan], [3.0, torch.nan]])
    assert feature_means(data).tolist() == [2.0, 0.0]
    for weights in (pca_weights(data, Grid(2, 2)), sampled_weights(data, Grid(2, 2), generator())):
        assert bool(torch.isfinite(weights).all())
        assert weights[:, 1].tolist() == [0.0] * 4


def test_means_of_float32_data_are_taken_in_float64() -> None:
    assert float(feature_means(torch.full((100_000, 1), 16_777_217.0))[0]) == float(torch.tensor(16_777_217.0))


@pytest.mark.parametrize("n", [12, 13, 500])
def test_random_start_takes_distinct_samples(n: int) -> None:
    data = torch.arange(n, dtype=torch.float32)[:, None].expand(n, 2)
    chosen = sampled_weights(data, Grid(4, 3), generator())[:, 0].tolist()
    assert len(set(chosen)) == 12
    assert set(chosen) <= set(range(n))
    assert n < 500 or set(chosen) != set(range(12))  # not simply the first ones


@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_random_start_begins_again_when_the_samples_run_out(n: int) -> None:
    data = torch.arange(n, dtype=torch.float32)[:, None]
    chosen = sampled_weights(data, Grid(4, 3), generator())[:, 0].tolist()
    times = Counter(chosen)
    assert set(times) == set(range(n))
    assert max(times.values()) - min(times.values()) <= 1


def test_random_start_follows_its_generator() -> None:
    data = torch.from_numpy(correlated())
    assert torch.equal(sampled_weights(data, Grid(5, 4), generator(1)), sampled_weights(data, Grid(5, 4), generator(1)))
    assert not torch.equal(
        sampled_weights(data, Grid(5, 4), generator(1)), sampled_weights(data, Grid(5, 4), generator(2))
    )


def test_random_start_fills_missing_values_with_the_mean() -> None:
    data = torch.tensor([[1.0, torch.nan], [3.0, 8.0], [torch.nan, 10.0]])
    weights = sampled_weights(data, Grid(3, 1), generator())
    assert sorted(weights.tolist()) == [[1.0, 9.0], [2.0, 10.0], [3.0, 8.0]]


# ---- reading a map of another size


def ramps(grid: Grid) -> Tensor:
    """A codebook that rises evenly down the rows (first feature) and to the right (second), by true positions."""
    return grid.positions.clone()


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_a_map_of_the_same_shape_comes_back_as_it_is_and_as_a_copy(lattice: Lattice) -> None:
    grid = Grid(**lattice.arguments)
    codebook = torch.randn(grid.m, 3, generator=generator())
    copy = interpolated_weights(codebook, grid, Grid(**lattice.arguments))
    assert torch.equal(copy, codebook)
    copy.zero_()
    assert bool(codebook.any())


def test_interpolation_between_rectangles_is_linear_from_corner_to_corner() -> None:
    source, target = Grid(3, 2), Grid(5, 4)
    weights = interpolated_weights(ramps(source), source, target).reshape(5, 4, 2)
    torch.testing.assert_close(weights[..., 0], torch.linspace(0, 2, 5).double()[:, None].expand(5, 4))
    torch.testing.assert_close(weights[..., 1], torch.linspace(0, 1, 4).double().expand(5, 4))


@pytest.mark.parametrize("to", ["rectangular", "hexagonal"])
@pytest.mark.parametrize("of", ["rectangular", "hexagonal"])
@pytest.mark.parametrize(("x", "y"), [(8, 10), (9, 5), (4, 5), (3, 4), (5, 7)])
def test_a_ramp_rises_on_a_map_of_another_size_or_topology_too(of: str, to: str, x: int, y: int) -> None:
    source, target = Grid(4, 5, of), Grid(x, y, to)  # type: ignore[arg-type]  # names of topologies
    place = interpolated_weights(ramps(source), source, target).reshape(x, y, 2)
    assert bool((place[1:, :, 0] > place[:-1, :, 0]).all())
    assert bool((place[:, 1:, 1] > place[:, :-1, 1]).all())
    corners = place[[0, 0, -1, -1], [0, -1, 0, -1]] - ramps(source).reshape(4, 5, 2)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert float(corners.abs().max()) <= 0.5 + 1e-12


def test_hexagonal_rows_are_read_half_a_cell_to_the_right() -> None:
    source, target = Grid(5, 9), Grid(5, 9, "hexagonal")
    place = interpolated_weights(ramps(source), source, target).reshape(5, 9, 2)
    torch.testing.assert_close(place[0::2, :, 1], torch.arange(9.0).double().expand(3, 9))
    torch.testing.assert_close(place[1::2, :-1, 1], (torch.arange(8.0) + 0.5).double().expand(2, 8))
    back = interpolated_weights(ramps(target), target, source).reshape(5, 9, 2)
    torch.testing.assert_close(back[:, 1:, 1], torch.arange(1.0, 9.0).double().expand(5, 8))


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_a_torus_is_read_across_its_seam(topology: str) -> None:
    source, target = Grid(4, 4, topology, True), Grid(8, 8, topology, True)  # type: ignore[arg-type]  # names of topologies
    rows = torch.tensor([0.0, 1, 2, 3]).double().repeat_interleave(4)[:, None]
    doubled = interpolated_weights(rows, source, target).reshape(8, 8)
    torch.testing.assert_close(doubled[:, 3], torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5]).double())
    assert bool((doubled.amax(dim=1) - doubled.amin(dim=1) < 1e-12).all())


def test_columns_of_a_torus_wrap_too() -> None:
    columns = torch.tensor([0.0, 1, 2, 3]).double()[:, None]
    doubled = interpolated_weights(columns, Grid(1, 4, pbc=True), Grid(1, 8, pbc=True)).flatten()
    torch.testing.assert_close(doubled, torch.tensor([0, 0.5, 1, 1.5, 2, 2.5, 3, 1.5]).double())


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_rolling_a_torus_rolls_what_is_read_from_it(topology: str) -> None:
    source, target = Grid(4, 3, topology, True), Grid(8, 6, topology, True)  # type: ignore[arg-type]  # names of topologies
    codebook = torch.randn(4, 3, 2, dtype=torch.float64, generator=generator())
    still = interpolated_weights(codebook.flatten(0, 1), source, target).reshape(8, 6, 2)
    rolled = interpolated_weights(codebook.roll((2, 1), (0, 1)).flatten(0, 1), source, target).reshape(8, 6, 2)
    torch.testing.assert_close(rolled, still.roll((4, 2), (0, 1)))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(GRIDS), st.sampled_from(GRIDS))
def test_interpolated_values_lie_between_those_of_the_map(source: Grid, target: Grid) -> None:
    codebook = torch.randn(source.m, 2, dtype=torch.float64, generator=generator())
    weights = interpolated_weights(codebook, source, target)
    assert weights.shape == (target.m, 2)
    assert bool((weights >= codebook.amin(dim=0) - 1e-12).all())
    assert bool((weights <= codebook.amax(dim=0) + 1e-12).all())


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (7, 1), (1, 7)])
def test_random_samples_start_in_order_over_the_grid(shape: tuple[int, int]) -> None:
    grid = Grid(*shape)
    data = torch.randn(200, 2, generator=generator()).double() * torch.tensor([10.0, 1.0])  # axes: the features
    weights = sampled_weights(data, grid, generator()).reshape(*shape, 2)
    long, short = (weights, weights.transpose(0, 1))[:: 1 if shape[0] >= shape[1] else -1]
    first = long[..., 0]
    assert bool((first[:-1].amax(dim=1) <= first[1:].amin(dim=1)).all())  # lines do not overlap along the first axis
    second = short[..., 1]
    assert bool((second.diff(dim=0) >= 0).all())  # and rise along the second within


# ---- the metric that trains

NAN, COSINE = math.nan, Metric("cosine")
NUISANCE = torch.tensor([1000.0, -500.0, 1.0, 1.0, 1.0])
FACTORS = {"euclidean": math.sqrt, "manhattan": float, "chebyshev": float, "cosine": math.sqrt}


def with_nuisance(n: int = 300) -> torch.Tensor:
    return torch.randn(n, 5, generator=generator(3), dtype=torch.float64) * NUISANCE * torch.tensor([1, 1, 3, 2, 1])


@pytest.mark.parametrize("name", FACTORS)
def test_random_samples_are_put_in_order_as_if_scaled_by_hand(name: str) -> None:
    data, weights = with_nuisance(), (0.0, 0.0, 4.0, 1.0, 0.25)
    by_hand = data * torch.tensor([FACTORS[name](w) for w in weights], dtype=torch.float64)
    started = sampled_weights(data, Grid(6, 5), generator(), Metric(name, weights))
    expected = sampled_weights(by_hand, Grid(6, 5), generator(), Metric(name))
    torch.testing.assert_close(started * (by_hand / data)[0], expected)
    assert set(started[:, 0].tolist()) <= set(data[:, 0].tolist())


@pytest.mark.parametrize("name", FACTORS)
def test_the_plane_lies_as_if_scaled_by_hand_and_features_of_no_weight_follow_it_by_regression(name: str) -> None:
    data, weights = with_nuisance(), (0.0, 0.0, 4.0, 1.0, 0.25)
    data[:, 0] += 700 * data[:, 2]
    by_hand = data * torch.tensor([FACTORS[name](w) for w in weights], dtype=torch.float64)
    started = pca_weights(data, Grid(6, 5), Metric(name, weights))
    expected = pca_weights(by_hand, Grid(6, 5), Metric(name))
    torch.testing.assert_close(started[:, 2:] * (by_hand / data)[0, 2:], expected[:, 2:], rtol=1e-8, atol=1e-8)
    if name != "cosine":  # least squares of the first feature on the coordinates along both axes
        centered = (by_hand - by_hand.mean(dim=0)).numpy()
        axes = np.linalg.eigh(np.cov(centered.T))[1][:, ::-1][:, :2]
        slopes = np.linalg.lstsq(centered @ axes, data[:, 0].numpy() - float(data[:, 0].mean()), rcond=None)[0]
        places = (expected - expected.mean(dim=0)).numpy() @ axes
        np.testing.assert_allclose(started[:, 0] - started[:, 0].mean(), places @ slopes, rtol=1e-8, atol=1e-6)


def test_under_cosine_the_length_of_a_row_moves_no_start() -> None:
    data = torch.randn(200, 3, generator=generator(4), dtype=torch.float64) + 2
    stretched = data * torch.rand(200, 1, generator=generator(5), dtype=torch.float64).exp().pow(3)
    planes = [torch.nn.functional.normalize(pca_weights(rows, Grid(5, 4), COSINE)) for rows in (data, stretched)]
    torch.testing.assert_close(*planes)
    starts = [
        torch.nn.functional.normalize(sampled_weights(rows, Grid(5, 4), generator(), COSINE))
        for rows in (data, stretched)
    ]
    torch.testing.assert_close(*(torch.nn.functional.normalize(start) for start in starts))
    stretched[7], stretched[8, 1] = 0, NAN
    assert bool(torch.isfinite(pca_weights(stretched, Grid(5, 4), COSINE)).all())
    assert bool(torch.isfinite(sampled_weights(stretched, Grid(15, 14), generator(), COSINE)).all())

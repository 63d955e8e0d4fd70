"""What is kept of training and measured against it, by hand, by loops and against scipy."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, stats

from pipelines.errors import DatasetError, ModelError
from pipelines.model.profile import (
    AssignedRows,
    Bins,
    Profile,
    Usual,
    map_regions,
    of_answers,
    of_features,
    stability_index,
    training_profile,
)
from somlib.utils.grid import Grid

GRID = Grid(4, 5)
NAN = float("nan")


def rows(n: int = 400, seed: int = 0) -> AssignedRows:
    random = np.random.default_rng(seed)
    features = {"a": random.normal(10, 2, n), "b": np.where(random.random(n) < 0.1, NAN, random.gamma(2, 1, n))}
    return AssignedRows(features, random.integers(0, GRID.m, n), random.gamma(9, 0.1, n), {"y": random.normal(size=n)})


# ---------------------------------------------------------------- bins and parts of the map


def test_the_index_is_the_sum_of_its_definition() -> None:
    expected, now = [30, 50, 20], [5, 0, 15]
    p = [(count + 0.5) / (100 + 1.5) for count in expected]
    q = [(count + 0.5) / (20 + 1.5) for count in now]
    total = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert stability_index(np.array(expected), np.array(now)) == pytest.approx(total)
    assert math.isnan(stability_index(np.array(expected), np.array([0, 0, 0])))


def test_the_index_of_independent_rows_follows_the_chi_square_law_of_the_literature() -> None:
    random, share, n, m = np.random.default_rng(0), np.full(10, 0.1), 400, 2_000
    found = [stability_index(random.multinomial(m, share), random.multinomial(n, share)) for _ in range(2_000)]
    scaled = np.array(found) / (1 / n + 1 / m)
    assert scaled.mean() == pytest.approx(9, rel=0.05)  # B - 1
    assert np.quantile(scaled, 0.95) == pytest.approx(stats.chi2(9).ppf(0.95), rel=0.05)


def test_features_are_cut_into_tenths_of_the_training_rows() -> None:
    bins = training_profile(GRID, rows()).features["a"].bins
    assert bins.counts == (40,) * 10
    assert bins.edges == tuple(np.sort(rows().features["a"])[39:399:40])


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([0] * 8 + [1, 2], (0, 1), (8, 1, 1)),  # most rows at the least value
        ([0, 1] + [2] * 8, (0, 1), (1, 1, 8)),  # at the greatest
        ([0] * 19 + [1], (0,), (19, 1)),  # a switch that was nearly always off
        ([1] * 19 + [0], (0,), (1, 19)),
        ([3] * 20, (), (20,)),
    ],
)
def test_values_that_many_rows_share_are_one_bin_and_none_is_empty(
    values: list[int], edges: tuple[int, ...], counts: tuple[int, ...]
) -> None:
    n = len(values)
    flat = AssignedRows({"v": np.array(values)}, np.zeros(n), np.ones(n))  # type: ignore[arg-type]  # floats will do
    assert training_profile(GRID, flat).features["v"].bins == Bins(edges=edges, counts=counts)


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_the_map_hold_enough_hits_each_and_are_one_piece(seed: int) -> None:
    hits = np.random.default_rng(seed).poisson(np.random.default_rng(seed).gamma(0.3, 20, (25, 15)))
    regions = map_regions(hits).reshape(25, 15)
    labels = np.unique(regions)
    assert labels.tolist() == list(range(len(labels)))
    assert 8 <= len(labels) <= 20
    for label in labels:
        assert hits[regions == label].sum() >= 0.05 * hits.sum()
        assert ndimage.label(regions == label)[1] == 1


def test_a_map_whose_hits_all_fall_on_one_neuron_is_one_part() -> None:
    hits = np.zeros((3, 3), dtype=np.int64)
    hits[1, 1] = 50
    assert map_regions(hits).tolist() == [0] * 9


def test_parts_are_cut_where_the_hits_are_halved_across_the_longer_side() -> None:
    hits = np.array([[10, 0, 0, 0, 10], [10, 0, 0, 0, 10]])
    corners = map_regions(hits).reshape(2, 5)[:, [0, -1]]
    assert len(np.unique(corners)) == 4


# ---------------------------------------------------------------- measures


def test_new_rows_are_measured_by_the_definitions() -> None:
    training = rows()
    profile = training_profile(GRID, training, rows(seed=1))
    now = AssignedRows(
        {"a": [12.0, 14.0, NAN, 13.0], "b": [1.0, 1.0, 1.0, 1.0]},
        [0, 0, 1, -1],
        [2.0, 1.0, 0.3, NAN],
        {"y": [9, 9, 9, 9]},
    )  # type: ignore[arg-type]  # lists will do
    found = of_features(profile, now) | of_answers(profile, now)
    a, heldout = training.features["a"], rows(seed=1)
    assert found["mean/a"] == pytest.approx((13 - a.mean()) / a.std())
    assert found["missing/a"] == 0.25
    assert found["missing/b"] == pytest.approx(-np.isnan(training.features["b"]).mean())
    assert found["error_ratio"] == pytest.approx(1.1 / heldout.distance.mean())
    assert found["new_region"] == pytest.approx((np.array([2, 1, 0.3]) > np.quantile(heldout.distance, 0.99)).mean())
    assert found["prediction/y"] == stability_index(np.full(10, 40), np.array([0] * 9 + [4]))
    regions = np.array(profile.regions)
    parts = [int((regions[training.winner] == part).sum()) for part in range(regions.max() + 1)]
    hits = [int((regions[[0, 0, 1]] == part).sum()) for part in range(regions.max() + 1)]
    assert found["hits"] == stability_index(np.array(parts), np.array(hits))


def test_what_no_row_has_is_not_measured() -> None:
    profile = training_profile(GRID, rows())
    nothing = np.full(3, NAN)
    empty = AssignedRows({"a": nothing, "b": nothing}, np.full(3, -1), nothing, {"y": nothing})
    found = of_features(profile, empty) | of_answers(profile, empty)
    assert found.pop("missing/a") == 1
    assert found.pop("missing/b") == pytest.approx(0.9, abs=0.05)
    assert all(math.isnan(value) for value in found.values())


def test_a_feature_that_was_constant_moves_infinitely_far_or_not_at_all() -> None:
    constant = AssignedRows({"v": np.full(40, 0.1)}, np.zeros(40, dtype=int), np.ones(40))
    profile = training_profile(GRID, constant)
    assert of_features(profile, constant[:7])["mean/v"] == 0
    moved = AssignedRows({"v": np.full(7, 0.2)}, np.zeros(7, dtype=int), np.ones(7))
    assert of_features(profile, moved)["mean/v"] == math.inf


# ---------------------------------------------------------------- chance


def test_windows_of_training_say_what_is_usual() -> None:
    training = rows(128)
    profile = training_profile(GRID, training)
    usual = profile.usual["mean/a"]
    assert usual.sizes == (1, 4, 16)
    assert usual.windows == (100, 32, 8)
    a = training.features["a"]
    means = [(a[start : start + 16].mean() - a.mean()) / a.std() for start in range(0, 128, 16)]
    assert usual.means[2] == pytest.approx(np.mean(means))
    assert usual.variances[2] == pytest.approx(np.var(means, ddof=1))


def test_the_bound_of_many_windows_is_the_quantile_of_a_gamma_distribution() -> None:
    usual = Usual(
        two_sided=False, sizes=(1,), windows=(1_000_000,), means=(4.0,), variances=(8.0,)
    )  # chi-square, 4 degrees of freedom
    assert usual.bound(1, 0.99) == pytest.approx(stats.chi2(4).ppf(0.99), rel=1e-3)


def test_the_bound_of_means_is_the_same_both_ways() -> None:
    usual = Usual(two_sided=True, sizes=(1,), windows=(1_000_000,), means=(0.0,), variances=(4.0,))
    assert usual.bound(1, 0.99) == pytest.approx(2 * stats.norm.ppf(0.995), rel=1e-3)


def test_few_windows_bound_farther_out() -> None:
    few, many = (
        Usual(two_sided=False, sizes=(1,), windows=(count,), means=(4.0,), variances=(8.0,)) for count in (8, 100)
    )
    assert few.bound(1, 0.99) > many.bound(1, 0.99) > stats.chi2(4).ppf(0.99)


def test_the_bound_falls_with_the_size_of_the_window_and_stands_beyond_the_largest() -> None:
    usual = Usual(two_sided=False, sizes=(1, 100), windows=(100, 100), means=(1.0, 0.1), variances=(1.0, 0.01))
    assert usual.bound(1, 0.99) > usual.bound(10, 0.99) > usual.bound(100, 0.99) == usual.bound(10_000, 0.99)
    assert Usual(two_sided=False, sizes=(1,), windows=(9,), means=(0.0,), variances=(0.0,)).bound(5, 0.99) == 0
    assert Usual(two_sided=False, sizes=(), windows=(), means=(), variances=()).bound(5, 0.99) == 0


# ---------------------------------------------------------------- in and out


def test_a_profile_survives_json_exactly() -> None:
    profile = training_profile(GRID, rows(), rows(seed=1))
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


def test_a_damaged_profile_is_refused_with_its_place() -> None:
    content = training_profile(GRID, rows()).to_dict()
    content["features"]["a"]["mean"] = "high"
    with pytest.raises(ModelError, match=r"the drift profile of the model cannot be read: features\.a\.mean: "):
        Profile.from_dict(content)


def test_without_held_out_rows_the_training_rows_stand_in() -> None:
    assert training_profile(GRID, rows(), rows()[:0]) == training_profile(GRID, rows(), rows())


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (rows(7), "a drift profile needs at least 8 training rows, got 7"),
        (AssignedRows({"v": np.full(9, NAN)}, np.zeros(9, dtype=int), np.ones(9)), "got none of v"),
        (
            AssignedRows({}, np.full(9, -1), np.full(9, NAN)),
            "a drift profile needs rows with a nearest neuron, got none",
        ),
        (AssignedRows({}, np.zeros(9, dtype=int), np.ones(9), {"y": np.full(9, NAN)}), "of each target, got none of y"),
    ],
)
def test_training_that_says_nothing_is_refused(training: AssignedRows, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        training_profile(GRID, training)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": [1.0]}, r"distance must be of shape \(2,\), like winner, got \(1,\)"),
        ({"features": {"a": [1.0]}}, r"features\['a'\] must be of shape \(2,\), like winner, got \(1,\)"),
        ({"winner": [[0, 1]]}, r"winner must be of shape \(2,\), like winner, got \(1, 2\)"),
    ],
)
def test_rows_of_unequal_length_are_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"features": {"a": [1.0, 2.0]}, "winner": [0, 1], "distance": [1.0, 2.0]}
    with pytest.raises(ValueError, match=message):
        AssignedRows(**arguments | change)


# ---------------------------------------------------------------- what is usual, by the table


def test_bounds_of_few_windows_are_prediction_limits_by_students_table() -> None:
    """Half-way in log(rows) the deviation is half-way; t at 0.95 with 7 degrees of freedom is 1.894579."""
    usual = Usual(two_sided=True, sizes=(4, 64), windows=(8, 8), means=(0.5, -0.5), variances=(4.0, 1.0))
    reach = 1.894579 * math.sqrt(1 + 1 / 8)
    assert usual.bound(4, 0.9) == pytest.approx(0.5 + 2.0 * reach, rel=1e-6)
    assert usual.bound(16, 0.9) == pytest.approx(0.0 + 1.5 * reach, rel=1e-6)
    assert usual.bound(1_000, 0.9) == pytest.approx(0.5 + 1.0 * reach, rel=1e-6)


def test_a_new_window_stays_below_the_bound_of_eight_others_as_often_as_promised() -> None:
    random = np.random.default_rng(4)
    known, new = random.normal(size=(40_000, 8)), random.normal(size=40_000)
    reach = Usual(two_sided=True, sizes=(1,), windows=(8,), means=(0.0,), variances=(1.0,)).bound(1, 0.9)
    inside = np.abs(new - known.mean(axis=1)) <= reach * known.std(axis=1, ddof=1)
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


def test_answers_are_usual_by_the_windows_of_held_out_rows() -> None:
    training, heldout = rows(400, 0), rows(160, 1)
    usual = training_profile(GRID, training, heldout).usual["error_ratio"]
    assert usual.sizes == (1, 4, 16, 20)
    windows = [heldout.distance[start : start + 20].mean() for start in range(0, 160, 20)]
    ratios = np.array(windows) / heldout.distance.mean()
    assert usual.means[-1] == pytest.approx(ratios.mean())
    assert usual.variances[-1] == pytest.approx(ratios.var(ddof=1))


def test_a_row_as_far_as_the_limit_is_not_beyond_it() -> None:
    profile = training_profile(GRID, rows())
    at = np.array([profile.far, np.nextafter(profile.far, np.inf)])
    far = AssignedRows({"a": [0.0, 0.0], "b": [0.0, 0.0]}, [0, 0], at, {"y": [0.0, 0.0]})  # type: ignore[arg-type]
    assert of_answers(profile, far)["new_region"] == 0.5

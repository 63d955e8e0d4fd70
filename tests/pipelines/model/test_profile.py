"""What is kept of training and measured against it, by hand, by loops and against scipy."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipelines.errors import ModelError
from pipelines.model.profile import (
    AssignedRows,
    Profile,
    Usual,
    of_answers,
    of_features,
    stability_index,
)
from pipelines.model.profiling import training_profile
from tests.pipelines.model.profiled import GRID, NAN, rows

# ---------------------------------------------------------------- the index


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


def test_a_row_as_far_as_the_limit_is_not_beyond_it() -> None:
    profile = training_profile(GRID, rows())
    at = np.array([profile.far, np.nextafter(profile.far, np.inf)])
    far = AssignedRows({"a": [0.0, 0.0], "b": [0.0, 0.0]}, [0, 0], at, {"y": [0.0, 0.0]})  # type: ignore[arg-type]
    assert of_answers(profile, far)["new_region"] == 0.5

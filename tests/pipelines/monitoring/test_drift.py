"""When new rows count as drifted: what must be noticed, and what must not cry wolf."""

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.errors import DatasetError
from pipelines.model.profile import AssignedRows, Profile
from pipelines.model.profiling import training_profile
from pipelines.monitoring.drift import DriftReport, _shift, drift
from pipelines.settings.sections import DriftConfig
from somlib.utils.grid import Grid

DAY = 24  # hourly rows
MONTH = 720
TRAINED, HELD_OUT = 4_000, 1_000
GRID = Grid(6, 5)
NEURONS = np.random.default_rng(99).normal(size=(GRID.m, 3))
LIMITS = DriftConfig()


def plant(n: int, seed: int, memory: float) -> NDArray[np.float64]:
    """Three sensors of variance 1, each value `memory` times the one before plus noise, shape (n, 3)."""
    noise = np.random.default_rng(seed).normal(size=(n + 200, 3)) * np.sqrt(1 - memory**2)
    values = np.zeros_like(noise)
    for i in range(1, n + 200):
        values[i] = memory * values[i - 1] + noise[i]
    return values[200:]


def assigned(values: NDArray[np.float64]) -> AssignedRows:
    """Rows on a map with neurons at random places, and a prediction that is the sum of the sensors."""
    distance = np.sqrt(((values[:, None] - NEURONS) ** 2).sum(axis=2))
    features = dict(zip("abc", values.T, strict=True))
    return AssignedRows(features, distance.argmin(axis=1), distance.min(axis=1), {"y": values.sum(axis=1)})


@functools.cache
def history(memory: float, seed: int = 0) -> tuple[Profile, NDArray[np.float64]]:
    """A profile, and a long time afterwards in which nothing changes."""
    values = plant(TRAINED + HELD_OUT + 20 * MONTH, seed, memory)
    training, heldout = assigned(values[:TRAINED]), assigned(values[TRAINED : TRAINED + HELD_OUT])
    return training_profile(GRID, training, heldout), values[TRAINED + HELD_OUT :]


def report(values: NDArray[np.float64], memory: float = 0.0, config: DriftConfig = LIMITS) -> DriftReport:
    return drift(history(memory)[0], assigned(values), config)


# ---------------------------------------------------------------- no wolf


@pytest.mark.parametrize("memory", [0.0, 0.9], ids=["independent", "slow"])
@pytest.mark.parametrize("rows", [1, DAY, 7 * DAY, MONTH], ids=["row", "day", "week", "month"])
def test_rows_like_those_of_training_do_not_cry_wolf(rows: int, memory: float) -> None:
    alarms, checks = 0, 0
    for seed in range(3):
        profile, after = history(memory, seed)
        for start in range(0, 20 * MONTH, MONTH):
            alarms += drift(profile, assigned(after[start : start + rows]), LIMITS).level != "none"
            checks += 1
    assert alarms / checks <= 0.05  # 1 % is asked; 60 checks cannot tell it from 5 %


def test_without_regard_to_chance_a_quiet_day_would_cry_wolf() -> None:
    profile, after = history(0.9)
    days = [drift(profile, assigned(after[start : start + DAY]), LIMITS) for start in range(0, 20 * MONTH, MONTH)]
    indices = [shift.value for day in days for shift in day.shifts if shift.measure.startswith("feature/")]
    assert np.mean(np.array(indices) > LIMITS.stability_index[1]) > 0.9


def test_a_shift_too_small_to_matter_is_none_however_sure() -> None:
    found = report(history(0.0)[1] + 0.1)
    assert found.level == "none"
    assert found.reasons == ("nothing has shifted by more than is usual in 14400 rows, or by enough to matter",)


# ---------------------------------------------------------------- the wolf


@pytest.mark.parametrize(("memory", "moved"), [(0.0, 1.2), (0.9, 2.0)])  # where rows are alike it takes more to be sure
def test_a_month_in_which_a_sensor_is_one_or_two_deviations_off_is_drift(memory: float, moved: float) -> None:
    values = history(memory)[1][:MONTH].copy()
    values[:, 1] += moved
    found = report(values, memory)
    assert found.level == "drift"
    assert any(reason.startswith("b: mean moved by +") for reason in found.reasons)
    assert any(reason.startswith("b: stability index") for reason in found.reasons)
    assert not any(reason.startswith(("a:", "c:")) for reason in found.reasons)


def test_a_sensor_that_spreads_without_moving_is_noticed_by_its_index() -> None:
    values = history(0.0)[1][:MONTH].copy()
    values[:, 0] *= 2
    found = {shift.measure: shift for shift in report(values).shifts}
    assert found["feature/a"].level == "drift"
    assert found["mean/a"].level == "none"


def test_rows_where_the_map_has_never_been_are_noticed() -> None:
    values = history(0.0)[1][:MONTH].copy()
    values[::4] = (5.0, -5.0, 5.0)
    found = {shift.measure: shift for shift in report(values).shifts}
    assert found["new_region"].level == "drift"
    assert found["new_region"].value >= 0.25
    assert found["error_ratio"].level == "drift"


def test_a_sensor_that_falls_silent_is_noticed_and_what_it_hides_is_said() -> None:
    profile, after = history(0.0)
    rows = assigned(after[:MONTH])
    silent = AssignedRows({**rows.features, "a": np.full(MONTH, np.nan)}, rows.winner, rows.distance)
    found = drift(profile, silent, LIMITS)
    assert found.level == "drift"
    assert found.reasons[0].startswith("a: share of missing values changed by 100 %, above 20 %: the limit is 20 %")
    assert "a: stability index nan: no row has a value" in found.reasons
    assert "drift/feature/a" not in found.metrics
    assert found.metrics["drift/missing/a"] == 1


def test_a_shift_between_both_limits_warns() -> None:
    found = {shift.measure: shift for shift in report(history(0.0)[1][:MONTH] + 0.65).shifts}
    assert found["mean/a"].level == "warn"
    assert "above 0.5: the limit is 0.5" in found["mean/a"].sentence


def test_the_worst_comes_first() -> None:
    values = history(0.0)[1][:MONTH] + np.array([0.65, 0.0, 2.0])
    found = report(values)
    levels = {shift.sentence: shift.level for shift in found.shifts}
    order = [levels[reason] for reason in found.reasons]
    assert {"warn", "drift"} == set(order)
    assert order == sorted(order)  # drift before warn
    assert found.level == "drift"


def test_limits_are_settings() -> None:
    values = history(0.0)[1][:MONTH] + 0.65
    patient = DriftConfig(stability_index=(9, 9), mean=(1, 2), error_ratio=(9, 9), new_region=(1, 1))
    assert report(values).level != "none"
    assert report(values, config=patient).level == "none"


# ---------------------------------------------------------------- what cannot be compared


def test_no_rows_and_rows_of_other_columns_are_refused() -> None:
    profile, after = history(0.0)
    rows = assigned(after[:5])
    with pytest.raises(DatasetError, match="drift needs at least one new row, got none"):
        drift(profile, rows[:0], LIMITS)
    fewer = AssignedRows({"a": rows.features["a"]}, rows.winner, rows.distance)
    with pytest.raises(DatasetError, match="drift needs every feature of the profile; absent: b, c"):
        drift(profile, fewer, LIMITS)
    other = AssignedRows(rows.features, rows.winner, rows.distance, {"z": rows.distance})
    with pytest.raises(DatasetError, match="drift of predictions needs targets of the profile, got z"):
        drift(profile, other, LIMITS)


def test_predictions_may_be_left_out() -> None:
    profile, after = history(0.0)
    rows = assigned(after[:50])
    without = drift(profile, AssignedRows(rows.features, rows.winner, rows.distance), LIMITS)
    assert {shift.measure for shift in drift(profile, rows, LIMITS).shifts} - {s.measure for s in without.shifts} == {
        "prediction/y"
    }


def test_a_mean_that_falls_drifts_as_one_that_rises() -> None:
    assert [_shift("mean/a", value, 0.0, 100, LIMITS).level for value in (-0.9, -0.6, -0.4, 0.4, 0.6, 0.9)] == [
        "drift", "warn", "none", "none", "warn", "drift",
    ]  # fmt: skip


def test_a_shift_of_just_the_limit_is_within_it() -> None:
    assert _shift("missing/a", LIMITS.missing[0], 0.0, 100, LIMITS).level == "none"
    assert _shift("missing/a", LIMITS.missing[1], 0.0, 100, LIMITS).level == "warn"
    assert _shift("missing/a", 0.1, usual=0.1, rows=100, config=LIMITS).level == "none"

"""The schedules, against values worked by hand."""

from itertools import pairwise
from typing import get_args

import pytest

from somlib.configs.som_config import LearningRateDecay, SigmaDecay
from somlib.utils.decay import DECAY_FUNCTIONS, sigma_schedule

# start, epoch, epochs, value
BY_HAND = {
    "asymptotic_decay": [(0.5, 0, 10, 0.5), (0.5, 5, 10, 0.25), (0.5, 9, 10, 0.5 / 2.8), (3.0, 10, 10, 1.0)],
    "lr_inverse_decay_to_zero": [
        (0.5, 0, 100, 0.5),
        (0.5, 1, 100, 0.25),
        (0.5, 3, 100, 0.125),
        (0.5, 9, 10, 0.05 / 9.1),
    ],
    "lr_linear_decay_to_zero": [(0.5, 0, 10, 0.5), (0.5, 1, 10, 0.45), (0.5, 9, 10, 0.05), (0.5, 10, 10, 0.0)],
    "sig_inverse_decay_to_one": [(5.0, 0, 10, 5.0), (5.0, 5, 10, 5 / 3), (5.0, 9, 10, 5 / 4.6), (5.0, 10, 10, 1.0)],
    "sig_linear_decay_to_one": [(5.0, 0, 10, 5.0), (5.0, 5, 10, 3.0), (5.0, 9, 10, 1.4), (5.0, 10, 10, 1.0)],
    "sig_geometric_decay_to_one": [(8.0, 0, 4, 8.0), (8.0, 1, 4, 4.0), (8.0, 2, 4, 2.0), (8.0, 3, 4, 1.0)],
}


def test_the_table_by_hand_names_every_schedule() -> None:
    assert set(BY_HAND) == set(DECAY_FUNCTIONS)


@pytest.mark.parametrize(("name", "row"), [(name, row) for name, rows in BY_HAND.items() for row in rows])
def test_schedules_have_the_values_worked_by_hand(name: str, row: tuple[float, int, int, float]) -> None:
    start, t, T, expected = row
    assert DECAY_FUNCTIONS[name](start, t, T) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", DECAY_FUNCTIONS)
def test_schedules_start_at_the_start_value_also_for_a_single_epoch(name: str) -> None:
    for start in (0.05, 0.5, 1.0, 2.7, 30.0):
        for T in (1, 2, 3, 10, 1000):
            assert DECAY_FUNCTIONS[name](start, 0, T) == pytest.approx(start, rel=1e-15)


@pytest.mark.parametrize("name", DECAY_FUNCTIONS)
def test_schedules_fall_and_stay_positive_in_every_epoch(name: str) -> None:
    values = [DECAY_FUNCTIONS[name](4.0, t, 30) for t in range(30)]
    assert all(later < earlier for earlier, later in pairwise(values))
    assert min(values) > 0


@pytest.mark.parametrize("T", [2, 3, 7, 10, 49, 100, 1001])
def test_the_geometric_radius_is_exactly_one_in_the_last_epoch(T: int) -> None:
    for start in (0.4, 1.5, 7.3, 60.0):
        assert DECAY_FUNCTIONS["sig_geometric_decay_to_one"](start, T - 1, T) == 1.0


def test_the_geometric_radius_falls_by_one_factor_an_epoch() -> None:
    values = [DECAY_FUNCTIONS["sig_geometric_decay_to_one"](6.0, t, 12) for t in range(12)]
    ratios = [later / earlier for earlier, later in pairwise(values)]
    assert ratios == pytest.approx([6.0 ** (-1 / 11)] * 11)


def test_configurable_schedules_are_the_registered_ones() -> None:
    named = [name for setting in (LearningRateDecay, SigmaDecay) for name in get_args(setting)[1].names]
    assert set(named) == set(DECAY_FUNCTIONS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sig_inverse_decay_to_one", [5.0, 5 / 3.25, 5 / 5.5, 5 / 7.75, 0.5]),  # 0.5 * 10 / (1 + 9 t / 4)
        ("sig_linear_decay_to_one", [5.0, 3.875, 2.75, 1.625, 0.5]),
        ("sig_geometric_decay_to_one", [5.0, 5 * 0.1 ** (1 / 3), 5 * 0.1 ** (2 / 3), 0.5]),
    ],
)
def test_schedules_to_one_end_at_the_final_radius_instead(name: str, values: list[float]) -> None:
    assert [sigma_schedule(name, 0.5)(5.0, t, 4) for t in range(len(values))] == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("final", [0.3, 1.0, 1.7])
def test_a_final_radius_is_reached_from_either_side_and_means_nothing_to_the_asymptotic_schedule(final: float) -> None:
    for start in (0.2, 1.0, 6.0):
        geometric = sigma_schedule("sig_geometric_decay_to_one", final)
        assert (geometric(start, 0, 7), geometric(start, 6, 7)) == pytest.approx((start, final), rel=1e-12)
    assert sigma_schedule("asymptotic_decay", final) is DECAY_FUNCTIONS["asymptotic_decay"]


@pytest.mark.parametrize("name", DECAY_FUNCTIONS)
def test_a_final_radius_of_one_is_the_schedule_itself(name: str) -> None:
    assert sigma_schedule(name, 1.0) is DECAY_FUNCTIONS[name]

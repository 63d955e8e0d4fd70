import numpy as np
import pytest
import torch

from somlib.jitl.assignment import Assignment
from somlib.jitl.intervals import ENOUGH, PRIOR, SIGMA, AdaptiveIntervals, group_of, growth_of
from somlib.jitl.moments import FloatArray, IntArray
from somlib.utils.grid import Grid

GRID = Grid(4, 3)


def at(neuron: IntArray | list[int], trust: float = 1.0, missing: FloatArray | None = None) -> Assignment:
    """Samples that lie at neurons alone, -1 for nowhere."""
    winner = np.asarray(neuron)[:, None]
    n = len(winner)
    gaps = np.zeros((n, 0), dtype=bool) if missing is None else missing.astype(bool)
    point, nearest = torch.zeros((n, 1)), np.ones((n, 1))
    return Assignment(nearest, winner, nearest, (winner >= 0).astype(float), np.full(n, trust), point, gaps)


def filled(gamma: float = 0.0, n: int = 500) -> AdaptiveIntervals:
    rng = np.random.default_rng(0)
    intervals = AdaptiveIntervals(GRID, 0.9, gamma, 1)
    winner = rng.integers(0, 12, n)
    intervals.learn(at(winner), rng.normal(size=(n, 1)) * (1 + winner[:, None]))
    return intervals


def usual(intervals: AdaptiveIntervals, assigned: Assignment) -> FloatArray:
    """Typical error of samples without gaps, of the first target."""
    typical: FloatArray = intervals.half_width(assigned)[:, 0] / intervals.factor()[0, 0]
    return typical


def test_scales_match_their_definition() -> None:
    intervals = filled()
    size = np.abs(intervals.error[:, 0])
    for k in (0, 5, 11):
        h = np.exp(-GRID.squared_distances_from(k).numpy()[intervals.winner] / (2 * SIGMA**2))
        expected = ((h * size).sum() + PRIOR * size.mean()) / (h.sum() + PRIOR)
        assert usual(intervals, at([k]))[0] == pytest.approx(expected)


def test_the_factor_holds_the_wanted_share_of_the_scores() -> None:
    intervals = filled()
    scores = np.abs(intervals.error[:, 0]) / usual(intervals, at(intervals.winner))
    assert np.sort(scores)[int(np.ceil(501 * 0.9)) - 1] == pytest.approx(intervals.factor()[0, 0])
    assert intervals.half_width(at([4]))[0, 0] == intervals.factor()[0, 0] * usual(intervals, at([4]))[0]


def test_misses_widen_and_hits_narrow_step_by_step() -> None:
    intervals = filled(gamma=0.01)
    reach = intervals.half_width(at([3]))[0, 0]
    intervals.observe(at([3, 3]), np.array([[0.0], [1.5 * reach]]))
    # one hit: alpha + 0.01 * 0.1; one miss: alpha + 0.01 * (0.1 - 1)
    assert intervals.alpha[0] == pytest.approx(0.1 + 0.001 - 0.009)


def test_coverage_comes_back_after_errors_triple() -> None:
    rng = np.random.default_rng(1)
    intervals, hits = filled(gamma=0.01), []
    for _ in range(120):
        winner = rng.integers(0, 12, 24)
        error = 3 * rng.normal(size=(24, 1)) * (1 + winner[:, None])
        hits.append(np.abs(error) <= intervals.half_width(at(winner)))
        intervals.observe(at(winner), error)
    assert np.mean(hits[:2]) < 0.8
    assert 0.87 < np.mean(hits[-80:]) < 0.93


def test_off_the_map_intervals_widen_with_the_distance() -> None:
    intervals = filled()
    near, far = (usual(intervals, at([3], trust))[0] for trust in (1.0, 0.25))
    assert far == pytest.approx(2 * near)
    assert usual(intervals, at([-1], 0.0))[0] == pytest.approx(np.abs(intervals.error).mean())


def test_before_any_error_is_known_there_is_no_interval() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.01, 2)
    assert np.isnan(intervals.factor()).all()
    assert np.isnan(intervals.half_width(at([1]))).all()
    intervals.observe(at([1]), np.array([[1.0, 2.0]]))
    assert np.isfinite(intervals.factor()).all()
    assert intervals.alpha.tolist() == pytest.approx([0.1, 0.1])


def test_groups_are_none_one_two_and_more_gaps() -> None:
    gaps = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]], dtype=bool)
    assert group_of(gaps).tolist() == [0, 1, 2, 3, 3]
    assert group_of(np.zeros((2, 0), dtype=bool)).tolist() == [0, 0]


def test_what_a_missing_feature_adds_is_found_where_it_is_known() -> None:
    rng = np.random.default_rng(0)
    missing = rng.random((40_000, 3)) < 0.4
    # Variances by formula: 1, and 3 more without the first, 0.5 more without the second, nothing without the third.
    error = rng.uniform(-1, 1, (40_000, 1)) * np.sqrt(3 * (1 + missing @ np.array([3.0, 0.5, 0.0])))[:, None]
    np.testing.assert_allclose(growth_of(missing, np.abs(error))[0], [3.0, 0.5, 0.0], atol=0.15)


def test_nothing_is_added_where_gaps_do_no_harm_or_errors_are_all_zero() -> None:
    rng = np.random.default_rng(0)
    missing = rng.random((500, 2)) < 0.5
    assert (growth_of(missing, np.where(missing.any(axis=1), 0.5, 1.0)[:, None]) == 0).all()
    assert (growth_of(missing, np.zeros((500, 1))) == 0).all()
    assert (growth_of(np.zeros((5, 2), dtype=bool), np.ones((5, 1))) == 0).all()


def gappy(growth: FloatArray, n: int, seed: int) -> tuple[Assignment, FloatArray]:
    """Samples all over the map, a third of them with gaps, and errors whose variance grows with these."""
    rng = np.random.default_rng(seed)
    winner = rng.integers(0, 12, n)
    missing = (rng.random((n, len(growth))) < 0.5) & (rng.random(n) < 1 / 3)[:, None]
    spread = (1 + winner) * np.sqrt(1 + missing @ growth)
    return at(winner, missing=missing), rng.normal(size=(n, 1)) * spread[:, None]


@pytest.mark.parametrize("learned", ["hidden", "both"])
def test_intervals_hold_as_much_with_gaps_as_without(learned: str) -> None:
    growth = np.array([8.0, 1.0, 0.0])
    intervals = AdaptiveIntervals(GRID, 0.9, 0.0, 1, d=3)
    assigned, error = gappy(growth, 3_000, 0)
    whole = ~assigned.missing.any(axis=1)
    if learned == "hidden":
        intervals.learn(at(assigned.winner[whole], missing=assigned.missing[whole]), error[whole])
    else:
        intervals.learn(assigned, error)
    intervals.learn_gaps(at(assigned.winner[~whole], missing=assigned.missing[~whole]), error[~whole])
    asked, truth = gappy(growth, 20_000, 1)
    held, group = np.abs(truth) <= intervals.half_width(asked), group_of(asked.missing)
    for number in range(4):
        assert 0.87 < held[group == number].mean() < 0.93, number
    first, last = asked.missing[:, 0] & (group == 1), asked.missing[:, 2] & (group == 1)
    assert held[first].mean() > 0.85
    assert intervals.half_width(asked)[first].mean() > 2 * intervals.half_width(asked)[last].mean()


def test_enough_samples_with_gaps_of_their_own_need_no_hidden_values() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.0, 1, d=2)
    one = np.tile([True, False], (ENOUGH, 1))
    intervals.learn(at(np.zeros(300, dtype=int), missing=np.zeros((300, 2))), np.ones((300, 1)))
    intervals.learn_gaps(at(np.zeros(300, dtype=int), missing=np.tile([1.0, 0.0], (300, 1))), np.full((300, 1), 3.0))
    query = at([0], missing=np.array([[1.0, 0.0]]))
    assert intervals.half_width(query)[0, 0] == pytest.approx(3.0, rel=0.01)
    intervals.learn(at(np.zeros(ENOUGH, dtype=int), missing=one), np.full((ENOUGH, 1), 12.0))
    assert intervals.half_width(query)[0, 0] == pytest.approx(12.0, rel=0.15)


def test_gaps_never_make_an_interval_narrower() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.0, 1, d=3)
    assigned, error = gappy(np.zeros(3), 900, 0)
    intervals.learn(assigned, np.where(assigned.missing.any(axis=1)[:, None], 0.1 * error, error))
    intervals.learn_gaps(*gappy(np.zeros(3), 900, 1))
    asked = gappy(np.zeros(3), 200, 2)[0]
    without = at(asked.winner, missing=np.zeros_like(asked.missing))
    assert (intervals.half_width(asked) >= intervals.half_width(without)).all()


def test_misses_of_samples_with_gaps_are_judged_by_their_own_reach() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.01, 1, d=2)
    intervals.learn(at(np.zeros(300, dtype=int), missing=np.zeros((300, 2))), np.ones((300, 1)))
    intervals.learn_gaps(at(np.zeros(300, dtype=int), missing=np.tile([1.0, 0.0], (300, 1))), np.full((300, 1), 3.0))
    intervals.observe(at([0, 0], missing=np.array([[1.0, 0.0], [0.0, 0.0]])), np.array([[2.0], [2.0]]))
    # 2 lies within 3, the reach with this gap, and beyond 1, the reach without: one hit, one miss.
    assert intervals.alpha[0] == pytest.approx(0.1 + 0.001 - 0.009)


def test_errors_of_older_samples_are_recalled_in_the_units_of_a_new_fit() -> None:
    rng = np.random.default_rng(1)
    winner, error, time = rng.integers(0, 12, 300), rng.normal(size=(300, 1)), np.arange(300.0)
    time[7] = np.nan  # not known: it cannot be said to be older
    before, now, together = (AdaptiveIntervals(GRID, 0.9, 0.0, 1) for _ in range(3))
    before.learn(at(winner[:200]), error[:200], time[:200])
    now.learn(at(winner[100:]), 5 * error[100:], time[100:])
    now.recall(before, np.array([5.0]))
    recalled = np.flatnonzero(time < 100)
    rows = np.concatenate((recalled, np.arange(100, 300)))
    together.learn(at(winner[rows]), 5 * error[rows], time[rows])
    np.testing.assert_allclose(now.half_width(at(np.arange(12))), together.half_width(at(np.arange(12))))
    np.testing.assert_array_equal(now.time, together.time)


def test_restored_intervals_reach_as_far_and_old_ones_know_no_gaps() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.01, 1, d=3)
    intervals.learn(*gappy(np.ones(3), 400, 0))
    intervals.learn_gaps(*gappy(np.ones(3), 400, 1))
    asked = gappy(np.ones(3), 50, 2)[0]
    again = AdaptiveIntervals(GRID, 0.9, 0.01, 1, d=3)
    again.restore(intervals.arrays())
    np.testing.assert_array_equal(again.half_width(asked), intervals.half_width(asked))
    old = AdaptiveIntervals(GRID, 0.9, 0.01, 1, d=3)
    old.restore({name: intervals.arrays()[name] for name in ("alpha", "winner", "error")})
    assert np.isfinite(old.half_width(asked)).all()

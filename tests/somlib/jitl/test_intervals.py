import numpy as np
import pytest

from somlib.jitl.intervals import PRIOR, SIGMA, AdaptiveIntervals
from somlib.utils.grid import Grid

GRID = Grid(4, 3)


def filled(gamma: float = 0.0, n: int = 500) -> AdaptiveIntervals:
    rng = np.random.default_rng(0)
    intervals = AdaptiveIntervals(GRID, 0.9, gamma, 1)
    winner = rng.integers(0, 12, n)
    intervals.learn(winner, rng.normal(size=(n, 1)) * (1 + winner[:, None]))
    return intervals


def at(neuron: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([[neuron]]), np.ones((1, 1)), np.ones(1)


def test_scales_match_their_definition() -> None:
    intervals = filled()
    size = np.abs(intervals.error[:, 0])
    for k in (0, 5, 11):
        h = np.exp(-GRID.squared_distances_from(k).numpy()[intervals.winner] / (2 * SIGMA**2))
        expected = ((h * size).sum() + PRIOR * size.mean()) / (h.sum() + PRIOR)
        assert intervals.scale(*at(k))[0, 0] == pytest.approx(expected)


def test_the_factor_holds_the_wanted_share_of_the_scores() -> None:
    intervals = filled()
    scores = [
        abs(e) / intervals.scale(*at(k))[0, 0] for e, k in zip(intervals.error[:, 0], intervals.winner, strict=True)
    ]
    assert np.sort(scores)[int(np.ceil(501 * 0.9)) - 1] == pytest.approx(intervals.factor()[0])


def test_misses_widen_and_hits_narrow_step_by_step() -> None:
    intervals = filled(gamma=0.01)
    width = np.repeat(intervals.scale(*at(3)), 2, axis=0)
    reach = intervals.factor()[0] * width[0, 0]
    intervals.observe(np.array([3, 3]), np.array([[0.0], [1.5 * reach]]), width)
    # one hit: alpha + 0.01 * 0.1; one miss: alpha + 0.01 * (0.1 - 1)
    assert intervals.alpha[0] == pytest.approx(0.1 + 0.001 - 0.009)


def test_coverage_comes_back_after_errors_triple() -> None:
    rng = np.random.default_rng(1)
    intervals, hits = filled(gamma=0.01), []
    for _ in range(120):
        winner = rng.integers(0, 12, 24)
        error = 3 * rng.normal(size=(24, 1)) * (1 + winner[:, None])
        width = intervals.scale(winner[:, None], np.ones((24, 1)), np.ones(24))
        hits.append(np.abs(error) <= intervals.factor() * width)
        intervals.observe(winner, error, width)
    assert np.mean(hits[:2]) < 0.8
    assert 0.87 < np.mean(hits[-80:]) < 0.93


def test_off_the_map_intervals_widen_with_the_distance() -> None:
    intervals = filled()
    neuron, share, _ = at(3)
    near, far = (intervals.scale(neuron, share, np.array([t]))[0, 0] for t in (1.0, 0.25))
    assert far == pytest.approx(2 * near)
    nowhere = intervals.scale(np.array([[-1]]), np.zeros((1, 1)), np.zeros(1))
    assert nowhere[0, 0] == pytest.approx(np.abs(intervals.error).mean())


def test_before_any_error_is_known_there_is_no_interval() -> None:
    intervals = AdaptiveIntervals(GRID, 0.9, 0.01, 2)
    assert np.isnan(intervals.factor()).all()
    intervals.observe(np.array([1]), np.array([[1.0, 2.0]]), np.full((1, 2), np.nan))
    assert np.isfinite(intervals.factor()).all()
    assert intervals.alpha.tolist() == pytest.approx([0.1, 0.1])

"""Valleys between groups of rows: what chance makes, and what it cannot."""

import math

import numpy as np
import pytest

from somlib.utils.clustering.mixture import SURE
from somlib.utils.clustering.valleys import BINS, OFFSETS, discriminant, valley


def by_definition(line: list[float], weight: list[float]) -> float:
    best, low, high = 0.0, min(line), max(line)
    for bins in BINS:
        for offset in OFFSETS:
            count = [0.0] * (bins + 1)
            for x, w in zip(line, weight, strict=True):
                count[int((x - low) / (high - low) * (bins - 1e-9) + offset)] += w
            for i, c in enumerate(count):
                p = min(max(count[: i + 1]), max(count[i:]))
                if c < 0.6 * p:
                    s = (p + c) / 2
                    best = max(best, 2 * (p * math.log(p / s) + (c * math.log(c / s) if c else 0.0)))
    return math.sqrt(best)


def test_the_score_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    line, weight = np.append(rng.normal(size=40), rng.normal(4, 1, 30)), rng.integers(1, 4, 70).astype(float)
    assert valley(line, weight) == pytest.approx(by_definition(line.tolist(), weight.tolist()))


@pytest.mark.parametrize("draw", ["normal", "uniform", "exponential"])
@pytest.mark.parametrize("n", [40, 300, 3000])
def test_one_group_shows_a_sure_valley_in_under_one_of_a_hundred(draw: str, n: int) -> None:
    rng = np.random.default_rng(n)
    scores = [valley(getattr(rng, draw)(size=n), np.ones(n)) for _ in range(200)]
    assert np.mean(np.array(scores) >= SURE) < 0.01


def test_two_groups_apart_show_one_and_a_weight_counts_like_copies() -> None:
    rng = np.random.default_rng(1)
    line = np.append(rng.normal(size=60), rng.normal(7, 1, 60))
    assert valley(line, np.ones(120)) > SURE
    assert valley(line, np.full(120, 2.0)) == pytest.approx(valley(np.repeat(line, 2), np.ones(240)))
    assert valley(line, np.full(120, 4.0)) == pytest.approx(2 * valley(line, np.ones(120)))


@pytest.mark.parametrize("line", [[], [1.0], [2.0] * 20, [0.0] * 4 + [9.0] * 4])
def test_few_rows_and_rows_at_one_place_show_none(line: list[float]) -> None:
    assert valley(np.array(line), np.ones(len(line))) == 0.0


def test_the_line_between_two_groups_is_that_of_fisher_where_their_covariances_are_one() -> None:
    rng = np.random.default_rng(2)
    one = rng.normal(size=(2000, 3)) @ np.diag([1.0, 3.0, 0.5])
    other = one + np.array([2.0, 2.0, 0.0])
    found = discriminant(one, np.ones(2000), other, np.ones(2000))
    fisher = np.linalg.solve(np.cov(one.T, bias=True), [2.0, 2.0, 0.0])
    assert found @ fisher / np.linalg.norm(found) / np.linalg.norm(fisher) > 0.999


def test_groups_at_one_place_have_a_line_too() -> None:
    same = np.zeros((5, 2))
    assert np.isfinite(discriminant(same, np.ones(5), same + 1, np.ones(5))).all()

"""Regions that climb to one peak, and their merges, against plain loops."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import power_divergence

from somlib.utils.clustering.density import RowDensity
from somlib.utils.clustering.merging import SHALLOW, apart, merges, regions


@pytest.mark.parametrize(("rows", "ratio"), [(30.0, 0.5), (8.0, 0.0), (400.0, 0.59)])
def test_the_score_is_the_root_of_the_deviance_of_two_counts(rows: float, ratio: float) -> None:
    deviance, _ = power_divergence([rows, rows * ratio], lambda_="log-likelihood") if ratio else (0, 0)
    expected = math.sqrt(deviance) if ratio else math.sqrt(2 * rows * math.log(2))
    found = apart(np.array([7.0]), np.array([rows]), np.array([7.0 * ratio]))
    assert found[0] == pytest.approx(expected)


def test_a_shallow_valley_or_a_higher_pass_is_none() -> None:
    peak = np.array([1.0, 1.0, 1.0])
    assert apart(peak, 1e9 * peak, np.array([SHALLOW, 1.0, 2.0])).tolist() == [0.0, 0.0, 0.0]


def test_neurons_climb_to_the_densest_neighbor_until_none_is_denser() -> None:
    density = np.array([3.0, 1.0, 2.0, 5.0, 5.0, 1.0])
    links = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    # 1 climbs to 0 rather than 2; 4 is as dense as 3 and comes after it; 5 is alone
    assert regions(density, links).tolist() == [0, 0, 1, 1, 1, 2]


def _random(seed: int) -> tuple[np.ndarray, np.ndarray, RowDensity]:
    rng = np.random.default_rng(seed)
    points, rows = rng.normal(size=(25, 2)) * 3, rng.integers(1, 12, 25).astype(float)
    links = np.array([pair for pair in itertools.combinations(range(25), 2) if rng.uniform() < 0.15])
    found = RowDensity(points, rows, 1.0)
    return regions(found.at_neurons[0], links), links, found


@pytest.mark.parametrize("seed", range(8))
def test_merges_match_their_definition(seed: int) -> None:
    """Every time all pairs are looked at anew, from the neurons that they hold by then."""
    region, links, found = _random(seed)
    done, now = merges(region, links, found), region.copy()
    between = found.between(links)
    for merge in done:
        scores = {}
        for one, other in itertools.combinations(sorted(set(now.tolist())), 2):
            crossing = [(i, a, b) for i, (a, b) in enumerate(links) if {now[a], now[b]} == {one, other}]
            if not crossing:
                continue
            best = 0.0
            for s, density in enumerate(found.at_neurons):
                passing = max(min(between[s, i], density[a], density[b]) for i, a, b in crossing)
                sides = []
                for side in (one, other):
                    top = max(np.flatnonzero(now == side), key=lambda k, f=density: f[k])
                    resting = np.minimum(found.resting_on(np.array([top]))[s], found.rows[now == side].sum())
                    sides.append(float(apart(density[[top]], resting, np.array([passing]))[0]))
                best = max(best, min(sides))
            scores[one, other] = best
        least = min(scores, key=lambda pair: (scores[pair], pair))
        assert (merge.kept, merge.gone) == least
        assert merge.score == pytest.approx(scores[least])
        now[now == merge.gone] = merge.kept
    crossing_now = now[links]
    assert (crossing_now[:, 0] == crossing_now[:, 1]).all()

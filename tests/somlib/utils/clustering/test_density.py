"""Densities of rows at neurons, typical distances, and links between pieces, against their definitions."""

import math

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from somlib.utils.clustering import density as module
from somlib.utils.clustering.contiguity import graph_of, pieces
from somlib.utils.clustering.density import WIDTHS, RowDensity, bridges, typical_distance

RNG = np.random.default_rng(0)
POINTS, ROWS = RNG.normal(size=(9, 3)), RNG.uniform(0.5, 4, 9)
LINKS = np.array([[0, 1], [1, 2], [4, 8]])


@pytest.mark.parametrize("entries", [1, 2**21])
def test_densities_match_their_definition(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES", entries)
    found = RowDensity(POINTS, ROWS, 1.3)
    for s in range(WIDTHS):
        h = 1.3 * math.sqrt(2) ** (s - 1)

        def f(x: np.ndarray, power: int = 1, h: float = h) -> float:
            kernels = [math.exp(-(math.dist(x, w) ** 2) / (2 * h * h)) for w in POINTS]
            return sum(n * kernel**power for n, kernel in zip(ROWS, kernels, strict=True))

        np.testing.assert_allclose(found.at_neurons[s], [f(w) for w in POINTS], rtol=1e-9)
        np.testing.assert_allclose(
            found.resting_on(np.array([7, 2]))[s], [f(POINTS[k]) ** 2 / f(POINTS[k], 2) for k in (7, 2)], rtol=1e-9
        )
        np.testing.assert_allclose(
            found.between(LINKS)[s], [f((POINTS[a] + POINTS[b]) / 2) for a, b in LINKS], rtol=1e-9
        )


def test_the_typical_distance_is_the_median_over_shared_rows() -> None:
    points = np.array([[0.0], [1.0], [3.0], [3.0], [8.0]])
    links = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])  # lengths 1, 2, 0, 5
    assert typical_distance(points, links, np.array([4.0, 2.0, 9.0, 1.0])) == 1.0
    assert typical_distance(points, links, np.array([2.0, 2.0, 9.0, 1.0])) == 2.0
    assert typical_distance(points, links[2:3], np.ones(1)) == 0.0
    assert typical_distance(points, links[:0], np.ones(0)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_bridges_are_the_least_links_that_join_all_pieces(seed: int) -> None:
    """As the minimum spanning tree of the pieces, by the distances of their closest neurons."""
    rng = np.random.default_rng(seed)
    points, links = rng.normal(size=(20, 2)), rng.integers(0, 20, (12, 2))
    piece = pieces(graph_of(*links.T, 20))
    count = piece.max() + 1
    apart = cdist(points, points)
    between = np.array([[apart[np.ix_(piece == a, piece == b)].min() for b in range(count)] for a in range(count)])
    found = bridges(points, links, piece)
    assert len(found) == count - 1
    assert apart[found[:, 0], found[:, 1]].sum() == pytest.approx(minimum_spanning_tree(between).sum())
    joined = np.concatenate((links, found))
    assert pieces(graph_of(*joined.T, 20)).max() == 0


def test_one_piece_needs_no_bridges() -> None:
    assert bridges(POINTS, LINKS, np.zeros(9, np.int64)).shape == (0, 2)

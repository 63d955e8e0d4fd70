r"""Merging of dense regions until a valley that counts can prove lies between any two.

Between two regions, at each width of the kernel, are two peaks and a pass: the highest point of the lowest places on
all ways from one to the other. If rows lay as dense at the pass as at the lower peak, which rests on N rows, about N
would be found there; it is r N. The deviance of the two counts,

    G^2 = 2 [ N log(2 / (1 + r)) + r N log(2 r / (1 + r)) ]

is about chi-squared with one degree of freedom where they are equal but for chance, so G is a standard score. N counts
no more rows than the region holds, for a wide kernel sees those of others too. The two
regions are as much apart as the lower of the two scores, one a peak, at the width that shows it best. The pair that is
least apart is merged first; a merged region has the higher peak and the higher passes of the two.

References:
    Cabanes, Bennani and Fresneau, Enriched topological learning for cluster detection and visualization, Neural
    Networks 32, 2012 (density at neurons and connections between them).
    Chazal, Guibas, Oudot and Skraba, Persistence-based clustering in Riemannian manifolds, J. ACM 60(6), 2013.
"""

import heapq
from dataclasses import dataclass

import numpy as np

from somlib.utils.clustering.density import RowDensity
from somlib.utils.clustering.neurons import FloatArray, IntArray

# From this share of the peak on a pass is no valley, however sure: the density of a map is never quite even. Of 0.4,
# 0.5, 0.6 and 0.67 the best on the sets of TUNING in benchmarks/cluster_sets.py.
SHALLOW = 0.6


@dataclass(frozen=True)
class Merge:
    """Two regions become one; each is named by its number, and the union keeps the first's.

    Attributes:
        kept: Number of the one.
        gone: Number of the other.
        score: How much they are apart, in standard scores; merges need not come in ascending order.
    """

    kept: int
    gone: int
    score: float


def regions(density: FloatArray, links: IntArray) -> IntArray:
    """The regions of neurons that climb to the same peak, each step to the densest linked neuron, from 0, shape (m,).

    Args:
        density: At each neuron, shape (m,).
        links: Pairs of neurons that share rows, shape (e, 2).
    """
    m = len(density)
    rank = np.empty(m, dtype=np.int64)  # ties go to the lower index
    rank[np.lexsort((-np.arange(m), density))] = np.arange(m)
    by_rank = np.argsort(rank)
    highest = rank.copy()
    np.maximum.at(highest, links[:, 0], rank[links[:, 1]])
    np.maximum.at(highest, links[:, 1], rank[links[:, 0]])
    up = by_rank[highest]
    while not np.array_equal(up, up[up]):
        up = up[up]
    return np.unique(up, return_inverse=True)[1].astype(np.int64)


def merges(region: IntArray, links: IntArray, density: RowDensity) -> list[Merge]:
    """All merges in their order, until one region is left of those that links connect.

    Args:
        region: Of each neuron, from 0 without gaps, shape (m,).
        links: Pairs of neurons, shape (e, 2).
        density: Of the rows on these neurons.
    """
    state = _Regions(region, links, density)
    done = []
    while (pair := state.least_apart()) is not None:
        done.append(pair)
        state.merge(pair)
    return done


def apart(peak: FloatArray, resting_on: FloatArray, passing: FloatArray) -> FloatArray:
    """The standard score of a valley against one peak, at each width; 0 where it is none or shallow.

    Args:
        peak: Density there, > 0.
        resting_on: How many rows that rests on.
        passing: Density at the pass, >= 0.
    """
    ratio = np.minimum(passing / peak, 1.0)
    half = (1 + ratio) / 2
    log_pass = np.log(np.maximum(ratio, np.finfo(np.float64).tiny) / half)
    deviance = 2 * resting_on * (ratio * log_pass - np.log(half))
    return np.where(ratio < SHALLOW, np.sqrt(np.maximum(deviance, 0.0)), 0.0)


class _Regions:
    """Regions, their peaks and the passes between them, and which two are least apart."""

    def __init__(self, region: IntArray, links: IntArray, density: RowDensity) -> None:
        count = int(region.max()) + 1
        self._peak, self._resting_on = _peaks(region, density, count)
        self._rows = np.bincount(region, density.rows, minlength=count)
        self._passes: list[dict[int, FloatArray]] = [{} for _ in range(count)]
        crossing = links[region[links[:, 0]] != region[links[:, 1]]]
        at = density.at_neurons
        lowest = np.minimum(density.between(crossing), np.minimum(at[:, crossing[:, 0]], at[:, crossing[:, 1]]))
        for (one, other), passing in zip(region[crossing].tolist(), lowest.T, strict=True):
            self._raise(one, other, passing)
        self._queue: list[tuple[float, int, int, int]] = []
        self._version: dict[tuple[int, int], int] = {}  # of the score that counts; others in the queue are past
        self._asked = 0
        for one, passes in enumerate(self._passes):
            for other in passes:
                if one < other:
                    self._ask(one, other)

    def least_apart(self) -> Merge | None:
        while self._queue:
            score, one, other, version = heapq.heappop(self._queue)
            if self._version.get((one, other)) == version:
                return Merge(one, other, score)
        return None

    def merge(self, pair: Merge) -> None:
        kept, gone = pair.kept, pair.gone
        higher = self._peak[:, gone] > self._peak[:, kept]
        for values in (self._peak, self._resting_on):
            values[higher, kept] = values[higher, gone]
        self._rows[kept] += self._rows[gone]
        for other, passing in self._passes[gone].items():
            del self._passes[other][gone]
            del self._version[min(gone, other), max(gone, other)]
            if other != kept:
                self._raise(kept, other, passing)
        self._passes[gone] = {}
        for other in self._passes[kept]:
            self._ask(min(kept, other), max(kept, other))

    def _raise(self, one: int, other: int, passing: FloatArray) -> None:
        known = self._passes[one].get(other)
        highest = passing if known is None else np.maximum(known, passing)
        self._passes[one][other] = self._passes[other][one] = highest

    def _ask(self, one: int, other: int) -> None:
        passing = self._passes[one][other]
        scores = [
            apart(self._peak[:, each], np.minimum(self._resting_on[:, each], self._rows[each]), passing)
            for each in (one, other)
        ]
        self._asked += 1
        self._version[one, other] = self._asked
        heapq.heappush(self._queue, (float(np.minimum(*scores).max()), one, other, self._asked))


def _peaks(region: IntArray, density: RowDensity, count: int) -> tuple[FloatArray, FloatArray]:
    """The highest density of each region, and how many rows it rests on, shape (s, count) each."""
    at = density.at_neurons
    neurons = np.empty((len(at), count), dtype=np.int64)
    for width, values in enumerate(at):
        order = np.lexsort((-np.arange(len(values)), values, region))
        neurons[width] = order[np.append(np.flatnonzero(np.diff(region[order])), len(order) - 1)]
    asked, place = np.unique(neurons, return_inverse=True)
    resting_on = np.take_along_axis(density.resting_on(asked), place.reshape(neurons.shape), axis=1)
    return np.take_along_axis(at, neurons, axis=1), resting_on

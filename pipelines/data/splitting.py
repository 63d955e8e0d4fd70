"""Which rows are held out: the newest share of them by time, else a random one.

Up to a million rows the random ones come from a permutation of all; of more, whether a row is held out follows from a
hash of its number, so that rows that are read one after the other can be split as they come.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERMUTED = 2**20  # rows
COUNTED, SORTED = 2**16, 2**20  # bins that times are counted in, and values that are sorted at once


@dataclass(frozen=True)
class HeldOut:
    """Which rows are held out.

    Attributes:
        n: Number of all rows.
        count: About how many of them.
        seed: Of a random choice.
        since: The time from which on rows are held out; None: by chance.
    """

    n: int
    count: int
    seed: int = 0
    since: Any = None

    def among(self, start: int, count: int, time: NDArray[Any] | None = None) -> NDArray[np.bool_]:
        """Of `count` rows from row number `start` on, with times (count,), whether each is held out."""
        if not self.count:
            return np.zeros(count, dtype=bool)
        if self.since is not None:
            assert time is not None
            return np.asarray(time >= self.since)
        if self.n <= PERMUTED:
            mask = np.zeros(self.n, dtype=bool)
            mask[np.random.default_rng(self.seed).permutation(self.n)[: self.count]] = True
            return mask[start : start + count]
        limit = np.uint64(int(self.count / self.n * 2**64))
        return np.asarray(_hashed(np.arange(start, start + count, dtype=np.uint64), self.seed) < limit)


def _hashed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Numbers of 64 bits that look random, by the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    mixed: NDArray[np.uint64] = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + state
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def newest_from(passes: Callable[[], Iterable[NDArray[Any]]], n: int, count: int) -> Any:
    """The time of the oldest of the `count` newest of n rows, in some passes over their times that keep few of them.

    Args:
        passes: Begins a pass over the times, in int64 or in float64.
        n: How many there are.
        count: From 1 to n.
    """
    low, high, below = -(2**63), 2**63 - 1, 0
    wanted = n - count  # its place among all times, ascending
    dtype: Any = None
    while True:
        width = max(1, -(-(high - low + 1) // COUNTED))
        counts = np.zeros(COUNTED, dtype=np.int64)
        least, largest = high, low
        for times in passes():
            dtype = times.dtype
            inside = _within(_ranks(times), low, high)
            if len(inside):
                least, largest = min(least, int(inside.min())), max(largest, int(inside.max()))
                places = (inside.astype(np.uint64) - np.uint64(low % 2**64)) // np.uint64(width)
                counts += np.bincount(places.astype(np.int64), minlength=COUNTED)
        ends = below + counts.cumsum()
        place = int(np.searchsorted(ends, wanted, side="right"))
        below = int(ends[place] - counts[place])
        low, high = max(least, low + place * width), min(largest, low + (place + 1) * width - 1)
        if counts[place] <= SORTED or low == high:
            break
    if low == high:
        return _times(np.array([low], dtype=np.int64), dtype)[0]
    kept = np.concatenate([_within(_ranks(times), low, high) for times in passes()])
    return _times(np.partition(kept, wanted - below)[wanted - below : wanted - below + 1], dtype)[0]


def _within(ranks: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    return ranks[(ranks >= low) & (ranks <= high)]


def _ranks(times: NDArray[Any]) -> NDArray[np.int64]:
    """Whole numbers in the order of the times: they, or for fractions their bits, which go up like them."""
    if times.dtype != np.float64:
        return times.astype(np.int64)
    bits = (times + 0.0).view(np.int64)  # -0 is 0
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


def _times(ranks: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    """What `_ranks` was given."""
    if dtype != np.float64:
        return ranks.astype(dtype)
    return np.where(ranks < 0, ranks ^ np.int64(2**63 - 1), ranks).view(np.float64)

r"""Intervals that hold what they promise, also when the data drifts and where samples have gaps.

Errors differ over the map and grow with what a sample lacks, so each is measured against what is usual,

    score = |error| / (s_k i),
    s_k   = (sum_j h(k, j) |errors at j| / i + PRIOR mean(|error| / i)) / (sum_j h(k, j) n_j + PRIOR)
    i     = (1 + sum of v_f over the features f that are missing)^1/2

with h gaussian on the grid, and v_f >= 0 learned from samples in which values were hidden (`gaps.py`). An interval is
prediction -+ Q s_k i. Q is the score that a share 1 - alpha of the window of latest scores stays below, of samples with
as many gaps: none, one, two, or more. Where few samples have such gaps, those with hidden values stand in. Gaps never
make an interval narrower. Each labelled sample moves the level,

    alpha <- alpha + gamma (target - missed)

so that whatever the data does, the share missed approaches the target in the long run.

References:
    Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021. Vovk, Conditional validity
    of inductive conformal predictors, Mach. Learn. 92, 2013 (groups). Zaffran et al., Conformal prediction with
    missing values, ICML 2023 (hiding values in calibration).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from somlib.jitl.assignment import Assignment
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import GaussianNeighborhood
from somlib.utils.grid import Grid

BoolArray = NDArray[np.bool_]

WINDOW = 12_000  # latest errors that count: more than a year of hours, so that a season finds its last one
PRIOR = 2.0  # errors' worth of the overall mean that each neuron starts with
SIGMA = 0.7  # cell widths: wide enough for some tens of errors, narrow enough where noise changes
LEARNED = ("alpha", "winner", "error", "missing", "time", "growth", "hidden", "ratio")
GROUPS = 4  # samples without gaps, with one, two, and more
PRIOR_GAPS = 10.0  # samples' worth of the features' common mean that the growth by each starts with
ROUNDS = 3
ENOUGH = 200  # errors of a group that need no others beside them


class AdaptiveIntervals:
    """Half widths of intervals, learned from errors on labelled samples.

    Args:
        grid: The grid of the map.
        coverage: Share of targets that intervals shall hold.
        gamma: Step of the level a labelled sample, >= 0; 0 never adapts.
        o: Number of targets.
        d: Number of features that may be missing; 0 where none may.

    Attributes:
        alpha: Present level of each target, shape (o,).
        winner: Neurons of the latest errors, shape (w,).
        error: Their sizes, shape (w, o).
        missing: What these samples lacked, bool, shape (w, d).
        time: When they were, on the clock of the samples, NaN where that is not known, shape (w,).
        growth: What the lack of each feature adds to the squared error, in squares of that without gaps, shape (o, d).
        hidden: What samples with hidden values lacked, bool, shape (t, d).
        ratio: Size of their errors against what is usual where they lie, shape (t, o).
    """

    def __init__(self, grid: Grid, coverage: float, gamma: float, o: int, d: int = 0) -> None:
        self.grid, self.coverage, self.gamma = grid, coverage, gamma
        self.alpha: FloatArray = np.full(o, 1 - coverage)
        self.winner: IntArray = np.empty(0, dtype=np.int64)
        self.error: FloatArray = np.empty((0, o))
        self.missing: BoolArray = np.empty((0, d), dtype=bool)
        self.time: FloatArray = np.empty(0)
        self.growth: FloatArray = np.zeros((o, d))
        self.hidden: BoolArray = np.empty((0, d), dtype=bool)
        self.ratio: FloatArray = np.empty((0, o))
        self._neighborhood = GaussianNeighborhood(grid, SIGMA)
        self._refresh()

    def learn(self, assigned: Assignment, error: FloatArray, time: FloatArray | None = None) -> None:
        """Take errors (n, o) at assigned samples, in the order of time, without adapting the level.

        Args:
            assigned: The samples.
            error: Of answers to them.
            time: Theirs, shape (n,); None where they are not known.
        """
        somewhere = assigned.winner >= 0
        when = np.full(len(error), np.nan) if time is None else time
        self.time = np.concatenate((self.time, when[somewhere]))[-WINDOW:]
        self.winner = np.concatenate((self.winner, assigned.winner[somewhere]))[-WINDOW:]
        self.error = np.concatenate((self.error, np.abs(error[somewhere])))[-WINDOW:]
        self.missing = np.concatenate((self.missing, assigned.missing[somewhere]))[-WINDOW:]
        self._refresh()

    def recall(self, before: "AdaptiveIntervals", units: FloatArray) -> None:
        """Take errors that other intervals knew, of samples older than those whose errors are known here.

        A fit leaves out the newest samples alone. What was normal in another season only older errors say, each of an
        answer by a model that did not know its sample.

        Args:
            before: The other intervals, on the same map.
            units: Theirs, in units of these, shape (o,).
        """
        oldest = self.time.min() if len(self.time) else np.inf
        older = before.time < oldest  # false where a time is not known
        self.winner = np.concatenate((before.winner[older], self.winner))[-WINDOW:]
        self.error = np.concatenate((before.error[older] * units, self.error))[-WINDOW:]
        self.missing = np.concatenate((before.missing[older], self.missing))[-WINDOW:]
        self.time = np.concatenate((before.time[older], self.time))[-WINDOW:]
        self._refresh()

    def learn_gaps(self, assigned: Assignment, error: FloatArray) -> None:
        """Take errors (t, o) at samples in which values were hidden: what intervals of gaps rest on at first."""
        known = np.isfinite(error).all(axis=1) & (assigned.winner >= 0)
        if not known.any() or not len(self.error):
            return
        self.hidden = assigned.missing[known]
        missing = np.concatenate((self.hidden, self.missing))
        for _ in range(ROUNDS):  # what is usual without gaps, and what gaps add to it, depend on each other
            self.ratio = (np.abs(error) / self._usual(assigned.neuron, assigned.share, assigned.trust))[known]
            self.growth = growth_of(missing, np.concatenate((self.ratio, self.error / self._scale[self.winner])))
            self._refresh()
        self.ratio = (np.abs(error) / self._usual(assigned.neuron, assigned.share, assigned.trust))[known]
        self._refresh()

    def observe(self, assigned: Assignment, error: FloatArray, time: FloatArray | None = None) -> None:
        """Move the level by samples that were answered before their labels came, then learn from them.

        Args:
            assigned: The samples, in the order of time.
            error: Of the answers, shape (n, o).
            time: As in `learn`.
        """
        if len(self.error):
            with np.errstate(over="ignore"):  # beyond any scale: infinite, as far off as can be
                score = np.abs(error) / self._usual(assigned.neuron, assigned.share, assigned.trust)
            group, inflation = group_of(assigned.missing), self._inflation(assigned.missing)
            for output in range(error.shape[1]):
                self.alpha[output] = self._adapted(score[:, output], group, inflation[:, output], output)
        self.learn(assigned, error, time)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that has been learned, by the names of the attributes."""
        return {name: getattr(self, name) for name in LEARNED}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` of other intervals gave; models saved before they knew gaps and times lack these."""
        self.missing = np.zeros((len(arrays["winner"]), self.growth.shape[1]), dtype=bool)
        self.time = np.full(len(arrays["winner"]), np.nan)
        for name in LEARNED:
            if name in arrays:
                setattr(self, name, arrays[name])
        self._refresh()

    def half_width(self, assigned: Assignment) -> FloatArray:
        """How far intervals reach to either side of the answers to samples, shape (n, o); NaN before any error.

        Never less far than they would without the gaps of the sample.
        """
        factor = self.factor()
        reach = np.maximum(factor[0], factor[group_of(assigned.missing)] * self._inflation(assigned.missing))
        half: FloatArray = self._usual(assigned.neuron, assigned.share, assigned.trust) * reach
        return half

    def factor(self) -> FloatArray:
        """How many typical errors an interval reaches, for samples without gaps, with one, two, more, shape (4, o)."""
        outputs = range(len(self.alpha))
        return np.array([[self._reach(g, float(self.alpha[o]), o) for o in outputs] for g in range(GROUPS)])

    def _reach(self, group: int, alpha: float, output: int) -> float:
        """The factor of a group at a level: its score of that rank; NaN before any error is known."""
        scores = self._scores[group]
        n = len(scores)
        return float(scores[min(max(math.ceil((n + 1) * (1 - alpha)), 1), n) - 1, output]) if n else np.nan

    def _usual(self, neuron: IntArray, share: FloatArray, trust: FloatArray) -> FloatArray:
        """Typical error (n, o) at samples if these had no gaps."""
        at_neurons = (share[..., None] * self._scale[neuron]).sum(axis=1)
        nowhere = share.sum(axis=1) == 0
        at_neurons[nowhere] = self._typical
        widening: FloatArray = np.sqrt(np.where(nowhere, 1.0, np.maximum(trust, 1e-4)))  # reach / distance
        scale: FloatArray = at_neurons / widening[:, None]
        return scale

    def _inflation(self, missing: BoolArray) -> FloatArray:
        """What gaps (n, d) do to the typical error, shape (n, o)."""
        inflation: FloatArray = np.sqrt(1 + missing @ self.growth.T)
        return inflation

    def _adapted(self, score: FloatArray, group: IntArray, inflation: FloatArray, output: int) -> float:
        """The level after samples with these errors in typical ones, groups and inflations (n,), one by one."""
        alpha, target, n = float(self.alpha[output]), 1 - self.coverage, len(self.error)
        lowest, highest = 0.5 / (n + 1), 1 - 0.5 / (n + 1)
        for size, gaps, by in zip(score.tolist(), group.tolist(), inflation.tolist(), strict=True):
            reach = self._reach(0, alpha, output)
            missed = size > (max(reach, self._reach(gaps, alpha, output) * by) if gaps else reach)
            alpha = min(max(alpha + self.gamma * (target - missed), lowest), highest)
        return alpha

    def _refresh(self) -> None:
        m, o = self.grid.m, self.error.shape[1]
        size = self.error / self._inflation(self.missing)
        total, count = np.zeros((m, o)), np.bincount(self.winner, minlength=m).astype(np.float64)
        np.add.at(total, self.winner, size)
        least = np.finfo(np.float64).tiny  # errors may all be 0, and are divided by
        self._typical: FloatArray = np.maximum(size.mean(axis=0), least) if len(size) else np.full(o, np.nan)
        around = self._neighborhood.smoothed(np.column_stack((total, count)), count)
        scale = (around[:, :o] + PRIOR * self._typical) / (around[:, o:] + PRIOR)
        self._scale: FloatArray = np.where(scale > 0, scale, least)
        self._scores = self._by_group(size / self._scale[self.winner])

    def _by_group(self, score: FloatArray) -> list[FloatArray]:
        """Scores of the window (w, o) by group, each ascending; all of them where a group has none."""
        group, stand_in = group_of(self.missing), group_of(self.hidden)
        hidden = self.ratio / self._inflation(self.hidden)
        found = []
        for g in range(GROUPS):
            own = score[group == g]
            if len(own) < ENOUGH:
                own = np.concatenate((own, hidden[stand_in == g]))
            found.append(np.sort(own if len(own) else score, axis=0))
        return found


def group_of(missing: BoolArray) -> IntArray:
    """0 for samples without gaps, 1 and 2 for one and two, 3 for more, shape (n,), from what is missing (n, d)."""
    group: IntArray = np.minimum(missing.sum(axis=1), GROUPS - 1)
    return group


def growth_of(missing: BoolArray, ratio: FloatArray) -> FloatArray:
    """What the lack of each feature adds to the squared error, in squares of that without gaps, shape (o, d), >= 0.

    Least squares of the squared errors, which are cut at a high quantile: one huge error is no reason to take a feature
    for decisive. Features are drawn to their common mean.

    Args:
        missing: What samples lack, shape (n, d).
        ratio: Size of their errors against what is usual where they lie, shape (n, o).
    """
    d = missing.shape[1]
    count = missing.sum(axis=1).astype(np.float64)
    complete = count == 0
    growth = np.zeros((ratio.shape[1], d))
    for output, size in enumerate(ratio.T):
        square = np.minimum(size, np.quantile(size, 0.99)) ** 2
        base = float(square[complete].mean()) if complete.any() else float(square.mean())
        if not base > 0 or not count.any():
            continue
        excess = square / base - 1
        common = max(float(count @ excess) / float(count @ count), 0.0)
        strength = np.sqrt(PRIOR_GAPS)
        equations = np.vstack((missing[~complete].astype(np.float64), strength * np.eye(d)))
        growth[output] = nnls(equations, np.append(excess[~complete], np.full(d, strength * common)))[0]
    return growth

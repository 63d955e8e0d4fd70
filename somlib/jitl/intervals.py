r"""Intervals that hold what they promise, also when the data drifts.

Errors differ over the map, so each is measured against what is usual at its neuron,

    score = |error| / s_k,    s_k = (sum_j h(k, j) |errors at j| + PRIOR mean|error|) / (sum_j h(k, j) n_j + PRIOR)

with h gaussian on the grid. An interval is prediction -+ Q s_k, where Q is the score that a share 1 - alpha of the
window of latest scores stays below. Each labelled sample moves the level,

    alpha <- alpha + gamma (target - missed)

so that whatever the data does, the share missed comes to the target in the long run.

References:
    Gibbs and Candès, Adaptive conformal inference under distribution shift, NeurIPS 2021.
"""

import numpy as np

from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import GaussianNeighborhood
from somlib.utils.grid import Grid

WINDOW = 4_000  # latest errors that count
PRIOR = 2.0  # errors' worth of the overall mean that each neuron starts with
SIGMA = 0.7  # cell widths: wide enough for some tens of errors, narrow enough where noise changes


class AdaptiveIntervals:
    """Half widths of intervals, learned from errors on labelled samples.

    Args:
        grid: The grid of the map.
        coverage: Share of targets that intervals shall hold.
        gamma: Step of the level a labelled sample, >= 0; 0 never adapts.
        o: Number of targets.

    Attributes:
        alpha: Present level of each target, shape (o,).
        winner: Neurons of the latest errors, shape (w,).
        error: Their sizes, shape (w, o).
    """

    def __init__(self, grid: Grid, coverage: float, gamma: float, o: int) -> None:
        self.grid, self.coverage, self.gamma = grid, coverage, gamma
        self.alpha: FloatArray = np.full(o, 1 - coverage)
        self.winner: IntArray = np.empty(0, dtype=np.int64)
        self.error: FloatArray = np.empty((0, o))
        self._neighborhood = GaussianNeighborhood(grid, SIGMA)
        self._refresh()

    def learn(self, winner: IntArray, error: FloatArray) -> None:
        """Take errors (n, o) at neurons (n,), in the order of time, without judging the level by them."""
        placed = winner >= 0
        self.winner = np.concatenate((self.winner, winner[placed]))[-WINDOW:]
        self.error = np.concatenate((self.error, np.abs(error[placed])))[-WINDOW:]
        self._refresh()

    def observe(self, winner: IntArray, error: FloatArray, width: FloatArray) -> None:
        """Move the level by samples that were answered before their labels came, then learn from them.

        Args:
            winner: Their neurons, shape (n,), in the order of time.
            error: Of the answers, shape (n, o).
            width: Typical error at each sample as from `scale`, shape (n, o).
        """
        if len(self.error):
            score = np.abs(error) / width
            for output in range(error.shape[1]):
                self.alpha[output] = self._adapted(score[:, output], output)
        self.learn(winner, error)

    def restore(self, alpha: FloatArray, winner: IntArray, error: FloatArray) -> None:
        """Take over the level and the window of earlier intervals."""
        self.alpha, self.winner, self.error = alpha, winner, error
        self._refresh()

    def scale(self, neuron: IntArray, share: FloatArray, trust: FloatArray) -> FloatArray:
        """Typical error (n, o) at samples, mixed like their answers, wider off the map; NaN before any error is known.

        Args:
            neuron: Nearest neurons, shape (n, k), -1 for none.
            share: Of each, shape (n, k).
            trust: In the map, shape (n,).
        """
        at_neurons = (share[..., None] * self._scale[neuron]).sum(axis=1)
        nowhere = share.sum(axis=1) == 0
        at_neurons[nowhere] = self._typical
        widening: FloatArray = np.sqrt(np.where(nowhere, 1.0, np.maximum(trust, 1e-4)))  # reach / distance
        scale: FloatArray = at_neurons / widening[:, None]
        return scale

    def factor(self) -> FloatArray:
        """How many typical errors an interval reaches to either side, shape (o,); NaN before any error is known."""
        n = len(self.error)
        if not n:
            return np.full(len(self.alpha), np.nan)
        rank = np.ceil((n + 1) * (1 - self.alpha)).astype(int).clip(1, n)
        factor: FloatArray = self._scores[rank - 1, np.arange(len(self.alpha))]
        return factor

    def _adapted(self, score: FloatArray, output: int) -> float:
        """The level after samples with these scores (n,), one by one."""
        ranked, alpha, target = self._scores[:, output], float(self.alpha[output]), 1 - self.coverage
        n = len(ranked)
        # A sample is missed when its score lies above the rank-th smallest, so its own rank among them decides.
        place = np.searchsorted(ranked, score, side="left").tolist()
        lowest, highest = 0.5 / (n + 1), 1 - 0.5 / (n + 1)
        for below in place:
            rank = min(max(int(np.ceil((n + 1) * (1 - alpha))), 1), n)
            alpha = min(max(alpha + self.gamma * (target - (below >= rank)), lowest), highest)
        return alpha

    def _refresh(self) -> None:
        m, o = self.grid.m, self.error.shape[1]
        total, count = np.zeros((m, o)), np.bincount(self.winner, minlength=m).astype(np.float64)
        np.add.at(total, self.winner, self.error)
        self._typical: FloatArray = self.error.mean(axis=0) if len(self.error) else np.full(o, np.nan)
        around = self._neighborhood.smoothed(np.column_stack((total, count)), count)
        scale = (around[:, :o] + PRIOR * self._typical) / (around[:, o:] + PRIOR)
        self._scale: FloatArray = np.where(scale > 0, scale, np.finfo(np.float64).tiny)
        self._scores: FloatArray = np.sort(self.error / self._scale[self.winner], axis=0)

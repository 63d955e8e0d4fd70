r"""Sufficient statistics of linear models, one block for each neuron.

With w = (1, x, y) for a sample of inputs x (d,) and targets y (o,), neuron j holds

    M[j] = sum w w'        over the samples that it won, shape (q, q), q = 1 + d + o

which has the count, the sums and all products in it. What comes is added and what goes is subtracted, so an update
costs its own rows only. Subtraction in float64 is safe unless nearly everything goes, or something huge went: a neuron
is summed afresh from what it still holds when no more rows stay than go, or when its sum of squares has fallen below
`LOST` times the largest it ever was.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LOST = 1e-6  # of 16 digits, 6 gone


class NeuronMoments:
    """Sums of products of each neuron's samples.

    Args:
        m: Number of neurons.
        q: Width of a row w = (1, x, y).

    Attributes:
        sums: Shape (m, q, q).
        peak: Largest sum of squares of each neuron since it was summed afresh, shape (m,).
    """

    def __init__(self, m: int, q: int) -> None:
        self.sums: FloatArray = np.zeros((m, q, q))
        self.peak: FloatArray = np.zeros(m)

    @property
    def count(self) -> FloatArray:
        """Samples of each neuron, shape (m,)."""
        count: FloatArray = self.sums[:, 0, 0]
        return count

    def add(self, rows: FloatArray, neuron: IntArray) -> None:
        """Take in rows w (n, q) of the given neurons (n,); -1 belongs to none."""
        self.sums += group_sums(rows, neuron, len(self.sums))
        self.peak = np.maximum(self.peak, _squares(self.sums))

    def remove(self, rows: FloatArray, neuron: IntArray, kept: NDArray[np.bool_]) -> None:
        """Take out those of the rows (n, q) held so far that are not `kept` (n,)."""
        m = len(self.sums)
        gone = group_sums(rows[~kept], neuron[~kept], m)
        staying = np.bincount(neuron[kept & (neuron >= 0)], minlength=m)
        self.sums -= gone
        lossy = _squares(self.sums) < LOST * self.peak
        afresh = (gone[:, 0, 0] > 0) & ((staying <= gone[:, 0, 0]) | lossy)
        if afresh.any():
            chosen = kept & (neuron >= 0) & afresh[neuron]
            self.sums[afresh] = group_sums(rows[chosen], neuron[chosen], m)[afresh]
            self.peak[afresh] = _squares(self.sums[afresh])


def group_sums(rows: FloatArray, group: IntArray, groups: int) -> FloatArray:
    """Sums of w w' over the rows w (n, q) of each group, shape (groups, q, q); rows of group -1 are left out."""
    order = np.argsort(group, kind="stable")
    order = order[np.count_nonzero(group < 0) :]
    rows, group = rows[order], group[order]
    present, start = np.unique(group, return_index=True)
    sums = np.zeros((groups, rows.shape[1], rows.shape[1]))
    for g, first, last in zip(present, start, np.append(start, len(rows))[1:], strict=True):
        block = rows[first:last]
        np.matmul(block.T, block, out=sums[g])  # BLAS knows A'A: half the work, exactly symmetric
    return sums


def _squares(sums: FloatArray) -> FloatArray:
    squares: FloatArray = np.trace(sums, axis1=1, axis2=2)
    return squares

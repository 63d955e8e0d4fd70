r"""How stable clusters are: whether other rows of the same kind, and other random starts, show them again.

Rows are drawn anew with replacement, as often as there are rows, and the neurons clustered again with another seed. A
cluster A is found again as far as the new one that is most like it shares its rows,

    J(A) = max_B |A and B| / |A or B|        counted over the rows as they were

and its stability is the mean over resamples: above 0.85 it is found nearly every time, below 0.6 its border, or the
cluster itself, is chance (Hennig 2007).

References:
    Hennig, Cluster-wise assessment of cluster stability, Comput. Stat. Data Anal. 52(1), 2007.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils.clustering.neurons import FloatArray, IntArray

Recluster = Callable[[FloatArray, int], IntArray]  # from weights of rows (n,) and a seed to labels of neurons (m,)


def cluster_stability(
    labels: Tensor, winner: Tensor, weight: Tensor, recluster: Recluster, resamples: int, seed: int
) -> Tensor:
    """The stability of each cluster.

    Args:
        labels: Cluster of each neuron, from 1, noise -1, shape (m,).
        winner: Flat index of the nearest neuron of each row, >= 0, shape (n,).
        weight: Of each row, > 0, shape (n,).
        recluster: Labels of the neurons from other weights of the rows, some 0, and a seed.
        resamples: How often, at least 1.
        seed: Fixes what is drawn.

    Returns:
        In [0, 1], float64, shape (k,); NaN for a number that no row has.

    Raises:
        ShapeError: `winner` and `weight` are of different lengths, or there is no row.
    """
    if winner.shape != weight.shape or not len(winner):
        raise ShapeError(f"winner and weight must be of the same rows, got {len(winner)} and {len(weight)}")
    rows, own = torch.bincount(winner, weight.double(), minlength=len(labels)).numpy(), labels.numpy()
    generator, share = np.random.default_rng(seed), (weight.double() / weight.sum()).numpy()
    found = np.zeros(max(int(own.max()), 0))
    for _ in range(resamples):
        drawn = generator.multinomial(len(winner), share).astype(np.float64) * float(weight.sum()) / len(winner)
        found += _found_again(own, recluster(drawn, int(generator.integers(2**31))), rows) / resamples
    return torch.from_numpy(found)


def _found_again(own: IntArray, new: IntArray, rows: FloatArray) -> FloatArray:
    """The largest Jaccard index of each cluster with a new one, by rows of neurons (m,), shape (k,)."""
    clusters, others = np.arange(1, own.max() + 1), np.arange(1, max(int(new.max()), 0) + 1)
    inside = own[:, None] == clusters  # (m, k)
    inside_new = new[:, None] == others  # (m, k')
    both = (inside * rows[:, None]).T @ inside_new
    either = (rows @ inside)[:, None] + rows @ inside_new - both
    best = np.divide(both, either, out=np.zeros_like(both), where=either > 0).max(axis=1, initial=0.0)
    return np.where(rows @ inside > 0, best, np.nan)

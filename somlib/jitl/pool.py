r"""Probabilities of several experts made one, and how far probabilities can be relied on.

With p_e(c) what expert e says of class c, the pool says

    log p(c) = sum_e w_e log p_e(c) + b(c) + const,    w_e >= 0

Weights and biases are those of the least log loss on samples left out, held near equal weights and no bias: the sum of
the weights is free, so that they also sharpen or soften what all experts agree on (temperature scaling), and a bias
moves a class that all rate too high or too low. Held by `TOWARDS_EQUAL` and `TOWARDS_NONE` samples' worth, tried on
wine, breast cancer, moons and four of `make_classification` (`benchmarks/jitl_classes.py`): a linear pool, weights held
near the best expert, and no bias all did worse.

References:
    Genest and Zidek, Combining probability distributions, Statistical Science 1, 1986 (logarithmic pools). Guo et al.,
    On calibration of modern neural networks, ICML 2017 (temperature and vector scaling, the calibration error).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from somlib.jitl.moments import FloatArray, IntArray

TOWARDS_EQUAL, TOWARDS_NONE = 2.0, 1.0
FLOOR = 1e-3  # part of what any expert says that is the shares of all samples: nothing is impossible
BINS = 10


@dataclass(frozen=True)
class Pool:
    """How experts are put together.

    Attributes:
        weights: Of each expert, at least 0, shape (e,).
        bias: Of each class, shape (c,).
    """

    weights: FloatArray
    bias: FloatArray

    @classmethod
    def fitted(cls, said: FloatArray, code: IntArray) -> "Pool":
        """From log-probabilities (e, v, c) of samples left out, and their classes (v,)."""
        e, v, c = said.shape
        true = np.eye(c)[code]

        def loss(x: FloatArray) -> tuple[float, FloatArray]:
            pool = cls(x[:e], x[e:])
            probability = pool.probability(said)
            apart = (probability - true) / v
            held = TOWARDS_EQUAL * ((pool.weights - 1 / e) ** 2).sum() + TOWARDS_NONE * (pool.bias**2).sum()
            slope = np.concatenate(
                (
                    np.tensordot(said, apart, ((1, 2), (0, 1))) + 2 * TOWARDS_EQUAL / v * (pool.weights - 1 / e),
                    apart.sum(axis=0) + 2 * TOWARDS_NONE / v * pool.bias,
                )
            )
            return float(log_losses(probability, code).mean() + held / v), slope

        start = np.concatenate((np.full(e, 1 / e), np.zeros(c)))
        bounds = [(0.0, None)] * e + [(None, None)] * c
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
        return cls(found[:e], found[e:])

    def probability(self, said: FloatArray) -> FloatArray:
        """Probabilities (n, c) from log-probabilities (e, n, c)."""
        return softmax(np.tensordot(self.weights, said, 1) + self.bias)


def softmax(score: FloatArray) -> FloatArray:
    """Probabilities (n, c) in proportion to exp(score)."""
    risen = np.exp(score - score.max(axis=1, keepdims=True))
    probability: FloatArray = risen / risen.sum(axis=1, keepdims=True)
    return probability


def with_floor(probability: FloatArray, prior: FloatArray) -> FloatArray:
    """Probabilities (n, c), `FLOOR` of which is the shares (c,) of the classes among all samples."""
    return (1 - FLOOR) * probability + FLOOR * prior


def log_losses(probability: FloatArray, code: IntArray) -> FloatArray:
    """-log of the probability (n, c) that each sample's class (n,) was given; that of 0 counts as the least float."""
    given = probability[np.arange(len(code)), code]
    losses: FloatArray = -np.log(np.maximum(given, np.finfo(np.float64).tiny))
    return losses


def calibration_error(probability: FloatArray, code: IntArray, bins: int = BINS) -> float:
    """How far the probability of the class that is named lies from the share in which it is right; NaN without samples.

    Samples are put into bins of equal width by the probability of their most probable class. In each, the mean of it is
    compared with the share of samples of which that class is the true one; the differences are weighted by the samples
    of the bins (expected calibration error).

    Args:
        probability: Of each class, shape (n, c).
        code: The true class of each sample as a column of `probability`, shape (n,).
        bins: How many.
    """
    if not len(code):
        return float("nan")
    sure, right = probability.max(axis=1), probability.argmax(axis=1) == code
    place: NDArray[np.int64] = np.minimum((sure * bins).astype(np.int64), bins - 1)
    apart = np.bincount(place, sure - right, minlength=bins)
    return float(np.abs(apart).sum() / len(code))

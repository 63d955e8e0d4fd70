r"""Local ridge models of all neurons from their moments, drawn towards one global model.

The global ridge g(x) = ybar + B (x - xbar), B = (C + lambda_g I)^-1 c, comes from the moments of all samples. A
local model with count n, mean m, centered moments C and c (weighted by its neighborhood) is

    slope    b = B + (C + lambda I)^-1 (c - C B)
    level    at m: g(m) + n / (n + l0) (ybar_local - g(m))

so a neuron that holds little, or nothing that speaks against it, answers as the global model does. Without shrinking
(`towards="nothing"`) B = 0 and the level is the local mean: a plain ridge regression of the neighborhood's samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch

from somlib.jitl.moments import FloatArray

Towards = Literal["global", "nothing"]
BLOCK = 2**19  # numbers of moments worked on at a time: some megabytes, which stay in the cache


@dataclass(frozen=True)
class Shrinkage:
    """How strongly local models are drawn to the global one.

    Attributes:
        ridge: lambda, on slopes in standardized inputs.
        level: l0, samples' worth of the global model's level.
        towards: `"global"`, or `"nothing"` for plain local ridges.
        overall: Strength that draws the slopes of the global model to 0; inputs are standardized, so 1 is one sample's
            worth of spread.
    """

    ridge: float = 10.0
    level: float = 10.0
    towards: Towards = "global"
    overall: float = 1.0


def global_coefficients(total: FloatArray, d: int, ridge: float = 1.0) -> FloatArray:
    """Intercept and slopes (1 + d, o) of the global ridge from the moments (q, q) of all samples, inputs first."""
    count, mean, level, C, c = (block[0] for block in _centered(total[None], d))
    slope = np.linalg.solve(C + ridge * np.eye(d), c) if count > 0 else np.zeros_like(c)
    return np.vstack((level - mean @ slope, slope))


def local_coefficients(sums: FloatArray, overall: FloatArray, shrinkage: Shrinkage) -> FloatArray:
    """Intercepts and slopes (m, 1 + d, o) of local models.

    Args:
        sums: Moments weighted by the neighborhood of each, shape (m, q, q).
        overall: Intercept and slopes of the global model, shape (1 + d, o).
        shrinkage: How strongly to shrink.
    """
    coefficients: FloatArray = coefficients_of_each(sums, overall, [shrinkage])[0]
    return coefficients


def coefficients_of_each(sums: FloatArray, overall: FloatArray, shrinkages: Sequence[Shrinkage]) -> FloatArray:
    """The same for several strengths of shrinking, shape (s, m, 1 + d, o), at the price of their different ridges."""
    found = np.empty((len(shrinkages), len(sums), *overall.shape))
    step = max(1, BLOCK // max(sums[:1].size, 1))
    for first in range(0, len(sums), step):
        block = slice(first, first + step)
        found[:, block] = _block_coefficients(_centered(sums[block], len(overall) - 1), overall, shrinkages)
    return found


def _block_coefficients(
    moments: tuple[FloatArray, ...], overall: FloatArray, shrinkages: Sequence[Shrinkage]
) -> FloatArray:
    """Coefficients (s, m, 1 + d, o) from what `_centered` returns."""
    count, mean, level, C, c = moments
    expected = overall[0] + mean @ overall[1:]  # (m, o)

    @cache
    def slope(towards: Towards, ridge: float) -> FloatArray:
        target = overall[1:] if towards == "global" else np.zeros_like(overall[1:])
        return target + _solved(C, ridge, c - C @ target)

    found = np.empty((len(shrinkages), len(count), *overall.shape))
    for coefficients, shrinkage in zip(found, shrinkages, strict=True):
        coefficients[:, 1:] = slope(shrinkage.towards, shrinkage.ridge)
        if shrinkage.towards == "nothing":
            at_mean = np.where(count[:, None] > 0, level, overall[0])
        else:
            trust = np.divide(count, count + shrinkage.level, out=np.zeros_like(count), where=count > 0)
            at_mean = expected + trust[:, None] * (level - expected)
        coefficients[:, 0] = at_mean - np.einsum("md,mdo->mo", mean, coefficients[:, 1:])
    return found


def _solved(C: FloatArray, ridge: float, right: FloatArray) -> FloatArray:
    """(C + ridge I)^-1 right for symmetric C (m, d, d), which has no negative eigenvalues but for rounding."""
    system, target = torch.from_numpy(C).clone(), torch.from_numpy(right)
    system.diagonal(dim1=1, dim2=2).add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(system)
    half = torch.linalg.solve_triangular(factor, target, upper=False)
    solution = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    if bool(failed.any()):  # inputs repeat each other and the ridge is lost in rounding: the least of all solutions
        solution[failed > 0] = torch.linalg.pinv(system[failed > 0], hermitian=True) @ target[failed > 0]
    solved: FloatArray = solution.numpy()
    return solved


def _centered(sums: FloatArray, d: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Count (m,), mean inputs (m, d), mean targets (m, o), centered products (m, d, d) and (m, d, o)."""
    count = sums[:, 0, 0]
    some = np.where(count > 0, count, 1.0)
    mean = sums[:, 0, 1:] / some[:, None]
    x, y = mean[:, :d], mean[:, d:]
    C = sums[:, 1 : d + 1, 1 : d + 1] - count[:, None, None] * x[:, :, None] * x[:, None, :]
    c = sums[:, 1 : d + 1, d + 1 :] - count[:, None, None] * x[:, :, None] * y[:, None, :]
    return count, x, y, C, c

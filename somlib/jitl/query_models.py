r"""Models fitted for each query to the samples nearest to it.

Retrieval by the map offers the candidates, the nearest of them make the buffer, and each weighs by the tricube of its
distance to the query and by its age:

    w_i = (1 - (d_i / d_max)^3)^3 * 2^(-age_i / half_life)

`query_ridge` and `mean` are solved for many queries at once from weighted moments; the ridge shrinks to the global one
just as the models of neurons do. Any other model is fitted query by query, in Python.

References:
    Cleveland, Robust locally weighted regression and smoothing scatterplots, J. Am. Stat. Assoc. 74, 1979 (tricube).
    Atkeson, Moore and Schaal, Locally weighted learning, Artif. Intell. Rev. 11, 1997.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.utils.validation import has_fit_parameter

from somlib.errors import ArgumentError
from somlib.jitl.assignment import Assignment
from somlib.jitl.moments import FloatArray
from somlib.jitl.ridge import Shrinkage, local_coefficients
from somlib.jitl.sample_index import Buffers, SampleIndex

QUERIES = 256  # solved at a time: their buffers of rows stay within some tens of megabytes
FEWEST = 3  # samples that a model of scikit-learn is fitted to; below, the global answer stands


@dataclass(frozen=True)
class QuerySettings:
    """How buffers are made.

    Attributes:
        mode: Retrieval mode that offers the candidates.
        threshold: Samples below which its fallback adds neurons.
        neighbors: Most samples of a buffer, the nearest.
        half_life: Age at which a sample weighs half; None for no weight by age.
    """

    mode: str
    threshold: int
    neighbors: int
    half_life: float | None = None


def named_model(name: str, d: int) -> Any:
    """The scikit-learn estimator of that name, for `d` inputs in standardized units."""
    if name == "pls":
        return PLSRegression(n_components=min(2, d), scale=False)
    kernel = ConstantKernel(1.0) * RBF(2.0, (0.1, 100.0)) + WhiteKernel(0.1, (1e-4, 10.0))
    return GaussianProcessRegressor(kernel=kernel, normalize_y=True)


def buffers_for(assigned: Assignment, index: SampleIndex, settings: QuerySettings) -> Buffers:
    """The weighted buffer of each assigned query."""
    winner = torch.from_numpy(assigned.winner)
    threshold = max(settings.threshold, settings.neighbors)
    found = index.retrieve_assigned(assigned.point, winner, settings.mode, threshold, settings.neighbors)
    weight = tricube(found) * index.recency(found.sample, settings.half_life)
    return Buffers(found.sample, found.offset, weight, found.distance)


def tricube(found: Buffers) -> torch.Tensor:
    """Weights (total,) by distance; the farthest of a buffer, which would weigh 0, counts as a little within."""
    size = found.offset.diff()
    query = torch.repeat_interleave(torch.arange(len(size)), size)
    farthest = torch.zeros(len(size), dtype=torch.float64).scatter_reduce_(0, query, found.distance, "amax")
    share = found.distance / (1.01 * farthest[query])
    return (1 - share.nan_to_num(nan=0.0) ** 3) ** 3


def ridge_answers(
    assigned: Assignment, buffers: Buffers, rows: FloatArray, overall: FloatArray, shrinkage: Shrinkage
) -> FloatArray:
    """Answers (n, o) of ridges weighted around each query.

    Args:
        assigned: The queries.
        buffers: Of each.
        rows: w = (1, x, y) of the samples that buffers point to.
        overall: Intercept and slopes of the global ridge, shape (1 + d, o).
        shrinkage: How strongly to shrink towards it.
    """
    answer = np.empty((len(assigned), overall.shape[1]))
    for first in range(0, len(assigned), QUERIES):
        queries = slice(first, min(first + QUERIES, len(assigned)))
        sums = _weighted_sums(buffers, rows, queries)
        coefficients = local_coefficients(sums, overall, shrinkage)
        answer[queries] = np.einsum("np,npo->no", assigned.inputs[queries], coefficients)
    return answer


def mean_answers(assigned: Assignment, buffers: Buffers, rows: FloatArray, overall: FloatArray) -> FloatArray:
    """Weighted means (n, o) of the buffers' targets; the global answer where a buffer is empty."""
    o = overall.shape[1]
    size = buffers.offset.diff().numpy()
    query = np.repeat(np.arange(len(size)), size)
    weight = buffers.weight.numpy()
    total = np.bincount(query, weight, len(size))
    sums = np.column_stack(
        [np.bincount(query, weight * rows[buffers.sample.numpy(), j - o], len(size)) for j in range(o)]
    )
    mean = sums / np.where(total > 0, total, 1.0)[:, None]
    return np.where(total[:, None] > 0, mean, assigned.inputs @ overall)


def estimator_answers(
    model: Any, assigned: Assignment, buffers: Buffers, rows: FloatArray, overall: FloatArray
) -> FloatArray:
    """Answers (n, o) of a scikit-learn regressor, cloned and fitted for each query.

    It gets weights where its `fit` takes them. A buffer of fewer than `FEWEST` samples, or of equal targets, is
    answered without it.
    """
    o = overall.shape[1]
    answer = assigned.inputs @ overall
    weighted = has_fit_parameter(model, "sample_weight")
    for i in range(len(assigned)):
        buffer = rows[buffers.of(i).numpy()]
        x, y = buffer[:, 1:-o], buffer[:, -o:]
        if len(buffer) < FEWEST:
            continue
        if np.ptp(y, axis=0).max() == 0:
            answer[i] = y[0]
            continue
        weight = buffers.weight[buffers.offset[i] : buffers.offset[i + 1]].numpy()
        fitted = _fitted(clone(model), x, y[:, 0] if o == 1 else y, weight if weighted else None)
        answer[i] = np.ravel(fitted.predict(assigned.inputs[i : i + 1, 1:]))
    return answer


def _fitted(model: Any, x: FloatArray, y: FloatArray, weight: FloatArray | None) -> Any:
    with warnings.catch_warnings():
        # A kernel's noise or length at the end of its range is nothing to warn of for each of thousands of buffers.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y) if weight is None else model.fit(x, y, sample_weight=weight)


def require_regressor(model: Any) -> None:
    """Refuse what cannot be fitted for each query.

    Raises:
        ArgumentError: It is no scikit-learn regressor.
    """
    if isinstance(model, type) or not hasattr(model, "fit") or not hasattr(model, "predict"):
        raise ArgumentError(f"local_model must be a name or a scikit-learn regressor, got {model!r}")


def _weighted_sums(buffers: Buffers, rows: FloatArray, queries: slice) -> FloatArray:
    """Sums of weight w w' over the buffer of each of some queries, shape (b, q, q)."""
    offset = buffers.offset.numpy()[queries.start : queries.stop + 1]
    size = np.diff(offset)
    width = max(int(size.max(initial=0)), 1)
    held = np.arange(width) < size[:, None]  # (b, width)
    span = slice(int(offset[0]), int(offset[-1]))
    weight = np.zeros((len(size), width))
    weight[held] = np.sqrt(buffers.weight.numpy()[span])
    buffer = np.zeros((len(size), width, rows.shape[1]))
    buffer[held] = rows[buffers.sample.numpy()[span]]
    buffer *= weight[..., None]
    sums: FloatArray = buffer.transpose(0, 2, 1) @ buffer
    return sums

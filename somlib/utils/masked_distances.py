r"""Distances between vectors with missing values: over the features that are observed, NaN elsewhere.

    euclidean   sqrt(d / o sum_observed (x - w)^2)      manhattan   d / o sum_observed |x - w|
    chebyshev   max_observed |x - w|                    cosine      of the observed parts of both vectors

Of `o` observed among `d` features. Those named after a distance alone take samples (b, d) with NaN and complete neurons
(m, d); those that end in `_shared` take NaN in both sets, and count the features that both have. All weigh each feature
alike; NaN where nothing is observed, or shared, and where a cosine is not defined.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Differences at a time: half a megabyte in float64 stays in the cache of a core, a GPU wants more to fill its units.
BLOCK_ENTRIES = {"cpu": 2**16, "cuda": 2**24}


def euclidean(x: Tensor, w: Tensor) -> Tensor:
    """By a matrix product, so rounded; shape (b, m)."""
    seen = ~torch.isnan(x)
    center = w.mean(dim=0)  # differences survive an offset only around a common center
    x, w = torch.where(seen, x - center, 0), w - center
    squares = x.square().sum(dim=1, keepdim=True) - 2 * (x @ w.T) + seen.to(x.dtype) @ w.square().T
    return (squares.clamp_min(0) * share_observed(seen).to(x.dtype)).sqrt()


def manhattan(x: Tensor, w: Tensor) -> Tensor:
    """From differences, shape (b, m)."""
    seen = ~torch.isnan(x)
    mask = seen.to(x.dtype)[:, :, None]

    def total(differences: Tensor, rows: slice) -> Tensor:
        return torch.matmul(differences, mask[rows])[:, :, 0]

    return _by_rows(x, w, total) * share_observed(seen).to(x.dtype)


def chebyshev(x: Tensor, w: Tensor) -> Tensor:
    """From differences, shape (b, m)."""
    seen = ~torch.isnan(x)
    mask = seen.to(x.dtype)[:, None]

    def largest(differences: Tensor, rows: slice) -> Tensor:
        return differences.mul_(mask[rows]).amax(dim=2)

    return _by_rows(x, w, largest) + 0 * share_observed(seen).to(x.dtype)


def cosine(x: Tensor, w: Tensor) -> Tensor:
    """By a matrix product, so rounded; shape (b, m)."""
    mask = (~torch.isnan(x)).to(x.dtype)
    x = x.nan_to_num(nan=0.0)
    length = x.norm(dim=1, keepdim=True) * (mask @ w.square().T).sqrt()  # (b, m)
    cosines = (x @ w.T) / torch.where(length > 0, length, torch.nan)
    return (1 - cosines).clamp(0, 2)


def cosine_shared(a: Tensor, b: Tensor) -> Tensor:
    """Shape (p, q), to 12 decimals."""
    has_a, has_b = (~torch.isnan(a)).to(a.dtype), (~torch.isnan(b)).to(b.dtype)
    a, b = a.nan_to_num(nan=0.0), b.nan_to_num(nan=0.0)
    lengths = ((a.square() @ has_b.T) * (has_a @ b.square().T)).sqrt()
    # All pairs that share one feature are at 0 or 2, which rounding must not put in an order.
    return (1 - (a @ b.T) / torch.where(lengths > 0, lengths, torch.nan)).round(decimals=12)


def euclidean_shared(a: Tensor, b: Tensor) -> Tensor:
    """Shape (p, q)."""
    return (_by_feature(a, b, lambda total, step: total.add_(step.square_())) * _share_common(a, b)).sqrt()


def manhattan_shared(a: Tensor, b: Tensor) -> Tensor:
    """Shape (p, q)."""
    return _by_feature(a, b, lambda total, step: total.add_(step)) * _share_common(a, b)


def chebyshev_shared(a: Tensor, b: Tensor) -> Tensor:
    """Shape (p, q)."""
    largest = _by_feature(a, b, lambda total, step: torch.maximum(total, step, out=total))
    return largest + 0 * _share_common(a, b)


def share_observed(seen: Tensor) -> Tensor:
    """The share d / observed of each row of a mask (b, d), float64, shape (b, 1); NaN where nothing is observed."""
    observed = seen.sum(dim=1, keepdim=True).double()
    return seen.shape[1] / torch.where(observed > 0, observed, torch.nan)


def _share_common(a: Tensor, b: Tensor) -> Tensor:
    """The share d / shared of each pair (p, q); NaN where nothing is shared."""
    common = (~torch.isnan(a)).to(a.dtype) @ (~torch.isnan(b)).to(a.dtype).T
    return a.shape[1] / torch.where(common > 0, common, torch.nan)


def _by_rows(x: Tensor, w: Tensor, combine: Callable[[Tensor, slice], Tensor]) -> Tensor:
    """What becomes of absolute differences (r, m, d) of some rows, (r, m), for all rows: shape (b, m).

    A missing value is taken as 0. Few rows at a time: up to twice as fast as a feature at a time, and as little memory.
    """
    x, combined = x.nan_to_num(nan=0.0), x.new_empty(len(x), len(w))
    at_a_time = max(1, BLOCK_ENTRIES.get(x.device.type, BLOCK_ENTRIES["cpu"]) // w.numel())
    for start in range(0, len(x), at_a_time):
        rows = slice(start, start + at_a_time)
        combined[rows] = combine(torch.sub(w, x[rows, None]).abs_(), rows)
    return combined


def _by_feature(a: Tensor, b: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Absolute differences (p, q), 0 where one is missing, combined one feature at a time: no (p, q, d) block."""
    total = a.new_zeros(len(a), len(b))
    for feature in range(a.shape[1]):
        total = combine(total, (a[:, feature, None] - b[:, feature]).abs_().nan_to_num_(nan=0.0))
    return total

r"""The exact search in PyTorch, on any device: a fast estimate first, and what it leaves open decided after.

Euclidean distances come from a matrix product, |w_k|^2 / 2 - x . w_k, with both sides centered on the codebook, which
removes an offset of the data. Cosine distances are Euclidean ones among unit vectors. Manhattan and Chebyshev have no
product form and use `torch.cdist`. Rows with missing values are estimated over their observed features, in float64.

References:
    Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from somlib.utils.distances import Metric, masked_pairwise, unit_vectors
from somlib.utils.smallest import smallest
from somlib.utils.winners import Winners, block_entries, collect_winners, paired_distances, row_chunks

# Entries of the distance block at a time: 4 MB in float32. Smaller blocks take more calls, larger ones leave
# the caches of a core; a GPU wants them larger to fill its units.
CHUNK_ENTRIES = {"cpu": 2**20, "cuda": 2**27}
LOWER_PRECISION = {"high": 2.0**-11, "medium": 2.0**-8}  # rounding of TF32 and of bfloat16
TINY = torch.finfo(torch.float32).tiny  # squares below it are rounded to nothing
TIED_COSINES = 16 * torch.finfo(torch.float64).eps  # exact ties differ by so much once unit vectors are rounded


@dataclass(frozen=True)
class Estimates:
    """Numbers that rank neurons as their distances do, but for rounding.

    Attributes:
        values: One for each sample and neuron, shape (b, m).
        absolute: What each value of a sample may be off by, shape (b,), and
        relative: in addition, by what share of itself.
    """

    values: Tensor
    absolute: Tensor
    relative: float = 0.0

    def tell_apart(self, ranked: Tensor) -> Tensor:
        """Whether ascending values (b, k) of a row are all further apart than rounding, bool, shape (b,)."""
        lower, upper = ranked[:, :-1], ranked[:, 1:]
        if self.relative:
            lower, upper = lower * (1 + self.relative), upper * (1 - self.relative)
        return (upper - lower).amin(dim=1) > 2 * self.absolute  # false for NaN: inf - inf after an overflow


class TorchSearch:
    """Exact search by blocks of distances, on any device.

    Args:
        codebook: Neurons, finite, shape (m, d).
        metric: The distance.
    """

    def __init__(self, codebook: Tensor, metric: Metric) -> None:
        self.codebook = codebook
        self.metric = metric
        if metric.squared:
            points, self._center = product_coordinates(codebook, metric)
            squares = points.square().sum(dim=1)
            self._largest_square = largest_square(squares, metric)
            if metric.angular:  # a zero vector never wins
                points, squares = points.nan_to_num(nan=0.0), squares.nan_to_num(nan=torch.inf)
            self._coded = torch.cat((points.neg(), squares[:, None] / 2), dim=1)  # times a sample and a one: (m, d + 1)

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        found = [self._nearest_of_chunk(data[rows], k) for rows in self.chunks(len(data))]
        return collect_winners(found, k, data, self.codebook, self.metric, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows such that the block of distances stays small."""
        m = len(self.codebook)
        return row_chunks(n, max(64, block_entries(CHUNK_ENTRIES, self.codebook, n * m) // m))

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        if bool(torch.isfinite(data.sum())):
            return self._nearest(data, k)
        incomplete = torch.isnan(data).any(dim=1)
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        index[incomplete] = self._in_double._nearest(data[incomplete].double(), k)
        index[~incomplete] = self._nearest(data[~incomplete], k)
        return index

    def _nearest(self, data: Tensor, k: int) -> Tensor:
        """Winners (b, k) of rows that are either all complete or all incomplete."""
        if not len(data):
            return torch.empty(0, k, dtype=torch.int64, device=data.device)
        estimates = self._estimates(data)
        value, index = smallest(estimates.values, k)
        clear = estimates.tell_apart(value)
        if not bool(clear.all()):
            index[~clear] = self._decide_again(data[~clear], k)
        return index

    def _decide_again(self, data: Tensor, k: int) -> Tensor:
        index = torch.full((len(data), k), -1, dtype=torch.int64, device=data.device)
        defined = self.have_distances(data)
        if self.codebook.dtype == torch.float64:
            index[defined] = self._among_candidates(data[defined], k)
        else:
            index[defined] = self._in_double._nearest(data[defined].double(), k)
        return index

    def _among_candidates(self, data: Tensor, k: int) -> Tensor:
        """Winners (b, k) by exact distances to all neurons within rounding of the k nearest."""
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        ties = TIED_COSINES if self.metric.angular else 0.0
        for rows in self.chunks(len(data)):
            sample, neuron = self._candidates(data[rows], k)
            exact = data.new_full((rows.stop - rows.start, len(self.codebook)), torch.inf)
            exact[sample, neuron] = paired_distances(data[rows], self.codebook, sample, neuron, self.metric)
            index[rows] = smallest(exact, k, ties, one_more=False)[1]
        return index

    def _candidates(self, data: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Pairs of sample and neuron, among them the `k` nearest neurons of every sample."""
        estimates = self._estimates(data)
        values = estimates.values
        last = smallest(values.clone(), k, one_more=False)[0][:, k - 1]
        reach = (last * (1 + estimates.relative) + 2 * estimates.absolute)[:, None]
        beyond = values * (1 - estimates.relative) > reach  # false after an overflow
        sample, neuron = torch.nonzero(~beyond).unbind(1)
        return sample, neuron

    def _estimates(self, data: Tensor) -> Estimates:
        if bool(torch.isnan(data[0]).any()):
            return self._masked_estimates(data)
        if not self.metric.squared:
            return relative_estimates(self.metric.pairwise(data, self.codebook), data.shape[1])
        points = product_coordinates(data, self.metric, self._center)[0]
        squares = points.square().sum(dim=1) + self._largest_square
        rounding = roundings(data.shape[1] + 1, data.dtype) * squares + TINY
        half = torch.cat((points, points.new_ones(len(points), 1)), dim=1) @ self._coded.T  # (b, m)
        return Estimates(half, rounding)

    def _masked_estimates(self, data: Tensor) -> Estimates:
        """Over the observed features of samples in float64."""
        distances, d = masked_pairwise(self.metric, data, self.codebook), data.shape[1]
        if not self.metric.squared:
            return relative_estimates(distances, d)
        rounding = roundings(d, data.dtype)
        if self.metric.angular:
            return Estimates(distances, data.new_full((len(data),), 2 * rounding))
        points = product_coordinates(data, self.metric, self._center)[0]
        observed = (~torch.isnan(points)).sum(dim=1)
        squares = points.square().nansum(dim=1) + self._largest_square
        return Estimates(distances.square(), 2 * rounding * squares * d / observed)

    def have_distances(self, data: Tensor) -> Tensor:
        """Whether the distances of each row (b, d) are defined, bool, shape (b,)."""
        return self.metric.defined(data)

    @cached_property
    def _in_double(self) -> "TorchSearch":
        return self if self.codebook.dtype == torch.float64 else TorchSearch(self.codebook.double(), self.metric)


def product_coordinates(vectors: Tensor, metric: Metric, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Vectors (n, d) in the coordinates where the nearest is that of least squared difference, and their center.

    Args:
        vectors: Neurons or samples.
        metric: Euclidean or cosine; the latter takes unit vectors.
        center: Subtracted from the coordinates; None takes their own mean.

    Returns:
        Coordinates (n, d), NaN in rows of zero vectors under cosine, and the center (d,).
    """
    # In float64: the unit vectors of data with an offset lie close together.
    points = unit_vectors(metric.scaled(vectors.double())) if metric.angular else vectors
    if center is None:
        center = points.nanmean(dim=0).nan_to_num(nan=0.0) if metric.angular else points.mean(dim=0)
    points = points - center
    return (points.to(vectors.dtype) if metric.angular else metric.scaled(points)), center


def roundings(d: int, dtype: torch.dtype) -> float:
    """Bound on the rounding of a sum of `d` products, as a share of the sum of their sizes.

    d rounding errors at most; more than 8 sqrt(d) do not come together in practice (Higham and Mary). Where the user
    has allowed float32 products of lower precision (`torch.set_float32_matmul_precision`), the rounding of their
    factors comes on top.
    """
    factors = 2 * LOWER_PRECISION.get(torch.get_float32_matmul_precision(), 0.0) if dtype == torch.float32 else 0.0
    return (min(d, 8 * math.sqrt(d)) + 4) * torch.finfo(dtype).eps / 2 + factors


def relative_estimates(distances: Tensor, d: int) -> Estimates:
    """Distances computed from differences: each rounded by a share of itself."""
    return Estimates(distances, distances.new_zeros(len(distances)), roundings(d, distances.dtype))


def largest_square(squares: Tensor, metric: Metric) -> Tensor:
    """Largest squared length of the neurons; inf or NaN, which no estimate survives, after an overflow."""
    return (squares.nan_to_num(nan=0.0) if metric.angular else squares).max()

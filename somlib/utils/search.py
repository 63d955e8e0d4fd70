r"""Finding the nearest neurons (best matching units) of samples.

Every search estimates first and decides after:

1. A fast estimate ranks all neurons, with a bound on its rounding error. Euclidean distances come from a matrix
   product, |w_k|^2 / 2 - x . w_k, with both sides centered on the codebook, which removes an offset of the data. Cosine
   distances are Euclidean ones among unit vectors. Manhattan and Chebyshev have no product form and use `torch.cdist`.
   Rows with missing values are estimated over their observed features, in float64.
2. Rows whose nearest neurons the estimate does not tell apart (ties, far clusters, samples that lie on a neuron,
   numbers beyond the range of float32) are estimated again in float64. Whatever then is still within rounding of the
   nearest is decided by exact distances, from differences; ties go to the lowest flat index.

So the winner is the true nearest neuron whatever the offset or scale of the data, and neither chunk nor batch can
change it. Work goes in chunks: memory does not grow with the number of samples.

The FAISS backend is another first estimate, by an index that is asked for one neuron more than needed. Rows that it
does not tell apart go the way of step 2, so both backends find the same winners.

References:
    Higham and Mary, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric, masked_pairwise, unit_vectors

Backend = Literal["auto", "torch", "faiss", "faiss_ivf"]

# Entries of the distance block at a time: 2 MB in float32, about the second-level cache of a core. Larger blocks
# measured slower on CPU; a GPU wants them larger to fill its units.
CHUNK_ENTRIES = {"cpu": 2**19, "cuda": 2**27}
# The smallest value of a row is found by the minima of 32 or 64 lanes first: a minimum without its place is vectorized,
# one with it is not. Measured on a CPU: with the second smallest in the same pass, still faster than one plain `min`.
LANES, LANES_OF_LARGE_MAP, LARGE_MAP = 32, 64, 1_500
SMALL_BLOCK = 2**15  # entries below which the fewest calls are the fastest
FAISS_ROWS = 65_536
# Below this an inverted file gains nothing over the flat index. Of sqrt(m) lists, 16 are looked through: at 40 000
# neurons half the time of the flat index and the true winner for all of 16 000 samples; 8 lists would take a quarter of
# the time and miss 0.04 % of the winners.
IVF_NEURONS, IVF_LISTS_LOOKED_THROUGH = 10_000, 16
# Entries of the rows gathered at a time for exact distances, so that the passes over them stay in the cache: at 300
# features four times faster than 65 536 rows at a time.
EXACT_ENTRIES = {"cpu": 2**16, "cuda": 2**24}
TINY = torch.finfo(torch.float32).tiny  # squares below it are rounded to nothing
TIED_COSINES = 16 * torch.finfo(torch.float64).eps  # exact ties differ by so much once unit vectors are rounded


@dataclass(frozen=True)
class Winners:
    """The nearest neurons of some samples, nearest first.

    Attributes:
        index: Flat neuron indices, int64, shape (n, k); -1 where a sample has no distance to any neuron.
        distance: Distances in the map's metric, shape (n, k), NaN where the index is -1; empty (n, 0) if not asked for.
    """

    index: Tensor
    distance: Tensor


class Search(Protocol):
    """Finds nearest neurons in one fixed codebook."""

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); ties go to the lowest flat index."""
        ...

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows of the size that this search likes best."""
        ...


def make_search(codebook: Tensor, metric: Metric, backend: Backend = "auto") -> Search:
    """A search over `codebook` (m, d).

    `"auto"` is torch at every size: once both find the true winners, FAISS took 0.9 to 2.3 times as long from 375 to
    6 300 neurons and 4 to 300 features (benchmarks/search.py).
    """
    if backend in ("auto", "torch"):
        return TorchSearch(codebook, metric)
    approximate = backend == "faiss_ivf" and metric.squared and len(codebook) >= IVF_NEURONS
    return FaissIvfSearch(codebook, metric) if approximate else FaissSearch(codebook, metric)


def faiss_module() -> Any:
    """The faiss package, or None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def row_chunks(n: int, rows: int) -> Iterator[slice]:
    """Slices of `n` rows, `rows` at a time."""
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


@dataclass(frozen=True)
class Estimates:
    """Numbers that rank neurons as their distances do, but for rounding.

    Attributes:
        values: One for each sample and neuron, shape (b, m); columns beyond m are infinite.
        absolute: What each value of a sample may be off by, shape (b,), and
        relative: in addition, by what share of itself.
        lanes: By how many lanes to look for the smallest, a divisor of the number of columns.
    """

    values: Tensor
    absolute: Tensor
    relative: float = 0.0
    lanes: int = 1

    def smallest(self, k: int) -> tuple[Tensor, Tensor]:
        """The `k + 1` smallest of each row, and where the first `k` stand, of no use where they are not told apart."""
        if self.lanes > 1:
            return smallest_by_lanes(self.values, k, self.lanes)
        if self.values.shape[1] > k and self.values.numel() < SMALL_BLOCK:
            value, index = torch.topk(self.values, k + 1, largest=False)
            return value, index[:, :k]
        return smallest(self.values, k)

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
            self._largest_square = _largest(squares, metric)
            if metric.name == "cosine":  # a zero vector never wins
                points, squares = points.nan_to_num(nan=0.0), squares.nan_to_num(nan=torch.inf)
            self._points, self._half_squares = points, squares / 2

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        found = [self._nearest_of_chunk(data[rows], k) for rows in self.chunks(len(data))]
        return _winners(found, k, data, self, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows such that the block of distances stays small."""
        return row_chunks(n, max(64, _entries(CHUNK_ENTRIES, self.codebook) // len(self.codebook)))

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
        value, index = estimates.smallest(k)
        clear = estimates.tell_apart(value)
        if not bool(clear.all()):
            index[~clear] = self._decide_again(data[~clear], k)
        return index

    def _decide_again(self, data: Tensor, k: int) -> Tensor:
        index = torch.full((len(data), k), -1, dtype=torch.int64, device=data.device)
        defined = self._have_distances(data)
        if self.codebook.dtype == torch.float64:
            index[defined] = self._among_candidates(data[defined], k)
        else:
            index[defined] = self._in_double._nearest(data[defined].double(), k)
        return index

    def _among_candidates(self, data: Tensor, k: int) -> Tensor:
        """Winners (b, k) by exact distances to all neurons within rounding of the k nearest."""
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        ties = TIED_COSINES if self.metric.name == "cosine" else 0.0
        for rows in self.chunks(len(data)):
            sample, neuron = self._candidates(data[rows], k)
            exact = data.new_full((rows.stop - rows.start, len(self.codebook)), torch.inf)
            exact[sample, neuron] = paired_distances(data[rows], self.codebook, sample, neuron, self.metric)
            index[rows] = smallest(exact, k, ties)[1]
        return index

    def _candidates(self, data: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Pairs of sample and neuron, among them the `k` nearest neurons of every sample."""
        estimates = self._estimates(data)
        values = estimates.values[:, : len(self.codebook)]
        last = smallest(values.clone(), k)[0][:, k - 1]
        reach = (last * (1 + estimates.relative) + 2 * estimates.absolute)[:, None]
        beyond = values * (1 - estimates.relative) > reach  # false after an overflow
        sample, neuron = torch.nonzero(~beyond).unbind(1)
        return sample, neuron

    def _estimates(self, data: Tensor) -> Estimates:
        if bool(torch.isnan(data[0]).any()):
            return self._masked_estimates(data)
        if not self.metric.squared:
            return _relative(self.metric.pairwise(data, self.codebook), data.shape[1])
        points = product_coordinates(data, self.metric, self._center)[0]
        squares = points.square().sum(dim=1) + self._largest_square
        rounding = _roundings(data.shape[1], data.dtype) * squares + TINY
        m = len(self.codebook)
        if len(data) * m < SMALL_BLOCK:
            return Estimates(torch.addmm(self._half_squares, points, self._points.T, alpha=-1), rounding)  # (b, m)
        lanes = LANES if m < LARGE_MAP else LANES_OF_LARGE_MAP
        half = points.new_empty(len(points), m + -m % lanes)
        torch.addmm(self._half_squares, points, self._points.T, alpha=-1, out=half[:, :m])
        half[:, m:] = torch.inf
        return Estimates(half, rounding, lanes=lanes)

    def _masked_estimates(self, data: Tensor) -> Estimates:
        """Over the observed features of samples in float64."""
        distances, d = masked_pairwise(self.metric, data, self.codebook), data.shape[1]
        if not self.metric.squared:
            return _relative(distances, d)
        rounding = _roundings(d, data.dtype)
        if self.metric.name == "cosine":
            return Estimates(distances, data.new_full((len(data),), 2 * rounding))
        points = product_coordinates(data, self.metric, self._center)[0]
        observed = (~torch.isnan(points)).sum(dim=1)
        squares = points.square().nansum(dim=1) + self._largest_square
        return Estimates(distances.square(), 2 * rounding * squares * d / observed)

    def _have_distances(self, data: Tensor) -> Tensor:
        """Whether the distances of each row (b, d) are defined, bool, shape (b,)."""
        if self.metric.name == "cosine":
            return self.metric.scaled(data).nan_to_num(nan=0.0).any(dim=1)
        return ~torch.isnan(data).all(dim=1)

    @cached_property
    def _in_double(self) -> "TorchSearch":
        return self if self.codebook.dtype == torch.float64 else TorchSearch(self.codebook.double(), self.metric)


class FaissSearch:
    """Exact search by a flat FAISS index, on the CPU in float32.

    Args:
        codebook: Neurons, finite, shape (m, d).
        metric: The distance.

    Raises:
        ArgumentError: FAISS is not installed.
    """

    def __init__(self, codebook: Tensor, metric: Metric) -> None:
        faiss = faiss_module()
        if faiss is None:
            raise ArgumentError("search_backend='faiss' needs the package faiss-cpu, which is not installed")
        self.codebook = codebook
        self.metric = metric
        self._exact = TorchSearch(codebook, metric)
        points, self._center = self._coordinates(codebook)
        self._largest_square = _largest(points.square().sum(dim=1), metric)
        usable = torch.isfinite(points).all(dim=1)
        self._neuron = torch.nonzero(usable).flatten()  # row of the index -> neuron
        kind = {"manhattan": faiss.METRIC_L1, "chebyshev": faiss.METRIC_Linf}.get(metric.name, faiss.METRIC_L2)
        self._index = self._filled_index(faiss, _for_faiss(points[usable]), kind)

    def _filled_index(self, faiss: Any, points: Any, kind: int) -> Any:
        index = faiss.IndexFlat(points.shape[1], kind)
        index.add(points)
        return index

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        found = [self._nearest_of_chunk(data[rows], k) for rows in self.chunks(len(data))]
        return _winners(found, k, data, self, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows; FAISS is fast in large calls only."""
        return row_chunks(n, FAISS_ROWS)

    def _coordinates(self, data: Tensor, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.metric.squared:
            return product_coordinates(data, self.metric, center)
        return data, torch.zeros(0)

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        if not self._can_estimate(data):
            return self._exact.nearest(data, k, distances=False).index
        points = self._coordinates(data, self._center)[0]
        values, found = (torch.from_numpy(a).to(data.device) for a in self._index.search(_for_faiss(points), k + 1))
        index = self._neuron[found[:, :k].clamp_min(0)]
        clear = self._estimates(points, values).tell_apart(values)  # false where fewer than k were found
        if not bool(clear.all()):
            index[~clear] = self._exact.nearest(data[~clear], k, distances=False).index
        return index

    def _can_estimate(self, data: Tensor) -> bool:
        """Whether the index, which holds float32, can rank these rows: complete, and not rounded by an offset."""
        plain = self.metric.squared or (data.dtype == torch.float32 and self.metric.feature_weights is None)
        return plain and len(self._neuron) > 0 and bool(torch.isfinite(data.sum()))

    def _estimates(self, points: Tensor, values: Tensor) -> Estimates:
        if not self.metric.squared:
            return _relative(values, points.shape[1])
        squares = points.square().sum(dim=1) + self._largest_square
        return Estimates(values, 4 * _roundings(points.shape[1], torch.float32) * squares + TINY)


class FaissIvfSearch(FaissSearch):
    """Approximate search by an inverted-file FAISS index, for large maps; built anew for each codebook.

    The neurons are put into sqrt(m) lists by K-Means, and of each sample the nearest lists are looked through. A winner
    can be missed where a list beyond those holds it; distances are those of the neuron that was found.

    References:
        Jegou, Douze and Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011 (sec. IV).
    """

    def _filled_index(self, faiss: Any, points: Any, kind: int) -> Any:
        lists = math.isqrt(len(points))
        index = faiss.IndexIVFFlat(faiss.IndexFlat(points.shape[1], kind), points.shape[1], lists, kind)
        index.train(points)  # FAISS seeds its K-Means itself, always alike
        index.add(points)
        index.nprobe = min(IVF_LISTS_LOOKED_THROUGH, lists)
        return index

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        if not self._can_estimate(data):
            return self._exact.nearest(data, k, distances=False).index
        points = self._coordinates(data, self._center)[0]
        found = torch.from_numpy(self._index.search(_for_faiss(points), k)[1]).to(data.device)
        index = self._neuron[found.clamp_min(0)]
        complete = (found >= 0).all(dim=1) & self._exact._have_distances(data)
        if not bool(complete.all()):
            index[~complete] = self._exact.nearest(data[~complete], k, distances=False).index
        return index


def product_coordinates(vectors: Tensor, metric: Metric, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Vectors (n, d) in the coordinates where the nearest is that of least squared difference, and their center.

    Args:
        vectors: Neurons or samples.
        metric: Euclidean or cosine; the latter takes unit vectors.
        center: Subtracted from the coordinates; None takes their own mean.

    Returns:
        Coordinates (n, d), NaN in rows of zero vectors under cosine, and the center (d,).
    """
    cosine = metric.name == "cosine"
    # In float64: the unit vectors of data with an offset lie close together.
    points = unit_vectors(metric.scaled(vectors.double())) if cosine else vectors
    if center is None:
        center = points.nanmean(dim=0).nan_to_num(nan=0.0) if cosine else points.mean(dim=0)
    points = points - center
    return (points.to(vectors.dtype) if cosine else metric.scaled(points)), center


def smallest(values: Tensor, k: int, ties: float = 0.0) -> tuple[Tensor, Tensor]:
    """The `k + 1` smallest of each row, and where the first `k` stand; ties go to the lowest index, NaN never wins.

    Args:
        values: Shape (b, m); overwritten.
        k: How many, at least 1; beyond m there is nothing.
        ties: Values that differ by less than `ties` times the root of the smaller count as equal.

    Returns:
        Values (b, k + 1), ascending, and indices (b, k): infinity and -1 where there is no (further) finite value.
    """
    if not bool(torch.isfinite(values.sum())):
        values = values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    value = values.new_empty(len(values), k + 1)
    index = torch.empty(len(values), k, dtype=torch.int64, device=values.device)
    for rank in range(k):
        value[:, rank], best = values.min(dim=1)
        if ties:
            reach = value[:, rank] + ties * value[:, rank].sqrt() + ties**2
            best = (values <= reach[:, None]).to(torch.uint8).argmax(dim=1)
        index[:, rank] = best.masked_fill(torch.isinf(value[:, rank]), -1)
        values.scatter_(1, best[:, None], torch.inf)
    value[:, k] = values.amin(dim=1)
    return value, index


def smallest_by_lanes(values: Tensor, k: int, lanes: int) -> tuple[Tensor, Tensor]:
    """What `smallest` gives, faster, for rows without ties; NaN in a row comes back in its values.

    Args:
        values: Shape (b, m); overwritten.
        k: How many, at least 1.
        lanes: A divisor of m: column j is in lane j mod `lanes`.
    """
    by_lane = values.view(len(values), -1, lanes)
    best = by_lane.amin(dim=1)  # (b, lanes)
    value = values.new_empty(len(values), k + 1)
    index = torch.empty(len(values), k, dtype=torch.int64, device=values.device)
    for rank in range(k):
        value[:, rank], lane = best.min(dim=1)
        column = by_lane.gather(2, lane[:, None, None].expand(-1, by_lane.shape[1], 1))[:, :, 0]
        place = column.argmin(dim=1)
        index[:, rank] = place * lanes + lane
        values.scatter_(1, index[:, rank, None], torch.inf)
        best.scatter_(1, lane[:, None], column.scatter_(1, place[:, None], torch.inf).amin(dim=1, keepdim=True))
    value[:, k] = best.amin(dim=1)
    return value, index


def exact_distances(data: Tensor, codebook: Tensor, index: Tensor, metric: Metric) -> Tensor:
    """Distances (n, k) of samples (n, d) to the neurons of their `index` (n, k), NaN where it is -1."""
    distances = data.new_empty(index.shape)
    for rank in range(index.shape[1]):
        for rows in _exact_chunks(data, len(data)):
            chosen = index[rows, rank]
            values = metric.rowwise(data[rows], codebook[chosen.clamp_min(0)])
            distances[rows, rank] = values.masked_fill(chosen < 0, torch.nan)
    return distances


def paired_distances(data: Tensor, codebook: Tensor, sample: Tensor, neuron: Tensor, metric: Metric) -> Tensor:
    """Distances (p,) of pairs of a sample and a neuron, given by their indices (p,)."""
    distances = data.new_empty(len(sample))
    for pairs in _exact_chunks(data, len(sample)):
        distances[pairs] = metric.rowwise(data[sample[pairs]], codebook[neuron[pairs]])
    return distances


def _exact_chunks(data: Tensor, n: int) -> Iterator[slice]:
    return row_chunks(n, max(1, _entries(EXACT_ENTRIES, data) // data.shape[1]))


def _entries(limits: dict[str, int], tensor: Tensor) -> int:
    return limits.get(tensor.device.type, limits["cpu"])


def _roundings(d: int, dtype: torch.dtype) -> float:
    """Bound on the rounding of a sum of `d` products, as a share of the sum of their sizes.

    d rounding errors at most; more than 8 sqrt(d) do not come together in practice (Higham and Mary).
    """
    return (min(d, 8 * math.sqrt(d)) + 4) * torch.finfo(dtype).eps / 2


def _relative(distances: Tensor, d: int) -> Estimates:
    """Distances computed from differences: each rounded by a share of itself."""
    return Estimates(distances, distances.new_zeros(len(distances)), _roundings(d, distances.dtype))


def _winners(
    found: list[Tensor], k: int, data: Tensor, search: "TorchSearch | FaissSearch", distances: bool
) -> Winners:
    """The winners (b, k) of all chunks, with exact distances where wanted."""
    index = torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64, device=data.device)
    if not distances:
        return Winners(index, data.new_empty(len(data), 0))
    return Winners(index, exact_distances(data, search.codebook, index, search.metric))


def _largest(squares: Tensor, metric: Metric) -> Tensor:
    """Largest squared length of the neurons; NaN, which no estimate survives, after an overflow."""
    return (squares.nan_to_num(nan=0.0) if metric.name == "cosine" else squares).max()


def _for_faiss(points: Tensor) -> Any:
    return points.to("cpu", torch.float32).contiguous().numpy()

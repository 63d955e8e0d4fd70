r"""Finding the nearest neurons (best matching units) of samples.

Euclidean winners come from a matrix product: argmin_k of |w_k|^2 / 2 - x . w_k. In float32 that form loses the winner
where |x|^2 dwarfs the distance, so

1. both sides are centered on the codebook first, which removes any offset of the data;
2. rows whose winning distance is still too small a part of |x|^2 + |w|^2 to be trusted (far clusters, samples that lie
   on a neuron) are decided again in float64, and from plain differences if the data was float64 already.

Cosine winners are Euclidean winners among unit vectors. Manhattan and Chebyshev have no product form and use
`torch.cdist`. Rows with missing values are decided over their observed features. Work goes in chunks, so that memory
does not grow with the number of samples, and no result depends on the chunk.

The FAISS backend asks an index for one candidate more than needed and ranks the candidates by exact distance, which
gives it the same winners and the same rule for ties: the lowest flat index.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric, masked_pairwise, unit_vectors

Backend = Literal["auto", "torch", "faiss"]

# Entries of the distance block at a time: 2 MB in float32, about the second-level cache of a core. Larger blocks
# measured slower on CPU; a GPU wants them larger to fill its units.
CHUNK_ENTRIES = {"cpu": 2**19, "cuda": 2**27}
FAISS_ROWS = 65_536
# Float32 winners are trusted while the squared distance exceeds this many rounding errors of |x|^2 + |w|^2.
TRUSTED_ROUNDINGS = 1_000


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


def make_search(codebook: Tensor, metric: Metric, backend: Backend = "torch", rows: int = 0) -> Search:
    """A search over `codebook` (m, d); `backend="auto"` picks by the size of the work, `rows` samples a call."""
    if backend == "auto":
        backend = "faiss" if faiss_pays(codebook, metric, rows) else "torch"
    return FaissSearch(codebook, metric) if backend == "faiss" else TorchSearch(codebook, metric)


def faiss_pays(codebook: Tensor, metric: Metric, rows: int) -> bool:
    """Whether FAISS is the faster exact search, by measurement (see benchmarks/)."""
    m, d = codebook.shape
    fits = codebook.device.type == "cpu" and codebook.dtype == torch.float32 and metric.squared
    return fits and 8 <= d <= 32 and m >= 1_000 and rows >= 16_000 and faiss_module() is not None


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
            self._points, self._center = product_coordinates(codebook, metric)
            squares = self._points.square().sum(dim=1)
            self._half_squares = (squares / 2).nan_to_num(nan=torch.inf)  # a zero vector under cosine never wins
            self._points = self._points.nan_to_num(nan=0.0)
            self._largest_square = squares.nan_to_num(nan=0.0).max()

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        for rows in self.chunks(len(data)):
            index[rows] = self._nearest_of_chunk(data[rows], k)
        return _with_distances(index, data, self, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows such that the block of distances stays small."""
        entries = CHUNK_ENTRIES.get(self.codebook.device.type, CHUNK_ENTRIES["cpu"])
        return row_chunks(n, max(64, entries // len(self.codebook)))

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        if bool(torch.isfinite(data.sum())):
            return self._nearest_complete(data, k)
        incomplete = torch.isnan(data).any(dim=1)
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        if not bool(incomplete.all()):
            index[~incomplete] = self._nearest_complete(data[~incomplete], k)
        # In float64, since masking leaves no single center that would keep the products small.
        exact = masked_pairwise(self.metric, data[incomplete].double(), self.codebook.double())
        index[incomplete] = smallest(exact, k)[1]
        return index

    def _nearest_complete(self, data: Tensor, k: int) -> Tensor:
        if not self.metric.squared:
            return smallest(self.metric.pairwise(data, self.codebook), k)[1]
        points = product_coordinates(data, self.metric, self._center)[0]
        half = torch.addmm(self._half_squares, points, self._points.T, alpha=-1)  # (b, m)
        value, index = smallest(half, k)
        squares = points.square().sum(dim=1)
        rounding = torch.finfo(points.dtype).eps * (squares + self._largest_square)
        trusted = squares + 2 * value[:, 0] > TRUSTED_ROUNDINGS * rounding  # false for NaN too
        if not bool(trusted.all()):
            index[~trusted] = self._decide_again(data[~trusted], k)
        return index

    def _decide_again(self, data: Tensor, k: int) -> Tensor:
        if data.dtype == torch.float64:
            return smallest(self.metric.pairwise(data, self.codebook), k)[1]
        return self._in_double._nearest_complete(data.double(), k)

    @cached_property
    def _in_double(self) -> "TorchSearch":
        return TorchSearch(self.codebook.double(), self.metric)


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
        usable = torch.isfinite(points).all(dim=1)
        self._neuron = torch.nonzero(usable).flatten()  # row of the index -> neuron
        kind = {"manhattan": faiss.METRIC_L1, "chebyshev": faiss.METRIC_Linf}.get(metric.name, faiss.METRIC_L2)
        self._index = faiss.IndexFlat(points.shape[1], kind)
        self._index.add(_for_faiss(points[usable]))

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        index = torch.empty(len(data), k, dtype=torch.int64, device=data.device)
        for rows in self.chunks(len(data)):
            index[rows] = self._nearest_of_chunk(data[rows], k)
        return _with_distances(index, data, self, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows; FAISS is fast in large calls only."""
        return row_chunks(n, FAISS_ROWS)

    def _coordinates(self, data: Tensor, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.metric.squared:
            return product_coordinates(data, self.metric, center)
        return self.metric.scaled(data), torch.zeros(0)

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        points = self._coordinates(data, self._center)[0]
        plain = torch.isfinite(points).all(dim=1)
        candidates = min(k + 1, len(self._neuron))
        if not bool(plain.all()) or candidates < k:
            return self._exact.nearest(data, k, distances=False).index
        found = torch.from_numpy(self._index.search(_for_faiss(points), candidates)[1])
        neuron = (
            self._neuron[found].to(data.device).sort(dim=1).values
        )  # ascending, so that a stable sort keeps ties so
        exact = exact_distances(data, self.codebook, neuron, self.metric)
        order = exact.sort(dim=1, stable=True).indices[:, :k]
        return neuron.gather(1, order)


def product_coordinates(vectors: Tensor, metric: Metric, center: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Vectors (n, d) in the coordinates where the nearest is that of least squared difference, and their center.

    Args:
        vectors: Neurons or samples.
        metric: Euclidean or cosine; the latter takes unit vectors.
        center: Subtracted from the coordinates; None takes their own mean.

    Returns:
        Coordinates (n, d), NaN in rows of zero vectors under cosine, and the center (d,).
    """
    points = metric.scaled(vectors)
    if metric.name == "cosine":
        points = unit_vectors(points)
    if center is None:
        center = points.nanmean(dim=0).nan_to_num(nan=0.0)
    return points - center, center


def smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` smallest of each row and where they stand; ties go to the lowest index, NaN never wins.

    Args:
        values: Shape (b, m); overwritten where k > 1.
        k: How many, at least 1; beyond m there is nothing.

    Returns:
        Values (b, k), ascending, and indices (b, k): infinity and -1 where there is no (further) finite value.
    """
    if not bool(torch.isfinite(values.sum())):
        values = values.nan_to_num(nan=torch.inf)
    value = values.new_empty(len(values), k)
    index = torch.empty(len(values), k, dtype=torch.int64, device=values.device)
    for rank in range(k):
        value[:, rank], best = values.min(dim=1)
        index[:, rank] = best.masked_fill(torch.isinf(value[:, rank]), -1)
        if rank + 1 < k:
            values.scatter_(1, best[:, None], torch.inf)
    return value, index


def exact_distances(data: Tensor, codebook: Tensor, index: Tensor, metric: Metric) -> Tensor:
    """Distances (n, k) of samples (n, d) to the neurons of their `index` (n, k), NaN where it is -1."""
    distances = data.new_empty(index.shape)
    for rank in range(index.shape[1]):
        for rows in row_chunks(len(data), FAISS_ROWS):
            chosen = index[rows, rank]
            values = metric.rowwise(data[rows], codebook[chosen.clamp_min(0)])
            distances[rows, rank] = values.masked_fill(chosen < 0, torch.nan)
    return distances


def _with_distances(index: Tensor, data: Tensor, search: "TorchSearch | FaissSearch", wanted: bool) -> Winners:
    if not wanted:
        return Winners(index, data.new_empty(len(data), 0))
    return Winners(index, exact_distances(data, search.codebook, index, search.metric))


def _for_faiss(points: Tensor) -> Any:
    return points.to("cpu", torch.float32).contiguous().numpy()

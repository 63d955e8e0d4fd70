"""Searches by FAISS: an index makes the first estimate; rows that it does not distinguish go to the exact search."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric
from somlib.utils.torch_search import (
    TINY,
    Estimates,
    TorchSearch,
    largest_square,
    product_coordinates,
    relative_estimates,
    roundings,
)
from somlib.utils.winners import Winners, collect_winners, row_chunks

FAISS_ROWS = 65_536
# Below this an inverted file gains nothing over the flat index. Of sqrt(m) lists, 16 are looked through: at 40 000
# neurons half the time of the flat index and the true winner for all of 16 000 samples; 8 lists would take a quarter of
# the time and miss 0.04 % of the winners.
IVF_NEURONS, IVF_LISTS_LOOKED_THROUGH = 10_000, 16


def faiss_module() -> Any:
    """The faiss package, or None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


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
        self._largest_square = largest_square(points.square().sum(dim=1), metric)
        usable = torch.isfinite(points).all(dim=1)
        self._neuron = torch.nonzero(usable).flatten()  # row of the index -> neuron
        kind: int = getattr(faiss, metric.distance.faiss or "")
        self._index = self._filled_index(faiss, _for_faiss(points[usable]), kind)

    def _filled_index(self, faiss: Any, points: Any, kind: int) -> Any:
        index = faiss.IndexFlat(points.shape[1], kind)
        index.add(points)
        return index

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        found = [self._nearest_of_chunk(data[rows], k) for rows in self.chunks(len(data))]
        return collect_winners(found, k, data, self.codebook, self.metric, distances)

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
            return relative_estimates(values, points.shape[1])
        squares = points.square().sum(dim=1) + self._largest_square
        return Estimates(values, 4 * roundings(points.shape[1], torch.float32) * squares + TINY)


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
        complete = (found >= 0).all(dim=1) & self._exact.have_distances(data)
        if not bool(complete.all()):
            index[~complete] = self._exact.nearest(data[~complete], k, distances=False).index
        return index


def _for_faiss(points: Tensor) -> Any:
    return points.to("cpu", torch.float32).contiguous().numpy()

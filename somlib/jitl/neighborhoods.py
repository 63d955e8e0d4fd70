r"""Whose samples a neuron's local model is fitted to: weights h(k, j) of neuron j's samples in the model of neuron k.

    gaussian                h(k, j) = exp(-r(k, j)^2 / (2 sigma^2)), r the distance on the grid
    bmu_only, bmu_neighborhood, bmu_neighborhood_knn
                            h(k, j) = 1 for the neurons whose samples the retrieval mode collects for a winner k, else 0

A model needs only sums over samples, so the sums of all models are one product, sum_j h(k, j) M[j].
"""

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_array

from somlib.jitl.moments import FloatArray, IntArray
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import NeuronSamples
from somlib.utils.neighborhood import KERNELS, gaussian, influence
from somlib.utils.retrieval import retrieve
from somlib.utils.smoothing import Smoother
from somlib.utils.topology import neighbor_table


class Neighborhood(Protocol):
    """Weights between neurons, by what they hold."""

    def smoothed(self, sums: FloatArray, count: FloatArray) -> FloatArray:
        """Sums over j of h(k, j) times `sums` (m, ...), in that shape; `count` (m,) says how much each neuron holds."""
        ...

    def weights(self, neuron: int, count: FloatArray) -> FloatArray:
        """h(neuron, j) of every j, shape (m,)."""
        ...


class GaussianNeighborhood:
    """All neurons, the nearer on the grid the more.

    Args:
        grid: The grid.
        sigma: Radius in cell widths.
    """

    def __init__(self, grid: Grid, sigma: float) -> None:
        self.grid, self.sigma = grid, sigma
        self._smoother = Smoother(grid, torch.device("cpu"), torch.float64)

    def smoothed(self, sums: FloatArray, count: FloatArray) -> FloatArray:
        """Sums over j of h(k, j) times `sums` (m, ...), in that shape."""
        del count
        flat = torch.from_numpy(sums.reshape(len(sums), -1))
        return self._smoother.smooth(flat, KERNELS["gaussian"], self.sigma).numpy().reshape(sums.shape)

    def __reduce__(self) -> tuple[type, tuple[Grid, float]]:  # the smoother keeps matrices by address: no copies of it
        return type(self), (self.grid, self.sigma)

    def weights(self, neuron: int, count: FloatArray) -> FloatArray:
        """h(neuron, j) of every j, shape (m,)."""
        del count
        return influence(gaussian, self.grid.squared_distances_from(neuron), self.sigma).numpy()


class RetrievedNeighborhood:
    """The neurons that a retrieval mode visits, all samples alike.

    Args:
        codebook: Neurons, shape (m, d).
        grid: The grid.
        metric: Distance between codebook vectors, for the fallback.
        mode: A retrieval mode.
        order: Hops of the neighborhood.
        threshold: Number of samples below which the fallback adds neurons.
    """

    def __init__(
        self, codebook: torch.Tensor, grid: Grid, metric: Metric, mode: str, order: int, threshold: int
    ) -> None:
        self._codebook, self._grid, self._metric = codebook, grid, metric
        self._mode, self._order, self._threshold = mode, order, threshold
        self._count: FloatArray = np.empty(0)
        self._visits = csr_array((grid.m, grid.m))

    def smoothed(self, sums: FloatArray, count: FloatArray) -> FloatArray:
        """Sums over the visited neurons of `sums` (m, ...), in that shape."""
        visited: FloatArray = self._visited(count) @ sums.reshape(len(sums), -1)
        return visited.reshape(sums.shape)

    def weights(self, neuron: int, count: FloatArray) -> FloatArray:
        """1 for every neuron that is visited from `neuron`, else 0, shape (m,)."""
        weights: FloatArray = self._visited(count)[[neuron]].toarray()[0]
        return weights

    def _visited(self, count: FloatArray) -> csr_array:
        """Which neurons are visited from each, (m, m) with ones; kept until a count changes."""
        if not np.array_equal(self._count, count):
            self._visits = self._visits_for(count.astype(np.int64))
            self._count = count.copy()
        return self._visits

    def _visits_for(self, count: IntArray) -> csr_array:
        near = self._near
        if self._mode != "bmu_neighborhood_knn":
            return near
        short = np.flatnonzero(near @ count < self._threshold)
        if not len(short):
            return near
        visits = near.tolil()
        visits[short] = self._with_fallback(short, count)
        return csr_array(visits)

    @cached_property
    def _near(self) -> csr_array:
        """Which neurons are visited from each whatever they hold, (m, m) with ones."""
        m = self._grid.m
        table = neighbor_table(self._grid, self._order).numpy()
        around = table[:, :0] if self._mode == "bmu_only" else table
        visited = np.column_stack((np.arange(m), around))
        row = np.repeat(np.arange(m), (visited >= 0).sum(axis=1))
        return csr_array((np.ones(len(row)), (row, visited[visited >= 0])), shape=(m, m))

    def _with_fallback(self, winner: IntArray, count: IntArray) -> csr_array:
        """Which neurons hold the samples that retrieval finds for some winners (s,), (s, m) with ones."""
        # Retrieval asks for samples: let each neuron hold samples named after it. Empty neurons add nothing, and
        # beyond the threshold further samples of one neuron change nothing, so few are enough.
        m = self._grid.m
        few = torch.from_numpy(np.minimum(count, max(self._threshold, 1)))
        name = torch.repeat_interleave(torch.arange(m), few)
        groups = NeuronSamples(name, torch.cat((few.new_zeros(1), few.cumsum(0))))
        found = retrieve(
            torch.from_numpy(winner), groups, self._codebook, self._grid, self._metric, self._mode, self._order,
            self._threshold,
        )  # fmt: skip
        row = torch.repeat_interleave(torch.arange(len(winner)), found.offset.diff())
        pair = torch.unique(row * m + found.sample).numpy()
        return csr_array((np.ones(len(pair)), (pair // m, pair % m)), shape=(len(winner), m))

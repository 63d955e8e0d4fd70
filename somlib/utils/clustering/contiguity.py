"""Whether clusters hang together on the grid."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils.clustering.neurons import IntArray
from somlib.utils.clustering.result import undefined_score
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def topological_quality(labels: Tensor, grid: Grid) -> float:
    """Contiguity of the clusters on the grid: the share of clustered neurons in the main piece of their cluster.

    The pieces of a cluster are what stays connected by steps to neighbors of order 1 (around the edges on a torus);
    the main piece is the largest.

    Args:
        labels: Cluster of each neuron in flat order, negative for noise, shape (m,).
        grid: The grid of the m neurons.

    Returns:
        In (0, 1]; 1 if every cluster is one connected piece. NaN if no neuron is in a cluster, with the reason logged.

    Raises:
        ShapeError: `labels` is not of shape (m,) for the grid.
    """
    numbers = labels.detach().cpu().numpy()
    if numbers.shape != (grid.m,):
        raise ShapeError(f"labels must have shape ({grid.m},) on a {grid.x} x {grid.y} grid, got {numbers.shape}")
    clustered = numbers >= 0
    if not clustered.any():
        return undefined_score("topological_quality", "all neurons are noise")
    first, second = neighbor_pairs(grid)
    same = numbers[first] == numbers[second]
    piece = pieces(graph_of(first[same], second[same], grid.m))
    main = np.zeros(numbers.max() + 1, dtype=np.int64)  # size of the main piece by cluster
    np.maximum.at(main, numbers[clustered], np.bincount(piece)[piece[clustered]])
    return int(main.sum()) / int(clustered.sum())


def neighbor_pairs(grid: Grid) -> tuple[IntArray, IntArray]:
    """Both ends of every pair of grid neighbors, each pair in both directions."""
    table = neighbor_table(grid, 1).numpy()
    neuron, slot = np.nonzero(table >= 0)
    return neuron, table[neuron, slot]


def graph_of(first: IntArray, second: IntArray, size: int) -> "csr_array":
    """The graph of these edges, one node a row, shape (size, size)."""
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(first)), (first, second)), shape=(size, size))


def pieces(graph: "csr_array") -> IntArray:
    """The number of the connected component of each node."""
    from scipy.sparse.csgraph import connected_components

    _, piece = connected_components(graph, directed=False)
    return np.asarray(piece, dtype=np.int64)

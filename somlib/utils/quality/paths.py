"""The combined error: from a sample to its neuron, and along the map to the next."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.quality.measures import mean_of
from somlib.utils.search import Winners, row_chunks
from somlib.utils.topology import neighbor_table

if TYPE_CHECKING:
    from scipy.sparse import csr_array


PATH_SOURCES = 512  # neurons from which paths are searched at a time: bounds memory at this number times m


def combined_error(winners: Winners, codebook: Tensor, grid: Grid, metric: Metric) -> float:
    """Mean over samples of the distance to the winner and on, along the map, to the second winner.

    The way goes from neighbor to neighbor of order 1 (8 around a rectangular cell, 6 around a hexagon; around the edges
    on a torus) and is as long as its steps in feature space, in the metric of the map; the shortest one counts. A map
    that is fine but folded pays on the way, one that is ordered but coarse pays at the start.

    Args:
        winners: With distances, shape (n, k), k >= 2.
        codebook: Neurons, finite, shape (m, d).
        grid: The grid.
        metric: The distance of the map.

    Returns:
        The error, in the units of the distance; NaN where no sample has two winners, or where zero vectors under cosine
        block every way, with the reason logged.

    References:
        Kaski and Lagus, Comparing self-organizing maps, Proc. ICANN 1996.
    """
    return mean_of(combined_terms(winners, codebook, grid, metric), "combined_error")


def combined_terms(winners: Winners, codebook: Tensor, grid: Grid, metric: Metric) -> Tensor:
    """Distance to the winner plus the way from there to the second, shape (n,)."""
    first, second = winners.index[:, 0], winners.index[:, 1]
    start, end = torch.minimum(first, second).clamp_min(0), torch.maximum(first, second).clamp_min(0)
    pairs, pair = torch.unique(start * grid.m + end, return_inverse=True)
    ways = _path_lengths(_lattice(codebook.double(), grid, metric), (pairs // grid.m).cpu(), (pairs % grid.m).cpu())
    terms = winners.distance[:, 0].double() + ways.to(pair.device)[pair]
    return terms.masked_fill((first < 0) | (second < 0), torch.nan)


def _lattice(codebook: Tensor, grid: Grid, metric: Metric) -> "csr_array":
    """Each edge between neighbors once, with its length in feature space; none to a zero vector under cosine."""
    table = neighbor_table(grid).to(codebook.device)
    neuron, column = torch.nonzero(table > torch.arange(grid.m, device=table.device)[:, None], as_tuple=True)
    neighbor = table[neuron, column]
    length = metric.rowwise(codebook[neuron], codebook[neighbor])
    from scipy.sparse import csr_array

    known = torch.isfinite(length)
    ends = (neuron[known].cpu().numpy(), neighbor[known].cpu().numpy())
    return csr_array((length[known].cpu().numpy(), ends), shape=(grid.m, grid.m))


def _path_lengths(lattice: "csr_array", start: Tensor, end: Tensor) -> Tensor:
    """Lengths of the shortest paths between pairs of neurons, float64, shape (p,); infinite where there is none.

    Nearly all ends are close to their start, so the search looks near first and through the whole map for the rest
    only: 100 x 100 neurons take some tenths of a second instead of 20 s.
    """
    first, second, length = start.numpy(), end.numpy(), np.full(len(start), np.inf)
    edge = float(lattice.data.mean()) if lattice.nnz else 0.0
    for limit in (4 * edge, 16 * edge, np.inf):
        open_pairs = np.flatnonzero(np.isinf(length))
        for rows in row_chunks(len(open_pairs), PATH_SOURCES):
            pairs = open_pairs[rows]
            length[pairs] = _paths_within(lattice, first[pairs], second[pairs], limit)
    return torch.from_numpy(length)


def _paths_within(lattice: "csr_array", first: Any, second: Any, limit: float) -> NDArray[np.float64]:
    from scipy.sparse.csgraph import dijkstra  # slow to import, and no map needs it to train

    sources, source = np.unique(first, return_inverse=True)
    found = dijkstra(lattice, directed=False, indices=sources, limit=limit)  # (sources, m)
    lengths: NDArray[np.float64] = found[source, second]
    return lengths

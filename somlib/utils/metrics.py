r"""The two errors that every map reports, from the winners of its samples.

    quantization error   QE = mean_i d(x_i, w_bmu(i))                               in the metric of the map
    topographic error    TE = share of samples whose two nearest neurons are not neighbors on the grid

Samples that have no winner (nothing observed, a zero vector under cosine) are left out of both; an error of no samples
is NaN. So is the TE of a map of one neuron, which has no second winner.

References:
    Kohonen, Self-Organizing Maps, 3rd ed., Springer 2001, sec. 3.12 (QE).
    Kiviluoto, Topology preservation in self-organizing maps, Proc. ICNN 1996 (TE).
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from somlib.utils.arguments import require_choice
from somlib.utils.grid import Grid
from somlib.utils.search import Winners, row_chunks
from somlib.utils.topology import hop_distances

Adjacency = Literal["lattice", "edge"]
ROWS_AT_A_TIME = 2**16  # whose steps on the grid are counted: bounds memory at some megabytes


def quantization_error(winners: Winners, weight: Tensor | None = None) -> float:
    """Mean distance to the winner, in float64; NaN where no sample has one.

    Args:
        winners: With distances, shape (n, k), k >= 1.
        weight: Sample weights, shape (n,); None for 1 each.
    """
    return mean_of([distance_total(winners, weight)])


def distance_total(winners: Winners, weight: Tensor | None = None) -> tuple[float, float]:
    """Sum of the distances to the winners times weights, and of the weights of all samples that have one.

    Arguments are those of `quantization_error`, which is their ratio.
    """
    valid = winners.index[:, 0] >= 0
    share = _share(valid, weight)
    return float((torch.where(valid, winners.distance[:, 0].double(), 0.0) * share).sum()), float(share.sum())


def topographic_error(
    winners: Winners, grid: Grid, adjacency: Adjacency = "lattice", weight: Tensor | None = None
) -> float:
    """Share in [0, 1] of samples whose first and second winner are not next to each other; NaN where none has two.

    Args:
        winners: Shape (n, k), k >= 2.
        grid: The grid.
        adjacency: `"lattice"` counts neighbors of order 1 (8 around a rectangular cell, 6 around a hexagon), `"edge"`
            only cells that share an edge (4 and 6).
        weight: Sample weights, shape (n,); None for 1 each.
    """
    return mean_of([misplaced(winners, grid, adjacency, weight)])


def misplaced(
    winners: Winners, grid: Grid, adjacency: Adjacency = "lattice", weight: Tensor | None = None
) -> tuple[float, float]:
    """Weight of the samples whose two winners are not next to each other, and of all that have two.

    Arguments are those of `topographic_error`, which is their ratio.
    """
    first, second = winners.index[:, 0], winners.index[:, 1]
    apart = torch.empty_like(first, dtype=torch.bool)
    for rows in row_chunks(len(first), ROWS_AT_A_TIME):
        apart[rows] = ~adjacent(grid, first[rows].clamp_min(0), second[rows].clamp_min(0), adjacency)
    share = _share((first >= 0) & (second >= 0), weight)
    return float((apart * share).sum()), float(share.sum())


def adjacent(grid: Grid, a: Tensor, b: Tensor, adjacency: Adjacency = "lattice") -> Tensor:
    """Whether neurons `a` and `b` (flat indices) are next to each other, bool, in the broadcast shape."""
    require_choice("adjacency", adjacency, ("lattice", "edge"))
    if adjacency == "lattice":
        return hop_distances(grid, a, b) <= 1
    return grid.squared_distances(a, b) < 1.5  # edges 1 apart, corners of rectangular cells sqrt(2)


def mean_of(parts: Iterable[tuple[float, float]]) -> float:
    """The mean from sums and weights of parts; NaN where all weights are 0."""
    total = weight = 0.0
    for part in parts:
        total, weight = total + part[0], weight + part[1]
    return total / weight if weight > 0 else float("nan")


def _share(valid: Tensor, weight: Tensor | None) -> Tensor:
    """What each sample counts, float64, shape (n,)."""
    return valid.double() if weight is None else valid * weight.double()

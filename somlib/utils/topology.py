r"""Who is next to whom: hop distances and neighbors, on flat grids and tori.

With `r` the rows and `c` the columns between two neurons (real columns, half a cell apart in hexagonal rows of other
parity; the shorter way around on a torus):

    rectangular   hops = max(r, c)              order 1: the 8 cells around
    hexagonal     hops = max(r, c + r / 2)      order 1: the 6 cells around

The hexagonal form follows from walking diagonally first: every row crossed moves half a column for free.
"""

from functools import lru_cache
from numbers import Integral

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.grid import Grid


def hop_distances(grid: Grid, a: Tensor, b: Tensor) -> Tensor:
    """Steps from neighbor to neighbor between neurons of flat index `a` and `b`.

    Args:
        grid: The grid.
        a: Flat indices, int64, any shape.
        b: Flat indices, int64, a shape that broadcasts with that of `a`.

    Returns:
        Hops, int64, in the broadcast shape; 0 of a neuron to itself.
    """
    rows, half = grid.coordinates[:, 0].to(a.device), grid.half_columns.to(a.device)
    vertical = grid.row_steps(rows[a], rows[b])
    horizontal = grid.half_column_steps(half[a], half[b])
    diagonal = (horizontal + vertical) // 2 if grid.hexagonal else horizontal // 2
    return torch.maximum(vertical, diagonal)


def require_order(order: int, least: int = 1) -> None:
    """Refuse a neighborhood order below 1, or another least one.

    Raises:
        ArgumentError: `order` is not an integer of at least `least`.
    """
    if isinstance(order, bool) or not isinstance(order, Integral) or order < least:
        raise ArgumentError(f"neighborhood_order must be an integer of at least {least}, got {order!r}")


@lru_cache(maxsize=16)
def neighbor_table(grid: Grid, order: int = 1) -> Tensor:
    """All neighbors of every neuron up to `order` hops, as one padded table.

    Each neighbor stands once and a neuron is never its own, on tori of one or two cells a side too.

    Args:
        grid: The grid.
        order: Largest hop distance, at least 1.

    Returns:
        Flat indices in ascending order, padded with -1 at the end, int64, shape (m, k); k may be 0. It is shared
        between callers: do not write into it.

    Raises:
        ArgumentError: `order` is below 1.
    """
    require_order(order)
    rows, columns = grid.coordinates.unbind(1)
    row_reach = min(order, grid.x if not grid.pbc else grid.x // 2)
    column_reach = min(order + 1, grid.y if not grid.pbc else grid.y // 2 + 1)
    row_offsets = torch.arange(-row_reach, row_reach + 1)
    column_offsets = torch.arange(-column_reach, column_reach + 1)
    to_row = rows[:, None, None] + row_offsets[:, None]
    to_column = columns[:, None, None] + column_offsets
    if grid.pbc:
        valid = torch.ones(grid.m, len(row_offsets), len(column_offsets), dtype=torch.bool)
        to_row, to_column = to_row % grid.x, to_column % grid.y
    else:
        valid = (to_row >= 0) & (to_row < grid.x) & (to_column >= 0) & (to_column < grid.y)
    target = torch.where(valid, to_row * grid.y + to_column, 0).flatten(1)  # (m, candidates)
    own = torch.arange(grid.m)[:, None]
    valid = valid.flatten(1) & (target != own) & (hop_distances(grid, own, target) <= order)
    return _unique_rows(torch.where(valid, target, grid.m), grid.m)


def _unique_rows(table: Tensor, absent: int) -> Tensor:
    """The distinct entries below `absent` of each row, ascending, padded with -1."""
    table = table.sort(dim=1).values
    repeated = torch.zeros_like(table, dtype=torch.bool)
    repeated[:, 1:] = table[:, 1:] == table[:, :-1]
    table = table.masked_fill(repeated, absent).sort(dim=1).values
    width = int((table < absent).sum(dim=1).max())
    table = table[:, :width].contiguous()
    return table.masked_fill(table == absent, -1)


def neighbors(grid: Grid, neuron: int, order: int = 1) -> Tensor:
    """Flat indices of the neurons within `order` hops of one neuron, ascending, int64, shape (k,)."""
    require_order(order)
    hops = hop_distances(grid, torch.tensor(neuron), torch.arange(grid.m))
    return torch.nonzero((hops >= 1) & (hops <= order)).flatten()

r"""Where the cells of a map lie on paper, and which cells share an edge there.

A lattice is a set of cell centers and one outline for all of them, in (row, column) and in cell widths, as
`somlib.utils.grid` gives them. Everything else follows from the corners: the border of the map, the lines between
clusters, the connected pieces of a cluster. Nothing here knows squares from hexagons.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import distance_map
from somlib.utils.topology import neighbor_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Cells of one outline at many places.

    Attributes:
        centers: Centers of the cells, (row, column) in cell widths, shape (m, 2).
        outline: Corners of a cell around its center, in order, shape (c, 2).
        period: Height and width after which a torus repeats; None on a flat map.
    """

    centers: Floats
    outline: Floats
    period: tuple[float, float] | None = None

    @classmethod
    def of(cls, grid: Grid, outline: Floats) -> "Lattice":
        """One cell a neuron, in flat order."""
        return cls(grid.positions.numpy(), outline, period_of(grid))

    @cached_property
    def corners(self) -> Floats:
        """Corners of every cell, shape (m, c, 2)."""
        return self.centers[:, None, :] + self.outline

    @cached_property
    def low(self) -> Floats:
        """Top and left end of the map, shape (2,)."""
        return np.asarray(self.corners.min(axis=(0, 1)))

    @cached_property
    def high(self) -> Floats:
        """Bottom and right end of the map, shape (2,)."""
        return np.asarray(self.corners.max(axis=(0, 1)))

    @property
    def height(self) -> float:
        """Height of the map in cell widths."""
        return float(self.high[0] - self.low[0])

    @property
    def width(self) -> float:
        """Width of the map in cell widths."""
        return float(self.high[1] - self.low[1])

    @cached_property
    def sides(self) -> Floats:
        """Both ends of every side of every cell, shape (m, c, 2, 2)."""
        return np.stack((self.corners, np.roll(self.corners, -1, axis=1)), axis=2)

    def across(self, *, wrapped: bool) -> Ints:
        """The cell on the other side of every side, -1 where there is none, shape (m, c).

        Args:
            wrapped: Whether opposite ends of a torus touch; otherwise only what touches on paper does.
        """
        middle = self.sides.mean(axis=2).reshape(-1, 2)
        if wrapped and self.period is not None:
            middle = np.mod(middle + 0.1, self.period)  # 0.1: no side lies where the period ends
        steps = np.round(middle * 1e4).astype(np.int64)
        key = steps[:, 0] * 2**32 + steps[:, 1]
        order = np.argsort(key, kind="stable")
        owner = np.repeat(np.arange(len(self.centers)), len(self.outline))
        twin = np.flatnonzero(key[order][:-1] == key[order][1:])
        a, b = order[twin], order[twin + 1]
        across = np.full(len(key), -1, dtype=np.int64)
        across[a], across[b] = owner[b], owner[a]
        return across.reshape(len(self.centers), -1)

    @cached_property
    def border(self) -> Floats:
        """Corners around the whole map, in order, shape (b, 2)."""
        outer = self.sides[self.across(wrapped=False) < 0]  # (b, 2, 2)
        names = [tuple(corner) for corner in np.round(outer[:, 0] * 1e4).astype(np.int64).tolist()]
        ends = [tuple(corner) for corner in np.round(outer[:, 1] * 1e4).astype(np.int64).tolist()]
        start = dict(zip(names, range(len(outer)), strict=True))
        ring = [0]
        while ends[ring[-1]] != names[0]:
            ring.append(start[ends[ring[-1]]])
        return np.asarray(outer[ring, 0])

    def lines_between(self, labels: Ints, background: int | None = None) -> Floats:
        """The sides between cells of different labels, on a torus at both ends too.

        Args:
            labels: Any whole numbers, shape (m,).
            background: Label whose cells have no sides of their own; only the other cells are lined.

        Returns:
            Both ends of each side, shape (e, 2, 2).
        """
        across = self.across(wrapped=True)
        differ = (across >= 0) & (labels[across.clip(0)] != labels[:, None])
        if background is not None:
            differ &= labels[:, None] != background
        return np.asarray(self.sides[differ])

    def pieces(self, labels: Ints) -> list[Ints]:
        """The connected parts of equal labels as they lie on paper, each as cell indices, largest first."""
        across = self.across(wrapped=False)
        cell = np.broadcast_to(np.arange(len(across))[:, None], across.shape)
        joined = (across >= 0) & (labels[across.clip(0)] == labels[:, None])
        links = coo_array((np.ones(int(joined.sum())), (cell[joined], across[joined])), shape=(len(cell), len(cell)))
        _, part = connected_components(links, directed=False)
        pieces = np.split(np.argsort(part, kind="stable"), np.bincount(part).cumsum()[:-1])
        return sorted(pieces, key=len, reverse=True)


def period_of(grid: Grid) -> tuple[float, float] | None:
    """Height and width after which a torus repeats, in cell widths; None for a flat grid."""
    return (grid.x * grid.row_height, float(grid.y)) if grid.pbc else None


@dataclass(frozen=True, eq=False)
class Links:
    """The pairs of neighboring neurons, each with the place halfway between them.

    Attributes:
        a: One neuron of each pair, flat index, shape (l,).
        b: The other, shape (l,).
        middle: Where the pair meets, (row, column) in cell widths, shape (l, 2).
    """

    a: Ints
    b: Ints
    middle: Floats


def links(grid: Grid) -> Links:
    """All pairs of neighbors of order 1; on a torus also those across the seam, placed at its lower and right end.

    Torus pairs come from a flat grid with one more row and column, which repeat the first ones.
    """
    flat = Grid(grid.x + grid.pbc, grid.y + grid.pbc, grid.topology)
    table = neighbor_table(flat).numpy()
    first = np.broadcast_to(np.arange(flat.m)[:, None], table.shape)
    ahead = table > first
    pairs = np.stack((first[ahead], table[ahead]))  # (2, l)
    middle = flat.positions.numpy()[pairs].mean(axis=0)  # (l, 2)
    a, b = (pairs // flat.y % grid.x) * grid.y + pairs % flat.y % grid.y
    period = period_of(grid)
    if period is not None:
        middle = np.mod(middle + 0.3, period) - 0.3  # neurons start at 0, half-way cells left of them at -0.25
    apart = a != b
    return Links(a[apart], b[apart], middle[apart])


def expanded_distances(codebook: Tensor, grid: Grid, metric: Metric, outline: Floats) -> tuple[Lattice, Floats]:
    """The U-matrix with the cells between neurons.

    A cell between two neurons holds their distance (where two diagonals cross, the mean of both), the cell of a neuron
    the mean of its distances to its neighbors of order 1. All in the units of the metric.

    Args:
        codebook: Neurons, on the CPU, shape (m, d).
        grid: The grid.
        metric: Distance between codebook vectors.
        outline: Outline of a neuron's cell, shape (c, 2).

    Returns:
        Cells of half the size, the m neurons first, and their values, shape (m + between,).

    References:
        Ultsch and Siemon, Kohonen's self organizing feature maps for exploratory data analysis, INNC 1990.
    """
    pairs = links(grid)
    distance = metric.rowwise(codebook[pairs.a], codebook[pairs.b]).double().numpy()
    places, cell = np.unique(np.round(pairs.middle * 1e4).astype(np.int64), axis=0, return_inverse=True)
    between = np.bincount(cell, weights=distance, minlength=len(places)) / np.bincount(cell, minlength=len(places))
    neurons = distance_map(codebook, grid, metric, order=1, scaling="mean").double().numpy()
    middles = np.zeros((len(places), 2))
    middles[cell] = pairs.middle
    centers = np.concatenate((grid.positions.numpy(), middles))
    return Lattice(centers, outline / 2, period_of(grid)), np.concatenate((neurons, between))

r"""Where the neurons of a map are.

A map has `x` rows and `y` columns; neuron `(i, j)` has flat index `i * y + j`.

    rectangular   position of (i, j) = (i, j)
    hexagonal     position of (i, j) = (i * sqrt(3) / 2, j + (i % 2) / 2)     odd rows half a cell to the right

so that the six neighbors of an inner hexagonal neuron lie at distance exactly 1. On a torus both axes wrap: the
difference along an axis is the shorter way around. Rows and columns wrap independently (a hexagonal torus has an even
number of rows, so that parity survives the wrap), which keeps the squared distance a sum of a row part and a column
part. All of training's smoothing rests on that separation; see `smoothing.py`.

Everything here is exact arithmetic in rows and half cells until the last step. Squared distances are exact: whole
numbers, or on hexagons sums of 3/4 and 1/4 of squares, so in float32 up to 2 000 cells, too.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from somlib.errors import ArgumentError, unknown_name

Topology = Literal["rectangular", "hexagonal"]
TOPOLOGIES: tuple[Topology, ...] = ("rectangular", "hexagonal")
HEX_ROW_HEIGHT = math.sqrt(3) / 2


@dataclass(frozen=True)
class Grid:
    """The grid of a map: `x` rows, `y` columns, a topology, flat or wrapped into a torus (`pbc`).

    Raises:
        ArgumentError: A side is below 1, the topology is unknown, or a hexagonal torus has an odd number of rows.
    """

    x: int
    y: int
    topology: Topology = "rectangular"
    pbc: bool = False

    def __post_init__(self) -> None:
        for name, side in (("x", self.x), ("y", self.y)):
            if side < 1:
                raise ArgumentError(f"{name} must be at least 1, got {side}")
        if self.topology not in TOPOLOGIES:
            raise unknown_name("topology", self.topology, TOPOLOGIES)
        if self.hexagonal and self.pbc and self.x % 2:
            raise ArgumentError(f"a hexagonal torus (pbc=True) needs an even number of rows, got x={self.x}")

    @property
    def m(self) -> int:
        """The number of neurons."""
        return self.x * self.y

    @property
    def hexagonal(self) -> bool:
        """Whether the cells are hexagons."""
        return self.topology == "hexagonal"

    def squared_rows(self, steps: Tensor) -> Tensor:
        """Squared distance across a number of rows (int64), float64, exact."""
        return steps.double().square() * (0.75 if self.hexagonal else 1.0)

    @property
    def row_height(self) -> float:
        """Distance between the centers of two rows, in cell widths."""
        return HEX_ROW_HEIGHT if self.hexagonal else 1.0

    @cached_property
    def coordinates(self) -> Tensor:
        """Row and column of every neuron in flat order, int64, shape (m, 2)."""
        flat = torch.arange(self.m)
        return torch.stack((flat // self.y, flat % self.y), dim=1)

    @cached_property
    def positions(self) -> Tensor:
        """Vertical and horizontal place of every neuron's center, in cell widths, float64, shape (m, 2)."""
        rows, half_columns = self.coordinates[:, 0], self.half_columns
        return torch.stack((rows.double() * self.row_height, half_columns.double() / 2), dim=1)

    @cached_property
    def half_columns(self) -> Tensor:
        """Horizontal place of every neuron in half cell widths, int64, shape (m,)."""
        rows, columns = self.coordinates.unbind(1)
        return 2 * columns + (rows % 2 if self.hexagonal else 0)

    def row_steps(self, a: Tensor, b: Tensor) -> Tensor:
        """Rows between row numbers `a` and `b` (int64, broadcast), the shorter way around on a torus, >= 0."""
        return self._wrapped((a - b).abs(), self.x)

    def half_column_steps(self, a: Tensor, b: Tensor) -> Tensor:
        """Half cells between horizontal places `a` and `b` in half cells (int64, broadcast), wrapped on a torus."""
        return self._wrapped((a - b).abs(), 2 * self.y)

    def _wrapped(self, steps: Tensor, period: int) -> Tensor:
        return torch.minimum(steps, period - steps) if self.pbc else steps

    def squared_distances(self, a: Tensor, b: Tensor) -> Tensor:
        """Squared distance on the grid between neurons of flat index `a` and `b`.

        Args:
            a: Flat indices, int64, any shape.
            b: Flat indices, int64, a shape that broadcasts with that of `a`.

        Returns:
            Squared distances in squared cell widths, float64, in the broadcast shape.
        """
        rows, half = self.coordinates[:, 0].to(a.device), self.half_columns.to(a.device)
        vertical = self.squared_rows(self.row_steps(rows[a], rows[b]))
        horizontal = self.half_column_steps(half[a], half[b]).double() / 2
        return vertical + horizontal.square()

    def squared_distances_from(self, neuron: int) -> Tensor:
        """Squared grid distance from one neuron to every neuron, float64, shape (m,)."""
        return self.squared_distances(torch.tensor(neuron), torch.arange(self.m))

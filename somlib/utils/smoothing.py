r"""Sums over the neighborhood of every neuron: out_k = sum_j h(k, j) v_j.

The m x m matrix h is never built. Where the kernel is a sum of products of a row part and a column part (gaussian,
mexican hat), the columns are smoothed first and the rows after. Hexagonal rows of other parity are shifted half a
cell, so the column pass runs twice, once for target rows of each parity; that is exact, and so is the torus, whose
axes wrap independently. Cost per product of factors and value column: m (x + y), for hexagons m (x + 2 y).

Other kernels (bubble, triangle) go row offset by row offset, each a product with a y x y matrix, over the reach of
the kernel only.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from somlib.utils.grid import Grid
from somlib.utils.neighborhood import Kernel, NeighborhoodFn, influence


class Smoother:
    """Applies neighborhood kernels over one grid.

    Args:
        grid: The grid.
        device: Where the values to smooth are.
        dtype: Their type.
    """

    def __init__(self, grid: Grid, device: torch.device, dtype: torch.dtype) -> None:
        self.grid = grid
        self.device = device
        self.dtype = dtype
        self._sigma = math.nan
        self._kept: dict[NeighborhoodFn, list[Tensor]] = {}

    def smooth(self, values: Tensor, kernel: Kernel, sigma: float) -> Tensor:
        """The neighborhood sums of `values` (m, c), shape (m, c)."""
        return self._smoothed(values, kernel, sigma, sizes=False)

    def sizes(self, values: Tensor, kernel: Kernel, sigma: float) -> Tensor:
        """The sums of the sizes of all terms that `smooth` adds up, of `values` (m, c) >= 0, shape (m, c).

        Where a kernel is negative in places, terms cancel; a sum that is next to nothing beside this is rounding.
        """
        return self._smoothed(values, kernel, sigma, sizes=True)

    def _smoothed(self, values: Tensor, kernel: Kernel, sigma: float, sizes: bool) -> Tensor:
        on_grid = values.reshape(self.grid.x, self.grid.y, -1)
        smooth = self._by_factors if kernel.factors else self._by_row_offsets
        return smooth(on_grid, kernel, sigma, sizes).reshape(values.shape)

    def _by_factors(self, values: Tensor, kernel: Kernel, sigma: float, sizes: bool) -> Tensor:
        total: Tensor | None = None
        for row_function, column_function in kernel.factors:
            rows = self._matrices(row_function, sigma, sizes)[0]  # (x, x)
            passed = self._columns_passed(values, column_function, sigma, sizes)
            terms = [torch.mm(rows[target], column.flatten(1)) for target, column in passed]
            term = terms[0] if len(terms) == 1 else self._interleaved(terms)
            total = term if total is None else total.add_(term)
        assert total is not None  # a kernel with factors has one at least
        return total

    def _columns_passed(
        self, values: Tensor, function: NeighborhoodFn, sigma: float, sizes: bool
    ) -> Iterator[tuple[slice, Tensor]]:
        """For the target rows of each parity: values (x, y, c) smoothed along the columns as those rows see them."""
        columns = iter(self._matrices(function, sigma, sizes)[1:])  # (y, y) each
        for target, sources in self._parities:
            parts = [torch.matmul(next(columns), values[source]) for source, _ in sources]
            yield target, parts[0] if len(parts) == 1 else self._interleaved(parts)

    def _interleaved(self, parts: list[Tensor]) -> Tensor:
        """Rows of even and of odd number, in their order."""
        whole = parts[0].new_empty(self.grid.x, *parts[0].shape[1:])
        whole[::2], whole[1::2] = parts
        return whole

    def _matrices(self, function: NeighborhoodFn, sigma: float, sizes: bool) -> list[Tensor]:
        """A factor of the kernel between all rows, and between all columns as rows of each parity see each other.

        They are kept while sigma stays, as in one epoch's batches; of their `sizes`, copies are made.
        """
        if sigma != self._sigma:
            self._sigma, self._kept = sigma, {}
        if function not in self._kept:
            factors = influence(function, self._squares, sigma).to(self.device, self.dtype)
            sides = [self.grid.x] + [self.grid.y] * sum(len(sources) for _, sources in self._parities)
            parts = torch.split_with_sizes(factors, [side**2 for side in sides])
            self._kept[function] = [part.view(side, side) for part, side in zip(parts, sides, strict=True)]
        kept = self._kept[function]
        return [part.abs() for part in kept] if sizes else kept

    @cached_property
    def _squares(self) -> Tensor:
        """Squared distances along the axes, all after one another, in the order of `_matrices`."""
        rows = torch.arange(self.grid.x)
        vertical = self.grid.squared_rows(self.grid.row_steps(rows[:, None], rows))
        horizontal = [squares for _, sources in self._parities for _, squares in sources]
        return torch.cat([squares.flatten() for squares in (vertical, *horizontal)])

    def _by_row_offsets(self, values: Tensor, kernel: Kernel, sigma: float, sizes: bool) -> Tensor:
        x = self.grid.x
        total = torch.zeros_like(values)
        for offset in self._row_offsets(math.inf if kernel.reach is None else kernel.reach * sigma):
            vertical = self.grid.squared_rows(torch.tensor(self._row_steps_of(offset)))
            for target_rows, sources in self._parities:
                for source_rows, squares in sources:
                    target = torch.arange(x)[target_rows]
                    source = (target + offset) % x if self.grid.pbc else target + offset
                    first, step = source_rows.start or 0, source_rows.step or 1
                    usable = (source >= 0) & (source < x) & (source % step == first % step)
                    if not bool(usable.any()):
                        continue
                    columns = influence(kernel.function, vertical + squares, sigma).to(self.device, self.dtype)
                    columns = columns.abs() if sizes else columns  # (y, y)
                    total[target[usable]] += torch.matmul(columns, values[source[usable]])
        return total

    def _row_offsets(self, reach: float) -> range:
        """Differences of row numbers that may lie within `reach`; each pair of rows is met once."""
        x = self.grid.x
        limit = min(math.floor(reach / self.grid.row_height + 1e-9), x - 1) if math.isfinite(reach) else x - 1
        if self.grid.pbc:
            return range(x) if 2 * limit + 1 >= x else range(-limit, limit + 1)
        return range(-limit, limit + 1)

    def _row_steps_of(self, offset: int) -> int:
        steps = abs(offset)
        return min(steps, self.grid.x - steps) if self.grid.pbc else steps

    @cached_property
    def _parities(self) -> list[tuple[slice, list[tuple[slice, Tensor]]]]:
        """For the target rows of each parity: the source rows of each parity, with their squared column distances."""
        if not self.grid.hexagonal:
            return [(slice(None), [(slice(None), self._column_squares(0, 0))])]
        rows = [slice(parity, None, 2) for parity in range(min(2, self.grid.x))]
        return [(t, [(s, self._column_squares(p, q)) for q, s in enumerate(rows)]) for p, t in enumerate(rows)]

    def _column_squares(self, target_shift: int, source_shift: int) -> Tensor:
        """Squared horizontal distance, float64, shape (y, y), between rows shifted by the given half cells."""
        half = 2 * torch.arange(self.grid.y)
        steps = self.grid.half_column_steps((half + target_shift)[:, None], half + source_shift)
        return (steps.double() / 2).square()

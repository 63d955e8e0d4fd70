"""Blocks of rows out of a dataset of batches, and rows picked out of blocks as these go by.

Blocks are of a fixed number of rows whatever the batches are, so that nothing that is computed from them depends on how
the rows came.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from somlib.errors import DataError
from somlib.utils.batches import rows_and_weights
from somlib.utils.inputs import feature_names, read_sample_weight

BLOCK_ENTRIES = 2**21  # of a block of rows: 8 MB in float32

ReadRows = Callable[[Any, str, list[str] | None], Tensor]
"""Checks a batch, which errors call by that name and whose columns have these names, and gives its rows (b, d)."""


@dataclass(frozen=True)
class Block:
    """Some rows in their order.

    Attributes:
        start: Number of the first.
        data: Shape (b, d).
        weight: Shape (b,), or None.
    """

    start: int
    data: Tensor
    weight: Tensor | None

    def part(self, rows: slice | Tensor) -> "Block":
        """Some of them, by their places here."""
        return Block(self.start, self.data[rows], None if self.weight is None else self.weight[rows])

    def places_of(self, numbers: Tensor) -> Tensor:
        """Where those of ascending row numbers (b,) stand here that are here."""
        ends = torch.tensor([self.start, self.start + len(self.data)], device=numbers.device)
        first, last = torch.searchsorted(numbers, ends).tolist()
        return numbers[first:last] - self.start

    @classmethod
    def joined(cls, start: int, parts: Sequence["Block"]) -> "Block":
        """Blocks one after the other."""
        if len(parts) == 1:
            return cls(start, parts[0].data, parts[0].weight)
        weight = [part.weight for part in parts if part.weight is not None]
        return cls(start, torch.cat([part.data for part in parts]), torch.cat(weight) if weight else None)


class BlockReader:
    """A dataset of batches, checked, in blocks.

    Args:
        batches: The dataset, see `somlib.utils.batches`.
        read: What checks a batch.
        dtype: Of the rows; None, until it is set, leaves them in theirs.

    Attributes:
        names: Of the columns of the first batch, None where it has none.
        weighted: Whether rows have weights.
        first: The first row, shape (d,), by which a dataset is known that gives others in another pass.
    """

    names: list[str] | None
    weighted: bool

    def __init__(self, batches: Iterable[Any], read: ReadRows, dtype: torch.dtype | None) -> None:
        self.batches, self.dtype = batches, dtype
        self.first: Tensor | None = None
        self.names, self.weighted = None, False
        self._read = read

    def blocks(self) -> Iterator[Block]:
        """All rows in their order.

        Raises:
            DataTypeError, ShapeError, DataError: A batch cannot be trained on, or is none that came before.
        """
        for block in self._coalesced(self.batches):
            if not block.start and self.first is not None and not _equal(block.data[0], self.first):
                raise DataError("data must give the same rows in the same order in each pass, got another first row")
            yield block

    def shuffled(self, seed: int) -> Iterator[Block]:
        """All rows in an order of their batches that is drawn from the seed, where the dataset has one."""
        shuffled = getattr(self.batches, "shuffled", None)
        return self._coalesced(self.batches if shuffled is None else shuffled(seed))

    def _coalesced(self, batches: Iterable[Any]) -> Iterator[Block]:
        waiting: list[Block] = []
        start = rows = 0
        for batch in self._checked(batches):
            size = max(1, BLOCK_ENTRIES // batch.data.shape[1])
            waiting.append(batch)
            rows += len(batch.data)
            while rows >= size:
                whole = Block.joined(start, waiting)
                yield whole.part(slice(size))
                start, rows = start + size, rows - size
                waiting = [whole.part(slice(size, None))] if rows else []
        if waiting:
            yield Block.joined(start, waiting)

    def _checked(self, batches: Iterable[Any]) -> Iterator[Block]:
        start = 0
        for batch in batches:
            rows, weight = rows_and_weights(batch)
            if hasattr(rows, "__len__") and not len(rows):
                continue
            data = self._read(rows, f"data from row {start:,} on" if start else "data", self.names)
            if self.first is None:
                self.names, self.weighted = feature_names(rows), weight is not None
                self.first = data[0].clone()
            elif data.shape[1] != len(self.first):
                raise DataError(f"data must have {len(self.first)} features in each batch, got {data.shape[1]}")
            if self.weighted != (weight is not None):
                raise DataError("data must have weights in each of its batches, or in none")
            values = read_sample_weight(weight, len(data), data, some=True)
            if self.dtype is not None:
                data, values = data.to(self.dtype), None if values is None else values.to(self.dtype)
            yield Block(start, data, values)
            start += len(data)


@dataclass(frozen=True)
class Held:
    """Rows that are kept.

    Attributes:
        numbers: Ascending, int64, shape (h,).
        rows: They, in that order.
    """

    numbers: Tensor
    rows: Block

    def places_of(self, index: Tensor) -> Tensor | None:
        """Where the rows of an `index` (b,) stand here; None unless all are here."""
        if not len(self.numbers):
            return None
        places = torch.searchsorted(self.numbers, index).clamp_max(len(self.numbers) - 1)
        return places if torch.equal(self.numbers[places], index) else None


class Gathering:
    """Rows that are picked out of blocks as these go by.

    Args:
        wanted: Row numbers, shape (b,) each.
        device: Where the blocks are.
    """

    def __init__(self, wanted: Sequence[Tensor], device: torch.device) -> None:
        none = torch.empty(0, dtype=torch.int64)
        numbers = torch.cat([none, *(index.cpu() for index in wanted)]).sort().values
        self._numbers = numbers[torch.diff(numbers, prepend=numbers.new_tensor([-1])) > 0].to(device)
        self._parts: list[Block] = []

    def take(self, block: Block) -> None:
        """Keep the wanted rows of a block."""
        self._parts.append(block.part(block.places_of(self._numbers)))

    def held(self, dtype: torch.dtype) -> Held:
        """The rows that were kept, in a type."""
        rows = Block.joined(0, self._parts)
        return Held(
            self._numbers, Block(0, rows.data.to(dtype), None if rows.weight is None else rows.weight.to(dtype))
        )


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.double().nan_to_num(nan=torch.inf), b.double().nan_to_num(nan=torch.inf))

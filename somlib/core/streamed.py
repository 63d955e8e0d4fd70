"""The rows of a training that come batch by batch, and are not kept.

What a training asks of all rows before it begins, their number, means and ranges, is found in one pass. What it asks of
some rows (a random start, the short steps, the sample that errors are measured on) it asks by row numbers, which follow
from their count and the seed alone. So the same pass, or one more where the count was not known, keeps these rows, as
many as fit into a fixed room. Steps over all rows, or over more than fit, read the rows again, block by block.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from somlib.core.blocks import Block, BlockReader, Gathering, Held, ReadRows
from somlib.core.rule import TrainingSet
from somlib.core.trust import asked_rows
from somlib.errors import DataError
from somlib.utils.batches import known_length
from somlib.utils.distances import Metric
from somlib.utils.initialization import lengths_in_metric
from somlib.utils.precision import trainable
from somlib.utils.running import RunningMoments

HELD_ENTRIES = 2**24  # at most, of rows that are kept for short steps: 64 MB in float32

Wanted = Callable[[int], Iterable[Tensor]]
"""From the number of rows, the row numbers that will be asked for, in their order."""


class StreamedRows:
    """The rows of a dataset of batches, to learn from; what a `TrainingSet` is in memory.

    Args:
        batches: The dataset, see `somlib.utils.batches`.
        read: What checks a batch.
        metric: The distance of the map.
        device: Where blocks are.
        double: Whether rows must be float64.
        squares: Whether the covariance is wanted.
        wanted: Which rows will be asked for.

    Attributes:
        n: Number of rows.
        center: About their middle, finite, shape (d,); sums are taken around it.
        incomplete: Whether any value is missing.
        box: Smallest and largest observed value of each feature, shape (d,) each; the center where there is none.
        mean_weight: Of a row.
        moments: Of the rows, as far as the metric sees them: under one of directions, at their mean length.

    Raises:
        DataTypeError, ShapeError, DataError: No rows, rows that cannot be trained on or that change from pass to pass,
            or none that can have a winner and counts.
    """

    n: int
    center: Tensor
    incomplete: bool
    box: tuple[Tensor, Tensor]
    mean_weight: float
    moments: RunningMoments

    def __init__(
        self,
        batches: Iterable[Any],
        read: ReadRows,
        metric: Metric,
        device: torch.device,
        *,
        double: bool = False,
        squares: bool = True,
        wanted: Wanted = lambda _: (),
    ) -> None:
        self._reader = BlockReader(batches, read, torch.float64 if double else None)
        self._device = device
        said = known_length(batches)
        gathering: Gathering | None = None
        plain, seen = RunningMoments(squares and not metric.angular), _Directions(metric)
        total, usable = 0.0, False
        for block in self._reader.blocks():
            plain.add(block.data)
            if metric.angular:
                seen.add(block.data)
            total += float(len(block.data) if block.weight is None else block.weight.double().sum())
            usable = usable or _any_usable(block, metric)
            if said is not None:
                gathering = gathering or Gathering(self._first_of(said, wanted), device)
                gathering.take(block)
        self.n = plain.n
        self._require(said, total, usable, metric)
        self._settle(plain)
        self.moments = seen.moments if metric.angular else plain
        self.mean_weight = total / self.n
        if gathering is None:
            self._held = self._gathered(self._first_of(self.n, wanted))
        else:
            self._held = gathering.held(self.center.dtype)

    # ---------------------------------------------------------------- what is known

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return self.n, len(self.center)

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self._reader.weighted

    @property
    def names(self) -> list[str] | None:
        """Names of the columns, None without any."""
        return self._reader.names

    def _require(self, said: int | None, total: float, usable: bool, metric: Metric) -> None:
        if not self.n:
            raise DataError("data must not be empty, got no batch with rows")
        if said is not None and said != self.n:
            raise DataError(f"data must have as many rows as its n_rows says, {said:,}, got {self.n:,}")
        if not total > 0:
            raise DataError("sample_weight must not be 0 for every sample")
        if not usable:
            value = f"a value other than 0 ({metric.name})" if metric.angular else "an observed value"
            raise DataError(f"data must have a row with {value} and a weight above 0, got none in {self.n:,} rows")

    def _settle(self, found: RunningMoments) -> None:
        """Take over what is known of the rows."""
        empty = found.low > found.high
        ends = torch.stack((found.low, found.high)).masked_fill(empty, torch.nan)
        dtype = self._reader.dtype or trainable(ends).dtype  # of two rows that spread as far as all
        self._reader.dtype = dtype
        self.center, self.incomplete = found.mean.to(dtype), found.incomplete
        low, high = (torch.where(empty, self.center, each.to(dtype)) for each in (found.low, found.high))
        self.box = (low, high)

    # ---------------------------------------------------------------- some rows

    def asked(self) -> TrainingSet:
        """A few rows, evenly spread."""
        return self.taken(_evenly(self.n))

    def holds(self, wanted: Iterable[Tensor]) -> bool:
        """Whether the rows of all these row numbers (b,) are kept."""
        return all(self._held.places_of(index.to(self._device)) is not None for index in wanted)

    def hold(self, wanted: Iterable[Tensor]) -> None:
        """Keep the rows of these row numbers (b,), of as many of these as there is room for, in one pass."""
        self._held = self._gathered([*self._fitting(wanted)])

    def taken(self, index: Tensor) -> TrainingSet:
        """The rows of an `index` (b,), in its order; read where they are not kept."""
        index = index.to(self._device)
        held, places = self._held, self._held.places_of(index)
        if places is None:
            held = self._gathered([index])
            places = torch.searchsorted(held.numbers, index)
        return self._of(held.rows.part(places))

    def values(self, index: Tensor) -> Tensor:
        """The rows (b, d) of an `index` (b,), in its order."""
        return self.taken(index).data

    def _gathered(self, wanted: Sequence[Tensor]) -> Held:
        gathering = Gathering(wanted, self._device)
        for block in self._all_blocks():
            gathering.take(block)
        return gathering.held(self.center.dtype)

    def _first_of(self, n: int, wanted: Wanted) -> list[Tensor]:
        return [_evenly(n), *self._fitting(wanted(n))]

    def _fitting(self, wanted: Iterable[Tensor]) -> Iterator[Tensor]:
        """The first of these row numbers for whose rows there is room."""
        room = HELD_ENTRIES // (1 if self._reader.first is None else len(self._reader.first))
        for index in wanted:
            room -= len(index)
            if room < 0:
                return
            yield index

    # ---------------------------------------------------------------- passes

    def blocks(self, index: Tensor | None = None) -> Iterator[TrainingSet]:
        """All rows, or those of an `index` (b,), in their order, some at a time."""
        numbers = None if index is None else index.to(self._device).sort().values
        for block in self._all_blocks():
            part = block if numbers is None else block.part(block.places_of(numbers))
            if len(part.data):
                yield self._of(part)

    def shuffled_blocks(self, seed: int) -> Iterator[TrainingSet]:
        """All rows, some at a time, in an order of their batches that is drawn from the seed, where there is one."""
        n = 0
        for block in self._reader.shuffled(seed):
            n += len(block.data)
            yield self._of(block)
        self._require_all(n)

    def _all_blocks(self) -> Iterator[Block]:
        n = 0
        for block in self._reader.blocks():
            n += len(block.data)
            yield block
        self._require_all(n)

    def _require_all(self, n: int) -> None:
        if n != self.n:
            raise DataError(f"data must give the same rows in each pass, got {n:,} of {self.n:,}")

    def _of(self, block: Block) -> TrainingSet:
        return TrainingSet(block.data, block.weight, self.center, self.incomplete)


class _Directions:
    """Moments of rows at their mean length, which is known at the end; only directions count in the metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric, self._units, self._total, self._count = metric, RunningMoments(), 0.0, 0

    def add(self, data: Tensor) -> None:
        """Take more rows (b, d)."""
        length = lengths_in_metric(data, self._metric)
        known = ~torch.isnan(length)
        self._total += float(length[known].sum())
        self._count += int(known.sum())
        self._units.add(data / length.to(data.dtype))

    @property
    def moments(self) -> RunningMoments:
        """Theirs."""
        return self._units.times(self._total / max(self._count, 1))


def _evenly(n: int) -> Tensor:
    return torch.arange(0, n, asked_rows(n).step)


def _any_usable(block: Block, metric: Metric) -> bool:
    defined = metric.defined(block.data)
    return bool((defined if block.weight is None else defined & (block.weight > 0)).any())

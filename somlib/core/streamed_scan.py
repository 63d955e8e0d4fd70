"""Passes over rows that are not in memory: `scan.py`, block by block.

Rows that are kept are passed over as they are in memory, in the same order, so short steps come to the same sums to the
bit. The sums of blocks are added in float64.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from somlib.core.found import Pass, StreamedPass, Tally
from somlib.core.rule import Rule, TrainingSet
from somlib.core.scan import Scan
from somlib.core.streamed import StreamedRows
from somlib.core.subspace import Subspace
from somlib.core.trust import Trust
from somlib.utils.anomaly import DistanceTotals
from somlib.utils.training import WinnerSums, batch_sizes
from somlib.utils.workers import Workers

SHUFFLED_ENTRIES = 2**24  # of rows that mini-batches are shuffled among: 64 MB in float32


class StreamedScan:
    """Passes over the rows of one training.

    Args:
        rows: What to learn from.
        rule: How.
        workers: Threads to share the work of a block with; None for none.
        subspace: Where to look at the rows; None for their features.
    """

    def __init__(
        self, rows: StreamedRows, rule: Rule, workers: Workers | None = None, subspace: Subspace | None = None
    ) -> None:
        self.rows, self.rule, self.workers = rows, rule, workers
        self._subspace = subspace
        self.trust = Trust(self._seen(rows.asked()), rule, rows.n)

    def sums(self, codebook: Tensor, index: Tensor | None = None) -> WinnerSums:
        """The sums per winner of the rows of that `index` (b,), or of all."""
        if index is not None and self.rows.holds([index]):
            return self._scan(self.rows.taken(index)).sums(codebook)
        total = _Total()
        for block in self.rows.blocks(index):
            total.add(self._scan(block).sums(codebook))
        return total.sums

    def measured(self, codebook: Tensor, index: Tensor | None = None, certain: bool = False) -> Pass:
        """The winners of the rows of that `index` (b,), or of all if these are few, and their sums."""
        index = torch.arange(self.rows.n) if index is None else index
        return self._scan(self.rows.taken(index)).measured(codebook, certain=certain)

    def finished(self, codebook: Tensor, sample: Tensor | None) -> StreamedPass:
        """What all rows add up to by their true winners, and these for a sample of the rows, None for all."""
        total, tally = _Total(), None
        for block in self.rows.blocks():
            found = self._scan(block).measured(codebook, certain=True)
            total.add(found.sums)
            one = Tally.of(found, self.rule.grid)
            tally = one if tally is None else tally.plus(one)
        assert tally is not None

        def left_out(influence: Tensor) -> DistanceTotals:
            if not self.rows.weighted:
                return tally.distances.without_each(influence)
            return self._left_out(codebook, influence)

        return StreamedPass(total.sums, tally, self.measured(codebook, sample, certain=True), left_out)

    def _left_out(self, codebook: Tensor, influence: Tensor) -> DistanceTotals:
        """Distances of all rows, each as if it had not trained, where weights ask for another pass."""
        zero = influence.new_zeros(len(influence), dtype=torch.float64)
        totals = DistanceTotals(zero, zero)
        for block in self.rows.blocks():
            found = self._scan(block).measured(codebook, certain=True)
            totals = totals.plus(DistanceTotals.left_out(found.winners, influence, found.weight))
        return totals

    def is_plain(self, codebook: Tensor) -> bool:
        """Whether winners follow from products of rows with the codebook (m, d), as they are."""
        plain = not self.rows.incomplete and self.rule.metric.feature_weights is None
        return plain and self.trust.serves(codebook)

    def within(self, subspace: Subspace) -> "StreamedScan":
        """Passes over the same rows in the coordinates of a subspace."""
        return StreamedScan(self.rows, self.rule, self.workers, subspace)

    def expect(self, ahead: Callable[[range], Iterator[Tensor]], epochs: range) -> None:
        """Be ready for the rows of some epochs, for as many of them as there is room for.

        Args:
            ahead: Numbers of the rows that epochs will take.
            epochs: The next ones.
        """
        if not self.rows.holds(ahead(epochs[:1])):
            self.rows.hold(ahead(epochs))

    def batches(self, generator: torch.Generator) -> Iterator[tuple["Scan | StreamedScan", Tensor | None]]:
        """Shuffled mini-batches: passes over rows and which of these rows, None for all where one batch holds them.

        Rows are shuffled within what fits into a fixed room at a time; of datasets that can, the batches too.
        """
        n, size = self.rows.n, self.rule.batch_size
        if size >= n:
            yield self, None
            return
        for rows in self._rooms_full(generator):
            scan, order = self._scan(rows), torch.randperm(rows.n, generator=generator).to(self.rows.center.device)
            for batch in torch.split(order, batch_sizes(rows.n, size)):
                yield scan, batch

    def _rooms_full(self, generator: torch.Generator) -> Iterator[TrainingSet]:
        """All rows, as many at a time as are shuffled together."""
        n, d = self.rows.shape
        room = max(1, SHUFFLED_ENTRIES // d)
        # Where all fit, nothing is drawn for the batches: the order is then that of rows in memory.
        seed = int(torch.randint(2**62, (), generator=generator)) if n > room else 0
        waiting: list[TrainingSet] = []
        for block in self.rows.shuffled_blocks(seed) if n > room else self.rows.blocks():
            if waiting and sum(part.n for part in waiting) + block.n > room:
                yield _together(waiting)
                waiting = []
            waiting.append(block)
        yield _together(waiting)

    def _scan(self, rows: TrainingSet) -> Scan:
        return Scan(self._seen(rows), self.rule, self.workers, self.trust, keep=False)

    def _seen(self, rows: TrainingSet) -> TrainingSet:
        return rows if self._subspace is None else self._subspace.rows(rows)


def _together(parts: Sequence[TrainingSet]) -> TrainingSet:
    first = parts[0]
    weight = None if first.weight is None else torch.cat([part.weight for part in parts if part.weight is not None])
    return TrainingSet(torch.cat([part.data for part in parts]), weight, first.center, first.incomplete)


class _Total:
    """Sums of blocks, added in float64."""

    def __init__(self) -> None:
        self._values: Tensor | None = None
        self._last: WinnerSums | None = None

    def add(self, sums: WinnerSums) -> None:
        """Take the sums of another block."""
        values = sums.values.double()
        self._values = values if self._values is None else self._values.add_(values)
        self._last = sums

    @property
    def sums(self) -> WinnerSums:
        """Those of all blocks, in their type."""
        assert self._values is not None
        assert self._last is not None
        return WinnerSums(self._values.to(self._last.values.dtype), self._last.center)


def make_scan(rows: TrainingSet | StreamedRows, rule: Rule, workers: Workers | None = None) -> Scan | StreamedScan:
    """Passes over rows, wherever they are."""
    if isinstance(rows, TrainingSet):
        return Scan(rows, rule, workers)
    return StreamedScan(rows, rule, workers)

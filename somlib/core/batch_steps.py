r"""The steps of the batch map, an epoch at a time.

The batch map can be trained progressively, in several short steps an epoch (`Rule.steps`). While the neighborhood is
wide, a step averages over so much of the map that few rows are enough; so a step takes random rows, as many for every
neighborhood that knows nothing of the others (`rows_of_step`), and the schedule of the radius goes on with each step.
The sums of a step are drawn towards those of the steps before, and the codebook goes on beyond its new means in the
direction that it moves. Both forget their past at each new epoch, so that a training can be taken up after any. The
last short step stops halfway to its means instead, and the very last step is Kohonen's, over all rows. On wide data all
but the last few steps of an epoch look at its leading axes only (`subspace.py`). What was tried and what it gave is in
benchmarks/README.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from somlib.core.rule import Rule, confined_if_signed
from somlib.core.scan import Scan
from somlib.core.streamed_scan import StreamedScan
from somlib.core.subspace import FEWEST_FEATURES, Subspace
from somlib.utils.heuristics import rows_of_step
from somlib.utils.shuffling import RandomOrder
from somlib.utils.smoothing import Smoother
from somlib.utils.training import WinnerSums, batch_step

PAST = 1 / 3  # of the running sums of short steps: what earlier steps count
MOMENTUM = 0.8  # share of the last movement by which a short step goes on beyond its means
FINAL_STEP = 0.5  # the last short step stops halfway instead, to leave less of the chance in which rows it saw
STEPS_ON_FEATURES = 4  # of each epoch, the last ones, look at all features of wide data


@dataclass(frozen=True)
class _Motion:
    """Where a batch map is in an epoch.

    Attributes:
        codebook: Shape (m, d).
        known: Sums of some rows per winner in this codebook, if any; they save the search of the next step.
        seen: How many rows those are.
        before: The means of the last step, None before the first.
        running: Sums of the steps so far, per row, None before the first.
    """

    codebook: Tensor
    known: WinnerSums | None
    seen: int
    before: Tensor | None = None
    running: WinnerSums | None = None

    def into(self, subspace: Subspace) -> "_Motion":
        """The start of an epoch, in the coordinates of the subspace."""
        known = None if self.known is None else subspace.sums_in(self.known)
        return _Motion(subspace.coordinates(self.codebook), known, self.seen)

    def out_of(self, subspace: Subspace) -> "_Motion":
        """The same after some steps there, in the features again."""
        before = None if self.before is None else subspace.features(self.before)
        running = None if self.running is None else subspace.sums_out(self.running)
        return _Motion(subspace.features(self.codebook), None, 0, before, running)


class Shuffled:
    """Random rows without repetition, until fewer are left than wanted; then anew.

    Args:
        n: Number of rows.
        generator: Source of the order, on the CPU.
        device: Where the row numbers are wanted.
    """

    def __init__(self, n: int, generator: torch.Generator, device: torch.device) -> None:
        self._n, self._generator, self._device = n, generator, device
        self._order: RandomOrder | None = None
        self._taken = 0

    def take(self, count: int) -> Tensor | None:
        """`count` row numbers; None, which is all, where there are no more."""
        if count >= self._n:
            return None
        if self._order is None or self._taken + count > self._n:
            self._order, self._taken = RandomOrder(self._n, self._generator), 0
        self._taken += count
        return self._order.rows(self._taken - count, self._taken).to(self._device)


class BatchSteps:
    """The steps of a batch map, an epoch at a time."""

    def __init__(self, scan: Scan | StreamedScan, steps: int, generator: torch.Generator) -> None:
        self.scan, self.rule = scan, scan.rule
        self.n = scan.rows.n
        self.steps = steps
        self.generator = generator
        self.smoother = Smoother(self.rule.grid, scan.rows.center.device, scan.rows.center.dtype)

    def epoch(self, codebook: Tensor, t: int, known: WinnerSums | None, seen: int) -> tuple[Tensor, float]:
        """The codebook after epoch `t`, and the radius of its last step.

        Args:
            codebook: That before it, shape (m, d).
            t: Its number.
            known: Sums of some rows per winner in this codebook, if any.
            seen: How many rows those are.
        """
        steps = _steps_of(self.rule, t)
        shuffled = Shuffled(self.n, self.generator, codebook.device)
        motion = _Motion(codebook, known, seen)
        short = steps[:-STEPS_ON_FEATURES]
        if short and self._can_narrow(codebook):
            subspace, scan = self._narrow
            motion = self._walked(motion.into(subspace), scan, short, shuffled).out_of(subspace)
            steps = steps[len(short) :]
        return self._walked(motion, self.scan, steps, shuffled).codebook, self._sigma(steps[-1])

    def _sigma(self, k: int) -> float:
        return self.rule.sigma_decay(self.rule.sigma, k, self.steps)

    def _can_narrow(self, codebook: Tensor) -> bool:
        """Whether short steps can do with the leading axes."""
        wide = codebook.shape[1] >= FEWEST_FEATURES
        return wide and not self.rule.kernel.signed and self.scan.is_plain(codebook)

    @cached_property
    def _narrow(self) -> tuple[Subspace, Scan | StreamedScan]:
        """The leading axes of the rows, the same wherever a training is taken up, and passes over the rows there."""
        own = torch.Generator().manual_seed(self.generator.initial_seed())
        subspace = Subspace.of(self.scan.rows, own)
        return subspace, self.scan.within(subspace)

    def _confined(self, codebook: Tensor) -> Tensor:
        return confined_if_signed(codebook, self.rule, self.scan.rows)

    def _walked(self, motion: _Motion, scan: Scan | StreamedScan, steps: range, shuffled: Shuffled) -> _Motion:
        """The map after these steps from there."""
        codebook, known, seen = motion.codebook, motion.known, motion.seen
        before, running, n = motion.before, motion.running, self.n
        share = self.scan.rows.mean_weight  # by which sums are divided: weights of any size stay far from underflow
        for k in steps:
            sigma, last = self._sigma(k), k == self.steps - 1
            wanted = _wanted_rows(self.rule, self.steps, k, n)
            if known is None or seen < wanted:
                known, seen = _sums(scan, codebook, k, shuffled.take(wanted)), wanted
            running = _drawn_to_past(known, seen * share, running if seen < n else None)
            after = self._confined(batch_step(codebook, running, self.smoother, self.rule.kernel, sigma))
            ahead = FINAL_STEP if k == self.steps - 2 else 1 + MOMENTUM
            codebook = after
            if before is not None and not last:
                codebook = self._confined(torch.lerp(before, after, ahead))
            known, before = None, after
        return _Motion(codebook, None, 0, before, running)


def rows_ahead(
    rule: Rule, steps: int, n: int, seen: int, generator: torch.Generator, epochs: range
) -> Iterator[Tensor]:
    """Numbers of the rows that the short steps of some epochs will take, in their order.

    Args:
        rule: How the map learns.
        steps: Of all epochs.
        n: Number of rows.
        seen: On how many of them errors are measured after an epoch, which saves the first step of the next.
        generator: As it will be before the first of these epochs; it is left as it is.
        epochs: Which ones.
    """
    twin = torch.Generator()
    twin.set_state(generator.get_state())
    for t in epochs:
        shuffled = Shuffled(n, twin, torch.device("cpu"))
        for i, k in enumerate(_steps_of(rule, t)):
            wanted = _wanted_rows(rule, steps, k, n)
            if t and not i and seen >= wanted:
                continue
            taken = shuffled.take(wanted)
            if taken is not None:
                yield taken


def _steps_of(rule: Rule, t: int) -> range:
    """The steps of an epoch."""
    return range(t * rule.steps, (t + 1) * rule.steps)


def _wanted_rows(rule: Rule, steps: int, k: int, n: int) -> int:
    """How many of n rows step `k` of `steps` takes."""
    if rule.steps == 1 or k == steps - 1:
        return n
    return rows_of_step(rule.grid, rule.sigma_decay(rule.sigma, k, steps), n)


def _sums(scan: Scan | StreamedScan, codebook: Tensor, k: int, index: Tensor | None) -> WinnerSums:
    """The sums of some rows in step `k`; in the first, of the true winners.

    A start made of rows lies at equal distances from many others where their values are rounded. Which of these
    neurons wins must not hang on what else is in the data, or a weight would not act like copies.
    """
    return scan.sums(codebook, index) if k else scan.measured(codebook, index, certain=True).sums


def _drawn_to_past(new: WinnerSums, rows: float, past: WinnerSums | None) -> WinnerSums:
    """The sums of rows, by their number or weight, per row and drawn towards those of earlier steps."""
    if past is None:
        return new.forgotten(1 / rows)
    return WinnerSums(torch.add(past.values * PAST, new.values, alpha=(1 - PAST) / rows), new.center)

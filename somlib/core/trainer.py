r"""The training loop: what happens in an epoch, told as it happens.

`train` is a generator of epochs. It owns no map: it takes a codebook and yields the next ones, with the errors of each,
so that the caller can store them, show progress, keep checkpoints, or stop. The search that measures the errors after
one epoch gives the sums of the first step of the next.

The batch map can be trained progressively, in several short steps an epoch (`Rule.steps`). While the neighborhood is
wide, a step averages over so much of the map that few rows tell it all; so a step takes random rows, as many for every
neighborhood that knows nothing of the others (`rows_of_step`), and the schedule of the radius goes on with each step.
The sums of a step are drawn towards those of the steps before, and the codebook goes on beyond its new means in the
direction that it moves. Both forget their past at each new epoch, so that a training can be taken up after any. The
last short step stops halfway to its means instead, and the very last step is Kohonen's, over all rows. On wide data all
but the last few steps of an epoch look at its leading axes only (`subspace.py`). What was tried and what it gave is in
benchmarks/README.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from somlib.core.rule import Rule, TrainingSet
from somlib.core.scan import Pass, Scan
from somlib.core.subspace import FEWEST_FEATURES, Subspace
from somlib.utils.heuristics import rows_of_step
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.smoothing import Smoother
from somlib.utils.training import WinnerSums, batch_sizes, batch_step, confined, minibatch_step
from somlib.utils.winners import Winners
from somlib.utils.workers import Workers

MEASURED_ROWS = 20_000  # errors of all epochs but the last are of at most so many rows
PAST = 1 / 3  # of the running sums of short steps: what earlier steps count
MOMENTUM = 0.8  # share of the last movement by which a short step goes on beyond its means
STEPS_ON_FEATURES = 4  # of each epoch, the last ones, look at all features of wide data
SETTLING = 0.5  # the last short step stops halfway instead, to leave less of the chance in which rows it saw


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: Its number, from 0.
        epochs: How many there are.
        quantization_error: Of the codebook after the epoch.
        topographic_error: Likewise, in [0, 1].
        sigma: Neighborhood radius used, in cell widths.
        learning_rate: Step used; NaN for the batch map, which has none.
    """

    epoch: int
    epochs: int
    quantization_error: float
    topographic_error: float
    sigma: float
    learning_rate: float

    @classmethod
    def of(
        cls, winners: Winners, weight: Tensor | None, rule: Rule, t: int, of: int, sigma: float, rate: float
    ) -> "EpochReport":
        """The report of epoch `t` of `of`, from the two nearest neurons of some rows after it."""
        qe = quantization_error(winners, weight)
        te = topographic_error(winners, rule.grid, weight=weight)
        return cls(t, of, qe, te, sigma, rate)


OnEpoch = Callable[[EpochReport], None]


@dataclass(frozen=True)
class Epoch:
    """The codebook after an epoch, with its report.

    Attributes:
        codebook: Shape (m, d).
        report: What the epoch did.
        found: Two nearest neurons of every row, and sums per winner, after the last epoch only.
    """

    codebook: Tensor
    report: EpochReport
    found: Pass | None = None


def train(
    codebook: Tensor, rows: TrainingSet, rule: Rule, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    """The epochs of a training, one by one.

    Args:
        codebook: Where the map starts, shape (m, d), dtype and device of the data; not changed.
        rows: What to learn from.
        rule: How.
        generator: Source of the shuffles, on the CPU.
        epochs: Which epochs of the schedules to run.
        of: How many epochs the schedules are for.
    """
    run = _batch_epochs if rule.batch else _minibatch_epochs
    workers = Workers(codebook.device)
    course = run(codebook, Scan(rows, rule, workers), generator, epochs, of)
    try:
        while True:
            with workers.working():
                epoch = next(course, None)
            if epoch is None:
                return
            yield epoch
    finally:
        workers.close()


def _batch_epochs(codebook: Tensor, scan: Scan, generator: torch.Generator, epochs: range, of: int) -> Iterator[Epoch]:
    rows, sample = scan.rows, _measured_sample(scan.rows, generator)
    progress = _BatchSteps(scan, of * scan.rule.steps, generator)
    known = scan.measured(codebook, sample).sums if epochs.start else None
    for t in epochs:
        codebook, sigma = progress.epoch(codebook, t, known, len(rows.data) if sample is None else len(sample))
        found, report = _measured(scan, codebook, sample, t, epochs, of, sigma, float("nan"))
        known = found.sums
        yield Epoch(codebook, report, found if t == epochs[-1] else None)


@dataclass(frozen=True)
class _Motion:
    """Where a batch map is in an epoch.

    Attributes:
        codebook: Shape (m, d).
        known: Sums of some rows per winner in this codebook, if any; they save the search of the next step.
        seen: How many rows those are.
        before: The means that the last step came to, None before the first.
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


class _BatchSteps:
    """The steps of a batch map, an epoch at a time."""

    def __init__(self, scan: Scan, steps: int, generator: torch.Generator) -> None:
        self.scan, self.rule = scan, scan.rule
        self.n = len(scan.rows.data)
        self.steps = steps
        self.generator = generator
        self.smoother = Smoother(self.rule.grid, scan.rows.data.device, scan.rows.data.dtype)

    def epoch(self, codebook: Tensor, t: int, known: WinnerSums | None, seen: int) -> tuple[Tensor, float]:
        """The codebook after epoch `t`, and the radius of its last step.

        Args:
            codebook: That before it, shape (m, d).
            t: Its number.
            known: Sums of some rows per winner in this codebook, if any.
            seen: How many rows those are.
        """
        steps = range(t * self.rule.steps, (t + 1) * self.rule.steps)
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
    def _narrow(self) -> tuple[Subspace, Scan]:
        """The leading axes of the rows, the same wherever a training is taken up, and passes over the rows there."""
        own = torch.Generator().manual_seed(self.generator.initial_seed())
        subspace = Subspace.of(self.scan.rows, own)
        return subspace, Scan(subspace.rows(self.scan.rows), self.rule, self.scan.workers)

    def _walked(self, motion: _Motion, scan: Scan, steps: range, shuffled: "Shuffled") -> _Motion:
        """The map after so many steps from there."""
        codebook, known, seen = motion.codebook, motion.known, motion.seen
        before, running, n = motion.before, motion.running, self.n
        for k in steps:
            sigma, last = self._sigma(k), k == self.steps - 1
            wanted = n if last or self.rule.steps == 1 else rows_of_step(self.rule.grid, sigma, n)
            if known is None or seen < wanted:
                known, seen = _sums(scan, codebook, k, shuffled.take(wanted)), wanted
            running = _drawn_to_past(known, seen, running if seen < n else None)
            after = _confined_if_signed(batch_step(codebook, running, self.smoother, self.rule.kernel, sigma), scan)
            ahead = SETTLING if k == self.steps - 2 else 1 + MOMENTUM
            codebook = after
            if before is not None and not last:
                codebook = _confined_if_signed(torch.lerp(before, after, ahead), scan)
            known, before = None, after
        return _Motion(codebook, None, 0, before, running)


def _sums(scan: Scan, codebook: Tensor, k: int, index: Tensor | None) -> WinnerSums:
    """The sums of some rows in step `k`; in the first, of the true winners.

    A start made of rows lies at equal distances from many others where their values are rounded. Which of these
    neurons wins must not hang on what else is in the data, or a weight would not act like so many copies.
    """
    return scan.sums(codebook, index) if k else scan.measured(codebook, index, certain=True).sums


def _drawn_to_past(new: WinnerSums, rows: int, past: WinnerSums | None) -> WinnerSums:
    """The sums of so many rows, per row and drawn towards those of earlier steps."""
    if past is None:
        return new.forgotten(1 / rows)
    return WinnerSums(torch.add(past.values * PAST, new.values, alpha=(1 - PAST) / rows), new.center)


def _minibatch_epochs(
    codebook: Tensor, scan: Scan, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    rows, rule, sample = scan.rows, scan.rule, _measured_sample(scan.rows, generator)
    smoother = Smoother(rule.grid, codebook.device, codebook.dtype)
    all_at_once = rule.batch_size >= len(rows.data) and sample is None  # the search that measures is then the next one
    known = scan.measured(codebook).sums if epochs.start and all_at_once else None
    for t in epochs:
        sigma, rate = rule.sigma_decay(rule.sigma, t, of), rule.learning_rate_decay(rule.learning_rate, t, of)
        for batch in _batches(len(rows.data), rule, generator, codebook.device):
            sums = scan.sums(codebook, batch) if known is None else known
            codebook = _confined_if_signed(minibatch_step(codebook, sums, smoother, rule.kernel, sigma, rate), scan)
        found, report = _measured(scan, codebook, sample, t, epochs, of, sigma, rate)
        known = found.sums if all_at_once else None
        yield Epoch(codebook, report, found if t == epochs[-1] else None)


def _measured(
    scan: Scan, codebook: Tensor, sample: Tensor | None, t: int, epochs: range, of: int, sigma: float, rate: float
) -> tuple[Pass, EpochReport]:
    """What a pass over the codebook after epoch `t` finds, and its report: over all rows and certain after the last."""
    done = t == epochs[-1]
    found = scan.measured(codebook, None if done else sample, certain=done)
    weight = scan.rows.weight if done or sample is None else scan.rows.weight_of(sample)
    return found, EpochReport.of(found.winners, weight, scan.rule, t, of, sigma, rate)


def _batches(n: int, rule: Rule, generator: torch.Generator, device: torch.device) -> Iterator[Tensor | None]:
    """Shuffled mini-batches; None, which is all rows, where one holds them all."""
    if rule.batch_size >= n:
        yield None
        return
    order = torch.randperm(n, generator=generator).to(device)
    yield from torch.split(order, batch_sizes(n, rule.batch_size))


class Shuffled:
    """Random rows without repetition, until fewer are left than wanted; then anew.

    Args:
        n: Number of rows.
        generator: Source of the order, on the CPU.
        device: Where the row numbers are wanted.
    """

    def __init__(self, n: int, generator: torch.Generator, device: torch.device) -> None:
        self._n, self._generator, self._device = n, generator, device
        self._order = torch.empty(0, dtype=torch.int64)
        self._taken = 0

    def take(self, count: int) -> Tensor | None:
        """So many row numbers; None, which is all, where that is how many there are."""
        if count >= self._n:
            return None
        if self._taken + count > len(self._order):
            self._order, self._taken = torch.randperm(self._n, generator=self._generator), 0
        self._taken += count
        return self._order[self._taken - count : self._taken].to(self._device)


def _measured_sample(rows: TrainingSet, generator: torch.Generator) -> Tensor | None:
    """The fixed rows that errors are measured on, None for all; the same wherever a training is taken up."""
    n = len(rows.data)
    if n <= MEASURED_ROWS:
        return None
    own = torch.Generator().manual_seed(generator.initial_seed())
    return torch.randperm(n, generator=own)[:MEASURED_ROWS].sort().values.to(rows.data.device)


def _confined_if_signed(codebook: Tensor, scan: Scan) -> Tensor:
    return confined(codebook, *scan.rows.box) if scan.rule.kernel.signed else codebook

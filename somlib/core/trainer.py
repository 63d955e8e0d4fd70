r"""The training loop: what happens in an epoch, reported as it happens.

`train` is a generator of epochs. It owns no map: it takes a codebook and yields the next ones, with the errors of each,
so that the caller can store them, show progress, keep checkpoints, or stop. The search that measures the errors after
one epoch gives the sums of the first step of the next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.core.batch_steps import BatchSteps, rows_ahead
from somlib.core.found import Found
from somlib.core.rule import Rule, TrainingSet, confined_if_signed
from somlib.core.scan import Scan
from somlib.core.streamed import StreamedRows
from somlib.core.streamed_scan import StreamedScan, make_scan
from somlib.utils.shuffling import random_rows
from somlib.utils.smoothing import Smoother
from somlib.utils.training import minibatch_step
from somlib.utils.workers import Workers

MEASURED_ROWS = 20_000  # rows, at most, that the errors of all epochs but the last are of


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Attributes:
        epoch: Its number, from 0.
        epochs: How many there are.
        quantization_error: Of the codebook after the epoch.
        topographic_error: The topographic error, in [0, 1].
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
    def of(cls, found: Found, rule: Rule, t: int, of: int, sigma: float, rate: float) -> "EpochReport":
        """The report of epoch `t` of `of`, from a pass over some rows after it."""
        return cls(t, of, *found.errors(rule.grid), sigma, rate)


OnEpoch = Callable[[EpochReport], None]


@dataclass(frozen=True)
class Epoch:
    """The codebook after an epoch, with its report.

    Attributes:
        codebook: Shape (m, d).
        report: What the epoch did.
        found: What a pass over all rows found, after the last epoch only.
    """

    codebook: Tensor
    report: EpochReport
    found: Found | None = None


def train(
    codebook: Tensor,
    rows: TrainingSet | StreamedRows,
    rule: Rule,
    generator: torch.Generator,
    epochs: range,
    of: int,
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
    course = run(codebook, make_scan(rows, rule, workers), generator, epochs, of)
    try:
        while True:
            with workers.working():
                epoch = next(course, None)
            if epoch is None:
                return
            yield epoch
    finally:
        workers.close()


def _batch_epochs(
    codebook: Tensor, scan: Scan | StreamedScan, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    n, steps = scan.rows.n, of * scan.rule.steps
    sample = measured_sample(n, generator, codebook.device)
    seen = n if sample is None else len(sample)
    progress = BatchSteps(scan, steps, generator)
    known = scan.measured(codebook, sample).sums if epochs.start else None

    def ahead(coming: range) -> Iterator[Tensor]:
        yield torch.arange(n) if sample is None else sample
        yield from rows_ahead(scan.rule, steps, n, seen, generator, coming)

    for t in epochs:
        scan.expect(ahead, range(t, epochs.stop))
        codebook, sigma = progress.epoch(codebook, t, known, seen)
        found, report = _measured(scan, codebook, sample, t, epochs, of, sigma, float("nan"))
        known = found.sums
        yield Epoch(codebook, report, found if t == epochs[-1] else None)


def _minibatch_epochs(
    codebook: Tensor, scan: Scan | StreamedScan, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    rows, rule, sample = scan.rows, scan.rule, measured_sample(scan.rows.n, generator, codebook.device)
    smoother = Smoother(rule.grid, codebook.device, codebook.dtype)
    all_at_once = rule.batch_size >= rows.n and sample is None  # the search that measures is then the next one
    known = scan.measured(codebook).sums if epochs.start and all_at_once else None
    for t in epochs:
        sigma, rate = rule.sigma_decay(rule.sigma, t, of), rule.learning_rate_decay(rule.learning_rate, t, of)
        for part, batch in scan.batches(generator):
            sums = part.sums(codebook, batch) if known is None else known
            codebook = confined_if_signed(
                minibatch_step(codebook, sums, smoother, rule.kernel, sigma, rate), rule, rows
            )
        found, report = _measured(scan, codebook, sample, t, epochs, of, sigma, rate)
        known = found.sums if all_at_once else None
        yield Epoch(codebook, report, found if t == epochs[-1] else None)


def _measured(
    scan: Scan | StreamedScan,
    codebook: Tensor,
    sample: Tensor | None,
    t: int,
    epochs: range,
    of: int,
    sigma: float,
    rate: float,
) -> tuple[Found, EpochReport]:
    """What a pass over the codebook after epoch `t` finds, and its report: over all rows and certain after the last."""
    found = scan.finished(codebook, sample) if t == epochs[-1] else scan.measured(codebook, sample)
    return found, EpochReport.of(found, scan.rule, t, of, sigma, rate)


def measured_sample(n: int, generator: torch.Generator, device: torch.device | None = None) -> Tensor | None:
    """The fixed ones of n rows that errors are measured on, None for all; the same wherever a training is taken up."""
    if n <= MEASURED_ROWS:
        return None
    own = torch.Generator().manual_seed(generator.initial_seed())
    return random_rows(n, own, MEASURED_ROWS).sort().values.to(device)

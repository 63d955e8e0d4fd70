r"""The training loop: what happens in an epoch, reported as it happens.

`train` is a generator of epochs. It owns no map: it takes a codebook and yields the next ones, with the errors of each,
so that the caller can store them, show progress, keep checkpoints, or stop. The search that measures the errors after
one epoch gives the sums of the first step of the next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.core.batch_steps import BatchSteps
from somlib.core.rule import Rule, TrainingSet, confined_if_signed
from somlib.core.scan import Pass, Scan
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.smoothing import Smoother
from somlib.utils.training import batch_sizes, minibatch_step
from somlib.utils.winners import Winners
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
    progress = BatchSteps(scan, of * scan.rule.steps, generator)
    known = scan.measured(codebook, sample).sums if epochs.start else None
    for t in epochs:
        codebook, sigma = progress.epoch(codebook, t, known, len(rows.data) if sample is None else len(sample))
        found, report = _measured(scan, codebook, sample, t, epochs, of, sigma, float("nan"))
        known = found.sums
        yield Epoch(codebook, report, found if t == epochs[-1] else None)


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
            codebook = confined_if_signed(
                minibatch_step(codebook, sums, smoother, rule.kernel, sigma, rate), rule, rows
            )
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


def _measured_sample(rows: TrainingSet, generator: torch.Generator) -> Tensor | None:
    """The fixed rows that errors are measured on, None for all; the same wherever a training is taken up."""
    n = len(rows.data)
    if n <= MEASURED_ROWS:
        return None
    own = torch.Generator().manual_seed(generator.initial_seed())
    return torch.randperm(n, generator=own)[:MEASURED_ROWS].sort().values.to(rows.data.device)

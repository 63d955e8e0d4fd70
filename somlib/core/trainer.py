"""The training loop: what happens in an epoch, told as it happens.

`train` is a generator of epochs. It owns no map: it takes a codebook and yields the next ones, with the errors of each,
so that the caller can store them, show progress, keep checkpoints, or stop. The batch map searches once an epoch: the
search that measures the errors after one epoch gives the sums of the next.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from somlib.utils.decay import DecayFn
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.neighborhood import Kernel
from somlib.utils.search import Backend, Winners, make_search
from somlib.utils.smoothing import Smoother
from somlib.utils.training import (
    WinnerSums,
    add_samples,
    batch_sizes,
    batch_step,
    confined,
    empty_sums,
    minibatch_step,
)

MEASURED_ROWS = 20_000  # errors of all epochs but the last are of at most so many rows


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
        cls, winners: Winners, weight: Tensor | None, rule: "Rule", t: int, of: int, sigma: float, rate: float
    ) -> "EpochReport":
        """The report of epoch `t` of `of`, from the two nearest neurons of some rows after it."""
        qe = quantization_error(winners, weight)
        te = topographic_error(winners, rule.grid, weight=weight)
        return cls(t, of, qe, te, sigma, rate)


OnEpoch = Callable[[EpochReport], None]


@dataclass(frozen=True)
class Rule:
    """How a map learns, names turned into functions.

    Attributes:
        grid: Where the neurons are.
        metric: Distance of samples to neurons.
        kernel: Influence by grid distance.
        batch: Whether the rule is the batch map; else mini-batches.
        sigma: Radius at the start, in cell widths.
        sigma_decay: Its schedule.
        learning_rate: Step at the start.
        learning_rate_decay: Its schedule.
        batch_size: Largest mini-batch.
        backend: How winners are searched.
        deterministic: Whether sums on CUDA must be bit-identical each time.
    """

    grid: Grid
    metric: Metric
    kernel: Kernel
    batch: bool
    sigma: float
    sigma_decay: DecayFn
    learning_rate: float
    learning_rate_decay: DecayFn
    batch_size: int
    backend: Backend
    deterministic: bool = False


@dataclass(frozen=True)
class TrainingSet:
    """The rows to learn from.

    Attributes:
        data: Samples, NaN where not observed, shape (n, d).
        weight: Sample weights, shape (n,), or None.
        center: About the middle of the data, finite, shape (d,); sums are taken around it.
        incomplete: Whether any value is missing.
    """

    data: Tensor
    weight: Tensor | None
    center: Tensor
    incomplete: bool

    def weight_of(self, rows: slice | Tensor) -> Tensor | None:
        """The weights of some rows."""
        return None if self.weight is None else self.weight[rows]

    @cached_property
    def box(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest observed value of each feature, shape (d,) each; the center where there is none."""
        low = self.data.nan_to_num(nan=torch.inf).amin(dim=0)
        high = self.data.nan_to_num(nan=-torch.inf).amax(dim=0)
        return torch.where(torch.isinf(low), self.center, low), torch.where(torch.isinf(high), self.center, high)


@dataclass(frozen=True)
class Epoch:
    """The codebook after an epoch, with its report; the last one knows the winners of all rows.

    Attributes:
        codebook: Shape (m, d).
        report: What the epoch did.
        winners: Two nearest neurons of every row, after the last epoch only.
        sums: Sums per winner of every row, after the last epoch only.
    """

    codebook: Tensor
    report: EpochReport
    winners: Winners | None = None
    sums: WinnerSums | None = None


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
    step = _batch_epochs if rule.batch else _minibatch_epochs
    yield from step(codebook, rows, rule, generator, epochs, of)


def _batch_epochs(
    codebook: Tensor, rows: TrainingSet, rule: Rule, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    smoother = Smoother(rule.grid, codebook.device, codebook.dtype)
    sample = _measured_sample(rows, generator)
    full = pass_over(codebook, rows, rule, k=1 if epochs else 2)
    for t in epochs:
        sigma = rule.sigma_decay(rule.sigma, t, of)
        codebook = _confined_if_signed(batch_step(codebook, full.sums, smoother, rule.kernel, sigma), rows, rule)
        last = t == epochs[-1]
        full = pass_over(codebook, rows, rule, k=2 if last or sample is None else 1)
        measured = full.winners if last or sample is None else _winners(codebook, rows.data[sample], rule)
        weight = rows.weight if last or sample is None else rows.weight_of(sample)
        report = EpochReport.of(measured, weight, rule, t, of, sigma, float("nan"))
        yield Epoch(codebook, report, full.winners if last else None, full.sums if last else None)


def _minibatch_epochs(
    codebook: Tensor, rows: TrainingSet, rule: Rule, generator: torch.Generator, epochs: range, of: int
) -> Iterator[Epoch]:
    smoother = Smoother(rule.grid, codebook.device, codebook.dtype)
    sample = _measured_sample(rows, generator)
    for t in epochs:
        sigma, rate = rule.sigma_decay(rule.sigma, t, of), rule.learning_rate_decay(rule.learning_rate, t, of)
        order = torch.randperm(len(rows.data), generator=generator).to(codebook.device)
        for batch in torch.split(order, batch_sizes(len(order), rule.batch_size)):
            sums = batch_sums(codebook, rows, batch, rule)
            codebook = _confined_if_signed(
                minibatch_step(codebook, sums, smoother, rule.kernel, sigma, rate), rows, rule
            )
        if t < epochs[-1]:
            measured = _winners(codebook, rows.data if sample is None else rows.data[sample], rule)
            weight = rows.weight if sample is None else rows.weight_of(sample)
            yield Epoch(codebook, EpochReport.of(measured, weight, rule, t, of, sigma, rate))
        else:
            full = pass_over(codebook, rows, rule, k=2)
            yield Epoch(
                codebook, EpochReport.of(full.winners, rows.weight, rule, t, of, sigma, rate), full.winners, full.sums
            )


@dataclass(frozen=True)
class Pass:
    """One search over all rows: their winners and the sums per winner."""

    winners: Winners
    sums: WinnerSums


def pass_over(codebook: Tensor, rows: TrainingSet, rule: Rule, k: int) -> Pass:
    """The `k` nearest neurons of every row, and the sums per winner, taken while the rows are in the cache.

    Distances come with the winners where k > 1.
    """
    n = len(rows.data)
    search = make_search(codebook, rule.metric, rule.backend)
    sums = empty_sums(len(codebook), rows.center, rows.incomplete)
    index = torch.empty(n, k, dtype=torch.int64, device=codebook.device)
    distance = rows.data.new_empty(n, k if k > 1 else 0)
    for chunk in search.chunks(n):
        data = rows.data[chunk]
        found = search.nearest(data, k, distances=k > 1)
        index[chunk], distance[chunk] = found.index, found.distance
        add_samples(sums, data, found.index[:, 0], rows.weight_of(chunk), rule.deterministic)
    return Pass(Winners(index, distance), sums)


def batch_sums(codebook: Tensor, rows: TrainingSet, batch: Tensor, rule: Rule) -> WinnerSums:
    """The sums per winner of some rows (b,)."""
    data = rows.data[batch]
    sums = empty_sums(len(codebook), rows.center, rows.incomplete)
    search = make_search(codebook, rule.metric, rule.backend)
    winner = search.nearest(data, distances=False).index[:, 0]
    add_samples(sums, data, winner, rows.weight_of(batch), rule.deterministic)
    return sums


def _winners(codebook: Tensor, data: Tensor, rule: Rule) -> Winners:
    return make_search(codebook, rule.metric, rule.backend).nearest(data, k=2)


def _measured_sample(rows: TrainingSet, generator: torch.Generator) -> Tensor | None:
    """The fixed rows that errors are measured on, None for all."""
    n = len(rows.data)
    if n <= MEASURED_ROWS:
        return None
    return torch.randperm(n, generator=generator)[:MEASURED_ROWS].sort().values.to(rows.data.device)


def _confined_if_signed(codebook: Tensor, rows: TrainingSet, rule: Rule) -> Tensor:
    if not rule.kernel.signed:
        return codebook
    return confined(codebook, *rows.box)

"""What a training is given: how a map learns, and the rows that it learns from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from somlib.utils.decay import DecayFn
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import Kernel
from somlib.utils.search import Backend
from somlib.utils.training import confined


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
        steps: Steps of the batch map in an epoch; more than one make it progressive, see `batch_steps.py`.
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
    steps: int = 1


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

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.data)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of features."""
        return len(self.data), self.data.shape[1]

    @property
    def weighted(self) -> bool:
        """Whether rows have weights."""
        return self.weight is not None

    @cached_property
    def mean_weight(self) -> float:
        """Of a row."""
        return 1.0 if self.weight is None else float(self.weight.double().mean())

    def taken(self, index: Tensor) -> "TrainingSet":
        """The rows of an `index` (b,), in its order."""
        index = index.to(self.data.device)
        return TrainingSet(self.data[index], self.weight_of(index), self.center, self.incomplete)

    def weight_of(self, rows: slice | Tensor) -> Tensor | None:
        """The weights of some rows."""
        return None if self.weight is None else self.weight[rows]

    @cached_property
    def box(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest observed value of each feature, shape (d,) each; the center where there is none."""
        if not self.incomplete:
            low, high = self.data.aminmax(dim=0)
            return low, high
        low = self.data.nan_to_num(nan=torch.inf).amin(dim=0)
        high = self.data.nan_to_num(nan=-torch.inf).amax(dim=0)
        return torch.where(torch.isinf(low), self.center, low), torch.where(torch.isinf(high), self.center, high)


class Boxed(Protocol):
    """Rows of which the range is known."""

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest observed value of each feature, shape (d,) each."""


def confined_if_signed(codebook: Tensor, rule: Rule, rows: Boxed) -> Tensor:
    """The codebook (m, d), kept near the data where the kernel repels and could push it off."""
    return confined(codebook, *rows.box) if rule.kernel.signed else codebook

"""What a pass over rows found: sums per winner, errors, and what a trained map remembers of its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from somlib.utils.anomaly import DistanceTotals, NormalDistances
from somlib.utils.clustering import Connections
from somlib.utils.grid import Grid
from somlib.utils.metrics import misplaced, quantization_error, topographic_error
from somlib.utils.training import WinnerSums
from somlib.utils.winners import Winners


class Found(Protocol):
    """What a pass found, whether the winners of all rows are kept or only what they add up to."""

    @property
    def sums(self) -> WinnerSums:
        """Per winner."""

    def errors(self, grid: Grid) -> tuple[float, float]:
        """Quantization and topographic error of the rows."""

    def normal(self, influence: Tensor) -> NormalDistances:
        """What distances are normal, from the influence of each neuron, shape (m,)."""

    def connections(self, m: int) -> Connections:
        """Which of the m neurons share rows."""


@dataclass(frozen=True)
class Pass:
    """What a pass over some rows found.

    Attributes:
        winners: The two nearest neurons of every row (n, 2), with the distance to the nearest (n, 1).
        sums: Per winner.
        weight: Of these rows, shape (n,); None for 1 each.
    """

    winners: Winners
    sums: WinnerSums
    weight: Tensor | None = None

    def errors(self, grid: Grid) -> tuple[float, float]:
        """Quantization and topographic error of the rows."""
        return quantization_error(self.winners, self.weight), topographic_error(self.winners, grid, weight=self.weight)

    def normal(self, influence: Tensor) -> NormalDistances:
        """What distances are normal, from the influence of each neuron, shape (m,)."""
        return NormalDistances.of_training(self.winners, influence, self.weight)

    def connections(self, m: int) -> Connections:
        """Which of the m neurons share rows."""
        return Connections.of_winners(self.winners.index, m, self.weight)


@dataclass(frozen=True)
class Tally:
    """What the winners of rows add up to; those of several blocks of rows are added.

    Attributes:
        distances: To the winners, by winner.
        apart: Weight of the rows whose two nearest neurons are not next to each other.
        paired: Weight of the rows that have two.
        connections: Which neurons share rows.
    """

    distances: DistanceTotals
    apart: float
    paired: float
    connections: Connections

    @classmethod
    def of(cls, found: Pass, grid: Grid) -> "Tally":
        """Of the rows of a pass."""
        apart, paired = misplaced(found.winners, grid, weight=found.weight)
        index, distance = found.winners.index[:, 0], found.winners.distance[:, 0].double()
        distances = DistanceTotals.of(index, distance, grid.m, found.weight)
        return cls(distances, apart, paired, found.connections(grid.m))

    def plus(self, other: "Tally") -> "Tally":
        """Of the rows of both."""
        return Tally(
            self.distances.plus(other.distances),
            self.apart + other.apart,
            self.paired + other.paired,
            self.connections.plus(other.connections),
        )


@dataclass(frozen=True)
class StreamedPass:
    """What a pass over rows found that were not kept.

    Attributes:
        sums: Per winner.
        tally: What the winners add up to.
        sample: The pass over some of the rows, whose distances stand for those of all.
        left_out: The distances of all rows to their winners, each as if the row had not trained, from the influence of
            each neuron.
    """

    sums: WinnerSums
    tally: Tally
    sample: Pass
    left_out: Callable[[Tensor], DistanceTotals]

    def errors(self, grid: Grid) -> tuple[float, float]:
        """Quantization and topographic error of the rows."""
        del grid
        paired = self.tally.paired
        return float(self.tally.distances.typical), self.tally.apart / paired if paired > 0 else float("nan")

    def normal(self, influence: Tensor) -> NormalDistances:
        """What distances are normal: scales from all rows, scores of the sample."""
        totals = self.left_out(influence)
        return NormalDistances.of_sample(totals, self.sample.winners, influence, self.sample.weight)

    def connections(self, m: int) -> Connections:
        """Which of the m neurons share rows."""
        del m
        return self.tally.connections

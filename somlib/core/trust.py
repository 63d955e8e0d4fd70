r"""Whether the fast way of a pass serves: whether rounding is small beside the distances that count.

A pass ranks neurons by products (`scan.py`), whose rounding grows with the distance of rows and neurons to the center.
A few rows are asked before a training, and again of each codebook that is measured, how far they lie from their winners
in float64; where rounding could add up to a good part of that, every pass takes the sure way instead.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from somlib.core.rule import Rule, TrainingSet
from somlib.utils.distances import masked_pairwise
from somlib.utils.fused_search import FEWEST_ROWS, can_fuse
from somlib.utils.torch_search import roundings

TRUSTED_SHARE = 0.1  # of a typical squared distance to the winner: what rounding may add up to, at the very worst
ASKED_ROWS = 32  # at least, where there are as many, to learn what a typical distance is
NEXT_TO_NOTHING = 1e-10  # of a squared length: a distance that float32 would not see
PLAIN_SQUARES = (1e-30, 1e30)  # between them float32 neither rounds squares to nothing nor overflows


def asked_rows(n: int) -> slice:
    """Which of `n` rows are asked: evenly spread."""
    return slice(None, None, max(1, n // ASKED_ROWS))


@dataclass
class Trust:
    """Which way the passes of one training take.

    Attributes:
        asked: The rows that are asked, without their weights.
        rule: How the map learns.
        n: Number of all rows.
        fused: Whether one kernel takes product and minimum; known once asked.
        fast: Whether the fast way serves; None until asked.
    """

    asked: TrainingSet
    rule: Rule
    n: int
    fused: bool = False
    fast: bool | None = field(default=None, init=False)

    @classmethod
    def of(cls, rows: TrainingSet, rule: Rule) -> "Trust":
        """For passes over these rows."""
        n = len(rows.data)
        return cls(TrainingSet(rows.data[asked_rows(n)], None, rows.center, rows.incomplete), rule, n)

    def serves(self, codebook: Tensor, again: bool = False) -> bool:
        """Whether the fast way serves; asked of the first codebook, and `again` of each that is measured.

        It hangs on rows and codebook alone, so that a training that is taken up goes the way that it would have gone.
        """
        if not self.rule.metric.euclidean or self.rule.backend not in ("auto", "torch"):
            return False
        if self.fast is None or again:
            self.fast = self._can_trust(codebook)
            self.fused = can_fuse(codebook, self.rule.metric) and self.n >= FEWEST_ROWS
        return self.fast

    def _can_trust(self, codebook: Tensor) -> bool:
        """Whether rounding, which grows with the distance to the center, is small beside most distances to winners.

        Rows that lie on a neuron do not count, and few that lie far out do not speak for the others.
        """
        squares = self._least_squares(codebook)
        typical = float(squares[squares > 0].median())  # NaN where none is known
        furthest = float((codebook - self.asked.center).abs().amax()) ** 2
        low, high = PLAIN_SQUARES
        worst = 4 * roundings(self.asked.data.shape[1], self.asked.data.dtype) * self._square
        return low < self._square and max(self._square, furthest) < high and worst < TRUSTED_SHARE * typical

    def _least_squares(self, codebook: Tensor) -> Tensor:
        """Squared distances (a,) of the rows that are asked to their winners, float64; 0 where next to nothing."""
        metric = self.rule.metric
        if self.asked.incomplete:
            return masked_pairwise(metric, self.asked.data.double(), codebook.double()).amin(dim=1).square()
        rows, lengths = self._points
        neurons = metric.scaled(codebook.double() - self.asked.center.double())
        scores = torch.addmm(neurons.square().sum(dim=1) / 2, rows, neurons.T, alpha=-1)
        squares = scores.amin(dim=1).mul_(2).add_(lengths)
        return squares.masked_fill_(squares < NEXT_TO_NOTHING * lengths, 0)

    @cached_property
    def _points(self) -> tuple[Tensor, Tensor]:
        """The rows that are asked (a, d), around the center, float64, and their squared lengths (a,)."""
        points = self.rule.metric.scaled(self.asked.data.double() - self.asked.center.double())
        return points, points.square().sum(dim=1)

    @cached_property
    def _square(self) -> float:
        """Mean squared distance of rows to the center."""
        return float((self.asked.data - self.asked.center).double().square().nansum(dim=1).mean())

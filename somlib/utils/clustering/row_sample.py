"""Rows themselves, for methods that ask for more than what each neuron holds."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from somlib.errors import ShapeError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROWS = 30_000  # of a sample; more tell no more of groups, and a search for the neurons of all is dear
COMMON = 0.9  # of the rows


@dataclass(frozen=True)
class RowSample:
    """Rows and the neuron that each belongs to.

    Attributes:
        values: NaN where missing, float64, shape (n, d).
        winner: Flat index of the nearest neuron, shape (n,).
        weight: Of each row, > 0, float64, shape (n,); weight k counts like k rows.
    """

    values: Floats
    winner: Ints
    weight: Floats

    @classmethod
    def of(cls, samples: Tensor, winner: Tensor, weight: Tensor | None = None) -> Self:
        """Those rows that have a neuron and count.

        Args:
            samples: Shape (n, d).
            winner: Flat index of the nearest neuron, -1 for none, int64, shape (n,).
            weight: Of each row, >= 0, shape (n,); None for 1 each.

        Raises:
            ShapeError: The three are of different lengths.
        """
        counts = torch.ones(len(samples)) if weight is None else weight.detach()
        if winner.shape != (len(samples),) or counts.shape != (len(samples),):
            raise ShapeError(
                f"winner and weight must have shape ({len(samples)},), one a row, got {tuple(winner.shape)} and "
                f"{tuple(counts.shape)}"
            )
        counts, winner = counts.cpu().double(), winner.cpu()
        kept = torch.nonzero((winner >= 0) & (counts > 0)).flatten()
        values = samples.detach()[kept.to(samples.device)].cpu().double().numpy()
        return cls(values, winner[kept].numpy(), counts[kept].numpy())

    def around(self, center: Floats) -> Self:
        """The same rows as deviations from a center, shape (d,)."""
        return replace(self, values=self.values - center)

    def weighted(self, weight: Floats) -> Self:
        """The rows under other weights, >= 0, shape (n,); those of 0 left out."""
        kept = weight > 0
        return replace(self, values=self.values[kept], winner=self.winner[kept], weight=weight[kept])

    def complete(self, points: Floats, seed: int) -> Floats:
        """The values with drawn ones where they are missing, shape (n, d).

        A missing value is that of the row's neuron plus a normal deviation as large as those of known values from
        their neurons: without it many rows would lie on one point.

        Args:
            points: The neurons, shape (m, d).
            seed: Fixes what is drawn.
        """
        missing = np.isnan(self.values)
        if not missing.any():
            return self.values
        nearest = points[self.winner]
        squares = np.where(missing, 0.0, np.square(self.values - nearest))
        known = (~missing * self.weight[:, None]).sum(axis=0)
        deviation = np.sqrt(self.weight @ squares / np.maximum(known, 1.0))
        drawn = np.random.default_rng(seed).standard_normal(self.values.shape)
        return np.where(missing, nearest + deviation * drawn, self.values)


def sampled(n: int, seed: int, most: int = ROWS) -> Tensor | None:
    """Numbers of at most `most` of n rows in ascending order, None for all of them."""
    if n <= most:
        return None
    return torch.from_numpy(np.sort(np.random.default_rng(seed).choice(n, most, replace=False)))


def without_steps(values: Floats, seed: int) -> Floats:
    """Values (n, d) whose columns of few different values are spread over the step between two of these.

    Hours, counts and rounded numbers lie on a lattice. Between its places is never a row, which no group is the cause
    of, so each value moves by up to half a step at random: one that is as large as the steps to the next value of most
    rows. On an hour in two columns, sine and cosine, steps are uneven.
    """
    n, d = values.shape
    steps = np.zeros(d)
    for j in range(d):
        levels, count = np.unique(values[:, j], return_counts=True)
        if 1 < len(levels) <= n / 2:
            gap = np.append(np.diff(levels), levels[-1] - levels[-2])
            order = np.argsort(gap, kind="stable")
            steps[j] = gap[order][np.searchsorted(np.cumsum(count[order]), COMMON * n)]
    if not steps.any():
        return values
    return values + steps * (np.random.default_rng(seed).random((n, d)) - 0.5)

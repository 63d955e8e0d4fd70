"""Intervals by resampling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.quality.measures import defined
from somlib.utils.quality.ranks import chunks_of

RESAMPLED_ROWS = 20_000  # samples that one bootstrap resample draws at most


@dataclass(frozen=True)
class Estimate:
    """A measure with its bootstrap interval.

    Attributes:
        value: The measure; NaN where it is not defined, with the reason logged.
        low: Lower end of the percentile interval, <= value. NaN where the value is, for one sample, which shows no
            spread, and for the topographic product, which belongs to the map and is no mean over samples.
        high: Upper end, >= value; NaN where `low` is.
    """

    value: float
    low: float
    high: float


def bootstrap_intervals(
    terms: Tensor, generator: torch.Generator, resamples: int = 1_000, confidence: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Percentile intervals of the means of terms over samples.

    A resample draws as many samples as there are, with replacement. Of more than 20 000 a random part of that size is
    resampled, and the deviations from its mean are scaled by sqrt(20 000 / n), which the spread of a mean follows.

    Args:
        terms: One row a sample, one column a measure, on the CPU, shape (n, q).
        generator: Source of the draws.
        resamples: How many, at least 1.
        confidence: Share of the resampled means within, between 0 and 1.

    Returns:
        Low and high ends, float64, shape (q,) each, around the mean; NaN of fewer than two samples, which show no
        spread, and where terms are NaN.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993, ch. 13. Bickel, Götze and
        van Zwet, Resampling fewer than n observations, Statistica Sinica 7, 1997.
    """
    n, terms = len(terms), terms.double()
    if n < 2:
        undefined = terms.new_full((terms.shape[1],), torch.nan)
        return undefined, undefined
    mean = terms.mean(dim=0)
    if n > RESAMPLED_ROWS:
        terms = terms[torch.randperm(n, generator=generator)[:RESAMPLED_ROWS]]
    deviations = _resampled_means(terms, generator, resamples) - terms.mean(dim=0)
    ends = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    low, high = mean + math.sqrt(len(terms) / n) * torch.quantile(deviations, ends, dim=0)
    return torch.minimum(low, mean), torch.maximum(high, mean)  # whatever the rounding, and however few resamples


def _resampled_means(terms: Tensor, generator: torch.Generator, resamples: int) -> Tensor:
    """Means of terms (n, q) over samples drawn with replacement, shape (resamples, q).

    By how often each sample was drawn: one product, in half the time that gathering the rows takes.
    """
    n, means = len(terms), terms.new_empty(resamples, terms.shape[1])
    for some in chunks_of(resamples, n, terms.device):
        draws = torch.randint(n, (some.stop - some.start, n), generator=generator)
        times = terms.new_zeros(draws.shape).scatter_add_(1, draws, terms.new_ones(()).expand_as(draws))
        means[some] = times @ terms / n
    return means


def estimates_of(
    terms: Mapping[str, Tensor], generator: torch.Generator, resamples: int, confidence: float
) -> dict[str, Estimate]:
    """Means over samples with their intervals; samples without a winner, NaN in the first column, are left out."""
    table = torch.stack(tuple(terms.values()), dim=1).cpu()  # (n, q)
    table = table[~torch.isnan(table[:, 0])]
    low, high = bootstrap_intervals(table, generator, resamples, confidence)
    ends = zip(terms, table.mean(dim=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(defined(value, name), low, high) for name, value, low, high in ends}

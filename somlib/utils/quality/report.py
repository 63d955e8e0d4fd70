"""All measures of a map on some samples, with intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.arguments import require_number
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import Kernel
from somlib.utils.quality.arguments import require_at_least_one, require_sigma
from somlib.utils.quality.bootstrap import Estimate, estimates_of
from somlib.utils.quality.energy import distortion_terms
from somlib.utils.quality.measures import MEASURES
from somlib.utils.quality.neighborhoods import neighborhood_terms
from somlib.utils.quality.paths import combined_terms
from somlib.utils.quality.topographic import topographic_product, topographic_terms
from somlib.utils.search import Winners

COMPARED_ROWS = 2_000  # samples whose neighborhoods a report compares: the cost is quadratic


@dataclass(frozen=True)
class QualityReport:
    """All measures of a map on some samples; `print` shows them as a table.

    Attributes:
        estimates: By name, the keys of `MEASURES`; `report["trustworthiness"]` is short for one of them.
        n_samples: Samples with a nearest neuron, which the errors are of.
        n_compared: Those among them whose neighborhoods were compared for trustworthiness and preservation.
        n_neighbors: Size k of these neighborhoods.
        sigma: Radius of the kernel in the distortion, in cell widths.
        confidence: Of the intervals, between 0 and 1.
    """

    estimates: Mapping[str, Estimate]
    n_samples: int
    n_compared: int
    n_neighbors: int
    sigma: float
    confidence: float

    def __getitem__(self, measure: str) -> Estimate:
        return self.estimates[measure]

    def __str__(self) -> str:
        header = (
            f"Quality on {self.n_samples} samples (distortion at sigma {self.sigma:.3g}; neighborhoods of "
            f"{self.n_neighbors} among {self.n_compared} samples)"
        )
        titles = f"{'measure':<26} {'value':>10}  {f'{self.confidence:.0%} interval':<22}  meaning"
        return "\n".join((header, titles, *(_line(name, estimate) for name, estimate in self.estimates.items())))


def quality_report(
    data: Tensor,
    winners: Winners,
    codebook: Tensor,
    grid: Grid,
    metric: Metric,
    kernel: Kernel,
    sigma: float,
    generator: torch.Generator,
    *,
    n_neighbors: int = 10,
    resamples: int = 1_000,
    confidence: float = 0.95,
) -> QualityReport:
    """All measures of a map on samples, with bootstrap intervals.

    Trustworthiness and neighborhood preservation compare all pairs, so they take a random sample of 2 000 rows where
    there are more; their k nearest are then the nearest within that sample. The intervals of these two hold the rows
    that are compared with fixed. The topographic product takes part of the neurons above 2 500, see there.

    Args:
        data: Samples, NaN where not observed, shape (n, d).
        winners: Their two nearest neurons with distances, shape (n, k), k >= 2.
        codebook: Neurons, finite, shape (m, d).
        grid: The grid.
        metric: The distance of the map.
        kernel: Its neighborhood.
        sigma: Radius of the kernel, in cell widths, > 0.
        generator: Draws the rows to compare and the resamples, on the CPU.
        n_neighbors: Size k of the neighborhoods, at least 1, below half of the samples.
        resamples: Bootstrap resamples, at least 1.
        confidence: Of the intervals, between 0 and 1.

    Raises:
        ArgumentError: An argument is out of its range.
    """
    _require_report_arguments(sigma, n_neighbors, resamples, confidence)
    first = winners.index[:, 0]
    compared = _compared_rows(first, generator)
    trusted, preserved = neighborhood_terms(data[compared], first[compared], grid, metric, n_neighbors)
    terms = {
        "quantization_error": winners.distance[:, 0].double().masked_fill(first < 0, torch.nan),
        "topographic_error": topographic_terms(winners, grid, "lattice"),
        "edge_topographic_error": topographic_terms(winners, grid, "edge"),
        "distortion": distortion_terms(data, first, codebook, grid, metric, kernel, sigma),
        "combined_error": combined_terms(winners, codebook, grid, metric),
    }
    neighborhoods = {"trustworthiness": trusted, "neighborhood_preservation": preserved}
    product = topographic_product(codebook, grid, metric, generator)
    estimates = {
        **estimates_of(terms, generator, resamples, confidence),
        **estimates_of(neighborhoods, generator, resamples, confidence),
        "topographic_product": Estimate(product, math.nan, math.nan),
    }
    n_samples = int((first >= 0).sum())
    return QualityReport(estimates, n_samples, len(compared), n_neighbors, sigma, confidence)


def _compared_rows(winner: Tensor, generator: torch.Generator) -> Tensor:
    """The rows with a winner, a random sample of them in order where they are many, shape (n',)."""
    rows = torch.nonzero(winner >= 0).flatten()
    if len(rows) <= COMPARED_ROWS:
        return rows
    chosen = torch.randperm(len(rows), generator=generator)[:COMPARED_ROWS].sort().values
    return rows[chosen.to(rows.device)]


def _line(name: str, estimate: Estimate) -> str:
    measure = MEASURES[name]
    if math.isnan(estimate.value):
        return f"{measure.label:<26} {'-':>10}  {'':<22}  not defined: it needs {measure.needs}"
    interval = "" if math.isnan(estimate.low) else f"{_digits(estimate.low)} to {_digits(estimate.high)}"
    return f"{measure.label:<26} {_digits(estimate.value):>10}  {interval:<22}  {measure.meaning}"


def _digits(value: float) -> str:
    """Four significant digits, zeros at the end included."""
    return f"{value:#.4g}".rstrip(".")


def _require_report_arguments(sigma: float, n_neighbors: int, resamples: int, confidence: float) -> None:
    require_sigma(sigma)
    require_at_least_one("n_neighbors", n_neighbors)
    require_at_least_one("resamples", resamples)
    if not 0 < require_number("confidence", confidence, "lie between 0 and 1") < 1:
        raise ArgumentError(f"confidence must lie between 0 and 1, got {confidence}")

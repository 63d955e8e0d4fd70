r"""How good a map is: five measures beyond the two errors of `metrics.py`, and a report of all with intervals.

With c(i) the winner of sample i, c'(i) its second, h the neighborhood kernel and k a number of neighbors:

    distortion                 mean_i sum_j h(c(i), j) |x_i - w_j|^2
    combined error             mean_i d(x_i, w_c(i)) + shortest path from c(i) to c'(i), from neighbor to neighbor, each
                               step as long as its two neurons are apart in feature space
    trustworthiness            1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in U_i} (r(i, j) - k)
    neighborhood preservation  1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in V_i} (s(i, j) - k)
    topographic product        1 / (m (m - 1)) sum_j sum_k log P3(j, k)

In `U_i` are the samples among the k nearest to i on the map that are not among the k nearest in the data, in `V_i` the
reverse; r and s rank the samples by their distance to i in the data and on the map, 1 the nearest. `P3` is written out
at `topographic_product`.

Samples of one neuron lie at one place of the map, and cells at one distance are many, so ranks on the map have ties
everywhere. Two rules, the same for both spaces, settle them. Who is among the k nearest: of those tied at the border,
each with equal probability, and the expected value is taken, as Kaski et al. (2003) average over all compatible orders.
How far off a sample is: its rank is one more than the number of those strictly closer. (Averaged as well, it would call
it an error to be equally far: a map with all of a cluster of equal samples on one neuron would lose by it.) In
neighborhood preservation a map that puts everything on one neuron thus scores 1, since it tears nothing apart, but not
in trustworthiness: read the two together.

Which distance counts: winners, the combined error and all ranks use the map's own metric. The distortion uses squared
differences (times the feature weights), since those are what the training rules reduce, whichever metric finds the
winner. The topographic product multiplies ratios of distances and takes the map's metric too, but the root of the
cosine distance, which is half of a square.

Missing values: the distortion is over the observed features, times d / observed, as the distances are; distances
between two samples are over the features that both have, scaled likewise; a pair that shares none is the farthest.
Samples without a winner are left out of everything.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.metrics import Adjacency, adjacent
from somlib.utils.neighborhood import Kernel
from somlib.utils.search import CHUNK_ENTRIES, Winners, row_chunks
from somlib.utils.smoothing import Smoother
from somlib.utils.topology import neighbor_table

logger = logging.getLogger(__name__)

COMPARED_ROWS = 2_000  # samples whose neighborhoods a report compares: the cost is quadratic
NEURON_PAIRS = 2_500**2  # pairs that a topographic product looks at where it may take a part of them
RESAMPLED_ROWS = 20_000  # samples that one bootstrap resample draws at most
PATH_SOURCES = 512  # neurons from which paths are searched at a time: bounds memory at so many times m


@dataclass(frozen=True)
class Measure:
    """What a user should know of a measure.

    Attributes:
        label: Its name in plain text.
        meaning: One line on what it says and which way is better.
        needs: What it takes for the measure to be defined.
    """

    label: str
    meaning: str
    needs: str


ONE_WINNER = "a sample with a nearest neuron"
TWO_WINNERS = "samples with two nearest neurons, joined by a path"
ENOUGH_SAMPLES = "more samples with a nearest neuron than twice n_neighbors"
DISTINCT_NEURONS = "two neurons at least, and no two at distance 0"

MEASURES: dict[str, Measure] = {
    "quantization_error": Measure(
        "quantization error", "mean distance of a sample to its neuron; lower is finer", ONE_WINNER
    ),
    "topographic_error": Measure(
        "topographic error",
        "share of samples whose two nearest neurons are not neighbors; lower is better",
        TWO_WINNERS,
    ),
    "edge_topographic_error": Measure(
        "topographic error (edges)", "the same, where only cells that share an edge are neighbors", TWO_WINNERS
    ),
    "distortion": Measure(
        "distortion", "what training lowers; compare maps at equal sigma only, lower is better", ONE_WINNER
    ),
    "combined_error": Measure(
        "combined error", "from a sample to its neuron and along the map to the next; lower is better", TWO_WINNERS
    ),
    "trustworthiness": Measure(
        "trustworthiness", "are samples that are close on the map close in the data? 1 is best", ENOUGH_SAMPLES
    ),
    "neighborhood_preservation": Measure(
        "neighborhood preservation",
        "are samples that are close in the data close on the map? 1 is best",
        ENOUGH_SAMPLES,
    ),
    "topographic_product": Measure(
        "topographic product", "below 0 the map has too few dimensions for the data, above 0 too many", DISTINCT_NEURONS
    ),
}


@dataclass(frozen=True)
class Estimate:
    """A measure with its bootstrap interval.

    Attributes:
        value: The measure; NaN where it is not defined, with the reason logged.
        low: Lower end of the percentile interval, <= value. NaN where the value is, for one sample, which shows no
            spread, and for the topographic product, which belongs to the map and is no mean over samples.
        high: Upper end, >= value; NaN likewise.
    """

    value: float
    low: float
    high: float


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
    trusted, preserved = _neighborhood_terms(data[compared], first[compared], grid, metric, n_neighbors)
    terms = {
        "quantization_error": winners.distance[:, 0].double().masked_fill(first < 0, torch.nan),
        "topographic_error": _topographic_terms(winners, grid, "lattice"),
        "edge_topographic_error": _topographic_terms(winners, grid, "edge"),
        "distortion": _distortion_terms(data, first, codebook, grid, metric, kernel, sigma),
        "combined_error": _combined_terms(winners, codebook, grid, metric),
    }
    neighborhoods = {"trustworthiness": trusted, "neighborhood_preservation": preserved}
    product = topographic_product(codebook, grid, metric, generator)
    estimates = {
        **_estimates(terms, generator, resamples, confidence),
        **_estimates(neighborhoods, generator, resamples, confidence),
        "topographic_product": Estimate(product, math.nan, math.nan),
    }
    n_samples = int((first >= 0).sum())
    return QualityReport(estimates, n_samples, len(compared), n_neighbors, sigma, confidence)


def distortion(
    data: Tensor, winner: Tensor, codebook: Tensor, grid: Grid, metric: Metric, kernel: Kernel, sigma: float
) -> float:
    """The energy of the map: mean over samples of sum_j h(winner, j) |x - w_j|^2, in squared units of the features.

    Kernels that repel (mexican hat) count far neurons negative, and the sum may be negative. Differences are squared
    whatever the metric, of which the feature weights count only; see the module.

    Args:
        data: Samples, NaN where not observed, shape (n, d).
        winner: Their nearest neurons, flat index, -1 for none, shape (n,).
        codebook: Neurons, finite, shape (m, d).
        grid: The grid.
        metric: The distance of the map.
        kernel: Its neighborhood.
        sigma: Radius of the kernel, in cell widths, > 0. Distortions compare at equal radius only.

    Returns:
        The distortion; NaN where no sample has a winner, with the reason logged.

    Raises:
        ArgumentError: `sigma` is not above 0.

    References:
        Kohonen, Self-organizing maps: optimization approaches, Proc. ICANN 1991. Lampinen and Oja, Clustering
        properties of hierarchical self-organizing maps, J. Math. Imaging Vision 2, 1992.
    """
    _require_sigma(sigma)
    return _mean(_distortion_terms(data, winner, codebook, grid, metric, kernel, sigma), "distortion")


def combined_error(winners: Winners, codebook: Tensor, grid: Grid, metric: Metric) -> float:
    """Mean over samples of the distance to the winner and on, along the map, to the second winner.

    The way goes from neighbor to neighbor of order 1 (8 around a rectangular cell, 6 around a hexagon; around the edges
    on a torus) and is as long as its steps in feature space, in the metric of the map; the shortest one counts. A map
    that is fine but folded pays on the way, one that is ordered but coarse pays at the start.

    Args:
        winners: With distances, shape (n, k), k >= 2.
        codebook: Neurons, finite, shape (m, d).
        grid: The grid.
        metric: The distance of the map.

    Returns:
        The error, in the units of the distance; NaN where no sample has two winners, or where zero vectors under cosine
        block every way, with the reason logged.

    References:
        Kaski and Lagus, Comparing self-organizing maps, Proc. ICANN 1996.
    """
    return _mean(_combined_terms(winners, codebook, grid, metric), "combined_error")


def trustworthiness(data: Tensor, winner: Tensor, grid: Grid, metric: Metric, n_neighbors: int = 10) -> float:
    """Whether the samples that are nearest on the map are near in the data, in [0, 1], 1 the best.

    Exact, over all pairs, some rows at a time: the time grows with n^2, memory does not. Ties as in the module.

    Args:
        data: Samples, NaN where not observed, shape (n, d).
        winner: Their nearest neurons, flat index, -1 for none, shape (n,).
        grid: The grid; samples lie at the centers of their winners.
        metric: The distance of samples in the data.
        n_neighbors: How many are nearest, k, at least 1.

    Returns:
        The trustworthiness; NaN where no more than 2 k samples have a winner, with the reason logged.

    Raises:
        ArgumentError: `n_neighbors` is below 1.

    References:
        Venna and Kaski, Neighborhood preservation in nonlinear projection methods, Proc. ICANN 2001. Kaski et al.,
        Trustworthiness and metrics in visualizing similarity of gene expression, BMC Bioinformatics 4:48, 2003 (ties).
    """
    return _mean(_checked_neighborhood_terms(data, winner, grid, metric, n_neighbors)[0], "trustworthiness")


def neighborhood_preservation(data: Tensor, winner: Tensor, grid: Grid, metric: Metric, n_neighbors: int = 10) -> float:
    """Whether the samples that are nearest in the data are near on the map, in [0, 1], 1 the best; also "continuity".

    Arguments, errors, cost and source as `trustworthiness`.
    """
    return _mean(_checked_neighborhood_terms(data, winner, grid, metric, n_neighbors)[1], "neighborhood_preservation")


def topographic_product(
    codebook: Tensor, grid: Grid, metric: Metric, generator: torch.Generator | None = None
) -> float:
    r"""Whether the dimension of the map suits that of its codebook: 0 if so, negative too low, positive too high.

    With a(j, l) the l-th nearest neuron to j on the grid, v(j, l) the l-th nearest in feature space, and d_A, d_V the
    distances there,

        P3(j, k) = (prod_{l=1..k} d_V(j, a(j, l)) d_A(j, a(j, l)) / (d_V(j, v(j, l)) d_A(j, v(j, l))))^(1 / 2k)
        P        = 1 / (m (m - 1)) sum_j sum_{k=1..m-1} log P3(j, k)

    Where neurons are equally far from j, as most are on a grid, log P3 is that of all compatible orders on average.
    P is a sum of logs by rank, log(d_V d_A) (b(rank on the grid) - b(rank in feature space)) over all pairs with
    b(l) = sum_{k=l..m-1} 1 / 2k, and b is averaged over the ranks that tied neurons share.

    Args:
        codebook: Neurons, finite, shape (m, d).
        grid: The grid.
        metric: The distance of the map; under cosine the root of it.
        generator: Above 2 500 neurons, takes j from a random sample, of such a size that 2 500^2 pairs are looked at,
            against all neurons: an estimate without bias. None takes every j; the time then grows with m^2.

    Returns:
        P; NaN for one neuron, or if two are at distance 0 (then ratios are 0 / 0), with the reason logged.

    References:
        Bauer and Pawelzik, Quantifying the neighborhood preservation of self-organizing feature maps, IEEE Trans.
        Neural Networks 3(4), 1992.
    """
    m, codebook = len(codebook), codebook.double()
    if m < 2:
        return _defined(math.nan, "topographic_product")
    neurons = torch.arange(m)
    if generator is not None and m**2 > NEURON_PAIRS:
        neurons = torch.randperm(m, generator=generator)[: max(1, NEURON_PAIRS // m)]
    neurons = neurons.to(codebook.device)
    halves = 0.5 / torch.arange(1, m, dtype=torch.float64, device=codebook.device)
    by_rank = halves.flip(0).cumsum(0).flip(0)  # b, (m - 1,)
    total = sum(
        float(_product_terms(neurons[rows], codebook, grid, metric, by_rank).sum())
        for rows in _chunks(len(neurons), m, codebook.device)
    )
    return _defined(total / (len(neurons) * (m - 1)), "topographic_product")


def bootstrap_intervals(
    terms: Tensor, generator: torch.Generator, resamples: int = 1_000, confidence: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Percentile intervals of the means of terms over samples.

    A resample draws as many samples as there are, with replacement. Of more than 20 000 a random part of so many is
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
    for some in _chunks(resamples, n, terms.device):
        draws = torch.randint(n, (some.stop - some.start, n), generator=generator)
        times = terms.new_zeros(draws.shape).scatter_add_(1, draws, terms.new_ones(()).expand_as(draws))
        means[some] = times @ terms / n
    return means


def _estimates(
    terms: Mapping[str, Tensor], generator: torch.Generator, resamples: int, confidence: float
) -> dict[str, Estimate]:
    """Means over samples with their intervals; samples without a winner, NaN in the first column, are left out."""
    table = torch.stack(tuple(terms.values()), dim=1).cpu()  # (n, q)
    table = table[~torch.isnan(table[:, 0])]
    low, high = bootstrap_intervals(table, generator, resamples, confidence)
    ends = zip(terms, table.mean(dim=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(_defined(value, name), low, high) for name, value, low, high in ends}


def _topographic_terms(winners: Winners, grid: Grid, adjacency: Adjacency) -> Tensor:
    """1 where the two winners are not next to each other, else 0, shape (n,)."""
    first, second = winners.index[:, 0], winners.index[:, 1]
    apart = ~adjacent(grid, first.clamp_min(0), second.clamp_min(0), adjacency)
    return apart.double().masked_fill((first < 0) | (second < 0), torch.nan)


def _distortion_terms(
    data: Tensor, winner: Tensor, codebook: Tensor, grid: Grid, metric: Metric, kernel: Kernel, sigma: float
) -> Tensor:
    """sum_j h(c, j) |x - w_j|^2 of every sample, shape (n,), without the n x m distances.

    Feature by feature it is x^2 sum_j h(c, j) - 2 x sum_j h(c, j) w_j + sum_j h(c, j) w_j^2: one smoothing of the
    codebook and its squares, and one look-up a sample.
    """
    squares = Metric("euclidean", metric.feature_weights)  # whatever the metric of the map
    d, device = codebook.shape[1], codebook.device
    weights = squares.scaled(codebook.double())
    center = weights.mean(dim=0)  # an offset of the data must not eat the differences
    weights = weights - center
    columns = torch.cat((weights.new_ones(len(weights), 1), weights, weights.square()), dim=1)
    smoothed = Smoother(grid, device, torch.float64).smooth(columns, kernel, sigma)
    influence, linear, square = torch.split(smoothed, [1, d, d], dim=1)
    terms = weights.new_empty(len(data))
    for rows in _chunks(len(data), d, device):
        x, c = squares.scaled(data[rows].double()) - center, winner[rows].clamp_min(0)
        energy = influence[c] * x.square() - 2 * x * linear[c] + square[c]  # (b, d), NaN where not observed
        terms[rows] = energy.nansum(dim=1) * d / (~torch.isnan(x)).sum(dim=1)
    return terms.masked_fill(winner < 0, torch.nan)


def _combined_terms(winners: Winners, codebook: Tensor, grid: Grid, metric: Metric) -> Tensor:
    """Distance to the winner plus the way from there to the second, shape (n,)."""
    first, second = winners.index[:, 0], winners.index[:, 1]
    start, end = torch.minimum(first, second).clamp_min(0), torch.maximum(first, second).clamp_min(0)
    pairs, pair = torch.unique(start * grid.m + end, return_inverse=True)
    ways = _path_lengths(_lattice(codebook.double(), grid, metric), (pairs // grid.m).cpu(), (pairs % grid.m).cpu())
    terms = winners.distance[:, 0].double() + ways.to(pair.device)[pair]
    return terms.masked_fill((first < 0) | (second < 0), torch.nan)


def _product_terms(neurons: Tensor, codebook: Tensor, grid: Grid, metric: Metric, by_rank: Tensor) -> Tensor:
    """sum_k log P3(j, k) of some neurons j (c,), not finite where another lies at distance 0, shape (c,)."""
    everyone = torch.arange(len(codebook), device=codebook.device)
    own = neurons[:, None] == everyone
    on_grid = _grid_levels(grid, neurons[:, None], everyone)
    apart = metric.pairwise(codebook[neurons], codebook)
    apart = apart.sqrt() if metric.angular else apart
    logs = (apart.log() + on_grid.log() / 2).masked_fill(own, 0)  # but for a constant, which cancels
    values = torch.cat((by_rank, by_rank.new_zeros(1)))  # last comes the neuron itself
    on_grid, apart = on_grid.masked_fill(own, torch.inf), apart.masked_fill(own, torch.inf)
    return (logs * (_mean_by_rank(on_grid, values) - _mean_by_rank(apart, values))).sum(dim=1)


def _lattice(codebook: Tensor, grid: Grid, metric: Metric) -> csr_array:
    """Each edge between neighbors once, with its length in feature space; none to a zero vector under cosine."""
    table = neighbor_table(grid).to(codebook.device)
    neuron, column = torch.nonzero(table > torch.arange(grid.m, device=table.device)[:, None], as_tuple=True)
    neighbor = table[neuron, column]
    length = metric.rowwise(codebook[neuron], codebook[neighbor])
    known = torch.isfinite(length)
    ends = (neuron[known].cpu().numpy(), neighbor[known].cpu().numpy())
    return csr_array((length[known].cpu().numpy(), ends), shape=(grid.m, grid.m))


def _path_lengths(lattice: csr_array, start: Tensor, end: Tensor) -> Tensor:
    """Lengths of the shortest paths between pairs of neurons, float64, shape (p,); infinite where there is none.

    Nearly all ends are close to their start, so the search looks near first and through the whole map for the rest
    only: 100 x 100 neurons take some tenths of a second instead of 20 s.
    """
    first, second, length = start.numpy(), end.numpy(), np.full(len(start), np.inf)
    edge = float(lattice.data.mean()) if lattice.nnz else 0.0
    for limit in (4 * edge, 16 * edge, np.inf):
        open_pairs = np.flatnonzero(np.isinf(length))
        for rows in row_chunks(len(open_pairs), PATH_SOURCES):
            pairs = open_pairs[rows]
            length[pairs] = _paths_within(lattice, first[pairs], second[pairs], limit)
    return torch.from_numpy(length)


def _paths_within(lattice: csr_array, first: Any, second: Any, limit: float) -> NDArray[np.float64]:
    sources, source = np.unique(first, return_inverse=True)
    found = dijkstra(lattice, directed=False, indices=sources, limit=limit)  # (sources, m)
    lengths: NDArray[np.float64] = found[source, second]
    return lengths


def _checked_neighborhood_terms(
    data: Tensor, winner: Tensor, grid: Grid, metric: Metric, n_neighbors: int
) -> tuple[Tensor, Tensor]:
    _require_at_least_one("n_neighbors", n_neighbors)
    known = winner >= 0
    return _neighborhood_terms(data[known], winner[known], grid, metric, n_neighbors)


def _neighborhood_terms(data: Tensor, winner: Tensor, grid: Grid, metric: Metric, k: int) -> tuple[Tensor, Tensor]:
    """Trustworthiness and preservation by sample, each of mean 1 at best, shape (n,); all have a winner."""
    n, data = len(winner), data.double()
    trusted, preserved = data.new_full((n,), torch.nan), data.new_full((n,), torch.nan)
    if n <= 2 * k:
        return trusted, preserved
    worst = k * (2 * n - 3 * k - 1) / 2
    for rows in _chunks(n, n, data.device):
        own = torch.arange(rows.start, rows.stop, device=data.device)[:, None] == torch.arange(n, device=data.device)
        in_data = _places(_sample_distances(metric, data[rows], data).masked_fill(own, torch.inf))
        on_map = _places(_grid_levels(grid, winner[rows, None], winner).masked_fill(own, torch.inf))
        trusted[rows] = 1 - (_among_nearest(on_map, k) * _ranks_beyond(in_data, k)).sum(dim=1) / worst
        preserved[rows] = 1 - (_among_nearest(in_data, k) * _ranks_beyond(on_map, k)).sum(dim=1) / worst
    return trusted, preserved


@dataclass(frozen=True)
class _Places:
    """For each entry of a row: how many of the row are strictly closer, and how many are closer or as far, itself too.

    Tied entries share the ranks closer + 1 .. within.
    """

    closer: Tensor
    within: Tensor


def _places(distances: Tensor) -> _Places:
    """The places of distances (b, n) in their rows. By runs of one sort; a binary search for each is twice as slow."""
    ordered, order = distances.sort(dim=1)
    n = distances.shape[1]
    starts = ordered[:, 1:] > ordered[:, :-1]  # whether a run of equals starts here
    place = torch.arange(1, n, device=distances.device)
    closer, within = torch.zeros_like(order), torch.full_like(order, n)
    closer[:, 1:] = torch.where(starts, place, 0).cummax(dim=1).values
    within[:, :-1] = torch.where(starts, place, n).flip(1).cummin(dim=1).values.flip(1)
    return _Places(*(torch.empty_like(order).scatter_(1, order, found) for found in (closer, within)))


def _among_nearest(places: _Places, k: int) -> Tensor:
    """Probability to be among the k nearest, those tied at the border in random order."""
    return ((k - places.closer).double() / (places.within - places.closer)).clamp(0, 1)


def _ranks_beyond(places: _Places, k: int) -> Tensor:
    """By how much the rank exceeds k, ties at the smallest rank that they share."""
    return (places.closer + 1 - k).clamp_min(0)


def _mean_by_rank(distances: Tensor, by_rank: Tensor) -> Tensor:
    """The value (n,) at the rank of each distance (b, n) in its row, on average over the ranks that ties share."""
    places = _places(distances)
    running = torch.cat((by_rank.new_zeros(1), by_rank.cumsum(0)))
    return (running[places.within] - running[places.closer]) / (places.within - places.closer)


def _grid_levels(grid: Grid, a: Tensor, b: Tensor) -> Tensor:
    """Four times the squared grid distance: whole numbers on every grid, so that equal distances compare equal."""
    return (4 * grid.squared_distances(a, b)).round()


def _sample_distances(metric: Metric, a: Tensor, b: Tensor) -> Tensor:
    """Distances (p, q) between samples (p, d) and (q, d), over the features that both have.

    As in `masked_pairwise`, with sums scaled by d / shared; a pair that shares nothing, or whose distance is not
    defined, is at the largest number there is.
    """
    return metric.shared_pairwise(a, b).nan_to_num(nan=torch.finfo(a.dtype).max)


def _compared_rows(winner: Tensor, generator: torch.Generator) -> Tensor:
    """The rows with a winner, a random sample of them in order where they are many, shape (n',)."""
    rows = torch.nonzero(winner >= 0).flatten()
    if len(rows) <= COMPARED_ROWS:
        return rows
    chosen = torch.randperm(len(rows), generator=generator)[:COMPARED_ROWS].sort().values
    return rows[chosen.to(rows.device)]


def _chunks(n: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices of `n` rows of `width` entries each, such that a block stays small."""
    return row_chunks(n, max(64, CHUNK_ENTRIES.get(device.type, CHUNK_ENTRIES["cpu"]) // max(width, 1)))


def _mean(terms: Tensor, measure: str) -> float:
    """The mean of the terms that are not NaN."""
    return _defined(float(terms.nanmean()), measure)


def _defined(value: float, measure: str) -> float:
    """The value if it is a number, else NaN with the reason in the log."""
    if math.isfinite(value):
        return value
    known = MEASURES[measure]
    logger.info("%s not defined: it needs %s", known.label, known.needs)
    return math.nan


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
    _require_sigma(sigma)
    _require_at_least_one("n_neighbors", n_neighbors)
    _require_at_least_one("resamples", resamples)
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence must lie between 0 and 1, got {confidence}")


def _require_sigma(sigma: float) -> None:
    if not 0 < sigma < math.inf:
        raise ArgumentError(f"sigma must be finite and > 0, got {sigma}")


def _require_at_least_one(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a whole number of at least 1, got {value!r}")

r"""Where the neurons of a map start.

`pca`: the plane through the mean along the two leading principal axes,

    w_k = mean + u_k sqrt(lambda_1) e_1 + v_k sqrt(lambda_2) e_2,

with (u, v) the grid positions scaled to run from -1 to 1 on each axis, the longer side (in neurons; rows if equal) on
the first axis. Samples lie sqrt(lambda) around the mean along an axis, so the map starts as large as the bulk of the
data. `random`: distinct samples of the data, put in order over the grid.

Both find their axes in the metric that the map trains in: with coordinates scaled by the feature weights, and under
cosine with rows at one length (`in_metric`). A plane there is carried back into the features by regression, which is
the plane itself where every feature has a weight, and gives a feature of weight 0 the mean that goes with each place.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.shuffling import random_rows

MOST_FOR_ALL_AXES = 100  # features up to which all principal axes take no longer than two
SAMPLE_OF_START = 20_000  # rows that a start of another kind sees where they are not in memory
GRAM_ENTRIES = 2**17  # values at a time in sums over the data: half a megabyte, copies and all in the cache


PLAIN = Metric("euclidean")


def pca_weights(data: Tensor, grid: Grid, metric: Metric = PLAIN) -> Tensor:
    """The codebook on the plane of the two leading principal axes.

    Args:
        data: Samples, NaN where not observed, shape (n, d).
        grid: The grid; hexagonal positions are used as they are.
        metric: The distance that the map trains in.

    Returns:
        Codebook, dtype and device of `data`, shape (m, d). Constant data gives the mean everywhere.

    References:
        Kohonen, Self-Organizing Maps, 3rd ed., Springer 2001, sec. 3.7 (linear initialization).
    """
    return plane_weights(*moments(in_metric(data, metric)), grid, metric).to(data.dtype)


def plane_weights(mean: Tensor, covariance: Tensor, grid: Grid, metric: Metric = PLAIN) -> Tensor:
    """The codebook (m, d) of `pca_weights`, float64, from mean (d,) and covariance (d, d) of the data in the metric."""
    eigenvalues, axes = leading_axes(_scaled_covariance(covariance, metric), 2)
    if metric.feature_weights is None:
        spread = eigenvalues.sqrt()[:, None] * axes.T  # (2, d)
    else:  # Cov(x, t) / sd(t) of the coordinate t along each axis
        spread = (covariance @ metric.scaled(axes.T).T).T / eigenvalues.sqrt()[:, None]
        spread = torch.where(eigenvalues[:, None] > 0, spread, 0)
    rows, columns = grid.positions.to(mean.device).unbind(1)
    vertical, horizontal = _from_minus_one_to_one(rows, grid.x), _from_minus_one_to_one(columns, grid.y)
    first, second = (vertical, horizontal) if grid.x >= grid.y else (horizontal, vertical)
    return mean + first[:, None] * spread[0] + second[:, None] * spread[1]


def sampled_weights(data: Tensor, grid: Grid, generator: torch.Generator, metric: Metric = PLAIN) -> Tensor:
    """Distinct samples as codebook, shape (m, d); again from the start where there are fewer than m.

    A missing value takes the mean of its feature. Which samples it is, is left to chance; where they go is not: see
    `arranged`.
    """
    chosen = data[starting_rows(len(data), grid.m, generator).to(data.device)]
    return arranged(torch.where(torch.isnan(chosen), feature_means(data).to(data.dtype), chosen), grid, metric)


def starting_rows(n: int, m: int, generator: torch.Generator) -> Tensor:
    """Which of n samples m neurons start from, int64, shape (m,): distinct ones, again from the start beyond n."""
    return torch.cat([random_rows(n, generator, min(m, n)) for _ in range(-(-m // n))])[:m]


# Name -> the codebook (m, d) from samples (n, d), the grid, the metric, and a generator for what is left to chance.
INITIALIZATIONS: dict[str, Callable[[Tensor, Grid, Metric, torch.Generator], Tensor]] = {
    "random": lambda data, grid, metric, generator: sampled_weights(data, grid, generator, metric),
    "pca": lambda data, grid, metric, _: pca_weights(data, grid, metric),
}


class StartingRows(Protocol):
    """Rows that are not in memory, of which some are known and others can be asked for."""

    n: int
    center: Tensor

    @property
    def moments(self) -> "KnownMoments":
        """Of the rows as far as the metric sees them."""

    def values(self, index: Tensor) -> Tensor:
        """The rows (b, d) of an `index` (b,)."""


class KnownMoments(Protocol):
    """Mean and covariance of rows."""

    @property
    def mean(self) -> Tensor:
        """Shape (d,)."""

    @property
    def covariance(self) -> Tensor:
        """Shape (d, d)."""


@dataclass(frozen=True)
class StreamedStart:
    """How a start that rows in memory get comes about without them.

    Attributes:
        weights: The codebook (m, d).
        axes: Whether it asks for the covariance.
        asked: The numbers of the rows that it asks for, from those of rows and neurons; None for none.
    """

    weights: Callable[[StartingRows, Grid, Metric, torch.Generator], Tensor]
    axes: bool = False
    asked: Callable[[int, int, torch.Generator], Tensor] | None = None


def _streamed_plane(rows: StartingRows, grid: Grid, metric: Metric, generator: torch.Generator) -> Tensor:
    del generator
    return plane_weights(rows.moments.mean, rows.moments.covariance, grid, metric)


def _streamed_samples(rows: StartingRows, grid: Grid, metric: Metric, generator: torch.Generator) -> Tensor:
    chosen = rows.values(starting_rows(rows.n, grid.m, generator))
    return arranged(torch.where(torch.isnan(chosen), rows.center, chosen), grid, metric)


# Those of `INITIALIZATIONS` that need not see all rows; any other sees some of them.
STREAMED_STARTS: dict[str, StreamedStart] = {
    "random": StreamedStart(_streamed_samples, asked=starting_rows),
    "pca": StreamedStart(_streamed_plane, axes=True),
}


def streamed_start(mode: str) -> StreamedStart:
    """How the start of that name comes about without all rows in memory."""

    def of_some(rows: StartingRows, grid: Grid, metric: Metric, generator: torch.Generator) -> Tensor:
        sample = random_rows(rows.n, generator, min(rows.n, SAMPLE_OF_START))
        return INITIALIZATIONS[mode](rows.values(sample), grid, metric, generator)

    return STREAMED_STARTS.get(mode, StreamedStart(of_some))


def arranged(codebook: Tensor, grid: Grid, metric: Metric = PLAIN) -> Tensor:
    """The same neurons (m, d), sorted over the grid by their two leading principal axes in the metric.

    Along the longer side by the first axis, within each line across it by the second. A map that starts in disorder may
    keep a fold for good, more likely the fewer steps it is trained for; one that starts in order has none.
    """
    places = metric.scaled(in_metric(codebook, metric).double())
    mean, covariance = moments(places)
    centered = (places - mean).nan_to_num(nan=0.0)  # a zero vector has no place under cosine
    first, second = (centered @ leading_axes(covariance, 2)[1]).unbind(1)
    lines = first.argsort(stable=True).reshape(max(grid.x, grid.y), min(grid.x, grid.y))
    lines = lines.gather(1, second[lines].argsort(dim=1, stable=True))
    return codebook[(lines if grid.x >= grid.y else lines.T).flatten()]


def in_metric(data: Tensor, metric: Metric) -> Tensor:
    """The data (n, d) as far as the metric sees it; under cosine all rows at their mean length, zero vectors NaN.

    A row with missing values has the length of what was observed, scaled by the root of d / observed.
    """
    if not metric.angular:
        return data
    length = lengths_in_metric(data, metric)
    return data * (length.nanmean() / length).to(data.dtype)


def lengths_in_metric(data: Tensor, metric: Metric) -> Tensor:
    """Lengths of rows (n, d) in coordinates where every feature weighs 1, by the root of d, float64, shape (n, 1).

    NaN for zero vectors. Of a row with missing values that of what was observed, scaled by the root of d / observed.
    """
    scaled = metric.scaled(data.double())
    largest = scaled.abs().nan_to_num(nan=0.0).amax(dim=1, keepdim=True)
    length: Tensor = largest * (scaled / largest).square().nanmean(dim=1, keepdim=True).sqrt()
    return torch.where(length > 0, length, torch.nan)


def _scaled_covariance(covariance: Tensor, metric: Metric) -> Tensor:
    """The covariance (d, d) of coordinates where every feature weighs 1."""
    return metric.scaled(metric.scaled(covariance).T).T


def feature_means(data: Tensor) -> Tensor:
    """Mean of the observed values of each feature, float64, shape (d,); 0 where nothing is observed."""
    total = torch.zeros(data.shape[1], dtype=torch.float64, device=data.device)
    count = torch.zeros_like(total)
    for chunk in torch.split(data, rows_at_a_time(data)):
        part, rows = chunk.double().sum(dim=0), float(len(chunk))
        if bool(torch.isfinite(part).all()):
            total += part
            count += rows
        else:
            total += chunk.double().nansum(dim=0)
            count += (~torch.isnan(chunk)).sum(dim=0)
    return total / count.clamp_min(1)


def moments(data: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of the data, float64; missing values are taken as the mean.

    The covariance is of the sample (divided by n - 1), the zero matrix for one sample.
    """
    mean = feature_means(data)
    scatter = _scatter_of_complete(data, mean)
    if not bool(torch.isfinite(scatter).all()):  # missing values, or squares beyond the type of the data
        scatter = torch.zeros_like(scatter)
        for chunk in torch.split(data, rows_at_a_time(data)):
            centered = (chunk - mean).nan_to_num(nan=0.0)
            scatter += centered.T @ centered
    return mean, scatter / max(len(data) - 1, 1)


def _scatter_of_complete(data: Tensor, mean: Tensor) -> Tensor:
    """Sum of squares and products around the mean, (d, d), float64; not finite where a value is missing.

    The products are taken in the type of the data, a quarter of the time, and added up in float64.
    """
    middle = mean.to(data.dtype)
    unheld = mean - middle  # what the type of the data cannot hold of the mean
    scatter = -len(data) * torch.outer(unheld, unheld)
    for chunk in torch.split(data, rows_at_a_time(data)):
        centered = chunk - middle
        scatter += centered.T @ centered
    return scatter


def rows_at_a_time(data: Tensor) -> int:
    """Rows of a chunk that stays in the cache, with its copies."""
    return max(1, GRAM_ENTRIES // data.shape[1])


def leading_axes(covariance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest eigenvalues (k,) and their axes as columns (d, k); zeros where d < k.

    The sign of each axis is fixed: its component of largest size is positive.
    """
    d = len(covariance)
    values, vectors = _few_axes(covariance, k) if d > MOST_FOR_ALL_AXES else torch.linalg.eigh(covariance)  # ascending
    values, vectors = values.flip(0)[:k].clamp_min(0), vectors.flip(1)[:, :k]
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    missing = max(k - d, 0)
    values = torch.cat((values, values.new_zeros(missing)))
    return values, torch.cat((vectors, vectors.new_zeros(d, missing)), dim=1)


def leading_variances(data: Tensor, metric: Metric = PLAIN) -> tuple[float, float]:
    """The two largest variances of data (n, d) along axes in the metric; 0 where there is no such axis."""
    return two_variances(moments(in_metric(data, metric))[1], metric)


def two_variances(covariance: Tensor, metric: Metric = PLAIN) -> tuple[float, float]:
    """The two largest variances along axes in the metric, from the covariance (d, d) of the data in it."""
    first, second = leading_axes(_scaled_covariance(covariance, metric), 2)[0].tolist()
    return first, second


def _few_axes(covariance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest eigenvalues (k,), ascending, and their axes (d, k), by Lanczos' method."""
    from scipy.sparse.linalg import ArpackError, eigsh  # slow to import, and few maps need it to train

    matrix = covariance.cpu().numpy()
    start = np.random.default_rng(0).standard_normal(len(matrix))  # any would do, but the same each time
    try:
        values, vectors = eigsh(matrix, k, v0=start)
    except ArpackError:
        largest, axes = torch.linalg.eigh(covariance)
        return largest, axes
    return torch.from_numpy(values).to(covariance), torch.from_numpy(vectors).to(covariance)


def interpolated_weights(codebook: Tensor, source: Grid, target: Grid) -> Tensor:
    """A codebook for another grid, read off the old map by linear interpolation between its neurons.

    Both maps are laid over one another corner to corner (a torus, seam to seam), so a map of the same size and shape
    comes back as it is.

    Args:
        codebook: Neurons of the source map, shape (m, d).
        source: Its grid.
        target: The grid wanted.

    Returns:
        Codebook, shape (target.m, d).
    """
    if source == target:
        return codebook.clone()
    rows = _interpolation(target.x, source.x, 0.0, source.pbc).to(codebook)  # (x', x)
    by_row = torch.tensordot(rows, _as_columns(codebook, source), dims=1)
    out = []
    for row in range(target.x):
        shift = 0.5 * (row % 2) if target.hexagonal else 0.0
        columns = _interpolation(target.y, source.y, shift, source.pbc).to(codebook)  # (y', y)
        out.append(columns @ by_row[row])
    return torch.cat(out)


def _as_columns(codebook: Tensor, source: Grid) -> Tensor:
    """The codebook on the straight columns of a rectangular grid, shape (x, y, d)."""
    weights = codebook.reshape(source.x, source.y, -1).clone()
    if not source.hexagonal:
        return weights
    odd = weights[1::2]
    left = odd.roll(1, dims=1)  # column j of an odd row lies at j + 1/2: the value at j is halfway to the left one
    if not source.pbc:
        left[:, 0] = odd[:, 0]
    weights[1::2] = (odd + left) / 2
    return weights


def _interpolation(to: int, from_: int, shift: float, wrapped: bool) -> Tensor:
    """Matrix (to, from_) that reads values at `from_` places linearly at `to` places, moved by `shift` of a place."""
    steps = torch.arange(to, dtype=torch.float64) + shift
    place = steps * from_ / to if wrapped else steps * ((from_ - 1) / max(to - 1, 1))
    if not wrapped:
        place = place.clamp(0, from_ - 1)
    low = place.floor()
    share = (place - low)[:, None]
    one_hot = torch.eye(from_, dtype=torch.float64)
    low_index = low.long() % from_
    high_index = (low.long() + 1) % from_ if wrapped else (low.long() + 1).clamp(max=from_ - 1)
    return (1 - share) * one_hot[low_index] + share * one_hot[high_index]


def _from_minus_one_to_one(positions: Tensor, side: int) -> Tensor:
    """Positions along an axis of `side` neurons scaled to run from -1 to 1; all 0 where there is one neuron only."""
    if side == 1:  # one column of hexagons has two places, half a cell apart, and still no extent
        return torch.zeros_like(positions)
    low, high = positions.min(), positions.max()
    return 2 * (positions - low) / (high - low) - 1

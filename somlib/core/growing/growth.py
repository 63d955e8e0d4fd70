r"""Where a map grows, and when it is large enough: pure functions on a codebook and its grid.

The error that neuron k accumulates over the n samples, with w_i the sample weights, delta the squared distance (the
distance itself under cosine, which is half a squared one) and D the weighted mean of delta to the mean of the data:

    E_k = 100 / (sum_i w_i) * sum_{i won by k} w_i d delta(x_i, w_k) / D

That is what Alahakoon et al. accumulate over 100 samples of d features of unit variance. A map of one neuron at the
mean has E = 100 d, whatever the scale, the number and the weights of the samples, so the spread factor SF in (0, 1)
means the same for all data. The map grows while any neuron exceeds the growth threshold

    GT = -d ln(SF)

so while it accounts for more than -ln(SF) percent of the deviation of the data: 2.3 % at SF = 0.1, 0.69 % at 0.5,
0.11 % at 0.9. A far outlier can be a large share of the deviation alone, and makes the map grow for it: scale features
that have some, or set `max_neurons`.

It grows as a growing grid does: a whole row or column goes between the neuron of largest error and the one of its
direct neighbors that is most distant from it in feature space, so that it stays a full grid. On hexagonal grids a new
row changes the half-cell shift of all rows below it; their weights are read off at their new places, halfway between
two neighbors. A hexagonal torus needs an even number of rows and so gets two at once.

References:
    Alahakoon, Halgamuge and Srinivasan, Dynamic self-organizing maps with controlled growth for knowledge discovery,
    IEEE Trans. Neural Networks 11(3), 2000 (accumulated error, spread factor).
    Fritzke, Growing grid: a self-organizing network with constant neighborhood range and adaptation strength, Neural
    Processing Letters 2(5), 1995 (rows and columns).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from somlib.core.rule import TrainingSet
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.initialization import rows_at_a_time
from somlib.utils.metrics import adjacent
from somlib.utils.search import Winners, exact_distances, row_chunks

PRESENTED = 100.0  # samples' worth of error that is compared with the threshold


@dataclass(frozen=True)
class Insertion:
    """Where a grid grows.

    Attributes:
        axis: Whether a row or a column is new.
        after: The row or column that it follows; the last one on a torus, where the new one closes the seam.
    """

    axis: Literal["row", "column"]
    after: int


def growth_threshold(d: int, spread_factor: float) -> float:
    """Accumulated error above which a neuron makes the map grow: -d ln(SF)."""
    return -d * math.log(spread_factor)


def accumulated_errors(winners: Winners, m: int, metric: Metric, weight: Tensor | None = None) -> Tensor:
    """Sum of delta over the samples that each neuron won, float64, shape (m,).

    Args:
        winners: With distances, shape (n, k), k >= 1.
        m: Number of neurons.
        metric: The distance that they are in.
        weight: Sample weights, shape (n,); None for 1 each.
    """
    won = winners.index[:, 0] >= 0
    index, distance = winners.index[won, 0], winners.distance[won, 0].double()
    delta = distance if metric.angular else distance.square()
    delta = delta if weight is None else delta * weight[won].double()
    return torch.zeros(m, dtype=torch.float64, device=index.device).index_add_(0, index, delta)


def relative_errors(winners: Winners, m: int, rows: TrainingSet, metric: Metric) -> Tensor:
    """E_k of the neurons, float64, shape (m,): what is compared with the growth threshold.

    Args:
        winners: Of all rows, with distances, shape (n, k).
        m: Number of neurons.
        rows: The training data; where it does not deviate from its mean, all errors are 0.
        metric: The distance of the map.
    """
    deviation = accumulated_errors(winners_of_mean(rows, metric), 1, metric, rows.weight)
    if not bool(deviation > 0):
        return torch.zeros(m, dtype=torch.float64, device=winners.index.device)
    errors = accumulated_errors(winners, m, metric, rows.weight)
    return PRESENTED * rows.data.shape[1] * errors / deviation


def winners_of_mean(rows: TrainingSet, metric: Metric) -> Winners:
    """The winners (n, 1), with distances, on a map of one neuron at the mean of the data.

    Under cosine a mean of zero has no direction. All samples count as at right angles to it then, which is what their
    distances to any one direction average.
    """
    mean = weighted_means(rows).to(rows.data.dtype)
    index = torch.zeros(len(rows.data), 1, dtype=torch.int64, device=rows.data.device)
    without_direction = not bool(metric.defined(mean[None]))
    target = torch.ones_like(mean) if without_direction else mean
    distance = exact_distances(rows.data, target[None], index, metric)
    index[torch.isnan(distance)] = -1
    return Winners(index, torch.where(index < 0, torch.nan, 1.0) if without_direction else distance)


def weighted_means(rows: TrainingSet) -> Tensor:
    """Weighted mean of the observed values of each feature, float64, shape (d,); the center where there is none."""
    total = rows.data.new_zeros(rows.data.shape[1], dtype=torch.float64)
    count = torch.zeros_like(total)
    for chunk in row_chunks(len(rows.data), rows_at_a_time(rows.data)):
        centered = rows.data[chunk].double() - rows.center.double()
        weight = rows.weight_of(chunk)
        share = (~torch.isnan(centered)).double() * (1.0 if weight is None else weight.double()[:, None])
        total += (centered.nan_to_num(nan=0.0) * share).sum(dim=0)
        count += share.sum(dim=0)
    return rows.center.double() + torch.where(count > 0, total / torch.where(count > 0, count, 1), 0)


def place_to_grow(codebook: Tensor, grid: Grid, metric: Metric, neuron: int) -> Insertion:
    """Between which rows or columns the grid grows, to relieve `neuron`: those of it and its most distant neighbor.

    Args:
        codebook: Neurons, shape (m, d).
        grid: Their grid, of two neurons at least.
        metric: The distance of the map.
        neuron: Flat index of the neuron of largest error.
    """
    every = torch.arange(grid.m)
    beside = torch.nonzero(adjacent(grid, torch.tensor(neuron), every, "edge") & (every != neuron)).flatten()
    distance = metric.pairwise(codebook[neuron][None], codebook[beside.to(codebook.device)])[0]
    farthest = int(beside[int(distance.nan_to_num(nan=-torch.inf).argmax())])
    (row, column), (other_row, other_column) = divmod(neuron, grid.y), divmod(farthest, grid.y)
    if row == other_row:
        return Insertion("column", _first_of(column, other_column))
    return Insertion("row", _first_of(row, other_row))


def grown_grid(grid: Grid, insertion: Insertion) -> Grid:
    """The grid with one column more, or one row (two on a hexagonal torus)."""
    if insertion.axis == "column":
        return Grid(grid.x, grid.y + 1, grid.topology, grid.pbc)
    return Grid(grid.x + _new_rows(grid), grid.y, grid.topology, grid.pbc)


def grown_codebook(codebook: Tensor, grid: Grid, insertion: Insertion) -> Tensor:
    """The codebook of the grown grid, new neurons in the middle between the old ones on both sides.

    Args:
        codebook: Neurons, shape (m, d).
        grid: The grid before.
        insertion: Where it grows.

    Returns:
        Codebook in the flat order of `grown_grid(grid, insertion)`, shape (m', d).
    """
    weights = codebook.reshape(grid.x, grid.y, -1)
    grow = _with_column if insertion.axis == "column" else _with_rows
    return grow(weights, grid, insertion.after).flatten(0, 1)


def _with_column(weights: Tensor, grid: Grid, after: int) -> Tensor:
    new = (weights[:, after] + weights[:, (after + 1) % grid.y]) / 2
    return torch.cat((weights[:, : after + 1], new[:, None], weights[:, after + 1 :]), dim=1)


def _with_rows(weights: Tensor, grid: Grid, after: int) -> Tensor:
    parts = _new_rows(grid) + 1
    between = [after + part / parts for part in range(1, parts)]
    places = [*range(after + 1), *between, *range(after + 1, grid.x)]  # of the new rows, in old row numbers
    return torch.stack([_row_at(weights, grid, place, row) for row, place in enumerate(places)])


def _row_at(weights: Tensor, grid: Grid, place: float, row: int) -> Tensor:
    """The weights (y, d) of the new row `row`, which lies at `place` between the old ones."""
    low = math.floor(place)
    share = place - low
    values = _shifted(weights[low], grid, row % 2 - low % 2)
    if not share:
        return values
    high = (low + 1) % grid.x
    return (1 - share) * values + share * _shifted(weights[high], grid, row % 2 - high % 2)


def _shifted(values: Tensor, grid: Grid, half_cells: int) -> Tensor:
    """The weights (y, d) of a row, read `half_cells` (-1, 0, 1) to the right of its own hexagonal columns.

    Beyond the edge of a flat grid the outermost neuron is taken.
    """
    if not (grid.hexagonal and half_cells):
        return values
    beside = values.roll(-half_cells, dims=0)
    if not grid.pbc:
        edge = -1 if half_cells > 0 else 0
        beside[edge] = values[edge]
    return (values + beside) / 2


def _first_of(a: int, b: int) -> int:
    """The one of two neighboring rows or columns that the other follows; across the seam, the last one."""
    return min(a, b) if abs(a - b) == 1 else max(a, b)


def _new_rows(grid: Grid) -> int:
    return 2 if grid.hexagonal and grid.pbc else 1

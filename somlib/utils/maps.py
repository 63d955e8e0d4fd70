r"""Maps: one value for each neuron, from the samples it won or from the codebook.

Statistics of targets are computed in float64 whatever the data is. A neuron without samples has NaN (0 hits). Every
function takes winners as flat indices with -1 for samples that have none, and returns flat maps (m,) or (o, m).

References:
    Ultsch and Siemon, Kohonen's self organizing feature maps for exploratory data analysis, INNC 1990 (U-matrix).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table


@dataclass(frozen=True)
class NeuronSamples:
    """Which samples each neuron won, as flat arrays.

    Attributes:
        sample: Sample indices sorted by neuron, ascending within one, int64, shape (n',).
        offset: Neuron `k` owns `sample[offset[k]:offset[k + 1]]`, int64, shape (m + 1,).
    """

    sample: Tensor
    offset: Tensor

    @property
    def count(self) -> Tensor:
        """Samples of each neuron, int64, shape (m,)."""
        return self.offset.diff()

    @property
    def neuron(self) -> Tensor:
        """The neuron of each entry of `sample`, int64, shape (n',)."""
        return torch.repeat_interleave(torch.arange(len(self.offset) - 1, device=self.offset.device), self.count)

    def without(self, left_out: Tensor) -> "NeuronSamples":
        """The same but for some samples; bool, shape (n,)."""
        kept = ~left_out[self.sample]
        if bool(kept.all()):
            return self
        count = torch.bincount(self.neuron[kept], minlength=len(self.offset) - 1)
        return NeuronSamples(self.sample[kept], torch.cat((count.new_zeros(1), count.cumsum(0))))

    def of(self, neuron: int) -> Tensor:
        """Sample indices of one neuron."""
        return self.sample[self.offset[neuron] : self.offset[neuron + 1]]


def neuron_samples(winner: Tensor, m: int) -> NeuronSamples:
    """The samples of each of `m` neurons, from the winner of each sample (n,)."""
    order = torch.argsort(winner, stable=True)
    order = order[int((winner < 0).sum()) :]
    offset = torch.zeros(m + 1, dtype=torch.int64, device=winner.device)
    offset[1:] = torch.bincount(winner[winner >= 0], minlength=m).cumsum(0)
    return NeuronSamples(order, offset)


def hit_map(winner: Tensor, m: int) -> Tensor:
    """Number of samples won by each neuron, float32, shape (m,)."""
    return torch.bincount(winner[winner >= 0], minlength=m).float()


def distance_map(codebook: Tensor, grid: Grid, metric: Metric, order: int = 1, scaling: str = "sum") -> Tensor:
    """The U-matrix, unscaled: sum or mean of each neuron's distances to its neighbors.

    Args:
        codebook: Neurons, shape (m, d).
        grid: The grid.
        metric: Distance between codebook vectors.
        order: Hops up to which neurons are neighbors.
        scaling: `"sum"`, which is smaller at the border of a flat map, or `"mean"`, which is not.

    Returns:
        Distances in the units of the metric, shape (m,); 0 for a neuron without neighbors.
    """
    table = neighbor_table(grid, order).to(codebook.device)
    total = codebook.new_zeros(grid.m)
    count = codebook.new_zeros(grid.m)
    for column in table.unbind(1):
        distances = metric.rowwise(codebook, codebook[column.clamp_min(0)])
        total += distances.masked_fill(column < 0, 0)
        count += column >= 0
    return total / count.clamp_min(1) if scaling == "mean" else total


def scaled_to_one(values: Tensor) -> Tensor:
    """Values divided by their maximum; all 0 where that is 0."""
    highest = values.nan_to_num(nan=0.0).max()
    return values / highest if bool(highest > 0) else torch.zeros_like(values)


def mean_map(groups: NeuronSamples, target: Tensor) -> Tensor:
    """Mean target of each neuron's samples, float64, shape (o, m) for targets (n, o); NaN where it has none."""
    count = groups.count.double()
    return _sum_by_neuron(groups, target[groups.sample]) / torch.where(count > 0, count, torch.nan)


def std_map(groups: NeuronSamples, target: Tensor) -> Tensor:
    """Unbiased standard deviation of each neuron's targets, float64, shape (o, m); NaN below two samples."""
    count = groups.count.double()
    mean = mean_map(groups, target)  # two passes: squares of deviations never cancel
    deviations = target[groups.sample] - mean.T[groups.neuron]
    squares = _sum_by_neuron(groups, deviations.square())
    return (squares / torch.where(count > 1, count - 1, torch.nan)).sqrt()


def score_map(groups: NeuronSamples, target: Tensor) -> Tensor:
    """Reliability std / sqrt(n_k) * ln(N / n_k), lower is better, float64, shape (o, m); NaN below two samples."""
    count = groups.count.double()
    count = torch.where(count > 0, count, torch.nan)
    return std_map(groups, target) / count.sqrt() * (float(groups.count.sum()) / count).log()


def rank_map(groups: NeuronSamples, target: Tensor) -> Tensor:
    """Rank by standard deviation, 1 the lowest, ties sharing the smaller, shape (o, m); NaN below two samples."""
    std = std_map(groups, target).contiguous()  # searchsorted warns of transposed values
    ascending = std.nan_to_num(nan=math.inf).sort(dim=1).values
    rank = torch.searchsorted(ascending, std).double() + 1
    return torch.where(torch.isnan(std), torch.nan, rank)


def classification_map(groups: NeuronSamples, target: Tensor, grid: Grid, order: int) -> Tensor:
    """Most frequent class of each neuron's samples, float64, shape (o, m); NaN where it has none.

    Among tied classes the one most frequent among the samples of all neighbors up to `order`, then the smallest label;
    an order of 0 asks no neighbors.
    """
    return torch.stack([_most_frequent(groups, column, grid, order) for column in target.unbind(1)])


def _most_frequent(groups: NeuronSamples, labels: Tensor, grid: Grid, order: int) -> Tensor:
    """`classification_map` of one target; memory grows with the samples, not with neurons times classes."""
    classes, code = torch.unique(labels, return_inverse=True)
    # A ballot is a class that a neuron has, as one number; they are sorted by neuron, then class.
    ballots, votes = torch.unique(groups.neuron * len(classes) + code[groups.sample], return_counts=True)
    neuron, choice = ballots // len(classes), ballots % len(classes)
    leading = votes == _largest(votes, neuron, grid.m)[neuron]
    undecided = leading & (torch.bincount(neuron[leading], minlength=grid.m) > 1)[neuron]
    if order and bool(undecided.any()):
        at, of = neuron[undecided], choice[undecided]
        around = torch.zeros_like(at)
        for neighbor in neighbor_table(grid, order).to(at.device)[at].unbind(1):  # (u,), -1 for none
            ballot = neighbor * len(classes) + of
            place = torch.searchsorted(ballots, ballot).clamp_max(len(ballots) - 1)
            around += torch.where((neighbor >= 0) & (ballots[place] == ballot), votes[place], 0)
        leading[undecided] = around == _largest(around, at, grid.m)[at]
    first = torch.full((grid.m,), len(classes), device=labels.device)
    first.scatter_reduce_(0, neuron[leading], choice[leading], "amin")  # the smallest label
    return torch.where(groups.count > 0, classes[first.clamp_max(len(classes) - 1)], torch.nan)


def _largest(values: Tensor, neuron: Tensor, m: int) -> Tensor:
    """The largest of the values (p,), none negative, at each neuron, shape (m,); 0 where it has none."""
    return torch.zeros(m, dtype=values.dtype, device=values.device).scatter_reduce_(0, neuron, values, "amax")


def _sum_by_neuron(groups: NeuronSamples, values: Tensor) -> Tensor:
    """Sums (o, m) of values (n', o) that are sorted by neuron."""
    m = len(groups.offset) - 1
    total = values.new_zeros(m, values.shape[1])
    return total.index_add_(0, groups.neuron, values).T

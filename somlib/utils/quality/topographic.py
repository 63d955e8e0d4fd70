"""The topographic product, and the terms of the topographic errors."""

import math

import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.metrics import Adjacency, adjacent
from somlib.utils.quality.measures import defined
from somlib.utils.quality.ranks import chunks_of, grid_levels, mean_by_rank
from somlib.utils.search import Winners

NEURON_PAIRS = 2_500**2  # pairs that a topographic product looks at where it may take a part of them


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
        return defined(math.nan, "topographic_product")
    neurons = torch.arange(m)
    if generator is not None and m**2 > NEURON_PAIRS:
        neurons = torch.randperm(m, generator=generator)[: max(1, NEURON_PAIRS // m)]
    neurons = neurons.to(codebook.device)
    halves = 0.5 / torch.arange(1, m, dtype=torch.float64, device=codebook.device)
    by_rank = halves.flip(0).cumsum(0).flip(0)  # b, (m - 1,)
    total = sum(
        float(_product_terms(neurons[rows], codebook, grid, metric, by_rank).sum())
        for rows in chunks_of(len(neurons), m, codebook.device)
    )
    return defined(total / (len(neurons) * (m - 1)), "topographic_product")


def _product_terms(neurons: Tensor, codebook: Tensor, grid: Grid, metric: Metric, by_rank: Tensor) -> Tensor:
    """sum_k log P3(j, k) of some neurons j (c,), not finite where another lies at distance 0, shape (c,)."""
    everyone = torch.arange(len(codebook), device=codebook.device)
    own = neurons[:, None] == everyone
    on_grid = grid_levels(grid, neurons[:, None], everyone)
    apart = metric.pairwise(codebook[neurons], codebook)
    apart = apart.sqrt() if metric.angular else apart
    logs = (apart.log() + on_grid.log() / 2).masked_fill(own, 0)  # but for a constant, which cancels
    values = torch.cat((by_rank, by_rank.new_zeros(1)))  # last comes the neuron itself
    on_grid, apart = on_grid.masked_fill(own, torch.inf), apart.masked_fill(own, torch.inf)
    return (logs * (mean_by_rank(on_grid, values) - mean_by_rank(apart, values))).sum(dim=1)


def topographic_terms(winners: Winners, grid: Grid, adjacency: Adjacency) -> Tensor:
    """1 where the two winners are not next to each other, else 0, shape (n,)."""
    first, second = winners.index[:, 0], winners.index[:, 1]
    apart = ~adjacent(grid, first.clamp_min(0), second.clamp_min(0), adjacency)
    return apart.double().masked_fill((first < 0) | (second < 0), torch.nan)

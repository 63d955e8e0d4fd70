"""The energy of a map."""

import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import Kernel
from somlib.utils.quality.arguments import require_sigma
from somlib.utils.quality.measures import mean_of
from somlib.utils.quality.ranks import chunks_of
from somlib.utils.smoothing import Smoother


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
    require_sigma(sigma)
    return mean_of(distortion_terms(data, winner, codebook, grid, metric, kernel, sigma), "distortion")


def distortion_terms(
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
    for rows in chunks_of(len(data), d, device):
        x, c = squares.scaled(data[rows].double()) - center, winner[rows].clamp_min(0)
        energy = influence[c] * x.square() - 2 * x * linear[c] + square[c]  # (b, d), NaN where not observed
        terms[rows] = energy.nansum(dim=1) * d / (~torch.isnan(x)).sum(dim=1)
    return terms.masked_fill(winner < 0, torch.nan)

"""Trustworthiness and neighborhood preservation."""

import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.quality.arguments import require_at_least_one
from somlib.utils.quality.measures import mean_of
from somlib.utils.quality.ranks import among_nearest, chunks_of, grid_levels, places_of, ranks_beyond


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
    return mean_of(_checked_neighborhood_terms(data, winner, grid, metric, n_neighbors)[0], "trustworthiness")


def neighborhood_preservation(data: Tensor, winner: Tensor, grid: Grid, metric: Metric, n_neighbors: int = 10) -> float:
    """Whether the samples that are nearest in the data are near on the map, in [0, 1], 1 the best; also "continuity".

    Arguments, errors, cost and source as `trustworthiness`.
    """
    return mean_of(_checked_neighborhood_terms(data, winner, grid, metric, n_neighbors)[1], "neighborhood_preservation")


def _checked_neighborhood_terms(
    data: Tensor, winner: Tensor, grid: Grid, metric: Metric, n_neighbors: int
) -> tuple[Tensor, Tensor]:
    require_at_least_one("n_neighbors", n_neighbors)
    known = winner >= 0
    return neighborhood_terms(data[known], winner[known], grid, metric, n_neighbors)


def neighborhood_terms(data: Tensor, winner: Tensor, grid: Grid, metric: Metric, k: int) -> tuple[Tensor, Tensor]:
    """Trustworthiness and preservation by sample, each of mean 1 at best, shape (n,); all have a winner."""
    n, data = len(winner), data.double()
    trusted, preserved = data.new_full((n,), torch.nan), data.new_full((n,), torch.nan)
    if n <= 2 * k:
        return trusted, preserved
    worst = k * (2 * n - 3 * k - 1) / 2
    for rows in chunks_of(n, n, data.device):
        own = torch.arange(rows.start, rows.stop, device=data.device)[:, None] == torch.arange(n, device=data.device)
        in_data = places_of(_sample_distances(metric, data[rows], data).masked_fill(own, torch.inf))
        on_map = places_of(grid_levels(grid, winner[rows, None], winner).masked_fill(own, torch.inf))
        trusted[rows] = 1 - (among_nearest(on_map, k) * ranks_beyond(in_data, k)).sum(dim=1) / worst
        preserved[rows] = 1 - (among_nearest(in_data, k) * ranks_beyond(on_map, k)).sum(dim=1) / worst
    return trusted, preserved


def _sample_distances(metric: Metric, a: Tensor, b: Tensor) -> Tensor:
    """Distances (p, q) between samples (p, d) and (q, d), over the features that both have.

    As in `masked_pairwise`, with sums scaled by d / shared; a pair that shares nothing, or whose distance is not
    defined, is at the largest number there is.
    """
    return metric.shared_pairwise(a, b).nan_to_num(nan=torch.finfo(a.dtype).max)

r"""How unusual a sample is: its distance to the winner against the distances that are normal for that neuron.

A neuron in a sparse region lies far from its own samples, so one limit for the whole map would call that whole region
unusual. Each neuron has its own scale, the mean distance of the samples it won, drawn towards the mean of the map
where it won few:

    s_k = (sum of distances at k + PRIOR * mean distance) / (n_k + PRIOR)          score(x) = d(x, w_bmu) / s_bmu

A threshold for the share alpha of false alarms is the conformal quantile of scores on data held out from training: the
ceil((n + 1)(1 - alpha))-th smallest. For exchangeable data a new normal sample then exceeds it with probability at
most alpha.

References:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, Springer 2005, ch. 4 (conformal threshold).
"""

import math

import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataError
from somlib.utils.search import Winners

PRIOR = 5.0  # samples' worth of the map's mean distance that each neuron starts with


def distance_scales(winners: Winners, m: int, weight: Tensor | None = None) -> Tensor:
    """Typical distance of each neuron's samples, drawn towards that of the map, float64, shape (m,).

    Args:
        winners: With distances, shape (n, k), k >= 1.
        m: Number of neurons.
        weight: Sample weights, shape (n,); None for 1 each.
    """
    index, distance = winners.index[:, 0], winners.distance[:, 0].double()
    valid = index >= 0
    if not bool(valid.all()):
        index, distance = index[valid], distance[valid]
        weight = None if weight is None else weight[valid]
    total, count = torch.zeros(2, m, dtype=torch.float64, device=index.device).unbind(0)
    if weight is None:
        total.index_add_(0, index, distance)
        count += torch.bincount(index, minlength=m)
    else:
        total.index_add_(0, index, distance * weight.double())
        count.index_add_(0, index, weight.double())
    typical = total.sum() / count.sum()
    return (total + PRIOR * typical) / (count + PRIOR)


def anomaly_scores(winners: Winners, scales: Tensor) -> Tensor:
    """Distance to the winner in units of its scale, float64, shape (n,); NaN for samples without a winner.

    Where a scale is 0 (every training sample lay on its neuron), a sample off it scores infinity, one on it 0.
    """
    index, distance = winners.index[:, 0], winners.distance[:, 0].double()
    score = scales[index.clamp_min(0)]
    torch.div(distance, score, out=score).masked_fill_(distance == 0, 0.0)
    return score.masked_fill_(index < 0, torch.nan)


def conformal_threshold(scores: Tensor, alpha: float) -> float:
    """The score that a new normal sample exceeds with probability at most `alpha`.

    Args:
        scores: Of normal samples, NaN left out, shape (n,).
        alpha: Share of false alarms, between 0 and 1.

    Raises:
        ArgumentError: `alpha` is not between 0 and 1.
        DataError: Too few scores for so small an `alpha`.
    """
    if not 0 < alpha < 1:
        raise ArgumentError(f"alpha must lie between 0 and 1, got {alpha}")
    usable = scores[~torch.isnan(scores)]
    rank = math.ceil((len(usable) + 1) * (1 - alpha))
    if rank > len(usable):
        needed = math.ceil(1 / alpha) - 1
        raise DataError(f"data must have at least {needed} usable rows for alpha={alpha}, got {len(usable)}")
    return float(usable.sort().values[rank - 1])

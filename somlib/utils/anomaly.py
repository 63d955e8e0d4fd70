r"""How unusual a sample is: its distance to the winner against the distances that are normal for that neuron.

A neuron in a sparse region lies far from its own samples, so one limit for the whole map would call that whole region
unusual. Each neuron has its own scale, the mean distance of the samples it won, drawn towards the mean of the map
where it won few:

    s_k = (sum of distances at k + PRIOR * mean distance) / (n_k + PRIOR)          score(x) = d(x, w_bmu) / s_bmu

A threshold for the share alpha of false alarms is the conformal quantile of scores of normal samples that the map was
not trained on: the ceil((n + 1)(1 - alpha))-th smallest. For exchangeable data a new normal sample then exceeds it with
probability at most alpha.

Training samples lie closer to their map than new ones: each has drawn its winner towards itself. The weights of the
batch map are means, so what a sample of weight q did to its winner b can be undone exactly. Without it the distance
would have been

    d(x, w_b) D_b / (D_b - q)          D_b = sum_j h(b, j) c_j

with h the influence of the last step and c_j the weight of the samples that neuron j won. With the sample left out of
its scale as well, such scores take the place of held-out ones where there are none. The winners of other samples, and
the steps before the last, are taken as they are, so the threshold is a little low on maps with fewer than ten samples
a neuron: `benchmarks/README.md` has the false alarms by data set.

References:
    Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, Springer 2005, ch. 4 (conformal threshold).
    Allen, The relationship between variable selection and data augmentation, Technometrics 16(1), 1974 (a left-out
    residual from the leverage of its sample).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataError
from somlib.utils.arguments import require_number
from somlib.utils.winners import Winners

PRIOR = 5.0  # samples' worth of the map's mean distance that each neuron starts with
ALONE = 1e-6  # share of its influence that a winner owes to others below which a sample holds it alone


@dataclass(frozen=True)
class NormalDistances:
    """What distances are normal on a map.

    Attributes:
        scales: Typical distance of each neuron's samples, float64, shape (m,).
        scores: Of normal samples, in units of the scales, float64, shape (n,); NaN without a winner.
        weight: Of these samples, shape (n,); None for 1 each.
    """

    scales: Tensor
    scores: Tensor
    weight: Tensor | None = None

    @classmethod
    def of_training(cls, winners: Winners, influence: Tensor, weight: Tensor | None = None) -> "NormalDistances":
        """What training samples show, each taken as if the map had been trained without it.

        Args:
            winners: With distances, shape (n, k), k >= 1.
            influence: D_k of each neuron, in sample weights, shape (m,).
            weight: Sample weights, shape (n,); None for 1 each.
        """
        index, distance = winners.index[:, 0], left_out_distances(winners, influence, weight)
        finite = _finite(distance, winners)
        return cls._of_distances(DistanceTotals.of(index, finite, len(influence), weight), winners, distance, weight)

    @classmethod
    def of_sample(
        cls, totals: "DistanceTotals", winners: Winners, influence: Tensor, weight: Tensor | None = None
    ) -> "NormalDistances":
        """What training samples show of which only some are at hand.

        Args:
            totals: Left-out distances of all training samples.
            winners: Of those that are at hand, with distances, shape (n, k), k >= 1.
            influence: D_k of each neuron, in sample weights, shape (m,).
            weight: Of those at hand, shape (n,); None for 1 each.
        """
        return cls._of_distances(totals, winners, left_out_distances(winners, influence, weight), weight)

    @classmethod
    def _of_distances(
        cls, totals: "DistanceTotals", winners: Winners, distance: Tensor, weight: Tensor | None
    ) -> "NormalDistances":
        """From the left-out distances of some samples (n,), and totals of all."""
        index = winners.index[:, 0]
        scores = _ratio(distance, totals.scales_without(index, _finite(distance, winners), weight))
        return cls(totals.scales, scores.masked_fill_(index < 0, torch.nan), weight)

    def scores_of(self, winners: Winners) -> Tensor:
        """Distance to the winner in units of its scale, float64, shape (n,); NaN for samples without a winner.

        Where a scale is 0 (every training sample lay on its neuron), a sample off it scores infinity, one on it 0.
        """
        index, distance = winners.index[:, 0], winners.distance[:, 0].double()
        return _ratio(distance, self.scales[index.clamp_min(0)]).masked_fill_(index < 0, torch.nan)

    def calibrated(self, scores: Tensor) -> "NormalDistances":
        """The same scales, with the scores of other normal samples."""
        return replace(self, scores=scores, weight=None)

    def threshold(self, alpha: float) -> float:
        """The score that a new normal sample exceeds with probability at most `alpha`; see `conformal_threshold`."""
        return conformal_threshold(self.scores, alpha, self.weight)

    def reordered(self, order: Tensor) -> "NormalDistances":
        """The same for a map whose neuron k was neuron `order[k]` here, shape (m,)."""
        return replace(self, scales=self.scales[order])

    def to(self, device: torch.device) -> "NormalDistances":
        """The same on a device."""
        weight = None if self.weight is None else self.weight.to(device)
        return NormalDistances(self.scales.to(device), self.scores.to(device), weight)

    def tensors(self) -> dict[str, Tensor]:
        """What a saved map keeps of it, by name."""
        kept = {"anomaly.scales": self.scales, "anomaly.calibration": self.scores}
        return kept if self.weight is None else {**kept, "anomaly.weight": self.weight}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "NormalDistances | None":
        """What `tensors` gave, None where a saved map has none of it."""
        if "anomaly.scales" not in tensors:
            return None
        return cls(tensors["anomaly.scales"], tensors["anomaly.calibration"], tensors.get("anomaly.weight"))


def left_out_distances(winners: Winners, influence: Tensor, weight: Tensor | None = None) -> Tensor:
    """Distance of each training sample to its winner as it would be had the sample not trained, float64, shape (n,).

    Infinite for a sample that holds its winner alone, 0 for one that lies on it, and without meaning for one without
    a winner. Arguments as in `NormalDistances.of_training`.
    """
    index, distance = winners.index[:, 0], winners.distance[:, 0].double()
    with_it = influence.double()[index.clamp_min(0)]
    without = with_it - (1.0 if weight is None else weight.double())
    without[without <= ALONE * with_it.abs()] = 0.0
    return (distance * with_it).div_(without).masked_fill_(distance == 0, 0.0)


def conformal_threshold(scores: Tensor, alpha: float, weight: Tensor | None = None) -> float:
    """The score that a new normal sample exceeds with probability at most `alpha`.

    Args:
        scores: Of normal samples, NaN left out, shape (n,).
        alpha: Share of false alarms, between 0 and 1.
        weight: Sample weights, shape (n,); weight k acts like k copies. None for 1 each.

    Raises:
        ArgumentError: `alpha` is not between 0 and 1.
        DataError: Too few scores for so small an `alpha`.
    """
    if not 0 < require_number("alpha", alpha, "lie between 0 and 1") < 1:
        raise ArgumentError(f"alpha must lie between 0 and 1, got {alpha}")
    usable = ~torch.isnan(scores)
    ranked = scores[usable].sort()
    counts = torch.ones_like(ranked.values) if weight is None else weight.double()[usable][ranked.indices]
    total = float(counts.sum())
    rank = (total + 1) * (1 - alpha)
    if rank > total:
        needed = math.ceil(1 / alpha) - 1
        kind = "usable rows" if weight is None else "usable rows in sum of their weights"
        raise DataError(f"data must have at least {needed} {kind} for alpha={alpha}, got {total:g}")
    return float(ranked.values[torch.searchsorted(counts.cumsum(0), rank)])


@dataclass(frozen=True)
class DistanceTotals:
    """Sums of the distances of each neuron's samples.

    Attributes:
        distance: Sum of the distances times weights, shape (m,).
        weight: Sum of the weights, shape (m,).
    """

    distance: Tensor
    weight: Tensor

    @classmethod
    def of(cls, index: Tensor, distance: Tensor, m: int, weight: Tensor | None) -> "DistanceTotals":
        """Of the samples that have a winner, from their winners (n,) and distances (n,), float64."""
        won = index >= 0
        if not bool(won.all()):
            index, distance, weight = index[won], distance[won], None if weight is None else weight[won]
        total = torch.zeros(m, dtype=torch.float64, device=index.device)
        if weight is None:
            return cls(total.index_add_(0, index, distance), torch.bincount(index, minlength=m).double())
        count = torch.zeros_like(total).index_add_(0, index, weight.double())
        return cls(total.index_add_(0, index, distance * weight.double()), count)

    @classmethod
    def left_out(cls, winners: Winners, influence: Tensor, weight: Tensor | None = None) -> "DistanceTotals":
        """Of training samples, each as if the map had been trained without it; a sample alone as it is.

        Arguments are those of `NormalDistances.of_training`.
        """
        distance = _finite(left_out_distances(winners, influence, weight), winners)
        return cls.of(winners.index[:, 0], distance, len(influence), weight)

    def without_each(self, influence: Tensor) -> "DistanceTotals":
        """From the distances as they are, what `left_out` gives of the same samples, where each has weight 1."""
        with_it = influence.double()
        without = with_it - 1.0
        alone = without <= ALONE * with_it.abs()
        return DistanceTotals(self.distance * torch.where(alone, 1.0, with_it / without), self.weight)

    def plus(self, other: "DistanceTotals") -> "DistanceTotals":
        """Of the samples of both."""
        return DistanceTotals(self.distance + other.distance, self.weight + other.weight)

    @property
    def typical(self) -> Tensor:
        """Mean distance of the map, NaN where no sample has one."""
        return self.distance.sum() / self.weight.sum()

    @property
    def scales(self) -> Tensor:
        """s_k of each neuron, shape (m,)."""
        return (self.distance + PRIOR * self.typical) / (self.weight + PRIOR)

    def scales_without(self, index: Tensor, distance: Tensor, weight: Tensor | None) -> Tensor:
        """The scale of each sample's winner without that sample, shape (n,)."""
        winner = index.clamp_min(0)
        own = 1.0 if weight is None else weight.double()
        rest = (self.distance[winner] - own * distance).clamp_min_(0.0)
        return (rest + PRIOR * self.typical) / (self.weight[winner] - own + PRIOR)


def _finite(distance: Tensor, winners: Winners) -> Tensor:
    """Left-out distances (n,), those of samples that hold their winner alone as they are."""
    return torch.where(torch.isinf(distance), winners.distance[:, 0].double(), distance)


def _ratio(distance: Tensor, scale: Tensor) -> Tensor:
    """Distances in units of scales, 0 where there is no distance."""
    return (distance / scale).masked_fill_(distance == 0, 0.0)

r"""Distance of samples to neurons in feature space.

    euclidean   sqrt(sum_a (x_a - w_a)^2)
    manhattan   sum_a |x_a - w_a|
    cosine      1 - x . w / (|x| |w|)            in [0, 2]; NaN where a vector is zero
    chebyshev   max_a |x_a - w_a|

The four functions of `DISTANCE_FUNCTIONS` are the definitions, computed from differences, exact at any offset, never
with an n x m x d block. Squares are taken in float64: in float32 they leave its range at coordinates of 1e19 and 1e-19.
Searching for winners takes faster roads to the same answer; see `search.py`.

A `Metric` is one of the four with its feature weights: each weight multiplies its feature's term. That is the plain
distance after a change of coordinates (weight on |x - w|, root of the weight on squares and products), so all else
knows distances without weights only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ShapeError

DistanceFn = Callable[[Tensor, Tensor], Tensor]
DIRECT = "donot_use_mm_for_euclid_dist"  # differences first: no cancellation


def euclidean(data: Tensor, weights: Tensor) -> Tensor:
    """L2 distance from every sample to every neuron.

    Args:
        data: Samples, shape (b, d).
        weights: Codebook, shape (x, y, d), on the device of `data`.

    Returns:
        Distances, shape (b, x, y), in the units of the features.

    Raises:
        ShapeError: The two feature counts differ.

    Example:
        >>> euclidean(torch.tensor([[0.0, 0.0]]), torch.tensor([[[3.0, -4.0]]]))
        tensor([[[5.]]])
    """
    return _on_grid(lambda x, w: torch.cdist(x.double(), w.double(), p=2.0, compute_mode=DIRECT), data, weights)


def manhattan(data: Tensor, weights: Tensor) -> Tensor:
    """L1 distance from every sample to every neuron; shapes and errors as `euclidean`.

    Example:
        >>> manhattan(torch.tensor([[0.0, 0.0]]), torch.tensor([[[3.0, -4.0]]]))
        tensor([[[7.]]])
    """
    return _on_grid(lambda x, w: torch.cdist(x, w, p=1.0), data, weights)


def chebyshev(data: Tensor, weights: Tensor) -> Tensor:
    """Largest difference in any feature from every sample to every neuron; shapes and errors as `euclidean`.

    Example:
        >>> chebyshev(torch.tensor([[0.0, 0.0]]), torch.tensor([[[3.0, -4.0]]]))
        tensor([[[4.]]])
    """
    return _on_grid(lambda x, w: torch.cdist(x, w, p=float("inf")), data, weights)


def cosine(data: Tensor, weights: Tensor) -> Tensor:
    """One minus the cosine of the angle, in [0, 2], from every sample to every neuron; NaN where a vector is zero.

    Computed as half the squared distance of the unit vectors, which does not lose small angles to rounding as
    `1 - cos` does. Shapes and errors as `euclidean`.

    Example:
        >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 2.0], [-3.0, 0.0]]]))
        tensor([[[1., 2.]]])
    """

    def half_square(x: Tensor, w: Tensor) -> Tensor:
        units = unit_vectors(x.double()), unit_vectors(w.double())
        return (torch.cdist(*units, p=2.0, compute_mode=DIRECT).square() / 2).clamp(max=2)

    return _on_grid(half_square, data, weights)


DISTANCE_FUNCTIONS: dict[str, DistanceFn] = {
    "euclidean": euclidean,
    "manhattan": manhattan,
    "cosine": cosine,
    "chebyshev": chebyshev,
}


def unit_vectors(vectors: Tensor) -> Tensor:
    """The vectors at length 1, shape as given (..., d); NaN where the length is 0.

    Scaled by the largest component first, so that neither tiny nor huge vectors under- or overflow.
    """
    vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length


@dataclass(frozen=True)
class Metric:
    """A distance with its feature weights.

    Attributes:
        name: A key of `DISTANCE_FUNCTIONS`.
        feature_weights: Factor of each feature's term, None for 1 each.
    """

    name: str
    feature_weights: tuple[float, ...] | None = None

    @property
    def squared(self) -> bool:
        """Whether the nearest neuron is that of the smallest sum of squares (in some coordinates)."""
        return self.name in ("euclidean", "cosine")

    def scaled(self, vectors: Tensor) -> Tensor:
        """The vectors (..., d) in coordinates where every feature weighs 1."""
        if self.feature_weights is None:
            return vectors
        factor = torch.tensor(self.feature_weights, dtype=vectors.dtype, device=vectors.device)
        return vectors * (factor.sqrt() if self.squared else factor)

    def pairwise(self, data: Tensor, codebook: Tensor) -> Tensor:
        """Exact distances (n, m) of samples (n, d) without NaN to neurons (m, d), in the dtype of `data`."""
        function = DISTANCE_FUNCTIONS[self.name]
        if self.feature_weights is None:
            return function(data, codebook[None])[:, 0]
        # In float64: a factor rounds coordinates, and an offset would make that as large as the distance.
        return function(self.scaled(data.double()), self.scaled(codebook.double())[None])[:, 0].to(data.dtype)

    def rowwise(self, data: Tensor, neurons: Tensor) -> Tensor:
        """Exact distances (n,) between rows of equal index, both (n, d); NaN in `data` means not observed.

        Over the observed features, the sum scaled by d / observed as in `masked_pairwise`; NaN where nothing is
        observed. Computed in float64, returned in the dtype of `data`.
        """
        a, b = data.double(), neurons.double()
        seen = ~torch.isnan(a)
        if bool(seen.all()):
            return self._of_complete_rows(a, b).to(data.dtype)
        observed = seen.sum(dim=1).double()
        share = a.shape[1] / torch.where(observed > 0, observed, torch.nan)
        scale = {"euclidean": share.sqrt(), "manhattan": share}.get(self.name, 1 + 0 * share)
        distance = self._of_complete_rows(torch.where(seen, a, 0), torch.where(seen, b, 0))
        return (distance * scale).to(data.dtype)

    def _of_complete_rows(self, a: Tensor, b: Tensor) -> Tensor:
        if self.name == "cosine":
            units = unit_vectors(self.scaled(a)), unit_vectors(self.scaled(b))
            return ((units[0] - units[1]).square_().sum(dim=1) / 2).clamp(max=2)
        difference = self.scaled(a - b)
        if self.name == "chebyshev":
            return difference.abs_().amax(dim=1)
        if self.name == "manhattan":
            return difference.abs_().sum(dim=1)
        return difference.square_().sum(dim=1).sqrt()


def masked_pairwise(metric: Metric, data: Tensor, codebook: Tensor) -> Tensor:
    """Distances over the observed features only.

        euclidean   sqrt(d / o sum_observed (x - w)^2)      manhattan   d / o sum_observed |x - w|
        chebyshev   max_observed |x - w|                    cosine      of the observed parts of both vectors

    Args:
        metric: The distance and its feature weights.
        data: Samples, NaN where not observed, shape (b, d).
        codebook: Neurons, finite, shape (m, d).

    Returns:
        Distances, shape (b, m); NaN in rows with nothing observed and where a cosine is not defined.
    """
    x, w = metric.scaled(data), metric.scaled(codebook)
    seen = ~torch.isnan(x)
    share = x.shape[1] / seen.sum(dim=1, keepdim=True).to(x.dtype)  # inf where nothing is observed
    share = torch.where(torch.isinf(share), torch.nan, share)
    x = torch.where(seen, x, 0)
    if metric.name == "cosine":
        mask = seen.to(x.dtype)
        length = x.norm(dim=1, keepdim=True) * (mask @ w.square().T).sqrt()  # (b, m)
        cosines = (x @ w.T) / torch.where(length > 0, length, torch.nan)
        return (1 - cosines).clamp(0, 2)
    if metric.name == "euclidean":
        center = w.mean(dim=0)  # differences survive an offset only around a common center
        x, w = torch.where(seen, x - center, 0), w - center
        mask = seen.to(x.dtype)
        squares = x.square().sum(dim=1, keepdim=True) - 2 * (x @ w.T) + mask @ w.square().T
        return (squares.clamp_min(0) * share).sqrt()
    total = x.new_zeros(len(x), len(w))
    for a in range(x.shape[1]):  # one feature at a time: no (b, m, d) block
        difference = (x[:, a, None] - w[:, a]).abs() * seen[:, a, None]
        total = torch.maximum(total, difference) if metric.name == "chebyshev" else total + difference
    return total * share if metric.name == "manhattan" else total + 0 * share


def _on_grid(pairwise: DistanceFn, data: Tensor, weights: Tensor) -> Tensor:
    """Apply a distance of flat neurons (m, d) to a codebook (x, y, d)."""
    if data.ndim != 2 or weights.ndim != 3:
        raise ShapeError(
            f"data must have shape (b, d) and weights (x, y, d), got {tuple(data.shape)} and {tuple(weights.shape)}"
        )
    if data.shape[1] != weights.shape[2]:
        raise ShapeError(f"weights must have {data.shape[1]} features, like data, got {weights.shape[2]}")
    distances = pairwise(data, weights.flatten(0, 1)).to(torch.promote_types(data.dtype, weights.dtype))
    return distances.reshape(len(data), *weights.shape[:2])

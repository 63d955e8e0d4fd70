r"""Distance of samples to neurons in feature space.

    euclidean   sqrt(sum_a (x_a - w_a)^2)
    manhattan   sum_a |x_a - w_a|
    cosine      1 - x . w / (|x| |w|)            in [0, 2]; NaN where a vector is zero
    chebyshev   max_a |x_a - w_a|

A distance is one record of `DISTANCES`: its definition, and all that searches, training, measures and missing values
need to know of it. Nothing else in somlib asks for a distance by its name. `DISTANCE_FUNCTIONS` are the definitions
alone, computed from differences, exact at any offset, never with an n x m x d block. Squares are taken in float64: in
float32 they leave its range at coordinates of 1e19 and 1e-19. Searching for winners takes faster roads to the same
answer; see `search.py`.

A function that is put into `DISTANCE_FUNCTIONS` makes a record of its own (`distance_of`): maps search, train and are
measured by it, in float64. Missing values and feature weights have no meaning that follows from a function, so a map
with them refuses it; a `Distance` put into `DISTANCES` can give them one.

A `Metric` is a distance with its feature weights: each weight multiplies its feature's term. That is the plain distance
after a change of coordinates (weight on |x - w|, root of the weight on squares and products), so all else knows
distances without weights only.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ArgumentError, ShapeError, unknown_name
from somlib.utils import masked_distances as masked
from somlib.utils.registry import Functions

DistanceFn = Callable[[Tensor, Tensor], Tensor]
PairsFn = Callable[[Tensor, Tensor], Tensor]
ScaledFn = Callable[[Tensor], Tensor]
RowsFn = Callable[[Tensor, Tensor, ScaledFn], Tensor]
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


def unit_vectors(vectors: Tensor) -> Tensor:
    """The vectors at length 1, shape as given (..., d); NaN where the length is 0.

    Scaled by the largest component first, so that neither tiny nor huge vectors under- or overflow.
    """
    vectors = vectors / vectors.abs().amax(dim=-1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length


@dataclass(frozen=True)
class Distance:
    """A distance, with what the rest of somlib must know of it.

    Attributes:
        function: The definition: samples (b, d) and a codebook (x, y, d) to distances (b, x, y).
        rowwise: Distances (n,) between rows of equal index, both (n, d), complete and float64; the third argument puts
            vectors into coordinates where every feature weighs 1, best after a difference, which an offset then cannot
            round.
        weighting: From feature weights (d,) to factors of the coordinates; None where weights have no meaning.
        observed: From the share d / observed of each row to the factor of its distance over the observed features;
            None where missing values have no meaning. Both vectors hold 0 where a value is missing.
        masked: Distances (b, m) of samples with NaN to complete neurons, both in such coordinates; NaN in rows with
            nothing observed.
        shared: Distances (p, q) between samples that both have NaN, over the features of both.
        squared: Whether the nearest neuron is that of the smallest sum of squared differences: of the coordinates, or
            with `angular` of the unit vectors. Searches then use matrix products.
        angular: Whether only directions count: zero vectors have no distance, and the distance is half a square.
        faiss: Name of the metric of FAISS that ranks alike; None where there is none, and PyTorch searches.
        computed: What is computed with in place of the definition; None for the definition itself.
    """

    function: DistanceFn
    rowwise: RowsFn
    weighting: ScaledFn | None = None
    observed: ScaledFn | None = None
    masked: PairsFn | None = None
    shared: PairsFn | None = None
    squared: bool = False
    angular: bool = False
    faiss: str | None = None
    computed: DistanceFn | None = None

    @property
    def takes_missing(self) -> bool:
        """Whether it is defined for samples with missing values."""
        return None not in (self.observed, self.masked, self.shared)


def distance_of(function: DistanceFn) -> Distance:
    """The record of a function of which nothing else is known."""

    def checked(data: Tensor, weights: Tensor) -> Tensor:
        distances = function(data.double(), weights.double())
        expected = (len(data), *weights.shape[:2])
        if not isinstance(distances, Tensor) or distances.shape != expected:
            got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
            name = getattr(function, "__name__", "function")
            raise ShapeError(f"the distance {name} must return a tensor of shape (b, x, y) = {expected}, got {got}")
        return distances.to(torch.promote_types(data.dtype, weights.dtype))

    def rowwise(a: Tensor, b: Tensor, scaled: ScaledFn) -> Tensor:
        del scaled  # it takes no weights
        blocks = [checked(a[rows], b[rows][None])[:, 0].diagonal() for rows in _blocks(len(a))]
        return torch.cat(blocks) if blocks else a.new_empty(0)

    return Distance(function, rowwise, computed=checked)


def _blocks(n: int, rows: int = 32) -> Iterator[slice]:
    """Few rows at a time: of a block of distances between all of them only the diagonal is wanted."""
    return (slice(start, start + rows) for start in range(0, n, rows))


def _euclidean_rows(a: Tensor, b: Tensor, scaled: ScaledFn) -> Tensor:
    return scaled(a - b).square_().sum(dim=1).sqrt()


def _manhattan_rows(a: Tensor, b: Tensor, scaled: ScaledFn) -> Tensor:
    return scaled(a - b).abs_().sum(dim=1)


def _chebyshev_rows(a: Tensor, b: Tensor, scaled: ScaledFn) -> Tensor:
    return scaled(a - b).abs_().amax(dim=1)


def _cosine_rows(a: Tensor, b: Tensor, scaled: ScaledFn) -> Tensor:
    difference = unit_vectors(scaled(a)) - unit_vectors(scaled(b))
    return (difference.square_().sum(dim=1) / 2).clamp(max=2)


def _unchanged(values: Tensor) -> Tensor:
    return values


DISTANCES: dict[str, Distance] = {
    "euclidean": Distance(
        euclidean,
        _euclidean_rows,
        weighting=torch.sqrt,
        observed=torch.sqrt,
        masked=masked.euclidean,
        shared=masked.euclidean_shared,
        squared=True,
        faiss="METRIC_L2",
    ),
    "manhattan": Distance(
        manhattan,
        _manhattan_rows,
        weighting=_unchanged,
        observed=_unchanged,
        masked=masked.manhattan,
        shared=masked.manhattan_shared,
        faiss="METRIC_L1",
    ),
    "cosine": Distance(
        cosine,
        _cosine_rows,
        weighting=torch.sqrt,
        observed=torch.ones_like,
        masked=masked.cosine,
        shared=masked.cosine_shared,
        squared=True,
        angular=True,
        faiss="METRIC_L2",
    ),
    "chebyshev": Distance(
        chebyshev,
        _chebyshev_rows,
        weighting=_unchanged,
        observed=torch.ones_like,
        masked=masked.chebyshev,
        shared=masked.chebyshev_shared,
        faiss="METRIC_Linf",
    ),
}
DISTANCE_FUNCTIONS: Functions[DistanceFn] = Functions(DISTANCES, distance_of)


@dataclass(frozen=True)
class Metric:
    """A distance with its feature weights.

    Attributes:
        name: A key of `DISTANCES`.
        feature_weights: Factor of each feature's term, None for 1 each.

    Raises:
        ArgumentError: Unknown name, or weights with a distance that has no place for them.
    """

    name: str
    feature_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.feature_weights is not None and self.distance.weighting is None:
            raise ArgumentError(f"feature_weights must be None with the distance {self.name!r}, which takes none")

    @property
    def distance(self) -> Distance:
        """The record of the distance."""
        found = DISTANCES.get(self.name)
        if found is None:
            raise unknown_name("distance", self.name, DISTANCES)
        return found

    @property
    def squared(self) -> bool:
        """Whether the nearest neuron is that of the smallest sum of squares (in some coordinates)."""
        return self.distance.squared

    @property
    def angular(self) -> bool:
        """Whether only directions count, so that a zero vector has no distance."""
        return self.distance.angular

    @property
    def euclidean(self) -> bool:
        """Whether it is the root of the sum of squared differences, times the feature weights."""
        return self.distance.squared and not self.distance.angular

    def scaled(self, vectors: Tensor) -> Tensor:
        """The vectors (..., d) in coordinates where every feature weighs 1."""
        weighting = self.distance.weighting
        if self.feature_weights is None or weighting is None:
            return vectors
        return vectors * weighting(torch.tensor(self.feature_weights, dtype=vectors.dtype, device=vectors.device))

    def defined(self, data: Tensor) -> Tensor:
        """Whether samples (n, d) have distances at all, bool, shape (n,): something observed, and a direction."""
        if self.angular:
            return self.scaled(data).nan_to_num(nan=0.0).any(dim=1)
        return ~torch.isnan(data).all(dim=1)

    def pairwise(self, data: Tensor, codebook: Tensor) -> Tensor:
        """Exact distances (n, m) of samples (n, d) without NaN to neurons (m, d), in the dtype of `data`."""
        function = self.distance.computed or self.distance.function
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
            return self.distance.rowwise(a, b, self.scaled).to(data.dtype)
        observed = self._known("observed")
        distance = self.distance.rowwise(torch.where(seen, a, 0), torch.where(seen, b, 0), self.scaled)
        share = masked.share_observed(seen)[:, 0]
        return (distance * (observed(share) + 0 * share)).to(data.dtype)

    def shared_pairwise(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (p, q) between samples (p, d) and (q, d) that may both have NaN, over the features of both.

        Sums are scaled by d / shared; NaN for a pair that shares nothing, or whose distance is not defined.
        """
        if bool(torch.isfinite(a.sum() + b.sum())):
            return self.pairwise(a, b)
        distances: Tensor = self._known("shared")(self.scaled(a), self.scaled(b))
        return distances

    def _known(self, part: str) -> Callable[..., Tensor]:
        known: Callable[..., Tensor] | None = getattr(self.distance, part)
        if known is None:
            raise ArgumentError(f"data must have no missing values: the distance {self.name!r} is not defined for them")
        return known


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

    Raises:
        ArgumentError: The distance is not defined for missing values.
    """
    return metric._known("masked")(metric.scaled(data), metric.scaled(codebook))


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

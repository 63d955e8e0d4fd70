"""What is clustered: neurons in a feature space, on the lattice that their rounding leaves."""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError
from somlib.utils.arguments import require_choice
from somlib.utils.clustering.connections import Connections
from somlib.utils.clustering.row_sample import RowSample
from somlib.utils.grid import Grid
from somlib.utils.winners import row_chunks

FeatureSpace = Literal["weights", "positions", "combined"]
FEATURE_SPACES: tuple[FeatureSpace, ...] = ("weights", "positions", "combined")
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
RESOLUTION = 2.0**-20  # of the spread; its square stays far above the float64 rounding of squared distances
ROUNDINGS = 8  # a feature is constant if it varies by no more than this number of rounding errors of its size
MOST_CLUSTERS = 20  # upper end of an automatic k, with the root of m (Vesanto and Alhoniemi 2000) on smaller maps

DISTANCES = 2**21  # computed at a time


@dataclass(frozen=True)
class Neurons:
    """What a method clusters.

    Attributes:
        points: Features around their mean, on the lattice of resolution, in their own units, shape (m, f).
        distinct: Number of different rows of `points`.
        grid: Their grid.
        seed: Fixes everything random, below 2^32.
        uniform: Whether all neurons lie equally dense, as cells do on the grid.
        connections: How rows lie on them; None where that is not known.
        rows: Rows themselves, around the mean of the features; None where they are not given.
    """

    points: FloatArray
    distinct: int
    grid: Grid
    seed: int
    uniform: bool = False
    connections: Connections | None = None
    rows: RowSample | None = None

    @property
    def most_clusters(self) -> int:
        """Upper end of an automatic k: sqrt(m), but 2 at least, and no more than there are distinct neurons."""
        return min(max(2, math.isqrt(len(self.points))), MOST_CLUSTERS, self.distinct)


def neuron_features(codebook: Tensor, grid: Grid, feature_space: str = "weights") -> Tensor:
    """The features by which neurons are compared: weights first, then row and column position.

    Args:
        codebook: Weights in flat order, finite, shape (m, d).
        grid: The grid of the m neurons.
        feature_space: `"weights"`, `"positions"` or `"combined"`; a block of `"combined"` without variance is left as
            it is.

    Returns:
        Features, device and dtype of `codebook`, shape (m, f).

    Raises:
        ArgumentError: The feature space is unknown.
        ShapeError: `codebook` is not of shape (m, d) for the grid.
        DataError: `codebook` is not finite.
        DataTypeError: `codebook` is not of a float type.
    """
    return torch.from_numpy(features_of(codebook, grid, feature_space)).to(codebook, copy=True)


def is_whole(value: object, least: int) -> bool:
    """Whether the value is a whole number of at least `least`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def checked(values: Tensor, name: str) -> FloatArray:
    """The values as float64 on the CPU, refused unless they are a finite matrix."""
    if not values.is_floating_point():
        raise DataTypeError(f"{name} must be of a float type, got {values.dtype}")
    if values.ndim != 2 or not values.numel():
        raise ShapeError(f"{name} must have shape (m, f), one row a neuron, got {tuple(values.shape)}")
    bad = torch.nonzero(~torch.isfinite(values))
    if len(bad):
        row, column = bad[0].tolist()
        raise DataError(f"{name} must be finite, got {float(values[row, column])} at neuron {row}, feature {column}")
    return values.detach().to("cpu", torch.float64).numpy()


def features_of(codebook: Tensor, grid: Grid, feature_space: str) -> FloatArray:
    """`neuron_features` in float64."""
    require_choice("feature_space", feature_space, FEATURE_SPACES)
    weights, positions = checked(codebook, "codebook"), grid.positions.numpy()
    if len(weights) != grid.m:
        raise ShapeError(f"codebook must have {grid.m} rows on a {grid.x} x {grid.y} grid, got {len(weights)}")
    if feature_space == "weights":
        return weights
    if feature_space == "positions":
        return positions
    eps = torch.finfo(codebook.dtype).eps
    return np.hstack([block / (_spread(_deviations(block, eps)) or 1.0) for block in (weights, positions)])


def neurons_of(
    features: FloatArray,
    eps: float,
    grid: Grid,
    random_seed: int,
    uniform: bool = False,
    connections: Connections | None = None,
    rows: RowSample | None = None,
) -> Neurons:
    """The features (m, f) as a method sees them; `eps` is the rounding of the weights.

    Raises:
        ArgumentError: `random_seed` is no whole number of at least 0.
    """
    if not is_whole(random_seed, least=0):
        raise ArgumentError(f"random_seed must be a whole number of at least 0, got {random_seed!r}")
    points = on_lattice(features, eps)
    seed = int(np.random.SeedSequence(int(random_seed)).generate_state(1)[0])  # scikit-learn's seeds end at 2^32
    around = None if rows is None else rows.around(features.mean(axis=0))
    return Neurons(points, len(np.unique(points, axis=0)), grid, seed, uniform, connections, around)


def on_lattice(features: FloatArray, eps: float) -> FloatArray:
    """The deviations from the mean, rounded to the resolution, shape (m, f)."""
    deviations = _deviations(features, eps)
    # A power of two: whole numbers keep their exact differences, and grid cells their ties.
    step = math.ldexp(RESOLUTION, math.frexp(_spread(deviations))[1] - 1)
    return np.round(deviations / step) * step


def _deviations(features: FloatArray, eps: float) -> FloatArray:
    """The deviations from the mean (m, f), exactly 0 in a column that varies by rounding (`eps`) only."""
    deviations = features - features.mean(axis=0)
    constant = np.abs(deviations).max(axis=0) <= ROUNDINGS * eps * np.abs(features).max(axis=0)
    return np.where(constant, 0.0, deviations)


def _spread(deviations: FloatArray) -> float:
    """The root of the total variance."""
    return float(np.sqrt(np.square(deviations).sum(axis=1).mean()))


def unit_variance(points: FloatArray) -> FloatArray:
    """The points at total variance 1 (0 if they are all equal); scikit-learn's scores have absolute tolerances."""
    return points / (_spread(points) or 1.0)


def means_of(features: FloatArray, labels: IntArray) -> FloatArray:
    """The mean of each cluster from 1 up, shape (k, f)."""
    sums = np.zeros((max(int(labels.max()), 0), features.shape[1]))
    np.add.at(sums, labels[labels > 0] - 1, features[labels > 0])
    return sums / np.bincount(labels[labels > 0], minlength=len(sums) + 1)[1:, None]


def nearest(points: FloatArray, neurons: FloatArray) -> IntArray:
    """The nearest of some neurons (h, f) to each point (q, f), the lowest index of equals, shape (q,)."""
    from scipy.spatial.distance import cdist  # slow to import, and no map needs it to train

    chunks = row_chunks(len(points), max(1, DISTANCES // len(neurons)))
    found = [cdist(points[chunk], neurons, "sqeuclidean").argmin(axis=1) for chunk in chunks]
    return np.concatenate((np.empty(0, np.int64), *found))

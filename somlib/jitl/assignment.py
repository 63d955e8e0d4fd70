r"""Where samples fall on the map, and the inputs that linear models see.

Inputs are standardized by the training data and clipped, at 5 deviations mostly, so that one broken sensor cannot carry
a linear model away. One that did not vary in the training data has no influence at all. A missing input takes the value
of the sample's nearest neuron. A query's answer is mixed from its k nearest neurons' answers with shares by the inverse
square of the distance,

    u_r = d_r^-2 / sum_s d_s^-2

and beyond `reach`, the distance within which `REACH` of the training samples lie, what the map says fades by
(reach / d)^2.

References:
    Shepard, A two-dimensional interpolation function for irregularly-spaced data, Proc. ACM 1968.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from somlib.core import SOM
from somlib.jitl.moments import FloatArray, IntArray
from somlib.utils.inputs import read_samples
from somlib.utils.search import make_search, row_chunks

SPARE, LANES, ROWS_AT_A_TIME = 1, 64, 1_024
REACH = 0.995
ROUNDING = 1e-12  # of a mean, as a share of it


@dataclass(frozen=True)
class Standardizer:
    """Values in deviations from the mean of the training data.

    Attributes:
        center: Mean of each column, shape (d,).
        scale: Standard deviation of each, shape (d,); 1 for a constant.
        limit: Deviations at which `clipped` cuts.
        variety: 0 for a column without a value, 1 for a constant, 2 for others, int64, shape (d,); None where all vary.
    """

    center: FloatArray
    scale: FloatArray
    limit: float = np.inf
    variety: IntArray | None = None

    @classmethod
    def of(cls, values: NDArray[Any], limit: float = np.inf) -> "Standardizer":
        """That of the columns of `values` (n, d), NaN left out."""
        known = ~np.isnan(values)
        absent = ~known.any(axis=0)
        count = np.maximum(known.sum(axis=0), 1)
        # Sums of parts of the largest: neither they nor squares leave the range of floats, whatever the units.
        values = np.where(known, values.astype(np.float64), 0.0)
        top = _or_one(np.abs(values).max(axis=0, initial=0.0))
        center = top * ((values / top).sum(axis=0) / count)
        gap = np.where(known, values - center, 0.0)
        widest = np.abs(gap).max(axis=0, initial=0.0)
        scale = widest * np.sqrt(((gap / _or_one(widest)) ** 2).sum(axis=0) / count)
        constant = scale <= ROUNDING * np.abs(center)
        highest = np.where(known, values, -np.inf).max(axis=0, initial=-np.inf)
        center = np.where(constant & ~absent, highest, center)  # the value itself, not a rounded mean
        variety = np.where(absent, 0, np.where(constant, 1, 2))
        return cls(center, np.where(constant, 1.0, scale), limit, None if (variety == 2).all() else variety)

    def heard(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (n, d) as if columns that did not vary in the training data did not now, in the type that they have.

        Nothing is known of the unit of such a column, nor of what it means: it has no influence.
        """
        if self.variety is None:
            return values
        values = np.where((self.variety == 1) & ~np.isnan(values), self.center.astype(values.dtype), values)
        return np.where(self.variety == 0, values.dtype.type(np.nan), values)

    def unheard(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which columns of values (n, d) hold what `heard` replaces by another value, bool, shape (d,)."""
        if self.variety is None:
            return np.zeros(values.shape[1], dtype=bool)
        differs = np.abs(values - self.center) > ROUNDING * np.abs(self.center)  # never where missing
        lost = np.where(self.variety == 0, ~np.isnan(values), (self.variety == 1) & differs)
        found: NDArray[np.bool_] = lost.any(axis=0)
        return found

    def apply(self, values: NDArray[Any]) -> FloatArray:
        """Standardized values, float64, in the same shape."""
        with np.errstate(over="ignore"):  # what lies that far off is cut
            standard: FloatArray = (values - self.center) / self.scale
        return standard

    def clipped(self, values: NDArray[Any]) -> FloatArray:
        """Standardized values, at most `limit` deviations from the mean."""
        return np.clip(self.apply(values), -self.limit, self.limit)

    def undo(self, standard: FloatArray) -> FloatArray:
        """Values from standardized ones."""
        values: FloatArray = standard * self.scale + self.center
        return values


@dataclass(frozen=True)
class Assignment:
    """Samples as the map sees them.

    Attributes:
        inputs: (1, x) with x standardized, clipped and complete, shape (n, 1 + d).
        neuron: Nearest neurons, shape (n, k); -1 for a sample that has none.
        distance: To each, shape (n, k); NaN where there is none.
        share: What part each has in an answer, shape (n, k); rows sum to 1, or to 0 for a sample without neurons.
        trust: In the map's answer against the global one, in [0, 1], shape (n,).
        point: Samples in the coordinates of the map, on the CPU, shape (n, d).
        missing: Which inputs were missing, bool, shape (n, d); (n, 0) where none may be.
    """

    inputs: FloatArray
    neuron: IntArray
    distance: FloatArray
    share: FloatArray
    trust: FloatArray
    point: torch.Tensor
    missing: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def winner(self) -> IntArray:
        """The nearest neuron of each, shape (n,)."""
        winner: IntArray = self.neuron[:, 0]
        return winner


class Assigner:
    """Puts samples on a map.

    Args:
        som: A trained map.
        standardizer: Of the inputs.
        own_units: Whether the map lives in standardized, clipped inputs; else in the units of the samples.
        k: Neurons that take part in an answer.
        reach: Distance beyond which the map's answer fades; infinite until `learn_reach`.
    """

    def __init__(
        self, som: SOM, standardizer: Standardizer, own_units: bool, k: int = 3, reach: float = np.inf
    ) -> None:
        self.som, self.standardizer, self.own_units, self.reach = som, standardizer, own_units, reach
        variety = standardizer.variety
        self._absent = variety is not None and bool((variety == 0).any())
        self._constant = None if variety is None else variety == 1
        codebook = som.codebook.cpu()
        self.k = min(k, len(codebook))
        self.codebook: FloatArray = codebook.double().numpy()
        # The codebook as inputs of linear models: what a missing input takes.
        self._stand_in = self.codebook if own_units else standardizer.clipped(self.codebook)
        self._cpu_codebook = codebook
        weights = som.metric.scaled(torch.ones(codebook.shape[1], dtype=torch.float64)).numpy()
        self._lean = som.metric.euclidean
        self._factor = weights
        center = self.codebook.mean(axis=0)
        self._center = center
        self._points = (self.codebook - center) * weights
        self._half_squares = (self._points**2).sum(axis=1) / 2
        self._candidates = NearestFew(self._points, center, weights, self.k)

    def assign(self, X: NDArray[Any]) -> Assignment:
        """Place checked samples (n, d); NaN in them means missing."""
        X = self.standardizer.heard(X)
        inputs = np.empty((len(X), X.shape[1] + 1))
        inputs[:, 0], inputs[:, 1:] = 1.0, self.standardizer.clipped(X)
        point = torch.from_numpy(inputs[:, 1:]).to(self._cpu_codebook.dtype) if self.own_units else _tensor(X, self.som)
        holes = np.isnan(inputs) if self.som.missing == "mask" else np.zeros((len(X), 1), dtype=bool)
        incomplete = bool(holes.any())
        neuron, distance = self._nearest(point, incomplete)
        if incomplete:
            inputs = np.where(holes, self._stand_in_for(neuron[:, 0]), inputs)
        return Assignment(
            inputs, neuron, distance, shares(distance), self.trust_at(distance[:, 0]), point, holes[:, 1:]
        )

    def assign_one(self, x: FloatArray) -> tuple[FloatArray, IntArray, FloatArray, float] | None:
        """Inputs (1 + d,), neurons (k,), shares (k,) and trust for one complete sample (d,), in few steps.

        None where the metric, or a feature without a value in training, needs the long way. Neurons are ranked in
        float64 products, which order all but ties, and those share alike.
        """
        if not self._lean or self._absent:
            return None
        if self._constant is not None:
            x = np.where(self._constant, self.standardizer.center, x)
        inputs = np.empty(len(x) + 1)
        inputs[0] = 1.0
        z = (x - self.standardizer.center) / self.standardizer.scale
        limit = self.standardizer.limit
        np.minimum(np.maximum(z, -limit, out=z), limit, out=inputs[1:])
        point = ((inputs[1:] if self.own_units else x) - self._center) * self._factor
        value = self._half_squares - self._points @ point
        nearest = value.argpartition(self.k - 1)[: self.k] if self.k < len(value) else np.arange(len(value))
        gap = self._points[nearest] - point
        squares = (gap * gap).sum(axis=1)
        lowest = float(squares.min())
        share = np.where(squares == lowest, 1.0, lowest / np.where(squares > 0, squares, 1.0))
        trust = 1.0 if lowest <= self.reach**2 else self.reach**2 / lowest
        return inputs, nearest, share / share.sum(), trust

    def _nearest(self, point: torch.Tensor, incomplete: bool) -> tuple[IntArray, FloatArray]:
        """The k nearest neurons of points (n, d) in the coordinates of the map, and their distances."""
        if self._lean and not incomplete:
            return self._candidates.nearest(point)
        dtype = torch.promote_types(point.dtype, self._cpu_codebook.dtype)
        search = make_search(self._cpu_codebook.to(dtype), self.som.metric, self.som.config.search_backend)
        found = search.nearest(point.to(dtype), self.k)
        return found.index.numpy(), found.distance.double().numpy()

    def learn_reach(self, distance: FloatArray) -> None:
        """Take the distances (n,) of training samples to their nearest neurons as those that are normal."""
        known = distance[~np.isnan(distance)]
        self.reach = float(np.quantile(known, REACH)) if len(known) else np.inf

    def trust_at(self, distance: FloatArray) -> FloatArray:
        """Trust in the map's answer at distances (n,) from the nearest neuron, NaN where there is none, shape (n,)."""
        beyond = distance > self.reach
        trust = np.where(np.isnan(distance), 0.0, 1.0)
        trust[beyond] = (self.reach / distance[beyond]) ** 2
        return trust

    def _stand_in_for(self, winner: IntArray) -> FloatArray:
        """Inputs (n, 1 + d) of the winners (n,); the mean of the training data for those without."""
        table = np.vstack((self._stand_in, np.zeros(self._stand_in.shape[1])))
        return np.column_stack((np.ones(len(winner)), table[winner]))


class NearestFew:
    """The k nearest of fixed points under the Euclidean distance, for many queries.

    A float32 product proposes `SPARE` more than needed, exact differences decide among them. `somlib.utils.search`
    ranks one after the other and proves each; this is some times as fast for several, and could only miss a neuron that
    is as near as the last one but for rounding.

    Args:
        points: Neurons, centered and weighted by feature, shape (m, d).
        center: What was subtracted, shape (d,).
        factor: By what each feature was multiplied, shape (d,).
        k: How many.
    """

    def __init__(self, points: FloatArray, center: FloatArray, factor: FloatArray, k: int) -> None:
        self._points, self._center, self._factor, self._k = points, torch.from_numpy(center), factor, k
        self._found = min(k + SPARE, len(points))
        self._lanes = LANES if len(points) > 2 * LANES and self._found <= LANES else 1
        width = len(points) + -len(points) % self._lanes
        coordinates = np.zeros((width, points.shape[1]), dtype=np.float32)
        coordinates[: len(points)] = points
        half_squares = np.full(width, np.finfo(np.float32).max)
        half_squares[: len(points)] = (points**2).sum(axis=1) / 2
        self._coordinates = torch.from_numpy(coordinates).T
        self._half_squares = torch.from_numpy(half_squares.astype(np.float32))

    def nearest(self, queries: torch.Tensor) -> tuple[IntArray, FloatArray]:
        """Indices (n, k), nearest first and the lower among equals, and distances (n, k) of queries (n, d)."""
        centered = (queries.double() - self._center) * torch.from_numpy(self._factor)
        rough = centered.float()
        proposed = [self._proposed(rough[rows]) for rows in row_chunks(len(rough), ROWS_AT_A_TIME)]
        found = np.sort(np.concatenate(proposed), axis=1)
        gap = np.empty(found.shape)
        exact = centered.numpy()
        for rank in range(found.shape[1]):
            difference = exact - self._points[found[:, rank]]
            gap[:, rank] = np.einsum("nd,nd->n", difference, difference)
        order = np.argsort(gap, axis=1, kind="stable")[:, : self._k]
        return np.take_along_axis(found, order, axis=1), np.sqrt(np.take_along_axis(gap, order, axis=1))

    def _proposed(self, rows: torch.Tensor) -> IntArray:
        """Indices (b, found) of the points of smallest value |w|^2 / 2 - x w."""
        values = torch.addmm(self._half_squares, rows, self._coordinates, alpha=-1)  # (b, width)
        if self._lanes == 1:
            return _smallest(values.numpy(), self._found)
        # The lanes with the smallest minima hold the smallest values, and minima are vectorized.
        by_lane = values.view(len(rows), -1, self._lanes)
        lane = _smallest(by_lane.amin(dim=1).numpy(), self._found)
        spread = torch.from_numpy(lane)[:, None].expand(-1, by_lane.shape[1], -1)
        place = _smallest(by_lane.gather(2, spread).flatten(1).numpy(), self._found)
        return place // self._found * self._lanes + np.take_along_axis(lane, place % self._found, axis=1)


def _or_one(values: FloatArray) -> FloatArray:
    return np.where(values > 0, values, 1.0)


def _smallest(values: NDArray[np.float32], k: int) -> IntArray:
    """Indices (b, k) of the k smallest of each row (b, c), in any order."""
    if k == values.shape[1]:
        return np.tile(np.arange(k), (len(values), 1))
    return values.argpartition(k - 1, axis=1)[:, :k]  # measured: half the time of torch.topk


def shares(distance: FloatArray) -> FloatArray:
    """Shares of neurons by the inverse square of their ascending distances (n, k); NaN has none."""
    nearest = distance[:, :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(distance == nearest, 1.0, nearest / distance) ** 2
    relative = np.nan_to_num(np.where(np.isnan(distance), 0.0, relative))
    total = relative.sum(axis=1, keepdims=True)
    share: FloatArray = relative / np.where(total > 0, total, 1.0)
    return share


def _tensor(X: NDArray[Any], som: SOM) -> torch.Tensor:
    return read_samples(X, device=torch.device("cpu"), missing=som.missing)

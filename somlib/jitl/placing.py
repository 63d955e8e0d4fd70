r"""Where samples fall on the map, and the inputs that linear models see.

Inputs are standardized by the training data and clipped at `CLIP` deviations, so that one broken sensor cannot carry a
linear model away. A missing input takes the value of the sample's nearest neuron. A query's answer is mixed from its
k nearest neurons' answers with shares by the inverse square of the distance,

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
from somlib.utils.search import make_search

CLIP = 5.0
REACH = 0.995


@dataclass(frozen=True)
class Standardizer:
    """Values in deviations from the mean of the training data.

    Attributes:
        center: Mean of each column, shape (d,).
        scale: Standard deviation of each, shape (d,); 1 for a constant.
    """

    center: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, values: NDArray[Any]) -> "Standardizer":
        """That of the columns of `values` (n, d), NaN left out."""
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        values = values.astype(np.float64)
        center = np.where(known, values, 0.0).sum(axis=0) / count
        scale = np.sqrt((np.where(known, values - center, 0.0) ** 2).sum(axis=0) / count)
        constant = scale <= 1e-12 * np.abs(center)  # rounding of the mean
        return cls(center, np.where(constant, 1.0, scale))

    def apply(self, values: NDArray[Any]) -> FloatArray:
        """Standardized values, float64, in the same shape."""
        standard: FloatArray = (values - self.center) / self.scale
        return standard

    def clipped(self, values: NDArray[Any]) -> FloatArray:
        """Standardized values, at most `CLIP` deviations from the mean."""
        return np.clip(self.apply(values), -CLIP, CLIP)

    def undo(self, standard: FloatArray) -> FloatArray:
        """Values from standardized ones."""
        values: FloatArray = standard * self.scale + self.center
        return values


@dataclass(frozen=True)
class Placed:
    """Samples as the map sees them.

    Attributes:
        inputs: (1, x) with x standardized, clipped and complete, shape (n, 1 + d).
        neuron: Nearest neurons, shape (n, k); -1 for a sample that has none.
        distance: To each, shape (n, k); NaN where there is none.
        share: What part each has in an answer, shape (n, k); rows sum to 1, or to 0 for a sample without neurons.
        trust: In the map's answer against the global one, in [0, 1], shape (n,).
        point: Samples in the coordinates of the map, on the CPU, shape (n, d).
    """

    inputs: FloatArray
    neuron: IntArray
    distance: FloatArray
    share: FloatArray
    trust: FloatArray
    point: torch.Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def winner(self) -> IntArray:
        """The nearest neuron of each, shape (n,)."""
        winner: IntArray = self.neuron[:, 0]
        return winner


class Placing:
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
        codebook = som.codebook.cpu()
        self.k = min(k, len(codebook))
        self.codebook: FloatArray = codebook.double().numpy()
        # The codebook as inputs of linear models: what a missing input takes.
        self._stand_in = np.clip(self.codebook, -CLIP, CLIP) if own_units else standardizer.clipped(self.codebook)
        self._cpu_codebook = codebook
        weights = som.metric.scaled(torch.ones(codebook.shape[1], dtype=torch.float64)).numpy()
        self._lean = som.metric.name == "euclidean"
        self._factor = weights
        center = self.codebook.mean(axis=0)
        self._center = center
        self._points = (self.codebook - center) * weights
        self._half_squares = (self._points**2).sum(axis=1) / 2

    def place(self, X: NDArray[Any]) -> Placed:
        """Place checked samples (n, d); NaN in them means missing."""
        inputs = np.empty((len(X), X.shape[1] + 1))
        inputs[:, 0], inputs[:, 1:] = 1.0, self.standardizer.clipped(X)
        point = torch.from_numpy(inputs[:, 1:]).to(self._cpu_codebook.dtype) if self.own_units else _tensor(X, self.som)
        dtype = torch.promote_types(point.dtype, self._cpu_codebook.dtype)
        search = make_search(self._cpu_codebook.to(dtype), self.som.metric, self.som.config.search_backend, len(X))
        found = search.nearest(point.to(dtype), self.k)
        neuron, distance = found.index.numpy(), found.distance.double().numpy()
        holes = np.isnan(inputs)
        if holes.any():
            inputs = np.where(holes, self._stand_in_for(neuron[:, 0]), inputs)
        return Placed(inputs, neuron, distance, shares(distance), self._trust(distance[:, 0]), point)

    def place_one(self, x: FloatArray) -> tuple[FloatArray, IntArray, FloatArray, float] | None:
        """Inputs (1 + d,), neurons (k,), shares (k,) and trust for one complete sample (d,), in few steps.

        None where the metric needs the long way. Neurons are ranked in float64 products, which tells apart all but
        ties, and those share alike.
        """
        if not self._lean:
            return None
        inputs = np.empty(len(x) + 1)
        inputs[0] = 1.0
        z = (x - self.standardizer.center) / self.standardizer.scale
        np.minimum(np.maximum(z, -CLIP, out=z), CLIP, out=inputs[1:])
        point = ((inputs[1:] if self.own_units else x) - self._center) * self._factor
        value = self._half_squares - self._points @ point
        nearest = value.argpartition(self.k - 1)[: self.k] if self.k < len(value) else np.arange(len(value))
        gap = self._points[nearest] - point
        squares = (gap * gap).sum(axis=1)
        lowest = float(squares.min())
        share = np.where(squares == lowest, 1.0, lowest / np.where(squares > 0, squares, 1.0))
        trust = 1.0 if lowest <= self.reach**2 else self.reach**2 / lowest
        return inputs, nearest, share / share.sum(), trust

    def learn_reach(self, distance: FloatArray) -> None:
        """Take the distances (n,) of training samples to their nearest neurons as those that are normal."""
        known = distance[~np.isnan(distance)]
        self.reach = float(np.quantile(known, REACH)) if len(known) else np.inf

    def _trust(self, distance: FloatArray) -> FloatArray:
        beyond = distance > self.reach
        trust = np.where(np.isnan(distance), 0.0, 1.0)
        trust[beyond] = (self.reach / distance[beyond]) ** 2
        return trust

    def _stand_in_for(self, winner: IntArray) -> FloatArray:
        """Inputs (n, 1 + d) of the winners (n,); the mean of the training data for those without."""
        table = np.vstack((self._stand_in, np.zeros(self._stand_in.shape[1])))
        return np.column_stack((np.ones(len(winner)), table[winner]))


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

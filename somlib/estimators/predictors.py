r"""Classes and values from the map: what the nearest neurons that hold training samples have seen.

A neuron's answer is the weighted mean target of the samples it won (for classes, their shares). A query x takes the
mean of its k nearest answers, the nearer the more:

    f(x) = sum_r u_r a_r / sum_r u_r,     u_r = 1 / d(x, w_r)^2,     r over the k nearest neurons that hold samples

Neurons that won no sample have nothing to say and are not asked, so no answer is ever missing. k = 1 is the answer of
the best matching unit alone.

The targets take part in the training of the map, as further features that are cut off afterwards: samples that look
alike but have different targets then pull different neurons. They are scaled to `target_weight` times the spread of
the features. Five-fold R^2 on Friedman's first problem (half of its features are noise) rose from 0.50 to 0.61 between
target weights 0 and 0.5, accuracy on digits from 0.944 to 0.962, with 5 neurons a query; between 1 and 5 neurons, R^2
rose from 0.46 to 0.61.

References:
    Melssen, Wehrens and Buydens, Supervised Kohonen networks for classification problems, Chemom. Intell. Lab. Syst.
    83(2), 2006. Shepard, A two-dimensional interpolation function for irregularly-spaced data, Proc. ACM 1968.
"""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from torch import Tensor

from somlib.core import SOM
from somlib.errors import ArgumentError, DataError
from somlib.estimators.base import FloatArray, IntArray, SOMEstimator, trained_map, winners
from somlib.utils.estimator_inputs import checked_weight, classes_of, numbers
from somlib.utils.inputs import read_samples
from somlib.utils.search import make_search


@dataclass(kw_only=True, eq=False, repr=False)
class SOMPredictor(SOMEstimator):
    """A map whose neurons know the targets of their samples; base of classifier and regressor.

    Args:
        n_neurons: How many neurons answer a query: the nearest of those that hold training samples, weighted by the
            inverse square of their distance. 1 is the best matching unit alone.
        target_weight: Spread of the targets against that of the features in training, >= 0; 0 trains the map on the
            features alone. Otherwise `som_` is a trained map with its targets cut off: it has no errors by epoch, and
            no scale for anomalies.
    """

    n_neurons: int = 5
    target_weight: float = 0.5

    def _fit_answers(self, X: NDArray[Any], target: FloatArray, guide: FloatArray, weight: FloatArray) -> None:
        """Train the map on checked samples (n, d) beside their guide (n, g), and keep the targets (n, o) it saw."""
        self._require_own_parameters()
        som = self._guided_map(X, guide, weight) if self.target_weight else trained_map(self._map_settings(), X, weight)
        neurons, answers = mean_targets(winners(som, X), target, weight, som.grid.m)
        if not len(neurons):
            raise DataError(f"X must have a row with a nearest neuron, got {len(X)} rows of zeros under cosine or NaN")
        self._take_over(som)
        self._neurons, self._answers = neurons, answers

    def _guided_map(self, X: NDArray[Any], guide: FloatArray, weight: FloatArray) -> SOM:
        """A map of the features (n, d), trained with the guide (n, g) beside them."""
        settings, d = self._map_settings(), X.shape[1]
        alone = SOM(**settings, num_features=d)
        own = alone.feature_weights
        wide = None if own is None else (*own, *[1.0] * guide.shape[1])
        points = alone.metric.scaled(read_samples(X, missing=self.missing)).numpy()
        spread = float(np.linalg.norm(deviations(points, weight)))
        beside = scaled_to(self.target_weight * spread, guide, weight)
        both = trained_map({**settings, "feature_weights": wide}, np.hstack((X, beside.astype(X.dtype))), weight)
        som = SOM(**{**settings, "x": both.x, "y": both.y}, num_features=d)
        som.initialize_from(both.weights[..., :d])
        return som

    def _require_own_parameters(self) -> None:
        if not isinstance(self.n_neurons, Integral) or isinstance(self.n_neurons, bool) or self.n_neurons < 1:
            raise ArgumentError(f"n_neurons must be a whole number of at least 1, got {self.n_neurons!r}")
        if not isinstance(self.target_weight, Real) or not 0 <= self.target_weight < np.inf:
            raise ArgumentError(f"target_weight must be finite and >= 0, got {self.target_weight!r}")

    def _answer(self, X: Any) -> FloatArray:
        """The answers to samples (n, d), shape (n, o)."""
        samples, codebook = self._samples_and_codebook(self._checked(X))
        asked = codebook[torch.tensor(self._neurons, device=codebook.device)]
        search = make_search(asked, self.som_.metric, self.som_.config.search_backend)
        found = search.nearest(samples, min(self.n_neurons, len(asked)))
        share, index = shares(found.distance).cpu().numpy(), found.index.cpu().numpy()
        answer = np.zeros((len(index), self._answers.shape[1]))
        for rank in range(index.shape[1]):  # one neuron at a time: no block (n, k, o)
            answer += share[:, [rank]] * self._answers[index[:, rank]]
        return answer


@dataclass(kw_only=True, eq=False, repr=False)
class SOMClassifier(ClassifierMixin, SOMPredictor):  # type: ignore[misc]  # scikit-learn ships no types
    """Classes by the shares that they have at the nearest neurons.

    Args:
        n_neurons: How many neurons answer: the nearest of those that hold training samples, weighted by the inverse
            square of their distance. 1 is the best matching unit alone.
        target_weight: Spread of the classes against that of the features in training; 0 trains on features alone.

    All other parameters and attributes are those of `SOMEstimator`; among them `som_`, `n_features_in_` and
    `feature_names_in_`. Features are not scaled here: see there. A row without a nearest neuron (nothing observed, a
    zero vector under cosine) gets the shares among all samples.

    Attributes:
        classes_: The classes, ascending, shape (c,).

    Example:
        >>> X, y = [[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]], ["low", "low", "high", "high"]
        >>> SOMClassifier(x=2, y=1, n_neurons=1).fit(X, y).predict([[0.2, 0.3], [4.0, 4.0]])
        array(['low', 'high'], dtype='<U4')
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a map and count the classes at its neurons.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Class of each, numbers or text, shape (n,).
            sample_weight: Shape (n,), >= 0; weight k acts like k copies of the sample. None for 1 each.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        X, y = self._read(X, y)
        weight = checked_weight(sample_weight, X)
        self.classes_, code = classes_of(y)
        one_hot = np.eye(len(self.classes_))[code]  # (n, c)
        self._fit_answers(X, one_hot, one_hot, weight)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each class for samples (n, d), shape (n, c), in the order of `classes_`; rows sum to 1."""
        return self._answer(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of samples (n, d), the first in `classes_` among equals, shape (n,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        classes: NDArray[Any] = self.classes_[most_probable]
        return classes


@dataclass(kw_only=True, eq=False, repr=False)
class SOMRegressor(RegressorMixin, SOMPredictor):  # type: ignore[misc]  # scikit-learn ships no types
    """Values by the means that they have at the nearest neurons; one target or several.

    Args:
        n_neurons: How many neurons answer: the nearest of those that hold training samples, weighted by the inverse
            square of their distance. 1 is the best matching unit alone.
        target_weight: Spread of the targets, each at the same, against that of the features in training; 0 trains on
            features alone.

    All other parameters and attributes are those of `SOMEstimator`; among them `som_`, `n_features_in_` and
    `feature_names_in_`. Features are not scaled here: see there. A row without a nearest neuron (nothing observed, a
    zero vector under cosine) gets the mean of all samples.

    Attributes:
        n_outputs_: Number of targets.

    Example:
        >>> X, y = [[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]], [1.0, 2.0, 10.0, 12.0]
        >>> SOMRegressor(x=2, y=1, n_neurons=1).fit(X, y).predict([[0.2, 0.3], [4.0, 4.0]])
        array([ 1.5, 11. ])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a map and take the mean targets at its neurons.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Targets, shape (n,) or (n, o).
            sample_weight: Shape (n,), >= 0; weight k acts like k copies of the sample. None for 1 each.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        X, y = self._read(X, y, multi_output=True)
        weight = checked_weight(sample_weight, X)
        target = numbers(y).reshape(len(y), -1)
        deviation = deviations(target, weight)
        self._fit_answers(X, target, target / np.where(deviation > 0, deviation, 1.0), weight)
        self.n_outputs_ = target.shape[1]
        self._output_shape = y.shape[1:]
        return self

    def predict(self, X: Any) -> FloatArray:
        """Targets of samples (n, d), float64, shape (n,) or (n, o) as in `fit`."""
        answer = self._answer(X)
        return answer.reshape(len(answer), *self._output_shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def mean_targets(winner: IntArray, target: FloatArray, weight: FloatArray, m: int) -> tuple[IntArray, FloatArray]:
    """The neurons that hold samples, and the weighted mean target of each.

    Args:
        winner: Flat index of each sample's nearest neuron, -1 where there is none, shape (n,).
        target: Shape (n, o).
        weight: Shape (n,), >= 0.
        m: Number of neurons.

    Returns:
        Flat indices of the neurons whose samples weigh more than 0, ascending, shape (h,), and means, shape
        (h + 1, o): the last is that of all samples, where an index of -1 finds it.
    """
    owned = np.flatnonzero(winner >= 0)
    ownership = csr_array((weight[owned], (winner[owned], owned)), shape=(m, len(winner)))
    mass = ownership.sum(axis=1)
    holding = np.flatnonzero(mass > 0)
    means = (ownership @ target)[holding] / mass[holding, None]
    return holding, np.vstack((means, np.average(target, axis=0, weights=weight)))


def shares(distance: Tensor) -> Tensor:
    """Shares of neighbors by the inverse square of their distance, float64, shape (n, k), rows sum to 1.

    Args:
        distance: Ascending, shape (n, k). Neighbors as near as the first have as much as it, at distance 0 too; NaN has
            no share, but in a row of nothing else the first has all.
    """
    distance = distance.double()
    nearest = distance[:, :1]
    relative = torch.where(distance == nearest, 1.0, nearest / distance).square().nan_to_num(nan=0.0)
    relative[:, 0] = 1.0
    return relative / relative.sum(dim=1, keepdim=True)


def deviations(values: NDArray[Any], weight: FloatArray) -> FloatArray:
    """Weighted standard deviation of each column of values (n, d), NaN left out, float64, shape (d,); 0 for none."""
    seen = weight[:, None] * ~np.isnan(values)
    count = seen.sum(axis=0)
    count = np.where(count > 0, count, 1.0)
    known = np.nan_to_num(values.astype(np.float64))
    mean = (seen * known).sum(axis=0) / count
    deviation: FloatArray = np.sqrt((seen * (known - mean) ** 2).sum(axis=0) / count)
    return deviation


def scaled_to(spread: float, values: FloatArray, weight: FloatArray) -> FloatArray:
    """Values (n, g) around their weighted mean, scaled so that the root of their total variance is `spread`.

    Constant values become 0.
    """
    total = float(np.linalg.norm(deviations(values, weight)))
    centered = values - np.average(values, axis=0, weights=weight)
    return centered * (spread / total if total > 0 else 0.0)

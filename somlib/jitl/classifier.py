"""Classification just in time: the shares of the classes, answered by local models on a map."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from torch import Tensor

from somlib.errors import ArgumentError, SavedMapError
from somlib.jitl.answering import Account
from somlib.jitl.assignment import Assignment
from somlib.jitl.base import JITLEstimator
from somlib.jitl.moments import FloatArray
from somlib.utils.estimator_inputs import classes_of

LEAST = 1e-3  # probability that every class has: a linear model may say 0 or less of what it has only not seen there


@dataclass(frozen=True, kw_only=True)
class JITLClassification(Account):
    """Classes with what they rest on; see `Account` for the other fields.

    Attributes:
        prediction: Most probable class, shape (n,).
        probability: Of each class, shape (n, c).
    """

    prediction: NDArray[Any]
    probability: FloatArray


@dataclass(kw_only=True, eq=False, repr=False)
class JITLClassifier(ClassifierMixin, JITLEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Classes by local models of their shares on a map.

    Each class is a target that is 1 for its samples and 0 for others, and local models answer these as those of
    `JITLRegressor` would. What they answer is cut to [0.001, 1] and scaled to the sum 1.

    All parameters are those of `JITLParameters`. What is assigned to any of them after `fit` counts from the
    next `fit`.

    Attributes:
        classes_: The classes, ascending, shape (c,).
        som_: The map.
        index_: The samples that each neuron holds.
        settings_: Neighborhood, sigma, ridge, level and n_neighbors, as given or as chosen.
        n_features_in_: Number of features.
        feature_names_in_: Their names, where `fit` got a frame with column names that are all text.

    Example:
        >>> X, y = [[0.0], [0.2], [0.4], [5.0], [5.2], [5.4]], ["low", "low", "low", "high", "high", "high"]
        >>> JITLClassifier(x=2, y=1).fit(X, y).predict([[0.1], [5.1]])
        array(['low', 'high'], dtype='<U4')
    """

    def fit(self, X: Any, y: Any, timestamps: Any = None) -> Self:
        """Train a map, unless one was given, choose the settings left open, and fit local models.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Class of each, numbers or text, shape (n,).
            timestamps: Numbers or dates, shape (n,). Settings are then chosen by answering later samples from earlier
                ones; without, by random folds.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        with self._all_or_nothing():
            X, y = self._checked(X, y, fresh=True)
            self.classes_, code = classes_of(y)
            self._fit(X, np.eye(len(self.classes_))[code], timestamps)
        return self

    def update(self, X: Any, y: Any, timestamps: Any = None, *, refit: bool | None = None) -> Self:
        """Learn from new labelled samples, without training the map.

        Settings stay as they are until rows have grown by almost a third: then `refit` follows.

        Args:
            X: Samples, shape (n, d).
            y: Class of each, among those of `fit`, shape (n,).
            timestamps: As in `fit`: needed if it had them.
            refit: Whether `refit` follows; None: where `refit_reason` has one.

        Raises:
            ArgumentError: A class that `fit` has not seen; nothing has changed then.
        """
        X, y = self._checked(X, y)
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ArgumentError(f"y must hold classes that fit has seen, got {y[~known][0]!r}: fit anew to add one")
        self._update(X, np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)], timestamps, False, refit)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Probability of each class for samples (n, d), shape (n, c), in the order of `classes_`; rows sum to 1."""
        X = self._checked(X)
        return self._probability(self._assigner.assign(X))

    @overload
    def predict(self, X: Any, return_details: Literal[False] = False) -> NDArray[Any]: ...
    @overload
    def predict(self, X: Any, return_details: Literal[True]) -> JITLClassification: ...
    def predict(self, X: Any, return_details: bool = False) -> NDArray[Any] | JITLClassification:
        """Most probable class of samples (n, d), the first among equals, shape (n,); with all details where asked."""
        X = self._checked(X)
        assigned = self._assigner.assign(X)
        probability = self._probability(assigned)
        classes: NDArray[Any] = self.classes_[probability.argmax(axis=1)]
        if return_details:
            return JITLClassification(prediction=classes, probability=probability, **self._account(assigned))
        return classes

    def _probability(self, assigned: Assignment) -> FloatArray:
        share = np.clip(self._targets.undo(self._answer(assigned, self._boosted(assigned))), LEAST, 1.0)
        probability: FloatArray = share / share.sum(axis=1, keepdims=True)
        return probability

    def _state(self) -> dict[str, Any]:
        if self.classes_.dtype.kind not in "biufU":
            raise SavedMapError(f"classes must be numbers or text to be saved, got dtype {self.classes_.dtype}")
        return {**super()._state(), "classes": self.classes_.tolist(), "class_type": self.classes_.dtype.str}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.classes_ = np.array(state["classes"], dtype=state["class_type"])
        super()._restore(state, tensors)

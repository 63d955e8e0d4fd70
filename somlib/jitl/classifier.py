"""Classification just in time: shares of the classes by local models on a map, pooled with those of other experts."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from torch import Tensor

from somlib.errors import DataTypeError, SavedMapError, unknown_name
from somlib.jitl.answering import Account
from somlib.jitl.assignment import Assignment, Standardizer
from somlib.jitl.base import JITLEstimator, OnStep
from somlib.jitl.class_blend import ClassBlend, Labels, fit_class_blend
from somlib.jitl.gaps import Hidden
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.pool import log_losses
from somlib.jitl.row_store import RowStore
from somlib.jitl.sample_index import SampleIndex
from somlib.jitl.side_by_side import require_jobs, step_counter
from somlib.jitl.validation import LeftOut, Split
from somlib.utils.estimator_inputs import classes_of

EXPERTS = ("auto", "pure", "blend")
FEWEST_FOR_BLEND = 40
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
    """Classes by local models of their shares on a map, and by experts that see all samples.

    Each class is a target that is 1 for its samples and 0 for others, and local models answer these as those of
    `JITLRegressor` would, cut to [0.001, 1] and scaled to the sum 1. Shares among the nearest samples, a logistic
    regression and boosting stand beside them; their probabilities are put together, and calibrated, by the log loss
    on samples left out (`pool.py`).

    Args:
        experts: `"blend"`: all of them; `"pure"`: those alone that learn with every update, local models and nearest
            samples. `"auto"`: `"blend"`. Shares of the local models stand alone with another `local_model` than
            `"ridge"`, with `shrink="nothing"`, with a single class and with fewer than 40 samples.
        n_jobs: Boostings that are fitted at the same time, in a thread each; -1 takes the number of cores. None fits
            one after the other, by as many threads as scikit-learn takes. It changes no result.

    All other parameters are those of `JITLParameters`. What is assigned to any of them after `fit` counts from the
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

    experts: str = "auto"
    n_jobs: int | None = None

    def fit(self, X: Any, y: Any, timestamps: Any = None, *, on_step: OnStep | None = None) -> Self:
        """Train a map, unless one was given, choose the settings left open, and fit local models.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Class of each, numbers or text, shape (n,).
            timestamps: Numbers or dates, shape (n,). Settings are then chosen by answering later samples from earlier
                ones; without, by random folds.
            on_step: Called after each step with how many are done, how many there are, and what has been done; from any
                thread.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        if self.experts not in EXPERTS:
            raise unknown_name("experts", self.experts, EXPERTS)
        require_jobs(self.n_jobs)
        with self._all_or_nothing():
            X, y = self._checked(X, y, fresh=True)
            self.classes_, code = classes_of(_plain(y))
            self._fit(X, np.eye(len(self.classes_))[code], timestamps, on_step)
        return self

    def update(self, X: Any, y: Any, timestamps: Any = None, *, refit: bool | None = None) -> Self:
        """Learn from new labelled samples, without training the map.

        They are answered first, as the model is. Local models and nearest samples learn them at once; the other experts
        and the weights of all stay as they are until rows or losses have grown (`growth.py`): then `refit` follows. It
        follows whenever there is a class that the model does not know, which it learns.

        Args:
            X: Samples, shape (n, d).
            y: Class of each, shape (n,).
            timestamps: As in `fit`: needed if it had them.
            refit: Whether `refit` follows; None: where `refit_reason` has one.

        Raises:
            DataTypeError: Text where `fit` had numbers, or the other way around; nothing has changed then.
        """
        X, y = self._checked(X, y)
        y = _plain(y)
        if (y.dtype.kind == "U") != (self.classes_.dtype.kind == "U"):
            raise DataTypeError(
                f"y must hold labels like those of fit, {_some(self.classes_)}, got {y[:1].tolist()[0]!r}"
            )
        unknown = np.setdiff1d(classes_of(y)[0], self.classes_)
        if len(unknown):
            with self._all_or_nothing():
                self._update_with_new(X, y, unknown, timestamps)
        else:
            shares = np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)]
            self._update(X, shares, timestamps, score=True, refit=refit)
        return self

    def _update_with_new(self, X: NDArray[Any], y: NDArray[Any], unknown: NDArray[Any], timestamps: Any) -> None:
        """Learn samples some of which have classes that the model does not know, and fit it anew."""
        before, code = self.classes_, self._labels.code
        self.index_ = deepcopy(self.index_)  # which would stay changed where the fit fails
        time, clock = self.index_.read_times(timestamps, len(X))
        self._tell_of_silent(X)
        assigned = self._assigner.assign(X)
        self.classes_ = _joined(before, unknown)
        shares = np.eye(len(self.classes_))
        held = shares[np.searchsorted(self.classes_, before)[code]]
        inputs = self._rows[:, : -self._outputs]
        rows = np.vstack(
            (
                np.hstack((inputs, held)),
                np.hstack((assigned.inputs, shares[np.searchsorted(self.classes_, y)])),
            )
        )
        self._outputs = len(shares)
        self._targets = Standardizer(np.zeros(len(shares)), np.ones(len(shares)))
        self._store = RowStore(torch.empty((0, rows.shape[1]), dtype=torch.float64))
        self._store.append(torch.from_numpy(rows))
        self.index_.append_assigned(assigned.point, torch.from_numpy(assigned.winner), time, clock)
        self.refit()

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
        local = self._shares(self._answer(assigned, self._boosted(assigned)))
        if self._blend is None:
            return local
        return self._blend.probability(assigned, local, self.index_, self._labels)

    def _shares(self, answer: FloatArray) -> FloatArray:
        """Shares (n, c) of the classes from standardized answers."""
        share = np.clip(self._targets.undo(answer), LEAST, 1.0)
        scaled: FloatArray = share / share.sum(axis=1, keepdims=True)
        return scaled

    def _fit_experts(
        self, assigned: Assignment, rows: FloatArray, splits: list[Split], left_out: LeftOut, hidden: Hidden | None,
        to_hidden: FloatArray | None, on_step: OnStep | None,
    ) -> tuple[LeftOut, FloatArray | None]:  # fmt: skip
        del hidden
        self._blend: ClassBlend | None = None
        self._know_labels()
        everything = self._used.experts != "pure"
        pooled = self._pools and len(rows) >= FEWEST_FOR_BLEND and self._outputs > 1
        step = step_counter(on_step, 1 + (len(splits) + 1) * (pooled and everything))
        step("local ridges")
        if pooled:
            self._blend, probability = fit_class_blend(
                assigned, self._labels, splits, self._shares(left_out.answer), self._index_of(assigned),
                everything=everything, seed=self._used._seed(), jobs=self._used.n_jobs or 1, step=step,
            )  # fmt: skip
            left_out = LeftOut(left_out.position, self._targets.apply(probability))
        return left_out, to_hidden

    def _index_of(self, assigned: Assignment) -> Any:
        """What makes an index of some of all samples, by position."""

        def index_of(position: IntArray) -> SampleIndex:
            index = SampleIndex(self.som_)
            index.order = self._used.neighborhood_order
            winner = torch.from_numpy(assigned.winner[position])
            index.append_assigned(assigned.point[position], winner, self.index_.time[position], self.index_.clock)
            return index

        return index_of

    @property
    def _pools(self) -> bool:
        """Whether other experts stand beside the local models."""
        used = self._used
        return isinstance(used.local_model, str) and used.local_model == "ridge" and used.shrink == "global"

    def _know_labels(self) -> None:
        """Keep the class of each sample held."""
        shares = self._targets.undo(self._rows[:, -self._outputs :])
        self._labels = Labels(shares.argmax(axis=1), self._outputs)

    def _solve(self) -> None:
        super()._solve()
        self._know_labels()

    def _expert_weights(self) -> dict[str, float]:
        return super()._expert_weights() if self._blend is None else self._blend.weights

    def _usual_loss(self, left_out: LeftOut, rows: FloatArray) -> float:
        """Log loss: its root is what `_record_errors` counts as an error."""
        del rows
        probability = self._targets.undo(left_out.answer)
        if self._blend is None:
            probability = self._shares(left_out.answer)
        return float(log_losses(probability, self._labels.code[left_out.position]).mean())

    def _record_errors(self, assigned: Assignment, answer: FloatArray, target: FloatArray, time: NDArray[Any]) -> None:
        """Count the log losses of answers to samples whose classes came after."""
        del answer, time
        code = self._targets.undo(target).argmax(axis=1)
        self._growth.answer(np.sqrt(log_losses(self._probability(assigned), code)))

    def _state(self) -> dict[str, Any]:
        if self.classes_.dtype.kind not in "biufU":
            raise SavedMapError(f"classes must be numbers or text to be saved, got dtype {self.classes_.dtype}")
        classes = {"classes": self.classes_.tolist(), "class_type": self.classes_.dtype.str}
        return {**super()._state(), **classes, "blend": None if self._blend is None else self._blend.state()}

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | ({} if self._blend is None else self._blend.tensors())

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.classes_ = np.array(state["classes"], dtype=state["class_type"])
        super()._restore(state, tensors)
        blend = state.get("blend")  # models saved before there were other experts answer by local models alone
        self._blend = None if blend is None else ClassBlend.restored(blend, tensors)


def _plain(y: NDArray[Any]) -> NDArray[Any]:
    """Labels that pandas keeps as objects, but are all text, as an array of text."""
    text = y.dtype == object and all(isinstance(label, str) for label in y)
    return y.astype(np.str_) if text else y


def _joined(known: NDArray[Any], unknown: NDArray[Any]) -> NDArray[Any]:
    """All classes, ascending, in the type of the known ones where that holds the others too."""
    joined: NDArray[Any] = np.union1d(known, unknown)
    same: NDArray[Any] = joined.astype(known.dtype) if known.dtype.kind != "U" else joined
    return same if np.array_equal(same, joined) else joined


def _some(classes: NDArray[Any]) -> str:
    return ", ".join(map(repr, classes[:3].tolist())) + (", ..." if len(classes) > 3 else "")

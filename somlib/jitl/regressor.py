r"""Regression just in time: a global ridge, corrected by local ridges on a map, with intervals that adapt.

>>> rng = np.random.default_rng(0)
>>> X = rng.uniform(-2, 2, (400, 2))
>>> model = JITLRegressor().fit(X, np.sin(2 * X[:, 0]) + X[:, 1])
>>> bool(abs(model.predict([[0.5, 1.0]])[0] - 1.84) < 0.2)
True
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from torch import Tensor

from somlib.errors import ArgumentError, ShapeError, unknown_name
from somlib.jitl.answering import Account
from somlib.jitl.assignment import Assigner, Assignment, Standardizer
from somlib.jitl.base import JITLEstimator, OnStep
from somlib.jitl.blend import BOOSTED, Blend, Boosted, blend_fitted, blend_from, blend_state, blend_tensors
from somlib.jitl.gaps import Hidden
from somlib.jitl.intervals import AdaptiveIntervals
from somlib.jitl.moments import FloatArray
from somlib.jitl.neighborhoods import GaussianNeighborhood, Neighborhood
from somlib.jitl.sample_index import SampleIndex
from somlib.jitl.side_by_side import require_jobs, step_counter
from somlib.jitl.validation import BLOCKS, SIGMAS, LeftOut, Split, forward_splits, subset
from somlib.utils.estimator_inputs import numbers

logger = logging.getLogger(__name__)

EXPERTS = ("auto", "pure", "blend")
FEWEST_FOR_BLEND = 40


@dataclass(frozen=True, kw_only=True)
class JITLPrediction(Account):
    """Answers with their intervals and with what they rest on; see `Account` for the other fields.

    Attributes:
        prediction: The answers, shape (n,) or (n, o) as in `fit`.
        lower: Lower ends of the intervals, in that shape; NaN before any error is known.
        upper: Upper ends.
    """

    prediction: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(kw_only=True, eq=False, repr=False)
class JITLRegressor(RegressorMixin, JITLEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Values by local models on a map; one target or several.

    Args:
        coverage: Share of targets that intervals shall hold.
        experts: `"pure"`: local models alone, which learn and answer at once. `"blend"`: with boosting beside them, and
            local models of its errors; more accurate mostly, slower to fit (12 boostings a target, 16 with timestamps)
            and to answer. With fewer than 40 rows it is `"pure"`. `"auto"`: `"blend"` with `local_model="ridge"` and
            `shrink="global"`, else `"pure"`.
        gamma: How far one labelled sample moves the level of the intervals; 0 never adapts.
        n_jobs: Boostings that are fitted at the same time, in a thread each; -1 takes the number of cores. None fits
            one after the other, by as many threads as scikit-learn takes. It changes no result.

    All other parameters are those of `JITLParameters`. What is assigned to any of them after `fit` counts from the next
    `fit`.

    Attributes:
        som_: The map.
        index_: The samples that each neuron holds.
        settings_: Neighborhood, sigma, ridge, level and n_neighbors, as given or as chosen.
        n_outputs_: Number of targets.
        n_features_in_: Number of features.
        feature_names_in_: Their names, where `fit` got a frame with column names that are all text.

    References:
        Atkeson, Moore and Schaal, Locally weighted learning, Artif. Intell. Rev. 11, 1997. Cheng and Chiu, A new
        data-based methodology for nonlinear process modeling, Chem. Eng. Sci. 59, 2004 (just-in-time learning).
    """

    experts: str = "auto"
    coverage: float = 0.9
    gamma: float = 0.002
    n_jobs: int | None = None

    def fit(self, X: Any, y: Any, timestamps: Any = None, *, on_step: OnStep | None = None) -> Self:
        """Train a map, unless one was given, choose the settings left open, and fit local models.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Targets, shape (n,) or (n, o).
            timestamps: Numbers or dates, shape (n,). Settings are then chosen by answering later samples from earlier
                ones; without, by random folds.
            on_step: Called after each step with how many are done, how many there are, and what has been done; from any
                thread.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        if self.experts not in EXPERTS:
            raise unknown_name("experts", self.experts, EXPERTS)
        if self.experts == "blend" and not (isinstance(self.local_model, str) and self.local_model == "ridge"):
            raise ArgumentError(f"local_model must be 'ridge' with experts='blend', got {self.local_model!r}")
        if not isinstance(self.coverage, Real) or not 0 < self.coverage < 1:
            raise ArgumentError(f"coverage must lie between 0 and 1, got {self.coverage!r}")
        if not isinstance(self.gamma, Real) or not 0 <= self.gamma < 1:
            raise ArgumentError(f"gamma must be at least 0 and below 1, got {self.gamma!r}")
        require_jobs(self.n_jobs)
        with self._all_or_nothing():
            X, y = self._checked(X, y, fresh=True, multi_output=True)
            target = numbers(y).reshape(len(y), -1)
            self._output_shape: tuple[int, ...] = y.shape[1:]
            self.n_outputs_: int = target.shape[1]
            self._before: tuple[AdaptiveIntervals, FloatArray] | None = None  # intervals and units of before a refit
            self._fit(X, target, timestamps, on_step)
        return self

    def update(
        self, X: Any, y: Any, timestamps: Any = None, *, observed: bool = False, refit: bool | None = None
    ) -> Self:
        """Learn from new labelled samples, without training the map.

        They are answered first, as the model is, and their errors move the intervals. That takes milliseconds. Boosting
        and settings stay as they are until rows or errors have grown (`growth.py`): then `refit` follows.

        Args:
            X: Samples, shape (n, d).
            y: Targets, as in `fit`.
            timestamps: As in `fit`: needed if it had them.
            observed: Whether `observe` has already seen these samples, so that intervals do not count them twice.
            refit: Whether `refit` follows; None: where `refit_reason` has one.

        Raises:
            ArgumentError, DataError, ShapeError, DataTypeError: What came does not fit; nothing has changed then.
        """
        X, target = self._checked_labelled(X, y)
        self._update(X, target, timestamps, score=not observed, refit=refit)
        return self

    def refit(self, *, on_step: OnStep | None = None) -> Self:
        """Choose settings and fit all models anew to the samples held; the map and its units stay.

        What `update` cannot reach is learned again too: boosting, the weights of experts, the distances that are normal
        on the map, and the scale of the intervals, whose level stays where labels have made it more careful.

        Args:
            on_step: As in `fit`.
        """
        with self._all_or_nothing():
            level = self._intervals.alpha
            self._before = (self._intervals, self._targets.scale)
            super().refit(on_step=on_step)
            self._before = None
            self._intervals.alpha = np.minimum(level, self._intervals.alpha)
        return self

    def observe(self, X: Any, y: Any, timestamps: Any = None) -> Self:
        """Adapt the intervals to labelled samples, without learning from these: labels before the next `update`.

        Args:
            X: Samples, shape (n, d).
            y: Targets, as in `fit`.
            timestamps: Order them in time; None takes them in the order given.
        """
        X, target = self._checked_labelled(X, y)
        unknown = np.full(len(X), np.nan)
        time = unknown if timestamps is None else self.index_.read_times(timestamps, len(X))[0].numpy()
        assigned = self._assigner.assign(X)
        self._record_errors(
            assigned, self._answer(assigned, self._boosted(assigned)), self._targets.apply(target), time
        )
        return self

    @overload
    def predict(self, X: Any, return_details: Literal[False] = False) -> FloatArray: ...
    @overload
    def predict(self, X: Any, return_details: Literal[True]) -> JITLPrediction: ...
    def predict(self, X: Any, return_details: bool = False) -> FloatArray | JITLPrediction:
        """Targets of samples (n, d), float64, shape (n,) or (n, o) as in `fit`; with all details where asked."""
        X = self._checked(X)
        return self._details(self._assigner.assign(X)) if return_details else self._answered(X)

    def predict_interval(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the intervals for samples (n, d), each in the shape of the targets."""
        details = self.predict(X, return_details=True)
        return details.lower, details.upper

    def predict_one(self, x: Any) -> FloatArray:
        """Targets of one sample (d,), shape () or (o,): what `predict` says, much faster with `experts="pure"`.

        A series with names is put in the order of `fit`; an array or a list goes by position, and unlike in `predict`
        an array of float64 is not warned about after a `fit` with names, as that would take longer than the answer.

        Raises:
            ShapeError: Not of shape (d,).
            DataError: A value is not finite, and not merely missing where that is allowed.
        """
        d = getattr(self, "n_features_in_", None)
        if type(x) is not np.ndarray or x.dtype != np.float64 or x.shape != (d,):  # the checks take their time
            x = self._one(x).astype(np.float64)
        if self._used.local_model != "ridge" or self._blend is not None or not np.isfinite(x).all():
            return self._answered(x[None])[0]  # type: ignore[no-any-return]  # indexing yields Any
        place = self._assigner.assign_one(x)
        if place is None:
            return self._answered(x[None])[0]  # type: ignore[no-any-return]  # as above
        answer = self._ridge.answer_one(*place) * self._targets.scale + self._targets.center
        return answer.reshape(self._output_shape)

    def _answered(self, X: NDArray[Any]) -> FloatArray:
        """Answers to checked samples (n, d), in the shape of the targets."""
        assigned = self._assigner.assign(X)
        return self._shaped(self._targets.undo(self._answer(assigned, self._boosted(assigned))))

    def _details(self, assigned: Assignment) -> JITLPrediction:
        value = self._targets.undo(self._answer(assigned, self._boosted(assigned)))
        half = self._intervals.half_width(assigned) * self._targets.scale
        return JITLPrediction(
            prediction=self._shaped(value),
            lower=self._shaped(value - half),
            upper=self._shaped(value + half),
            **self._account(assigned),
        )

    @property
    def _needs_hidden(self) -> bool:
        return self._used.missing == "mask"

    def _fit_experts(
        self, assigned: Assignment, rows: FloatArray, splits: list[Split], left_out: LeftOut, hidden: Hidden | None,
        to_hidden: FloatArray | None, on_step: OnStep | None,
    ) -> tuple[LeftOut, FloatArray | None]:  # fmt: skip
        self._blend: Blend | None = None
        wanted = self._blends
        if wanted and len(rows) < FEWEST_FOR_BLEND:
            logger.warning(
                "experts='blend' needs at least %d rows, got %d: local models alone", FEWEST_FOR_BLEND, len(rows)
            )
        if not wanted or len(rows) < FEWEST_FOR_BLEND:
            step_counter(on_step, 1)("local ridges")
            return left_out, to_hidden
        timed = self.index_.clock != "rows"
        more = forward_splits(self.index_.time.numpy(), BLOCKS, BLOCKS - 1) if timed else splits
        step = step_counter(on_step, 1 + len(BOOSTED) * (len(more) + 1))
        step("local ridges")
        self._blend, left_out, to_hidden = blend_fitted(
            assigned, rows, left_out, more, splits, self._correction_neighborhoods, self._ridge, self._used._seed(),
            hidden, to_hidden, jobs=self._used.n_jobs or 1, step=step,
        )  # fmt: skip
        return left_out, to_hidden

    @property
    def _blends(self) -> bool:
        """Whether boosting is wanted."""
        used = self._used
        if used.experts != "auto":
            return used.experts == "blend"
        return isinstance(used.local_model, str) and used.local_model == "ridge" and used.shrink == "global"

    @property
    def _correction_neighborhoods(self) -> dict[str, Neighborhood]:
        """Neighborhoods of the correction of boosting, by name."""
        gaussians = {f"gaussian {sigma}": GaussianNeighborhood(self.som_.grid, sigma) for sigma in SIGMAS}
        name = "bmu_neighborhood_knn"
        return {**gaussians, name: self._neighborhood_of({"neighborhood": name})}

    def _boosted(self, assigned: Assignment) -> Boosted:
        return {} if self._blend is None else self._blend.boosted(assigned)

    def _answer(self, assigned: Assignment, boosted: Boosted) -> FloatArray:
        local = super()._answer(assigned, boosted)
        return local if self._blend is None else self._blend.answer(assigned, local, boosted, self._ridge.bounds)

    def _learn(self, assigned: Assignment, rows: FloatArray, boosted: Boosted) -> None:
        super()._learn(assigned, rows, boosted)
        if self._blend is not None:
            self._blend.learn(assigned, rows, boosted)

    def _unlearn(self, kept: NDArray[np.bool_]) -> None:
        super()._unlearn(kept)
        if self._blend is not None:
            self._blend.forget(self._rows, self.index_.winner.numpy(), kept)

    def _solve(self) -> None:
        super()._solve()
        if self._blend is not None:
            self._blend.solve()

    def _expert_weights(self) -> dict[str, float]:
        return super()._expert_weights() if self._blend is None else dict(self._blend.weights)

    def _begin(self, assigner: Assigner, targets: Standardizer, index: SampleIndex) -> None:
        super()._begin(assigner, targets, index)
        d = len(assigner.standardizer.center) if assigner.som.missing == "mask" else 0
        self._intervals = AdaptiveIntervals(self.som_.grid, self._used.coverage, self._used.gamma, self._outputs, d)

    def _finish_fit(
        self,
        assigned: Assignment,
        rows: FloatArray,
        left_out: LeftOut,
        hidden: Hidden | None,
        to_hidden: FloatArray | None,
    ) -> None:
        """Learn intervals from errors on the samples left out, in the order of time."""
        order = np.argsort(self.index_.time.numpy()[left_out.position], kind="stable")
        position = left_out.position[order]
        targets = rows[:, -self._outputs :]
        time = self.index_.time.numpy()[position]
        self._intervals.learn(subset(assigned, position), left_out.answer[order] - targets[position], time)
        if self._before is not None and self.index_.clock != "rows":
            intervals, scale = self._before
            self._intervals.recall(intervals, scale / self._targets.scale)
        if hidden is not None and to_hidden is not None:
            self._intervals.learn_gaps(hidden.assigned, to_hidden - targets[hidden.position])
        if not len(position):
            logger.warning("fit had too few rows to leave some out: intervals are NaN until labels arrive")

    def _record_errors(self, assigned: Assignment, answer: FloatArray, target: FloatArray, time: NDArray[Any]) -> None:
        """Let the intervals see the errors of answers to labelled samples, in the order of time."""
        order = np.argsort(time, kind="stable")
        self._intervals.observe(subset(assigned, order), answer[order] - target[order], time[order])
        self._growth.answer(answer - target)

    def _shaped(self, answer: FloatArray) -> FloatArray:
        return answer.reshape(len(answer), *self._output_shape)

    def _checked_labelled(self, X: Any, y: Any) -> tuple[NDArray[Any], FloatArray]:
        X, y = self._checked(X, y, multi_output=True)
        if y.shape[1:] != self._output_shape:
            raise ShapeError(f"y must have {self.n_outputs_} targets like those of fit, got shape {y.shape}")
        return X, numbers(y).reshape(len(y), -1)

    def _state(self) -> dict[str, Any]:
        blend = None if self._blend is None else blend_state(self._blend)
        return {**super()._state(), "output_shape": list(self._output_shape), "blend": blend}

    def _tensors(self) -> dict[str, Tensor]:
        arrays = self._intervals.arrays().items()
        tensors = {f"intervals.{name}": torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays}
        return super()._tensors() | tensors | ({} if self._blend is None else blend_tensors(self._blend))

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self._output_shape = tuple(state["output_shape"])
        self.n_outputs_ = self._output_shape[0] if self._output_shape else 1
        self._blend, self._before = None, None
        super()._restore(state, tensors)
        self._intervals.restore(
            {name.removeprefix("intervals."): t.numpy() for name, t in tensors.items() if name.startswith("intervals.")}
        )
        if state["blend"] is not None:
            self._blend = blend_from(state["blend"], tensors, self._correction_neighborhoods, self._ridge)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

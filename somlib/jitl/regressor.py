r"""Regression just in time: a global ridge, corrected by local ridges on a map, with intervals that adapt.

>>> rng = np.random.default_rng(0)
>>> X = rng.uniform(-2, 2, (400, 2))
>>> model = JITLRegressor().fit(X, np.sin(2 * X[:, 0]) + X[:, 1])
>>> bool(abs(model.predict([[0.5, 1.0]])[0] - 1.84) < 0.2)
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from somlib.errors import ArgumentError, DataError, ShapeError, unknown_name
from somlib.jitl.base import Answered, JITLEstimator
from somlib.jitl.blend import Blend, blend_fitted, blend_from, blend_state, blend_tensors
from somlib.jitl.intervals import AdaptiveIntervals
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import GaussianNeighborhood, Neighborhood
from somlib.jitl.placing import Placed
from somlib.jitl.validation import BLOCKS, SIGMAS, LeftOut, Split, forward_splits

EXPERTS = ("pure", "blend")
FEWEST_FOR_BLEND = 40


@dataclass(frozen=True)
class JITLPrediction:
    """Answers with what they rest on; n queries, shape (n,) or, of targets, (n,) or (n, o) as in `fit`.

    Attributes:
        prediction: The answers.
        lower: Lower ends of the intervals; NaN before any error is known.
        upper: Upper ends.
        n_samples: Samples behind each local answer, weighted by the neighborhood; 0 where only the global model spoke.
        fallback: Whether the query lies off the map, so that its answer fades to the global model's, bool.
        trust: Share of the local answer, 1 on the map, falling to 0 off it.
        row: Row of the nearest neuron, -1 for none, int64.
        col: Its column.
        quantization_error: Distance to it, in the units of the map; NaN for none.
        neuron: Flat indices of the neurons that answered, int64, shape (n, k), -1 for none.
        share: What part each had, shape (n, k).
        experts: Weight of each expert in the answers, by name; they sum to 1.
    """

    prediction: FloatArray
    lower: FloatArray
    upper: FloatArray
    n_samples: FloatArray
    fallback: NDArray[np.bool_]
    trust: FloatArray
    row: IntArray
    col: IntArray
    quantization_error: FloatArray
    neuron: IntArray
    share: FloatArray
    experts: dict[str, float]


@dataclass(kw_only=True, eq=False, repr=False)
class JITLRegressor(RegressorMixin, JITLEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Values by local models on a map; one target or several.

    Args:
        coverage: Share of targets that intervals shall hold.
        experts: `"pure"`: local models alone, which learn and answer at once. `"blend"`: with boosting beside them, and
            local models of its errors; more accurate mostly, slower to fit (some twenty boostings) and to answer.
        gamma: How far one labelled sample moves the level of the intervals; 0 never adapts.

    All other parameters are those of `JITLEstimator`.

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

    experts: str = "pure"
    coverage: float = 0.9
    gamma: float = 0.002

    def fit(self, X: Any, y: Any, timestamps: Any = None) -> Self:
        """Train a map, unless one was given, choose the settings left open, and fit local models.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Targets, shape (n,) or (n, o).
            timestamps: Numbers or dates, shape (n,). Settings are then chosen by answering later samples from earlier
                ones; without, by random folds.

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
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, **self._input_checks)
        if self.experts == "blend" and len(X) < FEWEST_FOR_BLEND:
            raise DataError(f"X must have at least {FEWEST_FOR_BLEND} rows for experts='blend', got {len(X)}")
        target = y.astype(np.float64).reshape(len(y), -1)
        self._output_shape: tuple[int, ...] = y.shape[1:]
        self.n_outputs_: int = target.shape[1]
        self._fit(X, target, timestamps)
        return self

    @overload
    def predict(self, X: Any, return_details: Literal[False] = False) -> FloatArray: ...
    @overload
    def predict(self, X: Any, return_details: Literal[True]) -> JITLPrediction: ...
    def predict(self, X: Any, return_details: bool = False) -> FloatArray | JITLPrediction:
        """Targets of samples (n, d), float64, shape (n,) or (n, o) as in `fit`; with all details where asked."""
        X = self._checked(X)
        if return_details:
            return self._details(self._answered(X))
        return self._shaped(self._targets.undo(self._answer(self._placing.place(X))))

    def predict_interval(self, X: Any) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the intervals for samples (n, d), each in the shape of the targets."""
        details = self.predict(X, return_details=True)
        return details.lower, details.upper

    def predict_one(self, x: Any) -> FloatArray:
        """Targets of one sample (d,), shape () or (o,): what `predict` says, in a fraction of its time.

        Raises:
            ShapeError: Not of shape (d,).
            DataError: A value is not finite, and not merely missing where that is allowed.
        """
        x = np.asarray(x, dtype=np.float64)
        if self.local_model != "ridge" or self.experts != "pure" or not np.isfinite(x).all():
            return self.predict(x[None])[0]  # type: ignore[no-any-return]  # indexing yields Any
        check = getattr(self, "n_features_in_", None)
        if check is None:
            check_is_fitted(self)
        if x.shape != (check,):
            raise ShapeError(f"x must have shape ({check},), got {x.shape}")
        place = self._placing.place_one(x)
        if place is None:
            return self.predict(x[None])[0]  # type: ignore[no-any-return]  # as above
        answer = self._ridge.answer_one(*place) * self._targets.scale + self._targets.center
        return answer.reshape(self._output_shape)

    def _details(self, answered: Answered) -> JITLPrediction:
        placed = answered.placed
        value = self._targets.undo(answered.value)
        half = self._intervals.scale(placed.neuron, placed.share, placed.trust) * self._intervals.factor()
        half = half * self._targets.scale
        columns = self.som_.grid.y
        nowhere = placed.winner < 0
        return JITLPrediction(
            prediction=self._shaped(value),
            lower=self._shaped(value - half),
            upper=self._shaped(value + half),
            n_samples=answered.samples,
            fallback=placed.trust < 1,
            trust=placed.trust,
            row=np.where(nowhere, -1, placed.winner // columns),
            col=np.where(nowhere, -1, placed.winner % columns),
            quantization_error=placed.distance[:, 0],
            neuron=placed.neuron,
            share=placed.share,
            experts=self._expert_weights(),
        )

    def _fit_experts(self, placed: Placed, rows: FloatArray, splits: list[Split], left_out: LeftOut) -> LeftOut:
        self._blend: Blend | None = None
        if self.experts == "pure":
            return left_out
        timed = self.index_.clock != "rows"
        more = forward_splits(self.index_.time.numpy(), BLOCKS, BLOCKS - 1) if timed else splits
        self._blend, left_out = blend_fitted(
            placed, rows, left_out, more, splits, self._correction_neighborhoods, self._ridge, self._seed()
        )
        return left_out

    @property
    def _correction_neighborhoods(self) -> dict[str, Neighborhood]:
        """Neighborhoods of the correction of boosting, by name."""
        gaussians = {f"gaussian {sigma}": GaussianNeighborhood(self.som_.grid, sigma) for sigma in SIGMAS}
        name = "bmu_neighborhood_knn"
        return {**gaussians, name: self._neighborhood_of({"neighborhood": name})}

    def _answer(self, placed: Placed) -> FloatArray:
        local = super()._answer(placed)
        return local if self._blend is None else self._blend.answer(placed, local, self._ridge.bounds)

    def _learn(self, placed: Placed, rows: FloatArray) -> None:
        super()._learn(placed, rows)
        if self._blend is not None:
            self._blend.learn(placed, rows)

    def _unlearn(self, kept: NDArray[np.bool_]) -> None:
        super()._unlearn(kept)
        if self._blend is not None:
            self._blend.forget(self._rows, self.index_.winner.numpy(), kept)

    def _solve(self) -> None:
        super()._solve()
        if self._blend is not None:
            self._blend.solve()

    def _expert_weights(self) -> dict[str, float]:
        if self._blend is not None:
            return dict(self._blend.weights)
        return {self.local_model if isinstance(self.local_model, str) else type(self.local_model).__name__: 1.0}

    def _new_intervals(self) -> AdaptiveIntervals:
        return AdaptiveIntervals(self.som_.grid, self.coverage, self.gamma, self._outputs)

    def _shaped(self, answer: FloatArray) -> FloatArray:
        return answer.reshape(len(answer), *self._output_shape)

    def _checked_labelled(self, X: Any, y: Any) -> tuple[NDArray[Any], FloatArray]:
        check_is_fitted(self)
        checks = {**self._input_checks, "multi_output": True, "y_numeric": True}
        X, y = validate_data(self, X, y, reset=False, **checks)
        if y.shape[1:] != self._output_shape:
            raise ShapeError(f"y must have {self.n_outputs_} targets like those of fit, got shape {y.shape}")
        return X, y.astype(np.float64).reshape(len(y), -1)

    def _state(self) -> dict[str, Any]:
        blend = None if self._blend is None else blend_state(self._blend)
        return {**super()._state(), "output_shape": list(self._output_shape), "blend": blend}

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | ({} if self._blend is None else blend_tensors(self._blend))

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self._output_shape = tuple(state["output_shape"])
        self.n_outputs_ = self._output_shape[0] if self._output_shape else 1
        self._blend = None
        super()._restore(state, tensors)
        if state["blend"] is not None:
            self._blend = blend_from(state["blend"], tensors, self._correction_neighborhoods, self._ridge)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

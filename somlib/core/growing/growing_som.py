"""The growing map: starts small, and inserts rows and columns where the error is largest."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from somlib.configs.som_config import SOMConfig
from somlib.core.found import Pass
from somlib.core.growing.growing_config import GrowingSOMConfig
from somlib.core.growing.growth import (
    grown_codebook,
    grown_grid,
    growth_threshold,
    place_to_grow,
    relative_errors,
)
from somlib.core.growing.progress import open_ended_progress
from somlib.core.rule import TrainingSet
from somlib.core.som import SOM
from somlib.core.trainer import Epoch, EpochReport, OnEpoch, train
from somlib.errors import NotFittedError
from somlib.utils.arguments import require_function, require_truth
from somlib.utils.grid import Grid
from somlib.utils.heuristics import LARGEST_MAP

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrowthStep:
    """The map at one size, trained, before it grows on.

    Attributes:
        x: Rows.
        y: Columns.
        largest_error: Largest accumulated error of a neuron, to be compared with the growth threshold.
        quantization_error: Of all rows.
        topographic_error: The topographic error, a fraction in [0, 1].
        inserted: What was inserted then; None where growth ended.
    """

    x: int
    y: int
    largest_error: float
    quantization_error: float
    topographic_error: float
    inserted: Literal["row", "column"] | None


class GrowingSOM(SOM):
    """A self-organizing map that finds its own size.

    `fit` trains the map at its size for `growth_epochs`, measures the error that each neuron accumulates, inserts a
    row or a column beside the neuron of largest error, and goes on while that error exceeds the growth threshold
    `-d ln(spread_factor)`. The map of the final size is then trained for `epochs` like a flat one. The errors, the
    threshold and the insertion are defined in `somlib.core.growing.growth`. Everything else is as in `SOM`;
    `partial_fit` trains the map at its size.

    Args:
        x: Rows to start from; 1 for a chain.
        y: Columns to start from.
        num_features: Features of a sample; None takes the data's.
        spread_factor: In (0, 1); larger grows larger.
        growth_epochs: Passes over the data at each size.
        max_growth_steps: Largest number of insertions in one `fit`.
        max_neurons: Largest map; None takes one neuron a sample, at most 10 000.
        **settings: The arguments of `SOM`. By default `algorithm="batch"` and `initialization_mode="pca"` here.
            `sigma` is the radius at the start of each size and of the final training.

    Attributes:
        growth_history: A `GrowthStep` for each size of the latest `fit`.

    Raises:
        ArgumentError: An argument is not allowed; it is a `ValueError`, and lists all problems at once.

    Example:
        >>> som = GrowingSOM(spread_factor=0.3)
        >>> errors = som.fit(torch.rand(200, 3, generator=torch.Generator().manual_seed(0)), verbose=False)
        >>> [(step.x, step.y) for step in som.growth_history][:3]
        [(2, 2), (2, 3), (3, 3)]

    References:
        Alahakoon, Halgamuge and Srinivasan, IEEE Trans. Neural Networks 11(3), 2000.
        Fritzke, Neural Processing Letters 2(5), 1995.
    """

    config_class: ClassVar[type[SOMConfig]] = GrowingSOMConfig
    config: GrowingSOMConfig
    spread_factor: float
    growth_epochs: int
    max_growth_steps: int
    max_neurons: int | None
    growth_history: list[GrowthStep]

    def __init__(
        self,
        x: int = 2,
        y: int = 2,
        num_features: int | None = None,
        *,
        spread_factor: float = 0.5,
        growth_epochs: int = 5,
        max_growth_steps: int = 100,
        max_neurons: int | None = None,
        **settings: Any,
    ) -> None:
        own = {
            "spread_factor": spread_factor,
            "growth_epochs": growth_epochs,
            "max_growth_steps": max_growth_steps,
            "max_neurons": max_neurons,
        }
        if settings.get("device") is not None:
            settings["device"] = str(settings["device"])
        config = GrowingSOMConfig.checked({"x": x, "y": y, "num_features": num_features, **own, **settings})
        super().__init__(**config.model_dump(exclude=set(own)))
        self._take(config=config, preset=settings.get("preset"), **{name: getattr(config, name) for name in own})
        self.growth_history = []

    @property
    def growth_threshold(self) -> float:
        """The accumulated error above which a neuron makes the map grow, -d ln(spread_factor).

        Raises:
            NotFittedError: The number of features was left to the data, and there was none yet.
        """
        if self.num_features is None:
            raise NotFittedError("the growth threshold needs num_features: give it, or call fit first")
        return growth_threshold(self.num_features, self.spread_factor)

    # ---------------------------------------------------------------- training

    def fit(
        self, data: Any, verbose: bool = True, *, sample_weight: Any = None, on_epoch: OnEpoch | None = None
    ) -> tuple[list[float], list[float]]:
        """Grow and train on samples, and return the errors after each epoch.

        A map that was never initialised, trained or loaded starts by `initialization_mode` at `x` by `y` neurons; any
        other grows on from its size and weights.

        Args:
            data: Samples, shape (n, d); a frame's column names are kept in `feature_names`.
            verbose: Whether to show a progress bar.
            sample_weight: Shape (n,); weight k acts like k copies of the sample. None for 1 each.
            on_epoch: Called after each epoch with its `EpochReport`; the map is then that of the epoch. While it grows,
                `epochs` of the report counts the epochs that are known to come.

        Returns:
            Quantization errors and topographic errors, one of each an epoch, those of growth first; measured as in
            `SOM.fit`.

        Raises:
            DataTypeError: Data that is not numeric.
            ShapeError: Data of another shape.
            DataError: Data that is empty, not finite, or without any row that could have a winner.
            ArgumentError: Data of another width than `feature_weights`, or an `on_epoch` that cannot be called.
        """
        require_function("on_epoch", on_epoch)
        verbose = require_truth("verbose", verbose)
        rows = self._training_set(data, sample_weight)
        if self.initialized:
            logger.info("fit grows on from the present map, with its schedules from the start")
        self._prepare(rows, self._names_with(data))
        if self.config.max_neurons is None:
            self._take(max_neurons=max(min(len(rows.data), LARGEST_MAP), self.grid.m))
        self.growth_history, self.quantization_errors, self.topographic_errors = [], [], []
        with open_ended_progress("growing", verbose) as show:

            def tell(report: EpochReport) -> None:
                text = f"{self.x} x {self.y}  QE {report.quantization_error:.4g}  TE {report.topographic_error:.1%}"
                show(report.epoch + 1, report.epochs, text)
                if on_epoch is not None:
                    on_epoch(report)

            while self._grow(self._train(rows, self.growth_epochs, self.epochs, tell), rows):
                pass
            self._train(rows, self.epochs, 0, tell)
        self._runs += 1
        return self.quantization_errors, self.topographic_errors

    def _train(self, rows: TrainingSet, epochs: int, to_come: int, tell: OnEpoch) -> Epoch:
        """Run the schedules once over `epochs` at the present size, at least `to_come` of the fit being left then."""
        before = len(self.quantization_errors)
        # Every size starts from the same seed, so that all errors are measured on the same rows.
        generator = torch.Generator().manual_seed((self.random_seed + self._runs) % 2**63)
        for epoch in train(self.codebook.clone(), rows, self._rule(rows), generator, range(epochs), epochs):
            self._last_epoch = epoch.report.epoch
            self._keep(epoch)
            self.quantization_errors.append(epoch.report.quantization_error)
            self.topographic_errors.append(epoch.report.topographic_error)
            tell(replace(epoch.report, epoch=before + epoch.report.epoch, epochs=before + epochs + to_come))
        return epoch

    def _grow(self, trained: Epoch, rows: TrainingSet) -> bool:
        """Note how the map is, and insert where its error is largest; False where growth ends, the reason logged."""
        assert isinstance(trained.found, Pass)  # the last epoch of a run has the winners of all rows
        errors = relative_errors(trained.found.winners, self.grid.m, rows, self.metric)
        insertion = place_to_grow(self.codebook, self.grid, self.metric, int(errors.argmax()))
        grown = grown_grid(self.grid, insertion)
        end = self._reason_to_end(float(errors.max()), grown)
        qe, te = trained.report.quantization_error, trained.report.topographic_error
        axis = None if end else insertion.axis
        self.growth_history.append(GrowthStep(self.grid.x, self.grid.y, float(errors.max()), qe, te, axis))
        if end:
            logger.info("growth ended at %d x %d neurons: %s", self.x, self.y, end)
            return False
        codebook = grown_codebook(self.codebook, self.grid, insertion)
        self._take(x=grown.x, y=grown.y)
        self._start_from(codebook)
        return True

    def _reason_to_end(self, largest_error: float, grown: Grid) -> str | None:
        """Why the map does not grow on to the grid `grown`; None where it does."""
        threshold = self.growth_threshold
        if largest_error <= threshold:
            return f"the largest error of a neuron, {largest_error:.4g}, is within the threshold {threshold:.4g}"
        if self.max_neurons is not None and grown.m > self.max_neurons:
            return f"{grown.x} x {grown.y} would exceed max_neurons={self.max_neurons}"
        if len(self.growth_history) >= self.max_growth_steps:
            return f"max_growth_steps={self.max_growth_steps} is reached"
        return None

    def _steps(self, n: int, weighted: bool) -> int:
        """Steps of the batch map in an epoch: one, as where to grow must not depend on a sample, unless asked for."""
        del n, weighted
        return self.config.steps_per_epoch or 1

    # ---------------------------------------------------------------- saving

    def _config_to_save(self) -> dict[str, Any]:
        start = {"x": self.config.x, "y": self.config.y}  # the present size is that of the weights
        return {**super()._config_to_save(), **start}

    def _state(self) -> dict[str, Any]:
        history = [asdict(step) for step in self.growth_history]
        return {**super()._state(), "max_neurons": self.max_neurons, "growth_history": history}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super()._restore(state, tensors)
        self._take(x=self.weights.shape[0], y=self.weights.shape[1], max_neurons=state["max_neurons"])
        self.growth_history = [GrowthStep(**step) for step in state["growth_history"]]

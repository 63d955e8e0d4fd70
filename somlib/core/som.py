"""The self-organizing map: its settings, its training, and what is saved of it.

How it starts is in `starting.py`, what it answers in `answering.py`, what it keeps of a training in `remembering.py`.
`SOM` converts and checks what comes in once, and calls the pure functions of `somlib.utils` for all else.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somlib.configs.som_config import SOMConfig
from somlib.core.answering import AnsweringSOM
from somlib.core.checkpoint import Checkpoint, Course
from somlib.core.found import Pass
from somlib.core.persistence import SavedMap
from somlib.core.progress import training_progress
from somlib.core.rule import TrainingSet
from somlib.core.starting import StartingSOM
from somlib.core.streamed import StreamedRows
from somlib.core.streamed_scan import make_scan
from somlib.core.trainer import Epoch, EpochReport, OnEpoch, measured_sample, train
from somlib.errors import ArgumentError, NotFittedError
from somlib.utils.anomaly import NormalDistances
from somlib.utils.arguments import require_function, require_number, require_truth
from somlib.utils.clustering import Connections
from somlib.utils.inputs import column_order, feature_names
from somlib.utils.neighborhood import KERNELS
from somlib.utils.smoothing import Smoother
from somlib.utils.training import WinnerSums, batch_step, confined
from somlib.utils.winners import Winners

logger = logging.getLogger(__name__)


class SOM(StartingSOM, AnsweringSOM):
    """A self-organizing map on a fixed grid.

    Args:
        x: Rows; None together with `y` takes `5 sqrt(n)` neurons in the proportions of the data.
        y: Columns.
        num_features: Features of a sample; None takes the data's.
        epochs: Passes over the data in one `fit`.
        batch_size: Largest mini-batch; None takes a two-hundredth of the samples, from 1 to 256.
        sigma: Neighborhood radius at the start, in cell widths; None takes a sixth of the mean side, at least 2.
        learning_rate: Step of the mini-batch rule at the start.
        neighborhood_order: Hops that count as neighborhood in maps and retrieval.
        topology: `"rectangular"` or `"hexagonal"`.
        pbc: Periodic boundary conditions: the map is a torus.
        algorithm: `"minibatch"`, or `"batch"` for Kohonen's batch map, which has no learning rate.
        lr_decay_function: A key of `somlib.utils.decay.DECAY_FUNCTIONS`.
        sigma_decay_function: Schedule of the radius; a key of `DECAY_FUNCTIONS`.
        neighborhood_function: A key of `somlib.utils.neighborhood.NEIGHBORHOOD_FUNCTIONS`.
        distance_function: A key of `somlib.utils.distances.DISTANCE_FUNCTIONS`.
        initialization_mode: `"random"` samples of the data, put in order over the grid, or `"pca"`: the plane of the
            two leading principal axes.
        search_backend: `"torch"`, `"faiss"`, or `"auto"`, which takes what measured faster (torch); both find the same.
            `"faiss_ivf"` is faster on maps of tens of thousands of neurons, and may miss a winner by a little.
        device: A torch device; None takes CUDA where there is one, else the CPU.
        random_seed: Fixes everything random; no global random state is read or moved.
        missing: `"error"` refuses NaN, `"mask"` takes it as not observed.
        feature_weights: Factor of each feature's term in the distance, shape (d,).
        deterministic: On CUDA, add in a fixed order: bit-identical maps, slower.
        steps_per_epoch: Steps of the batch map in an epoch. Several are short steps on random rows, more of them as the
            radius shrinks; the last of a training is on all. 1 makes Kohonen's step over all rows. None takes four
            where they touch fewer rows than that.
        final_sigma: Radius at the end, in cell widths, of the schedules to one: of a smaller one the errors of
            quantization are lower, and the topographic ones higher.
        preset: `"fast"`, `"balanced"` or `"faithful"`: settings for those of these arguments that are at their
            defaults; see `somlib.configs.SOMConfig`.

    Raises:
        ArgumentError: An argument is not allowed; it is a `ValueError`, and lists all problems at once.

    Example:
        >>> som = SOM(4, 3, 2, epochs=5)
        >>> errors = som.fit(torch.rand(100, 2, generator=torch.Generator().manual_seed(0)), verbose=False)
        >>> som.weights.shape
        torch.Size([4, 3, 2])

    References:
        Kohonen, Self-Organizing Maps, 3rd ed., Springer 2001.
    """

    preset: str | None

    def __init__(
        self,
        x: int | None = None,
        y: int | None = None,
        num_features: int | None = None,
        epochs: int = 10,
        batch_size: int | None = None,
        sigma: float | None = None,
        learning_rate: float = 0.5,
        neighborhood_order: int = 1,
        topology: str = "rectangular",
        pbc: bool = False,
        algorithm: str = "minibatch",
        lr_decay_function: str = "asymptotic_decay",
        sigma_decay_function: str = "asymptotic_decay",
        neighborhood_function: str = "gaussian",
        distance_function: str = "euclidean",
        initialization_mode: str = "random",
        search_backend: str = "auto",
        device: str | torch.device | None = None,
        random_seed: int = 42,
        missing: str = "error",
        feature_weights: Sequence[float] | Tensor | None = None,
        deterministic: bool = False,
        steps_per_epoch: int | None = None,
        final_sigma: float = 1.0,
        preset: str | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in SOMConfig.model_fields}
        if preset is not None:
            fields = SOMConfig.model_fields
            arguments = {name: value for name, value in arguments.items() if not _is(value, fields[name].default)}
            arguments["preset"] = preset
        arguments["device"] = None if device is None else str(device)
        super().__init__(SOMConfig.checked(arguments))
        self._take(preset=preset)
        self._runs = 0
        self._last_epoch = 0
        self._course: Course | None = None
        self._sums: WinnerSums | None = None
        self._normal: NormalDistances | None = None
        self._connections: Connections | None = None
        self._winners_of_fit: Winners | None = None

    # ---------------------------------------------------------------- training

    def fit(
        self, data: Any, verbose: bool = True, *, sample_weight: Any = None, on_epoch: OnEpoch | None = None
    ) -> tuple[list[float], list[float]]:
        """Train on samples, and return the errors after each epoch.

        A map that was never initialised, trained or loaded starts by `initialization_mode`; any other goes on from its
        weights, with its schedules from the start again.

        Args:
            data: Samples, shape (n, d); a frame's column names are kept in `feature_names`, and later frames are
                matched by them. Or a dataset of batches, see `somlib.utils.batches`: rows that need not fit into
                memory, read once before training, and again for each step that takes all of them. The batch map
                comes out as from the same rows in memory, but for rounding.
            verbose: Whether to show a progress bar.
            sample_weight: Shape (n,); weight k acts like k copies of the sample. None for 1 each.
            on_epoch: Called after each epoch with its `EpochReport`; the weights are then those of that epoch.

        Returns:
            Quantization errors and topographic errors, one of each an epoch, measured with the codebook after it: on
            all rows up to 20 000, else on a fixed random sample of that size; the last on all rows.

        Raises:
            DataTypeError: Data that is not numeric.
            ShapeError: Data of another shape.
            DataError: Data that is empty, not finite, or without any row that could have a winner.
            ArgumentError: Data of another width than `feature_weights`, or an `on_epoch` that cannot be called.
        """
        require_function("on_epoch", on_epoch)
        verbose = require_truth("verbose", verbose)
        rows = self._rows_of(data, sample_weight)
        if self._runs:
            logger.info("fit goes on from the present weights, with its schedules from the start")
        self._prepare(rows, self._names_with(data, rows))
        self._run(rows, range(self.epochs), verbose, on_epoch)
        return self.quantization_errors, self.topographic_errors

    def resume(
        self,
        checkpoint: Checkpoint,
        data: Any,
        verbose: bool = True,
        *,
        sample_weight: Any = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[list[float], list[float]]:
        """Go on with a `fit` that was stopped, to the map that it would have reached.

        Args:
            checkpoint: What `checkpoint` gave within that `fit`, of a map with these settings; what this map was
                trained to before is given up.
            data: The same samples as there, shape (n, d), or the dataset of batches.
            verbose: Whether to show a progress bar.
            sample_weight: As there.
            on_epoch: Called with each epoch that the checkpoint knows, then after each new one.

        Returns:
            Errors of all epochs, as `fit` returns them.

        Raises:
            ArgumentError: What is no checkpoint, or one of other settings or of another number of samples; an
                `on_epoch` that cannot be called.
            DataTypeError, ShapeError, DataError: As in `fit`.
        """
        require_function("on_epoch", on_epoch)
        verbose = require_truth("verbose", verbose)
        if not isinstance(checkpoint, Checkpoint):
            raise ArgumentError(f"checkpoint must be what SOM.checkpoint gave, got {type(checkpoint).__name__}")
        column_order(feature_names(data), checkpoint.map.state["feature_names"], "data")
        rows = self._rows_of(data, sample_weight)
        checkpoint.require_fit(type(self).__name__, self.config.model_dump(mode="json"), rows.n)
        self._take_up(checkpoint.map)
        if rows.center.dtype != self.weights.dtype or (
            isinstance(rows, TrainingSet) or rows.names != self.feature_names
        ):
            rows = self._rows_of(data, sample_weight)  # in the type, and by the names, that are there now
        self._prepare(rows, self._names_with(data, rows))
        self._run(rows, range(self.epochs), verbose, on_epoch, checkpoint)
        return self.quantization_errors, self.topographic_errors

    def checkpoint(self) -> Checkpoint:
        """The training so far, for `resume`; to be called from within `on_epoch` of `fit`.

        Raises:
            NotFittedError: No training is going on.
        """
        if self._course is None:
            raise NotFittedError("there is no training to keep: call checkpoint within on_epoch of fit")
        return self._course.checkpoint(self._saved())

    def partial_fit(
        self, data: Any, *, sample_weight: Any = None, forgetting_factor: float | None = None
    ) -> tuple[list[float], list[float]]:
        """One more pass, at the schedule values of the last epoch (of the first, on a new map).

        Args:
            data: Samples, shape (n, d).
            sample_weight: Shape (n,), None for 1 each.
            forgetting_factor: None makes one pass of the training rule over `data` alone. A number in [0, 1] updates
                from sufficient statistics instead: the sums per winner of the latest training and of each such update
                since, multiplied by this factor, plus those of `data`, make one step of the batch map. 1 never forgets;
                0 knows `data` only.

        Returns:
            Quantization and topographic error on `data` after the pass, in lists of one.

        Raises:
            ArgumentError: `forgetting_factor` outside of [0, 1].
            DataTypeError, ShapeError, DataError: As in `fit`.
        """
        if forgetting_factor is not None:
            forgetting_factor = require_number("forgetting_factor", forgetting_factor, "lie in [0, 1]")
            if not 0 <= forgetting_factor <= 1:
                raise ArgumentError(f"forgetting_factor must lie in [0, 1], got {forgetting_factor}")
        rows = self._rows_of(data, sample_weight)
        self._prepare(rows, self._names_with(data, rows))
        if forgetting_factor is None:
            self._run(rows, range(self._last_epoch, self._last_epoch + 1), False, None)
        else:
            self._fold_in(rows, forgetting_factor)
        return self.quantization_errors, self.topographic_errors

    def _run(
        self,
        rows: TrainingSet | StreamedRows,
        epochs: range,
        verbose: bool,
        on_epoch: OnEpoch | None,
        resume: Checkpoint | None = None,
    ) -> None:
        """Run epochs of the schedules, or those that are left of them, keeping weights and errors as they come."""
        rule = self._rule(rows)
        if resume is None:
            self._runs += 1  # first, so that no shuffle repeats the draw of the random start
        course = Course.of((self.random_seed + self._runs) % 2**63, rows.n, resume)
        left, report_to = epochs[len(course.reports) :], on_epoch or (lambda _: None)
        qe = [report.quantization_error for report in course.reports]
        te = [report.topographic_error for report in course.reports]
        with training_progress(len(epochs), verbose) as show, self._under_way(course):
            for report in course.reports:
                show(report)
                report_to(report)
            for epoch in train(self.codebook.clone(), rows, rule, course.generator, left, self.epochs):
                self._last_epoch = epoch.report.epoch
                self._keep(epoch)
                qe.append(epoch.report.quantization_error)
                te.append(epoch.report.topographic_error)
                self.quantization_errors, self.topographic_errors = qe, te
                course.reports.append(epoch.report)
                show(epoch.report)
                report_to(epoch.report)

    @contextmanager
    def _under_way(self, course: Course) -> Iterator[None]:
        """Let `checkpoint` see the training inside."""
        self._course = course
        try:
            yield
        finally:
            self._course = None

    def _take_up(self, saved: SavedMap) -> None:
        """Be the map that was saved with these settings."""
        if self.x is None:
            self._take_grid(saved.config["x"], saved.config["y"])
        self._take(num_features=saved.config["num_features"])
        self._restore(saved.state, saved.tensors)

    def _fold_in(self, rows: TrainingSet | StreamedRows, forgetting_factor: float) -> None:
        """One step of the batch map from past sums, faded, and those of `rows`."""
        rule = self._rule(rows)
        scan = make_scan(rows, rule)
        new = scan.sums(self.codebook)
        sums = new if self._sums is None else self._sums.to(new.values).forgotten(forgetting_factor).merged(new)
        sigma = rule.sigma_decay(rule.sigma, self._last_epoch, self.epochs)
        smoother = Smoother(self.grid, self.device, rows.center.dtype)
        codebook = batch_step(self.codebook, sums, smoother, rule.kernel, sigma)
        if rule.kernel.signed:
            (low, high), (past_low, past_high) = rows.box, sums.box
            codebook = confined(codebook, torch.minimum(low, past_low), torch.maximum(high, past_high))
        sample = measured_sample(rows.n, torch.Generator().manual_seed(self.random_seed), self.device)
        after = scan.finished(codebook, sample)
        report = EpochReport.of(after, rule, self._last_epoch, self.epochs, sigma, float("nan"))
        self._keep(Epoch(codebook, report, replace(after, sums=sums)))
        self.quantization_errors, self.topographic_errors = [report.quantization_error], [report.topographic_error]

    def _keep(self, epoch: Epoch) -> None:
        """Take over the codebook of an epoch, and of the last one what is known about its samples."""
        self.weights = epoch.codebook.reshape(self.grid.x, self.grid.y, -1)
        self.initialized = True
        self._sums = self._normal = self._connections = self._winners_of_fit = None
        if epoch.found is not None:
            self._sums = epoch.found.sums
            count = epoch.found.sums.count
            smoother = Smoother(self.grid, count.device, count.dtype)
            influence = smoother.smooth(count, KERNELS[self.neighborhood_function], epoch.report.sigma)[:, 0]
            self._normal = epoch.found.normal(influence)
            self._connections = epoch.found.connections(self.grid.m)
            self._winners_of_fit = epoch.found.winners if isinstance(epoch.found, Pass) else None

    def take_winners(self) -> Winners | None:
        """The nearest neurons of the rows that the map was fitted to last, which `fit` has searched for at its end.

        They are handed over once, as they are as many as the rows. None of rows that were not in memory, and where the
        map has changed since.

        Returns:
            What `winners(data, distances=True)` returns of these rows.
        """
        found, self._winners_of_fit = self._winners_of_fit, None
        return None if found is None else Winners(found.index[:, :1].contiguous(), found.distance)

    # ---------------------------------------------------------------- saving

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "preset": self.preset, "runs": self._runs, "last_epoch": self._last_epoch}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super()._restore(state, tensors)
        self._runs, self._last_epoch = state["runs"], state["last_epoch"]
        self._take(preset=state.get("preset"))

    def extra_repr(self) -> str:
        """The settings that differ from the defaults, for `print(som)`."""
        changed = self.config.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())


def _is(value: Any, default: Any) -> bool:
    """Whether an argument is at its default; an array, tensor or frame never is."""
    return value is default or (np.ndim(value) == 0 and bool(value == default))

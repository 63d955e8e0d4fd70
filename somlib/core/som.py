"""The self-organizing map: training, maps, clusters, retrieval, anomalies.

`SOM` converts and checks what comes in once, keeps weights and what training learned about them, and calls the pure
functions of `somlib.utils` for all else.
"""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from somlib.configs.som_config import SOMConfig
from somlib.core import map_builder
from somlib.core.base_som import BaseSOM
from somlib.core.checkpoint import Checkpoint, Course
from somlib.core.map_builder import MapConfig, SamplesByPlace
from somlib.core.persistence import SavedMap
from somlib.core.progress import training_progress
from somlib.core.rule import Rule, TrainingSet
from somlib.core.scan import Pass, Scan
from somlib.core.trainer import Epoch, EpochReport, OnEpoch, train
from somlib.errors import ArgumentError, DataError, NotFittedError, ShapeError, unknown_name, warn
from somlib.utils import quality
from somlib.utils.alignment import require_symmetry
from somlib.utils.anomaly import NormalDistances
from somlib.utils.clustering import ClusterResult, cluster_neurons
from somlib.utils.decay import SCHEDULES, DecayFn, sigma_schedule
from somlib.utils.heuristics import map_size, minibatch_size, steps_per_epoch
from somlib.utils.initialization import feature_means, interpolated_weights, pca_weights, sampled_weights
from somlib.utils.inputs import column_order, feature_names, read_outputs, read_sample_weight, read_samples
from somlib.utils.maps import hit_map, neuron_samples
from somlib.utils.neighborhood import KERNELS
from somlib.utils.precision import trainable
from somlib.utils.quality import QualityReport
from somlib.utils.retrieval import Retrieved, groups_from_dict, retrieve
from somlib.utils.smoothing import Smoother
from somlib.utils.training import WinnerSums, batch_step, confined

logger = logging.getLogger(__name__)


class SOM(BaseSOM):
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
        sigma_decay_function: Likewise.
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

    # ---------------------------------------------------------------- training

    def initialize_weights(self, data: Any, mode: str | None = None) -> None:
        """Set the weights from data (n, d), by `mode` or else by `initialization_mode`.

        Raises:
            ArgumentError: Unknown mode, or data of another width than `feature_weights`.
        """
        mode = self.initialization_mode if mode is None else mode
        if mode not in ("random", "pca"):
            raise unknown_name("mode", mode, ("random", "pca"))
        samples = trainable(self._samples(data))
        self._require_feature_weights(samples.shape[1])
        names = self._names_with(data)
        self._size_for(samples)
        self.feature_names = names
        if mode == "pca":
            flat = pca_weights(samples, self.grid, self.metric)
        else:
            generator = torch.Generator().manual_seed(self.random_seed)
            flat = sampled_weights(samples, self.grid, generator, self.metric)
        self._start_from(flat)

    def initialize_from(self, other: BaseSOM | Tensor) -> None:
        """Start from given weights (x, y, d), or warm from another map, also of another size or topology.

        A map of another size is read off by linear interpolation between its neurons, corner to corner.

        Raises:
            ShapeError: Weights of another shape, or a map of other features.
            DataError: Weights that are not finite.
            ArgumentError: Other features than `feature_weights` has values.
        """
        if isinstance(other, BaseSOM):
            codebook = other.codebook
            if self.num_features not in (None, codebook.shape[1]):
                raise ShapeError(f"other must have {self.num_features} features, got {codebook.shape[1]}")
            self._require_feature_weights(codebook.shape[1])
            order = column_order(other.feature_names, self.feature_names, "other")
            codebook = codebook if order is None else codebook[:, order]
            if self.x is None:
                self._take_grid(other.grid.x, other.grid.y)
            self._start_from(interpolated_weights(codebook, other.grid, self.grid).to(self.device))
            self.feature_names = self.feature_names or other.feature_names
            return
        expected = (self.grid.x, self.grid.y, self.num_features or other.shape[-1])
        if tuple(other.shape) != expected:
            raise ShapeError(f"other must be weights of shape {expected}, got {tuple(other.shape)}")
        self._require_feature_weights(expected[2])
        self._start_from(read_samples(other.flatten(0, 1), name="other", device=self.device).clone())

    def fit(
        self, data: Any, verbose: bool = True, *, sample_weight: Any = None, on_epoch: OnEpoch | None = None
    ) -> tuple[list[float], list[float]]:
        """Train on samples, and return the errors after each epoch.

        A map that was never initialised, trained or loaded starts by `initialization_mode`; any other goes on from its
        weights, with its schedules from the start again.

        Args:
            data: Samples, shape (n, d); a frame's column names are kept in `feature_names`, and later frames are
                matched by them.
            verbose: Whether to show a progress bar.
            sample_weight: Shape (n,); weight k acts like k copies of the sample. None for 1 each.
            on_epoch: Called after each epoch with its `EpochReport`; the weights are then those of that epoch.

        Returns:
            Quantization errors and topographic errors, one of each an epoch, measured with the codebook after it: on
            all rows up to 20 000, else on a fixed random sample of so many; the last on all rows.

        Raises:
            DataTypeError: Data that is not numeric.
            ShapeError: Data of another shape.
            DataError: Data that is empty, not finite, or without any row that could have a winner.
            ArgumentError: Data of another width than `feature_weights`.
        """
        rows = self._training_set(data, sample_weight)
        if self._runs:
            logger.info("fit goes on from the present weights, with its schedules from the start")
        self._prepare(rows.data, self._names_with(data))
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
        """Go on with a `fit` that was stopped, to the map that it would have come to.

        Args:
            checkpoint: What `checkpoint` gave within that `fit`, of a map with these settings; what this map was
                trained to before is given up.
            data: The same samples as there, shape (n, d).
            verbose: Whether to show a progress bar.
            sample_weight: As there.
            on_epoch: Called with each epoch that the checkpoint knows, then after each new one.

        Returns:
            Errors of all epochs, as `fit` returns them.

        Raises:
            ArgumentError: The checkpoint is of other settings, or of another number of samples.
            DataTypeError, ShapeError, DataError: As in `fit`.
        """
        column_order(feature_names(data), checkpoint.map.state["feature_names"], "data")
        rows = self._training_set(data, sample_weight)
        checkpoint.require_fit(type(self).__name__, self.config.model_dump(mode="json"), len(rows.data))
        self._take_up(checkpoint.map)
        rows = self._training_set(data, sample_weight)  # in the type of the weights that are there now
        self._prepare(rows.data, self._names_with(data))
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
                since, counted so many times, plus those of `data`, make one step of the batch map. 1 never forgets; 0
                knows `data` only.

        Returns:
            Quantization and topographic error on `data` after the pass, in lists of one.

        Raises:
            ArgumentError: `forgetting_factor` outside of [0, 1].
            DataTypeError, ShapeError, DataError: As in `fit`.
        """
        if forgetting_factor is not None and not 0 <= forgetting_factor <= 1:
            raise ArgumentError(f"forgetting_factor must lie in [0, 1], got {forgetting_factor}")
        rows = self._training_set(data, sample_weight)
        self._prepare(rows.data, self._names_with(data))
        if forgetting_factor is None:
            self._run(rows, range(self._last_epoch, self._last_epoch + 1), False, None)
        else:
            self._fold_in(rows, forgetting_factor)
        return self.quantization_errors, self.topographic_errors

    def _run(
        self,
        rows: TrainingSet,
        epochs: range,
        verbose: bool,
        on_epoch: OnEpoch | None,
        resume: Checkpoint | None = None,
    ) -> None:
        """Run epochs of the schedules, or those that are left of them, keeping weights and errors as they come."""
        rule = self._rule(rows)
        if resume is None:
            self._runs += 1  # first, so that no shuffle repeats the draw of the random start
        course = Course.of((self.random_seed + self._runs) % 2**63, len(rows.data), resume)
        left, told = epochs[len(course.reports) :], on_epoch or (lambda _: None)
        qe = [report.quantization_error for report in course.reports]
        te = [report.topographic_error for report in course.reports]
        with training_progress(len(epochs), verbose) as show, self._under_way(course):
            for report in course.reports:
                show(report)
                told(report)
            for epoch in train(self.codebook.clone(), rows, rule, course.generator, left, self.epochs):
                self._last_epoch = epoch.report.epoch
                self._keep(epoch, rows)
                qe.append(epoch.report.quantization_error)
                te.append(epoch.report.topographic_error)
                self.quantization_errors, self.topographic_errors = qe, te
                course.reports.append(epoch.report)
                show(epoch.report)
                told(epoch.report)

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

    def _fold_in(self, rows: TrainingSet, forgetting_factor: float) -> None:
        """One step of the batch map from past sums, faded, and those of `rows`."""
        rule = self._rule(rows)
        scan = Scan(rows, rule)
        new = scan.sums(self.codebook)
        sums = new if self._sums is None else self._sums.to(new.values).forgotten(forgetting_factor).merged(new)
        sigma = rule.sigma_decay(rule.sigma, self._last_epoch, self.epochs)
        smoother = Smoother(self.grid, self.device, rows.data.dtype)
        codebook = batch_step(self.codebook, sums, smoother, rule.kernel, sigma)
        if rule.kernel.signed:
            (low, high), (past_low, past_high) = rows.box, sums.box
            codebook = confined(codebook, torch.minimum(low, past_low), torch.maximum(high, past_high))
        after = scan.measured(codebook, certain=True)
        report = EpochReport.of(after.winners, rows.weight, rule, self._last_epoch, self.epochs, sigma, float("nan"))
        self._keep(Epoch(codebook, report, Pass(after.winners, sums)), rows)
        self.quantization_errors, self.topographic_errors = [report.quantization_error], [report.topographic_error]

    def _keep(self, epoch: Epoch, rows: TrainingSet) -> None:
        """Take over the codebook of an epoch, and of the last one what is known about its samples."""
        self.weights = epoch.codebook.reshape(self.grid.x, self.grid.y, -1)
        self.initialized = True
        self._sums = self._normal = None
        if epoch.found is not None:
            self._sums = epoch.found.sums
            count = epoch.found.sums.count
            smoother = Smoother(self.grid, count.device, count.dtype)
            influence = smoother.smooth(count, KERNELS[self.neighborhood_function], epoch.report.sigma)[:, 0]
            self._normal = NormalDistances.of_training(epoch.found.winners, influence, rows.weight)

    def _training_set(self, data: Any, sample_weight: Any) -> TrainingSet:
        samples = trainable(self._samples(data))
        self._require_feature_weights(samples.shape[1])
        weight = read_sample_weight(sample_weight, len(samples), samples)
        if self.initialized and self.weights.dtype == torch.float64:
            samples = samples.double()
            weight = None if weight is None else weight.double()
        incomplete = self.missing == "mask" and bool(torch.isnan(samples).any())
        self._require_usable(samples, weight, incomplete)
        return TrainingSet(samples, weight, feature_means(samples).to(samples.dtype), incomplete)

    def _require_usable(self, samples: Tensor, weight: Tensor | None, incomplete: bool) -> None:
        """Refuse data of which no row can have a winner and counts."""
        counts = torch.ones(len(samples), dtype=torch.bool, device=samples.device) if weight is None else weight > 0
        angular = self.metric.angular
        if incomplete or angular:
            counts = counts & self.metric.defined(samples)
        if not bool(counts.any()):
            value = f"a value other than 0 ({self.distance_function})" if angular else "an observed value"
            raise DataError(f"data must have a row with {value} and a weight above 0, got none in {len(samples)} rows")

    def _require_feature_weights(self, d: int) -> None:
        """Refuse feature weights that are not one for each of `d` features."""
        if self.feature_weights is not None and len(self.feature_weights) != d:
            raise ArgumentError(f"feature_weights must have {d} values, one a feature, got {len(self.feature_weights)}")

    def _names_with(self, data: Any) -> list[str] | None:
        """The names of the features, those of `data` where none were known."""
        return self.feature_names or feature_names(data)

    def _prepare(self, samples: Tensor, names: list[str] | None) -> None:
        """Size, initialise and convert the map for training on checked samples."""
        fresh = not self.initialized
        self._size_for(samples)
        if fresh:
            self.initialize_weights(samples)
        self.weights = self.weights.detach().to(samples.dtype)
        self.feature_names = names
        self._take(batch_size=self.config.batch_size or minibatch_size(len(samples)))
        if not self._runs and len(samples) < self.grid.m:
            warn(f"data has {len(samples)} rows for {self.grid.m} neurons: most will stay empty, use a smaller map", 4)

    def _size_for(self, samples: Tensor) -> None:
        """Take number of features and map size from the data where they were left open."""
        if self.num_features is None:
            self._take(num_features=samples.shape[1])
        if self.x is None:
            self._take_grid(*map_size(samples, self.topology == "hexagonal", self.pbc, self.metric))
        elif not self.weights.numel():
            self._random_start(samples.shape[1])

    def _start_from(self, flat: Tensor) -> None:
        self.weights = flat.reshape(self.grid.x, self.grid.y, -1)
        self._take(num_features=flat.shape[1])
        self.initialized = True
        self._sums = self._normal = None

    def _rule(self, rows: TrainingSet) -> Rule:
        config = self.config
        if self.sigma is None:
            raise NotFittedError("the map has no size yet: call fit first")
        return Rule(
            grid=self.grid,
            metric=self.metric,
            kernel=KERNELS[config.neighborhood_function],
            batch=config.algorithm == "batch",
            sigma=self.sigma,
            sigma_decay=self._sigma_decay,
            learning_rate=self.learning_rate,
            learning_rate_decay=SCHEDULES[config.lr_decay_function].function,
            batch_size=self.batch_size or len(rows.data),
            backend=config.search_backend,
            deterministic=config.deterministic,
            steps=self._steps(rows) if config.algorithm == "batch" else 1,
        )

    @property
    def _sigma_decay(self) -> DecayFn:
        return sigma_schedule(self.config.sigma_decay_function, self.config.final_sigma)

    def _steps(self, rows: TrainingSet) -> int:
        """Steps of the batch map in an epoch; one, unless asked for, where weights say how often a row counts."""
        asked = self.config.steps_per_epoch
        if asked is not None or rows.weight is not None:
            return asked or 1
        sigmas = [self._sigma_decay(float(self.sigma or 1), t, self.epochs) for t in range(self.epochs)]
        return steps_per_epoch(self.grid, sigmas, len(rows.data))

    def reoriented(self, permutation: Tensor) -> Self:
        """A copy of the map, turned: its neuron k is neuron `permutation[k]` of this one, with all that is known of it.

        Args:
            permutation: A symmetry of the grid, such as `somlib.utils.alignment.aligned` finds, int64, shape (m,).

        Raises:
            ArgumentError: Neighbors would not stay neighbors.
        """
        require_symmetry(permutation, self.grid)
        order, turned = permutation.to(self.device), copy.deepcopy(self)
        turned.weights = self.codebook[order].reshape(self.weights.shape)
        if self._sums is not None:
            turned._sums = WinnerSums(self._sums.values[order], self._sums.center)
        if self._normal is not None:
            turned._normal = self._normal.reordered(order)
        return turned

    # ---------------------------------------------------------------- maps

    def build_map(
        self,
        map_type: str,
        data: Any = None,
        target: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        **kwargs: Any,
    ) -> Any:
        """One value for each neuron.

        | map_type | needs | value at a neuron |
        | --- | --- | --- |
        | `hit` | data | number of samples whose nearest neuron it is |
        | `distance` | nothing | sum or mean (`scaling`) of the distances (`distance_metric`) to its neighbors up to `neighborhood_order`, divided by the map's maximum |
        | `bmus_data` | data | dict `(row, col) ->` sample indices, or their rows with `return_indices=False` |
        | `metric` | target | mean or std (`reduction_parameter`) of the targets |
        | `score` | target | `std / sqrt(n_k) * ln(N / n_k)`; lower is more reliable |
        | `rank` | target | rank by std, 1 the lowest |
        | `classification` | target | most frequent class, ties by the neighborhood, then the smallest label |

        Args:
            map_type: A type of the table.
            data: Samples, shape (n, d).
            target: Shape (n,) or (n, o), where a type needs it, with `data` or a `bmus_data_map`. NaN in it is refused
                like NaN in data; with `missing="mask"` a sample counts where its target is known.
            bmus_data_map: A `bmus_data` map made earlier, which saves the search.
            **kwargs: The arguments named in the table.

        Returns:
            Tensor (x, y), NaN where no sample falls; (o, x, y) for targets with o > 1 columns; `bmus_data` a dict.
            Target maps are float64.

        Raises:
            ArgumentError: Unknown type or argument, or something that the map needs is missing.
            ShapeError: A target of another length than the data.
        """  # noqa: E501  # a table row cannot be broken
        map_builder.require_map_arguments(map_type, kwargs)
        samples = None if data is None else self._samples(data)
        winner = None if samples is None or map_type == "distance" else self._winners(samples).index[:, 0]
        return self._map(map_type, samples, winner, target, bmus_data_map, kwargs)

    def build_multiple_maps(
        self, map_configs: list[MapConfig], data: Any, target: Any = None, batch_size: int | None = None
    ) -> dict[str, Any]:
        """Several maps of the same data, from one search.

        Args:
            map_configs: A list of `{"type": ..., "name": optional, "kwargs": {...}}`.
            data: Samples, shape (n, d).
            target: For the maps that need one.
            batch_size: Accepted and not needed: the search bounds its own memory.

        Returns:
            The maps by `name`, else by type and argument values joined by `_` (`hit`, `distance_mean_2`), with `_2`,
            `_3` after a key already taken.

        Raises:
            ArgumentError: As `build_map`, before any map is built.
        """
        del batch_size
        configs = map_builder.require_map_configs(map_configs)
        samples = self._samples(data)
        winner = self._winners(samples).index[:, 0]
        built = [self._map(c["type"], samples, winner, target, None, c["kwargs"]) for c in configs]
        return dict(zip(map_builder.map_keys(configs), built, strict=True))

    def _map(
        self,
        map_type: str,
        samples: Tensor | None,
        winner: Tensor | None,
        target: Any,
        bmus_data_map: SamplesByPlace | None,
        arguments: Mapping[str, Any],
    ) -> Any:
        grid = self.grid
        if map_type == "distance":
            return map_builder.distance_map(self.codebook, grid, self.metric, self.neighborhood_order, arguments)
        if map_type in map_builder.TARGET_MAPS:
            if winner is not None:
                bmus_data_map = None
            groups = map_builder.grouped(winner, bmus_data_map, grid, map_type)
            n = None if winner is None else len(winner)
            all_placed = self.missing == "error" and not self.metric.angular
            targets = map_builder.targets_for(groups, target, n, map_type, all_placed, self.missing)
            built = map_builder.target_map(map_type, groups, targets, grid, self.neighborhood_order, arguments)
            return built.to(self.device)
        if samples is None or winner is None:
            raise ArgumentError(f"build_map({map_type!r}) needs data, got none")
        if map_type == "hit":
            return hit_map(winner, grid.m).reshape(grid.x, grid.y)
        rows = None if arguments.get("return_indices", True) else samples
        return map_builder.samples_by_place(neuron_samples(winner, grid.m), grid, rows)

    # ---------------------------------------------------------------- clusters

    def cluster(
        self, method: str = "kmeans", n_clusters: int | None = None, feature_space: str = "weights", **kwargs: Any
    ) -> ClusterResult:
        """Clusters of neurons; see `somlib.utils.clustering.cluster_neurons`, which this calls with the codebook.

        `random_state` among the options replaces the map's `random_seed`.
        """
        seed = _seed(kwargs.pop("random_state", None), self.random_seed)
        return cluster_neurons(self.codebook, self.grid, method, n_clusters, feature_space, random_seed=seed, **kwargs)

    def quality_report(
        self,
        data: Any,
        *,
        sigma: float | None = None,
        n_neighbors: int = 10,
        resamples: int = 1_000,
        confidence: float = 0.95,
    ) -> QualityReport:
        """All measures of quality on samples (n, d), with bootstrap intervals; see `somlib.utils.quality`.

        Args:
            data: Samples, shape (n, d).
            sigma: Radius of the kernel in the distortion, in cell widths; None takes that of the last epoch.
            n_neighbors: Size of the neighborhoods in trustworthiness and neighborhood preservation.
            resamples: Bootstrap resamples.
            confidence: Of the intervals, between 0 and 1.

        Raises:
            ArgumentError: An argument is out of its range.
        """
        samples, generator = self._samples(data), torch.Generator().manual_seed(self.random_seed)
        if sigma is None:
            sigma = self._sigma_decay(float(self.sigma or 1), self._last_epoch, self.epochs)
        winners, kernel = self._winners(samples, k=2, distances=True), KERNELS[self.neighborhood_function]
        return quality.quality_report(
            samples, winners, self.codebook, self.grid, self.metric, kernel, sigma, generator,
            n_neighbors=n_neighbors, resamples=resamples, confidence=confidence,
        )  # fmt: skip

    # ---------------------------------------------------------------- retrieval

    def collect_samples(
        self,
        query_sample: Any,
        historical_samples: Any,
        historical_outputs: Any,
        bmus_idx_map: Mapping[tuple[int, int], Sequence[int]],
        min_buffer_threshold: int = 50,
        return_indices: bool = False,
        retrieval_mode: str = "bmu_neighborhood_knn",
    ) -> tuple[Tensor, ...]:
        """The historical samples relevant to a query, for a just-in-time model.

        Args:
            query_sample: Shape (d,).
            historical_samples: Shape (n, d).
            historical_outputs: Shape (n,) or (n, o).
            bmus_idx_map: `build_map("bmus_data", historical_samples)`; a neuron that it lacks has no samples.
            min_buffer_threshold: The fallback adds neurons, nearest to the winner in the codebook first, while there
                are fewer samples than this.
            return_indices: Whether to return the indices too.
            retrieval_mode: `"bmu_only"`, `"bmu_neighborhood"`, or `"bmu_neighborhood_knn"` with the fallback.

        Returns:
            Samples (b, d) and outputs (b, o), and their indices (b,) where asked; no sample twice, maybe none.

        Raises:
            ArgumentError: Unknown mode, negative threshold, or a map of samples that does not fit.
            ShapeError: Shapes that do not fit.
        """
        query = self._samples(query_sample, name="query_sample", single=True)
        if len(query) != 1:
            raise ShapeError(f"query_sample must be one sample, got {len(query)}: use collect_samples_batch")
        history = self._samples(historical_samples, name="historical_samples")
        outputs = read_outputs(historical_outputs, len(history), name="historical_outputs", device=history.device)
        found = self._retrieve(query, len(history), bmus_idx_map, min_buffer_threshold, retrieval_mode)
        index = found.sample.to(history.device)
        if not len(index):
            logger.warning("no historical sample is relevant to the query by %s: the buffer is empty", retrieval_mode)
        buffer = (history[index], outputs[index])
        return (*buffer, index) if return_indices else buffer

    def collect_samples_batch(
        self,
        query_samples: Any,
        historical_samples: Any,
        bmus_idx_map: Mapping[tuple[int, int], Sequence[int]],
        min_buffer_threshold: int = 50,
        retrieval_mode: str = "bmu_neighborhood_knn",
    ) -> Retrieved:
        """What `collect_samples` would retrieve for each of many queries (q, d), as indices in flat arrays."""
        queries = self._samples(query_samples, name="query_samples")
        n = len(self._samples(historical_samples, name="historical_samples"))
        return self._retrieve(queries, n, bmus_idx_map, min_buffer_threshold, retrieval_mode)

    def _retrieve(
        self, queries: Tensor, n: int, samples: Mapping[tuple[int, int], Sequence[int]], threshold: int, mode: str
    ) -> Retrieved:
        groups = groups_from_dict(samples, self.grid, n)
        winner = self._winners(queries).index[:, 0].cpu()
        return retrieve(
            winner, groups, self.codebook.cpu(), self.grid, self.metric, mode, self.neighborhood_order, threshold
        )

    # ---------------------------------------------------------------- anomalies

    def anomaly_score(self, data: Any) -> Tensor:
        """Distance of each sample (n, d) to its nearest neuron, in units of what is normal for that neuron.

        Returns:
            float64, shape (n,), about 1 for normal samples; NaN for samples without a nearest neuron. See
            `somlib.utils.anomaly`.

        Raises:
            NotFittedError: The map was not trained, or its weights were replaced since.
        """
        return self._known_distances().scores_of(self._winners(self._samples(data), distances=True))

    def calibrate_anomalies(self, data: Any) -> None:
        """Take the scores of normal samples (n, d), held out from training, as the measure for thresholds."""
        self._normal = self._known_distances().calibrated(self.anomaly_score(data))

    def anomaly_threshold(self, alpha: float = 0.01) -> float:
        """The score that a new normal sample exceeds with probability at most `alpha`.

        From the scores of the calibration data; without any from those of the training samples, each as if the map had
        been trained without it. See `somlib.utils.anomaly`.

        Raises:
            NotFittedError: As in `anomaly_score`.
            ArgumentError: `alpha` is not between 0 and 1.
            DataError: Too few samples for so small an `alpha`.
        """
        return self._known_distances().threshold(alpha)

    def is_anomaly(self, data: Any, alpha: float = 0.01) -> Tensor:
        """Whether each sample's score exceeds `anomaly_threshold(alpha)`, bool, shape (n,)."""
        return self.anomaly_score(data) > self.anomaly_threshold(alpha)

    def _known_distances(self) -> NormalDistances:
        if self._normal is None:
            raise NotFittedError("anomaly scores need the distances seen in training: call fit first")
        return self._normal

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Follow `.to(device)` with what training learned beside the weights."""
        super()._apply(fn, recurse)
        if self._sums is not None:
            self._sums = self._sums.to(self._sums.values.to(self.device))
        if self._normal is not None:
            self._normal = self._normal.to(self.device)
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Count weights from a `state_dict` as a start; what training learned of others does not hold for them."""
        super()._load_from_state_dict(state_dict, prefix, *rest)
        problems = rest[-1]
        if f"{prefix}weights" in state_dict and not problems:
            self.initialized = True
            self._sums = self._normal = None

    # ---------------------------------------------------------------- saving

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "preset": self.preset, "runs": self._runs, "last_epoch": self._last_epoch}

    def _tensors(self) -> dict[str, Tensor]:
        tensors = super()._tensors()
        if self._sums is not None:
            tensors |= {
                "sums.total": self._sums.total,
                "sums.count": self._sums.count,
                "sums.center": self._sums.center,
            }
        if self._normal is not None:
            tensors |= self._normal.tensors()
        return tensors

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super()._restore(state, tensors)
        self._runs, self._last_epoch = state["runs"], state["last_epoch"]
        self._take(preset=state.get("preset"))
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        if "sums.total" in tensors:
            values = torch.cat((tensors["sums.total"], tensors["sums.count"]), dim=1)
            self._sums = WinnerSums(values, tensors["sums.center"])
        self._normal = NormalDistances.of_tensors(tensors)

    def extra_repr(self) -> str:
        """The settings that differ from the defaults, for `print(som)`."""
        changed = self.config.model_dump(exclude_defaults=True)
        return ", ".join(f"{name}={value!r}" for name, value in changed.items())


def _is(value: Any, default: Any) -> bool:
    """Whether an argument is at its default; an array, tensor or frame never is."""
    return value is default or (np.ndim(value) == 0 and bool(value == default))


def _seed(random_state: Any, otherwise: int) -> int:
    """The seed that a caller asks for."""
    if random_state is None:
        return otherwise
    if isinstance(random_state, bool) or not isinstance(random_state, Integral) or not 0 <= int(random_state) < 2**63:
        raise ArgumentError(f"random_state must be None or a whole number from 0 on, got {random_state!r}")
    return int(random_state)

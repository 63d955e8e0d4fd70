"""How a map gets its first weights, and its size where that was left to the data."""

from typing import Any

import torch
from torch import Tensor

from somlib.core.base_som import BaseSOM
from somlib.core.reading import ReadingSOM
from somlib.core.rule import TrainingSet
from somlib.core.streamed import StreamedRows
from somlib.errors import DataTypeError, ShapeError, warn
from somlib.utils.arguments import require_choice
from somlib.utils.batches import is_batches
from somlib.utils.heuristics import map_size, map_size_for, minibatch_size
from somlib.utils.initialization import (
    INITIALIZATIONS,
    interpolated_weights,
    streamed_start,
    two_variances,
)
from somlib.utils.inputs import column_order, read_samples
from somlib.utils.precision import trainable


class StartingSOM(ReadingSOM):
    """A map that starts from data, from given weights, or from another map."""

    def initialize_weights(self, data: Any, mode: str | None = None) -> None:
        """Set the weights from data (n, d), by `mode` or else by `initialization_mode`.

        Raises:
            ArgumentError: Unknown mode, or data of another width than `feature_weights`.
        """
        mode = self.initialization_mode if mode is None else mode
        require_choice("mode", mode, INITIALIZATIONS)
        if is_batches(data):
            rows = self._streamed(data)
            names = self._names_with(data, rows)
            self._size_for(rows)
            self.feature_names = names
            self._start_streamed(rows, mode)
            return
        samples = trainable(self._samples(data))
        self._require_feature_weights(samples.shape[1])
        names = self._names_with(data)
        self._size_for(samples)
        self.feature_names = names
        generator = torch.Generator().manual_seed(self.random_seed)
        self._start_from(INITIALIZATIONS[mode](samples, self.grid, self.metric, generator))

    def _start_streamed(self, rows: StreamedRows, mode: str) -> None:
        """Set the weights from rows that are not in memory; modes of others see a sample of them."""
        generator = torch.Generator().manual_seed(self.random_seed)
        codebook = streamed_start(mode).weights(rows, self.grid, self.metric, generator)
        self._start_from(codebook.to(rows.center))

    def initialize_from(self, other: BaseSOM | Tensor) -> None:
        """Start from given weights (x, y, d), or warm from another map, also of another size or topology.

        A map of another size is read off by linear interpolation between its neurons, corner to corner.

        Raises:
            ShapeError: Weights of another shape, or a map of other features.
            DataError: Weights that are not finite.
            DataTypeError: Neither a map nor a tensor.
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
        if not isinstance(other, Tensor):
            raise DataTypeError(f"other must be a map or a tensor of weights, got {type(other).__name__}")
        expected = (self.grid.x, self.grid.y, self.num_features or (other.shape[-1] if other.ndim else 0))
        if tuple(other.shape) != expected:
            raise ShapeError(f"other must be weights of shape {expected}, got {tuple(other.shape)}")
        self._require_feature_weights(expected[2])
        self._start_from(read_samples(other.flatten(0, 1), name="other", device=self.device).clone())

    def _prepare(self, rows: TrainingSet | StreamedRows, names: list[str] | None) -> None:
        """Size, initialise and convert the map for training on checked rows."""
        fresh = not self.initialized
        self._size_for(rows.data if isinstance(rows, TrainingSet) else rows)
        if fresh:
            if isinstance(rows, TrainingSet):
                self.initialize_weights(rows.data)
            else:
                self._start_streamed(rows, self.initialization_mode)
        self.weights = self.weights.detach().to(rows.center.dtype)
        self.feature_names = names
        self._take(batch_size=self.config.batch_size or minibatch_size(rows.n))
        if not self._runs and rows.n < self.grid.m:
            warn(f"data has {rows.n} rows for {self.grid.m} neurons: most will stay empty, use a smaller map", 4)

    def _size_for(self, rows: Tensor | StreamedRows) -> None:
        """Take number of features and map size from the data where they were left open."""
        if self.num_features is None:
            self._take(num_features=rows.shape[1])
        if self.x is None:
            hexagonal = self.topology == "hexagonal"
            if isinstance(rows, Tensor):
                self._take_grid(*map_size(rows, hexagonal, self.pbc, self.metric))
            else:
                variances = two_variances(rows.moments.covariance, self.metric)
                self._take_grid(*map_size_for(rows.n, *variances, hexagonal, self.pbc))
        elif not self.weights.numel():
            self._random_start(rows.shape[1])

    def _start_from(self, flat: Tensor) -> None:
        self.weights = flat.reshape(self.grid.x, self.grid.y, -1)
        self._take(num_features=flat.shape[1])
        self.initialized = True
        self._sums = self._normal = self._connections = self._winners_of_fit = None

"""How a map gets its first weights, and its size where that was left to the data."""

from typing import Any

import torch
from torch import Tensor

from somlib.core.base_som import BaseSOM
from somlib.core.remembering import RememberingSOM
from somlib.errors import ArgumentError, DataTypeError, ShapeError, warn
from somlib.utils.arguments import require_choice
from somlib.utils.heuristics import map_size, minibatch_size
from somlib.utils.initialization import INITIALIZATIONS, interpolated_weights
from somlib.utils.inputs import column_order, feature_names, read_samples
from somlib.utils.precision import trainable


class StartingSOM(RememberingSOM):
    """A map that starts from data, from given weights, or from another map."""

    _runs: int

    def initialize_weights(self, data: Any, mode: str | None = None) -> None:
        """Set the weights from data (n, d), by `mode` or else by `initialization_mode`.

        Raises:
            ArgumentError: Unknown mode, or data of another width than `feature_weights`.
        """
        mode = self.initialization_mode if mode is None else mode
        require_choice("mode", mode, INITIALIZATIONS)
        samples = trainable(self._samples(data))
        self._require_feature_weights(samples.shape[1])
        names = self._names_with(data)
        self._size_for(samples)
        self.feature_names = names
        generator = torch.Generator().manual_seed(self.random_seed)
        self._start_from(INITIALIZATIONS[mode](samples, self.grid, self.metric, generator))

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
        self._sums = self._normal = self._connections = None

"""What every map has: settings, a grid, a codebook, and the questions that these alone answer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from somlib.configs.som_config import SOMConfig
from somlib.core.fixed import FixedSettings
from somlib.core.persistence import SavedMap, read_map, write_map
from somlib.core.trainer import OnEpoch
from somlib.errors import (
    ArgumentError,
    DataError,
    DataTypeError,
    FixedSettingError,
    NotFittedError,
    SavedMapError,
    ShapeError,
)
from somlib.utils.arguments import require_indices
from somlib.utils.batches import IN_BATCHES, is_batches, rows_and_weights
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.heuristics import start_sigma
from somlib.utils.inputs import known_names, read_sample_weight, read_samples
from somlib.utils.metrics import Adjacency, distance_total, mean_of, misplaced
from somlib.utils.search import Winners, make_search


class BaseSOM(FixedSettings, nn.Module, ABC):
    """A map of `x` rows and `y` columns of neurons over samples of `d` features.

    Every setting is an attribute under its own name, fixed once the map is made; where it was left open, the attribute
    holds the value taken, as soon as it is known. `config` keeps the settings as they were given.

    Attributes:
        config: The settings.
        weights: Codebook, shape (x, y, d). It is live: what is written into it is what every later call uses.
        quantization_errors: One a epoch, of the latest training.
        topographic_errors: One an epoch, fractions in [0, 1].
        feature_names: Column names of the frame that the map was trained on; None where it had none. Frames with
            names are matched by them; arrays, tensors and frames without names go by position.
    """

    _cures: ClassVar[Mapping[str, str]] = {
        "neighborhood_order": "use set_neighborhood_order",
        "device": "use to(device)",
        "config": "make a new map with from_config(config)",
    }

    config_class: ClassVar[type[SOMConfig]] = SOMConfig
    config: SOMConfig
    weights: Tensor
    x: int | None
    y: int | None
    num_features: int | None
    epochs: int
    batch_size: int | None
    sigma: float | None
    learning_rate: float
    neighborhood_order: int
    topology: str
    pbc: bool
    algorithm: str
    lr_decay_function: str
    sigma_decay_function: str
    neighborhood_function: str
    distance_function: str
    initialization_mode: str
    search_backend: str
    device: torch.device
    random_seed: int
    missing: str
    feature_weights: tuple[float, ...] | None
    deterministic: bool
    quantization_errors: list[float]
    topographic_errors: list[float]
    feature_names: list[str] | None

    def __init__(self, config: SOMConfig) -> None:
        super().__init__()
        self._take(config=config, **{**dict(config), "device": chosen_device(config.device)})
        self.quantization_errors, self.topographic_errors = [], []
        self.feature_names = None
        self.initialized = False
        self.register_buffer("weights", torch.empty(0, 0, 0, device=self.device))
        if config.x is not None and config.y is not None:
            self._take_grid(config.x, config.y)

    @abstractmethod
    def fit(
        self, data: Any, verbose: bool = True, *, sample_weight: Any = None, on_epoch: OnEpoch | None = None
    ) -> tuple[list[float], list[float]]:
        """Train on samples (n, d); quantization and topographic errors, one each an epoch."""

    # ---------------------------------------------------------------- geometry and codebook

    @property
    def grid(self) -> Grid:
        """Where the neurons are.

        Raises:
            NotFittedError: The size was left to the data, and there was none yet.
        """
        if self.x is None or self.y is None:
            raise NotFittedError("the map has no size yet: give x and y, or call fit first")
        return Grid(self.x, self.y, self.config.topology, self.config.pbc)

    @property
    def metric(self) -> Metric:
        """The distance of samples to neurons."""
        return Metric(self.config.distance_function, self.config.feature_weights)

    @property
    def codebook(self) -> Tensor:
        """The weights with neurons in flat order, shape (m, d); a view.

        Raises:
            NotFittedError: The size was left to the data, and there was none yet.
        """
        if not self.weights.numel():
            raise NotFittedError("the map has no weights yet: give x, y and num_features, or call fit first")
        expected = (self.x, self.y, self.num_features)
        if self.weights.shape != expected:
            raise ShapeError(f"weights must keep the shape (x, y, d) = {expected}, got {tuple(self.weights.shape)}")
        return self.weights.detach().flatten(0, 1)

    def _take_grid(self, x: int, y: int) -> None:
        """Set the size, and what follows from it."""
        Grid(x, y, self.config.topology, self.config.pbc)
        self._take(x=x, y=y)
        if self.config.sigma is None:
            self._take(sigma=start_sigma(x, y))
        if self.num_features is not None:
            self._random_start(self.num_features)

    def _random_start(self, d: int) -> None:
        """Finite weights for a map that has seen no data."""
        generator = torch.Generator().manual_seed(self.random_seed)
        shape = (self.grid.x, self.grid.y, d)
        self.weights = torch.randn(shape, generator=generator).to(self.device)
        self._take(num_features=d)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weights" and not (isinstance(value, Tensor) and value.is_floating_point()):
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise DataTypeError(f"weights must be a tensor of real numbers, got {got}")
        if name == "feature_names":
            value = known_names(value, self.num_features)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in ("weights", "feature_names"):
            raise FixedSettingError(f"{name} cannot be deleted: assign to it")
        super().__delattr__(name)

    def set_neighborhood_order(self, order: int) -> None:
        """Change how far the neighborhood of maps and retrieval reaches; the weights stay.

        Raises:
            ArgumentError: `order` is below 1.
        """
        config = self.config_class.checked({**self.config.model_dump(), "neighborhood_order": order})
        self._take(config=config, neighborhood_order=config.neighborhood_order)

    # ---------------------------------------------------------------- questions to the codebook

    def identify_bmus(self, data: Any) -> Tensor:
        """Row and column of each sample's nearest neuron (best matching unit).

        Args:
            data: Samples, shape (n, d), or one of shape (d,).

        Returns:
            int64, shape (n, 2), or (2,) for one sample; (-1, -1) where nothing is observed, and for a zero vector
            under cosine.
        """
        samples = self._samples(data, single=True)
        places = self.places(self._winners(samples).index[:, 0])
        return places[0] if _is_single(data) and len(places) == 1 else places

    def winners(self, data: Any, k: int = 1, distances: bool = False) -> Winners:
        """The `k` nearest neurons of samples (n, d), or of one (d,), as flat indices, with distances where asked.

        Of a dataset of batches, those of all its rows together.

        Raises:
            ArgumentError: `k` is not a whole number of at least 1.
        """
        if isinstance(k, bool) or not isinstance(k, Integral) or k < 1:
            raise ArgumentError(f"k must be a whole number of at least 1, got {k!r}")
        found = [self._winners(samples, int(k), distances) for samples, _ in self._parts(data)]
        if not found:
            raise DataError("data must not be empty, got no batch")
        if len(found) == 1:
            return found[0]
        return Winners(torch.cat([each.index for each in found]), torch.cat([each.distance for each in found]))

    def _winners(self, samples: Tensor, k: int = 1, distances: bool = False) -> Winners:
        """`winners` of checked samples (n, d)."""
        codebook, samples = self._same_dtype(samples)
        search = make_search(codebook, self.metric, self.config.search_backend)
        return search.nearest(samples, k, distances=distances)

    def places(self, index: Tensor) -> Tensor:
        """Row and column (n, 2) of flat neuron indices (n,); -1 gives (-1, -1)."""
        require_indices("index", index)
        y = self.grid.y
        rows = torch.div(index, y, rounding_mode="floor")
        return torch.stack((rows, torch.where(index < 0, -1, index % y)), dim=1)

    def quantization_error(self, data: Any, *, sample_weight: Any = None) -> float:
        """Mean distance of the samples (n, d), or of one (d,), to their nearest neuron, in the metric of the map.

        Of a dataset of batches (`somlib.utils.batches`), which may bring weights, no more than a batch is in memory.
        Samples without a nearest neuron are left out; NaN where none has one.
        """
        parts = self._parts(data, sample_weight)
        return mean_of(distance_total(self._winners(samples, distances=True), weight) for samples, weight in parts)

    def topographic_error(self, data: Any, *, adjacency: Adjacency = "lattice", sample_weight: Any = None) -> float:
        """Share in [0, 1] of the samples whose two nearest neurons are not next to each other on the grid.

        Args:
            data: Samples, shape (n, d), one of shape (d,), or a dataset of batches.
            adjacency: `"lattice"` takes the 8 neighbors of a rectangular cell (6 of a hexagon), `"edge"` the 4 (6)
                that share an edge with it.
            sample_weight: Shape (n,), None for 1 each.

        Returns:
            NaN where no sample has two nearest neurons, so on a map of one neuron.
        """
        parts = self._parts(data, sample_weight)
        return mean_of(misplaced(self._winners(rows, k=2), self.grid, adjacency, weight) for rows, weight in parts)

    def _parts(self, data: Any, sample_weight: Any = None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Checked samples with their weights: all at once, or batch by batch of a dataset of batches.

        Raises:
            ArgumentError: A `sample_weight` beside batches.
        """
        if not is_batches(data):
            samples = self._samples(data, single=True)
            yield samples, read_sample_weight(sample_weight, len(samples), samples)
            return
        if sample_weight is not None:
            raise ArgumentError(IN_BATCHES)
        for batch in data:
            rows, weight = rows_and_weights(batch)
            samples = self._samples(rows)
            yield samples, read_sample_weight(weight, len(samples), samples, some=True)

    def _samples(self, data: Any, *, name: str = "data", single: bool = False) -> Tensor:
        """Data as a checked tensor (n, d) on the device of the map."""
        return read_samples(
            data, name=name, num_features=self.num_features, device=self.device, missing=self.config.missing,
            single=single, names=self.feature_names,
        )  # fmt: skip

    def _same_dtype(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Codebook and samples in the wider of their types."""
        codebook = self.codebook
        dtype = torch.promote_types(codebook.dtype, samples.dtype)
        return codebook.to(dtype), samples.to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Follow `.to(device)`: the attribute `device` is where the weights are."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch does not annotate it
        self._take(device=self.weights.device)
        return self

    # ---------------------------------------------------------------- saving

    def save(self, path: str | Path) -> None:
        """Save the map into the folder `path`: `weights.safetensors`, `config.json`, no other file.

        Raises:
            NotFittedError: The map has no weights yet.
            SavedMapError: `path` is a file, or holds something other than a saved map.
        """
        write_map(path, self._saved())

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device | None = None) -> Self:
        """The map saved in the folder `path`; it answers exactly like the one that was saved.

        Args:
            path: A folder that `save` has written.
            device: Where to put it; None takes what the saved map was configured for.

        Raises:
            SavedMapError: Missing, damaged, or a map of another class.
        """
        return cls._from_saved(read_map(path), device)

    @classmethod
    def from_config(cls, config: SOMConfig, num_features: int | None = None) -> Self:
        """A new map with the settings of `config`; `num_features=None` takes the config's.

        Raises:
            ArgumentError: `num_features` differs from the config's.
        """
        if num_features is not None:
            config = config.for_features(num_features)
        return cls(**config.model_dump())

    def _saved(self) -> SavedMap:
        return SavedMap(type(self).__name__, self._config_to_save(), self._state(), self._tensors())

    @classmethod
    def _from_saved(cls, saved: SavedMap, device: str | torch.device | None) -> Self:
        if saved.kind != cls.__name__:
            raise SavedMapError(f"path must hold a {cls.__name__}, got a {saved.kind}: use {saved.kind}.load")
        try:
            settings = {**saved.config, **({} if device is None else {"device": str(device)})}
            som = cls.from_config(cls.config_class.checked(settings))
            som._restore(saved.state, saved.tensors)
            som.codebook  # noqa: B018  # raises where the weights do not fit the settings
        except (KeyError, TypeError, ValueError) as error:
            raise SavedMapError(f"the saved map must be whole and fit this machine, got {error!r}") from error
        return som

    def _config_to_save(self) -> dict[str, Any]:
        settings = self.config.model_dump(mode="json")
        return {**settings, "x": self.grid.x, "y": self.grid.y, "num_features": self.codebook.shape[1]}

    def _state(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "sigma": self.sigma,
            "quantization_errors": _json_floats(self.quantization_errors),
            "topographic_errors": _json_floats(self.topographic_errors),
            "feature_names": self.feature_names,
        }

    def _tensors(self) -> dict[str, Tensor]:
        if not self.weights.numel():
            raise NotFittedError("the map has no weights to save yet: call fit first")
        return {"weights": self.weights}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.weights = tensors["weights"].to(self.device)
        self.initialized = True
        self._take(batch_size=state["batch_size"], sigma=state["sigma"])
        self.quantization_errors = _floats_from_json(state["quantization_errors"])
        self.topographic_errors = _floats_from_json(state["topographic_errors"])
        self.feature_names = state["feature_names"]


def chosen_device(device: str | None) -> torch.device:
    """The torch device of that name; None takes CUDA where there is one, else the CPU.

    Raises:
        ArgumentError: No such device, or none that works here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(f"device must be one that torch can use here, got {device!r}: {reason}") from error


def _is_single(data: Any) -> bool:
    shape = getattr(data, "shape", None)
    if shape is not None:
        return len(shape) == 1
    return isinstance(data, Sequence) and bool(data) and np.ndim(data[0]) == 0


def _json_floats(values: list[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _floats_from_json(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]

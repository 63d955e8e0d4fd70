"""From scaled samples to a trained map: from the start, warm from an earlier map, or on from a checkpoint."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.data.samples import Streamed
from pipelines.data.scaling import Scaler
from pipelines.errors import ModelError
from pipelines.training.checkpoints import Checkpoints
from pipelines.wording import some
from somlib import SOM, SOMConfig
from somlib.core.trainer import EpochReport
from somlib.utils.winners import Winners


@dataclass(frozen=True)
class TrainedMap:
    """A map and how it came about.

    Attributes:
        som: The map.
        quantization_errors: One an epoch; the last one is of all training rows.
        topographic_errors: One an epoch, as a fraction.
        sigmas: Neighborhood radius of each epoch, in cell widths; None where it was not recorded.
        winners: Nearest neurons of the rows that trained, with distances; None where they are not known any more.
    """

    som: SOM
    quantization_errors: Sequence[float]
    topographic_errors: Sequence[float]
    sigmas: Sequence[float] | None = None
    winners: Winners | None = None


def train_som(  # seven: the last four are independent, may be left out and are given by name
    samples: NDArray[np.float32] | Streamed,
    config: SOMConfig,
    feature_names: Sequence[str],
    *,
    threads: int | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    start_from: SOM | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainedMap:
    """A map initialized from and fitted to scaled samples of shape (n, d).

    Args:
        samples: NaN where not observed, which `config.missing` has to allow; in memory, or as a dataset of batches.
        config: Settings of the map.
        feature_names: Kept with the map, length d.
        threads: CPU threads; None leaves torch's own choice.
        on_epoch: Called after each epoch, also with those that a checkpoint knows.
        start_from: A map of the same features in the units of `samples` (see `in_units_of`) that the new one starts
            from, of any size; its size is taken where `config` leaves it open. None starts by
            `config.initialization_mode`.
        checkpoints: Where the training is kept as it goes, and goes on from after a crash: to the same map as without
            one, to the bit.

    Raises:
        somlib.errors.SomlibError: The settings do not fit the samples.
    """
    data = torch.from_numpy(samples) if isinstance(samples, np.ndarray) else samples
    sigmas = []

    def record(report: EpochReport) -> None:
        sigmas.append(report.sigma)
        if on_epoch is not None:
            on_epoch(report)
        if checkpoints is not None:
            checkpoints.keep(som, report)

    with cpu_threads(threads):
        som = SOM.from_config(config, num_features=len(feature_names))
        latest = None if checkpoints is None else checkpoints.latest()
        if latest is not None:
            errors = som.resume(latest, data, verbose=False, on_epoch=record)
        else:
            _start(som, data, start_from)
            errors = som.fit(data, verbose=False, on_epoch=record)
    som.feature_names = list(feature_names)
    return TrainedMap(som, *errors, sigmas, som.take_winners())


def _start(som: SOM, data: Tensor | Streamed, start_from: SOM | None) -> None:
    """Set the first weights; those of batches come with the first pass of `fit`."""
    if start_from is not None:
        som.initialize_from(start_from)
    elif isinstance(data, Tensor):
        som.initialize_weights(data)


def in_units_of(new: Scaler, som: SOM, scaler: Scaler) -> SOM:
    """A copy of a map whose codebook is in the units of another scaler, for a training to start from.

    Where categories are among the columns, and the scalers know other values of them, a feature that only the new one
    has begins at 0, and one that it lacks becomes part of its rare values.

    Args:
        new: Scaler of the samples that will be trained on; the copy has its features in its order.
        som: The map.
        scaler: How the samples of the map were scaled.

    Raises:
        ModelError: The features are not the same ones.
    """
    _require_same_features(new.numbers, scaler.numbers)
    codebook = (_translated(scaler.inverse(som.weights.cpu()), new, scaler) - new.center) / new.scale
    moved = copy.deepcopy(som)
    if len(new.features) != som.num_features:  # categories of other values
        settings = som.config.model_copy(update={"feature_weights": None, "num_features": len(new.features)})
        moved = SOM.from_config(settings, num_features=len(new.features))
    moved.weights, moved.feature_names = torch.from_numpy(codebook).to(som.weights), list(new.features)
    return moved


def _translated(codebook: NDArray[np.float64], new: Scaler, old: Scaler) -> NDArray[np.float64]:
    """A codebook in the units of the data (x, y, d_old) with the features of another scaler, (x, y, d)."""
    if new.encoding is None or old.encoding is None:
        return codebook[..., [old.features.index(name) for name in new.features]]
    return codebook @ new.encoding.translation(old.encoding)


def _require_same_features(new: Sequence[str], old: Sequence[str]) -> None:
    """Refuse names that are not the same, in whatever order."""
    absent, unknown = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    if absent or unknown:
        differences = " and ".join(
            f"{word} {some(names)}" for word, names in (("without", absent), ("with", unknown)) if names
        )
        raise ModelError(
            f"a map to start from must have the features of the new one, got one {differences}: start without it"
        )


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Let torch use `threads` CPU threads inside; None changes nothing."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settings_taken(som: SOM) -> dict[str, Any]:
    """The map's settings by name, each with the value taken where it was left to the data."""
    taken = {**{name: getattr(som, name) for name in type(som.config).model_fields}, "device": str(som.device)}
    return taken | {name: value for name, value in som.config if value is not None}

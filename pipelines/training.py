"""From scaled samples to a trained map."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from somlib import SOM, SOMConfig
from somlib.core.trainer import EpochReport


@dataclass(frozen=True)
class TrainedMap:
    """A map and how it came about.

    Attributes:
        som: The map.
        quantization_errors: One an epoch; the last one is of all training rows.
        topographic_errors: Likewise.
        sigmas: Neighborhood radius of each epoch, in cell widths; None where it was not recorded.
    """

    som: SOM
    quantization_errors: Sequence[float]
    topographic_errors: Sequence[float]
    sigmas: Sequence[float] | None = None


def train_som(
    samples: NDArray[np.float32],
    config: SOMConfig,
    feature_names: Sequence[str],
    *,
    threads: int | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrainedMap:
    """A map initialized from and fitted to scaled samples of shape (n, d).

    Args:
        samples: NaN where not observed, which `config.missing` has to allow.
        config: Settings of the map.
        feature_names: Kept with the map, length d.
        threads: CPU threads; None leaves torch's own choice.
        on_epoch: Called after each epoch.

    Raises:
        somlib.errors.SomlibError: The settings do not fit the samples.
    """
    data = torch.from_numpy(samples)
    sigmas = []

    def record(report: EpochReport) -> None:
        sigmas.append(report.sigma)
        if on_epoch is not None:
            on_epoch(report)

    with cpu_threads(threads):
        som = SOM.from_config(config, num_features=data.shape[1])
        som.initialize_weights(data)
        errors = som.fit(data, verbose=False, on_epoch=record)
    som.feature_names = list(feature_names)
    return TrainedMap(som, *errors, sigmas)


@contextmanager
def cpu_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads inside; None changes nothing."""
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

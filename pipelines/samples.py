"""From rows to samples: which rows train, and all of them scaled by what the training rows look like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.config import PipelineConfig
from pipelines.data import Dataset
from pipelines.errors import DatasetError
from pipelines.scaling import Scaler, fit_scaler


class Split(NamedTuple):
    """Row numbers, ascending: which rows train, and which are kept to measure on."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What a map is trained and measured on.

    Attributes:
        train: Scaled features of the training rows, NaN where missing, shape (n, d).
        heldout: Likewise of the rows that do not train, shape (k, d).
        targets: Of the training rows by name, NaN where missing, shape (n,).
        scaler: Fitted to the training rows.
    """

    train: NDArray[np.float32]
    heldout: NDArray[np.float32]
    targets: Mapping[str, NDArray[np.float64]]
    scaler: Scaler

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of rows: `train` and `heldout`."""
        return {"train": len(self.train), "heldout": len(self.heldout)}


def prepare_samples(dataset: Dataset, config: PipelineConfig) -> Samples:
    """Split and scaled samples.

    Raises:
        DatasetError: No row is left to train on, or a feature does not vary in the training rows.
    """
    split = split_rows(dataset, config.data.holdout, config.som.random_seed)
    scaler = fit_scaler(dataset.features, dataset.feature_names, config.scaling.method, split.train)
    return Samples(
        train=scaler.transform(dataset.features, split.train),
        heldout=scaler.transform(dataset.features, split.heldout),
        targets=dict(zip(dataset.target_names, dataset.target[split.train].T, strict=True)),
        scaler=scaler,
    )


def split_rows(dataset: Dataset, holdout: float, seed: int) -> Split:
    """Which rows train and which are held out.

    With a time column the newest share is held out, rows of one moment always on the same side; without, a random
    share.

    Raises:
        DatasetError: No row would be left to train on.
    """
    n = len(dataset.features)
    count = int(n * holdout)
    heldout = np.zeros(n, dtype=bool)
    if count and dataset.time is not None:
        heldout = dataset.time >= np.partition(dataset.time, n - count)[n - count]
    elif count:
        heldout[np.random.default_rng(seed).permutation(n)[:count]] = True
    if heldout.all():
        raise DatasetError(f"data.holdout: all {n} rows are of one time, none is left to train on: set data.holdout=0")
    return Split(np.flatnonzero(~heldout), np.flatnonzero(heldout))

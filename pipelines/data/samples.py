"""From rows to samples: which rows train, and all of them scaled by what the training rows look like."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data import Dataset
from pipelines.data.classes import Classes
from pipelines.data.columns import CategoryColumn
from pipelines.data.encoding import Encoding
from pipelines.data.scaling import Scaler, fit_scaler
from pipelines.data.splitting import HeldOut
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.wording import agreeing, counted, of_all, some


class Split(NamedTuple):
    """Row numbers, ascending: training rows and held-out rows."""

    train: NDArray[np.int64]
    heldout: NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Samples with what is to be predicted of them.

    Attributes:
        samples: Scaled features, NaN where missing, shape (n, d).
        targets: By name, NaN where missing, shape (n,).
        moments: Their times, length n; None without a time column.
        numbers: Of the rows, in reading order from 0, int64, shape (n,).
        classes: Of each target that is one, whose values are codes.
    """

    samples: NDArray[np.float32]
    targets: Mapping[str, NDArray[np.float64]]
    moments: pl.Series | None
    numbers: NDArray[np.int64]
    classes: Mapping[str, Classes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def values(self, name: str) -> NDArray[Any]:
        """What a target is in the samples, all of which have it: numbers, or the labels of a class."""
        known = self.classes.get(name)
        return self.targets[name] if known is None else known.labels(self.targets[name])

    def known(self, name: str) -> NDArray[np.int64]:
        """Positions of the samples whose target of that name is known, ascending."""
        return np.flatnonzero(np.isfinite(self.targets[name]))

    def by_time(self) -> NDArray[np.int64]:
        """Positions of the samples in the order of time; as they are without times."""
        if self.moments is None:
            return np.arange(len(self))
        return self.moments.to_physical().to_numpy().argsort(kind="stable")

    def take(self, positions: NDArray[np.int64]) -> "Labelled":
        """The samples at some positions, in that order."""
        return Labelled(
            self.samples[positions],
            {name: values[positions] for name, values in self.targets.items()},
            None if self.moments is None else self.moments.gather(positions),
            self.numbers[positions],
            self.classes,
        )


class Streamed(Protocol):
    """Scaled samples as a dataset of batches, see `somlib.utils.batches`."""

    n_rows: int

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Samples:
    """What a map is trained and measured on.

    Attributes:
        train: The training rows.
        heldout: The held-out rows.
        scaler: Fitted to the training rows.
        streamed: All training rows, to be read batch by batch; None where they are those above, which are otherwise
            every second, third, ... of them.
        heldout_rows: How many rows are held out then.
        variances: The two largest of all training rows along axes, where they were asked for then.
    """

    train: Labelled
    heldout: Labelled
    scaler: Scaler
    streamed: Streamed | None = None
    heldout_rows: int = 0
    variances: tuple[float, float] | None = None

    @property
    def targets(self) -> Mapping[str, NDArray[np.float64]]:
        """Targets of the training rows by name, NaN where missing, shape (n,)."""
        return self.train.targets

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of rows: `train` and `heldout`."""
        if self.streamed is not None:
            return {"train": self.streamed.n_rows, "heldout": self.heldout_rows}
        return {"train": len(self.train), "heldout": len(self.heldout)}


def prepare_samples(dataset: Dataset, config: PipelineConfig) -> Samples:
    """Split and scaled samples.

    Raises:
        DatasetError: No row is left to train on, or a feature does not vary in the training rows.
    """
    split = split_rows(dataset, config.data.holdout, config.som.random_seed)
    scaler = fitted_scaler(dataset, split.train, config)
    return Samples(labelled(dataset, scaler, split.train), labelled(dataset, scaler, split.heldout), scaler)


def fitted_scaler(dataset: Dataset, rows: NDArray[np.int64], config: PipelineConfig) -> Scaler:
    """What turns numbers of a dataset into samples, fitted to some rows of it.

    Raises:
        DatasetError: A feature has no value in these rows, or does not vary in them.
    """
    encoding = fitted_encoding(dataset, rows)
    values = dataset.features
    if encoding is not None and dataset.levels:
        values, rows = encoding.recoded(values[rows], dataset.levels), np.arange(len(rows))
    return fit_scaler(values, dataset.feature_names, config.scaling.method, rows, encoding)


def fitted_encoding(dataset: Dataset, rows: NDArray[np.int64]) -> Encoding | None:
    """The columns of a dataset, categories with the values that some rows of it have; None where all are numbers."""
    columns = []
    for each in dataset.columns:
        if isinstance(each, CategoryColumn):
            known = dataset.levels[each.name]
            codes = dataset.features[rows, dataset.feature_names.index(each.name)]
            counts = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(known))
            each = each.fitted(known, counts)
        columns.append(each)
    return Encoding(tuple(columns)) if columns else None


def unknown_values(dataset: Dataset, scaler: Scaler) -> Iterator[str]:
    """A line for each category with values in the dataset that have no feature of their own: rare ones, or new ones."""
    columns = () if scaler.encoding is None else scaler.encoding.columns
    for each in columns:
        if isinstance(each, CategoryColumn):
            known, codes = dataset.levels[each.name], dataset.features[:, dataset.feature_names.index(each.name)]
            counts = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(known))
            found = {level: int(n) for level, n in zip(known, counts, strict=True) if n and level not in each.levels}
            if found:
                ranked = sorted(found, key=lambda level: -found[level])
                yield (
                    f"{each.name}: {of_all(sum(found.values()), len(codes), 'row')} "
                    f"{agreeing(sum(found.values()), 'has', 'have')} a value without a feature of its own, "
                    f"{some([f'{level} in {found[level]:,}' for level in ranked])}: "
                    + ("they are one value together" if each.other else "it is none of those that the model knows")
                )


def samples_of(dataset: Dataset, scaler: Scaler, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scaled samples (n, d) of some rows, by number, whatever order the dataset has its features in."""
    return scaler.transform(dataset.with_features(scaler.numbers).features, rows, dataset.levels)


def labelled(dataset: Dataset, scaler: Scaler, rows: NDArray[np.int64]) -> Labelled:
    """Scaled samples of some rows, by number, with their targets and times."""
    moments = dataset.moments
    return Labelled(
        samples=samples_of(dataset, scaler, rows),
        targets=dict(zip(dataset.target_names, dataset.target[rows].T, strict=True)),
        moments=None if moments is None else moments.gather(rows),
        numbers=rows * dataset.step,
        classes=dataset.classes,
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
    since = None
    if count and dataset.time is not None:
        since = np.partition(dataset.time, n - count)[n - count]
    heldout = HeldOut(n, count, seed, since).among(0, n, dataset.time)
    require_training_rows(n, n - int(heldout.sum()))
    return Split(np.flatnonzero(~heldout), np.flatnonzero(heldout))


def require_training_rows(n: int, training: int) -> None:
    """Refuse to hold out all of n rows.

    Raises:
        DatasetError: No row is left to train on.
    """
    if not training:
        raise DatasetError(
            f"data.holdout: all {counted(n, 'row')} are of one time, none is left to train on: set data.holdout=0"
        )


def evenly(positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most `most` of the positions, evenly spread, first and last among them."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).round().astype(np.int64)]

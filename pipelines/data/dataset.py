"""The wanted rows in memory, read batch by batch into arrays made beforehand."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from pipelines.data.classes import Classes
from pipelines.data.columns import Column
from pipelines.data.counts import ColumnSurvey, Survey, complete, is_missing
from pipelines.data.rows import exactly, times_of
from pipelines.data.source import Source
from pipelines.errors import DatasetError

logger = logging.getLogger(__name__)

# A feature whose size is more than this many times its spread has under 12 of float32's 24 bits left for the spread.
FLOAT32_SIZE_TO_SPREAD = 2.0**12
FLOAT32 = np.finfo(np.float32)
EXAMPLE_ROWS, EXAMPLE_BATCH, EXAMPLE_BATCHES = 5, 4_096, 16  # rows that a model is logged with, and where from


@dataclass(frozen=True)
class Dataset:
    """The rows in memory.

    Attributes:
        path: Where they came from.
        feature_names: Length d; of a column that is more than a number, those of its numbers.
        target_names: Length o.
        features: float32, or float64 where that was needed, NaN where missing, shape (n, d); of a category its codes.
        target: float64, NaN where missing, shape (n, o); of a class its codes.
        time: What orders the rows, int64 or float64, shape (n,); None without a time column.
        sha256: Digest of all of the above but the path; independent of files, row groups and compression.
        survey: What was counted on the way.
        time_type: Type of the time column, None without one.
        columns: What the features are, categories not fitted; none where all are plain numbers.
        levels: Of each category the values that its codes stand for.
        example: A few complete rows as they are stored, with the columns that features are made of; None where all are
            plain numbers, or no row is complete.
        step: Which rows they are: all, or every second, third, ... of the used rows, from the first on; digest and
            survey are of all.
        classes: Of each target that is one.
    """

    path: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    features: NDArray[Any]
    target: NDArray[np.float64]
    time: NDArray[Any] | None
    sha256: str
    survey: Survey
    time_type: pl.DataType | None = None
    columns: tuple[Column, ...] = ()
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    example: pl.DataFrame | None = None
    step: int = 1
    classes: Mapping[str, Classes] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many rows digest and survey are of."""
        return len(self.features) if self.step == 1 else self.survey.used

    @property
    def examples(self) -> NDArray[Any] | pl.DataFrame:
        """Some of its rows to log a model with: as they are stored where features are more than numbers."""
        return self.features[:100] if self.example is None else self.example

    @property
    def moments(self) -> pl.Series | None:
        """The time of every row, in the type of its column; None without a time column."""
        if self.time is None:
            return None
        moments = pl.Series("time", self.time)
        return moments if self.time_type is None else moments.cast(self.time_type)

    def with_features(self, names: Sequence[str]) -> "Dataset":
        """The dataset with these of its features, in this order."""
        if tuple(names) == self.feature_names:
            return self
        chosen = [self.feature_names.index(name) for name in names]
        return replace(self, feature_names=tuple(names), features=self.features[:, chosen])


def read_dataset(
    source: Source, found: Survey, drop_incomplete: bool, dtype: type[np.floating[Any]] | None = None
) -> Dataset:
    """The rows in memory, read batch by batch into arrays made beforehand.

    Args:
        source: What to read.
        found: What is there.
        drop_incomplete: Whether to leave out rows that lack a feature.
        dtype: Of the features; None takes float32 where that distinguishes their values.

    Raises:
        DatasetError: A file is damaged, or the files changed since they were surveyed.
    """
    features = np.empty((found.used, len(source.features)), dtype=dtype or feature_type(source, found))
    target = np.empty((found.used, len(source.target)), dtype=np.float64)
    time: list[NDArray[Any]] = []
    start = 0
    for batch in used_rows(source, drop_incomplete):
        stop = start + batch.height
        if stop > found.used:
            break
        features[start:stop] = coded(batch.select(map(exactly, source.features)), found.levels).to_numpy()
        target[start:stop] = (
            coded(batch.select(map(exactly, source.target)), found.levels).to_numpy() if source.target else 0.0
        )
        if source.time is not None:
            time.append(times_of(batch, source.time).to_physical().to_numpy())
        start = stop
    if start != found.used:
        raise DatasetError(f"data.path: {source.path} changed while it was read: run again when its writer is done")
    moments = np.concatenate(time) if time else None
    names = (
        *source.features,
        *source.target,
        source.time or "",
        *(text for known in found.levels.values() for text in known),
    )
    return Dataset(
        path=source.path,
        feature_names=source.features,
        target_names=source.target,
        features=features,
        target=target,
        time=moments,
        sha256=content_digest(names, features, target, moments),
        survey=found,
        time_type=source.time_type,
        columns=source.columns if source.special else (),
        levels=feature_levels(source, found),
        classes=target_classes(source, found),
        example=example_rows(source) if source.special else None,
    )


def feature_levels(source: Source, found: Survey) -> dict[str, tuple[str, ...]]:
    """The values of each category, by whose places its codes are."""
    return {name: known for name, known in found.levels.items() if name not in source.classes}


def target_classes(source: Source, found: Survey) -> dict[str, Classes]:
    """The classes of each target that is one."""
    return {name: Classes(kind, found.levels[name]) for name, kind in source.classes.items()}


def coded(rows: pl.DataFrame, levels: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Rows with the texts of categories replaced by their places among the levels, as numbers.

    Raises:
        DatasetError: A text that was not there when the rows were surveyed.
    """
    if not levels:
        return rows
    try:
        return pl.DataFrame(
            [
                values.cast(pl.Enum(levels[values.name])).to_physical().cast(pl.Float64)
                if values.name in levels
                else values
                for values in rows
            ]
        )
    except pl.exceptions.PolarsError as error:
        raise DatasetError(
            "data.path: a column has other values than a moment ago: run again when its writer is done"
        ) from error


def example_rows(source: Source) -> pl.DataFrame | None:
    """The first complete rows as they are stored, of those that are looked at."""
    names = [each.name for each in source.columns]
    for batch in islice(source.rows.stored(names, EXAMPLE_BATCH), EXAMPLE_BATCHES):
        known = batch.drop_nulls().filter(~pl.any_horizontal(cs.float().is_nan())) if batch.width else batch
        if known.height:
            return known.head(EXAMPLE_ROWS)
    return None


def known_times(source: Source, column: str, drop_incomplete: bool) -> pl.Series:
    """Times of the rows that `read_dataset` reads and in which a column has a value, in reading order.

    Raises:
        DatasetError: A file is damaged.
    """
    known = [
        times_of(batch.filter(~is_missing(column, source.texts)), str(source.time))
        for batch in used_rows(source, drop_incomplete)
    ]
    return pl.concat(known) if known else pl.Series("time", [], source.time_type)


def used_rows(source: Source, complete_only: bool) -> Iterator[pl.DataFrame]:
    """The wanted rows, without those that lack a feature where these are to be left out."""
    columns = dict.fromkeys((*source.features, *source.target, *([source.time] if source.time else [])))
    for batch in source.rows.batches([*columns]):
        if complete_only:
            yield complete(batch, source)
        else:
            yield batch


def feature_type(source: Source, found: Survey) -> type[np.floating[Any]]:
    """float32 where that distinguishes the values of every feature, else float64."""
    columns = [found.columns[name] for name in source.features]
    if all(_fits_float32(column) for column in columns if column.high > column.low):
        return np.float32
    logger.info("features are read as float64: one has values that float32 cannot distinguish or hold")
    return np.float64


def _fits_float32(column: ColumnSurvey) -> bool:
    size, spread = max(abs(column.low), abs(column.high)), column.high - column.low
    held = size <= float(FLOAT32.max) and spread >= float(FLOAT32.tiny) * FLOAT32_SIZE_TO_SPREAD
    return held and size <= spread * FLOAT32_SIZE_TO_SPREAD


def content_digest(names: Sequence[str], *arrays: NDArray[Any] | None) -> str:
    """SHA-256 of column names and arrays; None stands for an array that is not there."""
    digest = hashlib.sha256("\0".join(names).encode())
    for array in arrays:
        if array is not None:
            digest.update(f"\0{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

"""The wanted rows in memory, read batch by batch into arrays made beforehand."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.counts import ColumnSurvey, Survey, is_missing
from pipelines.data.rows import exactly, times_of
from pipelines.data.source import Source
from pipelines.errors import DatasetError

logger = logging.getLogger(__name__)

# A feature whose size is more than this many times its spread has under 12 of float32's 24 bits left for the spread.
FLOAT32_SIZE_TO_SPREAD = 2.0**12
FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True)
class Dataset:
    """The rows in memory.

    Attributes:
        path: Where they came from.
        feature_names: Length d.
        target_names: Length o.
        features: float32, or float64 where that was needed, NaN where missing, shape (n, d).
        target: float64, NaN where missing, shape (n, o).
        time: What orders the rows, int64 or float64, shape (n,); None without a time column.
        sha256: Digest of all of the above but the path; independent of files, row groups and compression.
        survey: What was counted on the way.
        time_type: Type of the time column, None without one.
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
    features = np.empty((found.used, len(source.features)), dtype=dtype or _feature_type(source, found))
    target = np.empty((found.used, len(source.target)), dtype=np.float64)
    time: list[NDArray[Any]] = []
    start = 0
    for batch in _used_rows(source, drop_incomplete):
        stop = start + batch.height
        if stop > found.used:
            break
        features[start:stop] = batch.select(map(exactly, source.features)).to_numpy()
        target[start:stop] = batch.select(map(exactly, source.target)).to_numpy() if source.target else 0.0
        if source.time is not None:
            time.append(times_of(batch, source.time).to_physical().to_numpy())
        start = stop
    if start != found.used:
        raise DatasetError(f"data.path: {source.path} changed while it was read: run again when its writer is done")
    moments = np.concatenate(time) if time else None
    return Dataset(
        path=source.path,
        feature_names=source.features,
        target_names=source.target,
        features=features,
        target=target,
        time=moments,
        sha256=content_digest((*source.features, *source.target, source.time or ""), features, target, moments),
        survey=found,
        time_type=source.time_type,
    )


def known_times(source: Source, column: str, drop_incomplete: bool) -> pl.Series:
    """Times of the rows that `read_dataset` reads and in which a column has a value, in reading order.

    Raises:
        DatasetError: A file is damaged.
    """
    known = [
        times_of(batch.filter(~is_missing(column)), str(source.time)) for batch in _used_rows(source, drop_incomplete)
    ]
    return pl.concat(known) if known else pl.Series("time", [], source.time_type)


def _used_rows(source: Source, drop_incomplete: bool) -> Iterator[pl.DataFrame]:
    """The wanted rows, without those that lack a feature where these are to be left out."""
    columns = dict.fromkeys((*source.features, *source.target, *([source.time] if source.time else [])))
    for batch in source.rows.batches([*columns]):
        if drop_incomplete:
            yield batch.filter(~pl.any_horizontal(is_missing(name) for name in source.features))
        else:
            yield batch


def _feature_type(source: Source, found: Survey) -> type[np.floating[Any]]:
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

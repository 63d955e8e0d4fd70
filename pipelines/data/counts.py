"""What the wanted rows hold, counted in passes that keep no row (`validation.py` judges it)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from pipelines.data.faults import damage_named
from pipelines.data.source import Source
from pipelines.errors import DatasetError


class ColumnSurvey(NamedTuple):
    """What a column holds.

    Attributes:
        missing: Null or NaN in so many of the found rows.
        infinite: Infinite in so many of the used rows.
        low: Smallest finite value of the used rows, NaN where there is none.
        high: Largest.
    """

    missing: int
    infinite: int
    low: float
    high: float

    @property
    def constant(self) -> bool:
        """Whether all finite values are the same."""
        return self.low == self.high


@dataclass(frozen=True)
class Survey:
    """What the rows hold.

    Attributes:
        found: Rows that the path and the row filters select.
        incomplete: Those of them that lack a feature.
        used: Those that are used: all, or the complete ones where incomplete rows are dropped.
        columns: Features and targets by name.
        first: Earliest time, None without a time column.
        last: Latest time.
    """

    found: int
    incomplete: int
    used: int
    columns: Mapping[str, ColumnSurvey]
    first: Any = None
    last: Any = None

    @property
    def left_out(self) -> int:
        """Rows that are not used because they lack a feature."""
        return self.found - self.used


def survey(source: Source, drop_incomplete: bool) -> Survey:
    """Counts and ranges of the wanted columns, in one pass in bounded memory.

    Raises:
        DatasetError: A file turned out to be damaged, or files do not fit together.
    """
    columns = dict.fromkeys((*source.features, *source.target))
    incomplete = pl.any_horizontal(is_missing(name) for name in source.features)
    used = ~incomplete if drop_incomplete else pl.lit(value=True)
    wanted = [pl.len().alias("found"), incomplete.sum().alias("incomplete")]
    for i, name in enumerate(columns):
        finite = pl.col(name).filter(used & pl.col(name).is_finite())
        wanted += [
            is_missing(name).sum().alias(f"missing {i}"),
            (pl.col(name).is_infinite() & used).sum().alias(f"infinite {i}"),
            finite.min().alias(f"low {i}"),
            finite.max().alias(f"high {i}"),
        ]
    if source.time is not None:
        time = pl.col(source.time).filter(used)
        wanted += [time.min().alias("first"), time.max().alias("last"), time.null_count().alias("timeless")]
    with damage_named(source.files, source.path):
        row = source.rows.select(wanted).collect(engine="streaming").row(0, named=True)
    if row.get("timeless"):
        raise DatasetError(f"data.time: column {source.time!r} is missing in {row['timeless']} of {row['found']} rows")
    return Survey(
        found=row["found"],
        incomplete=row["incomplete"],
        used=row["found"] - (row["incomplete"] if drop_incomplete else 0),
        columns={
            name: ColumnSurvey(
                row[f"missing {i}"], row[f"infinite {i}"], _number(row[f"low {i}"]), _number(row[f"high {i}"])
            )
            for i, name in enumerate(columns)
        },
        first=row.get("first"),
        last=row.get("last"),
    )


def time_span(source: Source) -> tuple[Any, Any]:
    """The first and the last time of the wanted rows; None, None where there is no row.

    Args:
        source: Rows with a time column.
    """
    time = pl.col(str(source.time))
    with damage_named(source.files, source.path):
        first, last = source.rows.select(time.min().alias("first"), time.max().alias("last")).collect().row(0)
    return first, last


def newest_share_from(source: Source, share: float) -> Any:
    """The time of the first row of the newest share of the wanted rows; None where that share is less than a row.

    Args:
        source: Rows with a time column.
        share: From 0 to 1.
    """
    time = pl.col(str(source.time)).drop_nulls()
    with damage_named(source.files, source.path):
        count = int(source.rows.select(time.len()).collect().item() * share)
        return source.rows.select(time.top_k(count).min()).collect().item() if count else None


def is_missing(name: str) -> pl.Expr:
    """Whether a row lacks a value of a column: null or NaN."""
    return pl.col(name).is_null() | pl.col(name).is_nan().fill_null(value=False)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value

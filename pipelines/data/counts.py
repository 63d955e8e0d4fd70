"""What the wanted rows hold, counted in passes that keep no row (`validation.py` checks it)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from pipelines.data.classes import MOST_CLASSES, in_order
from pipelines.data.rows import exactly, times_of
from pipelines.data.source import Source
from pipelines.errors import DatasetError

Facts = dict[str, pl.Expr]

MOST_VALUES = 10_000  # of a category that are looked at; beyond, it names the row
NOTHING = pl.lit(None, dtype=pl.Float64)


class ColumnSurvey(NamedTuple):
    """What a column holds.

    Attributes:
        missing: Number of found rows in which it is null or NaN.
        infinite: Number of used rows in which it is infinite.
        low: Smallest finite value of the used rows, NaN where there is none; of a category, of codes.
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
        levels: Of each category, and of each target that is a class, the values of the used rows, ascending; their
            places are their codes.
    """

    found: int
    incomplete: int
    used: int
    columns: Mapping[str, ColumnSurvey]
    first: Any = None
    last: Any = None
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Rows that are not used because they lack a feature."""
        return self.found - self.used


def survey(source: Source, drop_incomplete: bool) -> Survey:
    """Counts and ranges of the wanted columns, in one pass in bounded memory.

    Raises:
        DatasetError: A file turned out to be damaged, or a row has no time.
    """
    columns = tuple(dict.fromkeys((*source.features, *source.target)))
    categories = [name for name in source.texts if name in columns]
    sums, lows, highs = _facts(source, columns, drop_incomplete)
    read = tuple(dict.fromkeys((*columns, source.time) if source.time else columns))
    parts, levels = [], {name: set[str]() for name in categories}
    for batch in source.rows.batches(read):
        parts.append(batch.select(**sums, **lows, **highs))
        used = complete(batch, source) if drop_incomplete else batch
        for name in categories:
            levels[name].update(used.get_column(name).drop_nulls().unique().to_list())
            _require_few(name, levels[name], is_class=name in source.classes)
    row: dict[str, Any] = dict.fromkeys(sums, 0) | dict.fromkeys((*lows, *highs))
    if parts:
        combined = (pl.col(*sums).sum(), pl.col(*lows).min(), pl.col(*highs).max())
        row = pl.concat(parts).select(*combined).row(0, named=True)
    if row["timeless"]:
        raise DatasetError(f"data.time: column {source.time!r} is missing in {row['timeless']} of {row['found']} rows")
    counted = {
        name: ColumnSurvey(
            row[f"missing {i}"], row[f"infinite {i}"], _number(row[f"low {i}"]), _number(row[f"high {i}"])
        )
        for i, name in enumerate(columns)
    }
    return Survey(
        found=row["found"],
        incomplete=row["incomplete"],
        used=row["found"] - (row["incomplete"] if drop_incomplete else 0),
        columns=counted | {name: _with_codes(counted[name], len(values)) for name, values in levels.items()},
        first=row.get("first"),
        last=row.get("last"),
        levels={name: ordered(source, name, values) for name, values in levels.items()},
    )


def _with_codes(counted: ColumnSurvey, values: int) -> ColumnSurvey:
    """The survey of a category of that many values: codes from 0."""
    return counted._replace(low=0.0, high=values - 1.0) if values else counted


def ordered(source: Source, name: str, values: Collection[str]) -> tuple[str, ...]:
    """The values of a category or a class, ascending."""
    return in_order(source.classes.get(name, "text"), values)


def _require_few(name: str, values: Collection[str], *, is_class: bool) -> None:
    if is_class and len(values) > MOST_CLASSES:
        raise DatasetError(
            f"data.target: column {name!r} has over {MOST_CLASSES:,} classes, such as {min(values)!r:.40}: it names "
            "rows rather than classes, leave it out"
        )
    if len(values) > MOST_VALUES:
        raise DatasetError(
            f"data.columns: column {name!r} has over {MOST_VALUES:,} values, such as {min(values)!r:.40}: it is no "
            "category, leave it out"
        )


def _facts(source: Source, columns: Sequence[str], drop_incomplete: bool) -> tuple[Facts, Facts, Facts]:
    """What is asked of each batch: facts that add up, smallest and largest values."""
    incomplete = pl.any_horizontal(is_missing(name, source.categories) for name in source.features)
    used = ~incomplete if drop_incomplete else pl.lit(value=True)
    sums, lows, highs = {"found": pl.len(), "incomplete": incomplete.sum(), "timeless": pl.lit(0)}, {}, {}
    for i, name in enumerate(columns):
        column = exactly(name)
        sums[f"missing {i}"] = is_missing(name, source.texts).sum()
        if name in source.texts:  # of texts there is nothing else to be asked
            sums[f"infinite {i}"], lows[f"low {i}"], highs[f"high {i}"] = pl.lit(0), NOTHING, NOTHING
            continue
        finite = column.filter(used & column.is_finite())
        sums[f"infinite {i}"] = (column.is_infinite() & used).sum()
        lows[f"low {i}"], highs[f"high {i}"] = finite.min(), finite.max()
    if source.time is not None:
        time = exactly(source.time).filter(used)
        sums["timeless"], lows["first"], highs["last"] = time.null_count(), time.min(), time.max()
    return sums, lows, highs


def time_span(source: Source) -> tuple[Any, Any]:
    """The first and the last time of the wanted rows; None, None where there is no row.

    Args:
        source: Rows with a time column.
    """
    time = str(source.time)
    parts = [batch.select(first=exactly(time).min(), last=exactly(time).max()) for batch in source.rows.batches([time])]
    if not parts:
        return None, None
    first, last = pl.concat(parts).select(pl.col("first").min(), pl.col("last").max()).row(0)
    return first, last


def newest_share_from(source: Source, share: float) -> Any:
    """The time of the first row of the newest share of the wanted rows; None where that share is less than a row.

    Args:
        source: Rows with a time column.
        share: From 0 to 1.
    """
    time = str(source.time)
    times = [times_of(batch, time).drop_nulls() for batch in source.rows.batches([time])]
    count = int(sum(map(len, times)) * share)
    return pl.concat(times).top_k(count).min() if count else None


def is_missing(name: str, categories: Collection[str] = ()) -> pl.Expr:
    """Whether a row lacks a value of a column: null or NaN; of one among `categories`, whose values are texts, null."""
    null = exactly(name).is_null()
    return null if name in categories else null | exactly(name).is_nan().fill_null(value=False)


def complete(rows: pl.DataFrame, source: Source) -> pl.DataFrame:
    """The rows that lack no feature."""
    return rows.filter(~pl.any_horizontal(is_missing(name, source.categories) for name in source.features))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value

"""The wanted rows of many files, file by file and batch by batch, each column in one type whatever its type in a file.

Columns are taken from a file by their exact names, and values converted before rows of several files meet. Files that
hold no wanted row by their folder names are not opened; of a row group the columns that are filtered by are decoded
first, the others only where a row is wanted. (The statistics in the footers would spare that too, but pyarrow 25 ends
the process where a footer is damaged.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl
import polars.selectors as cs
import pyarrow as pa

from pipelines.data.classes import ClassColumn
from pipelines.data.column_types import NUMBER, convert, in_polars, type_name
from pipelines.data.columns import Column
from pipelines.data.conditions import Condition
from pipelines.data.faults import damage_named, reason
from pipelines.data.footers import Footer, opened
from pipelines.data.partitions import partition_value
from pipelines.data.past import Past
from pipelines.errors import DatasetError

BATCH_ROWS = 131_072
CALENDAR = (-719_162, 2_932_897)  # days since 1970: from the year 1 to the end of 9999


def exactly(name: str) -> pl.Expr:
    """The column of that name. `pl.col` would take `^q.*$` for all columns that match, and `*` for all."""
    return cs.by_name(name)


def times_of(rows: pl.DataFrame, name: str) -> pl.Series:
    """The column of that name under the name `time`: methods of a series take its name for a pattern as well."""
    return rows.get_column(name).alias("time")


@dataclass(frozen=True)
class Rows:
    """The rows and columns that are wanted.

    Attributes:
        footers: Of the files, in the order in which they are read.
        types: Of the columns to be read or filtered by, as common types.
        partitions: Types of those that folder names say.
        numbers: Columns that become Float64 in the end.
        columns: Those that are more than a number, by the names of their numbers, which `batches` takes.
        time: The column that orders the rows.
        start: Rows from this time on.
        end: Rows before this time.
        condition: Rows for which it holds.
        past: Columns that no file has; they are asked for like those that files have. None where there are none.
    """

    footers: Sequence[Footer]
    types: Mapping[str, pa.DataType]
    partitions: Mapping[str, pa.DataType]
    numbers: Sequence[str]
    columns: Mapping[str, Column | ClassColumn] = field(default_factory=dict)
    time: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    condition: Condition | None = None
    past: Past | None = None

    @property
    def time_type(self) -> pl.DataType | None:
        """Type of the time column, None without one."""
        return None if self.time is None else in_polars(self.types[self.time])

    def batches(self, columns: Sequence[str], size: int | None = None) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of some size, the last one of a file or dataset may be smaller.

        Args:
            columns: Which columns, and in which order; they must be known. Of a column that is more than a number, each
                of its numbers has a name; of a category it is the text.
            size: Rows in a frame, at most twice that many; `BATCH_ROWS` by default.

        Raises:
            DatasetError: A file is damaged or gone, or holds a value that the common type does not; it is named.
        """
        size = size or BATCH_ROWS
        waiting: list[pl.DataFrame] = []
        for footer in self.footers:
            for batch in self._of_file(footer, columns, size):
                waiting.append(batch)
                if sum(part.height for part in waiting) >= size:
                    yield pl.concat(waiting)
                    waiting = []
        if waiting:
            yield pl.concat(waiting)

    def stored(self, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        """The rows in order, in frames of at most `size`, with columns as files have them, in their common types."""
        for footer in self.footers:
            if footer.rows and self._may_match(footer):
                with damage_named(footer.file), opened(footer.file) as parquet:
                    for group in range(parquet.num_row_groups):
                        wanted = list(dict.fromkeys((*columns, *self._filters)))
                        for rows in self._of_group(footer, parquet, group, wanted, size):
                            yield pl.DataFrame([rows.get_column(name) for name in columns])

    def any_of(self, footer: Footer) -> bool:
        """Whether a file has a wanted row."""
        if not self.condition and not self._filters:
            return footer.rows > 0
        columns = self._filters or [next(iter(self.types))]
        return any(batch.height for batch in self._of_file(footer, columns, BATCH_ROWS))

    # ------------------------------------------------------------ one file

    @property
    def _filters(self) -> list[str]:
        """The columns that decide which rows are wanted."""
        bounded = [self.time] if self.time is not None and (self.start or self.end) else []
        return list(dict.fromkeys([*(self.condition.columns if self.condition else ()), *bounded]))

    def _of_file(self, footer: Footer, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        """The wanted rows of a file; with at least one column."""
        if not footer.rows or not self._may_match(footer):
            return
        filters = self._filters
        stored = [self.columns[name].name if name in self.columns else name for name in columns]
        with damage_named(footer.file), opened(footer.file) as parquet:
            for group in range(parquet.num_row_groups):
                if filters and not any(part.height for part in self._of_group(footer, parquet, group, filters, size)):
                    continue
                for rows in self._of_group(footer, parquet, group, list(dict.fromkeys((*stored, *filters))), size):
                    yield self._selected(footer, rows, columns)

    def _selected(self, footer: Footer, rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """These columns of rows, each in the form in which it is handed out."""
        if not self.columns:
            return rows.select(exactly(k).cast(pl.Float64) if k in self.numbers else exactly(k) for k in columns)
        ready: dict[str, pl.Series] = {}
        for name in columns:
            if name in self.columns:
                if name not in ready:
                    ready |= self._read(footer, self.columns[name], rows)
            else:
                values = rows.get_column(name)
                ready[name] = values.cast(pl.Float64) if name in self.numbers else values
        return pl.DataFrame([ready[name].alias(name) for name in columns])

    @staticmethod
    def _read(footer: Footer, column: Column | ClassColumn, rows: pl.DataFrame) -> dict[str, pl.Series]:
        """The numbers of a column, by name."""
        try:
            return dict(zip(column.numbers, column.read(rows.get_column(column.name).alias("values")), strict=True))
        except ValueError as error:
            raise DatasetError(
                f"{column.setting}: column {column.name!r} in {footer.file} {error}: it is declared as {column.kind}"
            ) from error

    def _of_group(
        self, footer: Footer, parquet: Any, group: int, columns: Sequence[str], size: int
    ) -> Iterator[pl.DataFrame]:
        """The wanted rows of a row group, with these columns and those that are filtered by."""
        if self.past is not None and (made := [name for name in columns if name in self.past.columns]):
            there = [name for name in columns if name not in made]
            for rows in self._of_group(
                footer, parquet, group, list(dict.fromkeys((*there, *self.past.keys(made)))), size
            ):
                yield self.past.beside(rows, made)
            return
        stored = [name for name in columns if name in footer.columns]
        said = self._said(footer, [name for name in columns if name not in footer.columns])
        for batch in parquet.iter_batches(size, [group], columns=stored):
            values = [self._converted(footer, name, batch) for name in stored]
            yield self._wanted(pl.DataFrame([*values, *(one.new_from_index(0, batch.num_rows) for one in said)]))

    def _may_match(self, footer: Footer) -> bool:
        """Whether a file can have wanted rows, by its folders."""
        names = list(self.condition.columns) if self.condition else []
        if self.condition is None or any(name in footer.columns for name in names):
            return True
        return self.condition.kept(pl.DataFrame([pl.Series("", [True]), *self._said(footer, names)])).height > 0

    def _said(self, footer: Footer, names: Sequence[str]) -> list[pl.Series]:
        """The value of columns that the folders of a file say, one each."""
        return [self._value(name, footer.partition[name]) for name in names]

    def _value(self, name: str, text: str | None) -> pl.Series:
        value = partition_value(text, self.partitions[name])
        return pl.Series(name, [value]).cast(in_polars(self.types[name]))  # pa.array and pa.scalar import pandas

    def _converted(self, footer: Footer, name: str, batch: Any) -> pl.Series:
        if name not in batch.schema.names:
            raise DatasetError(f"data.path: {footer.file} cannot be read: it has lost its column {name!r} just now")
        wanted = self.types[name]
        values = batch.column(batch.schema.names.index(name))
        try:
            series = _series(name, convert(values, wanted, exact=wanted != NUMBER or name == self.time))
        except pa.ArrowInvalid as error:
            raise DatasetError(
                f"data.path: column {name!r} is {type_name(values.type)} in {footer.file} and holds a value that is "
                f"lost in {type_name(wanted)}, which other files need: {reason(error)}"
            ) from error
        if name == self.time and not _in_calendar(series.alias("time")):
            raise DatasetError(
                f"data.time: column {name!r} holds times outside of the years 1 to 9999 in {footer.file}: "
                "leave such rows out of the file"
            )
        return series

    # ------------------------------------------------------------ which of them

    def _wanted(self, rows: pl.DataFrame) -> pl.DataFrame:
        if self.condition is not None:
            rows = self.condition.kept(rows)
        if self.time is not None and (self.start or self.end):
            dtype = rows.schema[self.time]
            time = exactly(self.time) if isinstance(dtype, pl.Datetime) else exactly(self.time).cast(pl.Datetime("us"))
            if self.start:
                rows = rows.filter(time >= _literal(self.start, dtype))
            if self.end:
                rows = rows.filter(time < _literal(self.end, dtype))
        return rows


def _series(name: str, values: Any) -> pl.Series:
    return pl.Series(name, pl.from_arrow(values))


def _in_calendar(times: pl.Series) -> bool:
    """Whether all times are in the years that Python knows; true of numbers, and of nanoseconds, which end in 2262."""
    if times.dtype == pl.Date:
        day = 1
    elif isinstance(times.dtype, pl.Datetime) and times.dtype.time_unit != "ns":
        day = 86_400 * (1_000 if times.dtype.time_unit == "ms" else 1_000_000)
    else:
        return True
    margin = 0 if getattr(times.dtype, "time_zone", None) is None else 1  # the zone may move it beyond the end
    first, last = (CALENDAR[0] + margin) * day, (CALENDAR[1] - margin) * day
    return bool(times.to_physical().is_between(first, last, closed="left").all())


def _literal(moment: datetime, dtype: pl.DataType) -> pl.Expr:
    """A moment as the column would hold it. Without a zone it means UTC, and so do columns without one."""
    literal = pl.lit(_as_utc(moment), dtype=pl.Datetime("us", "UTC"))
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return literal.dt.convert_time_zone(zone) if zone else literal.dt.replace_time_zone(None)


def _as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)

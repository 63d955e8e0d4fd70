"""The files and columns that a configuration names, and the wanted rows of them as a lazy frame; no row is read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from pipelines.data.faults import damage_named, polars_errors
from pipelines.data.files import data_files
from pipelines.data.schemas import Table, file_schemas, partition_schema, type_in_words
from pipelines.errors import DatasetError
from pipelines.sections import DataConfig


@dataclass(frozen=True)
class Source:
    """Files and columns, found and fit to be read; no row was read yet.

    Attributes:
        path: As configured.
        files: In the order in which they are read.
        features: Names of the d features, patterns resolved.
        target: Names of the targets.
        time: Name of the column that orders the rows, if any.
        rows: The wanted rows and columns, lazily: features and targets as Float64, time as it is.
    """

    path: str
    files: tuple[Path, ...]
    features: tuple[str, ...]
    target: tuple[str, ...]
    time: str | None
    rows: pl.LazyFrame

    @property
    def time_type(self) -> pl.DataType | None:
        """Type of the time column, None without one."""
        return None if self.time is None else self.rows.collect_schema()[self.time]


def find_source(config: DataConfig) -> Source:
    """The files and columns that a configuration names.

    Raises:
        DatasetError: Missing path, files that are not (whole) Parquet, columns that are absent or not numeric, a row
            filter that cannot be understood; every problem has its line.
    """
    files = data_files(config.path)
    table = Table(config.path, file_schemas(files), partition_schema(files))
    features = table.expanded(config.features, reserved=(*config.target, config.time or ""))
    condition = _condition(config.where)
    in_condition = condition.meta.root_names() if condition is not None else []
    problems = [
        *table.numeric_problems("data.features", features),
        *table.numeric_problems("data.target", config.target),
        *table.presence_problems("data.time", [config.time] if config.time else []),
        *table.presence_problems("data.where", in_condition),
    ]
    if not problems:
        problems = [*_time_problems(config, table)]
    if problems:
        raise DatasetError(*problems)
    rows = _wanted_rows(config, table, list(dict.fromkeys((*features, *config.target))), condition)
    return Source(config.path, files, features, config.target, config.time, rows)


def _wanted_rows(config: DataConfig, table: "Table", numbers: Sequence[str], condition: pl.Expr | None) -> pl.LazyFrame:
    """The rows and columns that are read, with numbers as Float64; no row is read here."""
    rows = _filtered_rows(config, table, numbers, condition)
    return rows.select(*(pl.col(name).cast(pl.Float64) for name in numbers), *([config.time] if config.time else []))


def _filtered_rows(
    config: DataConfig, table: "Table", numbers: Sequence[str], condition: pl.Expr | None
) -> pl.LazyFrame:
    """The rows that are read, with the columns that are read or filtered by."""
    in_condition = [] if condition is None else condition.meta.root_names()
    others = [name for name in (*in_condition, config.time) if name is not None and name not in numbers]
    rows = _scan(table, numbers, others)
    with polars_errors("data.path", config.path):
        schema = rows.collect_schema()
    if condition is not None:
        with polars_errors("data.where", str(config.where)):
            pl.DataFrame(schema=schema).filter(condition)  # shows errors that would come up with the first row
    for keep in _row_filters(config, table, condition):
        rows = rows.filter(keep)
    return rows


def _condition(where: str | None) -> pl.Expr | None:
    if where is None:
        return None
    with polars_errors("data.where", where):
        return pl.sql_expr(where)


def _time_problems(config: DataConfig, table: Table) -> Iterator[str]:
    if config.time is None:
        return
    dtype = table.type(config.time)
    dated = isinstance(dtype, pl.Date | pl.Datetime)
    if not dated and not dtype.is_numeric():
        yield f"data.time: column {config.time!r} must hold dates, times or numbers, got {type_in_words(dtype)}"
    elif not dated and (config.start or config.end):
        yield (
            f"data.start and data.end need dates or times in data.time, got {config.time!r} of type {dtype}: "
            "use data.where instead"
        )


def _row_filters(config: DataConfig, table: Table, condition: pl.Expr | None) -> Iterator[pl.Expr]:
    if condition is not None:
        yield condition
    if config.time is not None and (config.start or config.end):
        dtype = table.type(config.time)
        time = pl.col(config.time) if isinstance(dtype, pl.Datetime) else pl.col(config.time).cast(pl.Datetime("us"))
        if config.start:
            yield time >= _literal(config.start, dtype)
        if config.end:
            yield time < _literal(config.end, dtype)


def _literal(moment: datetime, dtype: pl.DataType) -> pl.Expr:
    """A moment as the column would hold it. Without a zone it means UTC, and so do columns without one."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    literal = pl.lit(utc, dtype=pl.Datetime("us", "UTC"))
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return literal.dt.convert_time_zone(zone) if zone else literal.dt.replace_time_zone(None)


def _scan(table: Table, numbers: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """Columns of all files, numbers as Float64 whatever their width in each file."""
    schema = {name: _read_type(table, name) for name in numbers if name not in table.partitions}
    schema |= {name: table.type(name) for name in others if name not in table.partitions}
    casts = pl.ScanCastOptions(integer_cast=["upcast", "allow-float"], float_cast=["upcast", "downcast"])
    return pl.scan_parquet(
        list(table.files), schema=schema, cast_options=casts, extra_columns="ignore", hive_partitioning=True, glob=False
    )


def _read_type(table: Table, name: str) -> pl.DataType:
    types = set(table.types(name).values())
    castable = all(dtype.is_integer() or dtype.is_float() for dtype in types)
    return pl.Float64() if castable else table.type(name)


def partitions(config: DataConfig) -> pl.DataFrame:
    """The partitions that hold wanted rows, the oldest first.

    Returns:
        A column for each name in the folders (`year=2024/month=03` has two), numbers and dates as such, sorted by them
        in their order; no column where the folders name none.

    Raises:
        DatasetError: As `find_source`.
    """
    source = find_source(config)
    table = Table(config.path, file_schemas(source.files), partition_schema(source.files))
    keys = list(table.partitions)
    if not keys:
        return pl.DataFrame()
    rows = _filtered_rows(config, table, [], _condition(config.where))
    with damage_named(source.files, source.path):
        return rows.select(keys).unique().drop_nulls().sort(keys).collect()

"""Reading Parquet: the only module that opens data files.

Three steps, each of which refuses what the next could not use:

1. `find_source` resolves the path to files and the wanted columns to names, from the footers of the files alone;
2. `survey` counts, in one pass that keeps nothing, what is missing, infinite or constant (`validation.py` judges it);
3. `read_dataset` fills one preallocated array, batch by batch.

Everything is lazy: only wanted columns and rows are decoded, and memory is that of the result. Numbers of any width are
welcome, also mixed between files. Values become float32, or float64 where a feature varies too little around a large
value for float32 to tell its values apart.
"""

import difflib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from pipelines.errors import DatasetError
from pipelines.sections import DataConfig
from pipelines.wording import some

logger = logging.getLogger(__name__)

BATCH_ROWS = 131_072
SUFFIXES = (".parquet", ".pq")
# A feature whose size is more than this many times its spread has under 12 of float32's 24 bits left for the spread.
FLOAT32_SIZE_TO_SPREAD = 2.0**12


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


# ---------------------------------------------------------------- 1. files and columns


def find_source(config: DataConfig) -> Source:
    """The files and columns that a configuration names.

    Raises:
        DatasetError: Missing path, files that are not (whole) Parquet, columns that are absent or not numeric, a row
            filter that cannot be understood; every problem has its line.
    """
    files = _files(config.path)
    schemas = _schemas(files)
    table = _Table(config.path, schemas, _partition_schema(files))
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


def _wanted_rows(
    config: DataConfig, table: "_Table", numbers: Sequence[str], condition: pl.Expr | None
) -> pl.LazyFrame:
    """The rows and columns that are read, with numbers as Float64; no row is read here."""
    rows = _filtered_rows(config, table, numbers, condition)
    return rows.select(*(pl.col(name).cast(pl.Float64) for name in numbers), *([config.time] if config.time else []))


def _filtered_rows(
    config: DataConfig, table: "_Table", numbers: Sequence[str], condition: pl.Expr | None
) -> pl.LazyFrame:
    """The rows that are read, with the columns that are read or filtered by."""
    in_condition = [] if condition is None else condition.meta.root_names()
    others = [name for name in (*in_condition, config.time) if name is not None and name not in numbers]
    rows = _scan(table, numbers, others)
    with _polars_errors("data.path", config.path):
        schema = rows.collect_schema()
    if condition is not None:
        with _polars_errors("data.where", str(config.where)):
            pl.DataFrame(schema=schema).filter(condition)  # shows errors that would come up with the first row
    for keep in _row_filters(config, table, condition):
        rows = rows.filter(keep)
    return rows


def _files(path: str) -> tuple[Path, ...]:
    """The files of a path, sorted, so that the same dataset is read in the same order everywhere."""
    if "://" in path:
        raise DatasetError(f"data.path must be a local file, folder or pattern, got {path}")
    root = Path(path).expanduser()
    if root.is_file():
        return (root,)
    if root.is_dir():
        files = sorted(file for file in root.rglob("*") if _is_data_file(file, root))
        if not files:
            raise DatasetError(
                f"data.path: no file named {' or '.join('*' + s for s in SUFFIXES)} in the folder {path}"
            )
        return tuple(files)
    if _is_pattern(path):
        anchor = Path(root.anchor) if root.is_absolute() else Path()
        pattern = str(root.relative_to(root.anchor)) if root.is_absolute() else str(root)
        files = sorted(file for file in anchor.glob(pattern) if file.is_file())
        if not files:
            raise DatasetError(f"data.path: no file matches {path}")
        return tuple(files)
    raise DatasetError(f"data.path: no such file or folder: {path}{_near_path(root)}")


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _is_data_file(file: Path, root: Path) -> bool:
    """Whether a file in a folder is one of its data files: by suffix, and nothing hidden or of a writer at work."""
    parts = file.relative_to(root).parts
    return file.suffix in SUFFIXES and file.is_file() and not any(part.startswith((".", "_")) for part in parts)


def _near_path(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f": did you mean {path.with_name(near[0])}?" if near else ""


def _schemas(files: Iterable[Path]) -> dict[Path, Mapping[str, pl.DataType]]:
    """Column types by file, from the footers."""
    schemas: dict[Path, Mapping[str, pl.DataType]] = {}
    problems = []
    for file in files:
        try:
            schemas[file] = pl.read_parquet_schema(file)
        except (PolarsError, OSError) as error:
            problems.append(f"data.path: {file} is not a whole Parquet file: {_reason(error)}")
    if problems:
        raise DatasetError(*problems)
    return schemas


def _partition_schema(files: tuple[Path, ...]) -> Mapping[str, pl.DataType]:
    """Types of the columns that are folder names such as month=03 instead of being stored."""
    stored = pl.read_parquet_schema(files[0])
    with _polars_errors("data.path", str(files[0].parent)):
        schema = pl.scan_parquet(list(files), hive_partitioning=True, glob=False).collect_schema()
    return {name: dtype for name, dtype in schema.items() if name not in stored}


@dataclass(frozen=True)
class _Table:
    """The column types of a dataset of many files."""

    path: str
    files: Mapping[Path, Mapping[str, pl.DataType]]
    partitions: Mapping[str, pl.DataType]

    def names(self) -> list[str]:
        """All columns that any file has, in order of appearance."""
        stored = (name for schema in self.files.values() for name in schema)
        return list(dict.fromkeys((*stored, *self.partitions)))

    def types(self, name: str) -> dict[Path | None, pl.DataType]:
        """The type of a column in each file that has it; under None where folder names say it."""
        if name in self.partitions:
            return {None: self.partitions[name]}
        return {file: schema[name] for file, schema in self.files.items() if name in schema}

    def type(self, name: str) -> pl.DataType:
        """The type of a column in the first file that has it."""
        return next(iter(self.types(name).values()))

    def expanded(self, names: Sequence[str], reserved: Sequence[str]) -> tuple[str, ...]:
        """Column names with patterns replaced by the columns that match, `reserved` ones excepted; each column once."""
        known = self.names()
        free = [name for name in known if name not in reserved]
        found = {name: [name] if name in known else [k for k in free if fnmatchcase(k, name)] for name in names}
        return tuple(dict.fromkeys(column for name in names for column in (found[name] or [name])))

    def presence_problems(self, setting: str, names: Iterable[str]) -> Iterator[str]:
        """A line for each column that is not in every file."""
        known = self.names()
        for name in names:
            if name not in known and _is_pattern(name):
                yield f"{setting}: no column matches {name} in {self.path}"
            elif name not in known:
                near = difflib.get_close_matches(name, known, n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"columns are {some(known, 20)}"
                yield f"{setting}: no column {name!r} in {self.path}: {hint}"
            elif name not in self.partitions and (
                without := [f for f, schema in self.files.items() if name not in schema]
            ):
                yield f"{setting}: no column {name!r} in {some(without)}, though other files of the dataset have it"

    def numeric_problems(self, setting: str, names: Sequence[str]) -> Iterator[str]:
        """A line for each column that is absent somewhere, or not made of numbers."""
        yield from self.presence_problems(setting, names)
        for name in names:
            for file, dtype in self.types(name).items():
                if not _is_number(dtype):
                    where = f" in {file}" if file is not None and len(self.files) > 1 else ""
                    yield f"{setting}: column {name!r} must be numeric, got {_type_in_words(dtype)}{where}"
                    break


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def _type_in_words(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return "dates or times" if dtype.is_temporal() else str(dtype)


def _condition(where: str | None) -> pl.Expr | None:
    if where is None:
        return None
    with _polars_errors("data.where", where):
        return pl.sql_expr(where)


def _time_problems(config: DataConfig, table: _Table) -> Iterator[str]:
    if config.time is None:
        return
    dtype = table.type(config.time)
    dated = isinstance(dtype, pl.Date | pl.Datetime)
    if not dated and not dtype.is_numeric():
        yield f"data.time: column {config.time!r} must hold dates, times or numbers, got {_type_in_words(dtype)}"
    elif not dated and (config.start or config.end):
        yield (
            f"data.start and data.end need dates or times in data.time, got {config.time!r} of type {dtype}: "
            "use data.where instead"
        )


def _row_filters(config: DataConfig, table: _Table, condition: pl.Expr | None) -> Iterator[pl.Expr]:
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


def _scan(table: _Table, numbers: Sequence[str], others: Sequence[str]) -> pl.LazyFrame:
    """Columns of all files, numbers as Float64 whatever their width in each file."""
    schema = {name: _read_type(table, name) for name in numbers if name not in table.partitions}
    schema |= {name: table.type(name) for name in others if name not in table.partitions}
    casts = pl.ScanCastOptions(integer_cast=["upcast", "allow-float"], float_cast=["upcast", "downcast"])
    return pl.scan_parquet(
        list(table.files), schema=schema, cast_options=casts, extra_columns="ignore", hive_partitioning=True, glob=False
    )


def _read_type(table: _Table, name: str) -> pl.DataType:
    types = set(table.types(name).values())
    castable = all(dtype.is_integer() or dtype.is_float() for dtype in types)
    return pl.Float64() if castable else table.type(name)


# ---------------------------------------------------------------- where rows lie in time


def time_span(source: Source) -> tuple[Any, Any]:
    """The first and the last time of the wanted rows; None, None where there is no row.

    Args:
        source: Rows with a time column.
    """
    time = pl.col(str(source.time))
    with _damage_named(source):
        first, last = source.rows.select(time.min().alias("first"), time.max().alias("last")).collect().row(0)
    return first, last


def newest_share_from(source: Source, share: float) -> Any:
    """The time of the first row of the newest share of the wanted rows; None where that share is less than a row.

    Args:
        source: Rows with a time column.
        share: From 0 to 1.
    """
    time = pl.col(str(source.time)).drop_nulls()
    with _damage_named(source):
        count = int(source.rows.select(time.len()).collect().item() * share)
        return source.rows.select(time.top_k(count).min()).collect().item() if count else None


def partitions(config: DataConfig) -> pl.DataFrame:
    """The partitions that hold wanted rows, the oldest first.

    Returns:
        A column for each name in the folders (`year=2024/month=03` has two), numbers and dates as such, sorted by them
        in their order; no column where the folders name none.

    Raises:
        DatasetError: As `find_source`.
    """
    source = find_source(config)
    table = _Table(config.path, _schemas(source.files), _partition_schema(source.files))
    keys = list(table.partitions)
    if not keys:
        return pl.DataFrame()
    rows = _filtered_rows(config, table, [], _condition(config.where))
    with _damage_named(source):
        return rows.select(keys).unique().drop_nulls().sort(keys).collect()


# ---------------------------------------------------------------- 2. what the rows hold


def survey(source: Source, drop_incomplete: bool) -> Survey:
    """Counts and ranges of the wanted columns, in one pass in bounded memory.

    Raises:
        DatasetError: A file turned out to be damaged, or files do not fit together.
    """
    columns = dict.fromkeys((*source.features, *source.target))
    incomplete = pl.any_horizontal(_is_missing(name) for name in source.features)
    used = ~incomplete if drop_incomplete else pl.lit(value=True)
    wanted = [pl.len().alias("found"), incomplete.sum().alias("incomplete")]
    for i, name in enumerate(columns):
        finite = pl.col(name).filter(used & pl.col(name).is_finite())
        wanted += [
            _is_missing(name).sum().alias(f"missing {i}"),
            (pl.col(name).is_infinite() & used).sum().alias(f"infinite {i}"),
            finite.min().alias(f"low {i}"),
            finite.max().alias(f"high {i}"),
        ]
    if source.time is not None:
        time = pl.col(source.time).filter(used)
        wanted += [time.min().alias("first"), time.max().alias("last"), time.null_count().alias("timeless")]
    with _damage_named(source):
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


# ---------------------------------------------------------------- 3. the rows


def read_dataset(
    source: Source, found: Survey, drop_incomplete: bool, dtype: type[np.floating[Any]] | None = None
) -> Dataset:
    """The rows in memory, read batch by batch into arrays made beforehand.

    Args:
        source: What to read.
        found: What is there.
        drop_incomplete: Whether to leave out rows that lack a feature.
        dtype: Of the features; None takes float32 where that can tell their values apart.

    Raises:
        DatasetError: A file is damaged, or the files changed since they were surveyed.
    """
    features = np.empty((found.used, len(source.features)), dtype=dtype or _feature_type(source, found))
    target = np.empty((found.used, len(source.target)), dtype=np.float64)
    time: list[NDArray[Any]] = []
    rows = _used_rows(source, drop_incomplete)
    start = 0
    with _damage_named(source):
        for batch in rows.collect_batches(chunk_size=BATCH_ROWS):
            stop = start + batch.height
            if stop > found.used:
                break
            features[start:stop] = batch.select(source.features).to_numpy()
            target[start:stop] = batch.select(source.target).to_numpy() if source.target else 0.0
            if source.time is not None:
                time.append(batch[source.time].to_physical().to_numpy())
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
    known = _used_rows(source, drop_incomplete).filter(~_is_missing(column))
    with _damage_named(source):
        return known.select(str(source.time)).collect().to_series()


def _used_rows(source: Source, drop_incomplete: bool) -> pl.LazyFrame:
    """The wanted rows, without those that lack a feature where these are to be left out."""
    if not drop_incomplete:
        return source.rows
    return source.rows.filter(~pl.any_horizontal(_is_missing(name) for name in source.features))


def _feature_type(source: Source, found: Survey) -> type[np.floating[Any]]:
    columns = [found.columns[name] for name in source.features]
    size_to_spread = [max(abs(c.low), abs(c.high)) / (c.high - c.low) for c in columns if c.high > c.low]
    if max(size_to_spread, default=0.0) <= FLOAT32_SIZE_TO_SPREAD:
        return np.float32
    logger.info("features are read as float64: one varies too little around a large value for float32")
    return np.float64


def content_digest(names: Sequence[str], *arrays: NDArray[Any] | None) -> str:
    """SHA-256 of column names and arrays; None stands for an array that is not there."""
    digest = hashlib.sha256("\0".join(names).encode())
    for array in arrays:
        if array is not None:
            digest.update(f"\0{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _is_missing(name: str) -> pl.Expr:
    return pl.col(name).is_null() | pl.col(name).is_nan().fill_null(value=False)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


# ---------------------------------------------------------------- errors


@contextmanager
def _damage_named(source: Source) -> Iterator[None]:
    """Turns an error of reading rows into one line that names the file to blame, where a single one is."""
    try:
        yield
    except (PolarsError, OSError) as error:
        culprit = next((file for file in source.files if not _readable(file)), source.path)
        raise DatasetError(f"data.path: {culprit} cannot be read: {_reason(error)}") from error


def _readable(file: Path) -> bool:
    try:
        pl.scan_parquet(file, glob=False).select(pl.all().null_count()).collect(engine="streaming")
    except (PolarsError, OSError):
        return False
    return True


@contextmanager
def _polars_errors(setting: str, value: str) -> Iterator[None]:
    """Turns what polars raises inside into one line about a setting."""
    try:
        yield
    except (PolarsError, OSError) as error:
        raise DatasetError(f"{setting}: {value}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].removeprefix("parquet: ").removeprefix("File out of specification: ")

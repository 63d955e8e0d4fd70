"""The files and columns that a configuration names; no row is read here."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import polars as pl
import pyarrow as pa

from pipelines.data import column_types as kinds
from pipelines.data.classes import ClassColumn, ClassKind, class_kind
from pipelines.data.columns import CategoryColumn, Column, column
from pipelines.data.conditions import Condition, parsed
from pipelines.data.files import data_files
from pipelines.data.footers import read_footers
from pipelines.data.partitions import named_by_folders, partition_value
from pipelines.data.past import Past
from pipelines.data.past_columns import PastColumn
from pipelines.data.remote import DataFile
from pipelines.data.rows import Rows
from pipelines.data.schemas import Table
from pipelines.errors import DatasetError
from pipelines.settings.columns import ColumnConfig
from pipelines.settings.sections import DataConfig
from pipelines.wording import counted, some


@dataclass(frozen=True)
class Source:
    """Files and columns, found and fit to be read; no row was read yet.

    Attributes:
        path: As configured.
        files: In the order in which they are read.
        columns: What the features are, patterns resolved; categories not fitted yet.
        features: Names of their numbers: of a feature that is a number, its own.
        target: Names of the targets.
        time: Name of the column that orders the rows, if any.
        notes: What was passed over or brought to a common form, a line each.
        rows: The wanted rows: features and targets as Float64, time in its type.
    """

    path: str
    files: tuple[DataFile, ...]
    columns: tuple[Column, ...]
    features: tuple[str, ...]
    target: tuple[str, ...]
    time: str | None
    notes: tuple[str, ...]
    rows: Rows = field(repr=False)

    @property
    def special(self) -> bool:
        """Whether a feature is more than a number."""
        return any(name in self.rows.columns for name in self.features)

    @property
    def classes(self) -> Mapping[str, ClassKind]:
        """Targets that are classes, and what their labels are."""
        found = {name: self.rows.columns.get(name) for name in self.target}
        return {name: each.labels_of for name, each in found.items() if isinstance(each, ClassColumn)}

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns whose values are read as texts and kept as codes: categories, and targets that are classes."""
        return (*self.categories, *self.classes)

    @property
    def categories(self) -> tuple[str, ...]:
        """Features whose values are read as texts."""
        return tuple(each.name for each in self.columns if isinstance(each, CategoryColumn))

    @property
    def time_type(self) -> pl.DataType | None:
        """Type of the time column, None without one."""
        return self.rows.time_type


def find_source(config: DataConfig) -> Source:
    """The files and columns that a configuration names.

    Raises:
        DatasetError: Missing path, files that are not (whole) Parquet, columns that are absent or not numeric, or of
            types that have nothing in common, a row filter that cannot be understood; every problem has its line.
    """
    table, notes = read_table(config.path)
    names = table.expanded(config.features, reserved=(*config.target, config.time or ""))
    declared, problems = _declared(config, names)
    columns = tuple(column(name, declared.get(name), kinds.zone_of(table.common(name)), config.time) for name in names)
    condition = None if config.where is None else parsed(config.where, table.names)
    rows = _rows(config, table, columns, declared, condition, problems)
    return Source(
        path=config.path,
        files=tuple(footer.file for footer in table.footers),
        columns=columns,
        features=tuple(number for each in columns for number in each.numbers),
        target=config.target,
        time=config.time,
        notes=(*notes, *table.passed_over(config.features), *(table.remarks(config.time) if config.time else ())),
        rows=rows,
    )


def read_table(path: str) -> tuple[Table, tuple[str, ...]]:
    """The columns of the files of a path, and what was passed over."""
    found = data_files(path)
    footers = read_footers(found.files, named_by_folders(found.files, found.root))
    filled = [footer for footer in footers if footer.rows]
    if not filled or len(filled) == len(footers):
        return Table(path, footers), found.notes
    empty = [footer.file.name for footer in footers if not footer.rows]
    return Table(path, filled), (*found.notes, f"{counted(len(empty), 'file')} without rows: {some(empty)}")


def _declared(config: DataConfig, features: Sequence[str]) -> tuple[dict[str, ColumnConfig], list[str]]:
    """What is said of features in `data.columns`, and a line for each name there that is of none."""
    found: dict[str, ColumnConfig] = {}
    problems = []
    for name, said in config.columns.items():
        matching = [name] if name in features else [each for each in features if fnmatchcase(each, name)]
        found |= {each: said for each in matching if each == name or each not in config.columns}
        if not matching:
            near = difflib.get_close_matches(name, features, n=1)
            hint = f"did you mean {near[0]}?" if near else "name it in data.features too"
            problems.append(f"data.columns: {name} is no feature: {hint}")
    return found, problems


def _rows(
    config: DataConfig,
    table: Table,
    columns: Sequence[Column],
    declared: Mapping[str, ColumnConfig],
    condition: Condition | None,
    problems: Sequence[str],
) -> Rows:
    """What is to be read.

    Raises:
        DatasetError: It cannot be.
    """
    about = list(condition.columns) if condition else []
    time = [config.time] if config.time else []
    backward = [each for each in columns if isinstance(each, PastColumn)]
    plain = [each.name for each in columns if each.name not in declared]
    said = [each.name for each in columns if each.name in declared and each not in backward]
    series = tuple(dict.fromkeys(name for each in backward for name in each.series))
    classes, odd = _classes(config, table)
    problems = [
        *problems,
        *odd.values(),
        *table.numeric_problems("data.features", plain),
        *table.presence_problems("data.features", said),
        *table.numeric_problems("data.target", [name for name in config.target if name not in (*classes, *odd)]),
        *table.presence_problems("data.target", [name for name in config.target if name in classes]),
        *table.presence_problems("data.time", time),
        *table.presence_problems("data.where", about),
        *_past_problems(table, backward),
    ]
    if not problems:
        problems = [
            *table.type_problems("data.columns", series),
            *table.type_problems("data.features", said),
            *table.kind_problems("data.columns", said),
            *table.type_problems("data.target", classes),
            *table.type_problems("data.time", time),
            *table.type_problems("data.where", about),
        ]
    problems = problems or [*_time_problems(config, table, backward), *_name_problems(columns)]
    if problems:
        raise DatasetError(*problems)
    numbers = tuple(dict.fromkeys((*plain, *(name for name in config.target if name not in classes))))
    types = dict.fromkeys(numbers, kinds.NUMBER)
    types |= {name: table.common(name) for name in (*said, *classes, *about, *time, *series)}
    types |= dict.fromkeys((each.name for each in backward), kinds.NUMBER)  # the last: no file has them
    special: dict[str, Column | ClassColumn] = {
        number: each for each in columns if each.name in declared for number in each.numbers
    }
    special |= classes
    past = _past(config.whole, table, backward) if backward else None
    rows = Rows(
        table.footers, types, table.partitions, numbers, special, config.time, config.start, config.end, condition, past
    )
    if condition is not None:
        condition.kept(pl.DataFrame(schema={name: kinds.in_polars(types[name]) for name in about}))
    return rows


def _past(config: DataConfig, table: Table, columns: Sequence[PastColumn]) -> Past:
    """Where lags and rolling means come from: all rows of the data."""
    condition = None if config.where is None else parsed(config.where, table.names)
    about = list(condition.columns) if condition else []
    values = tuple(dict.fromkeys(each.of for each in columns))
    names = dict.fromkeys(name for each in columns for name in each.sources)
    types = {name: table.common(name) for name in (*names, *about) if name not in values}
    types |= dict.fromkeys(values, kinds.NUMBER)
    rows = Rows(table.footers, types, table.partitions, values, {}, config.time, config.start, config.end, condition)
    return Past({each.name: each for each in columns}, rows.batches)


def _past_problems(table: Table, columns: Sequence[PastColumn]) -> Iterator[str]:
    """A line for each reason why lags and rolling means cannot be made."""
    for each in columns:
        if each.name in table.names:
            yield f"data.columns: {each.name} is a column of {table.path}: give the {each.kind} another name"
    yield from table.numeric_problems("data.columns", list(dict.fromkeys(each.of for each in columns)))
    yield from table.presence_problems("data.columns", dict.fromkeys(name for each in columns for name in each.series))


def _classes(config: DataConfig, table: Table) -> tuple[dict[str, ClassColumn], dict[str, str]]:
    """The targets that are classes, and of each that cannot be what is said of it a line that says so."""
    found, problems = {}, {}
    for name in config.target:
        stored = table.common(name)
        try:
            kind = None if stored is None else class_kind(stored, config.target_kind.get(name))
        except ValueError as error:
            problems[name] = f"data.target_kind: column {name!r} {error}"
            continue
        if kind is not None:
            found[name] = ClassColumn(name, kind)
    return found, problems


def _name_problems(columns: Sequence[Column]) -> Iterator[str]:
    """A line for each name that a feature would share with another."""
    names = [name for each in columns for name in dict.fromkeys((*each.numbers, *each.features))]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"data.columns: two features would be called {name!r}: rename a column"


def _time_problems(config: DataConfig, table: Table, backward: Sequence[PastColumn]) -> Iterator[str]:
    if config.time is None:
        return
    dtype = table.common(config.time) or pa.null()
    if not kinds.is_moment(dtype) and (not kinds.is_number(dtype) or dtype in (pa.bool_(), pa.null())):
        yield f"data.time: column {config.time!r} must hold dates, times or numbers, got {kinds.in_words(dtype)}"
    elif not kinds.is_moment(dtype) and (config.start or config.end):
        yield (
            f"data.start and data.end need dates or times in data.time, got {config.time!r} of type "
            f"{kinds.type_name(dtype)}: use data.where instead"
        )
    elif not kinds.is_moment(dtype) and backward:
        yield (
            f"data.columns: {backward[0].name} is a {backward[0].kind} and needs dates or times in data.time, got "
            f"{config.time!r} of type {kinds.type_name(dtype)}"
        )


def partitions(config: DataConfig) -> pl.DataFrame:
    """The partitions that hold wanted rows, the oldest first.

    Returns:
        A column for each name in the folders (`year=2024/month=03` has two), numbers and dates as such, sorted by them
        in their order; no column where the folders name none.

    Raises:
        DatasetError: As `find_source`.
    """
    rows = find_source(config).rows
    if not rows.partitions:
        return pl.DataFrame()
    said = [footer.partition for footer in rows.footers if rows.any_of(footer)]
    values = [[partition_value(texts.get(name), dtype) for name, dtype in rows.partitions.items()] for texts in said]
    schema = {name: kinds.in_polars(dtype) for name, dtype in rows.partitions.items()}
    return pl.DataFrame(values, schema=schema, orient="row").unique().drop_nulls().sort(pl.all())

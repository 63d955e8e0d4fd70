"""The column types of a dataset of many files, from their footers."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from pipelines.data.faults import polars_errors, reason
from pipelines.data.files import is_pattern
from pipelines.errors import DatasetError
from pipelines.wording import some


@dataclass(frozen=True)
class Table:
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
            if name not in known and is_pattern(name):
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
                    yield f"{setting}: column {name!r} must be numeric, got {type_in_words(dtype)}{where}"
                    break


def file_schemas(files: Iterable[Path]) -> dict[Path, Mapping[str, pl.DataType]]:
    """Column types by file, from the footers."""
    schemas: dict[Path, Mapping[str, pl.DataType]] = {}
    problems = []
    for file in files:
        try:
            schemas[file] = pl.read_parquet_schema(file)
        except (PolarsError, OSError) as error:
            problems.append(f"data.path: {file} is not a whole Parquet file: {reason(error)}")
    if problems:
        raise DatasetError(*problems)
    return schemas


def partition_schema(files: tuple[Path, ...]) -> Mapping[str, pl.DataType]:
    """Types of the columns that are folder names such as month=03 instead of being stored."""
    stored = pl.read_parquet_schema(files[0])
    with polars_errors("data.path", str(files[0].parent)):
        schema = pl.scan_parquet(list(files), hive_partitioning=True, glob=False).collect_schema()
    return {name: dtype for name, dtype in schema.items() if name not in stored}


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype == pl.Boolean


def type_in_words(dtype: pl.DataType) -> str:
    """What a column of this type holds, as a user would say it."""
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return "dates or times" if dtype.is_temporal() else str(dtype)

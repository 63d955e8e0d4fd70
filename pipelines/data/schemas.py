"""The columns of a dataset of many files, what type each has in which file, and what that rules out."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import pyarrow as pa

from pipelines.data import column_types as kinds
from pipelines.data.files import is_pattern
from pipelines.data.footers import Footer
from pipelines.data.partitions import partition_types
from pipelines.data.remote import DataFile
from pipelines.wording import agreeing, counted, some

LISTED = 20  # columns that a message names


class _Alike:
    """Columns of which the same is to be said: one line for all of them, not one each."""

    def __init__(self) -> None:
        self._columns: dict[str, list[str]] = {}

    def add(self, what: str, column: str) -> None:
        """Say that of a column."""
        self._columns.setdefault(what, []).append(column)

    def __iter__(self) -> Iterator[tuple[str, str, bool]]:
        """What is to be said, the columns by name, and whether these are several."""
        return ((what, _named(columns), len(columns) > 1) for what, columns in self._columns.items())


@dataclass(frozen=True)
class Table:
    """The column types of a dataset.

    Attributes:
        path: As configured.
        footers: Of its files, in the order in which they are read.
    """

    path: str
    footers: Sequence[Footer]

    @cached_property
    def partitions(self) -> Mapping[str, pa.DataType]:
        """Types of the columns that folder names say."""
        return partition_types(footer.partition for footer in self.footers)

    @cached_property
    def names(self) -> Sequence[str]:
        """All columns that any file has, in order of appearance."""
        stored = (name for footer in self.footers for name in (*footer.columns, *sorted(footer.repeated)))
        return list(dict.fromkeys((*stored, *self.partitions)))

    def types(self, name: str) -> dict[DataFile, pa.DataType]:
        """The type of a column in each file that has it. What a file stores counts before what its folder says."""
        said = self.partitions.get(name)
        found = {
            footer.file: footer.columns.get(name, said if name in footer.partition else None) for footer in self.footers
        }
        return {file: dtype for file, dtype in found.items() if dtype is not None}

    def common(self, name: str) -> pa.DataType | None:
        """The type that holds the values of a column in every file; None where there is none."""
        return kinds.common_type(set(self.types(name).values()))

    def expanded(self, names: Sequence[str], reserved: Sequence[str]) -> tuple[str, ...]:
        """Column names with patterns replaced by the columns that match, each column once.

        A pattern takes neither `reserved` columns nor those in which pandas and Dask keep the number of a row.
        """
        free = [name for name in self.names if name not in reserved and not _is_index(name)]
        found = {name: [name] if name in self.names else [k for k in free if fnmatchcase(k, name)] for name in names}
        return tuple(dict.fromkeys(column for name in names for column in (found[name] or [name])))

    # ------------------------------------------------------------ problems

    def presence_problems(self, setting: str, names: Iterable[str]) -> Iterator[str]:
        """A line for each way in which columns are not in every file, or twice in one."""
        twice, absent = _Alike(), _Alike()
        for name in names:
            if name not in self.names:
                yield f"{setting}: no column {self._unknown(name)}"
            elif repeating := [footer.file for footer in self.footers if name in footer.repeated]:
                twice.add(some(repeating), name)
            elif without := [footer.file for footer in self.footers if footer.file not in self.types(name)]:
                absent.add(some(without), name)
        for files, columns, many in twice:
            yield f"{setting}: {columns} {'occur' if many else 'occurs'} more than once in {files}: rename one of them"
        for files, columns, many in absent:
            it = "them" if many else "it"
            yield f"{setting}: no {columns} in {files}, though other files of the dataset have {it}"

    def _unknown(self, name: str) -> str:
        columns = f"columns are {some(self.names, LISTED)}" if self.names else "it has no columns"
        if is_pattern(name):
            return f"matches {name} in {self.path}: {columns}"
        if (parts := re.split(r"\s*[,;]\s*", name.strip())) != [name] and set(parts) & set(self.names):
            return f"{name!r} in {self.path}: several columns are a list, write [{', '.join(parts)}]"
        near = difflib.get_close_matches(name, self.names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else columns
        return f"{name!r} in {self.path}: {hint}"

    def numeric_problems(self, setting: str, names: Sequence[str]) -> Iterator[str]:
        """A line for each way in which columns are absent somewhere, or not made of numbers."""
        yield from self.presence_problems(setting, names)
        found = _Alike()
        for name in names:
            stored = self.types(name)
            odd = next((file for file, dtype in stored.items() if not _is_numeric(dtype)), None)
            if odd is not None:
                cure = _cure(stored[odd], is_feature=setting == "data.features")
                found.add(f"{self._beside(stored, odd)}{cure}", name)
        for what, columns, _ in found:
            yield f"{setting}: {columns} must be numeric, got {what}"

    @staticmethod
    def _beside(stored: Mapping[DataFile, pa.DataType], odd: DataFile) -> str:
        """What an odd file holds, and what another one does where they differ."""
        other = next((file for file, dtype in stored.items() if _is_numeric(dtype)), None)
        if other is None:
            return kinds.in_words(stored[odd])
        return f"{kinds.type_name(stored[odd])} in {odd}, and {kinds.type_name(stored[other])} in {other}"

    def type_problems(self, setting: str, names: Iterable[str]) -> Iterator[str]:
        """A line for each column whose types have nothing in common, or a time zone that nobody knows."""
        for name in names:
            stored = self.types(name)
            for file, dtype in stored.items():
                if zone := kinds.unknown_zone(dtype):
                    yield f"{setting}: column {name!r} has the time zone {zone!r} in {file}, which is not known"
                    break
                if kinds.common_type({next(iter(stored.values())), dtype}) is None:
                    first, had = next(iter(stored.items()))
                    yield (
                        f"{setting}: column {name!r} is {kinds.type_name(had)} in {first}, but "
                        f"{kinds.type_name(dtype)} in {file}: no type holds both safely, {_way_out(had, dtype)}"
                    )
                    break

    def kind_problems(self, setting: str, names: Iterable[str]) -> Iterator[str]:
        """A line for each column of a type that no feature is made of, whatever is said of it."""
        for name in names:
            dtype = self.common(name)
            if dtype is not None and not kinds.makes_features(dtype):
                yield (
                    f"{setting}: column {name!r} holds {kinds.type_name(dtype)}, which no feature is made of: write it "
                    "as numbers, such as the seconds of a duration"
                )

    # ------------------------------------------------------------ remarks

    def remarks(self, name: str) -> Iterator[str]:
        """What should be known of a column whose types are brought to a common one."""
        found = self.types(name).values()
        zones = sorted({dtype.tz for dtype in found if kinds.has_zone(dtype)})
        if len(zones) > 1:
            yield f"column {name!r} has times of {counted(len(zones), 'zone')}, {some(zones)}: they are read as UTC"

    def passed_over(self, names: Iterable[str]) -> Iterator[str]:
        """What patterns among these names would match, and do not take."""
        index = [k for k in self.names if _is_index(k) and any(k != name and fnmatchcase(k, name) for name in names)]
        if index:
            yield f"{_named(index)} not taken by a pattern: pandas or Dask keeps the numbers of rows there"


def _named(columns: Sequence[str]) -> str:
    return f"{agreeing(len(columns), 'column', 'columns')} {some([repr(name) for name in columns])}"


def _is_index(name: str) -> bool:
    return not name or re.fullmatch(r"__index_level_\d+__|__null_dask_index__", name) is not None


def _is_numeric(dtype: pa.DataType) -> bool:
    return kinds.is_number(kinds.value_type(dtype))


def _cure(dtype: pa.DataType, is_feature: bool) -> str:
    text = kinds.in_words(dtype) in ("text", "bytes")
    if is_feature and text:
        return ": say in data.columns what it is, such as city: category or grade: ordinal with its order"
    if is_feature and kinds.is_moment(dtype):
        return ": data.columns takes parts of it, such as when: time; data.time orders the rows by it"
    return ": text must become numbers first, such as a column of 0 and 1 for each class" if text else ""


def _way_out(first: pa.DataType, second: pa.DataType) -> str:
    if kinds.is_moment(first) and kinds.is_moment(second):
        return "write all files with a time zone, or all without one"
    return "write both files with one type, or leave one of them out of data.path"

"""The columns of a dataset of many files, what type each has in which file, and what that rules out."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from pipelines.data import column_types as kinds
from pipelines.data.files import is_pattern
from pipelines.data.footers import Footer
from pipelines.data.partitions import partition_types
from pipelines.wording import counted, some

LISTED = 20  # columns that a message names


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

    def types(self, name: str) -> dict[Path, pa.DataType]:
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
        """Column names with patterns replaced by the columns that match, `reserved` ones excepted; each column once."""
        free = [name for name in self.names if name not in reserved]
        found = {name: [name] if name in self.names else [k for k in free if fnmatchcase(k, name)] for name in names}
        return tuple(dict.fromkeys(column for name in names for column in (found[name] or [name])))

    # ------------------------------------------------------------ problems

    def presence_problems(self, setting: str, names: Iterable[str]) -> Iterator[str]:
        """A line for each column that is not in every file, or twice in one."""
        for name in names:
            if name not in self.names:
                yield f"{setting}: no column {self._unknown(name)}"
            elif twice := [footer.file for footer in self.footers if name in footer.repeated]:
                yield f"{setting}: column {name!r} occurs more than once in {some(twice)}: rename one of them"
            elif without := [footer.file for footer in self.footers if footer.file not in self.types(name)]:
                yield f"{setting}: no column {name!r} in {some(without)}, though other files of the dataset have it"

    def _unknown(self, name: str) -> str:
        columns = f"columns are {some(self.names, LISTED)}"
        if is_pattern(name):
            return f"matches {name} in {self.path}: {columns}"
        near = difflib.get_close_matches(name, self.names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else columns
        return f"{name!r} in {self.path}: {hint}"

    def numeric_problems(self, setting: str, names: Sequence[str]) -> Iterator[str]:
        """A line for each column that is absent somewhere, or not made of numbers."""
        yield from self.presence_problems(setting, names)
        for name in names:
            stored = self.types(name)
            odd = next((file for file, dtype in stored.items() if not _is_numeric(dtype)), None)
            if odd is not None:
                yield f"{setting}: column {name!r} must be numeric, got {self._beside(stored, odd)}{_cure(stored[odd])}"

    @staticmethod
    def _beside(stored: Mapping[Path, pa.DataType], odd: Path) -> str:
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

    # ------------------------------------------------------------ remarks

    def remarks(self, name: str) -> Iterator[str]:
        """What should be known of a column whose types are brought to a common one."""
        found = self.types(name).values()
        zones = sorted({dtype.tz for dtype in found if kinds.has_zone(dtype)})
        if len(zones) > 1:
            yield f"column {name!r} has times of {counted(len(zones), 'zone')}, {some(zones)}: they are read as UTC"


def _is_numeric(dtype: pa.DataType) -> bool:
    return kinds.is_number(kinds.value_type(dtype))


def _cure(dtype: pa.DataType) -> str:
    if kinds.in_words(dtype) != "text":
        return ""
    return ": text must become numbers first, such as a column of 0 and 1 for each class or category"


def _way_out(first: pa.DataType, second: pa.DataType) -> str:
    if kinds.is_moment(first) and kinds.is_moment(second):
        return "write all files with a time zone, or all without one"
    return "write both files with one type, or leave one of them out of data.path"

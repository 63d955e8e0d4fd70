"""Columns that are names of folders, such as year=2024/month=03, as Hive and Spark write them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from pathlib import PurePath
from urllib.parse import unquote

import pyarrow as pa

from pipelines.data.remote import DataFile
from pipelines.errors import DatasetError

MISSING = "__HIVE_DEFAULT_PARTITION__"
LARGEST = 2**63 - 1

Value = int | float | date | str | None


def named_by_folders(files: Sequence[DataFile], root: PurePath) -> dict[DataFile, dict[str, str | None]]:
    """What the folders of each file say: those below `root`, and those like them in a row that `root` lies in.

    Names and values are decoded where a writer had to encode them (%20, %2F).

    Raises:
        DatasetError: Two folders of a file say different values of one name.
    """
    above: list[str] = []
    for folder in (root, *root.parents):
        if "=" not in folder.name:
            break
        above.insert(0, folder.name)
    return {file: _pairs(file, (*above, *file.relative_to(root).parts[:-1])) for file in files}


def _pairs(file: DataFile, folders: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for folder in folders:
        encoded, equals, text = folder.partition("=")
        if not encoded or not equals:
            continue
        name, value = unquote(encoded), None if text == MISSING else unquote(text)
        if found.setdefault(name, value) != value:
            raise DatasetError(
                f"data.path: the folders of {file} say {name}={found[name]} and {name}={value}: rename one of them"
            )
    return found


def partition_types(partitions: Iterable[Mapping[str, str | None]]) -> dict[str, pa.DataType]:
    """The type of each column: whole numbers, numbers or dates where all its values are, else text."""
    texts: dict[str, set[str]] = {}
    for partition in partitions:
        for name, text in partition.items():
            texts.setdefault(name, set()).update([] if text is None else [text])
    return {name: _type(values) for name, values in texts.items()}


def partition_value(text: str | None, dtype: pa.DataType) -> Value:
    """A value of a column of that type, see `partition_types`."""
    return None if text is None else next(parse for kind, _, parse in _KINDS if kind == dtype)(text)


def _type(texts: Iterable[str]) -> pa.DataType:
    return next(kind for kind, fits, _ in _KINDS if all(fits(text) for text in texts))


def _is_whole(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,19}", text, re.ASCII) is not None and abs(int(text)) <= LARGEST


def _is_decimal(text: str) -> bool:
    return _is_whole(text) or re.fullmatch(r"-?\d+\.\d+([eE][+-]?\d+)?", text, re.ASCII) is not None


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None


_KINDS: Sequence[tuple[pa.DataType, Callable[[str], bool], Callable[[str], Value]]] = (
    (pa.int64(), _is_whole, int),
    (pa.float64(), _is_decimal, float),
    (pa.date32(), _is_date, date.fromisoformat),
    (pa.large_string(), lambda text: True, str),
)

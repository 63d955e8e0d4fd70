"""Errors of reading, as one line each that names the file or the setting to blame."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from pipelines.errors import DatasetError


@contextmanager
def damage_named(files: Sequence[Path], path: str) -> Iterator[None]:
    """Turns an error of reading rows into one line that names the file to blame, where a single one is."""
    try:
        yield
    except (PolarsError, OSError) as error:
        culprit = next((file for file in files if not _readable(file)), path)
        raise DatasetError(f"data.path: {culprit} cannot be read: {reason(error)}") from error


def _readable(file: Path) -> bool:
    try:
        pl.scan_parquet(file, glob=False).select(pl.all().null_count()).collect(engine="streaming")
    except (PolarsError, OSError):
        return False
    return True


@contextmanager
def polars_errors(setting: str, value: str) -> Iterator[None]:
    """Turns what polars raises inside into one line about a setting."""
    try:
        yield
    except (PolarsError, OSError) as error:
        raise DatasetError(f"{setting}: {value}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of an error's text, without what polars puts before it."""
    return str(error).strip().partition("\n")[0].removeprefix("parquet: ").removeprefix("File out of specification: ")

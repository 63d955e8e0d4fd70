"""Errors of reading, as one line each that names the file or the setting to blame."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from pipelines.data.remote import DataFile, RemoteFile, in_words
from pipelines.errors import DatasetError

# What pyarrow raises of a file that is not as it should be; a KeyError is a column that is gone.
READING = (pa.ArrowException, OSError, KeyError, UnicodeDecodeError)


@contextmanager
def damage_named(file: DataFile) -> Iterator[None]:
    """Turns an error of reading rows of a file into one line that names it."""
    try:
        yield
    except READING as error:
        raise DatasetError(f"data.path: {file} cannot be read: {reason(error, file)}") from error


@contextmanager
def polars_errors(setting: str, value: str) -> Iterator[None]:
    """Turns what polars raises inside into one line about a setting."""
    try:
        yield
    except (PolarsError, pl.exceptions.PanicException) as error:
        raise DatasetError(f"{setting}: {value}: {reason(error)}") from error


def reason(error: BaseException, file: DataFile | None = None) -> str:
    """The first line of an error's text; of a file in a store what the error means there."""
    if isinstance(file, RemoteFile) and isinstance(error, OSError):
        return in_words(error, file.address)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip().partition("\n")[0]

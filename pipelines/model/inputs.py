"""Rows that a model is asked about, in any of the forms that tables have in Python, as a matrix of float64."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.errors import ModelError
from pipelines.wording import some

NAMES_SHOWN = 20

Matrix = NDArray[np.float64]


def read_rows(rows: Any, features: Sequence[str]) -> tuple[Matrix, pd.Index]:
    """The values of the features, and the index of the rows.

    Args:
        rows: A pandas, polars or Arrow table, a dict of columns or a list of dicts, whose columns are found by name,
            others are ignored; or a NumPy array or list of lists of shape (n, d) in the order of the features. Whole
            numbers, booleans (1 and 0), decimals and floats of any width are taken, with nulls in whatever form.
        features: The d columns that are needed.

    Returns:
        Values (n, d), NaN where there is none; the index of a pandas frame, else 0 to n - 1.

    Raises:
        ModelError: A column is absent, there twice, or holds what is no number; rows are of another form.
    """
    if isinstance(rows, pd.DataFrame):
        require_columns("input", list(rows.columns), features)
        return _matrix({name: _from_pandas(name, rows[name]) for name in features}, len(rows)), rows.index
    values = _without_index(rows, features)
    return values, pd.RangeIndex(len(values))


def require_columns(what: str, columns: Sequence[Any], features: Sequence[str]) -> None:
    """Refuse columns that lack a feature, or have one twice."""
    known = set(columns)
    absent = [name for name in features if name not in known]
    if absent:
        raise ModelError(
            f"{what} must have the columns {some(features, NAMES_SHOWN)}; absent: {some(absent, NAMES_SHOWN)}"
        )
    if len(known) < len(columns):
        twice = [name for name in features if columns.count(name) > 1]
        if twice:
            raise ModelError(f"{what} must have each column once, got {some(twice)} twice")


def _without_index(rows: Any, features: Sequence[str]) -> Matrix:
    if isinstance(rows, pa.Table | pa.RecordBatch):
        require_columns("input", rows.schema.names, features)
        rows = pl.from_arrow(rows.select(list(features)))
    if isinstance(rows, pl.DataFrame):
        require_columns("input", rows.columns, features)
        return _matrix({name: _from_polars(name, rows[name]) for name in features}, len(rows))
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        require_columns("input", rows.dtype.names, features)
        return _matrix({name: _from_pandas(name, pd.Series(rows[name])) for name in features}, len(rows))
    if isinstance(rows, np.ndarray):
        return _from_array(rows, features)
    if isinstance(rows, Mapping):
        return _from_columns(rows, features)
    if isinstance(rows, list | tuple):
        return _from_records(rows, features)
    raise ModelError(
        "input must be a pandas or polars DataFrame, an Arrow table, a NumPy array, a dict of columns, or a list of "
        f"dicts or rows, got {type(rows).__name__}"
    )


def _from_array(rows: NDArray[Any], features: Sequence[str]) -> Matrix:
    if rows.ndim != 2 or rows.shape[1] != len(features):
        raise ModelError(
            f"an array must have a row for each sample and a column for each of {some(features, NAMES_SHOWN)}, in "
            f"this order: shape (n, {len(features)}), got {rows.shape}"
        )
    if rows.dtype.kind in "biuf":
        return rows.astype(np.float64)
    columns = {name: _from_pandas(name, pd.Series(rows[:, i])) for i, name in enumerate(features)}
    return _matrix(columns, len(rows))


def _from_columns(rows: Mapping[Any, Any], features: Sequence[str]) -> Matrix:
    require_columns("input", list(rows), features)
    columns = {}
    for name in features:
        column = rows[name]
        if not isinstance(column, list | tuple | np.ndarray | pd.Series | pl.Series) or np.ndim(column) != 1:
            raise ModelError(f"column {name} must be a list of numbers, got {type(column).__name__}")
        made = _from_polars(name, column) if isinstance(column, pl.Series) else _from_pandas(name, _series(column))
        columns[name] = made
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        unequal = some([f"{name} {length}" for name, length in lengths.items()], NAMES_SHOWN)
        raise ModelError(f"columns must be of one length, got {unequal}")
    return _matrix(columns, lengths[features[0]])


def _from_records(rows: Sequence[Any], features: Sequence[str]) -> Matrix:
    named = bool(rows) and isinstance(rows[0], Mapping)
    for i, row in enumerate(rows):
        if named and isinstance(row, Mapping):
            absent = [name for name in features if name not in row]
            if absent:
                raise ModelError(f"row {i} must have a value or None for each column; absent: {some(absent)}")
        elif named or not isinstance(row, list | tuple | np.ndarray) or np.shape(row) != (len(features),):
            form = "a dict, as row 0 is" if named else f"a list of {len(features)} values"
            raise ModelError(f"row {i} must be {form}, got {_called(row)}")
    keys: Sequence[Any] = features if named else range(len(features))
    columns = zip(features, keys, strict=True)
    return _matrix({name: _from_pandas(name, _series([row[key] for row in rows])) for name, key in columns}, len(rows))


def _called(row: Any) -> str:
    return f"one of {len(row)}" if isinstance(row, list | tuple) else type(row).__name__


def _series(column: Any) -> "pd.Series[Any]":
    """As it is where it has a type; a plain list as objects, which are looked at one by one."""
    return pd.Series(column, dtype=object) if isinstance(column, list | tuple) else pd.Series(column)


def _matrix(columns: Mapping[str, Matrix], rows: int) -> Matrix:
    return np.column_stack(list(columns.values())) if columns else np.empty((rows, 0))


def _from_pandas(name: str, column: "pd.Series[Any]") -> Matrix:
    kind = column.dtype
    if pd.api.types.is_object_dtype(kind):
        return _from_objects(name, column.to_numpy())
    if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)) or pd.api.types.is_complex_dtype(
        kind
    ):
        raise ModelError(f"column {name} must hold numbers, got the type {kind}")
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _from_polars(name: str, column: pl.Series) -> Matrix:
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        if column.dtype == pl.Object:
            return _from_objects(name, np.array(column.to_list(), dtype=object))
        raise ModelError(f"column {name} must hold numbers, got the type {column.dtype}")
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


def _from_objects(name: str, values: NDArray[Any]) -> Matrix:
    """Python's own numbers, or NumPy's, beside None, NaN and pandas' NA."""
    numbers = np.empty(len(values))
    for i, value in enumerate(values):
        if value is None or value is pd.NA:
            numbers[i] = np.nan
        elif isinstance(value, Real | Decimal | np.bool_):
            try:
                numbers[i] = float(value)
            except OverflowError:
                raise ModelError(f"column {name} must hold numbers, got one beyond 1.8e308 in row {i}") from None
        else:
            raise ModelError(f"column {name} must hold numbers, got {value!r:.40} in row {i}")
    return numbers

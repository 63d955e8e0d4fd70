"""Rows that a model is asked about, in any of the forms that tables have in Python, as a matrix of numbers."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any, Union

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.data.columns import CategoryColumn, Column
from pipelines.data.encoding import Encoding
from pipelines.data.labels import mapped, moments, numbers
from pipelines.data.past import Past
from pipelines.data.past_columns import PastColumn
from pipelines.errors import ModelError
from pipelines.wording import some

NAMES_SHOWN = 20

Matrix = NDArray[np.float64]
RawColumn = Union["pd.Series[Any]", pl.Series]


def read_rows(rows: Any, features: Sequence[str], encoding: Encoding | None = None) -> tuple[Matrix, pd.Index]:
    """The numbers of the features, and the index of the rows.

    Args:
        rows: A pandas, polars or Arrow table, a dict of columns or a list of dicts, whose columns are found by name,
            others are ignored; or a NumPy array or list of lists of shape (n, d) in the order of the features. Whole
            numbers, booleans (1 and 0), decimals and floats of any width are taken, with nulls in whatever form.
        features: The columns that are needed.
        encoding: What they are; None: numbers. Texts, dates and times are taken where it has columns of them; a value
            of a category that it does not know gets the code beyond the last one.

    Returns:
        Numbers (n, r), NaN where there is none; the index of a pandas frame, else 0 to n - 1.

    Raises:
        ModelError: A column is absent, there twice, or holds what is no number; rows are of another form.
    """
    if isinstance(rows, pd.DataFrame):
        require_columns("input", list(rows.columns), features, encoding)
        return _matrix({name: rows[name] for name in features}, len(rows), encoding), rows.index
    values = _without_index(rows, features, encoding)
    return values, pd.RangeIndex(len(values))


def require_columns(
    what: str, columns: Sequence[Any], features: Sequence[str], encoding: Encoding | None = None
) -> None:
    """Refuse columns that lack a feature, or have one twice; arguments as in `read_rows`."""
    known = set(columns)
    absent = [name for name in features if name not in known]
    if absent:
        raise ModelError(
            f"{what} must have the columns {some(features, NAMES_SHOWN)}; absent: {some(absent, NAMES_SHOWN)}"
            f"{_meanings(absent, encoding)}"
        )
    if len(known) < len(columns):
        twice = [name for name in features if columns.count(name) > 1]
        if twice:
            raise ModelError(f"{what} must have each column once, got {some(twice)} twice")


def _meanings(absent: Sequence[str], encoding: Encoding | None) -> str:
    """What is to be given for columns that no table has by itself."""
    known = {} if encoding is None else {each.name: each for each in encoding.columns if isinstance(each, PastColumn)}
    said = [f"{name} is {known[name].meaning}" for name in absent if name in known]
    return (
        f"; {some(said, NAMES_SHOWN)}: rows hold it as a number, `MapModel.with_past` makes it of earlier rows"
        if said
        else ""
    )


def with_past(rows: pd.DataFrame | pl.DataFrame, columns: Sequence[Column]) -> pd.DataFrame | pl.DataFrame:
    """A table with the lags and rolling means among columns, of its own rows; missing where these go back too little.

    Raises:
        ModelError: A column that they are made of is absent, there twice, or of another type.
    """
    backward = {each.name: each for each in columns if isinstance(each, PastColumn)}
    if not backward:
        return rows
    past = Past(backward, lambda names: [sources.select(names)])
    require_columns("input", list(rows.columns), past.sources)
    values = {each.of for each in backward.values()}
    times = {each.time for each in backward.values()}
    made = []
    for name in past.sources:
        column = as_polars(rows[name])
        try:
            column = moments(column, None) if name in times else numbers(column) if name in values else column
        except ValueError as error:
            raise ModelError(f"column {name} {error}") from None
        made.append(column.alias(name))
    sources = pl.DataFrame(made)
    found = past.beside(sources, list(backward)).select(list(backward))
    if isinstance(rows, pl.DataFrame):
        return rows.with_columns(found.get_columns())
    return rows.assign(**{name: found[name].to_numpy() for name in backward})


def _without_index(rows: Any, features: Sequence[str], encoding: Encoding | None) -> Matrix:
    if isinstance(rows, pa.Table | pa.RecordBatch):
        require_columns("input", rows.schema.names, features, encoding)
        rows = pl.from_arrow(_plain_decimals(rows.select(list(features))))
    if isinstance(rows, pl.DataFrame):
        require_columns("input", rows.columns, features, encoding)
        return _matrix({name: rows[name] for name in features}, len(rows), encoding)
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        require_columns("input", rows.dtype.names, features, encoding)
        return _matrix({name: pd.Series(rows[name]) for name in features}, len(rows), encoding)
    if isinstance(rows, np.ndarray):
        return _from_array(rows, features, encoding)
    if isinstance(rows, Mapping):
        return _from_columns(rows, features, encoding)
    if isinstance(rows, list | tuple):
        return _from_records(rows, features, encoding)
    raise ModelError(
        "input must be a pandas or polars DataFrame, an Arrow table, a NumPy array, a dict of columns, or a list of "
        f"dicts or rows, got {type(rows).__name__}"
    )


def _plain_decimals(rows: "pa.Table | pa.RecordBatch") -> "pa.Table | pa.RecordBatch":
    """Arrow rows with decimals as floats: polars ends the process at those of 256 bits."""
    fields = [
        pa.field(field.name, pa.float64() if pa.types.is_decimal(field.type) else field.type) for field in rows.schema
    ]
    return rows.cast(pa.schema(fields), safe=False)


def _from_array(rows: NDArray[Any], features: Sequence[str], encoding: Encoding | None) -> Matrix:
    if rows.ndim != 2 or rows.shape[1] != len(features):
        raise ModelError(
            f"an array must have a row for each sample and a column for each of {some(features, NAMES_SHOWN)}, in "
            f"this order: shape (n, {len(features)}), got {rows.shape}"
        )
    if rows.dtype.kind in "biuf" and encoding is None:
        return rows.astype(np.float64)
    return _matrix({name: pd.Series(rows[:, i]) for i, name in enumerate(features)}, len(rows), encoding)


def _from_columns(rows: Mapping[Any, Any], features: Sequence[str], encoding: Encoding | None) -> Matrix:
    require_columns("input", list(rows), features, encoding)
    columns = {}
    for name in features:
        column = rows[name]
        if not isinstance(column, list | tuple | np.ndarray | pd.Series | pl.Series) or np.ndim(column) != 1:
            raise ModelError(f"column {name} must be a list of numbers, got {type(column).__name__}")
        columns[name] = column if isinstance(column, pl.Series) else _series(column)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        unequal = some([f"{name} {length}" for name, length in lengths.items()], NAMES_SHOWN)
        raise ModelError(f"columns must be of one length, got {unequal}")
    return _matrix(columns, lengths[features[0]], encoding)


def _from_records(rows: Sequence[Any], features: Sequence[str], encoding: Encoding | None) -> Matrix:
    named = bool(rows) and isinstance(rows[0], Mapping)
    for i, row in enumerate(rows):
        if named and isinstance(row, Mapping):
            absent = [name for name in features if name not in row]
            if absent:
                raise ModelError(
                    f"row {i} must have a value or None for each column; absent: {some(absent)}"
                    f"{_meanings(absent, encoding)}"
                )
        elif named or not isinstance(row, list | tuple | np.ndarray) or np.shape(row) != (len(features),):
            form = "a dict, as row 0 is" if named else f"a list of {len(features)} values"
            raise ModelError(f"row {i} must be {form}, got {_called(row)}")
    keys: Sequence[Any] = features if named else range(len(features))
    columns = zip(features, keys, strict=True)
    return _matrix({name: _series([row[key] for row in rows]) for name, key in columns}, len(rows), encoding)


def _called(row: Any) -> str:
    return f"one of {len(row)}" if isinstance(row, list | tuple) else type(row).__name__


def _series(column: Any) -> "pd.Series[Any]":
    """As it is where it has a type; a plain list as objects, which are looked at one by one."""
    return pd.Series(column, dtype=object) if isinstance(column, list | tuple) else pd.Series(column)


def _matrix(columns: Mapping[str, RawColumn], rows: int, encoding: Encoding | None) -> Matrix:
    """The numbers (n, r) of columns of length n."""
    if encoding is not None:
        return np.column_stack([_encoded(each, columns[each.name]) for each in encoding.columns])
    values = [
        _from_polars(name, values) if isinstance(values, pl.Series) else _from_pandas(name, values)
        for name, values in columns.items()
    ]
    return np.column_stack(values) if values else np.empty((rows, 0))


def _encoded(column: Column, values: RawColumn) -> Matrix:
    """The numbers (n, j) of a column."""
    try:
        if not column.takes_text:
            made = _from_polars if isinstance(values, pl.Series) else _from_pandas
            return made(column.name, values)[:, None]  # type: ignore[arg-type]  # each takes what it is chosen for
        read = column.read(as_polars(values))
    except ValueError as error:
        raise ModelError(f"column {column.name} {error}") from None
    if isinstance(column, CategoryColumn):
        read = [mapped(labels, lambda text: float(column.codes([text])[0]), pl.Float64()) for labels in read]
    return np.column_stack([each.fill_null(np.nan).to_numpy() for each in read])


def as_polars(values: RawColumn) -> pl.Series:
    """A column of whatever kind as one of polars, with null where a value is missing.

    Raises:
        ValueError: Its values are of several kinds.
    """
    if isinstance(values, pl.Series):  # whose methods take a name such as ^x.*$ for a pattern
        return values.alias("values") if values.dtype != pl.Object else _of_python(values.to_list())
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        zone = getattr(values.dtype, "tz", None)
        moments = values if zone is None else values.dt.tz_convert("UTC").dt.tz_localize(None)
        found = pl.Series("values", moments.to_numpy(dtype="datetime64[us]"))
        return found if zone is None else found.dt.replace_time_zone("UTC")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf":
        return pl.Series("values", values.to_numpy())
    return _of_python(values.astype(object).tolist())


def _of_python(values: Sequence[Any]) -> pl.Series:
    """A column of Python's own values, or NumPy's and pandas', in one type; whole numbers and floats are one kind."""
    plain = [None if _is_none(value) else _plain(value) for value in values]
    kinds = {float if isinstance(value, int) and not isinstance(value, bool) else type(value) for value in plain} - {
        type(None)
    }
    if len(kinds) > 1:
        raise ValueError(f"must hold values of one kind, got {' and '.join(sorted(kind.__name__ for kind in kinds))}")
    if kinds and not kinds <= {str, bytes, bool, float, datetime, date, Decimal}:
        raise ValueError(f"must hold texts, numbers, dates or times, got {kinds.pop().__name__}")
    numbers = kinds == {float}
    return pl.Series("values", [float(v) if numbers and v is not None else v for v in plain], strict=False)


def _plain(value: Any) -> Any:
    """A value as Python's own."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    return value.item() if isinstance(value, np.generic) else value


def _is_none(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


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
    return column.alias("values").cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)


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

"""The requests that `mlflow models serve` takes, read into a frame of numbers, and the answers that it gives.

    {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}}
    {"dataframe_records": [{"a": 1.0, "b": 2.0}]}
    {"instances": ...} or {"inputs": ...}     records, rows in the order of the features, or columns {"a": [1.0], ...}

Columns that the model does not know are ignored, in any format. What MLflow takes for something else without a word is
refused here: text that looks like a number, a value that one record lacks, two columns of one name.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pydantic_core

from pipelines.errors import ModelError
from pipelines.wording import some

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
NAMES_SHOWN = 20
NUMBERS = (int, float, type(None))  # by exact type: a bool is an int to isinstance


def read_json(body: bytes, features: Sequence[str]) -> pd.DataFrame:
    """The rows of a JSON request.

    Args:
        body: The request.
        features: Columns that the model needs.

    Returns:
        float64, one row a sample, the columns `features` in their order; null is NaN.

    Raises:
        ModelError: It is no JSON, has none or several of the formats, lacks a column or a value, or holds what is
            neither a number nor null.
    """
    try:
        content = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ModelError(f"request must be JSON: {error}") from None
    return _frame(_values(*_only_format(content), features), features)


def read_csv(body: bytes, features: Sequence[str]) -> pd.DataFrame:
    """The rows of a CSV request with a header; an empty field is NaN. See `read_json`."""
    try:
        table = pd.read_csv(BytesIO(body))
    except ValueError as error:
        raise ModelError(f"request must be CSV with a header: {str(error).strip()}") from None
    _require_columns(list(table.columns), features)
    chosen = table.loc[:, list(features)]
    text = [name for name, kind in chosen.dtypes.items() if kind.kind not in "iuf"]
    if text and len(chosen):
        raise ModelError(f"request must hold numbers, got something else in the columns {some(text, NAMES_SHOWN)}")
    return chosen.astype("float64")


def write_json(answer: pd.DataFrame) -> bytes:
    """An answer as `{"predictions": [...]}` with a record for each row; NaN is null."""
    return pydantic_core.to_json({"predictions": answer.to_dict(orient="records")}, inf_nan_mode="null")


def _only_format(content: Any) -> tuple[str, Any]:
    """The name of the one format that is there, and what stands under it."""
    if not isinstance(content, Mapping):
        raise ModelError(f"request must be an object with one of {', '.join(FORMATS)}, got {_kind(content)}")
    given = [name for name in FORMATS if name in content]
    if len(given) != 1:
        raise ModelError(f"request must have exactly one of {', '.join(FORMATS)}, got {some(list(content)) or 'none'}")
    unknown = [name for name in content if name != given[0] and content[name]]
    if unknown:
        raise ModelError(f"request takes nothing beside {given[0]}, got {some(unknown)}")
    return given[0], content[given[0]]


def _values(name: str, content: Any, features: Sequence[str]) -> Sequence[Sequence[Any]]:
    """The values of the features, row by row."""
    if name == "dataframe_split":
        return _from_split(content, features)
    if isinstance(content, Mapping) and name == "inputs":
        return _from_columns(content, features)
    if not isinstance(content, list):
        raise ModelError(f"{name} must be a list of rows, got {_kind(content)}")
    if name == "dataframe_records" or (content and isinstance(content[0], Mapping)):
        return _from_records(name, content, features)
    _require_rows(name, content, len(features))
    return content


def _from_split(content: Any, features: Sequence[str]) -> list[list[Any]]:
    if not isinstance(content, Mapping) or not {"columns", "data"} <= set(content):
        raise ModelError("dataframe_split must be an object with columns and data")
    columns, data = content["columns"], content["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ModelError("dataframe_split.columns must be a list of names")
    if not isinstance(data, list):
        raise ModelError(f"dataframe_split.data must be a list of rows, got {_kind(data)}")
    _require_columns(columns, features)
    _require_rows("dataframe_split.data", data, len(columns))
    places = [columns.index(name) for name in features]
    return [[row[place] for place in places] for row in data]


def _from_records(name: str, content: Sequence[Any], features: Sequence[str]) -> list[list[Any]]:
    for i, record in enumerate(content):
        if not isinstance(record, Mapping):
            raise ModelError(f"{name}[{i}] must be an object of names and values, got {_kind(record)}")
        absent = [feature for feature in features if feature not in record]
        if absent:
            raise ModelError(
                f"{name}[{i}] must have the columns {some(features, NAMES_SHOWN)}; absent: {some(absent, NAMES_SHOWN)} "
                "(a missing value is null)"
            )
    return [[record[feature] for feature in features] for record in content]


def _from_columns(content: Mapping[str, Any], features: Sequence[str]) -> list[tuple[Any, ...]]:
    _require_columns(list(content), features)
    columns = [content[name] for name in features]
    for name, column in zip(features, columns, strict=True):
        if not isinstance(column, list) or len(column) != len(columns[0]):
            raise ModelError(f"inputs.{name} must be a list of values, as long as those of the other columns")
    return list(zip(*columns, strict=True))


def _require_columns(columns: Sequence[str], features: Sequence[str]) -> None:
    absent = [name for name in features if name not in columns]
    if absent:
        raise ModelError(
            f"request must have the columns {some(features, NAMES_SHOWN)}; absent: {some(absent, NAMES_SHOWN)}"
        )
    twice = [name for name in features if columns.count(name) > 1]
    if twice:
        raise ModelError(f"request must have each column once, got {some(twice)} twice")


def _require_rows(name: str, rows: Sequence[Any], width: int) -> None:
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            got = f"{len(row)}" if isinstance(row, list) else _kind(row)
            raise ModelError(f"{name}[{i}] must be a list of {width} values, got {got}")


def _frame(values: Sequence[Sequence[Any]], features: Sequence[str]) -> pd.DataFrame:
    for i, row in enumerate(values):
        for name, value in zip(features, row, strict=True):
            if type(value) not in NUMBERS:
                raise ModelError(f"request must hold numbers or null, got {_kind(value)} in row {i}, column {name}")
    try:
        numbers = np.array(values, dtype=np.float64).reshape(len(values), len(features))
    except OverflowError:
        raise ModelError("request holds a number that is too large for a double") from None
    return pd.DataFrame(numbers, columns=list(features))


def _kind(value: Any) -> str:
    """How a JSON value is called, with the value where it is short."""
    kinds = {dict: "an object", list: "a list", type(None): "null", int: "a number", float: "a number"}
    return kinds.get(type(value), f"{value!r:.40}")

"""The requests that `mlflow models serve` takes, read into a frame of numbers, and the answers that it gives.

    {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}}
    {"dataframe_records": [{"a": 1.0, "b": 2.0}]}
    {"instances": ...} or {"inputs": ...}     records, rows in the order of the features, or columns {"a": [1.0], ...}

Columns that the model does not know are ignored, in any format. What MLflow takes for something else without a word is
refused here: text that looks like a number, a value that one record lacks, two columns or keys of one name. Requests in
CSV are in `csv_request.py`.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pydantic_core

from pipelines.errors import ModelError, RequestTooLargeError
from pipelines.model.inputs import require_columns
from pipelines.wording import some

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
NAMES_SHOWN = 20
OBJECTS_BESIDE = 100  # lists and objects of a request that are no rows
NUMBERS = frozenset((int, float, bool, type(None)))
LARGEST = int(np.finfo(np.float64).max)


def read_json(
    body: bytes, features: Sequence[str], texts: Collection[str] = (), most_rows: int | None = None
) -> pd.DataFrame:
    """The rows of a JSON request.

    Args:
        body: The request, UTF-8.
        features: Columns that the model needs.
        texts: Those of them that may hold text.
        most_rows: How many rows it may have; None for any number.

    Returns:
        float64, one row a sample, the columns `features` in their order; null is NaN, true and false are 1 and 0. A
        column of `texts` is as it was sent.

    Raises:
        ModelError: It is no JSON, has a key twice, has none or several of the formats, lacks a column or a value, or
            holds what is neither a number nor null.
        RequestTooLargeError: It has more rows.
    """
    _require_few_objects(body, most_rows)
    try:
        content = json.loads(decoded(body), object_pairs_hook=_each_once, parse_constant=_no_constant)
    except ModelError:
        raise
    except RecursionError:
        raise ModelError("request must be JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ModelError(f"request must be JSON: {error}") from None
    values = _values(*_only_format(content), features, most_rows)
    _require_numbers(values, features, texts)
    return frame_of(values, features, texts)


def write_records(answer: pd.DataFrame) -> bytes:
    """The rows of an answer as JSON objects with commas between them; NaN is null."""
    names = [str(name) for name in answer.columns]
    rows = zip(*(answer[name].tolist() for name in names), strict=True)
    return pydantic_core.to_json([dict(zip(names, row, strict=True)) for row in rows], inf_nan_mode="null")[1:-1]


def write_json(records: Sequence[bytes]) -> list[bytes]:
    """An answer as `{"predictions": [...]}`, in parts that are sent one by one.

    Args:
        records: What `write_records` made of parts of the answer.
    """
    return [b'{"predictions":[', *(b"," + text if i else text for i, text in enumerate(records)), b"]}"]


def decoded(body: bytes) -> str:
    """The text of a request.

    Raises:
        ModelError: It is not UTF-8.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise ModelError(f"request must be UTF-8, got another byte in line {line}, byte {error.start + 1}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which Python would keep the last of two values of one key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in found if counts[key] > 1)
        raise ModelError(f"request must have each key of an object once, got {twice!r:.40} twice")
    return found


def _no_constant(name: str) -> float:
    raise ModelError(f"request must be JSON: {name} is no JSON number (a missing value is null)")


def _only_format(content: Any) -> tuple[str, Any]:
    """The name of the one format that is there, and what stands under it."""
    if not isinstance(content, Mapping):
        raise ModelError(f"request must be an object with one of {', '.join(FORMATS)}, got {_kind(content)}")
    given = [name for name in FORMATS if name in content]
    if len(given) != 1:
        raise ModelError(f"request must have exactly one of {', '.join(FORMATS)}, got {some(list(content)) or 'none'}")
    nothing = ("params", "signature_name")  # which clients send without a content
    unknown = [name for name in content if name != given[0] and not (name in nothing and not content[name])]
    if unknown:
        raise ModelError(f"request takes nothing beside {given[0]}, got {some(unknown)}")
    return given[0], content[given[0]]


def require_few_rows(count: int, most: int | None) -> None:
    """Refuse a request with more rows than are answered at once."""
    if most is not None and count > most:
        raise RequestTooLargeError(f"request must not have more than {most:,} rows: send them in parts")


def _require_few_objects(body: bytes, most_rows: int | None) -> None:
    """Refuse what would be more lists and objects than rows need: of `[],` each takes 30 times its length in memory."""
    if most_rows is None:
        return
    most = 2 * most_rows + OBJECTS_BESIDE  # a second one in each row, for a column that the model ignores
    if body.count(b"[") + body.count(b"{") > most:
        raise RequestTooLargeError(
            f"request must not have more than {most_rows:,} rows, or {most:,} lists and objects: send the rows in parts"
        )


def _values(name: str, content: Any, features: Sequence[str], most_rows: int | None) -> Sequence[Sequence[Any]]:
    """The values of the features, row by row."""
    if name == "dataframe_split":
        return _from_split(content, features, most_rows)
    if isinstance(content, Mapping) and name == "inputs":
        return _from_columns(content, features, most_rows)
    if not isinstance(content, list):
        raise ModelError(f"{name} must be a list of rows, got {_kind(content)}")
    require_few_rows(len(content), most_rows)
    if name == "dataframe_records" or (content and isinstance(content[0], Mapping)):
        return _from_records(name, content, features)
    _require_rows(name, content, len(features))
    return content


def _from_split(content: Any, features: Sequence[str], most_rows: int | None) -> list[list[Any]]:
    if not isinstance(content, Mapping) or not {"columns", "data"} <= set(content):
        raise ModelError("dataframe_split must be an object with columns and data")
    unknown = [key for key in content if key not in ("columns", "data", "index")]
    if unknown:
        raise ModelError(f"dataframe_split takes columns, data and index, got {some(unknown)}")
    columns, data, index = content["columns"], content["data"], content.get("index")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ModelError("dataframe_split.columns must be a list of names")
    if not isinstance(data, list):
        raise ModelError(f"dataframe_split.data must be a list of rows, got {_kind(data)}")
    require_few_rows(len(data), most_rows)
    if index is not None and (not isinstance(index, list) or len(index) != len(data)):
        raise ModelError(f"dataframe_split.index must be a list of {len(data)} labels, one for each row")
    require_columns("request", columns, features)
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


def _from_columns(content: Mapping[str, Any], features: Sequence[str], most_rows: int | None) -> list[tuple[Any, ...]]:
    require_columns("request", list(content), features)
    columns = [content[name] for name in features]
    for name, column in zip(features, columns, strict=True):
        if not isinstance(column, list) or len(column) != len(columns[0]):
            raise ModelError(f"inputs.{name} must be a list of values, as long as those of the other columns")
    require_few_rows(len(columns[0]), most_rows)
    return list(zip(*columns, strict=True))


def _require_rows(name: str, rows: Sequence[Any], width: int) -> None:
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            got = f"{len(row)}" if isinstance(row, list) else _kind(row)
            raise ModelError(f"{name}[{i}] must be a list of {width} values, got {got}")


def _require_numbers(values: Sequence[Sequence[Any]], features: Sequence[str], texts: Collection[str]) -> None:
    """Refuse what is neither a number nor null, nor a text where one may be."""
    for i, row in enumerate(values):
        if NUMBERS.issuperset(map(type, row)):
            continue
        for name, value in zip(features, row, strict=True):
            if type(value) not in NUMBERS and not (type(value) is str and name in texts):
                what = "text, numbers or null" if name in texts else "numbers or null"
                raise ModelError(f"request must hold {what}, got {_kind(value)} in row {i}, column {name}")


def frame_of(values: Sequence[Sequence[Any]], features: Sequence[str], texts: Collection[str]) -> pd.DataFrame:
    """Rows as a frame: float64, but for columns of texts.

    Raises:
        ModelError: A whole number is too large for a double.
    """
    try:
        if not texts:
            numbers = np.array(values, dtype=np.float64).reshape(len(values), len(features))
            return pd.DataFrame(numbers, columns=list(features))
        columns = {name: [row[i] for row in values] for i, name in enumerate(features)}
        return pd.DataFrame(
            {
                name: pd.Series(column, dtype=object) if name in texts else np.array(column, dtype=np.float64)
                for name, column in columns.items()
            }
        )
    except OverflowError:
        raise ModelError(
            f"request holds a number that is too large for a double in {_too_large(values, features)}"
        ) from None


def _too_large(values: Sequence[Sequence[Any]], features: Sequence[str]) -> str:
    for i, row in enumerate(values):
        for name, value in zip(features, row, strict=True):
            if isinstance(value, int) and abs(value) > LARGEST:
                return f"row {i}, column {name}"
    return "a row"


def _kind(value: Any) -> str:
    """How a JSON value is called, with the value where it is short."""
    kinds = {dict: "an object", list: "a list", type(None): "null", int: "a number", float: "a number"}
    return kinds.get(type(value), f"{value!r:.40}")

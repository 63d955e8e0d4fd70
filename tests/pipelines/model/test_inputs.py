import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.columns import CategoryColumn, NumberColumn, TimeColumn
from pipelines.data.encoding import Encoding
from pipelines.errors import ModelError
from pipelines.model.inputs import read_rows
from pipelines.serving.csv_request import read_csv
from pipelines.serving.invocation import read_json

ROWS = [[1.0, 0.0], [3.0, 1.0]]
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])
FORMS: dict[str, Callable[[], Any]] = {
    "int64": lambda: FRAME.astype("int64"),
    "Int64": lambda: FRAME.astype("Int64"),
    "Float64": lambda: FRAME.astype("Float64"),
    "float32": lambda: FRAME.astype("float32"),
    "bool": lambda: FRAME.astype({"b": bool}),
    "boolean": lambda: FRAME.astype({"b": "boolean"}),
    "pyarrow": lambda: FRAME.astype({"a": "int32[pyarrow]", "b": "bool[pyarrow]"}),
    "objects": lambda: FRAME.astype(object),
    "decimals": lambda: FRAME.map(Decimal),
    "another order": lambda: FRAME[["b", "a"]].assign(note="x"),
    "array of integers": lambda: FRAME.to_numpy().astype(np.int8),
    "array of objects": lambda: FRAME.to_numpy().astype(object),
    "structured array": lambda: FRAME.to_records(index=False),
    "polars": lambda: pl.DataFrame({"b": [False, True], "a": [1, 3], "note": ["x", "y"]}),
    "arrow table": lambda: pa.table({"note": ["x", "y"], "b": [False, True], "a": pa.array([1, 3], pa.int8())}),
    "arrow batch": lambda: pa.RecordBatch.from_pydict(
        {"b": [0, 1], "a": pa.array(["1.0", "3.0"]).cast(pa.decimal128(5, 1))}
    ),
    "list of dicts": lambda: [{"b": 0, "a": 1}, {"a": 3, "b": True, "c": "x"}],
    "dict of lists": lambda: {"b": [0, 1], "a": [1, 3]},
    "dict of arrays": lambda: {"b": np.array([0, 1]), "a": pl.Series([1, 3])},
    "list of rows": lambda: [[1, 0], (3, 1)],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_the_same_in_every_form(form: str) -> None:
    values, index = read_rows(FORMS[form](), ["a", "b"])
    assert values.dtype == np.float64
    assert values.tolist() == ROWS
    assert list(index) == [0, 1]


@pytest.mark.parametrize(
    "rows",
    [
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"a": pd.array([1, None], dtype="int8[pyarrow]")}),
        pd.DataFrame({"a": pd.Series([1, pd.NA], dtype=object)}),
        pl.DataFrame({"a": [1, None]}),
        [{"a": 1}, {"a": None}],
        {"a": [1, None]},
        pa.table({"a": [1, None]}),
    ],
)
def test_nothing_is_nan_in_every_form(rows: Any) -> None:
    np.testing.assert_array_equal(read_rows(rows, ["a"])[0], [[1.0], [np.nan]])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (FRAME[["a"]], "input must have the columns a, b; absent: b"),
        (pd.concat([FRAME, FRAME[["b"]]], axis=1), "each column once, got b twice"),
        (FRAME.assign(b="x"), "column b must hold numbers, got the type"),
        (FRAME.astype(object).assign(b=[1, "2"]), "column b must hold numbers, got '2' in row 1"),
        (FRAME.assign(b=pd.Timestamp(0)), "column b must hold numbers, got the type datetime64"),
        (FRAME.assign(b=1j), "column b must hold numbers, got the type complex128"),
        (pl.DataFrame({"a": [1], "b": ["x"]}), "column b must hold numbers, got the type String"),
        (pa.table({"a": [1]}), "input must have the columns a, b; absent: b"),
        (pa.table({"a": [1], "b": ["x"]}), "column b must hold numbers, got the type String"),
        (pa.table([[1], [2], [3]], names=["a", "b", "b"]), "each column once, got b twice"),
        (np.zeros((2, 3)), r"in this order: shape \(n, 2\), got \(2, 3\)"),
        (np.zeros(2), r"got \(2,\)"),
        ({"a": [1], "b": [1, 2]}, "columns must be of one length, got a 1, b 2"),
        ({"a": 1, "b": 2}, "column a must be a list of numbers, got int"),
        ([{"a": 1, "b": 2}, {"a": 1}], "row 1 must have a value or None for each column; absent: b"),
        ([{"a": 1, "b": 2}, [1, 2]], "row 1 must be a dict, as row 0 is, got one of 2"),
        ([[1, 2], [1]], "row 1 must be a list of 2 values, got one of 1"),
        ([[1, 10**400]], "column b must hold numbers, got one beyond 1.8e308 in row 0"),
        (3, "got int"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_line_that_names_the_column(rows: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_rows(rows, ["a", "b"])
    assert "\n" not in str(caught.value)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53) | st.booleans() | st.none()
TABLES = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4)


def as_csv(rows: list[tuple[Any, Any]], order: str = "ab") -> bytes:
    fields = [["" if value is None else repr(value) for value in row] for row in rows]
    places = ["ab".index(name) for name in order]
    return "\n".join([",".join(order), *(",".join(row[i] for i in places) for row in fields)]).encode()


@settings(deadline=None)  # the machine may be busy
@given(TABLES)
def test_a_request_says_the_same_in_every_format_as_the_table_itself(rows: list[tuple[Any, Any]]) -> None:
    features, lists = ["a", "b"], [list(row) for row in rows]
    records = [dict(zip(features, row, strict=True)) for row in rows]
    expected = np.array([[np.nan if v is None else float(v) for v in row] for row in rows]).reshape(len(rows), 2)
    requests: list[Any] = [
        {"dataframe_split": {"columns": ["b", "a"], "data": [row[::-1] for row in lists]}},
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": lists},
        {"inputs": {name: [record[name] for record in records] for name in features}},
    ]
    for request in requests:
        np.testing.assert_array_equal(read_json(json.dumps(request).encode(), features), expected)
    np.testing.assert_array_equal(read_csv(as_csv(rows, "ba"), features), expected)
    np.testing.assert_array_equal(read_rows(records if records else {"a": [], "b": []}, features)[0], expected)


@settings(deadline=None)  # the machine may be busy
@given(TABLES.filter(len), st.data())
def test_a_line_with_a_field_more_or_less_is_refused(rows: list[tuple[Any, Any]], data: st.DataObject) -> None:
    lines = as_csv(rows).decode().split("\n")
    at = data.draw(st.integers(1, len(rows)))
    lines[at] = data.draw(st.sampled_from([lines[at] + ",", lines[at] + ",1", lines[at].partition(",")[0] or "1"]))
    with pytest.raises(ModelError, match=f"line {at + 1}"):
        read_csv("\n".join(lines).encode(), ["a", "b"])


@pytest.mark.parametrize("place", ['{"a": 1, "b": 2, "a": 3}', '{"a": 1, "b": 2, "x": {"k": 1, "k": 1}}'])
def test_a_key_that_stands_twice_is_refused(place: str) -> None:
    with pytest.raises(ModelError, match=r"each key of an object once, got '[ak]' twice"):
        read_json(f'{{"instances": [{place}]}}'.encode(), ["a", "b"])


ENCODING = Encoding(
    (
        NumberColumn(name="a"),
        CategoryColumn(name="c", levels=("3", "x"), other=True),
        TimeColumn(name="w", parts=("hour_of_day",)),
    )
)
MIXED = pd.DataFrame(
    {"a": [1.0, np.nan], "c": pd.Series(["x", None], dtype=object), "w": pd.to_datetime(["2024-01-01T05:00", None])}
)
MIXED_FORMS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: MIXED,
    "pandas text": lambda: MIXED.astype({"c": "string", "w": "string"}),
    "pandas category": lambda: MIXED.astype({"c": "category"}),
    "pandas zone": lambda: MIXED.assign(w=MIXED["w"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    "polars": lambda: pl.from_pandas(MIXED),
    "arrow": lambda: pa.Table.from_pandas(MIXED),
    "records": lambda: [{"a": 1, "c": "x", "w": "2024-01-01T05:00:00Z"}, {"a": None, "c": None, "w": None}],
    "columns": lambda: {"w": ["2024-01-01 05:00", float("nan")], "c": ["x", None], "a": [1, None]},
    "objects": lambda: MIXED.to_numpy(dtype=object),
}


@pytest.mark.parametrize("form", MIXED_FORMS)
def test_texts_and_times_are_taken_in_any_form_where_the_model_has_such_columns(form: str) -> None:
    numbers, _ = read_rows(MIXED_FORMS[form](), ENCODING.inputs, ENCODING)
    np.testing.assert_array_equal(numbers, [[1, 1, 5], [np.nan] * 3])


def test_a_category_is_recognized_whatever_type_it_comes_in_and_an_unknown_one_is_no_error() -> None:
    rows = [{"a": 0, "c": value, "w": None} for value in ("3", "never seen")]
    assert read_rows(rows, ENCODING.inputs, ENCODING)[0][:, 1].tolist() == [0, 2]
    for column in ([3, 3.0], np.array([3, 3]), pl.Series([3.0, 3.0])):
        numbers, _ = read_rows({"a": [0, 0], "c": column, "w": [None, None]}, ENCODING.inputs, ENCODING)
        assert numbers[:, 1].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"a": ["1"]}, "column a must hold numbers, got '1' in row 0"),
        ({"w": ["noon"]}, "column w must hold dates or times such as .*, got 'noon'"),
        ({"c": [{"x"}]}, "column c must hold texts, numbers, dates or times, got set"),
    ],
)
def test_values_that_a_column_does_not_take_are_refused_by_its_name(change: Any, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        read_rows({"a": [1.0], "c": ["x"], "w": [None]} | change, ENCODING.inputs, ENCODING)


@pytest.mark.parametrize("name", ["^a.*$", "*", "k=v", "it's", " b ", "grüße"])
def test_columns_of_any_name_are_read_from_a_polars_frame(name: str) -> None:
    frame = pl.DataFrame({name: [1.5, None], "b": ["x", "y"]})
    encoding = Encoding((NumberColumn(name=name), CategoryColumn(name="b", levels=("x", "y"))))
    np.testing.assert_array_equal(read_rows(frame, [name])[0], [[1.5], [np.nan]])
    np.testing.assert_array_equal(read_rows(frame, encoding.inputs, encoding)[0], [[1.5, 0], [np.nan, 1]])
    texts = Encoding((CategoryColumn(name=name, levels=("x",)),))
    np.testing.assert_array_equal(read_rows(pl.DataFrame({name: ["x", None]}), [name], texts)[0], [[0], [np.nan]])


@pytest.mark.parametrize("kind", [pa.decimal128(5, 2), pa.decimal256(50, 2)], ids=str)
def test_decimals_of_an_arrow_table_are_numbers(kind: pa.DataType) -> None:
    table = pa.table({"a": pa.array([Decimal("1.25"), None], kind), "b": [1, 2]})
    for rows in (table, table.to_batches()[0]):
        np.testing.assert_array_equal(read_rows(rows, ["a", "b"])[0], [[1.25, 1], [np.nan, 2]])

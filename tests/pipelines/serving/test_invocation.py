import csv
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import ColSpec, DataType, Schema

from pipelines.errors import ModelError
from pipelines.serving.csv_request import read_csv
from pipelines.serving.invocation import read_json, write_json, write_records

ROWS = [[1.0, -2.5], [3.0, 0.1]]
RECORDS = [{"a": a, "b": b} for a, b in ROWS]
REQUESTS: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}},
    "split in another order": {
        "dataframe_split": {"index": [4, 5], "columns": ["b", "a"], "data": [[-2.5, 1], [0.1, 3]]}
    },
    "records": {"dataframe_records": RECORDS},
    "instances as records": {"instances": RECORDS},
    "instances as rows": {"instances": ROWS},
    "inputs as records": {"inputs": RECORDS},
    "inputs as rows": {"inputs": ROWS},
    "inputs as columns": {"inputs": {"b": [-2.5, 0.1], "a": [1.0, 3.0]}},
}


def read(content: Any) -> pd.DataFrame:
    return read_json(json.dumps(content).encode(), ["a", "b"])


@pytest.mark.parametrize("name", REQUESTS)
def test_every_format_gives_the_rows_in_the_order_of_the_features(name: str) -> None:
    frame = read(REQUESTS[name])
    assert list(frame.columns) == ["a", "b"]
    assert frame.to_numpy().tolist() == ROWS


@pytest.mark.parametrize("name", ["split", "split in another order", "records", "inputs as records"])
def test_mlflow_reads_the_same_rows_out_of_the_same_request(name: str) -> None:
    schema = Schema([ColSpec(DataType.double, each) for each in ("a", "b")])
    theirs = pd.DataFrame(infer_and_parse_data(json.loads(json.dumps(REQUESTS[name])), schema))
    assert read(REQUESTS[name]).to_numpy().tolist() == theirs[["a", "b"]].to_numpy().tolist()


def test_null_is_missing_and_whole_numbers_are_numbers() -> None:
    frame = read({"instances": [[1, None], [2**60, 0]]})
    np.testing.assert_array_equal(frame.to_numpy(), [[1.0, np.nan], [2.0**60, 0.0]])


def test_columns_that_the_model_does_not_know_may_hold_anything() -> None:
    assert read({"dataframe_records": [{"a": 1, "b": 2, "time": "noon"}]}).to_numpy().tolist() == [[1, 2]]
    assert read({"inputs": {"a": [1], "b": [2], "note": "x"}}).to_numpy().tolist() == [[1, 2]]
    assert read({"dataframe_split": {"columns": ["a", "x", "b"], "data": [[1, [], 2]]}}).to_numpy().tolist() == [[1, 2]]


@pytest.mark.parametrize("content", [{"instances": []}, {"dataframe_split": {"columns": ["a", "b"], "data": []}}])
def test_no_rows_are_an_empty_frame(content: Any) -> None:
    assert read(content).shape == (0, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "request must be an object with one of dataframe_split, .* got a list"),
        ({"rows": []}, "exactly one of dataframe_split, dataframe_records, instances, inputs, got rows"),
        ({"inputs": [], "instances": []}, "exactly one of .*, got inputs, instances"),
        ({"inputs": ROWS, "params": {"k": 3}}, "takes nothing beside inputs, got params"),
        ({"inputs": 3}, "inputs must be a list of rows, got a number"),
        ({"instances": {"a": [1], "b": [1]}}, "instances must be a list of rows, got an object"),
        ({"dataframe_split": [[1, 2]]}, "dataframe_split must be an object with columns and data"),
        ({"dataframe_split": {"columns": ["a", 1], "data": []}}, "columns must be a list of names"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": None}}, "data must be a list of rows, got null"),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, "must have the columns a, b; absent: b"),
        ({"dataframe_split": {"columns": ["a", "b", "a"], "data": []}}, "each column once, got a twice"),
        (
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1]]}},
            r"data\[1\] must be a list of 2 values, got 1",
        ),
        ({"dataframe_records": [{"a": 1, "b": 1}, {"a": 1}]}, r"records\[1\] must have the columns a, b; absent: b"),
        ({"dataframe_records": [[1, 2]]}, r"records\[0\] must be an object of names and values, got a list"),
        ({"instances": [[1, 2, 3]]}, r"instances\[0\] must be a list of 2 values, got 3"),
        (
            {"inputs": {"a": [1], "b": [1, 2]}},
            "inputs.b must be a list of values, as long as those of the other columns",
        ),
        ({"inputs": {"a": 1, "b": 2}}, "inputs.a must be a list of values"),
        ({"instances": [[1, "2"]]}, "must hold numbers or null, got '2' in row 0, column b"),
        ({"instances": [[1, 2], [[], 2]]}, "must hold numbers or null, got a list in row 1, column a"),
        ({"instances": [[10**400, 2]]}, "too large for a double in row 0, column a"),
        ({"inputs": ROWS, "other": 0}, "takes nothing beside inputs, got other"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": ROWS, "index": [1]}}, "index must be a list of 2 labels"),
    ],
)
def test_a_bad_request_is_one_line_that_says_where(content: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b'{"inputs": [[NaN, 1]]}', b"[" * 100_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ModelError, match="request must be JSON: "):
        read_json(body, ["a", "b"])


def test_csv_has_a_header_and_an_empty_field_is_missing() -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["b", "time", "a"], [-2.5, "noon", 1], ["", "one", 3]])
    frame = read_csv(text.getvalue().encode(), ["a", "b"])
    np.testing.assert_array_equal(frame.to_numpy(), [[1.0, -2.5], [3.0, np.nan]])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "must be CSV with a header"),
        (b"a\n1\n", "must have the columns a, b; absent: b"),
        (b"a,b\n1,x\n", "must hold numbers, got 'x' in line 2, field 2, column b"),
        (b"a,b\n1,\xff\n", "must be UTF-8, got another byte in line 2"),
        (b"a,b\n1,2\n1,2,3\n", "must have 2 fields in each line, as its header has, got 3 in line 3"),
        (b"a,b\n1,2,\n", "must have 2 fields in each line, as its header has, got 3 in line 2"),
        (b"a,b\n1\n", "got 1 in line 2"),
        (b"a,b\n\n1,2\n", "got nothing in line 2"),
        (b"a,b,a\n1,2,3\n", "each column once, got a twice"),
        (b"a,b\n1_0,2\n", "got '1_0' in line 2, field 1, column a"),
    ],
)
def test_bad_csv_is_one_line(body: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        read_csv(body, ["a", "b"])
    assert "\n" not in str(caught.value)


def test_an_answer_is_a_record_a_row_in_json_that_anyone_can_read() -> None:
    answer = pd.DataFrame({"row": [1, -1], "qe": [0.1, np.nan]})
    for parts in ([answer], [answer[:1], answer[1:]]):
        text = b"".join(write_json([write_records(part) for part in parts]))
        strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert strict == {"predictions": [{"row": 1, "qe": 0.1}, {"row": -1, "qe": None}]}


def test_text_is_taken_in_columns_that_may_hold_it_and_in_no_other() -> None:
    content = {"dataframe_records": [{"a": 1, "b": "x"}, {"a": None, "b": None}]}
    frame = read_json(json.dumps(content).encode(), ["a", "b"], ["b"])
    assert frame["b"].tolist() == ["x", None]
    assert frame["a"].dtype == np.float64
    by_csv = read_csv(b"b,a\nx,1\n,\n", ["a", "b"], ["b"])
    assert by_csv["b"].tolist() == ["x", None]
    assert by_csv["a"].tolist()[0] == 1.0
    for texts, expected in (([], "numbers or null, got 'x'"), (["a"], "numbers or null, got 'x' in row 0, column b")):
        with pytest.raises(ModelError, match=expected):
            read_json(json.dumps(content).encode(), ["a", "b"], texts)
    with pytest.raises(ModelError, match="text, numbers or null, got a list in row 0, column b"):
        read_json(json.dumps({"instances": [[1, ["x"]]]}).encode(), ["a", "b"], ["b"])

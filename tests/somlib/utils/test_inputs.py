"""What may be passed as data, what becomes of it, and what is refused with which words."""

import datetime
import decimal
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from torch import Tensor

from somlib.errors import DataError, DataTypeError, ShapeError
from somlib.utils.inputs import feature_names, read_outputs, read_sample_weight, read_samples, read_targets

ROWS = [[1.5, 2.0], [3.0, -4.0], [0.0, 8.0]]
ARRAY = np.array(ROWS)
NAN = float("nan")


def record_field() -> Any:
    """A view whose rows are 18 bytes apart, which is no multiple of 8."""
    records = np.zeros(3, dtype=[("values", "f8", (2,)), ("flag", "i2")])
    records["values"] = ARRAY
    return records["values"]


def frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


KINDS: dict[str, tuple[Callable[[], Any], torch.dtype]] = {
    "tensor float32": (lambda: torch.tensor(ROWS), torch.float32),
    "tensor float64": (lambda: torch.tensor(ROWS, dtype=torch.float64), torch.float64),
    "tensor float16": (lambda: torch.tensor(ROWS, dtype=torch.float16), torch.float32),
    "tensor bfloat16": (lambda: torch.tensor(ROWS, dtype=torch.bfloat16), torch.float32),
    "tensor with gradient": (lambda: torch.tensor(ROWS, requires_grad=True), torch.float32),
    "tensor transposed": (lambda: torch.tensor(ARRAY.T.copy()).T, torch.float64),
    "array float64": (lambda: ARRAY.copy(), torch.float64),
    "array float32": (lambda: ARRAY.astype(np.float32), torch.float32),
    "array float16": (lambda: ARRAY.astype(np.float16), torch.float32),
    "array longdouble": (lambda: ARRAY.astype(np.longdouble), torch.float64),
    "array big-endian float32": (lambda: ARRAY.astype(">f4"), torch.float32),
    "array big-endian float64": (lambda: ARRAY.astype(">f8"), torch.float64),
    "array read-only": (lambda: frozen(ARRAY.copy()), torch.float64),
    "array reversed": (lambda: ARRAY[::-1, ::-1].copy()[::-1, ::-1], torch.float64),
    "array in Fortran order": (lambda: np.asfortranarray(ARRAY), torch.float64),
    "array of records": (record_field, torch.float64),
    "array of objects": (lambda: ARRAY.astype(object), torch.float64),
    "lists": (lambda: [list(row) for row in ROWS], torch.float64),
    "tuples": (lambda: tuple(tuple(row) for row in ROWS), torch.float64),
    "list of arrays": (lambda: list(ARRAY.copy()), torch.float64),
    "list of tensors": (lambda: list(torch.tensor(ROWS)), torch.float32),
    "polars": (lambda: pl.DataFrame(ARRAY, schema=["a", "b"]), torch.float64),
    "polars float32": (lambda: pl.DataFrame(ARRAY, schema={"a": pl.Float32, "b": pl.Float32}), torch.float32),
    "pandas": (lambda: pd.DataFrame(ARRAY, columns=["a", "b"]), torch.float64),
    "pandas float32": (lambda: pd.DataFrame(ARRAY.astype(np.float32)), torch.float32),
    "pandas Float64": (lambda: pd.DataFrame(ARRAY).astype("Float64"), torch.float64),
    "pandas pyarrow": (lambda: pd.DataFrame(ARRAY).astype(pd.ArrowDtype(pa.float64())), torch.float64),
    "pyarrow": (lambda: pa.table({"a": ARRAY[:, 0], "b": ARRAY[:, 1]}), torch.float64),
    "pyarrow in chunks": (
        lambda: pa.concat_tables([pa.table({"a": ARRAY[i : i + 1, 0], "b": ARRAY[i : i + 1, 1]}) for i in range(3)]),
        torch.float64,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_becomes_the_same_tensor_and_is_not_changed(kind: str) -> None:
    make, dtype = KINDS[kind]
    data, untouched = make(), make()
    read = read_samples(data)
    assert read.dtype == dtype
    assert read.tolist() == ROWS
    assert not read.requires_grad
    assert str(data) == str(untouched)


WHOLE = [[0, 1], [2, 3]]
TENSOR_TYPES = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16)
ARRAY_TYPES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", ">i4", ">u2")
WHOLE_KINDS: dict[str, Callable[[], Any]] = {
    **{f"tensor {t}": partial(torch.tensor, WHOLE, dtype=t) for t in TENSOR_TYPES},
    **{f"array {t}": partial(np.array, WHOLE, dtype=t) for t in ARRAY_TYPES},
    "lists": lambda: [list(row) for row in WHOLE],
    "range": lambda: [range(2), range(2, 4)],
    "polars": lambda: pl.DataFrame({"a": [0, 2], "b": [1, 3]}),
    "polars UInt64": lambda: pl.DataFrame({"a": [0, 2], "b": [1, 3]}, schema={"a": pl.UInt8, "b": pl.Int16}),
    "pandas": lambda: pd.DataFrame(WHOLE),
    "pandas Int64": lambda: pd.DataFrame(WHOLE).astype("Int64"),
    "pyarrow": lambda: pa.table({"a": [0, 2], "b": [1, 3]}),
}


@pytest.mark.parametrize("kind", WHOLE_KINDS)
def test_whole_numbers_become_float32(kind: str) -> None:
    read = read_samples(WHOLE_KINDS[kind]())
    assert read.dtype == torch.float32
    assert read.tolist() == WHOLE


@pytest.mark.parametrize("value", [2**24 + 1, -(2**24) - 1, 2**31 - 1, 2**53 - 1])
@pytest.mark.parametrize("make", [np.array, torch.tensor, list, lambda rows: pl.DataFrame(rows, orient="row")])
def test_whole_numbers_beyond_float32_become_float64_exactly(value: int, make: Callable[[Any], Any]) -> None:
    read = read_samples(make([[value, 0], [1, value]]))
    assert read.dtype == torch.float64
    assert read.tolist() == [[value, 0], [1, value]]


def test_the_largest_exact_whole_number_stays_float32() -> None:
    assert read_samples([[2**24, -(2**24)]]).dtype == torch.float32


@pytest.mark.parametrize(
    "make",
    [
        torch.tensor,
        np.array,
        list,
        lambda rows: pl.DataFrame(rows, orient="row"),
        pd.DataFrame,
        lambda rows: pd.DataFrame(rows).astype("boolean"),
        lambda rows: pa.table({"a": [rows[0][0], rows[1][0]], "b": [rows[0][1], rows[1][1]]}),
    ],
)
def test_truth_values_become_0_and_1(make: Callable[[Any], Any]) -> None:
    assert read_samples(make([[True, False], [False, True]])).tolist() == [[1, 0], [0, 1]]


MISSING: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame({"a": [1, None], "b": [0.5, 2.0]}),
    "polars bool": lambda: pl.DataFrame({"a": [True, None], "b": [0.5, 2.0]}),
    "pandas Int64": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 2.0]}),
    "pandas boolean": lambda: pd.DataFrame({"a": pd.array([True, None], dtype="boolean"), "b": [0.5, 2.0]}),
    "pandas Float32": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="Float32"), "b": [0.5, 2.0]}),
    "pandas pyarrow": lambda: pd.DataFrame({"a": pd.array([1, None], dtype="int64[pyarrow]"), "b": [0.5, 2.0]}),
    "pyarrow": lambda: pa.table({"a": [1, None], "b": [0.5, 2.0]}),
    "pyarrow bool": lambda: pa.table({"a": [True, None], "b": [0.5, 2.0]}),
    "lists": lambda: [[1, 0.5], [None, 2.0]],
    "array of objects": lambda: np.array([[1, 0.5], [None, 2.0]], dtype=object),
    "masked array": lambda: np.ma.masked_array([[1, 0.5], [7, 2.0]], mask=[[False, False], [True, False]]),
    "NaN": lambda: torch.tensor([[1, 0.5], [NAN, 2.0]]),
}


@pytest.mark.parametrize("kind", MISSING)
def test_null_and_none_are_missing_values_whatever_holds_them(kind: str) -> None:
    read = read_samples(MISSING[kind](), missing="mask")
    torch.testing.assert_close(read.double(), torch.tensor([[1, 0.5], [NAN, 2.0]]).double(), equal_nan=True)
    with pytest.raises(DataError, match=r"must be finite, got nan at row 1, column 0 \(1 such value\)"):
        read_samples(MISSING[kind]())


def test_nan_and_infinity_are_refused_with_the_first_place_and_their_count() -> None:
    data = torch.zeros(5, 4)
    data[2, 3], data[3, 0], data[4, 1] = NAN, float("inf"), float("-inf")
    with pytest.raises(DataError) as caught:
        read_samples(data, name="history")
    assert str(caught.value) == (
        "history must be finite, got nan at row 2, column 3 (3 such values): drop or fill them, or use missing='mask'"
    )
    assert isinstance(caught.value, ValueError)
    with pytest.raises(DataError, match=r"got inf at row 3, column 0 \(2 such values\)$"):
        read_samples(data, missing="mask")


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
@pytest.mark.parametrize("missing", ["error", "mask"])
def test_one_infinity_is_refused_whether_values_may_be_missing_or_not(value: float, missing: str) -> None:
    with pytest.raises(DataError, match=rf"got {value} at row 1, column 0 \(1 such value\)"):
        read_samples([[0.0, 1.0], [value, 2.0]], missing=missing)


def test_infinities_of_both_signs_that_cancel_in_a_sum_are_found() -> None:
    with pytest.raises(DataError, match=r"got inf at row 0, column 0 \(2 such values\)"):
        read_samples([[float("inf"), float("-inf")]])


def test_finite_numbers_whose_sum_overflows_are_accepted() -> None:
    assert read_samples(torch.full((4, 2), 3e38)).tolist() == torch.full((4, 2), 3e38).tolist()


def sparse_tensor() -> Tensor:
    return torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), check_invariants=True)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "None": (lambda: None, "got NoneType"),
    "text": (lambda: "abc", "got str"),
    "bytes": (lambda: b"abc", "got bytes"),
    "dict": (lambda: {"a": [1.0]}, "got dict"),
    "set": (lambda: {1.0}, "got set"),
    "object": (object, "got builtins.object"),
    "generator": (lambda: (row for row in ROWS), "got builtins.generator"),
    "list of text": (lambda: [["1", "2"]], "got dtype <U1"),
    "list of numbers and text": (lambda: [[1, "2"]], "got dtype <U"),
    "ragged list": (lambda: [[1, 2], [3]], "inhomogeneous"),
    "array of text": (lambda: np.array([["1"]]), "got dtype <U1"),
    "array of text objects": (lambda: np.array([["1", 2.0]], dtype=object), "'1' is text"),
    "array of dates": (lambda: np.array([["2013-01-01"]], dtype="M8[s]"), "got dtype datetime64"),
    "array of complex numbers": (lambda: np.array([[1j]]), "got dtype complex128"),
    "complex tensor": (lambda: torch.tensor([[1j]]), "real numbers, got torch.complex64"),
    "sparse tensor": (sparse_tensor, "must be a dense tensor"),
    "sparse matrix": (lambda: scipy.sparse.eye_array(2, format="csr"), "csr_array"),
    "polars text": (lambda: pl.DataFrame({"ok": [1], "city": ["1"]}), "got column 'city' of type String$"),
    "polars dates": (lambda: pl.DataFrame({"day": [datetime.date(2013, 1, 1)]}), "got column 'day' of type Date"),
    "polars lists": (lambda: pl.DataFrame({"a": [[1]]}), "got column 'a' of type List"),
    "polars lazy": (lambda: pl.LazyFrame({"a": [1]}), "LazyFrame: call collect"),
    "polars text series": (lambda: pl.Series(["1", "2"]), "'1' is text"),
    "pandas text": (lambda: pd.DataFrame({"ok": [1], "city": ["1"], "b": ["x"]}), r"column 'city' .*\(and 1 more\)"),
    "pandas objects": (lambda: pd.DataFrame({"a": [1.0]}, dtype=object), "got column 'a' of type object"),
    "pandas categories": (lambda: pd.DataFrame({"a": pd.Categorical([1])}), "got column 'a' of type category"),
    "pandas dates": (lambda: pd.DataFrame({"a": pd.to_datetime(["2013-01-01"])}), "got column 'a' of type datetime64"),
    "pandas text series": (lambda: pd.Series(["1", "2"]), "'1' is text"),
    "pyarrow text": (lambda: pa.table({"ok": [1], "city": ["1"]}), "got column 'city' of type string"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_numeric_is_a_type_error_that_names_it(kind: str) -> None:
    make, message = REFUSED[kind]
    readers: tuple[Callable[[Any], object], ...] = (
        lambda data: read_samples(data, name="history", single=True),
        lambda data: read_targets(data, 1, name="history"),
    )
    for read in readers:
        with pytest.raises(DataTypeError, match=message) as caught:
            read(make())
        assert str(caught.value).startswith("history must ")
        assert isinstance(caught.value, TypeError)


def test_decimals_are_numbers() -> None:
    value = decimal.Decimal("1.25")
    assert read_samples(pl.DataFrame({"a": [value]})).tolist() == [[1.25]]
    assert read_samples(pa.table({"a": [value]})).tolist() == [[1.25]]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.zeros(3), ShapeError, r"must have shape \(n, 2\), got \(3,\)"),
        (torch.zeros(1, 3, 2), ShapeError, r"must have shape \(n, 2\), got \(1, 3, 2\)"),
        (torch.tensor(3.0), ShapeError, r"got \(\)"),
        (5, ShapeError, r"got \(\)"),
        ([], ShapeError, r"got \(0,\)"),
        (torch.zeros(4, 3), ShapeError, r"must have 2 features, got shape \(4, 3\)"),
        (torch.zeros(0, 2), DataError, r"must not be empty, got shape \(0, 2\)"),
        (pl.DataFrame({"a": [], "b": []}, schema={"a": pl.Float64, "b": pl.Int8}), DataError, "must not be empty"),
        (pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.int8())}), DataError, "must not be empty"),
    ],
)
def test_data_of_another_shape_and_empty_data_are_value_errors(
    data: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        read_samples(data, num_features=2)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("data", [torch.zeros(4, 0), [[]], pa.table({}), pl.DataFrame(), pd.DataFrame()])
def test_data_without_features_is_empty(data: object) -> None:
    with pytest.raises(DataError, match="must not be empty"):
        read_samples(data)


@pytest.mark.parametrize(
    "data", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1, 2]), pd.Series([1, 2]), pl.Series([1, 2])]
)
def test_one_sample_is_a_row_where_one_is_welcome(data: object) -> None:
    assert read_samples(data, num_features=2, single=True).tolist() == [[1, 2]]
    with pytest.raises(ShapeError, match="must have 3 features"):
        read_samples(data, num_features=3, single=True)


def test_columns_keep_their_names() -> None:
    columns = {"b": [1.0], "a": [2.0]}
    for frame in (pl.DataFrame(columns), pd.DataFrame(columns), pa.table(columns)):
        assert feature_names(frame) == ["b", "a"]
    assert feature_names(pd.DataFrame([[1, 2]])) is None  # whole numbers are places
    assert feature_names(torch.zeros(1, 2)) is None
    assert feature_names(pd.Series([1.0], index=["a"])) is None  # of rows, where it is a target


# ---- targets


@pytest.mark.parametrize("labels", [[2**24 + 1, 2**24 + 2, 0], [2**53 - 1, 2**53 - 2, -1]])
@pytest.mark.parametrize("make", [list, np.array, torch.tensor, pl.Series, pd.Series, lambda v: pl.DataFrame({"y": v})])
def test_targets_are_float64_and_whole_numbers_stay_exact(labels: list[int], make: Callable[[Any], Any]) -> None:
    read = read_targets(make(labels), 3)
    assert read.dtype == torch.float64
    assert read.flatten().long().tolist() == labels
    assert read.shape == (3, 1)


def test_outputs_keep_their_precision() -> None:
    assert read_outputs(torch.zeros(3, 2), 3).dtype == torch.float32
    assert read_outputs([0, 1, 0], 3).dtype == torch.float32
    precise = np.array([1e8, 1e8 + 1, 1e8 + 2])
    assert read_outputs(precise, 3).flatten().tolist() == precise.tolist()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([1.0, 2.0], "must have 3 values, one a sample, got 2"),
        (5.0, r"must have shape \(n,\) or \(n, o\), got \(\)"),
        (torch.zeros(3, 1, 1), r"must have shape \(n,\) or \(n, o\), got \(3, 1, 1\)"),
        (torch.zeros(3, 0), r"must have shape \(n,\) or \(n, o\), got \(3, 0\)"),
    ],
)
def test_targets_of_another_shape_or_length_are_refused(target: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        read_targets(target, 3)


# ---- sample weights


def test_sample_weights_follow_the_type_of_the_data() -> None:
    read = read_sample_weight([1, 0, 2], 3, torch.zeros(3, 2, dtype=torch.float64))
    assert read is not None
    assert read.dtype == torch.float64
    assert read.tolist() == [1, 0, 2]
    assert read_sample_weight(None, 3, torch.zeros(3, 2)) is None


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        ([1.0, 2.0], ShapeError, r"must have shape \(3,\), got \(2,\)"),
        ([[1.0], [1.0], [1.0]], ShapeError, r"must have shape \(3,\), got \(3, 1\)"),
        ([1.0, -0.5, -1.0], DataError, r"must be finite and not negative, got -0.5 at index 1 \(2 such\)"),
        ([1.0, NAN, 1.0], DataError, r"must be finite and not negative, got nan at index 1 \(1 such\)"),
        ([1.0, 1.0, float("inf")], DataError, "must be finite and not negative, got inf at index 2"),
        ([0, 0, 0], DataError, "must not be 0 for every sample"),
        (["a", "b", "c"], DataTypeError, "must be numeric"),
    ],
)
def test_sample_weights_are_finite_not_negative_and_one_a_sample(
    weight: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^sample_weight {message}"):
        read_sample_weight(weight, 3, torch.zeros(3, 2))

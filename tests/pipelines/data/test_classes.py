from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from pipelines.data import classes
from pipelines.data.classes import Classes, class_kind, classes_of
from tests.pipelines.data.reading import problems, read

N = 6
FEATURES = {"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "b": [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]}


def written(folder: Path, **targets: Any) -> Path:
    pl.DataFrame({**FEATURES, **targets}).write_parquet(folder / "rows.parquet")
    return folder


def test_text_and_booleans_are_classes_by_themselves_and_whole_numbers_by_declaration(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        name=["ox", "cat", None, "ox", "ape", "cat"],
        flag=[True, False, None, True, True, False],
        level=[10, 9, 10, None, -1, 9],
        grade=pl.Series(["lo", "hi", "lo", "lo", None, "hi"], dtype=pl.Categorical),
        y=FEATURES["a"],
    )
    dataset = read(path, target=["name", "flag", "level", "grade", "y"], target_kind={"level": "class"})
    assert dataset.classes == {
        "name": Classes("text", ("ape", "cat", "ox")),
        "flag": Classes("boolean", ("false", "true")),
        "level": Classes("integer", ("-1", "9", "10")),
        "grade": Classes("text", ("hi", "lo")),
    }
    nan = np.nan
    np.testing.assert_array_equal(dataset.target[:, 0], [2, 1, nan, 2, 0, 1])
    np.testing.assert_array_equal(dataset.target[:, 1], [1, 0, nan, 1, 1, 0])
    np.testing.assert_array_equal(dataset.target[:, 2], [2, 1, 2, nan, 0, 1])
    np.testing.assert_array_equal(dataset.target[:, 4], FEATURES["a"])
    assert (dataset.levels, dataset.columns) == ({}, ())


def test_booleans_that_are_declared_as_numbers_are_0_and_1(tmp_path: Path) -> None:
    path = written(tmp_path, flag=[True, False, None, True, True, False])
    dataset = read(path, target=["flag"], target_kind={"flag": "number"})
    np.testing.assert_array_equal(dataset.target[:, 0], [1, 0, np.nan, 1, 1, 0])
    assert dataset.classes == {}


def test_labels_come_back_in_their_own_type() -> None:
    codes = np.array([1.0, 0.0])
    for values in (["b", "a"], [7, -3], [True, False]):
        known = classes_of(np.unique(values))
        found = known.labels(codes)
        assert found.tolist() == values
        np.testing.assert_array_equal(known.codes(found), codes)
    assert classes_of(np.array(["a"])).codes(np.array(["z"])).tolist() == [1.0]


@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ([0.5, 1.0, 2.0, 1.0, 1.0, 2.0], "class", "data.target_kind: column 'y' in {} must hold whole numbers, text "
         "or true and false, got 0.5: it is declared as class"),
        (["x"] * 6, "number", "data.target_kind: column 'y' is text, which is a class"),
        (pl.Series([0] * 6).cast(pl.Date), "class", "data.target_kind: column 'y' must hold text, whole numbers or "
         "true and false to be a class, got dates or times"),
    ],
)  # fmt: skip
def test_columns_that_are_no_classes_are_refused(tmp_path: Path, column: Any, kind: str, expected: str) -> None:
    path = written(tmp_path, y=column)
    found = problems(path, target=["y"], target_kind={"y": kind})
    assert found == [expected.format(tmp_path / "rows.parquet")]


def test_a_target_with_a_class_for_nearly_every_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.data.counts.MOST_CLASSES", 4)
    path = written(tmp_path, y=[f"row {i}" for i in range(N)])
    assert problems(path, target=["y"]) == [
        "data.target: column 'y' has over 4 classes, such as 'row 0': it names rows rather than classes, leave it out"
    ]


def test_numbers_stay_numbers_where_nothing_is_said() -> None:
    assert class_kind(pa.int64(), None) is None
    assert class_kind(pa.float32(), "number") is None
    assert class_kind(pa.dictionary(pa.int8(), pa.string()), None) == "text"
    assert classes.MOST_CLASSES == 1_000

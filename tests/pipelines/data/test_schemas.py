from datetime import time, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data import find_source
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read, wanted


def test_patterns_take_matching_columns_in_order_but_never_target_or_time(write: WriteDataset) -> None:
    frame = pl.DataFrame(
        {"t_in": [1.0, 2.0], "p": [3.0, 4.0], "t_out": [5.0, 6.0], "t_goal": [0.0, 1.0], "t_ime": [1, 2]}
    )
    dataset = read(write(frame), features=["p", "t_*", "t_in"], target="t_goal", time="t_ime")
    assert dataset.feature_names == ("p", "t_in", "t_out")


def test_every_file_that_is_cut_off_or_no_parquet_is_named(write: WriteDataset) -> None:
    good = write(table(), "d/1.parquet")
    (good.parent / "2.parquet").write_bytes(good.read_bytes()[:500])
    (good.parent / "3.parquet").write_bytes(b"")
    (good.parent / "4.parquet").write_text("a,b\n1,2\n" * 100)
    lines = problems(good.parent)
    assert len(lines) == 3
    for line, name in zip(lines, ("2", "3", "4"), strict=True):
        assert line.startswith(f"data.path: {good.parent / name}.parquet is not a whole Parquet file: ")


def test_absent_columns_are_told_with_the_nearest_names(write: WriteDataset) -> None:
    path = write(table().rename({"a": "temp_in", "b": "temp_out"}))
    lines = problems(path, features=["temp_inn", "flow*"], target="yy", time="tme", where="cc > 1")
    assert lines == [
        f"data.features: no column 'temp_inn' in {path}: did you mean temp_in or temp_out?",
        f"data.features: no column matches flow* in {path}: columns are time, temp_in, temp_out, c, y",
        f"data.target: no column 'yy' in {path}: did you mean y?",
        f"data.time: no column 'tme' in {path}: did you mean time?",
        f"data.where: no column 'cc' in {path}: did you mean c?",
    ]


@pytest.mark.parametrize("text", ["a, b", "a,b", "a; b"])
def test_columns_in_one_text_are_told_as_a_list(write: WriteDataset, text: str) -> None:
    path = write(table())
    assert problems(path, features=text) == [
        f"data.features: no column {text!r} in {path}: several columns are a list, write [a, b]"
    ]
    assert read(write(table().rename({"a": text}), "odd.parquet"), features=text).feature_names == (text,)


def test_a_file_that_lacks_a_column_is_named(write: WriteDataset) -> None:
    write(table(), "d/1.parquet")
    path = write(table().drop("b"), "d/2.parquet")
    assert problems(path.parent) == [
        f"data.features: no column 'b' in {path}, though other files of the dataset have it"
    ]


def test_columns_of_one_fault_share_a_line(write: WriteDataset) -> None:
    path = write(
        table().with_columns(**dict.fromkeys(("s1", "s2", "s3", "s4", "s5", "s6"), pl.lit("x"))), "d/1.parquet"
    )
    other = write(table().drop("a", "b"), "d/2.parquet")
    assert problems(path, features=["a", "s*"]) == [
        "data.features: columns 's1', 's2', 's3', 's4', 's5' and 1 more must be numeric, got text: say in data.columns "
        "what it is, such as city: category or grade: ordinal with its order",
    ]
    assert problems(path.parent) == [
        f"data.features: no columns 'a', 'b' in {other}, though other files of the dataset have them"
    ]


def test_text_that_impala_stores_as_bytes_filters_rows_and_is_no_feature(write: WriteDataset) -> None:
    path = write(table(4).with_columns(carrier=pl.Series([b"AA", b"OO", b"AA", None])))
    expected = read(path).features[[0, 2]].tolist()
    assert read(path, where="carrier = 'AA'").features.tolist() == expected
    (line,) = problems(path, features=["a", "carrier"])
    assert line.startswith("data.features: column 'carrier' must be numeric, got bytes: say in data.columns")


@pytest.mark.parametrize("index", ["__index_level_0__", "__null_dask_index__"])
def test_a_pattern_takes_no_numbers_of_rows_and_says_so(write: WriteDataset, index: str) -> None:
    path = write(table(8).select("a", "b", pl.int_range(8).alias(index)))
    dataset, found = read(path, features=["*"]), find_source(wanted(path, features=["*"]))
    assert dataset.feature_names == ("a", "b")
    assert found.notes == (f"column {index!r} not taken by a pattern: pandas or Dask keeps the numbers of rows there",)
    assert read(path, features=["a", index]).feature_names == ("a", index)
    assert find_source(wanted(path, features=["a", index])).notes == ()


def test_a_file_without_columns_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, 2.0]}).select([]), tmp_path / "none.parquet")
    file = tmp_path / "none.parquet"
    (line,) = problems(file, features=["*"])
    assert line == f"data.features: no column matches * in {file}: it has no columns"


def test_columns_that_are_not_numbers_are_named_with_what_they_are(write: WriteDataset) -> None:
    path = write(table().with_columns(s=pl.lit("x"), when=pl.col("time")))
    assert problems(path, features=["s", "when"], target="time") == [
        "data.features: column 's' must be numeric, got text: say in data.columns what it is, such as city: "
        "category or grade: ordinal with its order",
        "data.features: column 'when' must be numeric, got dates or times: data.columns takes parts of it, such as "
        "when: time; data.time orders the rows by it",
        "data.target: column 'time' must be numeric, got dates or times",
    ]
    other = write(table().with_columns(a=pl.lit("x")), "data/part-1.parquet")
    (line,) = problems(path.parent)
    assert line.startswith(f"data.features: column 'a' must be numeric, got text in {other}, and double in {path}: ")


@pytest.mark.parametrize("kind", ["category", "number", "time"])
def test_columns_of_types_that_no_feature_is_made_of_are_refused_whatever_is_said_of_them(
    tmp_path: Path, kind: str
) -> None:
    columns = {"span": [timedelta(hours=1)] * 3, "clock": [time(9)] * 3, "tags": [[1], [2], []], "b": [1.0, 2.0, 3.0]}
    pl.DataFrame(columns).write_parquet(tmp_path / "d.parquet")
    for name in ("span", "clock", "tags"):
        (line,) = problems(tmp_path, features=[name, "b"], columns={name: kind})
        assert line.startswith(f"data.columns: column {name!r} holds ")
        assert "which no feature is made of: write it as numbers" in line

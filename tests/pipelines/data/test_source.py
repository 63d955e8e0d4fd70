from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.data import partitions
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read, wanted


def test_a_partition_of_the_folder_names_filters_rows_and_serves_as_feature(write: WriteDataset) -> None:
    write(table()[:30], "d/month=1/part-0.parquet")
    root = write(table()[30:], "d/month=2/part-0.parquet").parents[1]
    assert len(read(root, where="month = 1").features) == 30
    np.testing.assert_array_equal(read(root, features=["month"]).features[:, 0], [1] * 30 + [2] * 170)


def test_start_is_in_and_end_is_out(write: WriteDataset) -> None:
    dataset = read(write(table()), time="time", start="2024-01-01T05:00:00", end="2024-01-01T08:00:00")
    np.testing.assert_array_equal(dataset.features, table()[5:8].select("a", "b").to_numpy().astype(np.float32))
    assert (dataset.survey.first, dataset.survey.last) == (datetime(2024, 1, 1, 5), datetime(2024, 1, 1, 7))


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_moment_with_a_zone_is_found_in_columns_of_any_zone_and_unit(
    write: WriteDataset, zone: str | None, unit: Any
) -> None:
    utc = pl.col("time").dt.replace_time_zone("UTC")
    stored = utc.dt.convert_time_zone(zone) if zone else pl.col("time")
    path = write(table().with_columns(stored.dt.cast_time_unit(unit)))
    dataset = read(path, time="time", start="2024-01-01T07:00:00+02:00")  # 5 o'clock in UTC
    assert len(dataset.features) == 195


def test_dates_are_filtered_too(write: WriteDataset) -> None:
    path = write(table().with_columns(pl.col("time").dt.date()))
    assert len(read(path, time="time", end="2024-01-02").features) == 24


def test_a_condition_may_use_columns_that_are_not_read(write: WriteDataset) -> None:
    path = write(table())
    kept = table().filter((pl.col("c") > 0) & (pl.col("y") <= 4))
    assert len(read(path, where="c > 0 AND y <= 4").features) == len(kept)


def test_numbers_of_any_width_are_read_also_mixed_between_files(write: WriteDataset) -> None:
    write(pl.DataFrame({"a": [1, 2], "b": [True, False]}, schema={"a": pl.Int8, "b": pl.Boolean}), "d/1.parquet")
    write(pl.DataFrame({"b": [False], "a": [0.5]}, schema={"b": pl.Boolean, "a": pl.Float32}), "d/2.parquet")
    path = write(pl.DataFrame({"a": [7], "b": [True], "more": ["x"]}, schema_overrides={"a": pl.UInt64}), "d/3.parquet")
    np.testing.assert_array_equal(read(path.parent).features, [[1, 1], [2, 0], [0.5, 0], [7, 1]])


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("a >", "data.where: a >: unable to parse 'a >' as Expr"),
        ("a", "data.where: a: must be true or false for each row, such as month <= 6, got Float64"),
        ("a > 'x'", "data.where: a > 'x': "),
    ],
)
def test_a_condition_that_cannot_be_understood_is_told(write: WriteDataset, where: str, reason: str) -> None:
    (line,) = problems(write(table()), where=where)
    assert line.startswith(reason)


def test_time_must_be_something_that_orders_rows(write: WriteDataset) -> None:
    path = write(table().with_columns(s=pl.lit("x"), n=pl.int_range(pl.len())))
    assert problems(path, time="s") == ["data.time: column 's' must hold dates, times or numbers, got text"]
    (line,) = problems(path, time="n", start="2024-01-01")
    assert line.startswith("data.start and data.end need dates or times in data.time, got 'n' of type int64")
    path = write(table().with_columns(time=pl.when(pl.col("a") > 0).then("time")), "gaps/1.parquet")
    gaps = int((table()["a"] <= 0).sum())
    assert problems(path, time="time") == [f"data.time: column 'time' is missing in {gaps} of 200 rows"]


def test_utc_is_what_a_moment_without_zone_means(write: WriteDataset) -> None:
    path = write(table().with_columns(pl.col("time").dt.replace_time_zone("UTC")))
    by_text = read(path, time="time", start="2024-01-02")
    by_value = read(path, time="time", start=datetime(2024, 1, 2, tzinfo=UTC))
    assert len(by_text.features) == len(by_value.features) == 176


def test_partitions_are_those_that_hold_wanted_rows(write: WriteDataset) -> None:
    for day in ("2024-02-10", "2024-02-09", "2023-12-31"):
        path = write(table()[:5].with_columns(a=pl.lit(float(day[-2:]))), f"d/region=x/day={day}/part-0.parquet")
    found = partitions(wanted(path.parents[2], where="a < 20"))
    assert found.columns == ["region", "day"]
    assert [str(day) for day in found["day"]] == ["2024-02-09", "2024-02-10"]
    assert partitions(wanted(write(table()))).is_empty()


def mixed() -> pl.DataFrame:
    return table(40).with_columns(
        city=pl.Series(["Rome", "Oslo", None, "Bonn"] * 10),
        hour=pl.int_range(40) % 24,
        code=pl.Series([" 1.5", "2", " ", "4"] * 10),
    )


SAID: dict[str, Any] = {
    "features": ["a", "city", "hour", "code", "time"],
    "columns": {"c*y": "category", "hour": {"kind": "cyclic", "period": 24}, "code": "number", "time": "time"},
}


def test_columns_that_are_more_than_numbers_are_read_as_the_numbers_that_they_stand_for(write: WriteDataset) -> None:
    path = write(mixed()[:21])
    write(mixed()[21:].with_columns(pl.col("city").cast(pl.Categorical)), "data/part-1.parquet")
    dataset = read(path.parent, **SAID, time="time")
    assert dataset.feature_names == (
        "a", "city", "hour", "code", "time hour_of_day", "time day_of_week", "time day_of_year"
    )  # fmt: skip
    assert dataset.levels == {"city": ("Bonn", "Oslo", "Rome")}
    np.testing.assert_array_equal(dataset.features[:4, 1], [2, 1, np.nan, 0])
    np.testing.assert_array_equal(dataset.features[:4, 3], [1.5, 2, np.nan, 4])
    np.testing.assert_array_equal(dataset.features[[0, 5, 39], 4:], [[0, 1, 1], [5, 1, 1], [15, 2, 2]])
    assert dataset.survey.columns["city"] == (10, 0, 0.0, 2.0)
    assert dataset.survey.incomplete == 10  # city and code lack the same rows
    assert dataset.example is not None
    assert dataset.example.row(1) == tuple(mixed().select("a", "city", "hour", "code", "time").row(1))
    assert len(read(path.parent, **SAID, drop_incomplete=True).features) == 30


def test_the_digest_follows_the_values_of_a_category(write: WriteDataset) -> None:
    said = {"features": ["a", "city"], "columns": {"city": "category"}}
    before = read(write(mixed()), **said).sha256
    assert read(write(mixed().with_columns(pl.col("city").replace("Rome", "Roma"))), **said).sha256 != before


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"columns": SAID["columns"] | {"citty": "category"}}, "data.columns: citty is no feature: did you mean city?"),
        ({"columns": {"c": "boolean"}}, "data.columns: c is no feature"),
        ({"columns": {"city": "boolean"}, "features": ["city"]}, "must hold true and false, yes and no, or 1 and 0"),
        ({"columns": {"code": "time"}, "features": ["code"]}, "must hold dates or times such as"),
        ({"columns": {"a": "time"}, "features": ["a"]}, "must hold dates or times, got the type Float64"),
    ],
)
def test_columns_that_are_not_what_is_said_are_refused(write: WriteDataset, change: Any, expected: str) -> None:
    found = problems(write(mixed()), **SAID | change)
    assert any(expected in line and line.startswith("data.columns: ") for line in found), found


def test_a_category_of_a_value_for_each_row_is_refused_in_bounded_memory(
    write: WriteDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.data.counts.MOST_VALUES", 30)
    path = write(table(40).with_columns(a=pl.int_range(40)))
    (line,) = problems(path, columns={"a": "category"})
    assert line == "data.columns: column 'a' has over 30 values, such as '0': it is no category, leave it out"

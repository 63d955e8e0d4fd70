import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines import data
from pipelines.config import load_config
from pipelines.data import (
    Dataset,
    find_source,
    known_times,
    newest_share_from,
    partitions,
    read_dataset,
    survey,
    time_span,
)
from pipelines.errors import DatasetError
from pipelines.sections import DataConfig
from tests.pipelines.conftest import WEATHER, WriteDataset, table


def wanted(path: Path | str, **settings: Any) -> DataConfig:
    return DataConfig.model_validate({"path": str(path), "features": ["a", "b"]} | settings)


def read(path: Path | str, **settings: Any) -> Dataset:
    config = wanted(path, **settings)
    source = find_source(config)
    return read_dataset(source, survey(source, config.drop_incomplete), config.drop_incomplete)


def problems(path: Path | str, **settings: Any) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        read(path, **settings)
    return list(caught.value.problems)


# ---------------------------------------------------------------- where rows come from


def test_a_file_a_folder_and_a_pattern_give_the_same_rows(write: WriteDataset) -> None:
    file = write(table())
    expected = table().select("a", "b").to_numpy().astype(np.float32)
    for path in (file, file.parent, file.parent / "*.parquet", file.parents[1] / "**/part-*.parquet"):
        np.testing.assert_array_equal(read(path).features, expected)


def test_files_of_a_folder_are_read_in_the_order_of_their_names(write: WriteDataset) -> None:
    for name, rows in (("d/2.parquet", table()[100:]), ("d/1.parquet", table()[:50]), ("d/10/x.pq", table()[50:100])):
        path = write(rows, name)
    np.testing.assert_array_equal(
        read(path.parents[1]).features, table().select("a", "b").to_numpy().astype(np.float32)
    )


def test_files_of_writers_at_work_and_hidden_files_are_passed_over(write: WriteDataset) -> None:
    folder = write(table()).parent
    for name in ("_temporary/part-1.parquet", ".part-2.parquet", "_metadata", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not parquet")
    assert len(read(folder).features) == 200


def test_a_partition_of_the_folder_names_filters_rows_and_serves_as_feature(write: WriteDataset) -> None:
    write(table()[:30], "d/month=1/part-0.parquet")
    root = write(table()[30:], "d/month=2/part-0.parquet").parents[1]
    assert len(read(root, where="month = 1").features) == 30
    np.testing.assert_array_equal(read(root, features=["month"]).features[:, 0], [1] * 30 + [2] * 170)


def test_the_shipped_dataset_is_read_whole() -> None:
    config = load_config(WEATHER).data
    source = find_source(config)
    found = survey(source, drop_incomplete=False)
    assert (len(source.files), found.found, found.incomplete) == (12, 8714, 1739)
    dataset = read_dataset(source, found, drop_incomplete=False)
    frame = pl.read_parquet(config.path)
    np.testing.assert_array_equal(dataset.features, frame.select(source.features).to_numpy().astype(np.float32))
    np.testing.assert_array_equal(dataset.target, frame.select("humid_JFK", "temp_JFK").to_numpy())


def test_patterns_take_matching_columns_in_order_but_never_target_or_time(write: WriteDataset) -> None:
    frame = pl.DataFrame(
        {"t_in": [1.0, 2.0], "p": [3.0, 4.0], "t_out": [5.0, 6.0], "t_goal": [0.0, 1.0], "t_ime": [1, 2]}
    )
    dataset = read(write(frame), features=["p", "t_*", "t_in"], target="t_goal", time="t_ime")
    assert dataset.feature_names == ("p", "t_in", "t_out")


# ---------------------------------------------------------------- which rows


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


def test_incomplete_rows_are_dropped_and_counted_where_asked(write: WriteDataset) -> None:
    frame = table().with_columns(
        a=pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("a"),
        b=pl.when(pl.int_range(pl.len()) % 4 == 0).then(float("nan")).otherwise("b"),
    )
    dataset = read(write(frame), drop_incomplete=True, target="y")
    kept = frame.filter(pl.col("a").is_not_null() & pl.col("b").is_not_nan())
    np.testing.assert_array_equal(dataset.features, kept.select("a", "b").to_numpy().astype(np.float32))
    np.testing.assert_array_equal(dataset.target[:, 0], kept["y"])
    assert (dataset.survey.found, dataset.survey.left_out) == (200, 60)  # 20 + 50 - 10 with both


def test_missing_values_become_nan_and_missing_targets_too(write: WriteDataset) -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [1, 2, None], "y": [None, 1.0, 2.0]})
    dataset = read(write(frame), target="y")
    np.testing.assert_array_equal(dataset.features, [[1, 1], [np.nan, 2], [3, np.nan]])
    np.testing.assert_array_equal(dataset.target, [[np.nan], [1], [2]])


# ---------------------------------------------------------------- values


def test_numbers_of_any_width_are_read_also_mixed_between_files(write: WriteDataset) -> None:
    write(pl.DataFrame({"a": [1, 2], "b": [True, False]}, schema={"a": pl.Int8, "b": pl.Boolean}), "d/1.parquet")
    write(pl.DataFrame({"b": [False], "a": [0.5]}, schema={"b": pl.Boolean, "a": pl.Float32}), "d/2.parquet")
    path = write(pl.DataFrame({"a": [7], "b": [True], "more": ["x"]}, schema_overrides={"a": pl.UInt64}), "d/3.parquet")
    np.testing.assert_array_equal(read(path.parent).features, [[1, 1], [2, 0], [0.5, 0], [7, 1]])


def test_float64_is_taken_where_float32_cannot_tell_values_apart(write: WriteDataset) -> None:
    far = table().with_columns(a=pl.col("a") + 1e9)
    assert read(write(table())).features.dtype == np.float32
    dataset = read(write(far))
    assert dataset.features.dtype == np.float64
    np.testing.assert_array_equal(dataset.features[:, 0], far["a"])


def test_rows_are_read_in_batches_into_one_array(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "BATCH_ROWS", 7)
    dataset = read(write(table()), time="time", target=["y", "c"])
    np.testing.assert_array_equal(dataset.features, table().select("a", "b").to_numpy().astype(np.float32))
    np.testing.assert_array_equal(dataset.target, table().select("y", "c").to_numpy())
    assert dataset.time is not None
    np.testing.assert_array_equal(np.diff(dataset.time), 3600 * 10**6)


def test_the_survey_counts_what_is_there(write: WriteDataset) -> None:
    frame = pl.DataFrame({"a": [1.0, None, float("nan"), 4.0, float("inf")], "b": [2.0, 2, 2, 2, 2]})
    found = survey(find_source(wanted(write(frame))), drop_incomplete=False)
    assert (found.found, found.incomplete, found.used) == (5, 2, 5)
    assert found.columns["a"] == (2, 1, 1.0, 4.0)
    assert found.columns["b"].constant


def test_the_digest_is_that_of_the_content_however_it_is_stored(write: WriteDataset) -> None:
    whole = read(write(table(), "whole/1.parquet"), target="y").sha256
    for start in (0, 120):
        path = write(table()[start : 120 + start], f"parts/{start:03}.parquet")
    table().write_parquet(path.with_name("packed"), compression="gzip", row_group_size=17)
    assert read(path.parent, target="y").sha256 == whole
    assert read(path.with_name("packed"), target="y").sha256 == whole


def test_the_digest_sees_values_names_and_roles(write: WriteDataset) -> None:
    base = read(write(table()), target="y").sha256
    changed = table().with_columns(a=pl.when(pl.int_range(pl.len()) == 7).then(0.0).otherwise("a"))
    others = [
        read(write(changed, "x/1.parquet"), target="y"),
        read(write(table()), target="c"),
        read(write(table()), features=["b", "a"], target="y"),
        read(write(table().rename({"a": "z"}), "z/1.parquet"), features=["z", "b"], target="y"),
    ]
    assert len({base, *(other.sha256 for other in others)}) == 5


def test_the_digest_is_the_documented_sha256(write: WriteDataset) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    content = b"a\0b\0" + b"\0float32(2, 2)" + np.array([[1, 3], [2, 5]], np.float32).tobytes() + b"\0float64(2, 0)"
    assert read(write(frame)).sha256 == hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------- problems


def test_a_missing_path_is_told_with_the_nearest(write: WriteDataset) -> None:
    folder = write(table()).parent
    assert problems(folder.with_name("dtaa")) == [
        f"data.path: no such file or folder: {folder.with_name('dtaa')}: did you mean {folder}?"
    ]
    assert problems(folder / "*.pqt") == [f"data.path: no file matches {folder / '*.pqt'}"]
    assert problems("s3://bucket/x") == ["data.path must be a local file, folder or pattern, got s3://bucket/x"]


def test_a_folder_without_data_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "readings.csv").write_text("a,b\n1,2\n")
    (line,) = problems(tmp_path / "d")
    assert line == f"data.path: no file named *.parquet or *.pq in the folder {tmp_path / 'd'}"


def test_every_file_that_is_cut_off_or_no_parquet_is_named(write: WriteDataset) -> None:
    good = write(table(), "d/1.parquet")
    (good.parent / "2.parquet").write_bytes(good.read_bytes()[:500])
    (good.parent / "3.parquet").write_bytes(b"")
    (good.parent / "4.parquet").write_text("a,b\n1,2\n" * 100)
    lines = problems(good.parent)
    assert len(lines) == 3
    for line, name in zip(lines, ("2", "3", "4"), strict=True):
        assert line.startswith(f"data.path: {good.parent / name}.parquet is not a whole Parquet file: ")


def test_a_file_damaged_inside_is_named(write: WriteDataset) -> None:
    write(table(), "d/1.parquet")
    path = write(table(), "d/2.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 2000 + content[2004:])
    (line,) = problems(path.parent)
    assert line.startswith(f"data.path: {path} cannot be read: ")


def test_absent_columns_are_told_with_the_nearest_names(write: WriteDataset) -> None:
    path = write(table().rename({"a": "temp_in", "b": "temp_out"}))
    lines = problems(path, features=["temp_inn", "flow*"], target="yy", time="tme", where="cc > 1")
    assert lines == [
        f"data.features: no column 'temp_inn' in {path}: did you mean temp_in or temp_out?",
        f"data.features: no column matches flow* in {path}",
        f"data.target: no column 'yy' in {path}: did you mean y?",
        f"data.time: no column 'tme' in {path}: did you mean time?",
        f"data.where: no column 'cc' in {path}: did you mean c?",
    ]


def test_a_file_that_lacks_a_column_is_named(write: WriteDataset) -> None:
    write(table(), "d/1.parquet")
    path = write(table().drop("b"), "d/2.parquet")
    assert problems(path.parent) == [
        f"data.features: no column 'b' in {path}, though other files of the dataset have it"
    ]


def test_columns_that_are_not_numbers_are_named_with_what_they_are(write: WriteDataset) -> None:
    path = write(table().with_columns(s=pl.lit("x"), when=pl.col("time")))
    assert problems(path, features=["s", "when"], target="time") == [
        "data.features: column 's' must be numeric, got text",
        "data.features: column 'when' must be numeric, got dates or times",
        "data.target: column 'time' must be numeric, got dates or times",
    ]
    other = write(table().with_columns(a=pl.lit("x")), "data/part-1.parquet")
    assert problems(path.parent) == [f"data.features: column 'a' must be numeric, got text in {other}"]


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("a >", "data.where: a >: unable to parse 'a >' as Expr"),
        ("a", "data.where: a: filter predicate must be of type `Boolean`"),
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
    assert line.startswith("data.start and data.end need dates or times in data.time, got 'n' of type Int64")
    path = write(table().with_columns(time=pl.when(pl.col("a") > 0).then("time")), "gaps/1.parquet")
    gaps = int((table()["a"] <= 0).sum())
    assert problems(path, time="time") == [f"data.time: column 'time' is missing in {gaps} of 200 rows"]


def test_files_that_change_between_survey_and_reading_are_noticed(write: WriteDataset) -> None:
    path = write(table())
    source = find_source(wanted(path))
    found = survey(source, drop_incomplete=False)
    for rows in (table()[:150], pl.concat([table(), table()])):
        rows.write_parquet(path)
        with pytest.raises(DatasetError, match="changed while it was read"):
            read_dataset(source, found, drop_incomplete=False)


def test_a_moved_dataset_has_the_same_digest(write: WriteDataset, tmp_path: Path) -> None:
    path = write(table(), "here/month=1/part-0.parquet")
    before = read(tmp_path / "here", target="y").sha256
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert not path.exists()
    assert read(tmp_path / "there", target="y").sha256 == before


def test_utc_is_what_a_moment_without_zone_means(write: WriteDataset) -> None:
    path = write(table().with_columns(pl.col("time").dt.replace_time_zone("UTC")))
    by_text = read(path, time="time", start="2024-01-02")
    by_value = read(path, time="time", start=datetime(2024, 1, 2, tzinfo=UTC))
    assert len(by_text.features) == len(by_value.features) == 176


# ---------------------------------------------------------------- where rows lie in time


def test_the_span_of_time_and_the_newest_share_are_those_of_the_wanted_rows(write: WriteDataset) -> None:
    time = np.random.default_rng(5).permutation(40)
    path = write(pl.DataFrame({"t": time, "a": np.arange(40.0), "b": 0.0}))
    source = find_source(wanted(path, time="t", where="a >= 10"))
    kept = np.sort(time[10:])
    assert time_span(source) == (kept[0], kept[-1])
    assert newest_share_from(source, 0.2) == kept[-6]
    assert newest_share_from(source, 0.01) is None
    assert time_span(find_source(wanted(path, time="t", where="a > 99"))) == (None, None)


def test_times_of_known_values_are_those_of_rows_that_are_read(write: WriteDataset) -> None:
    rows = pl.DataFrame({"t": [5, 3, 9, 7], "a": [1.0, None, 2.0, 3.0], "y": [1.0, 1.0, float("nan"), 2.0]})
    source = find_source(wanted(write(rows), features=["a"], target="y", time="t"))
    assert known_times(source, "y", drop_incomplete=False).to_list() == [5, 3, 7]
    assert known_times(source, "y", drop_incomplete=True).to_list() == [5, 7]


def test_features_are_read_as_float64_where_that_is_asked_for(write: WriteDataset) -> None:
    source = find_source(wanted(write(pl.DataFrame({"a": [0.1, 0.7], "b": [1.0, 2.0]}))))
    found = survey(source, drop_incomplete=False)
    assert read_dataset(source, found, False).features.dtype == np.float32
    exact = read_dataset(source, found, False, np.float64).features
    np.testing.assert_array_equal(exact, [[0.1, 1.0], [0.7, 2.0]])


def test_partitions_are_those_that_hold_wanted_rows(write: WriteDataset) -> None:
    for day in ("2024-02-10", "2024-02-09", "2023-12-31"):
        path = write(table()[:5].with_columns(a=pl.lit(float(day[-2:]))), f"d/region=x/day={day}/part-0.parquet")
    found = partitions(wanted(path.parents[2], where="a < 20"))
    assert found.columns == ["region", "day"]
    assert [str(day) for day in found["day"]] == ["2024-02-09", "2024-02-10"]
    assert partitions(wanted(write(table()))).is_empty()

import hashlib
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.data import (
    find_source,
    known_times,
    read_dataset,
    rows,
    survey,
)
from pipelines.errors import DatasetError
from pipelines.settings.config import load_config
from tests.pipelines.conftest import WEATHER, WriteDataset, table
from tests.pipelines.data.reading import read, wanted


def test_the_shipped_dataset_is_read_whole() -> None:
    config = load_config(WEATHER).data
    source = find_source(config)
    found = survey(source, drop_incomplete=False)
    assert (len(source.files), found.found, found.incomplete) == (12, 8714, 1739)
    dataset = read_dataset(source, found, drop_incomplete=False)
    frame = pl.read_parquet(config.path)
    np.testing.assert_array_equal(dataset.features, frame.select(source.features).to_numpy().astype(np.float32))
    np.testing.assert_array_equal(dataset.target, frame.select("humid_JFK", "temp_JFK").to_numpy())


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


def test_float64_is_taken_where_float32_cannot_tell_values_apart(write: WriteDataset) -> None:
    far = table().with_columns(a=pl.col("a") + 1e9)
    assert read(write(table())).features.dtype == np.float32
    dataset = read(write(far))
    assert dataset.features.dtype == np.float64
    np.testing.assert_array_equal(dataset.features[:, 0], far["a"])


def test_rows_are_read_in_batches_into_one_array(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH_ROWS", 7)
    dataset = read(write(table()), time="time", target=["y", "c"])
    np.testing.assert_array_equal(dataset.features, table().select("a", "b").to_numpy().astype(np.float32))
    np.testing.assert_array_equal(dataset.target, table().select("y", "c").to_numpy())
    assert dataset.time is not None
    np.testing.assert_array_equal(np.diff(dataset.time), 3600 * 10**6)


def test_the_digest_is_that_of_the_content_however_it_is_stored(write: WriteDataset) -> None:
    whole = read(write(table(), "whole/1.parquet"), target="y").sha256
    for start in (0, 120):
        path = write(table()[start : 120 + start], f"parts/{start:03}.parquet")
    table().write_parquet(path.parents[1] / "packed", compression="gzip", row_group_size=17)
    assert read(path.parent, target="y").sha256 == whole
    assert read(path.parents[1] / "packed", target="y").sha256 == whole


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


def test_files_that_change_between_survey_and_reading_are_noticed(write: WriteDataset) -> None:
    path = write(table())
    source = find_source(wanted(path))
    found = survey(source, drop_incomplete=False)
    for changed in (table()[:150], pl.concat([table(), table()])):
        changed.write_parquet(path)
        with pytest.raises(DatasetError, match="changed while it was read"):
            read_dataset(source, found, drop_incomplete=False)


def test_a_moved_dataset_has_the_same_digest(write: WriteDataset, tmp_path: Path) -> None:
    path = write(table(), "here/month=1/part-0.parquet")
    before = read(tmp_path / "here", target="y").sha256
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert not path.exists()
    assert read(tmp_path / "there", target="y").sha256 == before


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


@pytest.mark.parametrize("scale", [1e300, 1e39, 1e-40, 1e-300])
def test_float64_is_taken_where_float32_cannot_hold_the_values(write: WriteDataset, scale: float) -> None:
    dataset = read(write(table().with_columns(pl.col("a") * scale)))
    np.testing.assert_array_equal(dataset.features[:, 0], table()["a"].to_numpy() * scale)

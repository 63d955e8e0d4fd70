from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data import find_source, partitions, survey
from pipelines.data.footers import Footer, opened
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read, wanted

NAMES = ["^q.*$", "*", "^", "a.b", "a/b", "1", "ü", "row", "col", "cluster", "A", "a", "x y", 'q"uote', "qa", "low 0",
         "found", "time", "^.*$", "literal", "len"]  # fmt: skip


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A file whose columns have odd names; the i-th holds i, i + 1 and nothing. One more has no name at all."""
    columns = {name: [float(i), i + 1.0, None] for i, name in enumerate(NAMES)}
    nested = pa.array([{"b": -1.0}] * 3)
    pq.write_table(pa.table(columns | {"": [0.0, 0.0, 0.0], "a.": nested}), tmp_path / "1.parquet")
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_taken_by_its_exact_name_in_every_role(odd: Path, name: str) -> None:
    i = NAMES.index(name)
    quoted = '"' + name.replace('"', '""') + '"'
    other = "a" if name != "a" else "A"
    np.testing.assert_array_equal(read(odd, features=[name]).features[:, 0], [i, i + 1, np.nan])
    np.testing.assert_array_equal(read(odd, features=[other], target=name).target[:, 0], [i, i + 1, np.nan])
    assert read(odd, features=[other], where=f"{quoted} > {i}").features[0, 0] == NAMES.index(other) + 1
    found = survey(find_source(wanted(odd, features=[name], drop_incomplete=True)), True)
    assert (found.found, found.used, found.columns[name]) == (3, 2, (1, 0, i, i + 1))
    complete = read(odd, features=[other], time=name, where=f"{quoted} IS NOT NULL")
    assert complete.time is not None
    assert complete.time.tolist() == [i, i + 1]


def test_all_odd_names_at_once_keep_their_columns(odd: Path) -> None:
    dataset = read(odd, features=NAMES)
    np.testing.assert_array_equal(dataset.features[0], np.arange(len(NAMES)))


def test_partitions_may_have_odd_names(write: WriteDataset) -> None:
    for value in (2, 1):
        root = write(table()[:value], f"d/^x$={value}/1.parquet").parents[1]
    assert partitions(wanted(root)).to_dicts() == [{"^x$": 1}, {"^x$": 2}]
    assert len(read(root, where='"^x$" = 2').features) == 2


def test_rows_between_bounds_are_those_of_a_plain_filter_however_they_are_grouped(write: WriteDataset) -> None:
    path = write(table(), "d/1.parquet")
    table().write_parquet(path, row_group_size=13)
    for first, last in ((0, 199), (5, 5), (13, 26), (12, 14), (150, 151), (199, 200)):
        bounds = {"start": table()["time"][first], "end": "2024-01-01T00:00:00"}
        bounds["end"] = table()["time"][min(last, 199)] if last < 200 else "2025-01-01"
        expected = table()[first:last].select("a", "b").to_numpy().astype(np.float32)
        if len(expected):
            np.testing.assert_array_equal(read(path, time="time", **bounds).features, expected)


def test_files_without_a_wanted_partition_are_not_opened(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for month in range(1, 7):
        root = write(table()[:month], f"d/month={month}/1.parquet").parents[1]
    source = find_source(wanted(root, where="month >= 3 AND month <= 4"))
    read_files: list[Path] = []

    def noted(file: Path) -> object:
        read_files.append(file)
        return opened(file)

    monkeypatch.setattr("pipelines.data.rows.opened", noted)
    assert survey(source, False).found == 7
    assert [file.parent.name for file in read_files] == ["month=3", "month=4"]


def test_small_files_are_gathered_and_large_ones_cut(write: WriteDataset) -> None:
    for i in range(20):
        root = write(table()[i * 10 : i * 10 + 10], f"d/{i:02}.parquet").parent
    source = find_source(wanted(root))
    for size in (3, 25, 1000):
        batches = list(source.rows.batches(["b"], size))
        assert pl.concat(batches)["b"].to_list() == table()["b"].to_list()
        assert all(size <= batch.height < 2 * size for batch in batches[:-1])


def test_times_beyond_the_calendar_are_refused_with_the_file(tmp_path: Path) -> None:
    for value in (-62_135_596_800_000_001, 253_402_300_800_000_000):
        values = pa.array([0, value], pa.timestamp("us"))
        pq.write_table(pa.table({"a": [1.0, 2.0], "t": values}), tmp_path / "1.parquet")
        assert problems(tmp_path, features=["a"], time="t") == [
            f"data.time: column 't' holds times outside of the years 1 to 9999 in {tmp_path / '1.parquet'}: leave such "
            "rows out of the file"
        ]
    ends = pa.array([-62_135_596_800_000_000, 253_402_300_799_999_999], pa.timestamp("us"))
    pq.write_table(pa.table({"a": [1.0, 2.0], "t": ends}), tmp_path / "1.parquet")
    assert len(read(tmp_path, features=["a"], time="t").features) == 2


def test_a_file_that_is_gone_or_lost_a_column_is_named(write: WriteDataset) -> None:
    path = write(table())
    source = find_source(wanted(path))
    table().drop("b").write_parquet(path)
    with pytest.raises(ValueError, match=f"{path} cannot be read"):
        survey(source, False)
    path.unlink()
    with pytest.raises(ValueError, match=f"{path} cannot be read: No such file"):
        survey(source, False)


def test_a_footer_says_how_many_rows_there_are(write: WriteDataset) -> None:
    (footer,) = find_source(wanted(write(table()))).rows.footers
    assert isinstance(footer, Footer)
    assert footer.rows == 200

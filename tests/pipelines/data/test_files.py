from pathlib import Path

import numpy as np

from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read


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

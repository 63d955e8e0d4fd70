from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.data.partitions import named_by_folders, partition_types, partition_value
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read


def test_folders_are_decoded_as_writers_encode_them() -> None:
    root = Path("/d")
    files = [
        root / "site=a%20b" / "x",
        root / "site=%5Bn%5D%2F1" / "x",
        root / "site=[n]#%zz" / "x",
        root / "plain" / "x",
    ]
    said = named_by_folders(files, root)
    assert [said[file] for file in files] == [{"site": "a b"}, {"site": "[n]/1"}, {"site": "[n]#%zz"}, {}]
    assert named_by_folders([root / "k=__HIVE_DEFAULT_PARTITION__" / "x"], root) == {
        root / "k=__HIVE_DEFAULT_PARTITION__" / "x": {"k": None}
    }


def test_two_values_of_one_name_in_a_path_are_refused_and_one_value_twice_is_not(write: WriteDataset) -> None:
    root = Path("/d")
    twice = root / "month=1" / "site=a" / "month=1" / "x"
    assert named_by_folders([twice], root) == {twice: {"month": "1", "site": "a"}}
    file = write(table(), "d/month=1/month=2/1.parquet")
    line = f"data.path: the folders of {file} say month=1 and month=2: rename one of them"
    assert problems(file.parents[2], features=["a"]) == [line]


def test_partitions_that_the_path_itself_lies_in_count_but_not_those_further_up() -> None:
    file = Path("/runs/try=3/data/year=2024/month=02/x")
    assert named_by_folders([file], file.parents[1]) == {file: {"year": "2024", "month": "02"}}


@pytest.mark.parametrize(
    ("texts", "dtype", "value"),
    [
        (["1", "02", "-3"], pa.int64(), 1),
        (["1", "2.5"], pa.float64(), 1.0),
        (["2024-02-29", "2024-03-01"], pa.date32(), date(2024, 2, 29)),
        (["2024-02-29", "2024-02-30"], pa.large_string(), "2024-02-29"),
        (["1", "north"], pa.large_string(), "1"),
        (["1", "99999999999999999999"], pa.large_string(), "1"),
        (["nan", "inf"], pa.large_string(), "nan"),
        (["١"], pa.large_string(), "١"),  # a digit to Python's int, not to whoever wrote the folder
    ],
)
def test_the_type_of_a_partition_is_the_narrowest_that_all_its_values_have(
    texts: list[str], dtype: pa.DataType, value: object
) -> None:
    assert partition_types([{"k": text} for text in texts] + [{"k": None}]) == {"k": dtype}
    assert partition_value(texts[0], dtype) == value
    assert partition_value(None, dtype) is None


def test_values_with_marks_select_their_rows(write: WriteDataset) -> None:
    for folder, rows in (("site=[n]%20%231", table()[:7]), ("site=ü*", table()[7:20])):
        root = write(rows, f"d/{folder}/x.parquet").parents[1]
    assert len(read(root, where="site = '[n] #1'").features) == 7
    assert len(read(root, where="site = 'ü*'").features) == 13


def test_what_a_file_stores_counts_before_what_its_folder_says(write: WriteDataset) -> None:
    root = write(table(), "d/a=7/x.parquet").parents[1]
    assert read(root).features[:, 0].tolist() == pytest.approx(table()["a"].to_list())

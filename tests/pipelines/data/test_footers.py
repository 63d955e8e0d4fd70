import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from pipelines.data import find_source, read_dataset, survey
from pipelines.errors import DatasetError
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read, wanted


def test_a_file_that_is_no_parquet_is_named_with_what_it_is(write: WriteDataset) -> None:
    path = write(table())
    whole = path.read_bytes()
    with zipfile.ZipFile(path.with_name("z"), "w") as archive:
        archive.writestr("x", "y")
    feather.write_feather(pa.table({"a": [1.0]}), path.with_name("f"))
    cases = {
        "it is empty (0 bytes)": b"",
        "it is text: if it is CSV, convert it with pandas.read_csv": b"\xef\xbb\xbfa\n\xc3\xbc\n",
        "it is cut off, its writer or a copy did not finish": whole[:-9],
        "it is compressed as a whole (gzip): unpack it": gzip.compress(whole),
        "it is Arrow IPC (Feather)": path.with_name("f").read_bytes(),
        "it is a zip archive, or Excel": path.with_name("z").read_bytes(),
        "it is encrypted, which cannot be read": b"PARE" + whole[4:-4] + b"PARE",
        "it is of another format": np.random.default_rng(0).bytes(999),
    }
    for reason, content in cases.items():
        path.write_bytes(content)
        (line,) = problems(path)
        assert line.startswith(f"data.path: {path} is not a whole Parquet file: {reason}")


def test_a_file_that_may_not_be_read_is_named(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(table())

    def refuse(*args: Any, **settings: Any) -> None:  # root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pa, "OSFile", refuse)
    assert problems(path) == [f"data.path: {path} cannot be read: Permission denied"]


def test_columns_of_one_name_matter_only_where_they_are_wanted(tmp_path: Path) -> None:
    values = [pa.array([float(i), float(i)]) for i in range(4)]
    pq.write_table(pa.Table.from_arrays(values, names=["a", "x", "b", "x"]), tmp_path / "1.parquet")
    assert read(tmp_path).features.tolist() == [[0, 2], [0, 2]]
    assert problems(tmp_path, features=["a", "x"]) == [
        f"data.features: column 'x' occurs more than once in {tmp_path / '1.parquet'}: rename one of them"
    ]


def test_files_without_rows_may_have_any_columns_and_are_counted(write: WriteDataset, tmp_path: Path) -> None:
    root = write(table(), "d/1.parquet").parent
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), root / "2.parquet")
    assert len(read(root).features) == 200
    assert find_source(wanted(root)).notes == ("1 file without rows: 2.parquet",)
    pq.write_table(pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.int8())}), root / "1.parquet")
    (root / "2.parquet").unlink()
    assert survey(find_source(wanted(root)), False).found == 0


def test_any_flipped_bits_end_in_an_error_that_names_what_is_wrong_or_in_rows(write: WriteDataset) -> None:
    path = write(table())
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    for _ in range(300):
        content = bytearray(whole)
        place = len(content) - random.integers(1, 2500 if random.random() < 0.7 else len(content))
        content[place] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
        config = wanted(path, time="time", start="2024-01-01T05:00:00")
        try:
            source = find_source(config)
            read_dataset(source, survey(source, False), False, np.float64)
        except DatasetError as error:
            assert all(line.startswith("data.") and str(path) in line for line in error.problems)  # noqa: PT017


def test_a_flipped_bit_is_noticed_where_the_writer_left_checksums(tmp_path: Path) -> None:
    path = tmp_path / "1.parquet"
    rows = pa.table({"a": np.random.default_rng(0).random(999), "b": np.zeros(999)})
    pq.write_table(rows, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[3000] ^= 1
    path.write_bytes(content)
    (line,) = problems(path)
    assert line.startswith(f"data.path: {path} cannot be read: ")
    assert "CRC checksum" in line


def test_old_times_of_int96_do_not_wrap_around(tmp_path: Path) -> None:
    moments = pa.array([0, 32_503_680_000_000_000], pa.timestamp("us"))  # 1970 and 3000
    pq.write_table(
        pa.table({"a": [1.0, 2.0], "t": moments}), tmp_path / "1.parquet", use_deprecated_int96_timestamps=True
    )
    found = survey(find_source(wanted(tmp_path, features=["a"], time="t")), False)
    assert (found.first.year, found.last.year) == (1970, 3000)

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import find_source
from pipelines.data.files import data_files, matches
from pipelines.errors import DatasetError
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems, read, wanted


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
    assert problems("ftp://host/x") == [
        "data.path must be a path, or an address that begins with file://, s3://, gs://, abfs:// or https://, got "
        "ftp://host/x"
    ]


def test_a_folder_without_data_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "readings.csv").write_text("a,b\n1,2\n")
    (line,) = problems(tmp_path / "d")
    assert (
        line == f"data.path: no file named *.parquet, *.parq or *.pq in the folder {tmp_path / 'd'}, only readings.csv"
    )


# ---------------------------------------------------------------- names


ODD_NAMES = [
    "Line 2 [north]", "st*r", "q?", "{a,b}", "%20", "a%2Fb", "#x", "ü ö", "new\nline", "back\\slash", "col:on", "~",
    "~x", "=", "=x", "k=", " ", "-", "$HOME", "[", "**", "!x",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_folders_and_files_are_read_by_their_exact_names(write: WriteDataset, name: str) -> None:
    file = write(table(), f"{name}/{name}.parquet")
    for other in ("north", "star", "qq", "a", "b", "n"):  # what a pattern would find
        write(table()[:3], f"{other}/{other}.parquet")
    for path in (file, file.parent, file.parent / "*.parquet"):
        assert len(read(path).features) == 200


def test_a_pattern_may_follow_a_folder_with_marks_and_finds_no_hidden_file(write: WriteDataset) -> None:
    root = write(table()[:5], "L [1]/day 1/a.parquet").parents[2]
    write(table()[5:9], "L [1]/day 2/deep/b.parquet")
    write(table()[9:], "L [1]/day 2/.hidden.parquet")
    assert len(read(root / "L [1]" / "day ?" / "*.parquet").features) == 5
    assert len(read(root / "L [1]" / "**" / "*.parquet").features) == 9
    assert len(read(root / "L*" / "day [2]" / "**" / "b.*").features) == 4
    (line,) = problems(root / "L*")
    assert (
        line == f"data.path: no file matches {root / 'L*'}: folders match, their files would match {root / 'L*/**/*'}"
    )


def test_a_pattern_finds_no_file_of_a_writer_at_work_unless_it_names_it(write: WriteDataset) -> None:
    """As Spark leaves them beside its files."""
    path = write(table(), "d/a.parquet")
    (path.parent / "_SUCCESS").touch()
    (path.parent / ".a.parquet.crc").write_bytes(b"crc")
    write(table(), "d/_temporary/0/b.parquet")
    assert data_files(f"{path.parent}/*").files == (path,)
    found = data_files(f"{path.parent}/**")
    assert found.files == (path,)
    assert [note for note in found.notes if "1 file in" in note and "_temporary/0/b.parquet" in note]
    assert data_files(f"{path.parent}/_temporary/*/*").files == (path.parent / "_temporary/0/b.parquet",)


def test_a_summary_of_other_files_is_no_data(write: WriteDataset) -> None:
    path = write(table(), "d/_metadata")
    with pytest.raises(
        DatasetError, match=f"_metadata is a summary of the files beside it: give their .*{path.parent}"
    ):
        data_files(str(path))


def test_matching_is_that_of_the_standard_library(tmp_path: Path) -> None:
    files = [("a",), ("a", "b"), ("a", "b", "c"), ("x", "b"), ("a", "x", "b", "c")]
    for names in files:
        place = tmp_path.joinpath(*names)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.with_name(place.name + ".f").touch()
    there = [file.relative_to(tmp_path).parts for file in tmp_path.rglob("*.f")]
    for pattern in ("*.f", "*/*.f", "**/*.f", "a/**/*.f", "**/b/*.f", "[ax]/b.f", "a/?/c.f", "**/**/c.f", "a/*/**/c.f"):
        expected = {file.relative_to(tmp_path).parts for file in tmp_path.glob(pattern)}
        assert {parts for parts in there if matches(parts, Path(pattern).parts)} == expected
        for parts in expected:
            assert all(matches(parts[:k], Path(pattern).parts, leads=True) for k in range(len(parts)))


# ---------------------------------------------------------------- links, and what is passed over


def test_links_to_folders_and_files_are_followed_and_each_file_is_read_once(
    write: WriteDataset, tmp_path: Path
) -> None:
    inside = write(table()[:10], "d/day=1/x.parquet").parent
    outside = write(table()[10:30], "elsewhere/y.parquet")
    root = inside.parent
    (root / "day=2").symlink_to(outside.parent)
    (root / "aaa").symlink_to(inside)  # sorts before the folder, which keeps its name all the same
    (root / "copy.parquet").symlink_to(inside / "x.parquet")
    (inside / "up").symlink_to("..")
    (inside / "self").symlink_to("self")
    source = find_source(wanted(root, where="day >= 1"))
    assert [str(file.relative_to(root)) for file in source.files] == ["day=1/x.parquet", "day=2/y.parquet"]
    assert len(read(root, where="day = 2").features) == 20
    assert list(source.notes) == [
        f"2 links in {root} not followed, to a folder that is read already, or lies around the data: aaa, day=1/up",
        f"1 link in {root} not followed, to what does not exist: day=1/self",
        "1 link to files that are read under their own names: each file is read once",
    ]


def test_a_link_to_data_that_is_gone_is_refused(write: WriteDataset) -> None:
    link = write(table()).with_name("2.parquet")
    link.symlink_to("gone")
    for path in (link.parent, link):
        assert problems(path) == [f"data.path: {link} is a link to gone, which does not exist"]


def test_a_folder_that_cannot_be_read_is_refused(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = write(table(), "d/closed/x.parquet").parent
    listed = Path.iterdir

    def iterdir(folder: Path) -> Iterator[Path]:  # root may read everything
        if folder == closed:
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert problems(closed.parent) == [f"data.path: the folder {closed} cannot be read: Permission denied"]


def test_data_is_found_by_ending_in_any_case_or_by_content_and_the_rest_is_counted(write: WriteDataset) -> None:
    for i, name in enumerate(("A.PARQUET", "b.Parq", "c.pq", "no_ending", "_day=3/e.parquet")):
        folder = write(table()[i : i + 1], f"d/{name}").parents["/" in name]
    for name in ("._a.parquet", "_temporary/f.parquet", "g.parquet.tmp", "_SUCCESS", "_metadata", "h.csv", "empty"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    source = find_source(wanted(folder))
    assert len(read(folder).features) == len(source.files) == 5
    assert list(source.notes) == [
        f"2 files in {folder} not read, hidden or of a writer at work, by names with . or _ in front: ._a.parquet, "
        "_temporary/f.parquet",
        f"3 files in {folder} not read, named otherwise than *.parquet, *.parq or *.pq: empty, g.parquet.tmp, h.csv",
    ]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/tmp/" + "x" * 300, " cannot be read: File name too long"),
        ("/dev/null", "must be a file, folder or pattern, got a device or pipe: /dev/null"),
        ("a\0b", "must be the name of a file or folder, got 'a\\x00b'"),
    ],
)
def test_what_is_no_path_is_told(path: str, reason: str) -> None:
    (line,) = problems(path)
    assert line.startswith("data.path")
    assert line.endswith(reason)

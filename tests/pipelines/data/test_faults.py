from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.data.reading import problems


def test_a_file_damaged_inside_is_named(write: WriteDataset) -> None:
    write(table(), "d/1.parquet")
    path = write(table(), "d/2.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 2000 + content[2004:])
    (line,) = problems(path.parent)
    assert line.startswith(f"data.path: {path} cannot be read: ")

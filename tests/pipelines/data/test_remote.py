"""Data in an S3 store that answers over the network, and behind a web address."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from pipelines.data import find_source, partitions, read_dataset, survey
from pipelines.data import remote as module
from pipelines.data.remote import REFUSED, in_words, local_path, store_of
from pipelines.errors import DatasetError
from tests.pipelines.data.reading import problems, read, wanted

BUCKET = "plant"


def rows(day: int) -> pl.DataFrame:
    values = np.random.default_rng(day).normal(size=(50, 2))
    return pl.DataFrame({"a": values[:, 0], "b": values[:, 1], "unused": ["x"] * 50})


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def bucket(server: ThreadedMotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of the store, in which two days of rows lie, also in a folder of this machine."""
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", region_name="eu-west-1", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for day in (1, 2):
        file = tmp_path / "rows" / f"day={day}" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        rows(day).write_parquet(file, row_group_size=20)
        client.upload_file(str(file), BUCKET, f"rows/day={day}/part-0.parquet")
    client.put_object(Bucket=BUCKET, Key="rows/_SUCCESS", Body=b"")
    client.put_object(Bucket=BUCKET, Key="rows/_temporary/half.parquet", Body=b"PAR1")
    yield client
    for each in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=each["Key"])
    client.delete_bucket(Bucket=BUCKET)


def test_a_bucket_is_read_like_the_folder_it_was_copied_from(bucket: Any, tmp_path: Path) -> None:
    local = read(tmp_path / "rows", features=["a", "b", "day"])
    for path in ("rows", "rows/", "rows/**/*.parquet", "rows/day=*/*"):
        remote = read(f"s3://{BUCKET}/{path}", features=["a", "b", "day"])
        assert remote.sha256 == local.sha256
    one = read(f"s3://{BUCKET}/rows/day=2/part-0.parquet")
    np.testing.assert_array_equal(one.features, rows(2).select("a", "b").to_numpy().astype(np.float32))
    config = wanted(f"s3://{BUCKET}/rows")
    source = find_source(config)
    assert [str(file) for file in source.files] == [f"s3://{BUCKET}/rows/day={day}/part-0.parquet" for day in (1, 2)]
    assert any("hidden or of a writer at work" in note and "half.parquet" in note for note in source.notes)
    assert partitions(config)["day"].to_list() == [1, 2]
    only = read(f"s3://{BUCKET}/rows", where="day = 2")
    assert len(only.features) == 50


def test_footers_are_read_without_the_rows(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = pl.DataFrame({"a": np.random.default_rng(0).random(400_000), "b": 1.0})
    wide.write_parquet(tmp_path / "wide.parquet", row_group_size=50_000)
    bucket.upload_file(str(tmp_path / "wide.parquet"), BUCKET, "wide.parquet")
    opened, taken = module.RemoteFile.opened, []

    class Counting(io.RawIOBase):
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            content: bytes = self.stream.read(size)
            taken.append(len(content))
            return content

        def seek(self, place: int, whence: int = 0) -> int:
            return int(self.stream.seek(place, whence))

        def tell(self) -> int:
            return int(self.stream.tell())

    monkeypatch.setattr(module.RemoteFile, "opened", lambda file: pa.PythonFile(Counting(opened(file)), mode="r"))
    source = find_source(wanted(f"s3://{BUCKET}/wide.parquet"))
    assert 0 < sum(taken) < 100_000 < (tmp_path / "wide.parquet").stat().st_size / 10
    taken.clear()
    assert next(iter(source.rows.batches(["a"]))).height > 0
    assert sum(taken) < (tmp_path / "wide.parquet").stat().st_size / 2  # row groups one by one


def test_what_is_not_there_is_named(bucket: Any) -> None:
    assert problems(f"s3://{BUCKET}/none") == [f"data.path: no such file or folder: s3://{BUCKET}/none"]
    assert problems("s3://nobody/rows") == ["data.path: no such file or folder: s3://nobody/rows"]
    assert problems(f"s3://{BUCKET}/rows/*.csv") == [
        f"data.path: no file named *.parquet, *.parq or *.pq in s3://{BUCKET}/rows/*.csv"
    ]
    bucket.put_object(Bucket=BUCKET, Key="rows/day=3/part-0.parquet", Body=b"a,b\n1,2\n")
    (line,) = problems(f"s3://{BUCKET}/rows")
    assert line.startswith(
        f"data.path: s3://{BUCKET}/rows/day=3/part-0.parquet is not a whole Parquet file: it is text"
    )
    assert problems("s3://") == ["data.path must say which bucket, got s3://"]


def test_an_object_that_vanishes_while_rows_are_read_is_named(bucket: Any) -> None:
    config = wanted(f"s3://{BUCKET}/rows")
    source = find_source(config)
    found = survey(source, False)
    bucket.delete_object(Bucket=BUCKET, Key="rows/day=2/part-0.parquet")
    with pytest.raises(DatasetError) as caught:
        read_dataset(source, found, False)
    assert list(caught.value.problems) == [
        f"data.path: s3://{BUCKET}/rows/day=2/part-0.parquet cannot be read: it is not there (any more)"
    ]


def test_a_store_that_is_silent_is_told(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (line,) = problems(f"s3://{BUCKET}/rows")
    assert line.startswith(f"data.path: s3://{BUCKET}/rows cannot be read: the store does not answer")


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A store that answers every request with an error."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>InvalidAccessKeyId</Code><Message>no such key</Message></Error>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # the name is of the library

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_refused_key_says_where_keys_come_from(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(403) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        (line,) = problems(f"s3://{BUCKET}/rows")
    assert line.startswith(f"data.path: s3://{BUCKET}/rows cannot be read: the store refuses the key")
    assert "AWS_ACCESS_KEY_ID" in line
    for word in REFUSED:
        assert "refuses the key" in in_words(OSError(f"driver: {word}: no"), "gs://b/x")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server on the folder of the test, which knows nothing of parts of a file."""
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_one_file_behind_a_web_address_is_read(web: str, tmp_path: Path) -> None:
    rows(1).write_parquet(tmp_path / "rows.parquet")
    assert read(f"{web}/rows.parquet").sha256 == read(tmp_path / "rows.parquet").sha256
    assert problems(f"{web}/none.parquet") == [
        f"data.path: {web}/none.parquet must be the address of one file, there is none"
    ]


def test_file_addresses_are_files_of_this_machine(tmp_path: Path) -> None:
    rows(1).write_parquet(tmp_path / "a b.parquet")
    assert read((tmp_path / "a b.parquet").as_uri()).sha256 == read(tmp_path / "a b.parquet").sha256
    assert local_path("file://localhost/x%20y") == "/x y"
    assert local_path("/x%20y") == "/x%20y"


def test_addresses_of_azure_name_container_and_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_azure", lambda account: account)
    store = store_of("abfs://rows@plant.dfs.core.windows.net/year=2024/x.parquet")
    assert (store.system, store.path) == ("plant", "rows/year=2024/x.parquet")
    assert str(store.file(store.path)) == "abfs://rows@plant.dfs.core.windows.net/year=2024/x.parquet"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    store = store_of("abfs://rows/x.parquet")
    assert (store.system, store.path, store.address(store.path)) == ("other", "rows/x.parquet", "abfs://rows/x.parquet")
    monkeypatch.undo()
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    assert "must say which account" in problems("abfs://rows/x.parquet")[0]

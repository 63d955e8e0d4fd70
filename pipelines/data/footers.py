"""What the footers of Parquet files say: their columns, types and numbers of rows; no row is read here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.data.faults import READING, reason
from pipelines.data.remote import DataFile, RemoteFile
from pipelines.errors import DatasetError

MAGIC = b"PAR1"
REQUESTS = 8  # at a time, to a store
OTHER_FORMATS = {
    b"PARE": "it is encrypted, which cannot be read",
    b"ARROW1": "it is Arrow IPC (Feather): convert it with pandas.read_feather(FILE).to_parquet(NEW_FILE)",
    b"\x89HDF": "it is HDF5",
    b"\x1f\x8b": "it is compressed as a whole (gzip): unpack it",
    b"PK\x03\x04": "it is a zip archive, or Excel",
    b"\x28\xb5\x2f\xfd": "it is compressed as a whole (zstd): unpack it",
}


@dataclass(frozen=True)
class Footer:
    """What is known of a file without reading a row.

    Attributes:
        file: Its path.
        rows: How many it has.
        columns: Types by name, of columns whose name occurs once.
        repeated: Names that occur more than once.
        partition: Columns that the names of its folders say, such as month=03, as text; None where it is missing.
    """

    file: DataFile
    rows: int
    columns: Mapping[str, pa.DataType]
    repeated: frozenset[str] = frozenset()
    partition: Mapping[str, str | None] = field(default_factory=dict)


def opened(file: DataFile) -> Any:
    """The file as a `pyarrow.parquet.ParquetFile`, by its exact name; to be closed by the caller.

    Pages that the writer gave a checksum are compared with it. Times of the old type INT96 have microseconds: in
    nanoseconds they would silently wrap around after the year 2262.
    """
    remote = isinstance(file, RemoteFile)  # there, one request for many columns of a row group beats one for each
    source = file.opened() if isinstance(file, RemoteFile) else pa.OSFile(str(file))
    return pq.ParquetFile(source, page_checksum_verification=True, coerce_int96_timestamp_unit="us", pre_buffer=remote)


def read_footers(files: Sequence[DataFile], partitions: Mapping[DataFile, Mapping[str, str | None]]) -> list[Footer]:
    """What the footer of each file says.

    Args:
        files: The files.
        partitions: What the folders of each file say.

    Raises:
        DatasetError: With a line for each file that is not whole, is no Parquet or may not be read.
    """

    def read(file: DataFile) -> Footer | str:
        try:
            return _footer(file, partitions[file])
        except READING as error:
            return f"data.path: {file} {_what_is_wrong(file, error)}"

    if any(isinstance(file, RemoteFile) for file in files):
        with ThreadPoolExecutor(REQUESTS) as pool:  # a request takes its time, however little it is for
            found = [*pool.map(read, files)]
    else:
        found = [*map(read, files)]
    problems = [each for each in found if isinstance(each, str)]
    if problems:
        raise DatasetError(*problems)
    return [each for each in found if isinstance(each, Footer)]


def _footer(file: DataFile, partition: Mapping[str, str | None]) -> Footer:
    with opened(file) as parquet:
        schema = parquet.schema_arrow
        counts = Counter(schema.names)
        return Footer(
            file=file,
            rows=parquet.metadata.num_rows,
            columns={field.name: field.type for field in schema if counts[field.name] == 1},
            repeated=frozenset(name for name, count in counts.items() if count > 1),
            partition=partition,
        )


def _what_is_wrong(file: DataFile, error: BaseException) -> str:
    """Why a file cannot be opened, from what its first and last bytes are."""
    if isinstance(error, OSError) and (error.errno is not None or isinstance(file, RemoteFile)):
        return f"cannot be read: {reason(error, file)}"
    try:
        with file.opened() if isinstance(file, RemoteFile) else file.open("rb") as content:
            start = content.read(4096)
            content.seek(0, 2)
            content.seek(-min(len(MAGIC), content.tell()), 2)
            end = content.read()
    except OSError as unreadable:
        return f"cannot be read: {reason(unreadable, file)}"
    return f"is not a whole Parquet file: {_suspicion(start, end) or reason(error)}"


def _suspicion(start: bytes, end: bytes) -> str | None:
    if not start:
        return "it is empty (0 bytes)"
    for magic, format_ in OTHER_FORMATS.items():
        if start.startswith(magic) or end == magic:
            return format_
    if start.startswith(MAGIC):
        return None if end == MAGIC else "it is cut off, its writer or a copy did not finish"
    if _is_text(start):
        return "it is text: if it is CSV, convert it with pandas.read_csv(FILE).to_parquet(NEW_FILE)"
    return "it is of another format"


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        text = start[: error.start].decode("utf-8") if error.start > len(start) - 4 else "\0"
    return all(char.isprintable() or char in "\r\n\t\ufeff" for char in text)

"""Files in object stores and behind web addresses, listed and opened without a download of the whole.

`s3://`, `gs://` and `abfs://` go through the drivers that pyarrow brings along, `http://` and `https://` through
fsspec. Keys come from the environment, in the names that each store has for them, and from nowhere else in our hands:
an address with a key in it is refused where the configuration is read.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from urllib.parse import unquote

from pipelines.errors import DatasetError

CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 10, 60, 4
ADDRESS, LOCAL = "://", "file://"
# What each store takes its key from, to say where one is refused or lacking.
KEYS: Mapping[str, str] = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION, for another server than Amazon's AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "https": "nothing: an address that needs a key cannot be read",
}
ALIASES: Mapping[str, str] = {"gcs": "gs", "abfss": "abfs", "az": "abfs", "http": "https", "s3a": "s3"}
# Words of drivers, whose texts have no code, and what they mean.
REFUSED = ("ACCESS_DENIED", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "403", "401",
           "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "Forbidden", "PERMISSION_DENIED", "UNAUTHENTICATED",
           "Could not create credentials", "DefaultAzureCredential")  # fmt: skip
GONE = (
    "RESOURCE_NOT_FOUND",
    "NO_SUCH_KEY",
    "NO_SUCH_BUCKET",
    "NoSuchBucket",
    "404",
    "Path does not exist",
    "NOT_FOUND",
)
SILENT = ("NETWORK_CONNECTION", "curlCode", "Cannot connect", "Timeout", "timed out", "UNAVAILABLE", "resolve host",
          "ServerDisconnected", "Connection")  # fmt: skip


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A file that is not on this machine.

    Attributes:
        address: As one would type it.
        path: In its store.
        store: Its file system.
    """

    address: str
    path: str = field(compare=False)
    store: Any = field(compare=False, repr=False)

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.path.partition("?")[0]).name

    def relative_to(self, root: PurePath) -> PurePosixPath:
        """Its place below a folder of its store."""
        return PurePosixPath(self.path).relative_to(root)

    def opened(self) -> Any:
        """The file, open for reading at any place in it.

        Raises:
            OSError: It is gone, or the store does not answer or refuses.
        """
        with told(self.address):
            return self.store.open_input_file(self.path)


DataFile = Path | RemoteFile


@dataclass(frozen=True)
class Store:
    """Where an address lies.

    Attributes:
        kind: A key of `KEYS`.
        system: The file system of pyarrow.
        path: Within it.
        prefix: What stands before paths in addresses.
        said: Beginning of paths that the prefix says already.
    """

    kind: str
    system: Any
    path: str
    prefix: str
    said: str = ""

    def address(self, path: str) -> str:
        """The address of a path."""
        return self.prefix + path.removeprefix(self.said)

    def file(self, path: str) -> RemoteFile:
        """The file of that path."""
        return RemoteFile(self.address(path), path, self.system)

    def listed(self, path: str) -> list[str]:
        """Paths of all files below a folder, sorted; empty where there is no such folder."""
        import pyarrow.fs as fs

        with told(self.address(path)):
            found = self.system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        return sorted(each.path for each in found if each.type == fs.FileType.File)

    def is_file(self, path: str) -> bool:
        """Whether there is a file of that path."""
        import pyarrow.fs as fs

        with told(self.address(path)):
            return bool(self.system.get_file_info(path).type == fs.FileType.File)


def is_address(path: str) -> bool:
    """Whether a path is an address rather than the name of a file."""
    return ADDRESS in path


def local_path(path: str) -> str:
    """The path that an address of this machine, file://, stands for; others as they are."""
    if not path.startswith(LOCAL):
        return path
    return unquote(path.removeprefix(LOCAL).removeprefix("localhost"))


def store_of(address: str) -> Store:
    """The store that an address lies in.

    Raises:
        DatasetError: Of no known kind, or its driver is not installed.
    """
    scheme, _, rest = address.partition(ADDRESS)
    kind = ALIASES.get(scheme.lower(), scheme.lower())
    if kind not in KEYS:
        raise DatasetError(
            f"data.path must be a path, or an address that begins with file://, s3://, gs://, abfs:// or https://, got "
            f"{address}"
        )
    if kind == "https":
        return Store(kind, _web(scheme.lower()), address, "")
    rest = rest.strip("/")
    if not rest:
        raise DatasetError(f"data.path must say which {'container' if kind == 'abfs' else 'bucket'}, got {address}")
    if kind == "abfs":
        container, at, behind = rest.partition("@")
        account, _, path = behind.partition("/")
        rest = f"{container}/{path}".rstrip("/") if at else rest
        prefix = f"{scheme}://{container}@{account}/" if at else f"{scheme}://"
        system = _azure(account.partition(".")[0] if at else os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""))
        return Store(kind, system, rest, prefix, f"{container}/" if at else "")
    with told(address):
        system = _google() if kind == "gs" else _amazon(rest.partition("/")[0], _environment())
    return Store(kind, system, rest, f"{scheme}://")


@contextmanager
def told(address: str) -> Iterator[None]:
    """Says what an error of a driver means, and what to do.

    Raises:
        OSError: In place of the driver's, with a text of one line.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise OSError(in_words(error, address)) from error


def in_words(error: BaseException, address: str) -> str:
    """What an error of a driver means, and what to do, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    kind = ALIASES.get(address.partition(ADDRESS)[0], address.partition(ADDRESS)[0])
    if isinstance(error, FileNotFoundError) or any(word in text for word in GONE):
        return "it is not there (any more)"
    if any(word in text for word in REFUSED):
        return f"the store refuses the key: it is taken from the environment, {KEYS.get(kind, '')}"
    if any(word in text for word in SILENT):
        return f"the store does not answer: {text[:160]}"
    return text[:300]


# ---------------------------------------------------------------- the drivers


def _environment() -> tuple[str | None, ...]:
    """What the driver of S3 is made from, so that it is made anew where this changes."""
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID",
             "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # fmt: skip
    return tuple(os.environ.get(name) for name in names)


@lru_cache(maxsize=8)
def _amazon(bucket: str, environment: tuple[str | None, ...]) -> Any:
    import pyarrow.fs as fs

    for_s3, for_all, region, default_region, *_ = environment
    endpoint, region = for_s3 or for_all, region or default_region
    if endpoint is None and region is None:
        region = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region or "us-east-1",
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )


def _google() -> Any:
    import pyarrow.fs as fs

    return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=REQUEST_SECONDS))


def _azure(account: str) -> Any:
    import pyarrow.fs as fs

    if not account:
        raise DatasetError(
            "data.path must say which account, abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, or "
            "AZURE_STORAGE_ACCOUNT_NAME must be set"
        )
    return fs.AzureFileSystem(account, account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"))


def _web(scheme: str) -> Any:
    import pyarrow.fs as fs

    try:
        import fsspec

        system = fsspec.filesystem(scheme)
    except ImportError as error:
        raise DatasetError(
            f"data.path: {scheme}:// needs a driver that is not installed, {error.name or 'aiohttp'}: install "
            "som-pipelines[https]"
        ) from error
    return fs.PyFileSystem(fs.FSSpecHandler(system))

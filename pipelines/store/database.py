"""The file of a SQLite store, made whole or not at all.

MLflow makes a new database step by step in its place: of two processes that begin at once, one fails on what the other
has just made, and one that is killed leaves a file that no MLflow opens any more. Here it is made beside, and put in
its place in one step.
"""

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, event

from pipelines.errors import TrackingError
from pipelines.store.addresses import artifact_root, sqlite_path, sqlite_uri, upgrade_command
from pipelines.store.machine import machine_lock

LOCKED_SECONDS = 20.0  # as long as MLflow waits for a database that somebody else writes
MADE_SECONDS = 60.0  # in which another program, such as `mlflow ui`, will have made its tables
POLL_SECONDS = 0.5
LEFT_SECONDS = 3600.0  # after which an unfinished file was left by a process that was killed


def ready(uri: str) -> None:
    """Make sure that the file of a SQLite store has all tables; for any other store there is nothing to do.

    Raises:
        TrackingError: It cannot be made or read, was left half made, or has the schema of another version of MLflow;
            with what to do.
    """
    path = sqlite_path(uri)
    if path is None:
        return
    if not _filled(path):
        _make(path)
    _require_whole(path, uri)


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _make(path: Path) -> None:
    """Make the database, unless another process does it first."""
    with machine_lock(f"database\n{path.resolve()}", f"the new database {path}"):
        if _filled(path):
            return
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            new.touch()
            with _written_at_once(new):
                store = SqlAlchemyStore(sqlite_uri(new), artifact_root(path.parent))  # type: ignore[no-untyped-call]
                store.engine.dispose()
            _put(new, path)
        except OSError as error:
            raise TrackingError(
                f"MLflow keeps its runs in {path}, which cannot be made ({error.strerror or error}): work in a folder "
                "that can be written, or set tracking.uri or MLFLOW_TRACKING_URI"
            ) from error
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)


@contextmanager
def _written_at_once(new: Path) -> Iterator[None]:
    """Lets SQLite wait for the disk once, at the end, and not after each of MLflow's hundred changes of tables.

    These waits were three quarters of the time. Nobody sees the file before it is whole.
    """

    def unsynced(connection: object, record: object) -> None:
        del record
        if isinstance(connection, sqlite3.Connection):  # and not of the Prefect API that starts in another thread
            connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", unsynced)
    try:
        yield
    finally:
        event.remove(Engine, "connect", unsynced)
    with new.open("rb+") as file:
        os.fsync(file.fileno())


def _put(new: Path, path: Path) -> None:
    """In its place, unless a program that knows no lock of ours has made one there meanwhile."""
    try:
        os.link(new, path)
    except FileExistsError:
        if not _filled(path):
            new.replace(path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        new.replace(path)  # a file system without links


def _sweep(path: Path) -> None:
    """Remove what processes that were killed have left of a database that they made."""
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and time.time() - left.stat().st_mtime > LEFT_SECONDS:
            left.unlink(missing_ok=True)


def _require_whole(path: Path, uri: str) -> None:
    expected = set(Base.metadata.tables)
    while missing := expected - (found := _tables(path)):
        if found and not found & expected:
            raise TrackingError(f"{path} is the database of another program than MLflow: choose another file")
        if time.time() - path.stat().st_mtime > MADE_SECONDS:
            raise TrackingError(_incomplete(path, uri, len(missing)))
        time.sleep(POLL_SECONDS)  # another program is at it


def _incomplete(path: Path, uri: str, missing: int) -> str:
    if _runs(path):
        return (
            f"{path} lacks {missing} tables that this version of MLflow needs: make a copy of it, then run: "
            f"{upgrade_command(uri)}"
        )
    return (
        f"{path} lacks {missing} tables of MLflow and holds no run: it was left half made, or is of an older version; "
        f"delete it, or run: {upgrade_command(uri)}"
    )


def _tables(path: Path) -> set[str]:
    return {str(name) for (name,) in _rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def _runs(path: Path) -> bool:
    return "runs" in _tables(path) and bool(_rows(path, "SELECT 1 FROM runs LIMIT 1"))


def _rows(path: Path, query: str) -> list[tuple[object, ...]]:
    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=LOCKED_SECONDS)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.Error as error:
        cure = ": another process holds it for longer than 20 s, end that one" if "locked" in str(error) else ""
        raise TrackingError(f"MLflow at {path}: {error}{cure}") from error

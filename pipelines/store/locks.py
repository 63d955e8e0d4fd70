"""Mutual exclusion of everything that changes one registered model."""

import hashlib
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from pipelines.errors import ModelBusyError, TrackingError
from pipelines.store.tracking import registry_store

logger = logging.getLogger(__name__)

LOCK_SECONDS = 600.0  # a smoke test takes seconds, the judgment of a challenger on many rows takes minutes
STATE_VARIABLE = "XDG_STATE_HOME"


@contextmanager
def exclusive(name: str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Nobody else registers versions of a model, or moves its aliases, while the block runs.

    The lock is a file in the user's state folder, which the operating system releases when a process ends, however it
    ends. The thread that has it may enter again; another thread or process waits. It covers one user of one machine:
    where several machines or users publish the same model, let them run one Prefect deployment with a concurrency limit
    of 1.

    Args:
        name: Registered model, in the store that MLflow uses now.
        timeout: Seconds to wait for it.

    Raises:
        ModelBusyError: Somebody else still has it; with who that is.
        TrackingError: There is no place for the file.
    """
    path = _lock_file(name)
    lock, holder = FileLock(path, is_singleton=True), path.with_suffix(".holder")
    _acquire(lock, name, holder, timeout)
    try:
        holder.write_text(_me(), encoding="utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, name: str, holder: Path, timeout: float) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("model %r is being changed by %s: waiting", name, _read(holder))
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise ModelBusyError(
                f"model {name!r} is still being changed by {_read(holder)} after {timeout:g} s: try again when that is "
                "done"
            ) from None


def _lock_file(name: str) -> Path:
    """One for each model of each store."""
    key = hashlib.sha256(f"{registry_store()}\n{name}".encode()).hexdigest()[:32]
    folder = Path(os.environ.get(STATE_VARIABLE) or Path.home() / ".local" / "state") / "som" / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(
            f"locks of models are kept in {folder}, which cannot be made ({error.strerror}): set {STATE_VARIABLE} to a "
            "folder that can be written"
        ) from error
    return folder / f"{key}.lock"


def _me() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} ({Path(sys.argv[0]).name}) on {platform.node()} since {now}"


def _read(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8")
    except OSError:  # it got the lock a moment ago
        return "another process"

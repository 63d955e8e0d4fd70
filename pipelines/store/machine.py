"""Locks among the processes of one user on one machine, which the operating system releases however a process ends."""

import hashlib
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import ModelBusyError, TrackingError

logger = logging.getLogger(__name__)

LOCK_SECONDS = 600.0  # a smoke test takes seconds, the evaluation of a challenger on many rows takes minutes
STATE_VARIABLE = "XDG_STATE_HOME"


@contextmanager
def machine_lock(key: str, what: str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Nobody else is in a block of the same key while this one runs; its own thread may enter again.

    The lock is a file in the user's state folder. It stays when its process is gone, and holds nobody up then.

    Args:
        key: What is locked.
        what: The same, for a person.
        timeout: Seconds to wait for it.

    Raises:
        ModelBusyError: Somebody else still has it; with who that is.
        TrackingError: There is no place for the file.
    """
    path = _lock_file(key)
    lock, holder = FileLock(path, is_singleton=True), path.with_suffix(".holder")
    try:
        _acquire(lock, what, holder, timeout)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise _no_place(path.parent, error) from error
    try:
        with suppress(OSError):  # who has it is only for the words of those who wait
            holder.write_text(_me(), encoding="utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, what: str, holder: Path, timeout: float) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s is being changed by %s: waiting", what, _read(holder))
        try:
            lock.acquire(timeout=timeout)
        except Timeout:
            raise ModelBusyError(
                f"{what} is still being changed by {_read(holder)} after {timeout:g} s: try again when that is done"
            ) from None


def _lock_file(key: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    folder = Path(os.environ.get(STATE_VARIABLE) or Path.home() / ".local" / "state") / "som" / "locks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(folder, error) from error
    return folder / f"{name}.lock"


def _no_place(folder: Path, error: OSError) -> TrackingError:
    return TrackingError(
        f"locks are kept in {folder}, which cannot be written ({error.strerror}): set {STATE_VARIABLE} to a folder "
        "that can"
    )


def _me() -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} ({Path(sys.argv[0]).name}) on {platform.node()} since {now}"


def _read(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8")
    except OSError:  # it got the lock a moment ago
        return "another process"

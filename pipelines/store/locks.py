"""Mutual exclusion of everything that changes one registered model."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.store.connection import registry_store
from pipelines.store.machine import LOCK_SECONDS, machine_lock


@contextmanager
def exclusive(name: str, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Nobody else registers versions of a model, or moves its aliases, while the block runs.

    The thread that has the lock may enter again; another thread or process waits. It covers one user of one machine:
    where several machines or users publish the same model, let them run one Prefect deployment with a concurrency limit
    of 1.

    Args:
        name: Registered model, in the store that MLflow uses now.
        timeout: Seconds to wait for it.

    Raises:
        ModelBusyError: Somebody else still has it; with who that is.
        TrackingError: There is no place for the file of the lock.
    """
    with machine_lock(f"{registry_store()}\n{name}", f"model {name!r}", timeout):
        yield

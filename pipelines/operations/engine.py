"""Running a flow from a terminal: Prefect's temporary server, started early, and settings that save waiting."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from importlib import import_module
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    get_current_settings,
    temporary_settings,
)

from pipelines.errors import FlowEngineError


def start_engine() -> Callable[[], None]:
    """Start to reach the Prefect API in the background, and return the function that waits for it.

    Without `PREFECT_API_URL` a temporary server is started, which takes seconds; the caller has other things to load.

    The returned function raises `FlowEngineError` where the API cannot be reached.

    Raises:
        FlowEngineError: The temporary server would have no place for its database.
    """
    if PREFECT_API_URL.value() is None:
        _require_home(PREFECT_HOME.value())
        # What the thread would import, but not while this one imports modules that import the same.
        import_module("prefect.server.api.server")
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefect-start")
    contact = pool.submit(copy_context().run, _contact)  # Prefect's settings live in the context
    pool.shutdown(wait=False)

    def wait() -> None:
        problem = contact.result()
        if problem is not None:
            address = PREFECT_API_URL.value() or "its temporary address"
            raise FlowEngineError(f"Prefect API at {address} cannot be reached: {problem}")

    return wait


def _require_home(home: Path) -> None:
    """Refuse a home that cannot be written: the temporary server would never come up, and not say why."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise FlowEngineError(
            f"Prefect keeps its database in {home}, which cannot be written ({error.strerror}): "
            "set PREFECT_HOME to a folder that can, or PREFECT_API_URL to a server"
        ) from error


def _contact() -> Exception | None:
    try:
        with get_client(sync_client=True) as client:
            return client.api_healthcheck()
    except RuntimeError as error:  # the temporary server did not come up
        return error


@contextmanager
def quick_flows() -> Iterator[None]:
    """Flow runs inside send no heartbeats, unless the user has set their frequency.

    Heartbeats tell a server that a run on another machine is alive. Here the process that started the run is still
    waiting for it, and the thread that sends them costs every run the second that it sleeps.
    """
    if "heartbeat_frequency" in get_current_settings().flows.model_fields_set:
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # None cannot be given as a default
        yield

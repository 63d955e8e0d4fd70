"""A Prefect API inside of this process, for a run that has no other.

Left to itself Prefect starts a server as a second process, on a database in `PREFECT_HOME` that all runs share. Such a
process gets the Ctrl-C of the terminal as well, may end before the run does, stays behind where the run is killed, and
fails to start once a newer Prefect has changed the database. This one, with its database, lives and ends with the run.

Whoever sets `PREFECT_API_DATABASE_CONNECTION_URL` gets that database instead, with the history of all runs in it.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import prefect
import uvicorn
from prefect.events.clients import NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_DATABASE_MIGRATE_ON_START,
    PREFECT_API_URL,
    PREFECT_LOGGING_TO_API_ENABLED,
    get_current_settings,
    temporary_settings,
)

from pipelines.errors import FlowEngineError
from pipelines.masking import masked_uri
from pipelines.operations.orchestration import TEMPORARY_API

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
START_SECONDS = 120.0  # half a second, but for a database of the user's that has to be brought up to date
STOP_SECONDS = 1  # for connections that are still open
DATABASE_SETTINGS = {"connection_url", "driver", "host", "name"}


class TemporaryServer:
    """The API, served by a thread of this process.

    Args:
        database: SQLite file to work on, which is made; None takes the one that Prefect's settings name, and brings its
            tables up to date.

    Attributes:
        address: What `PREFECT_API_URL` must be to reach it.
    """

    def __init__(self, database: Path | None) -> None:
        self._own = database is not None
        self._socket = socket.create_server((HOST, 0), backlog=256)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every answer waits for 40 ms
        self.address = f"http://{HOST}:{self._socket.getsockname()[1]}/api"
        self._server: uvicorn.Server | None = None
        self._problem: Exception | None = None
        self._decided = Event()
        settings: dict[Any, Any] = {PREFECT_API_DATABASE_MIGRATE_ON_START: not self._own}
        if database is not None:
            settings[PREFECT_API_DATABASE_CONNECTION_URL] = f"sqlite+aiosqlite:///{database}"
        with temporary_settings(settings):
            context = copy_context()  # where Prefect keeps its settings
        self._thread = Thread(target=context.run, args=(self._main,), name="prefect-api", daemon=True)

    def start(self) -> None:
        """Begin to start it; `wait` for the end of that."""
        # Here: two threads must not import the same modules at once.
        import_module("pipelines.operations.run_api" if self._own else "prefect.server.api.server")
        self._thread.start()

    def wait(self) -> Exception | None:
        """Wait until it answers; why it does not, None where it does."""
        if not self._decided.wait(START_SECONDS):
            return TimeoutError(f"it does not answer after {START_SECONDS:.0f} s")
        return self._problem

    def stop(self) -> None:
        """End it, without waiting for long."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * STOP_SECONDS)
        self._socket.close()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # broad: what ends this thread, whatever it is, the main thread has to see
            self._problem = error
            logger.debug("the Prefect API of this process ended", exc_info=True)
        finally:
            self._decided.set()

    async def _serve(self) -> None:
        app = self._application()
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=STOP_SECONDS
        )
        async with app.router.lifespan_context(app):  # here, where its errors are ours to tell
            self._server = uvicorn.Server(config)
            self._decided.set()
            await self._server.serve(sockets=[self._socket])

    def _application(self) -> "FastAPI":
        if self._own:  # of which nothing stays: nobody looks at it, or needs what cleans up in it
            from pipelines.operations.run_api import application

            return application()
        from prefect.server.api.server import create_app

        return create_app(ephemeral=True)


@contextmanager
def temporary_server() -> Iterator[Callable[[], None]]:
    """An API of this process, which Prefect uses inside of the block; the function given waits until it answers.

    Raises:
        FlowEngineError: There is no place for its database; or, from the function, it cannot be started.
    """
    with ExitStack() as stack:
        database = None if names_database() else Path(stack.enter_context(_folder())) / "prefect.db"
        server = TemporaryServer(database)
        server.start()
        stack.callback(server.stop)
        stack.callback(TEMPORARY_API.reset, TEMPORARY_API.set(server.address))
        settings: dict[Any, Any] = {PREFECT_API_URL: server.address}
        if database is not None:
            settings[PREFECT_LOGGING_TO_API_ENABLED] = False  # nobody could read it after the run, nor the events
            EventsWorker.set_client_override(NullEventsClient)
            stack.callback(EventsWorker.set_client_override, None)
        else:
            stack.callback(EventsWorker.drain_all)
        stack.enter_context(temporary_settings(settings))

        def wait() -> None:
            problem = server.wait()
            if problem is not None:
                raise FlowEngineError(_why(problem)) from problem

        if database is None:
            wait()  # Alembic makes the tables, here and in MLflow: not by two threads at once
        yield wait


def names_database() -> bool:
    """Whether the user's settings of Prefect name a database."""
    return bool(get_current_settings().server.database.model_fields_set & DATABASE_SETTINGS)


def _why(problem: Exception) -> str:
    reason = str(problem).strip().partition("\n")[0] or type(problem).__name__
    if not names_database():
        return f"the Prefect API of this process cannot be started: {reason}"
    database = masked_uri(PREFECT_API_DATABASE_CONNECTION_URL.value())
    return (
        f"Prefect's database {database} cannot be used by Prefect {prefect.__version__}: {reason}; "
        "unset PREFECT_API_DATABASE_CONNECTION_URL for a database that lives as long as the run, or name another"
    )


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for the database of one run."""
    try:
        folder = TemporaryDirectory(prefix="som-prefect-", ignore_cleanup_errors=True)
    except OSError as error:
        raise FlowEngineError(f"Prefect needs room for its database: {error}: set TMPDIR to another folder") from error
    with folder as path:
        yield path

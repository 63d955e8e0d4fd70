"""A Prefect API inside of this process, for a run that has no other.

Left to itself Prefect starts a server as a second process, on a database in `PREFECT_HOME` that all runs share. Such a
process gets the Ctrl-C of the terminal as well, may end before the run does, stays behind where the run is killed, and
fails to start once a newer Prefect has changed the database. This one lives and ends with the run, and so does its
database: a copy of an empty one that is made once for each version of Prefect and kept in the user's cache folder.

Whoever sets `PREFECT_API_DATABASE_CONNECTION_URL` gets that database instead, with the history of all runs in it.
"""

import asyncio
import logging
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
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
CACHE_VARIABLE = "XDG_CACHE_HOME"
START_SECONDS = 120.0  # half a second from the empty database, 7 s of CPU to make one
STOP_SECONDS = 1  # for connections that are still open
DATABASE_SETTINGS = {"connection_url", "driver", "host", "name"}


class TemporaryServer:
    """The API, served by a thread of this process.

    Args:
        database: SQLite file to work on; None takes the one that Prefect's settings name.
        migrate: Whether its tables have yet to be made or brought up to date.

    Attributes:
        address: What `PREFECT_API_URL` must be to reach it.
    """

    def __init__(self, database: Path | None, migrate: bool) -> None:
        self._own, self._migrate = database is not None, migrate
        self._socket = socket.create_server((HOST, 0), backlog=256)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every answer waits for 40 ms
        self.address = f"http://{HOST}:{self._socket.getsockname()[1]}/api"
        self._server: uvicorn.Server | None = None
        self._problem: Exception | None = None
        self._decided = Event()
        settings: dict[Any, Any] = {PREFECT_API_DATABASE_MIGRATE_ON_START: migrate}
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

            return application(self._migrate)
        from prefect.server.api.server import create_app

        return create_app(ephemeral=True)


@contextmanager
def temporary_server() -> Iterator[Callable[[], None]]:
    """An API of this process, which Prefect uses inside of the block; the function given waits until it answers.

    Raises:
        FlowEngineError: There is no place for its database; or, from the function, it cannot be started.
    """
    with ExitStack() as stack:
        database, kept = None, _kept_database()
        if not names_database():
            database = Path(stack.enter_context(_folder())) / "prefect.db"
        copied = database is not None and _copied(kept, database)
        server = TemporaryServer(database, migrate=not copied)
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
            if database is not None and not copied:
                _keep(database, kept)

        if not copied:
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


def _kept_database() -> Path | None:
    """Where the empty database of this version of Prefect is kept; None where the user has no place for such."""
    try:
        cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache")
    except RuntimeError:  # no home
        return None
    return cache / "som" / f"prefect-{prefect.__version__}.db"


def _copied(kept: Path | None, database: Path) -> bool:
    """Whether the empty database could be copied; one that is not there, or damaged, is made anew."""
    if kept is None:
        return False
    try:
        shutil.copyfile(kept, database)
        with closing(sqlite3.connect(database)) as connection:
            whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
            if whole and connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,):
                return True
    except (OSError, sqlite3.Error) as error:
        logger.debug("%s cannot be used: %s", kept, error)
    database.unlink(missing_ok=True)
    return False


def _keep(database: Path, kept: Path | None) -> None:
    """Keep a database that is still empty, whole or not at all, for the runs that come."""
    if kept is None:
        return
    part = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        part.replace(kept)
    except (OSError, sqlite3.Error) as error:  # costs the next run a few seconds
        logger.debug("%s cannot be written: %s", kept, error)
        with suppress(OSError):
            part.unlink(missing_ok=True)

"""An HTTP server for a registered model, which answers the requests of `mlflow models serve` and follows an alias.

    POST /invocations   rows in, answers out: `invocation.py` has the formats
    GET  /ping          an empty line, while the server answers
    GET  /health        the same as JSON, with what keeps a new version from serving, if anything does
    GET  /version       which version serves, and since when

Every answer names the version that it is from in the header `X-Model-Version`. When the alias moves, the new version is
loaded and warmed up beside the old one, and then takes its place; requests in flight finish on the one they began with.
A version that does not load or answer its own example never serves: the old one stays, and `/health` says why.
"""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from threading import Thread
from types import FrameType
from typing import Any

import pandas as pd
import uvicorn
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import PipelineError, ServerError, TrackingError
from pipelines.interruption import noticed
from pipelines.serving.invocation import read_csv, read_json, write_json
from pipelines.store.registry import find, number_at
from pipelines.store.servable import Servable, load
from pipelines.store.versions import Version
from somlib.errors import SomlibError

logger = logging.getLogger(__name__)

VERSION_HEADER = "X-Model-Version"
MOST_BYTES = 32 * 2**20  # of a request: some 100 000 rows of 17 features
MOST_REQUESTS = 500  # at once; more are asked to come back later
SHUTDOWN_SECONDS = 30  # for requests in flight
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
READERS: dict[str, Callable[[bytes, Any, Any], pd.DataFrame]] = {"application/json": read_json, "text/csv": read_csv}


@dataclass(frozen=True)
class Serving:
    """What answers now.

    Attributes:
        servable: The version.
        since: When it began to, in UTC.
    """

    servable: Servable
    since: datetime


class Service:
    """The version that answers, and the way to the next one.

    Args:
        version: What answers first; it is loaded and warmed up here.
        alias: What `follow` looks at; None stays with the version.

    Attributes:
        current: What answers now. A request takes it once and keeps it.
        problem: Why the version that the alias points at does not serve; None where it does.

    Raises:
        PipelineError: The version cannot be loaded, or does not answer its own example.
    """

    def __init__(self, version: Version, alias: str | None = None) -> None:
        self.name = version.name
        self.alias = alias
        self.current = _warm(version)
        self.problem: str | None = None
        self._refused: str | None = None  # a version that cannot serve: it will not change, so it is tried once

    def follow(self) -> None:
        """Let the version serve that the alias points at; where it cannot, the current one stays.

        A version that cannot serve is tried again once the alias has pointed elsewhere; a store that cannot be reached
        is asked again each time.
        """
        if self.alias is None:
            return
        try:
            wanted = number_at(self.name, self.alias)
            if wanted == self._refused:
                return
            self._refused = None
            if wanted != self.current.servable.version.version:
                self._change_to(wanted)
            self.problem = None
        except Exception as error:  # noqa: BLE001 - whatever happens, the current version goes on
            self._keep(f"{type(error).__name__}: {error}")

    def _change_to(self, wanted: str) -> None:
        try:
            self.current = _warm(find(self.name, wanted))
        except TrackingError:
            raise
        except Exception:  # broad: a version that cannot be loaded, for whatever reason, is not tried again
            self._refused = wanted
            raise
        logger.info("version %s of model %r serves now", wanted, self.name)

    def _keep(self, problem: str) -> None:
        if problem != self.problem:
            kept = self.current.servable.version.version
            logger.warning("model %r stays at version %s: %s", self.name, kept, problem)
        self.problem = problem


def _warm(version: Version) -> Serving:
    """A version after its first answer, which is the slow one."""
    servable = load(version)
    servable.predict(servable.example)
    return Serving(servable, datetime.now(UTC))


# ---------------------------------------------------------------- the application


def application(service: Service, poll: float | None = None) -> FastAPI:
    """The server's application.

    Args:
        service: What answers.
        poll: Seconds between two looks at the alias; None never looks.
    """
    app = FastAPI(title=service.name, lifespan=_lifespan(service, poll), docs_url=None, redoc_url=None)
    app.add_middleware(VersionHeader, service=service)
    app.add_exception_handler(StarletteHTTPException, _as_line)
    workers = CapacityLimiter(os.cpu_count() or 1)  # more would only take turns

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        serving = service.current
        read = _reader(request)
        body = await _body(request)
        answer = await to_thread.run_sync(_answer, serving.servable, read, body, limiter=workers)
        answer.headers[VERSION_HEADER] = serving.servable.version.version
        return answer

    @app.get("/ping")
    async def ping() -> Response:
        return Response("\n", media_type="application/json")

    @app.get("/health")
    async def health() -> dict[str, str | None]:
        return {"status": "stale" if service.problem else "ok", "problem": service.problem, **_facts(service)}

    @app.get("/version")
    async def version() -> dict[str, str | None]:
        return _facts(service)

    return app


def _facts(service: Service) -> dict[str, str | None]:
    serving = service.current
    version = serving.servable.version
    return {
        "model": version.name,
        "version": version.version,
        "alias": service.alias,
        "run_id": version.run_id,
        "since": serving.since.isoformat(timespec="seconds"),
    }


def _lifespan(service: Service, poll: float | None) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(service, poll)) if poll is not None else None
        yield
        if following is not None:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following

    return lifespan


async def _follow(service: Service, poll: float) -> None:
    while True:
        await asyncio.sleep(poll)
        await to_thread.run_sync(service.follow)


def _reader(request: Request) -> Callable[[bytes, Any, Any], pd.DataFrame]:
    given = EmailMessage()
    given["Content-Type"] = request.headers.get("content-type") or "none"
    kind, charset = given["Content-Type"].content_type, given["Content-Type"].params.get("charset", "utf-8")
    if kind not in READERS:
        raise HTTPException(
            415, f"Content-Type must be {' or '.join(READERS)}, got {request.headers.get('content-type') or 'none'}"
        )
    if charset.lower() not in CHARSETS:
        raise HTTPException(415, f"charset must be utf-8, got {charset}")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise HTTPException(415, f"Content-Encoding must be identity (nothing compressed), got {encoding}")
    return READERS[kind]


async def _body(request: Request) -> bytes:
    """The whole request, read no further than it may be long."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MOST_BYTES:
            raise HTTPException(413, f"request must not be longer than {MOST_BYTES:,} bytes: send the rows in parts")
        parts.append(part)
    return b"".join(parts)


def _answer(servable: Servable, read: Callable[[bytes, Any, Any], pd.DataFrame], body: bytes) -> Response:
    try:
        content = write_json(servable.predict(read(body, servable.features, servable.model.texts)))
    except (PipelineError, SomlibError) as error:
        return _line(400, str(error))
    except Exception as error:  # a model is code, which may raise anything; the answer needs its version all the same
        logger.exception("version %s failed on a request of %d bytes", servable.version.version, len(body))
        return _line(500, f"the model failed: {type(error).__name__}")
    return Response(content, media_type="application/json")


async def _as_line(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # what this handler is registered for
    return _line(error.status_code, str(error.detail))


def _line(status: int, message: str) -> Response:
    """An error in the form of MLflow's."""
    code = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 500: "INTERNAL_ERROR"}.get(status, "INVALID_PARAMETER_VALUE")
    content = json.dumps({"error_code": code, "message": " ".join(message.split())})
    return Response(content, status_code=status, media_type="application/json")


class VersionHeader:
    """Puts the version into answers that do not have it yet: those that no version was asked for."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with the header."""

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(VERSION_HEADER, self.service.current.servable.version.version)
            await send(message)

        await self.app(scope, receive, send_with_version)


# ---------------------------------------------------------------- the server


def run(service: Service, host: str, port: int, poll: float, ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C; requests in flight are finished first.

    Args:
        service: What answers.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        poll: Seconds between two looks at the alias.
        ready: Called with the address, once requests are taken.

    Raises:
        ServerError: The port is taken, or the address is not of this machine.
    """
    server = _server(application(service, poll))
    with _listening(host, port) as open_socket, _orderly_end(server):
        ready(_address(open_socket))
        server.run(sockets=[open_socket])


@contextmanager
def _orderly_end(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the server, and nothing be raised.

    Uvicorn hears them itself while it runs, and hands each on to the handler before it once all is answered: within its
    event loop, where an exception would be reported as an error of the application.
    """

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        noticed()
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def on_loopback(app: FastAPI) -> Iterator[str]:
    """Serves an application on a free port of this machine while the block runs, and gives its address."""
    with _listening("127.0.0.1", 0) as open_socket:
        server = _server(app)
        thread = Thread(target=server.run, kwargs={"sockets": [open_socket]}, name="som-serving", daemon=True)
        thread.start()
        try:
            yield _address(open_socket)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Uvicorn's server, for which a signal that is sent again means to end at once, requests in flight or not."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        noticed()
        super().handle_exit(sig, frame)


def _server(app: FastAPI) -> uvicorn.Server:
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            ws="none",
            limit_concurrency=MOST_REQUESTS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections already, so that whoever knows the address can use it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        open_socket = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ServerError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    with open_socket:
        # For accepted connections. asyncio does this by itself only for sockets that say they are TCP, and those of
        # `create_server` do not; without it, the body of an answer waited 40 ms for the client to confirm its head.
        open_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield open_socket


def _address(open_socket: socket.socket) -> str:
    host, port = open_socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

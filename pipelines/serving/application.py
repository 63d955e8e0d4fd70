"""The server's application: what is answered at which path.

    POST /invocations   rows in, answers out: `invocation.py` has the formats
    GET  /ping          an empty line, while the server answers
    GET  /ready         the same, or 503 while the queue is full
    GET  /health        which version serves, and what keeps a new one from serving, if anything does
    GET  /version       which version serves, and since when
    GET  /metrics       counts and times in the format of Prometheus, see `metrics.py`

Every answer names the version that it is from in the header `X-Model-Version`. A request costs no more than the limits
of `admission.py`; what cannot be answered is one line with the status of its fault.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.message import EmailMessage
from functools import partial
from typing import Any

import pandas as pd
from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import ModelError, PipelineError, RequestTooLargeError
from pipelines.serving.access import Guard
from pipelines.serving.admission import RETRY, Admission, Limits
from pipelines.serving.csv_request import read_csv
from pipelines.serving.description import INVOCATION
from pipelines.serving.invocation import read_json, write_json, write_records
from pipelines.serving.metrics import Metrics
from pipelines.serving.service import Service
from pipelines.store.servable import Servable
from somlib.errors import SomlibError

logger = logging.getLogger(__name__)

VERSION_HEADER = "X-Model-Version"
ROWS_AT_ONCE = 2048  # 30 ms of work with the local models of the shipped weather: what a small request may wait for
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
READERS: dict[str, Callable[..., pd.DataFrame]] = {"application/json": read_json, "text/csv": read_csv}
ERROR_CODES = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
OTHER_ERROR = "INVALID_PARAMETER_VALUE"
HELD = "som.held"  # in the scope: what a request holds until its answer is sent


def application(
    service: Service, poll: float | None = None, limits: Limits | None = None, token: str | None = None
) -> FastAPI:
    """The server's application.

    Args:
        service: What answers.
        poll: Seconds between two looks at the alias; None never looks.
        limits: What a request may cost; by default as `Limits` has it.
        token: What clients have to show; None lets everybody in.
    """
    admission = Admission(limits or Limits())
    metrics = Metrics(service, admission)
    app = FastAPI(title=service.name, lifespan=_lifespan(service, poll), docs_url=None, redoc_url=None)
    app.add_exception_handler(StarletteHTTPException, _as_line)
    if token is not None:
        app.add_middleware(Guard, token=token, refuse=_line)
    app.add_middleware(Envelope, service=service, metrics=metrics)

    @app.post("/invocations", openapi_extra=INVOCATION)
    async def invocations(request: Request) -> Response:
        serving = service.current
        read = _reader(request)
        body = await admission.body(request, request.scope[HELD])
        with admission.place():
            answer = await admission.in_time(
                request, partial(_answer, admission, metrics, serving.servable, read, body)
            )
        answer.headers[VERSION_HEADER] = serving.servable.version.version
        return answer

    @app.get("/ping")
    async def ping() -> Response:  # as MLflow's server has it, which calls this JSON
        return Response("\n", media_type="application/json")

    @app.get("/ready", response_class=PlainTextResponse)
    async def ready() -> Response:
        if admission.full:
            raise HTTPException(503, "the queue is full: try again later", RETRY)
        return PlainTextResponse("\n")

    @app.get("/health")
    async def health() -> dict[str, str | None]:
        return {"status": "stale" if service.problem else "ok", "problem": service.problem, **_facts(service)}

    @app.get("/version")
    async def version() -> dict[str, str | None]:
        return _facts(service)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def exposition() -> Response:
        content, kind = metrics.exposition()
        return Response(content, headers={"Content-Type": kind})

    return app


async def _answer(
    admission: Admission, metrics: Metrics, servable: Servable, read: Callable[..., pd.DataFrame], body: bytes
) -> Response:
    """The answer to a request, or a line with what is wrong with it."""
    try:
        rows = await admission.read(read, body, servable.features, servable.model.texts, admission.limits.rows)
        records = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            answer, text = await admission.work(_part, servable, rows, start)
            metrics.saw(servable, answer)
            records.append(text)
    except RequestTooLargeError as error:
        return _line(413, str(error))
    except (PipelineError, SomlibError) as error:
        return _line(400, str(error))
    except Exception as error:  # a model is code, which may raise anything; the answer needs its version all the same
        logger.exception("version %s failed on a request of %d bytes", servable.version.version, len(body))
        return _line(500, f"the model failed: {type(error).__name__}")
    return PartsResponse(write_json(records))


def _part(servable: Servable, rows: pd.DataFrame, start: int) -> tuple[pd.DataFrame, bytes]:
    """The answer to some of the rows, and its text."""
    part = rows[start : start + ROWS_AT_ONCE]
    try:
        answer = servable.predict(part)
    except ModelError as error:
        if len(part) == len(rows):
            raise
        raise ModelError(f"rows {start} to {start + len(part) - 1}: {error}") from None
    return answer, write_records(answer)


def _reader(request: Request) -> Callable[..., pd.DataFrame]:
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


async def _as_line(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # what this handler is registered for
    return _line(error.status_code, str(error.detail), error.headers)


def _line(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the form of MLflow's."""
    content = json.dumps({"error_code": ERROR_CODES.get(status, OTHER_ERROR), "message": " ".join(message.split())})
    return Response(content, status_code=status, media_type="application/json", headers=headers)


class PartsResponse(Response):
    """JSON that is sent part by part, the next one once the client has taken most of the one before."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(media_type="application/json", headers={"Content-Length": str(sum(map(len, parts)))})
        self.parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Envelope:
    """Around every request: what it holds until its answer is sent, how long that took, and the version in the answer.

    The version is put into answers that do not have it yet: those that no version was asked for.
    """

    def __init__(self, app: ASGIApp, service: Service, metrics: Metrics) -> None:
        self.app = app
        self.service = service
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(VERSION_HEADER, self.service.current.servable.version.version)
                if scope["path"] == "/invocations":
                    self.metrics.answered(message["status"], time.perf_counter() - begun)
            await send(message)

        async with AsyncExitStack() as held:
            scope[HELD] = held
            await self.app(scope, receive, send_with_version)

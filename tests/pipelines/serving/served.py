"""A model that is served without a store, and requests to it within the process."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pandas as pd
import pytest
from fastapi import FastAPI

from pipelines.model.map_model import MapModel
from pipelines.serving.service import Service
from pipelines.store.servable import Servable
from pipelines.store.versions import Version
from tests.pipelines.registered import FEATURES, RAW, map_model

CREATED = datetime(2026, 1, 2, tzinfo=UTC)


def service_of(
    patch: pytest.MonkeyPatch, model: MapModel | None = None, example: pd.DataFrame | None = None
) -> Service:
    """Version 1 of a model, which no registry holds."""
    example = pd.DataFrame(RAW[:5], columns=list(FEATURES)) if example is None else example
    made = map_model() if model is None else model
    patch.setattr("pipelines.serving.service.load", lambda version: Servable(version, made, example))
    return Service(Version("plain", "1", created=CREATED), "champion")


def within(app: FastAPI, ask: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """What a client of the application gets, which is of the same process and thread."""

    async def run() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://som") as client:
            return await ask(client)

    return asyncio.run(run())


def posted(app: FastAPI, content: Any, **headers: str) -> httpx.Response:
    """The answer to one request: bytes are CSV, else JSON."""
    given = {"content-type": "text/csv" if isinstance(content, bytes) else "application/json"} | headers
    form = {"content": content} if isinstance(content, bytes) else {"json": content}
    answer: httpx.Response = within(app, lambda client: client.post("/invocations", headers=given, **form))
    return answer


@dataclass
class Gate:
    """Stands in the way of a model: each part of a request waits until it is let through."""

    seen: list[int] = field(default_factory=list)  # rows of each part, in the order of their turns
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def stand(self, patch: pytest.MonkeyPatch) -> None:
        predict = Servable.predict

        def wait(servable: Servable, frame: pd.DataFrame) -> pd.DataFrame:
            self.seen.append(len(frame))
            self.reached.set()
            assert self.opened.wait(30)
            return predict(servable, frame)

        patch.setattr(Servable, "predict", wait)


@dataclass
class Sent:
    """What an application sends to a client that acts as it is told.

    Attributes:
        messages: For the application to receive, one after the other; a function is awaited for the next one.
    """

    messages: list[Any]
    got: list[Any] = field(default_factory=list)

    async def receive(self) -> Any:
        message = self.messages.pop(0) if self.messages else asyncio.sleep(3600)
        return await message if isinstance(message, Awaitable) else message

    async def send(self, message: Any) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])


def scope(headers: Mapping[str, str]) -> dict[str, Any]:
    """An ASGI scope of a request for answers."""
    return {
        "type": "http",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }

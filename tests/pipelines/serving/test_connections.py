import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from pipelines.serving import connections
from pipelines.serving.connections import HEAD_SECONDS, Watch

Open = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LIMIT = 100.0
ANSWER = b"x" * 50_000_000  # more than the sockets of both ends hold
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers once the body is there; `/early` before."""
    while scope["path"] != "/early" and (await receive()).get("more_body"):
        pass
    content = ANSWER if scope["path"] == "/large" else b"done"
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for start in range(0, len(content), 1_000_000):
        await send({"type": "http.response.body", "body": content[start : start + 1_000_000], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Served:
    def __init__(self, port: int, state: ServerState) -> None:
        self.port = port
        self.state = state
        self.watch = Watch(LIMIT)
        self.clients: list[asyncio.StreamWriter] = []

    async def open(self, content: bytes) -> Open:
        before = len(self.state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        writer.write(content)
        while len(self.state.connections) == before:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)  # until the server has read it
        return reader, writer

    def look(self, now: float) -> None:
        self.watch.look(list(self.state.connections), now)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    config = uvicorn.Config(app, log_config=None, ws="none", timeout_keep_alive=1000)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: H11Protocol(config, state, {}), "127.0.0.1", 0)
    served = Served(server.sockets[0].getsockname()[1], state)
    yield served
    for client in served.clients:
        client.close()
        with suppress(OSError):
            await client.wait_closed()
    for each in list(state.connections):
        each.transport.abort()
    server.close()
    await asyncio.sleep(0)


def run(test: Callable[[Served], Awaitable[None]]) -> None:
    async def within() -> None:
        async with serving() as served:
            await test(served)

    asyncio.run(within())


@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nContent-"])
def test_a_connection_without_a_whole_head_ends(begun: bytes) -> None:
    async def test(served: Served) -> None:
        await served.open(begun)
        served.look(0)
        served.look(HEAD_SECONDS)
        assert len(served.state.connections) == 1
        served.look(HEAD_SECONDS + 1)
        await asyncio.sleep(0)
        assert len(served.state.connections) == 0

    run(test)


def test_a_connection_that_sends_a_byte_now_and_then_ends_all_the_same() -> None:
    async def test(served: Served) -> None:
        _, writer = await served.open(b"G")
        for now in range(int(HEAD_SECONDS) + 2):
            writer.write(b"E")
            await asyncio.sleep(0.005)
            served.look(now)
        await asyncio.sleep(0)
        assert len(served.state.connections) == 0

    run(test)


@pytest.mark.parametrize("path", [b"/", b"/early"])
def test_a_request_that_is_never_sent_to_its_end_ends_answered_or_not(path: bytes) -> None:
    async def test(served: Served) -> None:
        await served.open(HEAD.replace(b"/ ", path + b" ", 1) + b"\r\nab")
        served.look(0)
        served.look(LIMIT)
        assert len(served.state.connections) == 1
        served.look(LIMIT + 1)
        await asyncio.sleep(0)
        assert len(served.state.connections) == 0

    run(test)


def test_an_answer_that_is_not_taken_ends() -> None:
    async def test(served: Served) -> None:
        await served.open(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        served.look(0)
        served.look(LIMIT)
        assert len(served.state.connections) == 1
        served.look(LIMIT + 1)
        await asyncio.sleep(0.02)
        assert len(served.state.connections) == 0
        assert not served.state.tasks

    run(test)


def test_a_connection_that_asks_again_and_again_goes_on() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.open(b"")
        for now in range(0, 1000, int(HEAD_SECONDS) - 1):
            served.look(now)
            writer.write(HEAD + b"\r\nabcd")
            answer = await reader.readuntil(b"done")
            assert answer.startswith(b"HTTP/1.1 200")
        served.look(now + 1)
        assert len(served.state.connections) == 1

    run(test)


def test_the_idlest_give_way_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)

    async def test(served: Served) -> None:
        busy = await served.open(HEAD + b"\r\nab")
        served.look(0)
        first = await served.open(b"")
        served.look(1)
        second = await served.open(b"")
        served.look(2)
        assert await first[0].read() == b""
        for _, writer in (busy, second):
            assert not writer.is_closing()
        busy[1].write(b"cd")
        assert (await busy[0].readuntil(b"done")).startswith(b"HTTP/1.1 200")
        assert len(served.state.connections) == 2

    run(test)

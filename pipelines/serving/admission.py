"""What a request may cost, and who is let in: the bounds that hold the server's memory, and its answer to too many.

A request is read before it is let in, so that a slow client holds nobody up. The first `SMALL_BYTES` of it are read at
once; a longer one waits until one of `LARGE_AT_ONCE` places is free, and meanwhile the connection takes no more of it.
It keeps this place until its answer is sent. What is complete and waits or is worked on counts against `queue`.

The work is done in parts, each of which waits for its turn at one of as many workers as there are processors. So a
small request waits for a part of a large one, never for all of it, and a client that has left, or whose time is over,
costs no more than the part that is in work.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, Semaphore, current_time, fail_after, to_thread
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from pipelines.wording import counted

Made = TypeVar("Made")

SMALL_BYTES = 64 * 2**10  # of a body that needs no place of its own
LARGE_AT_ONCE = 2  # longer bodies in memory, with what is made of them
RETRY = {"Retry-After": "1"}
CLOSE = {"Connection": "close"}
LEFT = 499  # as nginx calls it: the client has gone


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many are taken.

    Attributes:
        megabytes: Length of a request, in MiB.
        rows: Of a request.
        queue: Requests that wait or are worked on; more are asked to come back later.
        seconds: For a client to send a request, then for the server to answer, then for the client to take the answer.
    """

    megabytes: float = 32
    rows: int = 100_000
    queue: int = 64
    seconds: float = 60

    @property
    def most_bytes(self) -> int:
        """Length of a request."""
        return int(self.megabytes * 2**20)


class Admission:
    """Lets requests in, and their parts to the workers.

    Args:
        limits: What holds.

    Attributes:
        inside: Requests that wait or are worked on.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self._workers = CapacityLimiter(os.cpu_count() or 1)  # more would only take turns
        self._reader = CapacityLimiter(1)  # of long bodies: reading them takes seconds and memory
        self._large = Semaphore(LARGE_AT_ONCE)

    @property
    def full(self) -> bool:
        """Whether the next request is asked to come back later."""
        return self.inside >= self.limits.queue

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue while the block runs.

        Raises:
            HTTPException: All are taken: 503.
        """
        if self.full:
            raise HTTPException(503, f"{counted(self.inside, 'request')} wait already: try again later", RETRY)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def body(self, request: Request, held: AsyncExitStack) -> bytes:
        """A request's body, read no further than it may be long.

        Args:
            request: To read.
            held: Keeps the place of a long one.

        Raises:
            HTTPException: It is too long (413), does not come in time (408), or has to wait for too long (503).
        """
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self.limits.most_bytes:
            raise self._too_long()
        try:
            with fail_after(self.limits.seconds) as scope:
                return await self._read(request, held, scope)
        except TimeoutError:
            raise HTTPException(408, f"request must be sent within {self.limits.seconds:g} s", CLOSE) from None
        except ClientDisconnect:
            raise HTTPException(LEFT, "the client has gone") from None

    async def _read(self, request: Request, held: AsyncExitStack, scope: CancelScope) -> bytes:
        parts, length = [], 0
        async for part in request.stream():
            if length <= SMALL_BYTES < length + len(part):
                await self._place_for_large(held, scope)
            length += len(part)
            if length > self.limits.most_bytes:
                raise self._too_long()
            parts.append(part)
        return b"".join(parts)

    async def _place_for_large(self, held: AsyncExitStack, reading: CancelScope) -> None:
        if self._large.statistics().tasks_waiting >= self.limits.queue:
            raise HTTPException(503, "too many long requests wait already: try again later", RETRY | CLOSE)
        reading.deadline = math.inf  # it is not the client that takes its time now
        try:
            with fail_after(self.limits.seconds):
                await held.enter_async_context(self._large)
        except TimeoutError:
            raise HTTPException(503, "other long requests took too long: try again later", RETRY | CLOSE) from None
        reading.deadline = current_time() + self.limits.seconds

    def _too_long(self) -> HTTPException:
        message = f"request must not be longer than {self.limits.most_bytes:,} bytes: send the rows in parts"
        return HTTPException(413, message)

    async def read(self, function: Callable[..., Made], body: bytes, *arguments: Any) -> Made:
        """What a function makes of a body; long ones are read one at a time, and no worker is kept from its work."""
        limiter = self._workers if len(body) <= SMALL_BYTES else self._reader
        return await to_thread.run_sync(function, body, *arguments, limiter=limiter)

    async def work(self, function: Callable[..., Made], *arguments: Any) -> Made:
        """What a function returns, called by a worker once it is its turn."""
        return await to_thread.run_sync(function, *arguments, limiter=self._workers)

    async def in_time(self, request: Request, make: Callable[[], Awaitable[Made]]) -> Made:
        """What is made while the client is there, within the time of an answer.

        Args:
            request: Read to its end.
            make: Makes the answer; canceled where it is not needed any more.

        Raises:
            HTTPException: The time is over (503), or the client has gone (499, which nobody reads).
        """
        try:
            with fail_after(self.limits.seconds), CancelScope() as while_there:
                watcher = asyncio.create_task(_cancel_once_gone(request, while_there))
                try:
                    return await make()
                finally:
                    watcher.cancel()
        except TimeoutError:
            raise HTTPException(
                503, f"no answer within {self.limits.seconds:g} s: send fewer rows, or try again later", RETRY
            ) from None
        raise HTTPException(LEFT, "the client has gone")


async def _cancel_once_gone(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

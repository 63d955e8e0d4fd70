"""Closes connections that hold on to the server without using it.

Uvicorn closes a connection that was idle for some seconds after an answer, and no other: neither one that never sent a
request, nor one whose client takes no answer. Here a connection has a state, which may last so long: see `_ends_after`.
"""

import resource
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # to send the head of a request
MOST_CONNECTIONS = 1000  # beyond it, the one that is without a request for the longest time gives way
FILES_BESIDE = 200  # that the process needs, such as those of a store

State = tuple[Any, ...]


class Watch:
    """Looks at connections again and again.

    Args:
        seconds: For a client to send a request, or to take an answer, once it has begun.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[H11Protocol, tuple[State, float]] = {}

    def look(self, connections: Collection[Any], now: float | None = None) -> None:
        """Abort those whose time is over, and the idlest where there are too many.

        Args:
            connections: All that are open.
            now: Seconds on a clock of the caller's; by default the monotonic one.
        """
        now = time.monotonic() if now is None else now
        seen = {}
        for each in connections:
            state, (before, since) = _state(each), self._seen.get(each, (None, now))
            seen[each] = (state, since if state == before else now)
        self._seen = seen
        over = [each for each, (_, since) in seen.items() if now - since > _ends_after(each, self._seconds)]
        idle = sorted((since, i, each) for i, (each, (_, since)) in enumerate(seen.items()) if _without_request(each))
        surplus = max(0, len(seen) - MOST_CONNECTIONS)
        for each in {*over, *(each for *_, each in idle[:surplus])}:
            each.transport.abort()


def _state(connection: H11Protocol) -> State:
    """What changes whenever a connection gets on with a request or an answer."""
    cycle = connection.cycle  # itself, not its id, which the next one may get
    request = None if cycle is None else (cycle, cycle.more_body, cycle.response_started, cycle.response_complete)
    return (request, connection.conn.their_state, connection.transport.is_closing())


def _ends_after(connection: H11Protocol, seconds: float) -> float:
    if _without_request(connection):
        return HEAD_SECONDS
    cycle = connection.cycle
    in_work = not cycle.more_body and not cycle.response_started
    return 3 * seconds if in_work else seconds  # the application sees to it before


def _without_request(connection: H11Protocol) -> bool:
    """Whether no request has begun; the rest of one that was answered too early is none."""
    answered = connection.cycle is None or connection.cycle.response_complete
    return answered and connection.conn.their_state is h11.IDLE


def allow_files() -> None:
    """Let the process open as many files as `MOST_CONNECTIONS` need, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (within, hard))

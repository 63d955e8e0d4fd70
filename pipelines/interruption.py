"""How a command ends when it is asked to: Ctrl-C, SIGTERM, SIGHUP.

The first signal raises `Interrupted` in the main thread, which unwinds the work in order; later ones change nothing.
Python runs a handler only between two of its own steps, and libraries may swallow what it raises. So the signal also
wakes a thread, which waits for the command to end. Past `GRACE_SECONDS` that thread does what must not be left undone
(`last_act`) and ends the process.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread, current_thread, main_thread
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDED_BY_SIGNAL = 128  # what shells report for a command ended by a signal is this plus its number
GRACE_SECONDS = 3.0  # for the work to unwind
POLL_SECONDS = 0.05
LAST_SECONDS = 1.5  # for the acts after that
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Interrupted(SystemExit):
    """The command was asked to end; ends the process with the code of the signal.

    Args:
        number: The signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(ENDED_BY_SIGNAL + number)
        self.number = number

    def __str__(self) -> str:
        return "interrupted" if self.number is signal.SIGINT else f"ended by {self.number.name}"


class _State:
    """What this process knows of signals, which are one for the whole process."""

    def __init__(self) -> None:
        self.first: Interrupted | None = None
        self.handled = False
        self.said = False
        self.limited = True
        self.deferring = 0
        self.acts: list[Callable[[], None]] = []


_state = _State()


def interruption() -> Interrupted | None:
    """What this process was asked to end by, None where it was not."""
    return _state.first


@contextmanager
def orderly_end() -> Iterator[None]:
    """Ends the process as its first signal asks, with a line on stderr; signals ignored before stay ignored.

    Once the block is left they are ignored: nothing is left to be ended but the interpreter.
    """
    taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as under nohup
    ready = _watch_signals()
    take_signals(taken)
    try:
        with deferred():
            ready.wait()
        yield
    except BaseException as error:  # broad: an interruption may have become any error on its way up
        if _state.first is None:
            raise
        raise _said() from error
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_IGN)
    if _state.first is not None:  # a library has swallowed it
        raise _said()


def take_signals(numbers: Sequence[signal.Signals] = SIGNALS) -> None:
    """Let the handlers be ours, also where a library has put in its own."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


@contextmanager
def last_act(act: Callable[[], None]) -> Iterator[None]:
    """Let `act` be done, in another thread, where the process is ended inside of the block without unwinding it."""
    _state.acts.append(act)
    try:
        yield
    finally:
        _state.acts.remove(act)


@contextmanager
def deferred() -> Iterator[None]:
    """A block that a signal does not interrupt, but its end: for what must be done wholly or not at all.

    Signals interrupt the main thread, so in any other there is nothing to defer.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = _state.first
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1
    if _state.first is not None and before is None and not _state.deferring:
        raise _state.first


@contextmanager
def unhurried() -> Iterator[None]:
    """Inside, the work takes the time that it needs to end."""
    _state.limited = False
    try:
        yield
    finally:
        _state.limited = True


@contextmanager
def until_asked() -> Iterator[None]:
    """A block that is meant to run until a signal: it then ends the block, and neither the process nor in an error."""
    try:
        yield
    except Interrupted:
        _state.first = None


def noticed() -> None:
    """Say that a signal has reached a handler other than that of this module, so that it is not sent again."""
    _state.handled = True


def _on_signal(number: int, _: FrameType | None) -> None:
    _state.handled = True
    if _state.first is None:
        _state.first = Interrupted(signal.Signals(number))
        if not _state.deferring:
            raise _state.first


def _said() -> Interrupted:
    """The interruption, reported on stderr."""
    assert _state.first is not None
    _say(_state.first)
    return _state.first


def _say(interrupted: Interrupted) -> None:
    if not _state.said:
        _state.said = True
        with suppress(OSError, ValueError):  # the terminal may be gone
            print(f"error: {interrupted}", file=sys.stderr, flush=True)  # noqa: T201


def _watch_signals() -> Event:
    """Start the thread that hears of signals at once, whatever the main thread is doing; set once it needs no more.

    An interruption within an import may leave the lock of all imports taken. So the thread imports what it needs while
    none can be raised, and nothing after that.
    """
    ready = Event()
    listening, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.detach(), warn_on_full_buffer=False)
    Thread(target=_watch, args=(listening, ready), name="som-signals", daemon=True).start()
    return ready


def _watch(listening: socket.socket, ready: Event) -> None:
    try:
        import psutil  # here: before the handlers are in place nothing is imported that takes time
    finally:
        ready.set()
    limited = False
    while not limited:
        heard = [number for number in listening.recv(64) if number in SIGNALS]
        deadline, limited = time.monotonic() + GRACE_SECONDS, bool(heard) and _state.limited
        while heard and not _state.handled and time.monotonic() < deadline:
            # The signal reached another thread, or just before the main thread began to wait for something: there it is
            # noticed only when the wait is over, unless another one cuts it short.
            signal.pthread_kill(main_thread().ident or 0, heard[0])
            time.sleep(POLL_SECONDS)
    time.sleep(max(deadline - time.monotonic(), 0.0))
    acts = Thread(target=_act, daemon=True)
    acts.start()
    acts.join(LAST_SECONDS)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    interrupted = _state.first or Interrupted(signal.Signals(heard[0]))
    if sys.stderr.isatty():
        sys.stderr.write(SHOW_CURSOR)
    _say(interrupted)
    os._exit(ENDED_BY_SIGNAL + interrupted.number)


def _act() -> None:
    for act in reversed(_state.acts):
        with suppress(Exception):
            act()

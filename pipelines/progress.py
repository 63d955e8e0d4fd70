"""Telling a person what a run is doing, without the work knowing who listens.

The work reports to the current `Listener`. By default that is one line of log for each event; the command line puts its
progress bars there for the time of a run.

A stage that may last more than two seconds says how far it is. Where it works through a known number of steps, of
whatever kind and in whatever threads:

    step = steps(len(figures))
    for figure in figures:
        draw(figure)
        step(figure.name)

Where a stage knows better how far it is, it calls what `advance` returns.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from somlib.core.trainer import EpochReport, OnEpoch

Advance = Callable[[int, int, str], None]

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to know."""

    def stage_started(self, stage: str) -> None:
        """A stage of a run begins."""

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """It is over; `well` says whether it did its work."""

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        """The stage that began last has gone on; may come from any thread.

        Args:
            done: How much of it is done.
            of: How much there is to do.
            doing: What it has just done, or is doing now.
            result: What it has found so far, where that is worth showing once it is over.
        """

    def remark(self, text: str) -> None:
        """Something that the user should know, though the run goes on."""


class LogListener:
    """Writes events to the log."""

    def stage_started(self, stage: str) -> None:
        """At level DEBUG."""
        logger.debug("%s: started", stage)

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """At level INFO."""
        logger.info("%s: %s in %.2f s", stage, "done" if well else "failed", seconds)

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        """At level DEBUG."""
        logger.debug("%s: %d of %d done%s", doing, done, of, f": {result}" if result else "")

    def remark(self, text: str) -> None:
        """At level WARNING."""
        logger.warning("%s", text)


_current: ContextVar[Listener | None] = ContextVar("listener", default=None)


def listener() -> Listener:
    """Who listens now."""
    return _current.get() or LogListener()


@contextmanager
def listening(new: Listener) -> Iterator[None]:
    """Let `new` listen inside."""
    token = _current.set(new)
    try:
        yield
    finally:
        _current.reset(token)


def tell(remarks: Iterable[str]) -> None:
    """Pass remarks on to whoever listens."""
    for text in remarks:
        listener().remark(text)


def advance() -> Advance:
    """Takes how much of the current stage is done, of how much, and what it is doing; may be called from any thread."""
    return listener().advanced


def steps(of: int) -> Callable[[str], None]:
    """To be called with a name as each of `of` steps of the current stage ends; from any thread, in any order."""
    audience, numbers = listener(), count(1)

    def step(name: str) -> None:
        audience.advanced(next(numbers), of, name)

    return step


def announced(then: "OnEpoch") -> "OnEpoch":
    """`then`, after whoever listens now has heard of the epoch."""
    audience = listener()

    def on_epoch(report: "EpochReport") -> None:
        number, of = report.epoch + 1, report.epochs
        errors = f"QE {report.quantization_error:.4g}, TE {report.topographic_error:.1%}"
        audience.advanced(number, of, f"epoch {number} of {of}", errors)
        then(report)

    return on_epoch


class Stages:
    """Times the stages of a run, in the order in which they start.

    Attributes:
        seconds: By stage.
        rows: Rows that a stage went through, where that says something.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.rows: dict[str, int] = {}

    @contextmanager
    def __call__(self, stage: str, rows: int | None = None) -> Iterator[None]:
        """Time what happens inside."""
        listener().stage_started(stage)
        start, well = time.perf_counter(), False
        try:
            yield
            well = True
        finally:
            self.seconds[stage] = time.perf_counter() - start
            listener().stage_ended(stage, self.seconds[stage], well)
        if rows is not None:
            self.rows[stage] = rows

    def metrics(self) -> dict[str, float]:
        """`seconds/STAGE` and, for stages with rows, `rows_per_second/STAGE`."""
        rates = {f"rows_per_second/{stage}": n / max(self.seconds[stage], 1e-9) for stage, n in self.rows.items()}
        return {f"seconds/{stage}": seconds for stage, seconds in self.seconds.items()} | rates

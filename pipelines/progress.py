"""Telling a person what a run is doing, without the work knowing who listens.

The work reports to the current `Listener`. By default that is one line of log for each event; the command line puts its
progress bars there for the time of a run.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from somlib.core.trainer import EpochReport, OnEpoch

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to know."""

    def stage_started(self, stage: str) -> None:
        """A stage of a run begins."""

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        """It is over; `well` says whether it did its work."""

    def epoch_ended(self, report: EpochReport) -> None:
        """Training has finished an epoch."""

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

    def epoch_ended(self, report: EpochReport) -> None:
        """At level DEBUG."""
        logger.debug("epoch %d of %d: QE %.4g", report.epoch + 1, report.epochs, report.quantization_error)

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


def announced(then: OnEpoch) -> OnEpoch:
    """`then`, after whoever listens now has heard of the epoch."""
    audience = listener()

    def on_epoch(report: EpochReport) -> None:
        audience.epoch_ended(report)
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

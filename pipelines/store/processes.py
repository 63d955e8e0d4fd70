"""Names of processes that stay unique, so that another process can see later whether one still lives."""

import os
import platform
from dataclasses import dataclass
from typing import Self

import psutil

# Starts of one process read before and after the clock was set differ; those of two processes with one number are
# hardly ever this close, and to take the second for the first does no harm: it ends as well.
SAME_START_SECONDS = 600.0


@dataclass(frozen=True)
class ProcessName:
    """A process of a machine; its start distinguishes it from a later one with the same number.

    Attributes:
        host: Name of the machine, or of the container.
        number: The process id.
        started: When, in seconds since 1970.
    """

    host: str
    number: int
    started: float

    @classmethod
    def own(cls) -> Self:
        """This process."""
        return cls(platform.node(), os.getpid(), psutil.Process().create_time())

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `str` made of one; None for anything else."""
        try:
            host, number, started = text.rsplit(":", 2)
            return cls(host, int(number), float(started))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.host}:{self.number}:{self.started:.2f}"

    def lives(self) -> bool | None:
        """Whether it is still there; None where it ran on another machine, which cannot be seen from here."""
        if self.host != platform.node():
            return None
        try:
            found = psutil.Process(self.number)
            same = abs(found.create_time() - self.started) < SAME_START_SECONDS
            return bool(same and found.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

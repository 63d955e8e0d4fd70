"""Refreshes in processes of their own, each of which is killed at one point on its way.

    python -m tests.pipelines.flows.refresh_process FOLDER POINT [FOLDER POINT ...]

Each works in a folder with a `demo.yaml`. A point is the start or the end of a stage, one of `WITHIN`, or empty for
none. All start from one process that has loaded what they need, which takes longer than they do; it prints how each
ended.
"""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from pipelines.flows import refresh_tasks
from pipelines.flows.refresh import refresh_flow
from pipelines.model.map_model import MapModel
from pipelines.operations.engine import flow_engine
from pipelines.progress import LogListener, listening
from pipelines.settings.config import load_config
from pipelines.store import registry

STAGES = ("fetch", "find", "judge", "learn", "log", "publish")
# What is interrupted, and whether it has done its work by then.
WITHIN: dict[str, tuple[object, str, bool]] = {
    "model written": (MapModel, "save", True),
    "version registered": (refresh_tasks.register, "fn", True),
    "version tagged": (registry, "_move", False),
    "alias moved": (registry, "_move", True),
}
POINTS = (*(f"{stage} {end}" for stage in STAGES for end in ("starts", "ends")), *WITHIN)


class Killer(LogListener):
    """Ends the process at the start or the end of a stage."""

    def __init__(self, point: str) -> None:
        self.point = point

    def stage_started(self, stage: str) -> None:
        if self.point == f"{stage} starts":
            die()

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        if self.point == f"{stage} ends":
            die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(owner: Any, name: str, afterward: bool) -> None:
    """End the process where something is called, or once it is done."""
    whole: Callable[..., Any] = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> None:
        if afterward:
            whole(*args, **kwargs)
        die()

    setattr(owner, name, deadly)


def refresh(folder: str, point: str) -> None:
    os.chdir(folder)
    if point in WITHIN:
        die_at(*WITHIN[point])
    with flow_engine() as wait, listening(Killer(point)):
        wait()
        refresh_flow(load_config("demo.yaml"))


def started(folder: str, point: str) -> int:
    """The process that refreshes there."""
    process = os.fork()
    if not process:
        refresh(folder, point)
        os._exit(0)
    return process


def main(*arguments: str) -> None:
    import_module("pipelines.operations.run_api")
    processes = [started(*pair) for pair in zip(arguments[::2], arguments[1::2], strict=True)]
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    sys.stdout.write(" ".join(map(str, ends)))


if __name__ == "__main__":
    main(*sys.argv[1:])

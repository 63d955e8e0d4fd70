"""Trainings or retrainings in processes of their own, each of which kills itself, all at once, at one place of its way.

    python -m tests.pipelines.flows.kills FLOW CONFIG PLACE [CONFIG PLACE ...]

Each works in the folder of its configuration. A place is a stage that begins (`stage draw`), an epoch that has ended
(`epoch 2`), a write to the registry or to the run, just before or just after it (`before alias champion`), or empty for
none. `PLACES` are all of them, in their order. All start at once from one process that has loaded what they need, which
takes longer than they do; it prints how each ended.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from pipelines import flows
from pipelines.operations.engine import flow_engine
from pipelines.progress import listening
from pipelines.settings.config import load_config

REPOSITORY = Path(__file__).parents[3]
STAGES = ("load", "scale", "drift", "train", "local models", "analyze", "judge", "draw", "log", "publish")
WRITES = {  # name: method of the client, and the arguments by which it is recognized
    "register": ("create_model_version", {}),
    "alias challenger": ("set_registered_model_alias", {1: "challenger"}),
    "alias champion": ("set_registered_model_alias", {1: "champion"}),
    "verdict of the version": ("set_model_version_tag", {2: "som.verdict"}),
    "end": ("set_terminated", {}),
}
PLACES = (
    *(f"stage {name}" for name in STAGES[:4]),
    *(f"epoch {epoch}" for epoch in range(1, 4)),
    *(f"stage {name}" for name in STAGES[4:]),
    *(f"{when} {name}" for name in WRITES for when in ("before", "after")),
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer:
    """Dies when it hears of a place."""

    def __init__(self, place: str) -> None:
        self.place = place

    def stage_started(self, stage: str) -> None:
        self._heard(f"stage {stage}")

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        pass

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        # The checkpoint of an epoch is written after it was told: dying here loses what the last one had.
        self._heard(doing.partition(" of ")[0])

    def remark(self, text: str) -> None:
        pass

    def _heard(self, place: str) -> None:
        if place == self.place:
            die()


def die_at_write(place: str) -> None:
    when, _, name = place.partition(" ")
    method, wanted = WRITES[name]
    original: Callable[..., Any] = getattr(MlflowClient, method)

    def killing(self: MlflowClient, *arguments: Any, **named: Any) -> Any:
        here = all(len(arguments) > i and arguments[i] == value for i, value in wanted.items())
        if here and when == "before":
            die()
        result = original(self, *arguments, **named)
        if here and when == "after":
            die()
        return result

    setattr(MlflowClient, method, killing)


def run(flow: str, config: Path, place: str) -> None:
    os.chdir(config.parent)
    if place.startswith(("before ", "after ")):
        die_at_write(place)
    with flow_engine() as wait, listening(Killer(place)):
        wait()
        getattr(flows, flow)(load_config(config))


def started(flow: str, config: Path, place: str) -> int:
    """The process that runs it."""
    process = os.fork()
    if not process:
        code = 1
        try:
            run(flow, config, place)
            code = 0
        finally:
            os._exit(code)
    return process


def main(flow: str, *arguments: str) -> None:
    getattr(flows, flow)  # imported once for all, as is what serves each its Prefect API
    import_module("pipelines.operations.run_api")
    processes = [started(flow, Path(config), place) for config, place in zip(*[iter(arguments)] * 2, strict=True)]
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    sys.stdout.write(" ".join(map(str, ends)))


def ends(flow: str, points: Sequence[tuple[Path, str]]) -> list[int]:
    """How these runs end, as numbers of signals or as codes."""
    arguments = [str(each) for point in points for each in point]
    variables = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(points[0][0].parent)}  # for what a killed one leaves
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.flows.kills", flow, *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
        timeout=250,
        check=True,
    )
    return [int(end) for end in done.stdout.split()]


if __name__ == "__main__":
    main(*sys.argv[1:])

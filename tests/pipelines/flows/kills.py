"""A training or retraining that kills itself, all at once, at one place of its way.

    python -m tests.pipelines.flows.kills CONFIG PLACE [FLOW]

A place is a stage that begins (`stage draw`), an epoch that has ended (`epoch 2`), or a write to the registry or to the
run, just before or just after it (`before alias champion`). `PLACES` are all of them, in their order.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient

from pipelines import flows
from pipelines.operations.engine import quick_flows
from pipelines.progress import listening
from pipelines.settings.config import load_config

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


def main(config: str, place: str, flow: str = "retrain_flow") -> None:
    if place.startswith(("before ", "after ")):
        die_at_write(place)
    with quick_flows(), listening(Killer(place)):
        getattr(flows, flow)(load_config(config))


if __name__ == "__main__":
    main(*sys.argv[1:])

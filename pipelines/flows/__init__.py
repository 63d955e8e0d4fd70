"""Flows: each reads as the list of its steps."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.flows.refresh import refresh_flow
    from pipelines.flows.retrain import retrain_flow
    from pipelines.flows.train import train_flow

__all__ = ["refresh_flow", "retrain_flow", "train_flow"]

_HOMES = {
    "refresh_flow": "pipelines.flows.refresh",
    "retrain_flow": "pipelines.flows.retrain",
    "train_flow": "pipelines.flows.train",
}


def __getattr__(name: str) -> Any:
    """Import a flow when it is first asked for, so that a refresh need not wait for what draws a training's figures."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

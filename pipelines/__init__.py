"""Prefect and MLflow around somlib: train, evaluate, publish and serve maps of Parquet data."""

from typing import TYPE_CHECKING, Any

from pipelines.environment import DEFAULTS, set_defaults

set_defaults(DEFAULTS)  # before anything below imports Prefect, MLflow or torch

if TYPE_CHECKING:
    from pipelines.flows import train_flow
    from pipelines.publishing.log_som import log_som
    from pipelines.settings.config import PipelineConfig, load_config

__all__ = ["PipelineConfig", "load_config", "log_som", "train_flow"]

_HOMES = {
    "PipelineConfig": "pipelines.settings.config",
    "load_config": "pipelines.settings.config",
    "log_som": "pipelines.publishing.log_som",
    "train_flow": "pipelines.flows",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `som --help` need not wait for torch and MLflow."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

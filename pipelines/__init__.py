"""Prefect and MLflow around somlib: train, judge, publish and serve maps of Parquet data."""

from pipelines.environment import DEFAULTS, set_defaults

set_defaults(DEFAULTS)  # before anything below imports Prefect, MLflow or torch

"""A small model that has learned the first ten days of hourly rows, for rows that come after to refresh it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from pipelines.data import Dataset, find_source, read_dataset, survey
from pipelines.data.samples import prepare_samples
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.monitoring.assignment import profile_training
from pipelines.settings.config import PipelineConfig
from pipelines.store.registry import publish
from pipelines.store.run_life import open_run
from pipelines.store.versions import Version
from pipelines.training.fitting import train_som
from pipelines.training.local_scores import LocalResults, learn_targets
from tests.pipelines.conftest import table

KNOWN = 240  # rows that it has learned
ROWS = table(320).with_columns(z=pl.col("b") - 3 * pl.col("c"))


def refresh_config(path: Path, **sections: Any) -> PipelineConfig:
    """The experiment `demo` on Parquet files; sections are changed where given."""
    settings: dict[str, Any] = {
        "name": "demo",
        "data": {"path": str(path), "features": ["a", "b", "c"], "target": ["y", "z"], "time": "time"},
        "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch", "initialization_mode": "pca", "missing": "mask"},
        "jitl": {"experts": "pure"},
        "refresh": {"fewest_rows": 10},
    }
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values}
    return PipelineConfig.model_validate(settings)


def write_rows(folder: Path, rows: pl.DataFrame, name: str = "known") -> Path:
    """Add rows to a dataset; its folder."""
    folder.mkdir(exist_ok=True)
    rows.write_parquet(folder / f"{name}.parquet")
    return folder


def read(config: PipelineConfig) -> Dataset:
    source = find_source(config.data)
    return read_dataset(source, survey(source, config.data.drop_incomplete), config.data.drop_incomplete)


def trained(config: PipelineConfig) -> tuple[MapModel, LocalResults]:
    """What `som train` makes of the rows that are there now, without drawing."""
    dataset = read(config)
    samples = prepare_samples(dataset, config)
    som = train_som(samples.train.samples, config.som, dataset.feature_names).som
    local = learn_targets(som, samples, config.jitl, seed=1)
    clusters = torch.arange(som.grid.m) % 2 + 1
    profile = profile_training(som, dataset, samples, local)
    return MapModel(som, samples.scaler, clusters, local.models, profile), local


def published(config: PipelineConfig, model: MapModel, metrics: dict[str, float], key: str = "train") -> Version:
    """A version of it with these metrics, from a run of its own."""
    with open_run("demo", None, {"som.kind": "train"}, None) as run:
        run.metrics(metrics)
        model_id, digest = run.model(model, read(config).features, step=0)
        tags = {"som.model_sha256": digest}
        return publish("demo", model_id, run.run_id, key, tags, check=lambda version: None)


def local_of(model: MapModel) -> LocalModels:
    assert model.local is not None
    return model.local


def without_profile(model: MapModel) -> MapModel:
    return replace(model, profile=None)


def predicted(model: MapModel, rows: pl.DataFrame, target: str = "y") -> np.ndarray[Any, np.dtype[np.float64]]:
    """What a model says of a target."""
    return model.predict(rows.to_pandas())[f"prediction_{target}"].to_numpy()

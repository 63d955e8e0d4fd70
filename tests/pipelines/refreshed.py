"""A small model that has learned the first ten days of hourly rows, for rows that come after to refresh it."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from mlflow import MlflowClient

from pipelines.data import Dataset, find_source, read_dataset, survey
from pipelines.data.samples import prepare_samples
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.monitoring.assignment import profile_training
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.connection import tracking_store
from pipelines.store.registry import publish
from pipelines.store.run_life import open_run
from pipelines.store.versions import Version
from pipelines.training.fitting import train_som
from pipelines.training.local_scores import LocalResults, learn_targets
from tests.pipelines.conftest import table

KNOWN = 240  # rows that it has learned
ROWS = table(320).with_columns(z=pl.col("b") - 3 * pl.col("c"))
NEW, LATER, LAST = (ROWS[start : start + 24] for start in (KNOWN, KNOWN + 24, KNOWN + 48))


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


@dataclass(frozen=True)
class Trained:
    """What a training left: its model, the errors that it is on record with, and the store with its version."""

    model: MapModel
    metrics: dict[str, float]
    database: Path


@dataclass(frozen=True)
class Served:
    """A store of the test's own in which version 1 serves, and the folder of its data."""

    trained: Trained
    data: Path

    def config(self, **sections: Any) -> PipelineConfig:
        return refresh_config(self.data, **sections)

    def add(self, rows: pl.DataFrame, name: str) -> None:
        write_rows(self.data, rows, name)


def first_version(empty_store: Path, folder: Path) -> Trained:
    """A store in this folder in which a first version serves, and what is in it."""
    shutil.copy(empty_store, folder / "mlflow.db")
    config = refresh_config(write_rows(folder / "data", ROWS[:KNOWN]))
    model, train = trained(config)
    with tracking_store(f"sqlite:///{folder}/mlflow.db"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        patch.chdir(folder)
        published(config, model, train.metrics)
    return Trained(model, train.metrics, folder / "mlflow.db")


def served_in(training: Trained, folder: Path) -> Served:
    """A copy of that store in the folder of a test."""
    shutil.copy(training.database, folder / "mlflow.db")
    return Served(training, write_rows(folder / "data", ROWS[:KNOWN]))


def retrain_meanwhile(served: Served) -> None:
    """Another version, with another map in its name, takes the champion's place."""
    version = published(served.config(), served.trained.model, served.trained.metrics, key=os.urandom(4).hex())
    registry.promote("demo", version.version, expected=alias(), check=lambda version: None, reason="test")


def runs() -> list[Any]:
    """Refreshes, the newest first."""
    client = MlflowClient()
    (experiment,) = [each for each in client.search_experiments() if each.name == "demo"]
    return list(client.search_runs([experiment.experiment_id], "tags.`som.kind` = 'refresh'"))


def alias() -> str:
    return registry.holding("demo", "champion").version

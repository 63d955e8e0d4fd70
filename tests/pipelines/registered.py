"""Small registered models that differ in what they answer."""

from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import torch

from pipelines.data.scaling import fit_scaler
from pipelines.model.map_model import MapModel
from pipelines.store.names import MODEL_TAG
from pipelines.store.registry import publish
from pipelines.store.run_life import open_run
from pipelines.store.versions import Version
from pipelines.training.fitting import train_som
from somlib import SOMConfig

RAW = np.random.default_rng(0).normal(size=(40, 2))
FEATURES = ("a", "b")


def map_model(first_cluster: int = 1, missing: str = "error") -> MapModel:
    """A map of 3 x 2 neurons whose clusters are numbered from a number that tells one model from another."""
    scaler = fit_scaler(RAW, FEATURES, "standard")
    config = SOMConfig.model_validate({"x": 3, "y": 2, "epochs": 2, "missing": missing})
    trained = train_som(scaler.transform(RAW), config, FEATURES)
    return MapModel(trained.som, scaler, torch.arange(6) + first_cluster)


def register_model(name: str, model: MapModel, check: Any = lambda version: None) -> Version:
    """A new version of it, published from a run of its own."""
    with open_run("demo", None, {}, None) as run:
        model_id, digest = run.model(model, RAW, step=0)
        return publish(name, model_id, run.run_id, run.run_id, {MODEL_TAG: digest}, check)


def post(address: str, rows: Any, columns: Any = FEATURES) -> httpx.Response:
    """The answer of a server to rows."""
    content = {"dataframe_split": {"columns": list(columns), "data": rows}}
    return httpx.post(f"{address}/invocations", json=content, trust_env=False, timeout=30)


def stored(uri: str) -> Path:
    """Where the files of a registered model are."""
    source = mlflow.MlflowClient().get_model_version(*uri.split("/")[1:]).source
    model = mlflow.get_logged_model(str(source).removeprefix("models:/"))
    return Path(str(model.artifact_location).removeprefix("file://"))


def damage(uri: str) -> None:
    """Change a byte of a registered map where it is stored."""
    (weights,) = stored(uri).rglob("weights.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

import pipelines
from pipelines.errors import ModelError, TrackingError
from somlib import SOM

RAW = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)) * (1.0, 50.0), columns=["heat", "flow"])
TARGET = pd.DataFrame({"yield": RAW["heat"] * 3})


def fitted(data: Any) -> SOM:
    som = SOM(3, 4, epochs=3, algorithm="batch")
    som.fit(data, verbose=False)
    return som


def test_one_call_logs_everything_into_the_open_run(store: str) -> None:
    scaler = StandardScaler().fit(RAW)
    data = pd.DataFrame(scaler.transform(RAW), columns=RAW.columns)
    som = fitted(data)
    with mlflow.start_run() as run:
        mlflow.log_param("by", "hand")
        logged = pipelines.log_som(som, data, target=TARGET, scaler=scaler, register_as="hand-made")
        mlflow.log_metric("mine", 1.0)
    record = MlflowClient().get_run(run.info.run_id)
    assert record.info.status == "FINISHED"
    assert record.data.params["som.x"] == "3"
    assert record.data.params["som.algorithm"] == "batch"
    assert record.data.params["by"] == "hand"
    history = MlflowClient().get_metric_history(run.info.run_id, "qe")
    assert [point.value for point in history] == pytest.approx(som.quantization_errors)
    assert {"train_qe", "train_te", "clusters", "mine"} <= set(record.data.metrics)
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"maps/hits.parquet", "maps/target_yield.parquet", "clusters.parquet"} <= found
    assert {"figures/hit_map.png", "figures/mean_yield.png", "figures/training_errors.png"} <= found
    model = mlflow.pyfunc.load_model("models:/hand-made@challenger")
    np.testing.assert_array_equal(model.predict(RAW)[["row", "col"]], som.identify_bmus(data).numpy())
    assert logged.published is not None
    assert logged.run_id == run.info.run_id


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (TARGET["yield"], ["yield"]),
        (TARGET.to_numpy()[:, 0], ["target"]),
        (np.column_stack([TARGET, TARGET]), ["target_0", "target_1"]),
        ({"u": TARGET["yield"].tolist()}, ["u"]),
        (pl.from_pandas(TARGET), ["yield"]),
        (None, []),
    ],
)
def test_targets_of_any_kind_get_a_name(store: str, target: Any, names: list[str]) -> None:
    data = RAW.to_numpy()
    with mlflow.start_run() as run:
        pipelines.log_som(fitted(data), data, target=target)
    files = [a.path for a in MlflowClient().list_artifacts(run.info.run_id, "maps")]
    assert [f"maps/target_{name}.parquet" for name in names] == sorted(f for f in files if "target" in f)


def test_without_an_open_run_nothing_is_logged(store: str) -> None:
    with pytest.raises(TrackingError, match=r"call it inside of `with mlflow\.start_run\(\):`"):
        pipelines.log_som(fitted(RAW.to_numpy()), RAW.to_numpy())
    assert MlflowClient().search_runs(["0"]) == []


def test_a_scaler_of_another_kind_is_refused_before_anything_is_logged(store: str) -> None:
    data = RAW.to_numpy()
    with mlflow.start_run() as run, pytest.raises(ModelError, match="MaxAbsScaler"):
        pipelines.log_som(fitted(data), data, scaler=MaxAbsScaler().fit(data))
    assert MlflowClient().get_run(run.info.run_id).data.params == {}

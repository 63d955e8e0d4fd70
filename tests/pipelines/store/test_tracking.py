import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.utils import environment

from pipelines.data import find_source, read_dataset, survey
from pipelines.data.scaling import fit_scaler
from pipelines.errors import TrackingError
from pipelines.model.map_model import MapModel
from pipelines.settings.config import PipelineConfig
from pipelines.store import tracking
from pipelines.store.connection import connect, tracking_store
from pipelines.store.origin import environment_tags
from pipelines.store.run_life import open_run
from pipelines.store.tracking import TrackedRun
from pipelines.training.fitting import train_som
from somlib import SOMConfig
from somlib.core.trainer import EpochReport

RAW = np.random.default_rng(0).normal(size=(40, 2))


def make_model() -> MapModel:
    scaler = fit_scaler(RAW, ("a", "b"), "standard")
    trained = train_som(scaler.transform(RAW), SOMConfig(x=3, y=2, epochs=2), ("a", "b"))
    return MapModel(trained.som, scaler, torch.arange(6))


@pytest.fixture
def run(store: str) -> Any:
    with open_run("demo", None, {"kept": "yes", "empty": None}, "first") as tracked:
        yield tracked


def stored(run_id: str) -> Any:
    return MlflowClient().get_run(run_id)


def test_params_are_text_lists_are_json_and_long_ones_are_cut(run: TrackedRun) -> None:
    run.params(
        {"som.sigma": 1.5, "data.features": ["a", "b"], "data.time": None, "long": "x" * 7000} | {"som.pbc": False}
    )
    params = stored(run.run_id).data.params
    assert params["som.sigma"] == "1.5"
    assert json.loads(params["data.features"]) == ["a", "b"]
    assert params["data.time"] == ""
    assert params["som.pbc"] == "false"
    assert params["long"] == "x" * 5999 + "…"


def test_more_params_than_fit_one_request_are_logged(run: TrackedRun) -> None:
    run.params({f"p{i}": i for i in range(350)})
    assert len(stored(run.run_id).data.params) == 350


def test_numbers_that_are_not_finite_are_named_instead_of_logged(run: TrackedRun) -> None:
    run.metrics({"good": 1.0, "none": math.nan, "endless": math.inf}, step=7)
    data = stored(run.run_id).data
    assert data.metrics == {"good": 1.0}
    assert data.tags["som.undefined"] == "endless, none"
    assert MlflowClient().get_metric_history(run.run_id, "good")[0].step == 7


def test_curves_have_a_point_an_epoch_and_are_written_at_the_last(run: TrackedRun) -> None:
    for epoch in range(4):
        run.epoch(EpochReport(epoch, 4, 2.0 - epoch / 4, epoch / 10, 3.0 - epoch / 2, math.nan))
    for name, expected in (("qe", [2, 1.75, 1.5, 1.25]), ("te", [0, 0.1, 0.2, 0.3]), ("sigma", [3, 2.5, 2, 1.5])):
        points = MlflowClient().get_metric_history(run.run_id, name)
        assert [(p.step, p.value) for p in points] == list(enumerate(expected))
    assert MlflowClient().get_metric_history(run.run_id, "learning_rate") == []


def test_curves_of_a_long_training_can_be_watched(run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.store.tracking.FLUSH_SECONDS", -1.0)
    run.epoch(EpochReport(0, 1000, 2.0, 0.5, 3.0, 0.5))
    assert stored(run.run_id).data.metrics["qe"] == 2.0


def test_the_dataset_is_an_input_with_source_schema_rows_and_digest(run: TrackedRun, config: PipelineConfig) -> None:
    source = find_source(config.data)
    dataset = read_dataset(source, survey(source, False), False)
    run.dataset(dataset, "demo")
    (given,) = stored(run.run_id).inputs.dataset_inputs
    assert given.dataset.name == "demo"
    assert given.dataset.digest == dataset.sha256[:36]
    assert json.loads(given.dataset.source) == {"uri": config.data.path}
    assert [column["name"] for column in json.loads(given.dataset.schema)["mlflow_colspec"]] == ["a", "b", "c", "y"]
    assert json.loads(given.dataset.profile)["num_rows"] == 200
    assert given.tags[0].value == "training"
    assert stored(run.run_id).data.tags["som.data_sha256"] == dataset.sha256


def test_files_keep_their_paths(run: TrackedRun, tmp_path: Path) -> None:
    (tmp_path / "out" / "maps").mkdir(parents=True)
    (tmp_path / "out" / "maps" / "hits.txt").write_text("1")
    run.files(tmp_path / "out")
    assert [a.path for a in MlflowClient().list_artifacts(run.run_id, "maps")] == ["maps/hits.txt"]


def test_the_model_belongs_to_the_run_and_loads_without_pickle(
    run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    model_id, digest = run.model(model, RAW, step=1)
    logged = MlflowClient().get_logged_model(model_id)
    assert (logged.experiment_id, logged.source_run_id) == (run.experiment_id, run.run_id)
    assert [output.model_id for output in stored(run.run_id).outputs.model_outputs] == [model_id]
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    loaded = mlflow.pyfunc.load_model(f"models:/{model_id}")
    assert loaded.metadata.metadata["manifest_sha256"] == digest
    assert loaded.metadata.metadata["features"] == list(model.features)
    assert loaded.metadata.signature.outputs.input_names() == list(model.outputs)
    example = loaded.input_example
    assert example is not None
    assert loaded.predict(example).equals(model.predict(example))


def test_nothing_of_this_machine_is_written_into_the_model(run: TrackedRun, tmp_path: Path) -> None:
    model_id, _ = run.model(make_model(), RAW, step=0)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model_id}"))
    for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".safetensors", ".zip")):
        text = path.read_text().replace(str(tmp_path), "")  # where the store is, MLflow has to know
        assert str(Path.home()) not in text
        assert str(Path(__file__).parents[3]) not in text


def test_the_store_of_a_block_is_only_that_of_the_block(store: str, tmp_path: Path) -> None:
    with tracking_store(f"sqlite:///{tmp_path}/other.db"):
        assert mlflow.get_tracking_uri().endswith("other.db")
    assert mlflow.get_tracking_uri() == store


def test_a_store_that_cannot_be_reached_is_one_line(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError) as caught:
        connect("http://127.0.0.1:9")
    assert str(caught.value).startswith("MLflow at http://127.0.0.1:9: ")
    assert "refused" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrackingError, match="needs the package psycopg2, which is not installed"):
        connect("postgresql://host/db")


def test_pages_lead_to_the_server_or_to_the_local_interface(run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"/#/experiments/{run.experiment_id}/runs/{run.run_id}"
    assert run.page == "http://127.0.0.1:5000" + place
    assert run.how_to_open == "mlflow ui --backend-store-uri sqlite:///mlflow.db"
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: "https://me:secret@tracking.example/")
    assert run.page == "https://***@tracking.example" + place
    assert run.how_to_open == run.page


def test_the_commit_of_the_working_folder_is_a_tag_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment_tags()["mlflow.source.git.commit"] is None
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert environment_tags()["mlflow.source.git.commit"] == head


def test_logging_a_model_leaves_mlflow_and_python_as_they_were(store: str) -> None:
    check, bytecode = getattr(environment, tracking.REQUIREMENTS_CHECK), sys.dont_write_bytecode
    with tracking._quick_logging():
        assert getattr(environment, tracking.REQUIREMENTS_CHECK) is not check
        assert sys.dont_write_bytecode
    assert getattr(environment, tracking.REQUIREMENTS_CHECK) is check
    assert sys.dont_write_bytecode is bytecode

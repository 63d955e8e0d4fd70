import base64
import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError

from pipelines import train_flow
from pipelines.config import PipelineConfig
from pipelines.errors import DatasetError
from pipelines.progress import listening
from somlib.errors import ArgumentError, SomlibWarning
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.test_progress import Recorder

pytestmark = pytest.mark.usefixtures("prefect_api", "store")


def changed(config: PipelineConfig, section: str, **values: Any) -> PipelineConfig:
    settings = config.model_dump(mode="json", exclude_unset=True)
    return PipelineConfig.model_validate(settings | {section: settings.get(section, {}) | values})


def latest_run(experiment: str = "demo") -> Any:
    client = MlflowClient()
    (run, *_) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


def test_a_run_goes_from_parquet_to_a_registered_model(config: PipelineConfig) -> None:
    recorder = Recorder()
    with listening(recorder):
        result = train_flow(config)
    stages = ["connect", "load", "scale", "train", "analyze", "draw", "log"]
    assert [heard[1] for heard in recorder.heard if isinstance(heard, tuple) and heard[0] == "started"] == stages
    assert list(result.seconds) == stages
    assert result.rows == {"found": 200, "left_out": 0, "train": 160, "heldout": 40}
    assert result.map_size == (4, 3)
    run = latest_run()
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert {name: run.data.metrics[name] for name in ("train_qe", "heldout_te")} == {
        name: result.metrics[name] for name in ("train_qe", "heldout_te")
    }
    model = mlflow.pyfunc.load_model("models:/demo@champion")
    answer = model.predict(table().to_pandas())
    distances = answer["quantization_error"].to_numpy()
    assert distances[:160].mean() == pytest.approx(result.metrics["train_qe"], rel=1e-4)
    assert distances[160:].mean() == pytest.approx(result.metrics["heldout_qe"], rel=1e-4)


def test_the_same_config_gives_the_same_map(config: PipelineConfig) -> None:
    first, second = (train_flow(config) for _ in range(2))
    assert first.metrics == second.metrics
    tags = [MlflowClient().get_run(result.run_id).data.tags for result in (first, second)]
    for name in ("som.config_digest", "som.data_sha256", "som.model_sha256"):
        assert tags[0][name] == tags[1][name]
    assert second.published is not None
    assert (second.published.version, second.published.aliases) == ("2", ("challenger",))


def test_the_prefect_run_and_the_mlflow_run_know_each_other(config: PipelineConfig) -> None:
    result = train_flow(config)
    tags = MlflowClient().get_run(result.run_id).data.tags
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(tags["prefect.flow_run_id"])
    assert flow_run.name == tags["prefect.flow_run_name"] == result.run_name
    assert str(flow_run.id) in tags["prefect.flow_run_url"]
    artifact = Artifact.get("som-train-demo")
    assert artifact is not None
    assert str(artifact.flow_run_id) == tags["prefect.flow_run_id"]
    assert f"[MLflow run {result.run_name}]({result.page})" in str(artifact.data)
    assert "| map | 4 x 3 rectangular |" in str(artifact.data)
    picture = Artifact.get("som-train-demo-clusters")
    assert picture is not None
    assert picture.type == "image"
    png = base64.b64decode(str(picture.data).partition("base64,")[2])
    assert png == Path(MlflowClient().download_artifacts(result.run_id, "figures/cluster_map.png")).read_bytes()


def test_bad_rows_fail_the_run_with_their_reason_and_publish_nothing(
    config: PipelineConfig, write: WriteDataset
) -> None:
    path = write(table().with_columns(c=pl.lit(7.0)), "flat/part-0.parquet")
    with pytest.raises(DatasetError, match="column 'c' is constant, 7 in all rows"):
        train_flow(changed(config, "data", path=str(path)))
    run = latest_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["som.failure"].startswith("DatasetError: data.features: column 'c' is constant")
    assert run.data.params["data.path"] == str(path)
    assert MlflowClient().search_registered_models() == []
    assert MlflowClient().list_artifacts(run.info.run_id) == []


def test_settings_that_the_map_refuses_fail_the_run(config: PipelineConfig) -> None:
    with pytest.raises(ArgumentError):
        train_flow(changed(config, "som", feature_weights=[1.0, 2.0]))
    assert latest_run().info.status == "FAILED"
    assert "feature_weights must have 3 values" in latest_run().data.tags["som.failure"]


def test_few_rows_are_a_warning_not_an_error(config: PipelineConfig) -> None:
    with pytest.warns(SomlibWarning, match="8 rows for 12 neurons: most will stay empty, use a smaller map"):
        result = train_flow(changed(config, "data", end="2024-01-01T10:00:00"))
    assert result.rows["train"] == 8


def test_rows_with_gaps_are_dropped_or_masked_and_counted(config: PipelineConfig, write: WriteDataset) -> None:
    gaps = table().with_columns(a=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("a"))
    data = {"path": str(write(gaps, "gaps/part-0.parquet")), "holdout": 0}
    recorder = Recorder()
    with listening(recorder):
        dropped = train_flow(changed(config, "data", **data, drop_incomplete=True))
    assert "40 of 200 rows are left out because a feature is missing in them" in recorder.heard
    assert dropped.rows == {"found": 200, "left_out": 40, "train": 160, "heldout": 0}
    assert "40 left out" in dropped.markdown()
    assert "heldout_qe" not in dropped.metrics
    masked = train_flow(changed(changed(config, "data", **data), "som", missing="mask"))
    assert masked.rows["train"] == 200
    assert np.isfinite(masked.metrics["train_qe"])


def test_a_run_may_leave_the_registry_alone(config: PipelineConfig) -> None:
    result = train_flow(changed(config, "tracking", publish=False, experiment="trials"))
    assert result.published is None
    assert "not registered" in result.markdown()
    assert MlflowClient().search_registered_models() == []
    assert latest_run("trials").info.run_id == result.run_id
    assert mlflow.pyfunc.load_model(result.model_uri).metadata.run_id == result.run_id


def test_sizes_left_to_the_data_are_logged_as_taken(config: PipelineConfig) -> None:
    result = train_flow(changed(config, "som", x=None, y=None))
    params = MlflowClient().get_run(result.run_id).data.params
    assert (int(params["som.x"]), int(params["som.y"])) == result.map_size
    assert float(params["som.sigma"]) > 0
    assert json.loads(params["data.features"]) == ["a", "b", "c"]


def test_a_deployment_passes_plain_parameters_and_bad_ones_start_nothing(config: PipelineConfig) -> None:
    settings = config.model_dump(mode="json", exclude_unset=True)
    assert train_flow(settings).map_size == (4, 3)
    with pytest.raises(ParameterTypeError, match=r"config\.som\.epochs: Input should be a valid integer"):
        train_flow(settings | {"som": {"epochs": "many"}})
    experiment = MlflowClient().get_experiment_by_name("demo")
    assert len(MlflowClient().search_runs([experiment.experiment_id])) == 1


def test_nothing_is_written_beside_the_stores(config: PipelineConfig, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    train_flow(config)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"mlruns"}

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow import MlflowClient
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import pipelines
from pipelines.cli import app
from pipelines.errors import TrackingError
from pipelines.report.steps import remake_report
from pipelines.settings.config import PipelineConfig
from somlib import SOM
from tests.pipelines.report_content import Page

RAW = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)) * (1.0, 50.0), columns=["row", "flow/h"])
TARGET = pd.DataFrame({"yield/t": RAW["row"].where(RAW["row"] < 1) * 3})


def log_by_hand() -> str:
    scaler = StandardScaler().fit(RAW)
    data = pd.DataFrame(scaler.transform(RAW), columns=RAW.columns)
    som = SOM(3, 4, epochs=3, algorithm="batch")
    som.fit(data, verbose=False)
    with mlflow.start_run() as run:
        pipelines.log_som(som, data, target=TARGET, scaler=scaler)
    return str(run.info.run_id)


def artifact(run_id: str, name: str) -> Path:
    return Path(MlflowClient().download_artifacts(run_id, name))


def read(run_id: str) -> Page:
    return Page(artifact(run_id, "report.html").read_text(encoding="utf-8"))


def same(one: Page, other: Page) -> bool:
    """Whether two pages show the same; Bokeh numbers its models anew in each."""
    return (one.text, one.json["data-json"], one.all("img")) == (other.text, other.json["data-json"], other.all("img"))


def test_a_map_logged_by_hand_has_its_report(store: str) -> None:
    found = read(log_by_hand())
    assert "3 × 4 rectangular map of 2 features, trained on 80 rows" in found.text
    assert "logged with log_som" in found.text
    assert [layer["name"] for layer in found.json["data-json"]["layers"]][4:6] == ["row", "flow/h"]
    assert found.json["data-json"]["found"]["count"] == 80


def test_the_rows_of_a_run_have_the_clusters_of_its_neurons(store: str) -> None:
    run_id = log_by_hand()
    rows, neurons = (pl.read_parquet(artifact(run_id, f"{name}.parquet")) for name in ("rows", "clusters"))
    joined = rows.join(neurons, on=("row", "col"), how="left", suffix="_of_neuron", maintain_order="left")
    assert joined["cluster"].to_list() == joined["cluster_of_neuron"].to_list()


def test_the_report_of_a_flow_can_be_made_again(
    prefect_api: None, store: str, config: PipelineConfig, tmp_path: Path
) -> None:
    result = pipelines.train_flow(config)
    before = read(result.run_id)
    assert result.report.endswith("/artifacts/report.html")
    assert Path(result.report).is_file()
    assert f"{result.page}/artifacts/report.html" in result.markdown()
    logged = remake_report(result.run_id, tmp_path / "again.html")
    assert same(Page((tmp_path / "again.html").read_text(encoding="utf-8")), before)
    assert logged == result.report
    assert before.json["data-json"]["found"].keys() >= {"seconds", "first"}
    assert "name: demo" in before.text


def test_a_report_made_again_takes_the_place_of_the_old_one(store: str, tmp_path: Path) -> None:
    run_id = log_by_hand()
    before = read(run_id)
    (tmp_path / "report.html").write_text("old")
    MlflowClient().log_artifact(run_id, str(tmp_path / "report.html"))
    remake_report(run_id, tmp_path / "new.html", store)
    assert same(read(run_id), before)


def test_the_command_says_where_the_report_is(store: str, tmp_path: Path) -> None:
    run_id = log_by_hand()
    result = CliRunner().invoke(app, ["report", run_id])
    assert result.exit_code == 0, result.output
    assert f"report-{run_id[:8]}.html" in result.output
    assert (tmp_path / f"report-{run_id[:8]}.html").is_file()


@pytest.mark.parametrize(("arguments", "text"), [(["nosuchrun"], "Run with id=nosuchrun not found")])
def test_the_command_ends_with_a_line_where_there_is_no_such_run(store: str, arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == TrackingError.exit_code
    assert text in result.output


def test_a_run_without_a_map_is_refused_and_nothing_is_written(store: str, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        mlflow.log_metric("qe", 1.0)
    with pytest.raises(TrackingError, match="logged no map"):
        remake_report(run.info.run_id, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_logged(store: str, tmp_path: Path) -> None:
    run_id = log_by_hand()
    before = artifact(run_id, "report.html").read_bytes()
    with pytest.raises(TrackingError, match=r"nowhere/report\.html cannot be written: No such file"):
        remake_report(run_id, tmp_path / "nowhere" / "report.html")
    assert artifact(run_id, "report.html").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "error", "text"),
    [
        ("maps/hits.parquet", TrackingError, r"maps/hits\.parquet of the run cannot be read"),
        ("facts.json", TrackingError, r"facts\.json of the run is damaged"),
    ],
)
def test_a_damaged_artifact_is_named(store: str, tmp_path: Path, file: str, error: Any, text: str) -> None:
    run_id = log_by_hand()
    (tmp_path / Path(file).name).write_text("damage")
    MlflowClient().log_artifact(run_id, str(tmp_path / Path(file).name), str(Path(file).parent).removeprefix("."))
    with pytest.raises(error, match=text):
        remake_report(run_id, tmp_path / "report.html")

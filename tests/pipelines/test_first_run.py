"""What a stranger gets: the command as installed, an empty home, an empty folder, a slice of the shipped data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import psutil
import pytest
from mlflow import MlflowClient

from pipelines.settings.config import load_config
from tests.pipelines.conftest import WEATHER

SOM = Path(sys.executable).with_name("som")
SLICE = ["data.where=month <= 2", "som.x=8", "som.y=6", "som.epochs=4"]
OPTIONS = [part for override in SLICE for part in ("--set", override)]


@dataclass(frozen=True)
class FirstRun:
    """Where the command ran, and what it printed."""

    folder: Path
    home: Path
    output: str
    errors: str


def environment(home: Path) -> dict[str, str]:
    """As it is, but for what a developer may have set for the tools at work here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return kept | {"HOME": str(home), "COLUMNS": "120"}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    folder, home = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("home")
    command = [str(SOM), "train", str(WEATHER), *OPTIONS]
    done = subprocess.run(command, cwd=folder, env=environment(home), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return FirstRun(folder, home, done.stdout, done.stderr)


@contextmanager
def tracking(folder: Path) -> Iterator[MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    try:
        yield MlflowClient()
    finally:
        mlflow.set_tracking_uri(before)


@pytest.fixture
def client(first_run: FirstRun) -> Iterator[MlflowClient]:
    with tracking(first_run.folder) as client:
        yield client


@pytest.fixture
def run(client: MlflowClient) -> Any:
    experiment = client.get_experiment_by_name("weather")
    (only,) = client.search_runs([experiment.experiment_id])
    return only


@pytest.fixture
def artifacts(client: MlflowClient, run: Any) -> Path:
    return Path(client.download_artifacts(run.info.run_id, ""))


# ---------------------------------------------------------------- the terminal


def test_the_table_tells_what_came_out_and_where_to_look(first_run: FirstRun) -> None:
    for text in (
        "som train: weather",
        "1,128 trained, 281 held out; 17 features",
        "8 x 6 hexagonal",
        "weather version 1, now challenger and champion",
        "mlflow ui --backend-store-uri sqlite:///mlflow.db",
    ):
        assert text in first_run.output


def test_nothing_else_is_said_than_stages_how_far_long_ones_are_and_notes(first_run: FirstRun) -> None:
    said = [line for line in first_run.errors.splitlines() if line.strip()]
    notes = {line.removeprefix("note: ") for line in said if line.startswith("note: ")}
    known = re.compile(r"✓ [a-z ]+ \d+\.\d\d s|note: |  [a-z ]+: \d+%, ")
    assert [line for line in said if not known.match(line)] == []
    assert notes == {
        "297 of 1,409 rows lack a feature; the map trains on what they have",
        "target humid_JFK is missing in 1 of 1,409 rows, which its maps leave out",
        "target temp_JFK is missing in 1 of 1,409 rows, which its maps leave out",
    }
    assert [re.split(r" +\d", line[1:])[0].strip() for line in said if line.startswith("✓")] == [
        "start", "connect", "load", "scale", "train", "analyze", "local models", "draw", "log",
        "publish",
    ]  # fmt: skip


def test_only_the_store_is_written_into_the_working_folder(first_run: FirstRun) -> None:
    assert {path.name for path in first_run.folder.iterdir()} == {"mlflow.db", "mlruns"}


# ---------------------------------------------------------------- the store


def test_the_run_is_finished_and_named_like_the_flow_run(run: Any) -> None:
    assert run.info.status == "FINISHED"
    assert run.info.run_name == run.data.tags["prefect.flow_run_name"]


def test_params_are_the_whole_config_with_what_was_taken(run: Any, artifacts: Path) -> None:
    params = run.data.params
    assert set(load_config(WEATHER).resolved()) <= set(params)
    assert params["som.x"] == "8"
    assert params["data.where"] == "month <= 2"
    assert params["data.path"] == str(WEATHER.parent / "weather")
    assert float(params["som.sigma"]) > 0
    assert int(params["som.batch_size"]) > 0
    assert params["som.num_features"] == "17"
    assert load_config(artifacts / "config.yaml") == load_config(WEATHER, SLICE)


def test_errors_are_curves_with_a_point_an_epoch(client: MlflowClient, run: Any) -> None:
    for name in ("qe", "te", "sigma"):
        assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == [0, 1, 2, 3]
    metrics = run.data.metrics
    assert metrics["train_qe"] == metrics["qe"]
    assert {"train_te", "heldout_qe", "heldout_te", "clusters", "cluster/silhouette_score"} <= set(metrics)


def test_stages_are_timed(run: Any) -> None:
    stages = {"connect", "load", "scale", "train", "analyze", "local models", "draw", "log", "publish"}
    assert {name.partition("/")[2] for name in run.data.metrics if name.startswith("seconds/")} == stages
    for stage in ("load", "scale", "train", "analyze", "local models"):
        assert run.data.metrics[f"rows_per_second/{stage}"] > 0
    rows = {name: value for name, value in run.data.metrics.items() if name.startswith("rows/")}
    assert rows == {"rows/found": 1409, "rows/left_out": 0, "rows/train": 1128, "rows/heldout": 281}


def test_the_data_is_an_input_with_source_schema_rows_and_digest(run: Any) -> None:
    (given,) = (entry.dataset for entry in run.inputs.dataset_inputs)
    assert json.loads(given.source)["uri"] == str(WEATHER.parent / "weather")
    assert json.loads(given.profile)["num_rows"] == 1409
    assert len(json.loads(given.schema)["mlflow_colspec"]) == 19
    assert run.data.tags["som.data_sha256"].startswith(given.digest)
    assert len(run.data.tags["som.data_sha256"]) == 64


def test_tags_say_what_made_the_run(run: Any) -> None:
    tags = run.data.tags
    assert tags["som.config_digest"] == load_config(WEATHER, SLICE).digest
    assert tags["som.device"] in ("cpu", "cuda:0", "cuda")
    assert re.fullmatch(r"\d+\.\d+.*", tags["som.package_version"])
    assert re.fullmatch(r"[0-9a-f-]{36}", tags["prefect.flow_run_id"])
    assert len(tags["som.model_sha256"]) == 64


def test_maps_and_clusters_are_tables_that_fit_together(artifacts: Path) -> None:
    assert {path.name for path in (artifacts / "maps").iterdir()} == {
        "component_planes.parquet",
        "distances.parquet",
        "hits.parquet",
        "target_humid_JFK.parquet",
        "target_temp_JFK.parquet",
    }
    hits = pl.read_parquet(artifacts / "maps/hits.parquet")
    assert (len(hits), hits["hits"].sum()) == (48, 1128)
    clusters = pl.read_parquet(artifacts / "clusters.parquet")
    assert clusters.select("row", "col", "hits").equals(hits)
    target = pl.read_parquet(artifacts / "maps/target_temp_JFK.parquet").filter(pl.col("mean").is_not_nan())
    warmth = pl.read_parquet(artifacts / "maps/component_planes.parquet").join(target, on=["row", "col"])
    assert warmth.select(pl.corr("temp_EWR", "mean")).item() > 0.8  # neighbors share their weather


def test_figures_are_pictures(artifacts: Path) -> None:
    files = sorted((artifacts / "figures").iterdir())
    assert {file.stem for file in files} == {
        "cluster_map", "cluster_profiles", "component_planes", "distance_map", "hit_map", "mean_humid_JFK",
        "mean_temp_JFK", "std_humid_JFK", "std_temp_JFK", "training_errors",
    }  # fmt: skip
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_the_version_is_champion_and_challenger_and_comes_from_the_run(client: MlflowClient, run: Any) -> None:
    for alias in ("champion", "challenger"):
        version = client.get_model_version_by_alias("weather", alias)
        assert (str(version.version), version.run_id) == ("1", run.info.run_id)


def test_no_file_of_the_model_is_a_pickle(client: MlflowClient, run: Any) -> None:
    (output,) = run.outputs.model_outputs
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{output.model_id}"))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {"", ".yaml", ".txt", ".json", ".safetensors", ".py", ".zip"}


PREDICT = """
import json, sys
import mlflow, polars as pl
model = mlflow.pyfunc.load_model("models:/weather@champion")
rows = pl.read_parquet(sys.argv[1]).drop_nulls().head(20).to_pandas()
answer = model.predict(rows)
print(json.dumps({"columns": list(answer.columns), "answer": answer.to_dict("list")}))
try:
    model.predict(rows.assign(hour=float("inf")))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_the_model_loads_by_alias_in_a_new_process_without_pickle(first_run: FirstRun, artifacts: Path) -> None:
    uri = f"sqlite:///{first_run.folder}/mlflow.db"
    variables = environment(first_run.home) | {"MLFLOW_TRACKING_URI": uri}
    variables |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    data = WEATHER.parent / "weather/month=01/part-0.parquet"
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, str(data)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said, refusal = done.stdout.splitlines()
    answer = json.loads(said)
    assert answer["columns"] == ["row", "col", "quantization_error", "cluster", "strength"] + [
        f"{kind}_{target}"
        for target in ("humid_JFK", "temp_JFK")
        for kind in ("prediction", "lower", "upper", "n_samples", "fallback")
    ]
    clusters = pl.read_parquet(artifacts / "clusters.parquet")
    labels = {(row["row"], row["col"]): row["cluster"] for row in clusters.to_dicts()}
    places = zip(answer["answer"]["row"], answer["answer"]["col"], strict=True)
    assert [labels[place] for place in places] == answer["answer"]["cluster"]
    assert refusal == "ModelError input must not be infinite, got such values in 20 rows: hour in 20"


# ---------------------------------------------------------------- an unhappy end


@pytest.mark.parametrize(
    ("after", "number", "settings"),
    [
        ("scale", signal.SIGINT, ["som.epochs=1000000", "runtime.threads=1"]),
        ("train", signal.SIGTERM, []),
        ("local models", signal.SIGINT, []),
        ("draw", signal.SIGHUP, []),
    ],
)
def test_asked_to_end_at_any_stage_it_says_one_line_and_its_run_is_killed(
    first_run: FirstRun, after: str, number: signal.Signals, settings: list[str]
) -> None:
    experiment = f"tracking.experiment=cut-{after}"
    options = [part for setting in [*settings, experiment] for part in ("--set", setting)]
    process = subprocess.Popen(
        [str(SOM), "train", str(WEATHER), *OPTIONS, *options],
        cwd=first_run.folder,
        env=environment(first_run.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # ignored under nohup, by children as well
    )
    assert process.stderr is not None
    for line in iter(process.stderr.readline, ""):
        if line.startswith(f"✓ {after} "):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, number)
    for _ in range(2):  # a person who does not wait
        time.sleep(0.2)
        if process.poll() is None:
            os.killpg(process.pid, number)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert printed == ""
    assert [line for line in said.splitlines() if not re.match(r"[✓✗] |note: ", line)] == [
        {1: "error: ended by SIGHUP", 2: "error: interrupted", 15: "error: ended by SIGTERM"}[number]
    ]
    assert psutil.wait_procs(children, timeout=20)[1] == []
    with tracking(first_run.folder) as client:
        (run,) = client.search_runs([client.get_experiment_by_name(f"cut-{after}").experiment_id])
    assert run.info.status == "KILLED"
    assert "som.failure" in run.data.tags

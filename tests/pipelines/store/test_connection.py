import contextlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.errors import TrackingError
from pipelines.store import connection
from pipelines.store.connection import connect, mlflow_errors, require_driver, tracking_store, written
from pipelines.store.run_life import open_run
from pipelines.store.tracking import TrackedRun
from tests.pipelines.store.test_addresses import FOLDERS

# Logs one dataset after the other into a run, each at the same moment as the other process does.
LOG_DATASETS = """
import sys, time
from mlflow.entities import Dataset, DatasetInput, InputTag
from pipelines.store.connection import written
from pipelines.store.run_life import open_run
with open_run("demo", None, {}, None) as run:
    print("ready", flush=True)
    start = float(sys.stdin.readline())
    for i in range(12):
        time.sleep(max(0.0, start + i * 0.1 - time.time()))
        given = [DatasetInput(Dataset("demo", str(i), "local", "{}"), [InputTag("mlflow.data.context", "training")])]
        written(lambda: run.client.log_inputs(run.run_id, given))
"""


@pytest.fixture
def unset(store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No store is set; that of the test takes over again afterward."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    yield
    mlflow.set_tracking_uri(store)


@pytest.mark.parametrize("name", FOLDERS)
def test_without_a_setting_runs_and_artifacts_lie_in_the_working_folder_whatever_its_name(
    name: str, unset: None, tmp_path: Path
) -> None:
    folder = tmp_path / "around" / name
    folder.mkdir(parents=True)
    shutil.copy(tmp_path / "mlflow.db", folder / "mlflow.db")
    (tmp_path / "text").write_text("x")
    with contextlib.chdir(folder), open_run("demo", None, {}, "first") as run:
        kept = Path(run.file(tmp_path / "text", "kept.txt"))
        run.fetch(["kept.txt"], tmp_path)
        assert run.how_to_open == "mlflow ui --backend-store-uri sqlite:///mlflow.db"
    assert kept.is_relative_to(folder / "mlruns")
    assert kept.read_text() == (tmp_path / "kept.txt").read_text() == "x"
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert database.execute("SELECT name, status FROM runs").fetchall() == [("first", "FINISHED")]
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlruns"]


def test_what_was_set_before_is_set_again(unset: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tracking_store(None), tracking_store(None):
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert "MLFLOW_TRACKING_URI" not in os.environ
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with tracking_store(None):
        assert mlflow.get_tracking_uri() == "sqlite:///mlflow.db"


def test_processes_that_write_the_same_at_once_do_not_fail(store: str) -> None:
    connect(None)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", LOG_DATASETS]
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    start = f"{time.time() + 0.5}\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(start)
        process.stdin.flush()
    ends = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [len(run.inputs.dataset_inputs) for run in runs] == [12, 12]


def test_a_write_is_done_again_only_after_a_race_and_not_forever() -> None:
    failures: list[Exception] = []

    def write() -> str:
        if failures:
            raise failures.pop()
        return "done"

    race = MlflowException("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name")
    failures += [race] * 3
    assert written(write) == "done"
    failures += [race] * 9
    with pytest.raises(MlflowException, match="UNIQUE"):
        written(write)
    assert len(failures) == 9 - connection.RACES
    failures[:] = [race, MlflowException("no such run")]
    with pytest.raises(MlflowException, match="no such run"):
        written(write)


@pytest.mark.parametrize(
    ("location", "needs"),
    [
        ("s3://bucket/1", r"s3://bucket/1, which needs boto3, .*: pip install 'som-pipelines\[s3\]'"),
        ("gs://bucket/1", r"google\.cloud\.storage, .*\[gcs\]"),
        ("wasbs://c@a.blob.core.windows.net/1", r"azure\.storage\.blob, .*\[azure\]"),
        ("abfss://c@a.dfs.core.windows.net/1", r"azure\.storage\.filedatalake, .*\[azure\]"),
    ],
)
def test_an_artifact_store_without_its_package_is_refused_before_a_run_is_made(
    store: str, location: str, needs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_installed", lambda module: False)
    experiment = MlflowClient().create_experiment("far", artifact_location=location)
    with pytest.raises(TrackingError, match=needs):
        open_run("far", None, {}, None).__enter__()
    assert MlflowClient().search_runs([experiment]) == []


def test_artifact_stores_that_need_nothing_are_taken(tmp_path: Path) -> None:
    for location in (str(tmp_path), tmp_path.as_uri(), "mlflow-artifacts:/1", "dbfs:/x"):
        require_driver(location)
    assert connection._installed("json")
    assert not connection._installed("no_such_package.inside")


def test_a_read_only_store_says_so(store: str, tmp_path: Path) -> None:
    uri = f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true"
    with pytest.raises(TrackingError) as caught:
        open_run("demo", uri, {}, None).__enter__()
    assert str(caught.value).endswith("attempt to write a readonly database")
    assert "\n" not in str(caught.value)


def test_an_older_schema_is_refused_with_the_command_that_upgrades_it(store: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        database.commit()
    with pytest.raises(TrackingError, match="another version of MLflow: copy it, then run: mlflow db upgrade"):
        connect(None)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "postgresql://h/x?user=u&password=Zq9x",
            "http://Zq9x@127.0.0.1:9",
            "postgresql:/u:Zq9x@h",
            "nope://u:Zq9x@h",
        ),
        *("postgresql://u:Zq9x@h:54x/d", "http://u:Zq9x@127.0.0.1:port", "postgresql://u:Zq9/x#y@h/d"),
        *(
            "mysql+pymysql://u:Zq9%40x@h/d",
            "http://127.0.0.1:9/?token=Zq9x",
            "mssql+pyodbc:///?odbc_connect=PWD%3DZq9x",
        ),
    ],
)
def test_no_message_traceback_or_log_shows_a_secret_of_the_store(
    uri: str, store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.DEBUG, logger="pipelines"), pytest.raises(TrackingError) as caught:
        connect(uri)
    told = "".join(traceback.format_exception(caught.value))
    own = "".join(record.getMessage() for record in caplog.records if record.name.startswith("pipelines"))
    for text in (str(caught.value), told.replace(f"connect({uri!r})", ""), own):
        assert "Zq9" not in text
    assert "\n" not in str(caught.value)


def test_an_error_without_a_secret_keeps_its_cause(store: str) -> None:
    cause = MlflowException("no such run")
    with pytest.raises(TrackingError, match="no such run") as caught, mlflow_errors():
        raise cause
    assert caught.value.__cause__ is cause


def test_secrets_reach_no_param_tag_or_artifact(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "Zq9x")
    runs: list[TrackedRun] = []

    def fail() -> None:
        with open_run("demo", None, {}, None) as run:
            runs.append(run)
            run.params({"data.path": "s3://key:Zq9y@bucket/x", "list": ["http://Zq9z@h"]})
            raise ValueError("no: Zq9x at postgresql://u:Zq9w@h/d")

    with pytest.raises(ValueError, match="no"):
        fail()
    data = MlflowClient().get_run(runs[0].run_id).data
    assert "Zq9" not in str(data.params) + str(data.tags)
    assert data.params["data.path"] == "s3://***@bucket/x"
    assert data.tags["som.failure"] == "ValueError: no: *** at postgresql://u:***@h/d"

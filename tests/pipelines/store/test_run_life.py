"""Runs are opened and end with what became of them."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from pipelines.errors import TrackingError
from pipelines.store.names import PROCESS_TAG
from pipelines.store.processes import ProcessName
from pipelines.store.run_life import open_run, reopened_run
from somlib.core.trainer import EpochReport


def stored(run_id: str) -> Any:
    return MlflowClient().get_run(run_id)


def test_a_run_is_finished_when_its_block_ends(store: str) -> None:
    with open_run("demo", store, {"kept": "yes", "empty": None}, "first") as run:
        assert stored(run.run_id).info.status == "RUNNING"
    info = stored(run.run_id)
    assert (info.info.status, info.info.run_name) == ("FINISHED", "first")
    assert info.data.tags["kept"] == "yes"
    assert "empty" not in info.data.tags


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("the data is odd"), "FAILED", "ValueError: the data is odd"),
        (ValueError("long " * 5000), "FAILED", "ValueError: " + "long " * 997 + "lon"),
        (KeyboardInterrupt(), "KILLED", "interrupted"),
        (SystemExit(143), "KILLED", "SystemExit: 143"),
    ],
    ids=["error", "long", "ctrl-c", "exit"],
)
def test_a_run_that_raises_is_closed_with_its_reason(
    store: str, error: BaseException, status: str, reason: str
) -> None:
    runs = []

    def fail() -> None:
        with open_run("demo", None, {}, None) as run:
            runs.append(run.run_id)
            run.epoch(EpochReport(0, 5, 1.0, 0.5, 2.0, math.nan))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert stored(runs[0]).info.status == status
    assert stored(runs[0]).data.tags["som.failure"] == reason
    assert stored(runs[0]).data.metrics["qe"] == 1.0  # what was waiting is not lost


def test_a_second_run_goes_to_the_same_experiment_and_a_deleted_one_is_told(store: str) -> None:
    with open_run("demo", None, {}, None) as one, open_run("demo", None, {}, None) as two:
        assert one.experiment_id == two.experiment_id
    MlflowClient().delete_experiment(one.experiment_id)
    with pytest.raises(TrackingError, match=r"tracking\.experiment: 'demo' was deleted in MLflow"):
        open_run("demo", None, {}, None).__enter__()


def test_a_failure_to_record_a_failure_does_not_hide_it(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("gone")

    def fail() -> None:
        with open_run("demo", None, {}, None):
            monkeypatch.setattr(MlflowClient, "log_batch", refuse)
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        fail()


def test_no_run_is_left_open_by_these_helpers(store: str) -> None:
    with open_run("demo", None, {}, None):
        assert mlflow.active_run() is None
    experiments = [e.experiment_id for e in MlflowClient().search_experiments(view_type=ViewType.ALL)]
    assert {r.info.status for r in MlflowClient().search_runs(experiments)} == {"FINISHED"}


def test_a_run_that_was_left_is_opened_again_and_ends_like_any_other(store: str) -> None:
    with pytest.raises(ZeroDivisionError), open_run("demo", None, {}, None) as run:
        _ = 1 / 0
    assert (run.status, "som.failure" in run.facts().tags) == ("FAILED", True)
    with reopened_run(run.run_id) as again:
        assert again.status == "RUNNING"
        assert again.facts().tags[PROCESS_TAG] == str(ProcessName.own())
        again.metrics({"late": 1.0})
    assert (again.run_id, run.status, run.last_metrics()["late"]) == (run.run_id, "FINISHED", 1.0)
    assert "som.failure" not in run.facts().tags
    with pytest.raises(ZeroDivisionError), reopened_run(run.run_id):
        _ = 1 / 0
    assert run.status == "FAILED"


SIGNALLED = """
import json, os, signal, sys
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import event
from sqlalchemy.engine import Engine
from pipelines import interruption
from pipelines.store.connection import connect, tracking_store
from pipelines.store.run_life import open_run

uri, moment = sys.argv[1:]
connect(uri)
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests themselves ignore it, so would this process
interruption.take_signals()
count, at, statuses = 0, 0, []

def signalled(*_, **__):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGINT)

event.listen(Engine, moment, signalled)
while True:
    interruption._state.first, count, at = None, 0, at + 1
    try:
        with open_run("signalled", uri, {"a": "b"}, None) as run:
            run.params({"p": 1})
            run.metrics({"m": 1.0})
            run.tags({"t": "x"})
    except interruption.Interrupted:
        continue
    break
at = 0
with tracking_store(uri):
    experiment = MlflowClient().get_experiment_by_name("signalled").experiment_id
    runs = MlflowClient().search_runs([experiment], order_by=["attributes.start_time"])
print(json.dumps([run.info.status for run in runs]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("moment", ["after_cursor_execute", "commit"])
def test_a_signal_at_any_statement_leaves_no_run_open_and_the_database_free(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", SIGNALLED, f"sqlite:///{tmp_path}/mlflow.db", moment]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    statuses = json.loads(done.stdout)
    assert "could not be recorded" not in done.stderr
    assert "RUNNING" not in statuses
    assert statuses.count("KILLED") >= 4
    assert statuses[-1] == "FINISHED"

from datetime import UTC, datetime, timedelta

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from pipelines.store.names import PROCESS_TAG
from pipelines.store.processes import ProcessName
from pipelines.store.run_life import open_run
from pipelines.store.runs import close, last_point, last_run, open_runs

pytestmark = pytest.mark.usefixtures("store")


def test_a_store_without_runs_has_none() -> None:
    assert open_runs() == []
    assert last_run("demo", "train") is None


def test_open_runs_are_those_that_we_opened_and_nobody_closed() -> None:
    client = MlflowClient()
    client.create_run(client.create_experiment("foreign"), run_name="of somebody else")
    with open_run("demo", None, {}, "done"):
        pass
    with open_run("demo", None, {}, "going on") as run:
        (found,) = open_runs()
        assert (found.run_id, found.name, found.experiment) == (run.run_id, "going on", "demo")
        assert found.tags[PROCESS_TAG] == str(ProcessName.own())
        assert abs(datetime.now(UTC) - found.started) < timedelta(minutes=1)
    assert open_runs() == []


def test_the_last_run_is_the_newest_of_its_kind_in_its_experiment() -> None:
    for experiment, kind, name in (
        ("demo", "refresh", "older"),
        ("demo", "refresh", "newer"),
        ("demo", "train", "of another kind"),
        ("other", "refresh", "elsewhere"),
    ):
        with open_run(experiment, None, {"som.kind": kind}, name):
            pass
    found = last_run("demo", "refresh")
    assert found is not None
    assert found.name == "newer"
    assert last_run("demo", "retrain") is None


def test_closing_marks_a_run_as_failed_and_says_why() -> None:
    client = MlflowClient()
    run = client.create_run(client.create_experiment("demo"))
    assert close(run.info.run_id, "its process is gone")
    closed = client.get_run(run.info.run_id)
    assert (closed.info.status, closed.data.tags["som.failure"]) == ("FAILED", "its process is gone")
    assert closed.info.end_time is not None


def test_a_run_that_has_ended_meanwhile_stays_as_it_ended() -> None:
    with open_run("demo", None, {}, None) as run:
        pass
    assert not close(run.run_id, "its process is gone")
    ended = MlflowClient().get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert "som.failure" not in ended.data.tags


def test_the_last_point_is_the_newest_of_the_curve() -> None:
    with open_run("demo", None, {}, None) as run:
        assert last_point(run.run_id) is None
        points = [Metric("qe", 1.0, 1_764_000_000_000, 0), Metric("qe", 0.9, 1_764_000_005_000, 1)]
        run.client.log_batch(run.run_id, metrics=points)
        assert last_point(run.run_id) == datetime.fromtimestamp(1_764_000_005, tz=UTC)

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.operations.orchestration import FlowRunLife
from pipelines.operations.stale import FRESH, SILENCE, Evidence, close_stale_runs, evidence, stale_runs, why_dead
from pipelines.store.names import PROCESS_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.processes import ProcessName
from pipelines.store.run_life import open_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JUST_NOW, LONG_AGO = NOW - timedelta(minutes=1), NOW - timedelta(days=30)
# Opens a run and never closes it: it waits until it is killed.
OPEN = """
import time
from pipelines.store.run_life import open_run
with open_run("demo", None, {}, "killed"):
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("lives", "ended", "heartbeat", "last_sign", "reason"),
    [
        # A process that lives is never touched, whatever else there is.
        (True, "Crashed", None, LONG_AGO, None),
        # A heartbeat of the last minutes: it lives elsewhere, though Prefect has given it up.
        (None, "Crashed", JUST_NOW, JUST_NOW, None),
        (False, None, JUST_NOW, JUST_NOW, None),
        (False, None, None, JUST_NOW, "its process is gone"),
        (False, None, NOW - FRESH, NOW - FRESH, "its process is gone"),
        (None, "Crashed", None, JUST_NOW, "its flow run is Crashed in Prefect"),
        (None, "Cancelled", LONG_AGO, LONG_AGO, "its flow run is Cancelled in Prefect"),
        # Nothing is known but its silence.
        (None, None, None, NOW - SILENCE + timedelta(minutes=1), None),
        (None, None, None, NOW - SILENCE, "nothing was heard of it since 2026-02-28 12:00 UTC"),
        (None, None, LONG_AGO, LONG_AGO, "nothing was heard of it since 2026-01-30 12:00 UTC"),
    ],
)
def test_a_run_is_dead_only_on_evidence(
    lives: bool | None, ended: str | None, heartbeat: datetime | None, last_sign: datetime, reason: str | None
) -> None:
    assert why_dead(Evidence(lives, ended, heartbeat, last_sign), NOW) == reason


def test_the_run_of_a_killed_process_is_closed_and_those_that_live_are_not(store: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OPEN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with open_run("demo", None, {}, "alive"):
            assert stale_runs() == []
            process.kill()
            process.wait()
            (closed,) = close_stale_runs()
            assert (closed.run.name, closed.reason) == ("killed", "its process is gone")
            assert close_stale_runs() == []
    run = MlflowClient().get_run(closed.run.run_id)
    assert (run.info.status, run.data.tags["som.failure"]) == ("FAILED", "left open: its process is gone")


def facts(tags: Mapping[str, str]) -> RunFacts:
    client = MlflowClient()
    run = client.create_run(client.create_experiment("facts"))
    elsewhere = {PROCESS_TAG: str(ProcessName("elsewhere", 1, 0.0)), "prefect.flow_run_id": "1"}
    return RunFacts(run.info.run_id, "name", "facts", LONG_AGO, {**elsewhere, **tags})


@pytest.fixture
def lasting() -> Iterator[None]:
    """A Prefect server that stays is set; nobody asks it."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        yield


def test_what_prefect_does_not_know_is_gone_only_where_it_once_knew_it(store: str, lasting: None) -> None:
    unknown = facts({"prefect.flow_run_url": "https://prefect.elsewhere/runs/1"})
    assert evidence(unknown, lambda _: None).ended is None
    known = RunFacts(
        *(unknown.run_id, "name", "facts", LONG_AGO),
        {**unknown.tags, "prefect.flow_run_url": f"{PREFECT_UI_URL.value()}/runs/1"},
    )
    assert evidence(known, lambda _: None).ended == "gone"


def test_the_newest_sign_of_life_counts(store: str, lasting: None) -> None:
    run = facts({})
    found = evidence(run, lambda _: FlowRunLife(None, JUST_NOW))
    assert found == Evidence(process_lives=None, ended=None, heartbeat=JUST_NOW, last_sign=JUST_NOW)
    assert evidence(run, lambda _: FlowRunLife(None, None)).last_sign == LONG_AGO


def test_the_command_says_which_runs_it_closed(store: str) -> None:
    client = MlflowClient()
    ended = subprocess.run(
        [sys.executable, "-c", "from pipelines.store.processes import ProcessName; print(ProcessName.own())"],
        capture_output=True,
        text=True,
        check=True,
    )
    client.create_run(client.create_experiment("demo"), run_name="lost", tags={PROCESS_TAG: ended.stdout.strip()})
    told = CliRunner().invoke(app, ["close-stale"])
    assert told.exit_code == 0, told.output
    assert "lost" in told.stdout
    assert "its process is gone" in told.stdout
    assert "no run was left open" in CliRunner().invoke(app, ["close-stale"]).stdout

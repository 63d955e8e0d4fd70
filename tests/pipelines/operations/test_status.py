from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.operations.orchestration import Deployed
from pipelines.operations.stale import StaleRun
from pipelines.operations.status import Status, age, status
from pipelines.settings.config import PipelineConfig
from pipelines.store.names import PROCESS_TAG, PROMOTED_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.processes import ProcessName
from pipelines.store.versions import Version

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(name: str, hours: float, **tags: str) -> RunFacts:
    return RunFacts("1", name, "demo", NOW - timedelta(hours=hours), {f"som.{key}": each for key, each in tags.items()})


def standing(**given: object) -> Status:
    nothing = {"champion": None, "last": {}, "deployments": (), "stale": (), "remarks": ()}
    return Status(**{"experiment": "demo", "now": NOW, "model": "demo", **nothing, **given})  # type: ignore[arg-type]


def test_a_fresh_store_has_a_status(config: PipelineConfig, store: str) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        lines = dict(status(config).lines())
    assert lines == {
        "champion": "none: no version of demo serves yet",
        "drift": "not measured yet",
        "not known": "what runs next: PREFECT_API_URL is not set",
    }


def test_the_champion_is_told_with_its_ages_and_errors() -> None:
    promoted = (NOW - timedelta(hours=5)).isoformat()
    metrics = {"train_qe": 1.23456, "train_te": 0.05, "other": 9.0}
    champion = Version("demo", "7", created=NOW - timedelta(days=3), tags={PROMOTED_TAG: promoted}, metrics=metrics)
    told = dict(standing(champion=champion).lines())["champion"]
    assert told == "demo version 7, made 3 days ago, serves for 5 hours, QE 1.235, TE 0.05"


def test_the_last_runs_are_told_with_what_they_decided_and_the_newest_drift_counts() -> None:
    last = {
        "train": run("first", 200),
        "retrain": run("nightly", 10, verdict="kept", verdict_reason="qe is 3 % higher", drift="none"),
        "refresh": run("hourly", 1, verdict="promoted", drift="warn: b moved"),
    }
    lines = dict(standing(last=last).lines())
    assert lines["last train"] == "first, 8 days ago"
    assert lines["last retrain"] == "nightly, 10 hours ago, kept: qe is 3 % higher"
    assert lines["last refresh"] == "hourly, 1 hour ago, promoted"
    assert lines["drift"] == "warn: b moved, 1 hour ago"


def test_a_last_run_that_failed_says_why() -> None:
    lines = dict(standing(last={"train": run("bad", 0, failure="DatasetError: no rows")}).lines())
    assert lines["last train"] == "bad, less than a minute ago, failed: DatasetError: no rows"


def test_what_runs_next_and_what_was_left_open_is_told() -> None:
    nightly = Deployed(UUID(int=1), "retrain", "demo", "0 2 * * * (UTC)", NOW + timedelta(hours=14))
    by_hand = Deployed(UUID(int=2), "score", "demo", "", None)
    left = StaleRun(run("lost", 30), "its process is gone")
    lines = dict(standing(deployments=[nightly, by_hand], stale=[left]).lines())
    assert lines["next retrain"] == "2026-03-02 02:00 UTC, 0 2 * * * (UTC)"
    assert lines["next score"] == "on demand only"
    assert lines["left open"] == "lost: its process is gone (som close-stale)"


def test_markdown_keeps_the_lines_in_a_table() -> None:
    last = {"train": run("a|b", 2)}
    text = standing(last=last).markdown()
    assert "| last train | a\\|b, 2 hours ago |" in text.splitlines()


def test_a_prefect_api_that_is_down_is_a_remark_and_the_rest_is_told(config: PipelineConfig, store: str) -> None:
    elsewhere = {PROCESS_TAG: str(ProcessName("elsewhere", 1, 0.0)), "prefect.flow_run_id": str(UUID(int=1))}
    client = MlflowClient()
    client.create_run(client.create_experiment("demo"), run_name="far", tags={"som.kind": "train", **elsewhere})
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        lines = list(status(config).lines())
    assert [name for name, _ in lines] == ["champion", "last train", "drift", "not known", "not known"]
    assert "http://127.0.0.1:9/api" in lines[3][1]
    assert lines[4][1] == "which runs were left open"


def test_the_command_prints_it(config: PipelineConfig, store: str, tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(config.to_yaml())
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        told = CliRunner().invoke(app, ["status", str(file)])
    assert told.exit_code == 0, told.output
    assert "no version of demo serves yet" in told.stdout


@pytest.mark.parametrize(
    ("passed", "told"),
    [
        (timedelta(seconds=59), "less than a minute"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=119), "1 hour"),
        (timedelta(hours=47), "1 day"),
        (timedelta(days=48), "48 days"),
        (timedelta(seconds=-3), "less than a minute"),  # clocks of two machines
    ],
)
def test_ages_are_told_as_a_person_would(passed: timedelta, told: str) -> None:
    assert age(passed) == told

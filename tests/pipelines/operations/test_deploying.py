"""What `som deploy` registers really runs: on a Prefect server, by a worker, into an MLflow server."""

import re
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner, Result

from pipelines.cli import app
from pipelines.errors import ConfigError, FlowEngineError
from pipelines.operations.deploying import PREFECT_FILE, deploy
from pipelines.settings.config import PipelineConfig
from tests.pipelines.deployment import ENTRIES, SETTINGS, Deployment, shipped
from tests.pipelines.live import PATIENCE, Live, eventually

# The first test of a session also starts the servers, and waits for a scheduled run or two.
pytestmark = pytest.mark.timeout(4 * PATIENCE)

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"
WORDS = {
    "0 1 * * sun": "Sundays 01:00",
    "0 2 * * *": "daily 02:00",
    "7 * * * *": "hourly, at minute 7",
    "37 * * * *": "hourly, at minute 37",
}


def som(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_deploy_tells_what_runs_when(deployed: Deployment) -> None:
    for text in ("som-train/boiler", "every 0:00:15", "37 * * * * (Etc/UTC)", "som-retrain/boiler", "on demand"):
        assert text in deployed.done.stdout
    for automation in ("som: notify of failed runs", "som: retrain boiler on drift"):
        assert automation in deployed.done.stdout


def test_a_scheduled_run_trains_a_map_and_registers_it(deployed: Deployment) -> None:
    client = MlflowClient(deployed.live.mlflow)
    published = eventually(lambda: client.search_model_versions("name = 'boiler'"))
    run = client.get_run(published[-1].run_id)
    flow_run = {str(each.id): each for each in deployed.runs("som-train/boiler")}[run.data.tags["prefect.flow_run_id"]]
    assert flow_run.auto_scheduled
    assert flow_run.parameters == {"config": deployed.config, "overrides": []}
    assert run.data.tags["prefect.flow_run_url"].startswith(deployed.live.prefect)
    eventually(lambda: client.get_run(run.info.run_id).info.status == "FINISHED")
    assert eventually(lambda: client.get_registered_model("boiler").aliases)["champion"] == published[-1].version
    assert (deployed.live.folder / "mlruns" / run.info.experiment_id).is_dir()


def test_status_tells_what_serves_and_what_runs_next(deployed: Deployment, connected: None) -> None:
    eventually(lambda: MlflowClient().search_model_versions("name = 'boiler'"))
    told = som("status", deployed.config)
    assert told.exit_code == 0, told.stderr
    assert "boiler version 1" in told.stdout
    assert "next housekeeping" in told.stdout


def test_deploying_again_changes_nothing_more(deployed: Deployment, connected: None) -> None:
    file = deployed.live.folder / "again.yaml"
    file.write_text(
        yaml.safe_dump({"deployments": yaml.safe_load(Path(deployed.file).read_text())["deployments"][2:3]})
    )
    there = _everything(deployed.live)
    again = som("deploy", deployed.config, "--file", str(file))
    assert again.exit_code == 0, again.stderr
    assert _everything(deployed.live) == there


def _everything(live: Live) -> list[str]:
    """The ids of all deployments and automations."""
    with live.client() as client:
        automations = client.request("POST", "/automations/filter", json={}).json()
        return sorted([*(str(each.id) for each in client.read_deployments()), *(each["id"] for each in automations)])


def test_a_file_that_prefect_refuses_is_one_line_with_its_reason(
    live: Live, connected: None, config: PipelineConfig, tmp_path: Path
) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"deployments": [{**shipped("train"), "entrypoint": "pipelines.nowhere.flow"}]}))
    with pytest.raises(FlowEngineError, match=r"prefect\.yaml cannot be deployed: .*nowhere") as refused:
        deploy(config, tmp_path / "demo.yaml", "som", file)
    assert "\n" not in str(refused.value)


def test_without_a_file_ours_is_deployed_from_any_folder(live: Live, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.yaml").write_text(SETTINGS.format(name="elsewhere", path="data.parquet"))
    done = live.som("deploy", str(tmp_path / "elsewhere.yaml"))
    assert not (live.folder / "deployments").exists()
    with live.client() as client:
        found = [each for each in client.read_deployments() if each.name == "elsewhere"]
        for each in found:
            client.delete_deployment(each.id)  # else they run
    assert done.returncode == 0, done.stderr
    assert len(found) == len(ENTRIES) == 4
    assert str(PREFECT_FILE) in done.stdout
    for flow in ("train", "retrain", "refresh", "housekeeping"):
        assert f"som-{flow}/elsewhere" in done.stdout


def test_the_docs_say_what_the_shipped_file_says() -> None:
    rows = re.findall(r"^\| `(som-[a-z]+)/NAME` \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE)
    shipped = [
        (f"som-{entry['entrypoint'].rpartition('.')[2]}", WORDS[schedule["cron"]])
        for entry in ENTRIES
        for schedule in entry["schedules"]
    ]
    assert rows == shipped


def test_deploying_needs_a_server_that_stays(config: PipelineConfig, tmp_path: Path) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(FlowEngineError, match="som up"):
        deploy(config, tmp_path / "demo.yaml", "som")


def test_a_missing_file_of_deployments_is_named(config: PipelineConfig, tmp_path: Path, server: str) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file: .*--file"):
        deploy(config, tmp_path / "demo.yaml", "som", tmp_path / "nowhere.yaml")

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect import flow
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.schedules import Cron, Interval
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipelines import train_flow
from pipelines.errors import FlowEngineError
from pipelines.operations.orchestration import deployed, flow_run_life, prefect_client, require_server
from pipelines.settings.config import PipelineConfig


@flow(name="som-test")
def ours(config: str = "demo.yaml") -> None:
    """One of our flows, as far as its name says."""


@flow(name="foreign")
def foreign() -> None:
    """Somebody else's flow under the same deployment name."""


def test_deployments_are_those_of_our_flows_with_their_next_run(server: str) -> None:
    ours.to_deployment("orchestrated", schedules=[Cron("30 4 * * *", timezone="Europe/Berlin")]).apply()
    foreign.to_deployment("orchestrated").apply()
    (found,) = deployed("orchestrated")
    assert (found.name, found.flow, found.schedule) == ("som-test/orchestrated", "test", "30 4 * * * (Europe/Berlin)")
    assert found.next_run is not None
    assert timedelta(0) < found.next_run - datetime.now(UTC) <= timedelta(days=1)
    assert found.next_run.minute == 30
    assert found.next_run.astimezone(UTC).hour in (2, 3)  # 4:30 in Berlin, in summer and in winter


def test_the_next_of_several_schedules_counts_and_a_paused_deployment_has_none(server: str) -> None:
    schedules = [Interval(timedelta(days=30)), Cron("* * * * *"), Cron("* * * * *", active=False)]
    deployment = ours.to_deployment("paused later", schedules=schedules).apply()
    (found,) = deployed("paused later")
    assert found.schedule == "* * * * * (UTC); every 30 days, 0:00:00"
    assert found.next_run is not None
    assert found.next_run - datetime.now(UTC) <= timedelta(minutes=1)
    with prefect_client() as client:
        client.pause_deployment(deployment)
    (paused,) = deployed("paused later")
    assert (paused.schedule, paused.next_run) == ("", None)


def test_an_experiment_that_was_never_deployed_has_no_deployments(server: str) -> None:
    assert deployed("never") == []


def test_a_flow_run_lives_until_prefect_says_how_it_ended(server: str) -> None:
    with prefect_client() as client:
        run = client.create_flow_run(ours, state=State(type=StateType.RUNNING))
        going_on = flow_run_life(str(run.id))
        client.set_flow_run_state(run.id, State(type=StateType.CRASHED, name="Crashed"), force=True)
    assert going_on is not None
    assert (going_on.ended, going_on.heartbeat) == (None, None)
    ended = flow_run_life(str(run.id))
    assert ended is not None
    assert ended.ended == "Crashed"


@pytest.mark.parametrize("name", ["3f2b6c1e-9d47-4a58-8b0c-5e7a1d9f6c24", "no id at all"])
def test_a_flow_run_that_prefect_does_not_know_is_none(name: str, server: str) -> None:
    assert flow_run_life(name) is None


def test_an_api_that_is_down_is_one_line_with_its_address() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(FlowEngineError, match=r"^Prefect API at http://127\.0\.0\.1:9/api: .+$"),
    ):
        deployed("demo")


def test_a_temporary_server_does_not_stay() -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}), pytest.raises(FlowEngineError, match="`som up`"):
        require_server()


def test_the_prefect_run_and_the_mlflow_run_know_each_other(config: PipelineConfig, server: str, store: str) -> None:
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

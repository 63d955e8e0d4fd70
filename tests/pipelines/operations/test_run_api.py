"""What a run asks of Prefect's API is there, and says what Prefect's whole server says."""

import sqlite3
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow, task
from prefect.artifacts import Artifact, create_image_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.server import models
from prefect.settings import PREFECT_API_URL
from sqlalchemy.exc import OperationalError

from pipelines.operations.engine import run_flow
from pipelines.operations.orchestration import require_api

pytestmark = pytest.mark.usefixtures("prefect_api")


@task
def step() -> int:
    return 1


@flow(name="som-well")
def well() -> tuple[Any, ...]:
    create_markdown_artifact("# text", key="som-text")
    create_image_artifact("data:image/png;base64,", key="som-picture")
    return flow_run.id, flow_run.name, step()


@flow(name="som-badly")
def badly() -> None:
    raise ZeroDivisionError("by design")


def test_flows_and_artifacts_are_kept_and_asked_for() -> None:
    require_api()
    number, name, answer = run_flow(well)
    assert answer == 1
    with pytest.raises(ZeroDivisionError, match="by design"):
        run_flow(badly)
    with get_client(sync_client=True) as client:
        states = {client.read_flow(run.flow_id).name: run.state.name for run in client.read_flow_runs() if run.state}
        assert client.read_flow_run(UUID(number)).name == name
        with pytest.raises(ObjectNotFound):
            client.read_flow_run(uuid4())
    assert {each: states[each] for each in ("som-well", "som-badly")} == {
        "som-well": "Completed",
        "som-badly": "Failed",
    }
    kept = {key: Artifact.get(key) for key in ("som-text", "som-picture")}
    assert {key: each and (each.type, str(each.flow_run_id)) for key, each in kept.items()} == {
        "som-text": ("markdown", number),
        "som-picture": ("image", number),
    }


def test_where_its_database_is_locked_for_a_moment_it_asks_to_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(*_: Any, **__: Any) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))

    def asked() -> int:
        address = f"{PREFECT_API_URL.value()}/flows/"
        return httpx.post(address, json={"name": "som-any"}, trust_env=False, timeout=60).status_code

    with monkeypatch.context() as patch:
        patch.setattr(models.flows, "create_flow", locked)
        assert asked() == 503  # as Prefect's whole server answers, which its client then asks again
    assert asked() == 201

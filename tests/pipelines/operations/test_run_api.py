"""What a run asks of Prefect's API is there, and says what Prefect's whole server says."""

import json
import os
import subprocess
import sys
from pathlib import Path

ASKING = """
import json, uuid
from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from pipelines.operations.engine import flow_engine, run_flow
from pipelines.operations.orchestration import require_api

@task
def step(): return 1

@flow(name="som-well")
def well():
    create_markdown_artifact("# text", key="som-text")
    create_image_artifact("data:image/png;base64,", key="som-picture")
    return flow_run.id, flow_run.name, step()

@flow(name="som-badly")
def badly():
    raise ZeroDivisionError("by design")

with flow_engine() as wait:
    wait()
    require_api()
    id, name, _ = run_flow(well)
    try:
        run_flow(badly)
    except ZeroDivisionError:
        pass
    with get_client(sync_client=True) as client:
        states = {client.read_flow(run.flow_id).name: run.state.name for run in client.read_flow_runs()}
        same = client.read_flow_run(uuid.UUID(id)).name == name
        try:
            client.read_flow_run(uuid.uuid4())
            missing = "found"
        except ObjectNotFound:
            missing = "not found"
print(json.dumps([states, same, missing]))
"""


def test_flows_and_artifacts_are_kept_and_asked_for(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "XDG_"))}
    quiet = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", ASKING]
    done = subprocess.run(command, env=kept | quiet, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    states, same, missing = json.loads(done.stdout.splitlines()[-1])
    assert states == {"som-well": "Completed", "som-badly": "Failed"}
    assert (same, missing) == (True, "not found")

import subprocess
import sys

import pytest
from mlflow import MlflowClient
from prefect.artifacts import Artifact

from pipelines.flows.housekeeping import housekeeping_flow
from pipelines.progress import listening
from pipelines.settings.config import PipelineConfig
from pipelines.store.names import PROCESS_TAG
from tests.pipelines.test_progress import Recorder

pytestmark = pytest.mark.usefixtures("prefect_api", "store")


def test_it_closes_what_was_left_open_says_so_and_publishes_the_status(config: PipelineConfig) -> None:
    name = "from pipelines.store.processes import ProcessName; print(ProcessName.own())"
    ended = subprocess.run([sys.executable, "-c", name], capture_output=True, text=True, check=True).stdout.strip()
    client, recorder = MlflowClient(), Recorder()
    lost = client.create_run(client.create_experiment("demo"), run_name="lost", tags={PROCESS_TAG: ended})
    with listening(recorder):
        found = housekeeping_flow(config)
    assert recorder.heard == ["run lost of demo was left open, its process is gone: FAILED now"]
    assert client.get_run(lost.info.run_id).info.status == "FAILED"
    assert found.stale == []
    artifact = Artifact.get("som-status-demo")
    assert artifact is not None
    assert "| champion | none: no version of demo serves yet |" in str(artifact.data)

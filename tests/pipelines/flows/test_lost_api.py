"""The Prefect API of a run ends while it is at work: the run has its result, published and FINISHED."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.pipelines.conftest import table

TRAIN = """
import json
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL
from pipelines.flows import tasks
from pipelines.flows.train import train_flow
from pipelines.operations import temporary
from pipelines.operations.engine import flow_engine, run_flow
from pipelines.progress import listening
from pipelines.settings.config import load_config
from pipelines.store.connection import connect

servers = []

class Kept(temporary.TemporaryServer):
    def start(self):
        servers.append(self)
        super().start()

class Listener:
    notes = []
    def stage_started(self, stage):
        if stage == "train":
            servers[0].stop()
            assert not servers[0]._thread.is_alive()
    def stage_ended(self, *_): pass
    def advanced(self, *_): pass
    def remark(self, text): self.notes.append(text)

temporary.TemporaryServer = Kept
config = load_config("tiny.yaml")
with flow_engine() as wait, listening(Listener()):
    connect(config.tracking.uri)
    wait()
    address = str(PREFECT_API_URL.value())
    result = run_flow(train_flow, config)
client = MlflowClient()
(run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
versions = [(each.run_id, each.version) for each in client.search_model_versions("name = 'tiny'")]
print(json.dumps([run.info.run_id, run.info.status, versions, Listener.notes, address]))
"""
CONFIG = """
name: tiny
data: {path: data.parquet, features: [a, b, c], time: time}
som: {x: 3, y: 2, epochs: 2, algorithm: batch}
"""


def test_a_run_whose_prefect_api_ends_is_finished_and_says_so(tmp_path: Path) -> None:
    table().write_parquet(tmp_path / "data.parquet")
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRAIN],
        cwd=tmp_path,
        env={**kept, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id, status, versions, notes, address = json.loads(done.stdout.splitlines()[-1])
    assert status == "FINISHED"
    assert [each for each, _ in versions] == [run_id]
    lost = [note for note in notes if "Prefect" in note]
    assert lost[-1].startswith(f"the run is complete, but Prefect could not be notified: Prefect API at {address}: ")
    assert len(lost) == 1, lost
    assert "Traceback" not in done.stderr

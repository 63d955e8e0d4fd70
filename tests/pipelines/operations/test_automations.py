"""What Prefect does by itself, on a real server: a webhook is told, a deployment is run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.operations.deploying import deploy
from pipelines.settings.config import PipelineConfig
from tests.pipelines.deployment import SECRET, Deployment
from tests.pipelines.live import PATIENCE, eventually

# The first test of a session also starts the servers, and waits for a scheduled run or two.
pytestmark = pytest.mark.timeout(4 * PATIENCE)


def test_a_run_that_fails_is_told_to_the_webhook_whose_address_is_nowhere_to_be_read(deployed: Deployment) -> None:
    posted = eventually(lambda: deployed.received)[0]
    (run,) = deployed.runs("som-train/failing")
    assert (posted["path"], posted["type"]) == (f"/{SECRET}", "application/json")
    text = json.loads(posted["body"])["text"]
    assert text.startswith("som-train of failing failed: ")
    assert "data.path: no such file or folder: /nowhere" in text
    assert text.endswith(str(run.id))
    assert SECRET not in deployed.done.stdout + deployed.done.stderr
    kept = [path for path in (deployed.live.folder / ".som").rglob("*") if path.is_file()]
    assert [path.name for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_drift_of_a_model_runs_the_retraining_of_that_model_alone(deployed: Deployment) -> None:
    emit = (
        "from pipelines.operations.events import drift_detected as say; say('other', {}); say('boiler', {'psi': 0.31})"
    )
    subprocess.run([sys.executable, "-c", emit], env=deployed.live.environment, check=True)
    (run,) = eventually(lambda: deployed.runs("som-retrain/boiler"))
    assert run.parameters == {"config": "x"}


def test_a_webhook_that_is_none_is_refused_without_showing_it(
    config: PipelineConfig, tmp_path: Path, server: str
) -> None:
    with pytest.raises(ConfigError, match="must be an http or https address") as refused:
        deploy(config, tmp_path / "demo.yaml", "som", notify_url=SECRET)
    assert SECRET not in str(refused.value)

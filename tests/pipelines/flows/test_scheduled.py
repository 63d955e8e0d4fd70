import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ConfigError
from pipelines.flows import scheduled
from tests.pipelines.deployment import ENTRIES, SETTINGS


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["entrypoint"])
def test_every_shipped_deployment_names_a_flow_and_its_parameters(entry: dict[str, Any]) -> None:
    module, _, name = entry["entrypoint"].rpartition(".")
    assert module == scheduled.__name__
    flow = getattr(scheduled, name)
    assert set(entry["parameters"]) <= set(flow.parameters.properties)
    assert flow.name == f"som-{name}" == getattr(import_module(f"pipelines.flows.{name}"), f"{name}_flow").name
    assert entry["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert all(schedule["timezone"] for schedule in entry["schedules"])


def test_a_scheduled_flow_checks_its_configuration_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(SETTINGS.format(name="demo", path="/nowhere"))
    with pytest.raises(ConfigError, match=r"som\.sgima is no known setting: did you mean som\.sigma"):
        scheduled.train.fn(str(file), ("som.sgima=3",))


def test_what_deploys_a_flow_and_what_runs_another_need_not_load_it() -> None:
    heavy = "('torch', 'mlflow', 'polars', 'pandas', 'matplotlib')"
    code = f"import sys, pipelines.flows.scheduled; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

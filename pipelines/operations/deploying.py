"""Registering what runs when: the deployments of `prefect.yaml`, by Prefect's own command.

The file stays the one place that says so, and `prefect deploy` the one that reads it; what is filled in here are the
experiment, its configuration and the work pool. Ours is beside this module and is installed with it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from pipelines.errors import ConfigError, FlowEngineError
from pipelines.operations.automations import notify, retrain_on_drift
from pipelines.operations.orchestration import Deployed, deployed, prefect_client, require_server
from pipelines.settings.config import PipelineConfig

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
LINES_SHOWN = 3


@dataclass(frozen=True)
class Registered:
    """What is in Prefect after a deployment.

    Attributes:
        file: What runs when.
        deployments: Of the experiment.
        automations: Names of those that were made or changed.
        pool: Work pool that runs the flows.
    """

    file: Path
    deployments: Sequence[Deployed]
    automations: Sequence[str]
    pool: str


def deploy(
    config: PipelineConfig,
    config_file: Path,
    pool: str,
    prefect_file: Path = PREFECT_FILE,
    notify_url: str | None = None,
) -> Registered:
    """Register the deployments of an experiment, and the automations around them; to do it again changes nothing more.

    Args:
        config: The experiment.
        config_file: Where it is; workers must see it under the same path.
        pool: Work pool that runs the flows; made, for processes of the worker's machine, if need be.
        prefect_file: What runs when; by default the shipped file.
        notify_url: Webhook to notify of runs that fail; None leaves what there is.

    Raises:
        ConfigError: No such file, or the URL is none.
        FlowEngineError: The Prefect API cannot be reached, or refuses.
    """
    require_server()
    if not prefect_file.is_file():
        raise ConfigError(
            f"{prefect_file}: no such file: name one of deployments with --file; one to start from is {PREFECT_FILE}"
        )
    automations = [] if notify_url is None else [notify(notify_url)]
    _make_pool(pool)
    _prefect_deploy(
        prefect_file, {"SOM_EXPERIMENT": config.name, "SOM_CONFIG": str(config_file.resolve()), "SOM_POOL": pool}
    )
    deployments = deployed(config.name)
    automations += [retrain_on_drift(config.model_name, each.id) for each in deployments if each.flow == "retrain"]
    return Registered(prefect_file, deployments, automations, pool)


def _make_pool(name: str) -> None:
    with prefect_client() as client:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:
            return  # of whatever type: one for containers or Kubernetes runs our flows as well


def _prefect_deploy(file: Path, filled_in: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(command, env=os.environ | filled_in, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FlowEngineError(f"{file} cannot be deployed: {_last_words(done.stdout + done.stderr)}")


def _last_words(output: str) -> str:
    """The end of what a command said, without the frames that it draws, in one line."""
    plain = (re.sub(r"[\u2500-\u257f]+", " ", line).strip() for line in output.splitlines())
    return " ".join([line for line in plain if line][-LINES_SHOWN:]) or "it said nothing"

"""Real servers and a worker for the tests, started by `som up` like a user would, once a session."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
from prefect.client.orchestration import SyncPrefectClient

Found = TypeVar("Found")

PATIENCE = 240.0  # seconds that something may take on a machine with much else to do; a quiet one needs a tenth
SOM = [sys.executable, "-m", "pipelines"]
QUICK = {
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
    "OMP_NUM_THREADS": "1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(find: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """What `find` returns once it is something; it may take a while, and fails the test when it takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = find()
        if found:
            return found
        time.sleep(0.25)
    raise AssertionError(f"did not happen within {seconds} s")


@dataclass(frozen=True)
class Live:
    """Servers that run.

    Attributes:
        folder: Where they were started.
        prefect: Address of the Prefect server.
        mlflow: Address of the MLflow server.
        told: What `som up` printed.
    """

    folder: Path
    prefect: str
    mlflow: str
    told: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PREFECT_API_URL": f"{self.prefect}/api", "MLFLOW_TRACKING_URI": self.mlflow}

    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(f"{self.prefect}/api")

    def som(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in their folder, against them."""
        return subprocess.run(
            [*SOM, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=240,  # on a machine that does much else
            check=False,
        )


@contextmanager
def started(folder: Path) -> Iterator[Live]:
    prefect, mlflow = free_port(), free_port()
    with (folder / "told.txt").open("w") as told, (folder / "problems.txt").open("w") as problems:
        up = subprocess.Popen(
            [*SOM, "up", "--prefect-port", str(prefect), "--mlflow-port", str(mlflow)],
            cwd=folder,
            env={**os.environ, **QUICK, "XDG_STATE_HOME": str(folder)},  # locks of models
            stdout=told,
            stderr=problems,
        )
    try:
        printed = eventually(lambda: (folder / "told.txt").read_text() or _require_alive(up, folder))
        yield Live(folder, f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}", printed)
        family = psutil.Process(up.pid).children(recursive=True)
    finally:
        up.terminate()
        assert up.wait(timeout=PATIENCE) == 143
    assert len(family) >= 4
    assert [process for process in family if process.is_running()] == []


def _require_alive(up: subprocess.Popen[bytes], folder: Path) -> None:
    assert up.poll() is None, (folder / "problems.txt").read_text()

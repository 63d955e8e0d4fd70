"""A Prefect server, an MLflow server and a worker on one machine, which start and end together.

All keep their data where a run without servers does, in the working folder: MLflow in `mlflow.db` and `mlruns/`. What
only these servers need goes to `.som/`: the database of Prefect, since one that flows of other folders write to as
well would be locked half of the time, and the logs.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NoReturn, Self
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from pipelines.environment import QUIET
from pipelines.errors import ServerError
from pipelines.interruption import deferred
from pipelines.store.addresses import DATABASE, artifact_root, sqlite_uri

HOST = "127.0.0.1"
STATE_FOLDER = ".som"
START_SECONDS = 180.0  # an MLflow server takes 15 to 20 s on an idle machine, a minute where others compete
# All of it in less than 5 s.
STOP_SECONDS = 2.5  # for a flow run to say in Prefect and MLflow that it was ended
LEAVE_SECONDS = 0.5  # for the worker after that; one of Prefect 3.8 that has run something never leaves
SERVER_SECONDS = 1.0  # for both servers, which have no requests any more
POLL_SECONDS, WATCH_SECONDS = 0.25, 1.0


@dataclass(frozen=True)
class Service:
    """What is started, and how one knows that it works.

    Attributes:
        name: For a person.
        command: Program and arguments.
        environment: On top of ours.
        health: Address that answers 200 once it works; None where there is none.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health: str | None = None


@dataclass(frozen=True)
class Addresses:
    """Where the servers of a machine are.

    Attributes:
        prefect: Of the Prefect server, which is also its UI.
        mlflow: Of the MLflow server.
        logs: Folder of the log files.
    """

    prefect: str
    mlflow: str
    logs: Path

    @property
    def prefect_api(self) -> str:
        """What `PREFECT_API_URL` must be for commands and flows to use the server."""
        return f"{self.prefect}/api"

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment of whoever wants to use the servers."""
        return {"PREFECT_API_URL": self.prefect_api, "MLFLOW_TRACKING_URI": self.mlflow}


class Child:
    """A service that runs as a process of ours, in a session of its own so that Ctrl-C reaches us alone.

    Args:
        service: What to start.
        folder: Where it works.
        log: File that takes what it prints, after what is there.
    """

    def __init__(self, service: Service, folder: Path, log: Path) -> None:
        self.service, self.log = service, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                service.command,
                env={**_inherited(), **service.environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.own = psutil.Process(self.process.pid)
        self._started: set[psutil.Process] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def require_alive(self) -> None:
        """Raise `ServerError` where it has ended; what it has started is noted, to be ended even if it is killed."""
        self._note_started()
        code = self.process.poll()
        if code is not None:
            raise ServerError(f"the {self.service.name} ended with code {code}: {_last_line(self.log)}; see {self.log}")

    @property
    def healthy(self) -> bool:
        """Whether it answers."""
        if self.service.health is None:
            return True
        try:
            with urlopen(self.service.health, timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError, HTTPException):
            return False

    def stop(self) -> None:
        """End it and everything that it has started; what does not end by itself is killed."""
        self.ask_to_end()
        self.require_ended(LEAVE_SECONDS)

    def ask_to_end(self) -> None:
        """Ask it to end, and wait for what it has started."""
        self._note_started()
        _send(self.own, signal.SIGTERM)  # a worker then takes on no more runs
        self._note_started()  # and those that it took on meanwhile are known as well
        for process in self._started:
            _send(process, signal.SIGTERM)
        _kill_after(STOP_SECONDS, list(self._started))

    def require_ended(self, seconds: float) -> None:
        """Wait for it to end, and kill it where it does not."""
        _kill_after(seconds, [self.own])
        self.process.wait()

    def _note_started(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._started |= set(self.own.children(recursive=True))
        self._started = {process for process in self._started if process.is_running()}


@contextmanager
def running(folder: Path, prefect_port: int, mlflow_port: int, pool: str) -> Iterator[tuple[Addresses, list[Child]]]:
    """Both servers and a worker, ready to work inside; all are ended, whatever ends the block.

    Args:
        folder: Where the data is kept, and where flow runs work.
        prefect_port: Of the Prefect server.
        mlflow_port: Of the MLflow server.
        pool: Work pool that the worker takes runs from; made if need be.

    Raises:
        ServerError: A port is in use, or one of them ends or does not answer; with what to do.
        TrackingError: MLflow's database cannot be made, or is not whole.
    """
    require_free(prefect_port, "--prefect-port")
    require_free(mlflow_port, "--mlflow-port")
    logs = folder / STATE_FOLDER / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    from pipelines.store.database import ready  # loads MLflow: not before the ports are known to be free

    ready(sqlite_uri(folder / DATABASE))
    addresses = Addresses(f"http://{HOST}:{prefect_port}", f"http://{HOST}:{mlflow_port}", logs)
    children: list[Child] = []

    def start(service: Service, log: str) -> None:
        with deferred():  # whatever has been started is known, and ended
            children.append(Child(service, folder, logs / log))

    try:
        start(prefect_server(folder, addresses, prefect_port), "prefect.log")
        start(mlflow_server(folder, addresses, mlflow_port), "mlflow.log")
        wait_until_healthy(children)
        start(worker(addresses, pool), "worker.log")
        yield addresses, children
    finally:
        with deferred():  # a second Ctrl-C must not leave half of them behind
            stop_all(children)


def stop_all(children: Sequence[Child]) -> None:
    """End the worker and what it runs while the servers still answer, then the servers, both at once."""
    servers, workers = children[:2], children[2:]
    for child in workers:
        child.stop()
    for child in servers:
        _send(child.own, signal.SIGTERM)
    _kill_after(SERVER_SECONDS, [child.own for child in servers])
    for child in servers:
        child.stop()


def watch(children: Sequence[Child]) -> NoReturn:
    """Wait until one of them ends, which is an error.

    Raises:
        ServerError: One has ended.
    """
    while True:
        for child in children:
            child.require_alive()
        time.sleep(WATCH_SECONDS)


def wait_until_healthy(children: Sequence[Child]) -> None:
    """Wait until all answer.

    Raises:
        ServerError: One has ended, or does not answer in time.
    """
    deadline = time.monotonic() + START_SECONDS
    waiting = list(children)
    while waiting:
        for child in waiting:
            child.require_alive()
        waiting = [child for child in waiting if not child.healthy]
        if waiting and time.monotonic() > deadline:
            child = waiting[0]
            raise ServerError(f"the {child.service.name} does not answer after {START_SECONDS:.0f} s: see {child.log}")
        time.sleep(POLL_SECONDS)


def require_free(port: int, option: str) -> None:
    """Raise `ServerError` where something listens on a port of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended does not count
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(
                f"{option}: port {port} of {HOST} cannot be used ({error.strerror}): "
                f"stop what listens there, or choose another with {option}"
            ) from error


# ---------------------------------------------------------------- what is started


def prefect_server(folder: Path, addresses: Addresses, port: int) -> Service:
    """The Prefect server with its UI."""
    database = folder / STATE_FOLDER / "prefect.db"
    environment = {
        "PREFECT_API_URL": addresses.prefect_api,
        "PREFECT_UI_API_URL": addresses.prefect_api,  # by default the UI looks for port 4200
        "PREFECT_API_DATABASE_CONNECTION_URL": os.environ.get(
            "PREFECT_API_DATABASE_CONNECTION_URL", f"sqlite+aiosqlite:///{database}"
        ),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    return Service("Prefect server", command, environment, f"{addresses.prefect_api}/health")


def mlflow_server(folder: Path, addresses: Addresses, port: int) -> Service:
    """The MLflow server with its UI.

    It hands out paths of `mlruns/` and no addresses of its own for artifacts, as MLflow without a server does: a run
    can go on in an experiment of the other kind, and a model is found with the server and without.
    """
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", sqlite_uri(folder / DATABASE)),
        *("--no-serve-artifacts", "--default-artifact-root", artifact_root(folder)),
        *("--uvicorn-opts", "--log-level warning"),
    ]
    # Without this the server starts a pool of ten processes for jobs that nothing here uses, 2 GB in all.
    return Service(
        "MLflow server", command, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, f"{addresses.mlflow}/health"
    )


def worker(addresses: Addresses, pool: str) -> Service:
    """A worker that runs each flow run as a process of this machine."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--pool", pool, "--name", "som"]
    extra = {"PREFECT_LOGGING_EXTRA_LOGGERS": "pipelines,somlib"}
    return Service("worker", command, {**extra, **addresses.settings})


def _inherited() -> dict[str, str]:
    """Our environment, without what keeps the command line quiet: logs shall say something, and in its order."""
    kept = {name: value for name, value in os.environ.items() if QUIET.get(name) != value}
    return {**kept, "PYTHONUNBUFFERED": "1"}


# ---------------------------------------------------------------- small change


def _kill_after(seconds: float, processes: Sequence[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=seconds)
    for process in left:
        _send(process, signal.SIGKILL)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # ended by itself meanwhile
        process.send_signal(number)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"

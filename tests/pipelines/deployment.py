"""An experiment deployed by `som deploy` on real servers, once a session, with a webhook that listens."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import polars as pl
import yaml
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun

from pipelines.operations.deploying import PREFECT_FILE
from tests.pipelines.live import Live, eventually

ENTRIES = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
SECRET = "T0K3N-nobody-may-see"
SETTINGS = """
name: {name}
data: {{path: {path}, features: [a, b, c], target: y, time: time}}
som: {{x: 4, y: 3, epochs: 2, algorithm: batch}}
jitl: {{experts: pure}}
"""
RETRAIN = """
from prefect import flow

@flow(name="som-retrain")
def retrain(config: str) -> None:
    pass
"""


def shipped(name: str) -> dict[str, Any]:
    """The shipped deployment of a flow."""
    return next(entry for entry in ENTRIES if entry["entrypoint"].endswith(f".{name}"))


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on this machine; its address, and what was posted there."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append({"path": self.path, "type": self.headers["Content-Type"], "body": body})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}", received
        server.shutdown()


@dataclass(frozen=True)
class Deployment:
    """What one `som deploy` did.

    Attributes:
        live: Where.
        config: Configuration file of the experiment `boiler`.
        file: File of deployments: training every few seconds, retraining, and a training that fails.
        done: How the command ended.
        received: What the webhook was told.
    """

    live: Live
    config: str
    file: str
    done: subprocess.CompletedProcess[str]
    received: list[dict[str, Any]]

    def runs(self, deployment: str) -> list[FlowRun]:
        """The runs of a deployment that have started or shall start."""
        with self.live.client() as client:
            found = FlowRunFilterDeploymentId(any_=[client.read_deployment_by_name(deployment).id])
            return client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=found))


@contextmanager
def deployed_on(live: Live, data: pl.DataFrame) -> Iterator[Deployment]:
    """An experiment that `som deploy` has deployed; its training, which is due, and one that fails are on the way."""
    data.write_parquet(live.folder / "data.parquet")
    configs = {name: live.folder / f"{name}.yaml" for name in ("boiler", "failing")}
    configs["boiler"].write_text(SETTINGS.format(name="boiler", path="data.parquet"))
    configs["failing"].write_text(SETTINGS.format(name="failing", path="/nowhere"))
    (live.folder / "retrain.py").write_text(RETRAIN)
    train = shipped("train")
    retrain = {**train, "entrypoint": "retrain.py:retrain", "parameters": {"config": "x"}, "schedules": []}
    failing = {**train, "name": "failing", "parameters": {"config": str(configs["failing"])}, "schedules": []}
    file = live.folder / "prefect.yaml"
    due = {**train, "schedules": [{"interval": 15}]}
    file.write_text(yaml.safe_dump({"deployments": [due, shipped("housekeeping"), retrain, failing]}))
    with receiver() as (url, received):
        done = live.som("deploy", "boiler.yaml", "--file", "prefect.yaml", SOM_NOTIFY_URL=url)
        assert done.returncode == 0, done.stderr
        deployment = Deployment(live, str(configs["boiler"]), str(file), done, received)
        with live.client() as client:
            client.create_flow_run_from_deployment(client.read_deployment_by_name("som-train/failing").id)
            eventually(lambda: [run for run in deployment.runs("som-train/boiler") if run.start_time])
            client.pause_deployment(client.read_deployment_by_name("som-train/boiler").id)  # once is enough
        yield deployment

"""A published model behind MLflow's own server, in processes of its own, as `mlflow models serve` starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pandas as pd

from tests.pipelines.live import free_port
from tests.pipelines.registered import FEATURES, map_model, post, register_model

STARTS_WITHIN = 240.0  # seconds, on a machine that has much else to do


@contextmanager
def served(uri: str, folder: Path) -> Iterator[str]:
    """The address of MLflow's server for a model."""
    port, said = free_port(), folder / "served.txt"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by its name
    with said.open("w") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "PATH": path},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not _answers(address):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.25)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/ping", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def asked(address: str, **request: Any) -> httpx.Response:
    return httpx.post(f"{address}/invocations", trust_env=False, timeout=60, **request)


def test_mlflows_own_server_answers_as_the_model_does_in_every_form_of_request(store: str, tmp_path: Path) -> None:
    version = register_model("demo", map_model(missing="mask"))
    rows = [[1, 0.5], [-2, 3.25], [0, None]]  # whole numbers and a gap, which MLflow casts by a signature of inputs
    frame = pd.DataFrame(rows, columns=list(FEATURES))
    expected = mlflow.pyfunc.load_model(version.uri).predict(frame)
    records = {"dataframe_records": [dict(zip(FEATURES, row, strict=True)) | {"note": "text"} for row in rows]}
    columns = {"inputs": {name: [row[i] for row in rows] for i, name in enumerate(FEATURES)}}
    with served(version.uri, tmp_path) as address:
        answers = [
            post(address, rows),
            post(address, [row[::-1] for row in rows], FEATURES[::-1]),
            *(
                httpx.post(f"{address}/invocations", json=each, trust_env=False, timeout=60)
                for each in (records, columns)
            ),
            httpx.post(
                f"{address}/invocations",
                content=frame.to_csv(index=False),
                headers={"Content-Type": "text/csv"},
                trust_env=False,
                timeout=60,
            ),
        ]
        refused = post(address, [[1, 2]], ("a", "c"))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        got = pd.DataFrame(answer.json()["predictions"])
        pd.testing.assert_frame_equal(got, expected, check_dtype=False, rtol=1e-6)
    assert refused.status_code == 400

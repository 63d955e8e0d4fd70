"""How fast `som serve` answers: 50 requests a second with one row each, for 20 s, and again while the alias moves.

    python benchmarks/serve.py

A map of the weather data is trained by `som train`, registered, and served by `som serve` in a process of its own. The
rows are the newest of the data. Requests are due at fixed times, whether earlier ones were answered or not, and the
clock of each starts when it is due: a server that falls behind shows it. The last column is the server's CPU time for
one request, which other jobs on the machine disturb least.
"""

import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from mlflow import MlflowClient

from pipelines.data import find_source, read_dataset, survey
from pipelines.settings.config import load_config
from pipelines.store.names import MODEL_TAG
from pipelines.store.registry import register

REPOSITORY = Path(__file__).parents[1]
RATE, SECONDS, CLIENTS, ROUNDS = 50, 20, 10, 3
SOM = [sys.executable, "-m", "pipelines"]


class Answer(NamedTuple):
    milliseconds: float
    status: int
    version: str | None


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        subprocess.run([*SOM, "train", str(REPOSITORY / "data" / "weather.yaml")], check=True)
        second = register_again()
        rows = example_rows()
        with serving() as (process, port):
            cpu = psutil.Process(process.pid)
            fire(port, rows, 2)  # warm-up of the clients' connections
            for _ in range(ROUNDS):
                report("quiet", *timed(cpu, port, rows))
            with ThreadPoolExecutor(1) as other:
                other.submit(move_alias, second)
                report("alias moves", *timed(cpu, port, rows))


def example_rows() -> list[bytes]:
    """A request for each of some rows of the data, null where a sensor is missing."""
    config = load_config(str(REPOSITORY / "data" / "weather.yaml"))
    source = find_source(config.data)
    dataset = read_dataset(source, survey(source, config.data.drop_incomplete), config.data.drop_incomplete)
    values = [[None if math.isnan(v) else float(v) for v in row] for row in dataset.features[-1000:]]
    columns = list(dataset.feature_names)
    return [json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode() for row in values]


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [*SOM, "serve", "weather", "--port", "0", "--poll", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        print(line, end="")
        try:
            yield process, int(line.rsplit(":", 1)[1])
        finally:
            process.terminate()


def register_again() -> str:
    """A second version of the model, so that the alias has somewhere to go."""
    first = MlflowClient().get_model_version("weather", "1")
    model_id, tags = str(first.source).removeprefix("models:/"), {MODEL_TAG: first.tags[MODEL_TAG]}
    return register("weather", model_id, None, "benchmark", tags).version


def move_alias(version: str) -> None:
    time.sleep(SECONDS / 2)
    MlflowClient().set_registered_model_alias("weather", "champion", version)


def timed(cpu: psutil.Process, port: int, rows: list[bytes]) -> tuple[list[Answer], float]:
    before = cpu.cpu_times()
    answers = fire(port, rows, SECONDS)
    after = cpu.cpu_times()
    return answers, (after.user + after.system - before.user - before.system) / len(answers) * 1000


def fire(port: int, rows: list[bytes], seconds: float) -> list[Answer]:
    """The answers to `RATE` requests a second, by clients that take turns."""
    start = time.perf_counter() + 0.2
    with ThreadPoolExecutor(CLIENTS) as pool:
        jobs = [pool.submit(client, port, rows, start, range(i, int(RATE * seconds), CLIENTS)) for i in range(CLIENTS)]
        return [answer for job in jobs for answer in job.result()]


def client(port: int, rows: list[bytes], start: float, numbers: range) -> list[Answer]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    answers = []
    for number in numbers:
        due = start + number / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("POST", "/invocations", rows[number % len(rows)], {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        waited = (time.perf_counter() - due) * 1000
        answers.append(Answer(waited, response.status, response.getheader("X-Model-Version")))
    connection.close()
    return answers


def report(name: str, answers: list[Answer], cpu: float) -> None:
    waited = [answer.milliseconds for answer in answers]
    cuts = statistics.quantiles(waited, n=100)
    failed = sum(answer.status != 200 for answer in answers)
    versions = "/".join(str(sum(a.version == v for a in answers)) for v in sorted({a.version or "" for a in answers}))
    print(
        f"| {name} | {len(answers)} | {failed} | {versions} | {cuts[49]:.1f} | {cuts[89]:.1f} | {cuts[98]:.1f} "
        f"| {max(waited):.1f} | {cpu:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()

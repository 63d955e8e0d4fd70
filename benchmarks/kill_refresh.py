"""Whether `som refresh` can be killed anywhere: SIGKILL at each point on its way, then run again.

    python -m benchmarks.kill_refresh

The shipped weather, trained on January to June, and a day of new rows. For each point a store of its own, a process
that kills itself there, a look at what serves, and the same refresh once more, in another process. What comes of it
must be what comes of a refresh that nobody kills: the same content of the version that serves, to the byte, and as many
versions.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pipelines.flows.train import train_flow
from pipelines.operations.engine import flow_engine
from pipelines.settings.config import PipelineConfig, load_config
from pipelines.store import registry, servable
from pipelines.store.connection import tracking_store
from tests.pipelines.flows.refresh_process import POINTS

REPOSITORY = Path(__file__).parents[1]
AT_ONCE = 4
WEATHER = REPOSITORY / "data" / "weather.yaml"


def experiment(folder: Path, end: str) -> PipelineConfig:
    store = f"sqlite:///{folder}/mlflow.db"
    return load_config(WEATHER, [f"data.end={end}", f"tracking.uri={store}"])


def refreshes(folders: Mapping[Path, str]) -> list[int]:
    """Exit status of refreshes in processes of their own, to be killed at these points."""
    arguments = [str(each) for pair in folders.items() for each in pair]
    command = [sys.executable, "-m", "tests.pipelines.flows.refresh_process", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True
    )
    return [int(status) for status in done.stdout.split()]


def stands(folder: Path) -> tuple[str, int, str]:
    """The version that serves, how many there are, and the digest of its content; it must be whole."""
    with tracking_store(f"sqlite:///{folder}/mlflow.db"), tempfile.TemporaryDirectory() as place:
        champion = registry.holding("weather", "champion")
        servable.fetch(champion, Path(place))
        return champion.version, len(registry.versions("weather")), champion.tags["som.model_sha256"][:16]


def copied(trained: Path, name: str) -> Path:
    folder = trained.parent / name
    folder.mkdir()
    shutil.copy(trained / "mlflow.db", folder)
    (folder / "demo.yaml").write_text(experiment(folder, "2013-07-02").to_yaml())
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as name, flow_engine() as wait:
        wait()
        root = Path(name)
        os.environ["XDG_STATE_HOME"] = name
        trained = root / "trained"
        trained.mkdir()
        os.chdir(trained)
        train_flow(experiment(trained, "2013-07-01"))
        whole = copied(trained, "whole")
        assert refreshes({whole: ""}) == [0]
        expected = stands(whole)
        print(f"not killed: version {expected[0]} of {expected[1]}, content {expected[2]}\n")
        print("| killed when | serves then | run again: serves | versions | as if not killed |")
        print("| --- | --- | --- | --- | --- |")
        for start in range(0, len(POINTS), AT_ONCE):
            points = {copied(trained, point): point for point in POINTS[start : start + AT_ONCE]}
            assert refreshes(points) == [-signal.SIGKILL] * len(points)
            then = [stands(folder)[0] for folder in points]
            assert refreshes(dict.fromkeys(points, "")) == [0] * len(points)
            for (folder, point), serving in zip(points.items(), then, strict=True):
                now = stands(folder)
                same = "yes" if now == expected else f"no: {now[2]}"
                print(f"| {point} | {serving} | {now[0]} | {now[1]} | {same} |", flush=True)


if __name__ == "__main__":
    main()

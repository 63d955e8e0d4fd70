"""From the command to the prompt: what the commands of a day cost as whole processes, beside another checkout.

    python benchmarks/start.py --against ../before --repeats 5

Medians of wall seconds and of CPU seconds (user and system, which vary less where a machine is shared); this checkout
and the other take turns. Both run in this environment, each on a store of its own. The refreshes are of one hour's rows
each. The stages of `som train` are those that it prints.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parents[1]
WEATHER = HERE / "data" / "weather.yaml"
LAST = datetime(2013, 12, 30)  # up to which the first refresh learns; the data has a day more
# Stages with a bar had their time as h:mm:ss once, without parts of a second.
STAGE = re.compile(r"^(?:✓|ok) ([a-z ]+?) +(?:[━-]+ +)?(?:(\d+):(\d\d):(\d\d)|([\d.]+) s)", re.MULTILINE)
STAGES = ("start", "analyze", "local models", "draw", "log", "publish")
ASK = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model("models:/weather@champion")
model.predict(model.input_example)
"""


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float
    output: str


class Checkout:
    """A checkout with a working folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root.resolve(), folder
        module = (root / "pipelines" / "__main__.py").exists()
        self.command = ["-m", "pipelines"] if module else ["-c", "from pipelines.cli import main; main()"]
        self.now = LAST

    def run(self, name: str) -> Cost:
        return self.timed(self._command(name))

    def som(self, *arguments: str) -> list[str]:
        return [*self.command, *arguments]

    def refresh(self) -> list[str]:
        limits = ["--set", f"data.end={self.now.isoformat()}Z", "--set", "refresh.fewest_rows=1"]
        self.now += timedelta(hours=1)
        return self.som("refresh", str(WEATHER), *limits)

    def _command(self, name: str) -> list[str]:
        if name == "som refresh":
            return self.refresh()
        return {
            "import torch": ["-c", "import torch"],
            "import somlib": ["-c", "from somlib import SOM"],
            "som check": self.som("check", str(WEATHER)),
            "som train": self.som("train", str(WEATHER), "--force"),
            "load and ask": ["-c", ASK],
        }[name]

    def timed(self, arguments: Sequence[str]) -> Cost:
        environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONIOENCODING": "utf-8"}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
            start = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=environment, stdout=output, stderr=output
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read()
        if process.returncode:
            raise SystemExit(f"{self.root}: {' '.join(arguments)} ended with {process.returncode}:\n{text}")
        return Cost(wall, usage.ru_utime + usage.ru_stime, text)


def measured(
    checkouts: Sequence[Checkout], names: Sequence[str], repeats: int
) -> Iterator[tuple[str, Sequence[Sequence[Cost]]]]:
    """Each command with its costs by checkout, which take turns; training leaves the champion that the others ask."""
    for checkout in checkouts:
        checkout.run("import torch")
        if {"som train", "som refresh", "load and ask"} & set(names):
            checkout.run("som train")
        if "som refresh" in names:
            checkout.run("som refresh")  # learns the rows that the training held out
    for name in names:
        costs: list[list[Cost]] = [[] for _ in checkouts]
        for turn in range(repeats):
            for i in range(len(checkouts)):
                i = (i + turn) % len(checkouts)
                costs[i].append(checkouts[i].run(name))
        yield name, costs


def medians(costs: Sequence[Cost]) -> str:
    return f"{statistics.median(c.wall for c in costs):.1f} / {statistics.median(c.cpu for c in costs):.1f}"


def stage_seconds(costs: Sequence[Cost], stage: str) -> str:
    found = [
        float(s) if s else 3600 * int(hour) + 60 * int(minute) + int(second)
        for cost in costs
        for name, hour, minute, second, s in STAGE.findall(cost.output)
        if name == stage
    ]
    return f"{statistics.median(found):.1f}" if found else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    commands = ["import torch", "import somlib", "som check", "som train", "som refresh", "load and ask"]
    parser.add_argument("--commands", nargs="+", choices=commands, default=commands)
    asked = parser.parse_args()
    roots = [root for root in (asked.against, HERE) if root is not None]
    with tempfile.TemporaryDirectory() as folder:
        checkouts = []
        for i, root in enumerate(roots):
            place = Path(folder) / str(i)
            place.mkdir()
            checkouts.append(Checkout(root, place))
        heads = ["then", "now"][-len(roots) :]
        print(f"| wall s / CPU s, medians of {asked.repeats} | {' | '.join(heads)} |")
        print(f"| --- |{' --- |' * len(roots)}", flush=True)
        for name, costs in measured(checkouts, asked.commands, asked.repeats):
            print(f"| {name} | {' | '.join(map(medians, costs))} |", flush=True)
            for stage in STAGES if name == "som train" else ():
                print(f"| - {stage} | {' | '.join(stage_seconds(each, stage) for each in costs)} |", flush=True)


if __name__ == "__main__":
    main()

"""What each stage of `som train` costs as the rows grow.

    python benchmarks/rows.py [--rows 10000 50000 ...] [--set som.algorithm=batch] [--out FILE.json] [--figure FILE.png]
    python benchmarks/rows.py --drawn FILE.json --figure FILE.png

The training flow with its defaults, and what is set, on made rows of ten features and one target (clusters, and a
target that is smooth in what makes them), each size in a process of its own, with MLflow in a folder that is thrown
away. For each stage the seconds, the CPU seconds of the process in brackets, and for the last step the power of the
rows by which these grow: 1 is linear. `total` is the command from prompt to prompt, with everything that runs before
the first stage and after the last.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROWS = (10_000, 50_000, 250_000, 1_000_000, 2_000_000)
FEATURES, CENTERS, LATENT = 10, 60, 3
SEED = 7


def made_rows(n: int) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Features (n, 10), clusters on a curved sheet of three variables, and a target (n,) that is smooth in these."""
    rng = np.random.default_rng(SEED)
    centers = rng.uniform(-2, 2, (CENTERS, LATENT))
    latent = centers[rng.integers(CENTERS, size=n)] + rng.normal(0, 0.35, (n, LATENT))
    into, curved = rng.normal(0, 1, (LATENT, FEATURES)), rng.normal(0, 1, (LATENT, FEATURES))
    features = latent @ into + np.sin(latent @ curved) + rng.normal(0, 0.1, (n, FEATURES))
    target = np.sin(2 * latent[:, 0]) + latent[:, 1] * latent[:, 2] + 0.5 * latent[:, 2] + rng.normal(0, 0.2, n)
    return features.astype(np.float32), target


def write_rows(n: int, file: Path) -> None:
    """Made rows as Parquet, a minute apart."""
    import polars as pl

    features, target = made_rows(n)
    columns = {f"x{i}": features[:, i] for i in range(FEATURES)} | {"y": target}
    pl.DataFrame(columns).write_parquet(file)


class Meter:
    """A listener of the flow that reads the clocks and the memory at each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._cpu = 0.0

    def stage_started(self, stage: str) -> None:
        self._cpu = time.process_time()

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        cpu = time.process_time() - self._cpu
        self.stages[stage] = {"seconds": seconds, "cpu": cpu, "peak_mb": peak()}
        print(f"{stage}: {seconds:.1f} s, CPU {cpu:.1f} s, {peak():.0f} MB", file=sys.stderr, flush=True)

    def __getattr__(self, name: str) -> Any:  # whatever else there is to hear
        return lambda *_, **__: None


def peak() -> float:
    """Megabytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_one(file: str, folder: str, settings: list[str]) -> None:
    """Train on a file, and print what it cost as JSON: the work of the process that `measured` starts."""
    from pipelines.environment import DEFAULTS, set_defaults

    set_defaults(DEFAULTS)
    from pipelines.flows.train import train_flow
    from pipelines.operations.engine import flow_engine, run_flow
    from pipelines.progress import listening
    from pipelines.settings.config import load_config

    config = Path(folder) / "rows.yaml"
    config.write_text(
        f"name: rows\ndata:\n  path: {file}\n  features: ['x*']\n  target: [y]\n"
        f"tracking:\n  uri: sqlite:///{folder}/mlflow.db\nruntime:\n  state: {folder}/state\n"
    )
    meter, imported = Meter(), {"cpu": time.process_time(), "peak_mb": peak()}
    with listening(meter), flow_engine() as wait:
        wait()
        result = run_flow(train_flow, load_config(str(config), settings), force=True)
    found = {"stages": meter.stages, "imported": imported, "metrics": dict(result.metrics), "peak_mb": peak()}
    print("\n" + json.dumps(found))


def measured(n: int, settings: list[str]) -> dict[str, Any]:
    """What a training on n rows with some settings beside the defaults costs, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        write_rows(n, file)
        environment = os.environ | {"PREFECT_HOME": f"{folder}/prefect", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
        start = time.perf_counter()
        command = [sys.executable, __file__, "--one", str(file), folder, *(f"--set={one}" for one in settings)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=folder, check=False)
        if done.returncode:
            raise SystemExit(f"{n} rows failed")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return {"rows": n, "total": time.perf_counter() - start, **found}


def table(runs: list[dict[str, Any]]) -> str:
    """A line for each stage: seconds (CPU) by rows, and the power of the last step."""
    names = list(runs[-1]["stages"])
    head = ["stage", *(f"{run['rows']:,}" for run in runs), "power"]
    lines = [head, ["---"] * len(head)]
    for name in names:
        taken = [run["stages"][name] for run in runs]
        cells = [f"{one['seconds']:.2f} ({one['cpu']:.2f})" for one in taken]
        lines.append([name, *cells, power([run["rows"] for run in runs], [one["cpu"] for one in taken])])
    totals = [run["total"] for run in runs]
    lines.append(["total", *(f"{total:.1f}" for total in totals), power([run["rows"] for run in runs], totals)])
    data = [run["rows"] * FEATURES * 4 / 1e6 for run in runs]
    lines.append(["peak MB", *(f"{run['peak_mb']:.0f}" for run in runs), ""])
    lines.append(["rows as float32, MB", *(f"{mb:.0f}" for mb in data), ""])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def power(rows: list[int], cost: list[float]) -> str:
    """The exponent of the rows between the last two sizes."""
    if len(rows) < 2:
        return ""
    return f"{np.log(max(cost[-1], 1e-3) / max(cost[-2], 1e-3)) / np.log(rows[-1] / rows[-2]):.2f}"


def draw(runs: list[dict[str, Any]], file: Path) -> None:
    """CPU seconds of each stage by rows, both logarithmic, with a line of what is linear."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    rows = np.array([run["rows"] for run in runs])
    for name in runs[-1]["stages"]:
        axes.plot(rows, [max(run["stages"][name]["cpu"], 1e-2) for run in runs], "o-", label=name, linewidth=1.4)
    top = 2.0 * max(run["stages"][name]["cpu"] for run in runs[-1:] for name in run["stages"])
    axes.plot(rows, top * rows / rows[-1], "--", color="gray", label="linear")
    axes.set(xscale="log", yscale="log", xlabel="rows of ten features", ylabel="CPU seconds")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(file)


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--set", action="append", default=[], help="a setting, as the command line takes it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--drawn", type=Path, help="draw and print an earlier --out")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        file, folder = given.one
        run_one(file, folder, given.set)
        return
    runs = json.loads(given.drawn.read_text()) if given.drawn else []
    for n in () if given.drawn else given.rows:
        runs.append(measured(n, given.set))
        if given.out:  # after each, for those who lose their patience
            given.out.write_text(json.dumps(runs, indent=1))
    if given.figure:
        draw(runs, given.figure)
    print(table(runs))


if __name__ == "__main__":
    main()

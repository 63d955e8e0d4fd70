"""Training from Parquet that is streamed against training in memory: seconds, and the memory of the whole process.

    python benchmarks/streaming.py FOLDER --rows 5 20 100       (millions of rows x 16; files are made where missing)

Each line is a process of its own: `read` reads the files once, `floor` reads them once and finds the nearest of 375
neurons by product and minimum, `memory` and `stream` are what `som train` does from the files to the trained map.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FEATURES, X, Y, GROUP = 16, 25, 15, 131_072


def make(folder: Path, millions: int) -> Path:
    """Files of a million rows each: a mixture of 40 normal clouds, correlated."""
    import numpy as np
    import polars as pl

    made = folder / f"rows-{millions}"
    made.mkdir(parents=True, exist_ok=True)
    clouds = np.random.default_rng(0).normal(size=(40, FEATURES)) * 3
    mixing = np.random.default_rng(1).normal(size=(FEATURES, FEATURES)) / 4
    for i in range(millions):
        file = made / f"part-{i:04}.parquet"
        if not file.exists():
            rng = np.random.default_rng(10 + i)
            rows = clouds[rng.integers(0, 40, 1_000_000)] + rng.standard_normal((1_000_000, FEATURES), "f4") @ mixing
            frame = pl.DataFrame(rows.astype(np.float32), schema=[f"f{k}" for k in range(FEATURES)])
            frame.write_parquet(made / "part.tmp", row_group_size=GROUP)
            (made / "part.tmp").rename(file)
    return made


def run(mode: str, path: str) -> dict[str, Any]:
    """Seconds of one way, by stage."""
    stages: dict[str, Any] = {}
    if mode in ("read", "floor"):
        stages[mode] = once(path, mode == "floor")
        return stages
    from pipelines.settings.config import PipelineConfig
    from pipelines.training.fitting import train_som
    from pipelines.training.plan import inspect, plan_training, prepare_samples, read_rows

    config = PipelineConfig.model_validate(
        {
            "name": "rows",
            "data": {"path": path, "features": ["f*"]},
            "som": {"x": X, "y": Y, "preset": "balanced"},
            "runtime": {"memory": 0 if mode == "stream" else 10**12},
        }
    )
    start = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal start
        now = time.perf_counter()
        stages[name], start = round(now - start, 2), now

    source, found = inspect(config)
    stage("count")
    dataset, samples = read_rows(source, found, config)
    samples = prepare_samples(dataset, config) if samples is None else samples
    plan = plan_training(config, source, dataset, samples)
    stage("load")
    rows = samples.train.samples if samples.streamed is None else samples.streamed
    trained = train_som(rows, plan.som, samples.scaler.features)
    stage("train")
    stages |= {"qe": trained.quantization_errors[-1], "te": trained.topographic_errors[-1]}
    stages["weights"] = [round(w, 5) for w in trained.som.weights.flatten()[::500].tolist()]
    return stages


def once(path: str, search: bool) -> float:
    """Seconds to read the files once, and to find the nearest neuron of each row."""
    import pyarrow.parquet as pq
    import torch

    codebook = torch.randn(X * Y, FEATURES)
    half = codebook.square().sum(dim=1) / 2
    start = time.perf_counter()
    for file in sorted(Path(path).glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(GROUP):
            columns = [torch.from_numpy(column.to_numpy()) for column in batch.columns]
            if search:
                for rows in torch.split(torch.stack(columns, dim=1), 4_096):
                    torch.addmm(half, rows, codebook.T, alpha=-1).min(dim=1)
    return round(time.perf_counter() - start, 2)


def peak_megabytes() -> int:
    """The most memory that this process had (Linux); `ru_maxrss` would count what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def measured(mode: str, path: Path) -> dict[str, Any]:
    """One way in a process of its own, with its CPU seconds and its peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = subprocess.run([sys.executable, __file__, "--one", mode, str(path)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"mode": mode, "cpu": round(cpu, 1), **json.loads(text.stdout.splitlines()[-1])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rows", nargs="+", type=int, default=[5, 20])
    parser.add_argument("--modes", nargs="+", default=["read", "floor", "memory", "stream"])
    parser.add_argument("--one", nargs=2)
    given = parser.parse_args()
    if given.one:
        found = run(*given.one)
        print(json.dumps(found | {"peak MB": peak_megabytes()}))
        return
    for millions in given.rows:
        path = make(given.folder, millions)
        for mode in given.modes:
            print(millions, measured(mode, path), flush=True)


if __name__ == "__main__":
    main()

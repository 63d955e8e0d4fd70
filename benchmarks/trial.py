"""One training in a process of its own: what every `train_*.py` has in common, whatever library it trains.

    python train_LIBRARY.py SETTING DATA.npy OUT.npz X Y TOPOLOGY SEED

Needs NumPy only, since it runs in the environments of all libraries. The rows are in memory as float32, and a training
of the same setting on tiny data has been made, before the clock starts: imports and compilation do not count (OUT keeps
the seconds of that first one). What counts is initialization and training. Threads come from the environment, as
`peers.run_peer` sets it.
"""

import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

Array = np.ndarray
Train = Callable[[Array, int, int, str, int], Array]  # rows (n, d), x, y, topology, seed -> weights (x, y, d)

WARM_ROWS, WARM_SIDE = 256, 4


def main(library: str, settings: Mapping[str, Train]) -> None:
    """Train as the command line says, and write the codebook and what it took."""
    setting, source, out, x, y, topology, seed = sys.argv[1:]
    train, data = settings[setting], np.load(source)
    start = time.perf_counter()
    train(data[:WARM_ROWS].copy(), WARM_SIDE, WARM_SIDE, topology, int(seed))
    first = time.perf_counter() - start

    before = forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    weights = train(data, int(x), int(y), topology, int(seed))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resident("VmHWM") - before
    np.savez(out, weights=weights, wall=wall, cpu=cpu, first=first, memory=memory, version=version(library))


def forget_peak() -> float:
    """Start a new peak of resident memory here, and return what is resident now, in MB; NaN where there is no /proc."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    return resident("VmRSS")


def resident(field: str) -> float:
    """A size of `/proc/self/status` in MB: VmRSS is resident now, VmHWM at most so far; NaN where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6

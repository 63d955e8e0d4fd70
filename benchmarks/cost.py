"""What somlib's training costs as data and maps grow.

    python benchmarks/cost.py [--repeats 3] [--quick]

Three tables, medians over the repeats, each training in a process of its own (trial.py), data of cells.py:

1. Rows, neurons and features in steps of four, the others held: where the cost is linear, a step takes four times as
   long as the one before, or less while small sizes wait for something else than arithmetic. One thread and two.
2. Hexagonal maps against rectangular ones of the same size, and one of 200 x 200, whose matrix of influences between
   all neurons would take 6.4 GB.
3. Peak memory above the data at 1 000 000 x 16 on 50 x 50: mini-batches of the usual size, all rows as one batch, and
   the batch map.

`--quick` divides the rows by sixteen and runs each once, to see that it works.
"""

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from cells import manifold
from peers import Trained, train_peer
from train_somlib import COST

BATCH, MINIBATCH, ONE_BATCH = COST
ROWS, SIDES, FEATURES = (16_000, 64_000, 256_000), (10, 20, 40), (8, 32, 128)
SHRINK = 16
SEED = 101


@dataclass(frozen=True)
class Size:
    """So many rows of so many features, on a square map."""

    rows: int
    side: int
    features: int


class Runs:
    """Trainings by size, each size and setting trained once however many rows of the tables ask for it."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self._done: dict[tuple[object, ...], list[Trained]] = {}

    def of(self, size: Size, setting: str, topology: str = "rectangular", threads: int = 1) -> list[Trained]:
        key = (size, setting, topology, threads)
        if key not in self._done:
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder) / "data.npy"
                np.save(source, manifold(size.rows, size.features))
                self._done[key] = [
                    train_peer("somlib", setting, source, size.side, size.side, topology, SEED + i, threads=threads)
                    for i in range(self.repeats)
                ]
        return self._done[key]

    def seconds(self, size: Size, setting: str, topology: str = "rectangular", threads: int = 1) -> float:
        return statistics.median(trained.wall for trained in self.of(size, setting, topology, threads))

    def memory(self, size: Size, setting: str, topology: str = "rectangular") -> float:
        return statistics.median(trained.memory for trained in self.of(size, setting, topology))


def show(columns: list[str], rows: list[list[str]]) -> None:
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def growth(runs: Runs, shrink: int) -> None:
    """Table 1."""
    counts = [rows // shrink for rows in ROWS]
    middle = Size(counts[1], SIDES[1], FEATURES[1])
    series = {
        "rows": [Size(rows, middle.side, middle.features) for rows in counts],
        "neurons": [Size(middle.rows, side, middle.features) for side in SIDES],
        "features": [Size(middle.rows, middle.side, features) for features in FEATURES],
    }
    lines = []
    for setting in (BATCH, MINIBATCH):
        for grows, sizes in series.items():
            for threads in (1, 2):
                took = [runs.seconds(size, setting, threads=threads) for size in sizes]
                steps = [f"{b / a:.2f}" for a, b in pairwise(took)]
                lines.append([setting, grows, str(threads), *(f"{t:.3f}" for t in took), *steps])
    neurons = [side**2 for side in SIDES]
    print(f"rows {counts}, neurons {neurons}, features {list(FEATURES)}; what does not grow is at the middle one\n")
    show(["setting", "grows", "threads", "s small", "s middle", "s large", "middle / small", "large / middle"], lines)


def topologies(runs: Runs, shrink: int) -> None:
    """Table 2."""
    n, lines = 20_000 // shrink, []
    for side in (15, 25, 50):
        size = Size(n, side, 16)
        flat, hexagonal = (runs.seconds(size, BATCH, topology) for topology in ("rectangular", "hexagonal"))
        lines.append([f"{side} x {side}", f"{flat:.3f}", f"{hexagonal:.3f}", f"{hexagonal / flat:.2f}"])
    show([f"{n:,} x 16, {BATCH}", "s rectangular", "s hexagonal", "hexagonal / rectangular"], lines)
    large = Size(n, 200, 16)
    seconds, memory = runs.seconds(large, BATCH, "hexagonal"), runs.memory(large, BATCH, "hexagonal")
    print(f"200 x 200 hexagonal, {n:,} x 16, {BATCH}: {seconds:.1f} s, {memory:.0f} MB above the data\n", flush=True)


def memory(runs: Runs, shrink: int) -> None:
    """Table 3."""
    size = Size(1_000_000 // shrink, 50, 16)
    lines = [
        [setting, f"{runs.seconds(size, setting):.1f}", f"{runs.memory(size, setting):.0f}"]
        for setting in (MINIBATCH, ONE_BATCH, BATCH)
    ]
    data = size.rows * size.features * 4 / 1e6
    show([f"{size.rows:,} x 16, 50 x 50", "s", f"MB above the data ({data:.0f} MB)"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a sixteenth of the rows, once")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    repeats, shrink = (1, SHRINK) if options.quick else (options.repeats, 1)
    runs = Runs(repeats)
    growth(runs, shrink)
    topologies(runs, shrink)
    memory(Runs(1), shrink)  # these take long, and memory does not vary


if __name__ == "__main__":
    main()

"""What is the least time in which somlib is no worse than another library, in both errors at once?

    python benchmarks/match.py [--cells NAME...] [--seeds 5]

Quantization and topographic error trade against each other, so two libraries are alike only where both are. For every
cell of train.py and every row of another library there, this looks through the batch map's frontier: 12 to 160 short
steps, fourteen last radii. It names the setting that takes the least time of those whose mean QE is at most 1.005 times
the other's and whose mean TE is at most so many points higher (0.1 for tuned rows, 0.3 for torchsom's paper
configuration). The setting is picked on the data that it is reported for: a frontier, not a default. Seeds from 101 on.

Times are CPU seconds of initialization and training on one thread, medians, each training in a process of its own as in
train.py. Only the search through the frontier runs in a single one, where trainings take about a tenth less.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cells import CELLS, Cell
from evaluator import judge
from peers import train_peer
from train_somlib import short, trained

Array = np.ndarray
STEPS = (12, 16, 24, 32, 48, 80, 120, 160)
LAST_RADII = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 1.75, 2.0, 2.25)
# library, setting, most rows, most seeds, points of TE allowed
ROWS = (
    ("torchsom", "paper", 16_000, 1, 0.3),
    ("torchsom", "tuned", 100_000, 3, 0.1),
    ("fastersom", "tuned", 1_000_000, 5, 0.0),
)
SECONDS_A_ROW = 12.0  # as in train.py
FIRST_SEED = 101


@dataclass(frozen=True)
class Point:
    """Means of the errors and median of the seconds."""

    name: str
    seconds: float
    qe: float
    te: float

    @classmethod
    def of(cls, name: str, seconds: list[float], errors: list[tuple[float, float]]) -> "Point":
        qe, te = np.mean(errors, axis=0)
        return cls(name, statistics.median(seconds), float(qe), float(te))

    def no_worse(self, other: "Point", points: float) -> bool:
        return self.qe <= 1.005 * other.qe and 100 * self.te <= 100 * other.te + points + 1e-9


def frontier(data: Array, cell: Cell, seeds: range) -> Iterator[Point]:
    """Every setting, on these rows."""
    for steps in STEPS:
        for last in LAST_RADII:
            train, times, errors = trained(short(steps, last), False), [], []
            for seed in seeds:
                start = time.process_time()
                weights = train(data, cell.x, cell.y, cell.topology, seed)
                times.append(time.process_time() - start)
                errors.append(judge(weights, data, cell.topology))
            yield Point.of(f"short {steps} {last}", times, errors)


def alone(library: str, setting: str, source: Path, data: Array, cell: Cell, seeds: range) -> Point:
    """A setting of a library, each training in a process of its own."""
    times: list[float] = []
    errors = []
    for seed in seeds:
        if times and (len(times) + 1) * times[0] > SECONDS_A_ROW:
            break
        one = train_peer(library, setting, source, cell.x, cell.y, cell.topology, seed)
        times.append(one.cpu)
        errors.append(judge(one.weights, data, cell.topology))
    return Point.of(f"{library}, {setting}", times, errors)


def line(cell: str, theirs: Point, ours: Point | None) -> str:
    told = [cell, theirs.name, f"{1e3 * theirs.seconds:.0f}", f"{theirs.qe:.3f}", f"{100 * theirs.te:.2f}"]
    if ours is None:
        told += ["none", "", "", "", ""]
    else:
        _, _, steps, last = ours.name.split()
        told += [f"{steps} steps, {last}", f"{1e3 * ours.seconds:.0f}", f"{ours.qe:.3f}", f"{100 * ours.te:.2f}"]
        told += [f"{theirs.seconds / ours.seconds:.1f}"]
    return f"| {' | '.join(told)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name, cell in CELLS.items() if not cell.optional and name != "1000000x16"]
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="NAME", default=usual)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["cell", "library", "ms", "QE", "TE %", "somlib: steps, last radius", "ms", "QE", "TE %", "times as fast"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name in options.cells:
        cell = CELLS[name]
        data = cell.load()
        all_seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
        points_of_ours = list(frontier(data, cell, all_seeds))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "data.npy"
            np.save(source, data)
            for library, setting, most_rows, most_seeds, points in ROWS:
                if len(data) > most_rows or (library == "fastersom" and cell.topology == "hexagonal"):
                    continue
                theirs = alone(library, setting, source, data, cell, all_seeds[:most_seeds])
                able = [point for point in points_of_ours if point.no_worse(theirs, points)]
                ours = None
                if able:
                    best = min(able, key=lambda point: point.seconds)
                    ours = alone("somlib", best.name, source, data, cell, all_seeds)
                print(line(name, theirs, ours), flush=True)


if __name__ == "__main__":
    main()

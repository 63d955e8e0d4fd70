"""Training time, both errors and memory of somlib and of other libraries, on the same data, by the same judge.

    python benchmarks/train.py [--cells NAME...] [--peers NAME...] [--threads 1] [--repeats 5] [--seeds 101...]
                               [--quick] [--out FILE.json]

Each library runs in an environment of its own (peers.py) with its best settings (train_*.py), each training in a
process of its own (trial.py), in turns: A B C A B C. Times are of initialization and training, on rows that are in
memory as float32; errors are of evaluator.py, in float64, on all rows; memory is the peak above what the process held
with the data loaded. All are medians over the repeats, and each repeat has a seed of its own. A row whose runs are long
is repeated less: see `repeats_of`. The floor of a cell is what floor.py says of one epoch.

Prints a Markdown table, cell by cell, and writes all single runs to FILE.json, which frontier.py draws. What did not
run is said below the table, and the exit status is then 1.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from cells import CELLS, Cell
from evaluator import judge
from peers import PeerError, Trained, run_peer, train_peer
from train_somlib import LIKE_TORCHSOM, PRESETS

FIRST_SEED = 101  # settings were chosen on others: 42, and 0 to 9
QUICK_CELLS = ("4000x4", "4000x50-hexagonal", "cancer")
SECONDS_A_ROW = 12.0  # what the repeats of one row may take together


@dataclass(frozen=True)
class Row:
    """One setting of one library, and where it is run.

    Attributes:
        library: A name of peers.py, or `somlib`.
        setting: A setting of its `train_*.py`.
        most_rows: Largest data that it is run on; beyond, a run takes minutes.
        most_repeats: Where repeats would only show the same.
        topologies: What it can do, or what it makes sense for.
    """

    library: str
    setting: str
    most_rows: int = 1_000_000
    most_repeats: int = 100
    topologies: tuple[str, ...] = ("rectangular", "hexagonal")

    def fits(self, cell: Cell, n: int) -> bool:
        return n <= self.most_rows and cell.topology in self.topologies


@dataclass
class Result:
    """All runs of a row on a cell."""

    cell: str
    library: str
    setting: str
    version: str = ""
    seed: list[int] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    qe: list[float] = field(default_factory=list)
    te: list[float] = field(default_factory=list)

    def add(self, seed: int, trained: Trained, errors: tuple[float, float]) -> None:
        self.version = trained.version
        for name, value in zip(("qe", "te"), errors, strict=True):
            getattr(self, name).append(value)
        for name in ("wall", "cpu", "first", "memory"):
            getattr(self, name).append(getattr(trained, name))
        self.seed.append(seed)

    def median(self, name: str) -> float:
        return statistics.median(getattr(self, name))


SLOW_PRESETS = {"default": 100_000}  # the most rows for presets that take minutes beyond
ROWS = [
    *(Row("somlib", name, SLOW_PRESETS.get(name, 1_000_000)) for name in PRESETS),
    # torchsom's hexagons and its start on them are not ours; there is nothing alike to compare.
    Row("somlib", "as torchsom paper", 16_000, 2, ("rectangular",)),
    Row("somlib", "as torchsom tuned", 100_000, 3, ("rectangular",)),
    Row("torchsom", "paper", 16_000, 2),
    Row("torchsom", "tuned", 100_000),
    Row("minisom", "tuned", 16_000),
    Row("xpysom", "tuned", 100_000),
    Row("fastersom", "tuned", topologies=("rectangular",)),
]
assert {row.setting for row in ROWS if row.library == "somlib"} == {*PRESETS, *LIKE_TORCHSOM}


def repeats_of(row: Row, asked: int, seconds: float) -> int:
    """How often a row is run whose first run took so long: no longer than `SECONDS_A_ROW` together, but once."""
    return max(1, min(asked, row.most_repeats, int(SECONDS_A_ROW / seconds)))


def measure(
    name: str, cell: Cell, rows: list[Row], seeds: list[int], threads: int, failures: list[str]
) -> tuple[list[Result], dict[str, float]]:
    """Results of the rows that fit the cell, run in turns, and the floor by number of threads."""
    data = cell.load()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "data.npy", Path(folder) / "floor.json"
        np.save(source, data)
        run_peer("somlib", "floor.py", str(source), str(out), str(cell.x), str(cell.y), threads=2)
        floor = json.loads(out.read_text())
        results = {row: Result(name, row.library, row.setting) for row in rows if row.fits(cell, len(data))}
        for seed in seeds:
            for row, result in list(results.items()):
                if result.wall and len(result.wall) >= repeats_of(row, len(seeds), result.wall[0]):
                    continue
                print(f"{name}: {row.library} {row.setting}, seed {seed}", file=sys.stderr)
                try:
                    trained = train_peer(
                        row.library, row.setting, source, cell.x, cell.y, cell.topology, seed, threads=threads
                    )
                except PeerError as error:
                    failures.append(f"{name}, {row.library} {row.setting}, seed {seed}: {error}")
                    del results[row]
                    continue
                result.add(seed, trained, judge(trained.weights, data, cell.topology))
    return list(results.values()), floor


def header() -> str:
    columns = ["cell", "library, setting", "runs", "s", "CPU s", "QE", "TE %", "MB"]
    columns += [f"time / {preset}" for preset in PRESETS] + ["time / floor"]
    return f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"


def lines(results: list[Result], floor: float, threads: int) -> list[str]:
    """The rows of one cell in the table; a ratio to a preset that did not run is a dash.

    Ratios on one thread are of CPU seconds, which other jobs on the machine disturb less.
    """
    clock = "cpu" if threads == 1 else "wall"
    presets = {r.setting: r.median(clock) for r in results if r.library == "somlib" and r.setting in PRESETS}
    shown = []
    for result in results:
        wall, seconds = result.median("wall"), result.median(clock)
        ratios = [f"{seconds / presets[name]:.2f}" if name in presets else "-" for name in PRESETS]
        figures = [
            f"{result.library}, {result.setting}", str(len(result.wall)), f"{wall:.3f}", f"{result.median('cpu'):.3f}",
            f"{result.median('qe'):.3f}", f"{100 * result.median('te'):.2f}", f"{result.median('memory'):.1f}",
        ]  # fmt: skip
        shown.append(f"| {' | '.join([result.cell, *figures, *ratios, f'{seconds / floor:.1f}'])} |")
    return shown


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [name for name, cell in CELLS.items() if not cell.optional]
    libraries = list(dict.fromkeys(row.library for row in ROWS))
    parser.add_argument("--cells", nargs="+", choices=CELLS, metavar="NAME", help=f"of {', '.join(CELLS)}")
    parser.add_argument("--peers", nargs="*", choices=libraries[1:], default=libraries[1:])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", nargs="+", type=int, help="one a repeat, instead of 101, 102, ...")
    parser.add_argument("--quick", action="store_true", help="one repeat of three small cells, or of --cells")
    parser.add_argument("--out", type=Path, help="JSON of all runs")
    options = parser.parse_args()
    if options.threads not in (1, 2):
        parser.error(f"--threads must be 1 or 2, for which the floor is measured, got {options.threads}")
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    if options.out and not options.out.parent.is_dir():
        parser.error(f"--out must lie in a folder that exists, got {options.out}")
    options.cells = options.cells or (list(QUICK_CELLS) if options.quick else usual)
    repeats = 1 if options.quick else options.repeats
    options.seeds = options.seeds or list(range(FIRST_SEED, FIRST_SEED + repeats))
    return options


def main() -> None:
    options = arguments()
    rows = [row for row in ROWS if row.library in ("somlib", *options.peers)]
    failures: list[str] = []
    record = {"threads": options.threads, "cores": os.cpu_count(), "presets": list(PRESETS), "floor": {}, "results": []}
    print(header())
    for name in options.cells:
        results, floor = measure(name, CELLS[name], rows, options.seeds, options.threads, failures)
        print("\n".join(lines(results, floor[str(options.threads)], options.threads)), flush=True)
        record["floor"][name] = floor
        record["results"] += [asdict(result) for result in results]
        if options.out:
            options.out.write_text(json.dumps(record, indent=1))
    for name, floor in record["floor"].items():
        print(f"\nfloor of {name}: {1e3 * floor['1']:.2f} ms an epoch on one thread, {1e3 * floor['2']:.2f} on two")
    for failure in failures:
        print(f"\nnot run: {failure}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

"""Draws what train.py measured: quantization error against topographic error, with time as the size of a point.

    python benchmarks/frontier.py FILE.json [--out docs/images/frontier.png]

One panel a cell. Left is closer to the data, below is better ordered, small is faster (area by the logarithm of the
seconds, of CPU on one thread, which stand beside the point). The settings of somlib that only repeat another library's
are left out.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "frontier.png"
COLORS = {"somlib": "#0072b2", "torchsom": "#d55e00", "minisom": "#009e73", "xpysom": "#cc79a7", "fastersom": "#e69f00"}
SHORTEST = 1e-3  # seconds; drawn as the smallest point
COLUMNS, PANEL = 3, (4.6, 3.6)
LINE = 8  # points of print from one label to the next


def area(seconds: float) -> float:
    """Size of a point in square points of print: so much for each tenfold of the time."""
    return 12 + 60 * math.log10(max(seconds, SHORTEST) / SHORTEST)


def draw_cell(axes: Axes, name: str, results: list[dict[str, Any]], clock: str) -> None:
    points = [(*(statistics.median(result[key]) for key in ("qe", "te", clock)), result) for result in results]
    for qe, te, seconds, result in points:
        axes.scatter(qe, 100 * te, s=area(seconds), color=COLORS[result["library"]], alpha=0.6, linewidth=0)
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("quantization error", fontsize=8)
    axes.set_ylabel("topographic error, %", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.margins(x=0.35, y=0.15)  # room for the labels
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    middle = statistics.median(qe for qe, *_ in points)
    for side in (-1, 1):  # labels stand outside of the crowd
        label([point for point in points if (point[0] > middle) == (side == 1)], side, axes)


def label(points: list[tuple[Any, ...]], side: int, axes: Axes) -> None:
    """Name and seconds beside each point, moved up where the label below is in the way."""
    low, high = axes.get_ylim()
    height, below = PANEL[1] * 72 * 0.75 / (high - low), -math.inf  # points of print for each unit of TE
    for qe, te, seconds, result in sorted(points, key=lambda point: point[1]):
        place = max(100 * te * height, below + LINE)
        below = place
        axes.annotate(
            f"{result['setting']} {told(seconds)}", (qe, 100 * te), fontsize=6, color=COLORS[result["library"]],
            xytext=(side * 8, place - 100 * te * height), textcoords="offset points", va="center",
            ha="left" if side == 1 else "right",
        )  # fmt: skip


def told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def draw(record: dict[str, Any]) -> Figure:
    """All cells of a file of train.py."""
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for result in record["results"]:
        if result["library"] != "somlib" or result["setting"] in record["presets"]:
            by_cell.setdefault(result["cell"], []).append(result)
    columns = min(COLUMNS, len(by_cell))
    rows = -(-len(by_cell) // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (name, results) in zip(panels, by_cell.items(), strict=False):
        draw_cell(axes, name, results, "cpu" if record["threads"] == 1 else "wall")
    for axes in list(panels):
        axes.set_visible(False)
    shown = dict.fromkeys(result["library"] for result in record["results"])
    dots = [Line2D([], [], marker="o", linestyle="", color=COLORS[name], alpha=0.6, label=name) for name in shown]
    figure.legend(handles=dots, loc="outside lower center", ncols=len(dots), fontsize=8, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="JSON of train.py")
    parser.add_argument("--out", type=Path, default=IMAGE)
    options = parser.parse_args()
    record = json.loads(options.file.read_text())
    if not record["results"]:
        parser.error(f"{options.file} holds no results")
    draw(record).savefig(options.out, dpi=130)


if __name__ == "__main__":
    main()

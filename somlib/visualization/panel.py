"""One map on one pair of axes: cells, border, ticks, outlines, and text where it fits.

Cells are drawn as one collection in data units, so that they are regular and touch at any size. Row 0 is on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from somlib.utils.grid import Grid
from somlib.visualization.canvas import POINTS, axes_at, font, plain, style_texts, text_box, text_width
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Floats, Ints, Lattice
from somlib.visualization.scale import Scale, readable_on

HATCH = "////"
HATCH_COLOR = "#BFC4C9"
SMALLEST_TEXT = 5.0  # points; smaller is not read
WIDEST_GAP_CELL = 14.0  # points; from here on a light line parts the cells, below it would eat them
MOST_NAMED = 300  # pieces of clusters, the largest; beyond them only the first of each cluster gets its name
MANY_CELLS = 5000  # in one figure; more are stored as an image inside of svg and pdf files, which stay small


def to_axes(places: Floats) -> Floats:
    """From (row, column) to matplotlib's (horizontal, vertical), shape (..., 2): the one place where the two swap."""
    return places[..., ::-1]


@dataclass(frozen=True, eq=False)
class MapPanel:
    """A map's cells on axes whose size in inches is in proportion to the map.

    Attributes:
        axes: Where to draw.
        lattice: The cells.
        config: How it looks.
        cell: Width of a cell in points.
        rasterized: Whether cells become an image inside of vector files.
    """

    axes: Axes
    lattice: Lattice
    config: VisualizationConfig
    cell: float
    rasterized: bool

    @classmethod
    def at(
        cls,
        figure: Figure,
        place: tuple[float, float],
        cell: float,
        lattice: Lattice,
        config: VisualizationConfig,
        rasterized: bool,
    ) -> "MapPanel":
        """A panel with its upper left corner at `place` (left, top) and cells `cell` wide, both in inches."""
        axes = axes_at(figure, *place, lattice.width * cell, lattice.height * cell)
        (left, top), (right, bottom) = to_axes(lattice.low), to_axes(lattice.high)
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
        axes.set_aspect("equal")
        for spine in axes.spines.values():
            spine.set_visible(False)
        panel = cls(axes, lattice, config, cell * POINTS, rasterized)
        panel._draw_border()
        return panel

    @property
    def figure(self) -> Figure:
        """The figure of the axes."""
        figure = self.axes.get_figure(root=True)
        assert figure is not None  # axes are made in one
        return figure

    def fill(self, colors: Floats, empty: NDArray[np.bool_] | None = None) -> None:
        """Color the cells (m, 4); those that are `empty` (m,) are gray and hatched instead."""
        shown = np.ones(len(colors), dtype=bool) if empty is None else ~empty
        self._add_cells(self.lattice.corners[shown], colors[shown])
        if empty is not None and empty.any():
            self._add_hatched(self.lattice.corners[empty])

    def fill_values(self, values: Floats, scale: Scale) -> Floats:
        """Color the cells by values (m,), NaN empty; the colors, shape (m, 4)."""
        colors = scale.colored(values)
        self.fill(colors, np.isnan(values))
        return colors

    def _add_cells(self, corners: Floats, colors: Floats) -> None:
        parted = self.cell >= WIDEST_GAP_CELL
        cells = PolyCollection(
            to_axes(corners),  # type: ignore[arg-type]  # an array is taken too, five times as fast as a list
            facecolors=colors,
            edgecolors=self.config.background if parted else "face",
            linewidths=0.6 if parted else 0.4,  # an edge of its own color closes the hairline between cells
            rasterized=self.rasterized,
            gid="cells",
        )
        self._add(cells)

    def _add_hatched(self, corners: Floats) -> None:
        """Gray, hatched cells as one path: hatching them one by one takes a minute on a map of 400 by 400."""
        ring = np.concatenate((corners, corners[:, :1]), axis=1)  # (e, c + 1, 2)
        codes = np.full(ring.shape[:2], Path.LINETO)
        codes[:, 0], codes[:, -1] = Path.MOVETO, Path.CLOSEPOLY
        cells = PathPatch(
            Path(to_axes(ring).reshape(-1, 2), codes.ravel()),
            facecolor=self.config.empty_color,
            edgecolor=HATCH_COLOR,
            linewidth=0.0,
            hatch=HATCH,
            rasterized=self.rasterized,
            clip_on=False,
            gid="empty",
        )
        cells.set_in_layout(False)
        self.axes.add_artist(cells)  # not add_patch, which works out the limits of every corner

    def _add(self, collection: PolyCollection | LineCollection) -> None:
        collection.set_in_layout(False)  # inside of the axes: nothing to measure
        collection.set_clip_on(False)  # half an edge line lies outside
        self.axes.add_collection(collection, autolim=False)

    def _draw_border(self) -> None:
        ring = to_axes(self.lattice.border)
        torus = self.lattice.period is not None
        border = PathPatch(
            Path(np.concatenate((ring, ring[:1])), closed=True),
            fill=False,
            edgecolor=self.config.ink,
            linewidth=0.9 if self.cell >= WIDEST_GAP_CELL else 0.6,
            linestyle=(0, (4, 3) if self.cell >= WIDEST_GAP_CELL else (2, 2)) if torus else "solid",
            clip_on=False,
            zorder=4,
            gid="border",
        )
        border.set_in_layout(False)
        self.axes.add_artist(border)

    def draw_outlines(self, labels: Ints, background: int | None = None) -> None:
        """Lines between cells of different labels (m,); see `Lattice.lines_between`."""
        lines = LineCollection(
            list(to_axes(self.lattice.lines_between(labels, background))),
            colors=self.config.ink,
            linewidths=float(np.clip(self.cell / 6, 0.5, 1.6)),
            capstyle="round",
            zorder=3,
            gid="outlines",
        )
        self._add(lines)

    def write(self, texts: Sequence[str], backgrounds: Floats) -> bool:
        """Write a text into every cell, in black or white, if the longest fits; whether it did."""
        widest = max(texts, key=len, default="")
        if not (self.config.cell_text and widest):
            return False
        at_ten = max(text_width(self.figure, text, font(self.config, 10)) for text in _longest(texts))
        size = min(self.config.text_size, 10 * 0.78 * self.cell / at_ten, 0.5 * self.cell)
        if size < SMALLEST_TEXT:
            return False
        properties = font(self.config, size)
        places = to_axes(self.lattice.centers)
        for text, (column, row), color in zip(texts, places, readable_on(backgrounds), strict=True):
            if text:
                self._text(column, row, text, color=color, fontproperties=properties)
        return True

    def name_pieces(self, labels: Ints, names: dict[int, str]) -> None:
        """Write the name of each connected piece of equal labels (m,) into its middle, the large ones first.

        A name that would cover another is left out, unless it is the first of its label.
        """
        properties = font(self.config, self.config.text_size, bold=True)
        halo = [patheffects.withStroke(linewidth=2.4, foreground=self.config.background)]
        taken: list[Bbox] = []
        named: set[int] = set()
        for number, piece in enumerate(self.lattice.pieces(labels)):
            label = int(labels[piece[0]])
            if label not in names or (label in named and number >= MOST_NAMED):
                continue
            column, row = to_axes(self.lattice.centers[self._inner_cell(piece)])
            text = self._text(
                column, row, names[label], color=self.config.ink, fontproperties=properties, path_effects=halo
            )
            box = text_box(text, self.figure)
            if label in named and any(box.overlaps(other) for other in taken):
                text.remove()
            else:
                taken.append(box)
                named.add(label)

    def _inner_cell(self, piece: Ints) -> int:
        """The cell of a piece that lies nearest to its center of mass."""
        centers = self.lattice.centers[piece]
        return int(piece[np.argmin(((centers - centers.mean(axis=0)) ** 2).sum(axis=1))])

    def _text(self, column: float, row: float, text: str, **style: object) -> Text:
        style = {"ha": "center", "va": "center_baseline", "zorder": 6, **style}
        written = plain(self.axes.text(column, row, text, **style))  # type: ignore[arg-type]  # artist properties
        written.set_in_layout(False)
        return written

    def mark(self, cells: Ints, **style: object) -> None:
        """Markers at the centers of cells."""
        places = to_axes(self.lattice.centers[cells])
        style = {"linestyle": "none", "zorder": 7, "clip_on": False, **style}
        self.axes.plot(places[:, 0], places[:, 1], **style)  # type: ignore[arg-type]  # line properties

    def number(self, grid: Grid, *, labels: bool = True) -> None:
        """Row numbers at the left and column numbers below, as many as fit; column numbers belong to the last row."""
        positions = to_axes(grid.positions.numpy().reshape(grid.x, grid.y, 2))
        size = self.config.small_size
        row_step = tick_step(grid.x, self.cell * grid.row_height, 1.6 * size)
        column_step = tick_step(grid.y, self.cell, 0.7 * size * len(str(grid.y - 1)) + 0.8 * size)
        rows, columns = np.arange(0, grid.x, row_step), np.arange(0, grid.y, column_step)
        self.axes.set_yticks(positions[rows, 0, 1], [str(row) for row in rows])
        self.axes.set_xticks(positions[-1, columns, 0], [str(column) for column in columns])
        self.axes.tick_params(length=0, pad=3, labelcolor=self.config.muted_ink)
        if labels:
            self.axes.set_ylabel("row", labelpad=3)
            self.axes.set_xlabel("column", labelpad=3)
        style_texts(self.axes, self.config)


def tick_step(count: int, spacing: float, needed: float) -> int:
    """Every how many of `count` numbers to write one: 1, 2, 5, 10, 20, ..., so that each has the room it needs.

    Args:
        count: How many numbers there are.
        spacing: Points from one to the next.
        needed: Points that one takes, with its distance to the next.
    """
    for power in range(len(str(count)) + 1):
        for step in (1, 2, 5):
            if step * 10**power * spacing >= needed:
                return int(step * 10**power)
    return count


def swatch(color: object, label: str, *, hatched: bool = False, config: VisualizationConfig) -> Patch:
    """A legend entry for cells of one color."""
    if hatched:
        return Patch(facecolor=config.empty_color, edgecolor=HATCH_COLOR, hatch=HATCH, linewidth=0, label=label)
    return Patch(facecolor=color, edgecolor="none", label=label)  # type: ignore[arg-type]  # RGBA row


def _longest(texts: Sequence[str]) -> set[str]:
    """The longest of the texts, and all nearly as long: letters differ in width."""
    longest = max(len(text) for text in texts)
    return {text for text in texts if len(text) >= 0.7 * longest}

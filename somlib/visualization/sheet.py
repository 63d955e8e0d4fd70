"""Sheets of maps: equal panels in rows, each with its color bar, sized in inches.

One map gets a figure to itself with numbered rows and columns; several share a sheet, and beyond a few the numbers go.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, Formatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from somlib.utils.precision import tidied
from somlib.visualization.canvas import (
    MINUS,
    POINTS,
    axes_at,
    fit_to_content,
    font,
    new_figure,
    plain,
    sheet_title,
    shortened,
    style_legend,
    style_texts,
    title,
    wrapped,
)
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Lattice
from somlib.visualization.panel import MANY_CELLS, MapPanel, swatch
from somlib.visualization.scale import Scale

LARGEST_CELL = 0.8  # inches: small maps stay small
SMALLEST_MAP = 1.6  # inches, of the longer side
SHORTEST_SIDE = 0.4  # inches: long maps stay wide enough to see, up to LONGEST_SIDE map sizes
LONGEST_SIDE = 2.5
NAME_GAP = 8.0  # points from one panel's name to the next
NUMBERED_PANELS = 4  # panels of a sheet up to which rows and columns are numbered
NEARLY_BEST = 0.85  # of the largest cell is large enough, if fewer places on the sheet stay free
WIDE = 1.5  # width by height from which the color bar lies below


@dataclass(frozen=True)
class Room:
    """Inches around a panel for what belongs to it."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, eq=False)
class MapSheet:
    """A figure with one or more panels for maps of one lattice."""

    figure: Figure
    panels: list[MapPanel]
    columns: int
    room: Room
    config: VisualizationConfig

    @classmethod
    def of(cls, count: int, lattice: Lattice, config: VisualizationConfig, *, bars: bool = True) -> "MapSheet":
        """A sheet of `count` panels, with room for color bars."""
        room = _room(count, lattice, bars)
        columns, cell = _packing(count, lattice, config, room)
        rows = math.ceil(count / columns)
        step = (room.left + lattice.width * cell + room.right, room.top + lattice.height * cell + room.bottom)
        figure = new_figure(config)
        figure.set_size_inches(columns * step[0], rows * step[1])
        rasterized = count * len(lattice.centers) > MANY_CELLS
        panels = []
        for i in range(count):
            row, column = divmod(i, columns)
            place = (column * step[0] + room.left, row * step[1] + room.top)
            panels.append(MapPanel.at(figure, place, cell, lattice, config, rasterized))
        return cls(figure, panels, columns, room, config)

    @property
    def single(self) -> bool:
        """Whether one map has the figure to itself."""
        return len(self.panels) == 1

    @property
    def numbered(self) -> bool:
        """Whether there is room for row and column numbers."""
        return len(self.panels) <= NUMBERED_PANELS

    def head(self, text: str, subtitle: str = "") -> None:
        """Title of the figure, above its first panel."""
        if self.single:
            title(self.panels[0].axes, self.config, text, subtitle)
            return
        place, (width, height) = self.panels[0].axes.get_position(), self.figure.get_size_inches()
        sheet_title(self.figure, self.config, text, subtitle, place.x0 * width, (1 - place.y1) * height - 0.34)

    def add_bar(self, panel: MapPanel, scale: Scale, label: str = "", *, whole: bool = False) -> Axes:
        """The color bar of a panel: as long as the map is high, or as it is wide where it lies below.

        Args:
            panel: Whose it is.
            scale: Its colors.
            label: What the values are; for maps that stand alone.
            whole: Whether the values are whole numbers.
        """
        lattice, cell = panel.lattice, panel.cell / POINTS
        place = panel.axes.get_position()
        full_width, full_height = self.figure.get_size_inches()
        left, top = place.x0 * full_width, (1 - place.y1) * full_height
        below = is_wide(lattice)
        thick, gap = (0.14, 0.12) if self.numbered else (0.07, 0.06)
        if below:
            gap += 0.42 if self.single else (0.22 if self.numbered else 0.0)
            bar_at = (left, top + lattice.height * cell + gap, lattice.width * cell, thick)
        else:
            bar_at = (left + lattice.width * cell + gap, top, thick, lattice.height * cell)
        axes = axes_at(self.figure, *bar_at)
        bar = self.figure.colorbar(
            scale.mappable, cax=axes, orientation="horizontal" if below else "vertical", extend=scale.extend
        )
        bar.outline.set_visible(False)
        axis = bar.long_axis
        axis.set_minor_locator(NullLocator())
        length = (lattice.width if below else lattice.height) * cell
        axis.set_major_locator(_ticks(scale, length, below, whole, self.numbered))
        axis.set_major_formatter(ShortNumbers(aligned=self.numbered))
        axes.tick_params(
            direction="out", length=2, width=0.6, pad=2, color=self.config.muted_ink, labelcolor=self.config.ink
        )
        if label:
            bar.set_label(wrapped(self.figure, label, font(self.config, self.config.text_size), length * POINTS))
        style_texts(axes, self.config)
        if not self.numbered:
            axes.tick_params(labelsize=max(5.5, 0.75 * self.config.small_size), length=0)
            _pull_in(axis.get_ticklabels(), below)
        return axes

    def name(self, panel: MapPanel, text: str) -> None:
        """Name above a panel, cut where it is wider than the panel and its bar."""
        properties = font(self.config, self.config.text_size if self.numbered else 0.85 * self.config.text_size)
        step = panel.lattice.width * panel.cell + (self.room.left + self.room.right) * POINTS
        name = panel.axes.set_title(shortened(self.figure, text, properties, step - NAME_GAP), loc="left", pad=4)
        name.set_fontproperties(properties)
        name.set_color(self.config.ink)
        plain(name)

    def legend(self, handles: Sequence[Patch], heading: str | None = None) -> None:
        """A legend to the right of the first row of panels."""
        panel = self.panels[min(self.columns, len(self.panels)) - 1]
        rows = max(12, int(panel.lattice.height * panel.cell / (1.8 * self.config.text_size)))
        legend = self._legend_at(panel, handles, "upper left", (1, 1), (12, 0), columns=math.ceil(len(handles) / rows))
        if heading:
            legend.set_title(heading, font(self.config, self.config.text_size, bold=True))
            legend.get_title().set_color(self.config.ink)

    def explain_empty(self, text: str) -> None:
        """A small legend entry for the hatched cells, under the last panel: below the bar, or at its right end."""
        panel = self.panels[-1]
        entry = [swatch(None, text, hatched=True, config=self.config)]
        if self.single and not is_wide(panel.lattice):
            self._legend_at(panel, entry, "upper left", (1, 0), (9, -5), small=True)
        else:
            drop = 0.24 * POINTS if self.numbered else 6 + (12 if is_wide(panel.lattice) else 0)
            self._legend_at(panel, entry, "upper right", (1, 0), (0, -drop), small=True)

    def _legend_at(
        self,
        panel: MapPanel,
        handles: Sequence[Patch],
        corner: Literal["upper left", "upper right"],
        anchor: tuple[float, float],
        offset: tuple[float, float],
        *,
        columns: int = 1,
        small: bool = False,
    ) -> Legend:
        """A legend with a corner at a place in fractions of the panel, moved by points."""
        shift = ScaledTranslation(offset[0] / POINTS, offset[1] / POINTS, self.figure.dpi_scale_trans)
        size = self.config.small_size if small else self.config.text_size
        legend = panel.axes.legend(
            handles=list(handles),
            loc=corner,
            bbox_to_anchor=anchor,
            bbox_transform=panel.axes.transAxes + shift,
            borderaxespad=0,
            borderpad=0,
            handlelength=1.3,
            handleheight=1.1,
            labelspacing=0.45,
            ncols=columns,
            prop=font(self.config, size),
            alignment="left",
        )
        return style_legend(legend, self.config)

    def finished(self) -> Figure:
        """The figure, cut to its content."""
        return fit_to_content(self.figure)


def is_wide(lattice: Lattice) -> bool:
    """Whether a map is so wide that its color bar lies below it."""
    return lattice.width >= WIDE * lattice.height


def _room(count: int, lattice: Lattice, bars: bool) -> Room:
    numbered, below = count <= NUMBERED_PANELS, is_wide(lattice)
    if numbered:
        right = 0.95 if bars and not below else 0.25
        return Room(left=0.5, right=right, top=0.45, bottom=0.75 if bars and below else 0.4)
    right = 0.52 if bars and not below else 0.1
    return Room(left=0.06, right=right, top=0.24, bottom=0.3 if bars and below else 0.08)


def _packing(count: int, lattice: Lattice, config: VisualizationConfig, room: Room) -> tuple[int, float]:
    """Columns of the sheet and width of a cell in inches."""
    if count == 1:
        return 1, _single_cell(lattice, config)
    smallest = SHORTEST_SIDE / min(lattice.width, lattice.height)
    largest = min(LARGEST_CELL, config.map_size / max(lattice.width, lattice.height))
    cells = {}
    for columns in range(1, count + 1):
        width = config.sheet_width / columns - room.left - room.right
        height = config.sheet_height / math.ceil(count / columns) - room.top - room.bottom
        cells[columns] = min(width / lattice.width, height / lattice.height, largest)
    enough = NEARLY_BEST * max(cells.values())
    if enough <= 0:  # the sheet cannot hold them: let it grow
        return math.ceil(math.sqrt(count)), min(smallest, largest)
    columns = min(
        (columns for columns, cell in cells.items() if cell >= enough), key=lambda columns: (-count % columns, -columns)
    )
    return columns, max(cells[columns], min(smallest, largest))


def _single_cell(lattice: Lattice, config: VisualizationConfig) -> float:
    longer, shorter = max(lattice.width, lattice.height), min(lattice.width, lattice.height)
    cell = min(max(LARGEST_CELL, SMALLEST_MAP / longer), config.map_size / longer)
    return max(cell, min(SHORTEST_SIDE / shorter, LONGEST_SIDE * config.map_size / longer))


def _ticks(scale: Scale, length: float, below: bool, whole: bool, numbered: bool) -> FixedLocator | MaxNLocator:
    """Ticks of a color bar `length` inches long."""
    if scale.only is not None:
        return FixedLocator([scale.only])
    if not numbered:
        return FixedLocator([scale.low, scale.high])
    count = int(np.clip(length / (0.8 if below else 0.45), 2, 7))
    return MaxNLocator(count, integer=whole, min_n_ticks=1 if whole and scale.high - scale.low < 1 else 2)


def _pull_in(labels: Sequence[Text], below: bool) -> None:
    """Keep the first and the last label of a bar within its ends."""
    for label, side in zip((labels[0], labels[-1]), ("left", "right") if below else ("bottom", "top"), strict=True):
        label.set(**{"ha" if below else "va": side if len(labels) > 1 else "center"})


class ShortNumbers(Formatter):
    """Tick labels with the fewest significant digits, at least three, that distinguish all of them.

    Args:
        aligned: Whether all get the same number of decimals.
    """

    def __init__(self, *, aligned: bool) -> None:
        self.aligned = aligned

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Labels of all ticks."""
        spread = max(values, default=0.0) - min(values, default=0.0)
        values = [tidied(value, spread) for value in values]
        for digits in range(3, 16):
            labels = [short_number(value, digits) for value in values]
            if len(set(labels)) == len(set(values)):
                break
        if not self.aligned or any("e" in label for label in labels):
            return labels
        decimals = max((len(label.partition(".")[2]) for label in labels), default=0)
        return [f"{value:.{decimals}f}".replace("-", MINUS) for value in values]

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Label of one tick."""
        return short_number(x)


def short_number(value: float, digits: int = 3) -> str:
    """A number of `digits` significant digits, without an exponent between 0.0001 and a million."""
    if 1000 <= abs(value) < 1e6:
        text = f"{value:.{max(0, digits - len(str(int(abs(value)))))}f}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", MINUS)

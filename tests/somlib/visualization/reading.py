"""What a test reads off a figure: cells, hatched cells, texts and where they overlap."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from somlib.visualization.lattice import Floats

GRIDS = [("rectangular", False), ("rectangular", True), ("hexagonal", False), ("hexagonal", True)]


def cells_of(axes: Axes) -> PolyCollection:
    """The collection of colored cells."""
    (cells,) = [artist for artist in axes.collections if artist.get_gid() == "cells"]
    assert isinstance(cells, PolyCollection)
    return cells


def cell_centers(axes: Axes) -> Floats:
    """(row, column) position of each colored cell."""
    return np.array([path.vertices[:-1].mean(axis=0)[::-1] for path in cells_of(axes).get_paths()]).reshape(-1, 2)


def hatched_centers(axes: Axes) -> Floats:
    """(row, column) position of each empty cell."""
    found = [patch for patch in axes.patches if patch.get_gid() == "empty"]
    if not found:
        return np.empty((0, 2))
    (patch,) = found
    assert isinstance(patch, PathPatch)
    assert patch.get_hatch()
    rings = patch.get_path().to_polygons(closed_only=False)
    return np.array([ring[:-1].mean(axis=0)[::-1] for ring in rings])


def shown_texts(figure: Figure) -> list[Text]:
    """Every text of the figure that is drawn: matplotlib keeps labels of ticks beyond the ends of an axis, undrawn."""
    figure.canvas.draw()
    undrawn = {id(label) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _beyond(axis)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in texts if id(text) not in undrawn]


def _beyond(axis: Axis) -> list[Text]:
    low, high = sorted(axis.get_view_interval())
    slack = 1e-9 * (high - low)
    shown = axis.get_visible()
    ticks = [t for t in axis.get_major_ticks() if not (shown and low - slack <= t.get_loc() <= high + slack)]
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def extent(text: Text) -> Bbox:
    """Where a text is drawn, in pixels."""
    return text.get_window_extent()


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    """The pairs of texts whose boxes overlap by more than a pixel."""
    boxes = [(text.get_text(), extent(text).padded(-1)) for text in texts]
    return [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]


def outside(figure: Figure, texts: list[Text]) -> list[str]:
    """The texts that the figure cuts off."""
    page = figure.bbox.padded(0.5)
    corners = {text.get_text(): extent(text).corners() for text in texts}
    return [name for name, corner in corners.items() if not all(page.contains(*point) for point in corner)]

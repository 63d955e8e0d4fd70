"""Small maps to draw, and what a test reads off a figure: cells, hatched cells, texts and where they overlap."""

from itertools import combinations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Rectangle, StepPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from somlib import SOM
from somlib.visualization.hexagonal import HEXAGON
from somlib.visualization.lattice import Floats
from somlib.visualization.rectangular import SQUARE

GRIDS = [("rectangular", False), ("rectangular", True), ("hexagonal", False), ("hexagonal", True)]


def outline(topology: str) -> Floats:
    """Corners of a cell of that topology."""
    return {"rectangular": SQUARE, "hexagonal": HEXAGON}[topology]


def rising_map(topology: str, pbc: bool) -> SOM:
    """A map of 6 x 5 neurons and 3 features that rise along the rows, the columns, and both."""
    som = SOM(6, 5, 3, topology=topology, pbc=pbc)
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    som.weights = torch.stack((rows, columns, rows + columns), dim=-1)
    return som


def samples_on_neurons() -> torch.Tensor:
    """Samples on the neurons (0, 0), twice, (0, 4), (5, 0) and, three times, (3, 2) of a rising map."""
    places = torch.tensor([(0, 0), (0, 0), (0, 4), (5, 0), (3, 2), (3, 2), (3, 2)], dtype=torch.float32)
    return torch.column_stack((places, places.sum(dim=1)))


def cells_of(axes: Axes) -> PolyCollection:
    """The collection of colored cells."""
    (cells,) = [artist for artist in axes.collections if artist.get_gid() == "cells"]
    assert isinstance(cells, PolyCollection)
    return cells


def cell_corners(axes: Axes) -> Floats:
    """(row, column) of the corners of each colored cell, shape (cells, corners, 2)."""
    return np.array([np.asarray(path.vertices)[:-1, ::-1] for path in cells_of(axes).get_paths()], dtype=np.float64)


def cell_centers(axes: Axes) -> Floats:
    """(row, column) position of each colored cell."""
    corners = cell_corners(axes)
    return corners.mean(axis=1) if len(corners) else np.empty((0, 2))


def colors_of(axes: Axes) -> Floats:
    """RGBA of each colored cell."""
    return np.asarray(cells_of(axes).get_facecolor(), dtype=np.float64)


def steps_of(patch: Patch) -> list[float]:
    """The lengths of the bars of a stepped patch."""
    assert isinstance(patch, StepPatch)
    values, _, _ = patch.get_data()
    return [float(value) for value in values]


def width_of(bar: Patch) -> float:
    """The signed length of a horizontal bar."""
    assert isinstance(bar, Rectangle)
    return bar.get_width()


def hatched_centers(axes: Axes) -> Floats:
    """(row, column) position of each empty cell."""
    found = [patch for patch in axes.patches if patch.get_gid() == "empty"]
    if not found:
        return np.empty((0, 2))
    (patch,) = found
    assert isinstance(patch, PathPatch)
    assert patch.get_hatch()
    rings = patch.get_path().to_polygons(closed_only=False)
    return np.array([np.asarray(ring)[:-1].mean(axis=0)[::-1] for ring in rings])


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

"""Small static maps: the cells of a map as PNG images with a palette, one lookup of pixels for all of them.

Dozens of component planes are drawn: as vectors they would weigh megabytes, and as figures take minutes. Here the
the cell of each pixel of a map is found once; each plane is then one indexing, and some kilobytes.
"""

import io
from functools import cached_property

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree

from pipelines.report.encoding import data_uri
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Floats, Ints, Lattice
from somlib.visualization.scale import Scale

LEVELS = 128  # colors of a scale: more cannot be distinguished, and weigh more
EMPTY, HATCH, OUTSIDE = 253, 254, 255
HATCH_STEP = 7  # pixels from one line to the next
HATCH_COLOR = "#9AA3AB"


class Mosaic:
    """The pixels of a map.

    Args:
        lattice: Its cells.
        longer: Pixels of the longer side.
        config: Colors of empty cells.
    """

    def __init__(self, lattice: Lattice, longer: int, config: VisualizationConfig) -> None:
        self.lattice = lattice
        self.scale = longer / max(lattice.height, lattice.width)
        self.config = config

    @cached_property
    def cell(self) -> Ints:
        """Cell of every pixel, -1 outside of the map, shape (height, width)."""
        height, width = (max(1, round(side * self.scale)) for side in (self.lattice.height, self.lattice.width))
        rows = self.lattice.low[0] + (np.arange(height) + 0.5) * self.lattice.height / height
        columns = self.lattice.low[1] + (np.arange(width) + 0.5) * self.lattice.width / width
        places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)  # (height, width, 2)
        cell = KDTree(self.lattice.centers).query(places)[1]  # a cell is what lies nearer to its center than to others
        inside = _inside(places - self.lattice.centers[cell], self.lattice.outline)
        return np.where(inside, cell, -1)

    def values(self, values: Floats, scale: Scale) -> str:
        """Values (m,) as an image, NaN hatched: a data URI."""
        share = ((values - scale.low) / (scale.high - scale.low)).clip(0, 1)
        level = np.nan_to_num(share * (LEVELS - 1)).round().astype(np.uint8)
        level[np.isnan(values)] = EMPTY
        return self._image(level, scale.colors(np.linspace(0, 1, LEVELS))[:, :3])

    def categories(self, labels: Ints, colors: Floats) -> str:
        """Labels (m,) from 1 in their colors (k, 4), others hatched: a data URI."""
        known = labels >= 1
        level = np.where(known, (labels - 1) % LEVELS, EMPTY).astype(np.uint8)
        return self._image(level, colors[:LEVELS, :3])

    def _image(self, level: NDArray[np.uint8], colors: Floats) -> str:
        pixels = np.append(level, np.uint8(OUTSIDE))[self.cell]
        height, width = pixels.shape
        stripe = (np.arange(height)[:, None] + np.arange(width)) % HATCH_STEP < 2
        pixels[(pixels == EMPTY) & stripe] = HATCH
        palette = np.ones((256, 3))
        palette[: len(colors)] = colors
        palette[EMPTY], palette[HATCH] = to_rgb(self.config.empty_color), to_rgb(HATCH_COLOR)
        image = Image.frombytes("P", (width, height), pixels.tobytes())
        image.putpalette((palette * 255).round().astype(np.uint8).tobytes())
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", transparency=OUTSIDE)
        return data_uri("image/png", buffer.getvalue())


def _inside(offset: Floats, outline: Floats) -> NDArray[np.bool_]:
    """Whether places (..., 2) lie within a convex outline (c, 2) around the origin."""
    inside = np.ones(offset.shape[:-1], dtype=bool)
    for corner, side in zip(outline, np.roll(outline, -1, axis=0) - outline, strict=True):
        turn = _cross(side, offset - corner) * _cross(side, -corner)  # of one sign on the side of the origin
        inside &= turn >= -1e-9
    return inside


def _cross(a: Floats, b: Floats) -> Floats:
    return np.asarray(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])

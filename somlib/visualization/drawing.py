"""What every figure of a map needs: the map, the frame to draw on, and where to save."""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from somlib.core import SOM
from somlib.errors import ArgumentError, ShapeError
from somlib.utils.grid import Topology
from somlib.visualization.canvas import save
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.frame import MapFrame
from somlib.visualization.lattice import Floats


class MapDrawing:
    """A map and how it is drawn; arguments, attributes and errors are those of `BaseVisualizer`."""

    topology: Topology
    outline: Floats

    def __init__(self, som: SOM, config: VisualizationConfig | None = None) -> None:
        if som.topology != self.topology:
            raise ArgumentError(
                f"{type(self).__name__} draws {self.topology} maps, got topology={som.topology!r}: use SOMVisualizer"
            )
        self.som = som
        self.config = VisualizationConfig() if config is None else config

    @property
    def frame(self) -> MapFrame:
        """The map to draw on."""
        return MapFrame(self.som.grid, self.outline, self.config)

    def _map(self, map_type: str, **arguments: Any) -> Floats:
        """A map as float64, one row a target, shape (o, m)."""
        built: Tensor = self.som.build_map(map_type, **arguments)
        return np.asarray(built.double().cpu().numpy().reshape(-1, self.som.grid.m))

    def _known_map(self, name: str, values: Any) -> Floats:
        """A map that was built before, (x, y) or one for each of several targets (o, x, y), as float64 (o, m).

        Raises:
            ShapeError: It is of another shape.
        """
        grid = self.som.grid
        known = torch.as_tensor(values).detach().double().cpu().numpy()
        if known.shape[-2:] != (grid.x, grid.y) or known.ndim not in (2, 3):
            raise ShapeError(f"{name} must have the shape ({grid.x}, {grid.y}) of the map, got {known.shape}")
        return np.asarray(known.reshape(-1, grid.m))

    def _codebook(self) -> Tensor:
        """The weights in flat order on the CPU, shape (m, d)."""
        return self.som.codebook.cpu()

    def saved(self, figure: Figure, save_path: str | Path | None, fig_name: str) -> Figure:
        """The figure, after saving it where a folder is given."""
        if save_path is not None:
            save(figure, save_path, fig_name, self.config)
        return figure

    def page_names(self, fig_name: str) -> Iterator[str]:
        """Names of the sheets of one figure: `fig_name`, `fig_name_2`, ..., without end."""
        return (fig_name if number == 1 else f"{fig_name}_{number}" for number in count(1))

    def _saved_pages(self, pages: Iterable[Figure], save_path: str | Path | None, fig_name: str) -> list[Figure]:
        named = zip(pages, self.page_names(fig_name), strict=False)
        return [self.saved(page, save_path, name) for page, name in named]


def require_one(first: str, one: object, second: str, other: object) -> None:
    """Refuse two arguments that say the same, and none of them.

    Raises:
        ArgumentError: Both are given, or neither is.
    """
    if (one is None) == (other is None):
        got = "neither" if one is None else "both"
        raise ArgumentError(f"either {first} or {second} must be given, got {got}")

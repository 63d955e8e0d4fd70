"""Figures of a map: everything that squares and hexagons share, which is all but the outline of a cell.

Numbers come from the public interface of the map (`build_map`, `weights`, `grid`); this module only draws them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from somlib.errors import ArgumentError
from somlib.utils.topology import neighbors
from somlib.visualization import map_figures
from somlib.visualization.codebook_figures import CodebookFigures
from somlib.visualization.lattice import Ints
from somlib.visualization.sample_figures import SampleFigures
from somlib.visualization.training import training_figure


class BaseVisualizer(CodebookFigures, SampleFigures):
    """Figures of one map.

    Every method returns a `matplotlib.figure.Figure` that pyplot knows nothing of, and saves it as
    `<fig_name>.<format>` where `save_path` (a folder, made if need be) is given. Row 0 is on top in every figure. The
    border of a torus is dashed.

    Args:
        som: The map.
        config: How figures look; None takes the defaults.

    Attributes:
        topology: Which maps a subclass draws.
        outline: Corners of their cells around the center, (row, column) in cell widths, in order, shape (c, 2). With
            the positions of the grid this is all that squares and hexagons do not share.

    Raises:
        ArgumentError: The map has another topology.
    """

    def plot_training_errors(
        self,
        quantization_errors: Sequence[float],
        topographic_errors: Sequence[float],
        sigmas: Sequence[float] | None = None,
        *,
        save_path: str | Path | None = None,
        fig_name: str = "training_errors",
    ) -> Figure:
        """Quantization error (left axis) and topographic error (right axis) after each epoch.

        Args:
            quantization_errors: One an epoch, as `fit` returns them.
            topographic_errors: One an epoch, fractions in [0, 1]; shown in percent.
            sigmas: Neighborhood radius of each epoch, in cell widths; drawn beneath where given.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: The lists differ in length, or are empty.
        """
        figure = training_figure(quantization_errors, topographic_errors, sigmas, self.config)
        return self.saved(figure, save_path, fig_name)

    def plot_retrieval(
        self,
        query: int,
        neighborhood: Iterable[int] | None = None,
        fallback: Iterable[int] = (),
        *,
        save_path: str | Path | None = None,
        fig_name: str = "retrieval",
    ) -> Figure:
        """Which neurons answer a query, over the U-matrix in gray.

        Args:
            query: The neuron that the query falls on, flat index.
            neighborhood: Neurons of its neighborhood; None takes all up to the map's `neighborhood_order`, an empty
                list takes none.
            fallback: Neurons that were added to fill the buffer, nearest first: they are numbered in this order.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: An index that is no neuron of the map.
        """
        query = int(self._neurons([query], "query")[0])
        if neighborhood is None:
            neighborhood = neighbors(self.som.grid, query, self.som.neighborhood_order).tolist()
        around = self._neurons(neighborhood, "neighborhood")
        around = around[around != query]
        added = self._neurons(fallback, "fallback")
        added = added[~np.isin(added, [query, *around])]
        distances = self._map("distance", scaling="mean")[0]
        figure = map_figures.retrieval_figure(self.frame, distances, query, around, added)
        return self.saved(figure, save_path, fig_name)

    def _neurons(self, indices: Iterable[int], name: str) -> Ints:
        """Flat indices without repetition, in the order given."""
        neurons = np.array(list(dict.fromkeys(int(index) for index in indices)), dtype=np.int64)
        outside = neurons[(neurons < 0) | (neurons >= self.som.grid.m)]
        if len(outside):
            raise ArgumentError(f"{name} must be flat indices from 0 to {self.som.grid.m - 1}, got {outside[0]}")
        return neurons

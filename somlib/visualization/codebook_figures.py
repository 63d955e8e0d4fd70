"""Figures of the codebook: distances between neurons, and the weights of each feature."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from somlib.errors import ShapeError, unknown_name
from somlib.utils.distances import DISTANCE_FUNCTIONS, Metric
from somlib.utils.maps import distance_map
from somlib.visualization import map_figures
from somlib.visualization.drawing import MapDrawing
from somlib.visualization.lattice import Floats, expanded_distances
from somlib.visualization.map_figures import Limits, Range, Wording

logger = logging.getLogger(__name__)


class CodebookFigures(MapDrawing):
    """What shows the weights alone."""

    def plot_distance_map(
        self,
        distance_metric: str | None = None,
        neighborhood_order: int | None = None,
        scaling: str = "sum",
        *,
        expanded: bool = False,
        vmin: float | None = None,
        vmax: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "distance_map",
    ) -> Figure:
        """The U-matrix: how far each neuron is from its neighbors in feature space. Ridges part clusters.

        Args:
            distance_metric: A key of `DISTANCE_FUNCTIONS`; None takes the map's.
            neighborhood_order: Hops up to which neurons are neighbors; None takes the map's. The expanded form always
                takes order 1.
            scaling: `"sum"` or `"mean"` of the distances, divided by the largest. The expanded form is always the mean,
                not divided, so that maps can be compared.
            expanded: Whether to draw a cell between every two neighbors, colored by their distance.
            vmin: Value at the lower end of the colors; None takes the smallest.
            vmax: Value at the upper end; None takes the largest.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: Unknown metric or scaling, or an order below 1.
        """
        limits = Limits(vmin, vmax)
        name = self.som.distance_function if distance_metric is None else distance_metric
        if expanded:
            figure = self._expanded_figure(name, limits)
        else:
            order = self.som.neighborhood_order if neighborhood_order is None else neighborhood_order
            values = self._map("distance", distance_metric=name, neighborhood_order=order, scaling=scaling)
            note = f"{name} distance, neighbors of order {'1' if order == 1 else f'1 to {order}'}"
            wording = Wording("Distance map (U-matrix)", f"{scaling} of distances to neighbors, largest = 1", note)
            figure = map_figures.value_figure(self.frame, values, wording, self.config.distance_colors, limits)
        return self.saved(figure, save_path, fig_name)

    def _expanded_figure(self, distance_metric: str, limits: Limits) -> Figure:
        if distance_metric not in DISTANCE_FUNCTIONS:
            raise unknown_name("distance_metric", distance_metric, DISTANCE_FUNCTIONS)
        metric = Metric(distance_metric, self.som.feature_weights)
        lattice, values = expanded_distances(self._codebook(), self.som.grid, metric, self.outline)
        wording = Wording(
            "Distance map (U-matrix), expanded", f"{distance_metric} distance", "between dots (neurons): their distance"
        )
        return map_figures.expanded_figure(self.frame, lattice, values, wording, limits)

    def plot_distance_history(
        self,
        snapshots: Sequence[Tensor],
        epochs: Sequence[int] | None = None,
        *,
        save_path: str | Path | None = None,
        fig_name: str = "distance_history",
    ) -> Figure:
        """U-matrices of the map at several times of its training, in one color scale.

        Args:
            snapshots: Weights kept during training, each of shape (x, y, d), oldest first.
            epochs: When each was taken; None numbers them from 1.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: No snapshots, one of another shape than the map's weights, or another number of epochs.
        """
        epochs = list(range(1, len(snapshots) + 1)) if epochs is None else epochs
        if not len(snapshots) or len(epochs) != len(snapshots):
            raise ShapeError(
                f"epochs must have one number a snapshot, got {len(epochs)} for {len(snapshots)} snapshots"
            )
        values = np.stack([self._mean_distances(snapshot) for snapshot in snapshots])  # (s, m)
        note = f"mean {self.som.distance_function} distance to neighbors of order 1"
        figure = map_figures.history_figure(self.frame, values, epochs, note)
        return self.saved(figure, save_path, fig_name)

    def _mean_distances(self, weights: Tensor) -> Floats:
        expected = tuple(self.som.weights.shape)
        if tuple(weights.shape) != expected:
            raise ShapeError(f"snapshots must be weights of shape {expected}, got {tuple(weights.shape)}")
        codebook = weights.detach().cpu().flatten(0, 1)
        values = distance_map(codebook, self.som.grid, self.som.metric, order=1, scaling="mean")
        return np.asarray(values.double().numpy())

    def plot_component_planes(
        self,
        component_names: Sequence[str] | None = None,
        *,
        sort: bool = True,
        center: float | None = None,
        ranges: Mapping[str, Range] | None = None,
        cyclic: Collection[str] = (),
        save_path: str | Path | None = None,
        fig_name: str = "component_planes",
    ) -> Figure:
        """The weights of every feature over the map, one plane each, all on one sheet.

        Beyond `config.planes_per_page` features there are further sheets: this returns the first and saves all, the
        others as `<fig_name>_2` and so on; `plot_component_plane_pages` returns all of them.

        Args:
            component_names: A name for each of the d features; None takes the columns of the training data.
            sort: Whether planes that look alike stand next to each other; else in the order of the features.
            center: Value that gets the middle of a diverging color map in every plane (0 for standardized data); None
                takes a sequential one.
            ranges: Values (low, high) at the ends of the colors by feature name, such as those of the map before
                retraining; a feature that is absent takes its own.
            cyclic: Names of features whose values begin again, such as hours: their colors do so at the ends of their
                range, which `ranges` should give.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: Another number of names than features.
            ArgumentError: A range for an unknown feature, or one that is empty; an unknown feature that is cyclic.
        """
        pages = self._plane_pages(component_names, sort, center, ranges, cyclic)
        if save_path is not None:
            return self._saved_pages(pages, save_path, fig_name)[0]
        if self._codebook().shape[1] > self.config.planes_per_page:
            logger.info("more component planes than fit one sheet: plot_component_plane_pages returns all sheets")
        return next(pages)

    def plot_component_plane_pages(
        self,
        component_names: Sequence[str] | None = None,
        *,
        sort: bool = True,
        center: float | None = None,
        ranges: Mapping[str, Range] | None = None,
        cyclic: Collection[str] = (),
        save_path: str | Path | None = None,
        fig_name: str = "component_planes",
    ) -> list[Figure]:
        """All sheets of component planes, one up to `config.planes_per_page` features; see `plot_component_planes`."""
        return self._saved_pages(self._plane_pages(component_names, sort, center, ranges, cyclic), save_path, fig_name)

    def _plane_pages(
        self,
        component_names: Sequence[str] | None,
        sort: bool,
        center: float | None,
        ranges: Mapping[str, Range] | None,
        cyclic: Collection[str],
    ) -> Iterator[Figure]:
        names, ranges = self.component_names(component_names), ranges or {}
        for argument, given in (("ranges", ranges), ("cyclic", cyclic)):
            for name in given:
                if name not in names:
                    raise unknown_name(argument, name, names)
        planes = np.asarray(self._codebook().double().numpy())
        return map_figures.plane_figures(
            self.frame, planes, names, sort=sort, center=center, ranges=ranges, cyclic=cyclic
        )

    def component_names(self, names: Sequence[str] | None = None) -> list[str]:
        """A name for each feature: those given, else the columns of the training data, else numbers.

        Raises:
            ShapeError: Another number of names than features.
        """
        d = self._codebook().shape[1]
        if names is None:
            names = self.som.feature_names or [f"feature {i}" for i in range(d)]
        if len(names) != d:
            raise ShapeError(f"component_names must have {d} names, one a feature, got {len(names)}")
        return [str(name) for name in names]

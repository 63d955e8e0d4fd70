"""Figures of a map: everything that squares and hexagons share, which is all but the outline of a cell.

Numbers come from the public interface of the map (`build_map`, `weights`, `grid`); this module only draws them.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from somlib.core import SOM
from somlib.errors import ArgumentError, ShapeError, unknown_name
from somlib.utils.distances import DISTANCE_FUNCTIONS, Metric
from somlib.utils.grid import Topology
from somlib.utils.inputs import read_targets
from somlib.utils.maps import distance_map
from somlib.utils.topology import neighbors
from somlib.visualization import map_figures
from somlib.visualization.canvas import save
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.frame import MapFrame
from somlib.visualization.lattice import Floats, Ints, expanded_distances
from somlib.visualization.map_figures import Limits, Range, Wording
from somlib.visualization.training import training_figure

logger = logging.getLogger(__name__)

SamplesByPlace = Mapping[tuple[int, int], Any]
FEW_SAMPLES = "fewer than 2 samples"


class BaseVisualizer:
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

    # ---------------------------------------------------------------- training

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
            topographic_errors: Likewise, fractions in [0, 1]; shown in percent.
            sigmas: Neighborhood radius of each epoch, in cell widths; drawn beneath where given.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: The lists differ in length, or are empty.
        """
        figure = training_figure(quantization_errors, topographic_errors, sigmas, self.config)
        return self.saved(figure, save_path, fig_name)

    # ---------------------------------------------------------------- codebook

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
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: Another number of names than features.
            ArgumentError: A range for an unknown feature, or one that is empty.
        """
        pages = self._plane_pages(component_names, sort, center, ranges)
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
        save_path: str | Path | None = None,
        fig_name: str = "component_planes",
    ) -> list[Figure]:
        """All sheets of component planes, one up to `config.planes_per_page` features; see `plot_component_planes`."""
        return self._saved_pages(self._plane_pages(component_names, sort, center, ranges), save_path, fig_name)

    def _plane_pages(
        self,
        component_names: Sequence[str] | None,
        sort: bool,
        center: float | None,
        ranges: Mapping[str, Range] | None,
    ) -> Iterator[Figure]:
        names, ranges = self.component_names(component_names), ranges or {}
        for name in ranges:
            if name not in names:
                raise unknown_name("ranges", name, names)
        planes = np.asarray(self._codebook().double().numpy())
        return map_figures.plane_figures(self.frame, planes, names, sort=sort, center=center, ranges=ranges)

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

    # ---------------------------------------------------------------- samples and targets

    def plot_hit_map(
        self,
        data: Any,
        batch_size: int | None = None,
        *,
        vmin: float | None = None,
        vmax: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "hit_map",
    ) -> Figure:
        """How many samples fall on each neuron; neurons without any are gray and hatched.

        Args:
            data: Samples, shape (n, d).
            batch_size: Passed on to `build_map`; None leaves it out.
            vmin: Count at the lower end of the colors; None takes 0.
            vmax: Count at the upper end; None takes the largest.
            save_path: Folder to save in.
            fig_name: Name of the file.
        """
        hits = self._map("hit", data=data, **({} if batch_size is None else {"batch_size": batch_size}))
        return self.saved(self._hit_figure(hits[0], Limits(vmin, vmax)), save_path, fig_name)

    def _hit_figure(self, hits: Floats, limits: Limits) -> Figure:
        """Counts (m,), 0 drawn as empty."""
        note = f"{hits.sum():.0f} samples, {int((hits == 0).sum())} of {len(hits)} neurons without any"
        wording = Wording("Hit map", "samples", note)
        from_zero = Limits(0.0 if limits.vmin is None else limits.vmin, limits.vmax)
        values = np.where(hits > 0, hits, np.nan)[None]
        return map_figures.value_figure(
            self.frame, values, wording, self.config.sequential_colors, from_zero, whole=True
        )

    def plot_classification_map(
        self,
        target: Any,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        neighborhood_order: int | None = None,
        *,
        class_names: Sequence[str] | Mapping[Any, str] | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "classification_map",
    ) -> Figure:
        """The most frequent class of the samples on each neuron.

        Args:
            target: Class labels as numbers, shape (n,), or (n, o) for a panel each.
            data: Samples, shape (n, d); not needed with `bmus_data_map`.
            bmus_data_map: `build_map("bmus_data", data)`.
            neighborhood_order: Hops whose samples decide ties; None takes the map's.
            class_names: By label, or in ascending order of the labels in `target`; None shows the labels.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ShapeError: Another number of names than classes.
        """
        values = self._target_map("classification", target, data, bmus_data_map, neighborhood_order=neighborhood_order)
        names = _class_names(target, class_names)
        panels = [f"target {i + 1}" for i in range(len(values))]
        return self.saved(map_figures.class_figure(self.frame, values, names, panels), save_path, fig_name)

    def plot_metric_map(
        self,
        target: Any,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        reduction_parameter: str = "mean",
        *,
        target_names: Sequence[str] | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        center: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "metric_map",
    ) -> Figure:
        """Mean or standard deviation of the targets on each neuron; gray and hatched where it is not defined.

        Args:
            target: Shape (n,), or (n, o) for a panel each.
            data: Samples, shape (n, d); not needed with `bmus_data_map`.
            bmus_data_map: `build_map("bmus_data", data)`.
            reduction_parameter: `"mean"` or `"std"`.
            target_names: A name for each target.
            vmin: Value at the lower end of the colors; None takes the smallest.
            vmax: Value at the upper end; None takes the largest.
            center: Value that gets the middle of a diverging color map; None takes a sequential one.
            save_path: Folder to save in.
            fig_name: Name of the file.
        """
        values = self._target_map("metric", target, data, bmus_data_map, reduction_parameter=reduction_parameter)
        words = {"mean": "Mean", "std": "Standard deviation"}[reduction_parameter]
        colors = self.config.sequential_colors if center is None else self.config.diverging_colors
        wording = Wording(words, words.lower(), empty="no samples" if reduction_parameter == "mean" else FEW_SAMPLES)
        figure = self._target_figure(values, wording, colors, Limits(vmin, vmax, center), target_names)
        return self.saved(figure, save_path, fig_name)

    def plot_score_map(
        self,
        target: Any,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        *,
        target_names: Sequence[str] | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "score_map",
    ) -> Figure:
        """How reliable each neuron is for regression, `std / sqrt(n_k) * ln(N / n_k)`: the lower the better.

        Arguments as in `plot_metric_map`. Light cells are reliable.
        """
        values = self._target_map("score", target, data, bmus_data_map)
        wording = Wording("Reliability score", "score", "low (light): reliable", FEW_SAMPLES)
        colors, limits = self.config.sequential_colors, Limits(vmin, vmax)
        figure = self._target_figure(values, wording, colors, limits, target_names, reverse=True)
        return self.saved(figure, save_path, fig_name)

    def plot_rank_map(
        self,
        target: Any,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        *,
        target_names: Sequence[str] | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "rank_map",
    ) -> Figure:
        """The neurons ranked by the standard deviation of their targets: 1 has the lowest, the most reliable.

        Arguments as in `plot_metric_map`. Light cells are reliable.
        """
        values = self._target_map("rank", target, data, bmus_data_map)
        wording = Wording("Reliability rank", "rank by standard deviation", "1 (lightest): reliable", FEW_SAMPLES)
        colors, limits = self.config.sequential_colors, Limits(vmin, vmax)
        figure = self._target_figure(values, wording, colors, limits, target_names, reverse=True, whole=True)
        return self.saved(figure, save_path, fig_name)

    # ---------------------------------------------------------------- retrieval

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

    # ---------------------------------------------------------------- shared

    def _target_figure(
        self,
        values: Floats,
        wording: Wording,
        colors: str,
        limits: Limits,
        names: Sequence[str] | None,
        *,
        reverse: bool = False,
        whole: bool = False,
    ) -> Figure:
        """Statistics of targets, one panel each; the title of `wording` is that of the statistic."""
        if names is not None and len(names) != len(values):
            raise ShapeError(f"target_names must have {len(values)} names, one a target, got {len(names)}")
        what = "the target" if len(values) == 1 else "each target"
        title = f"{wording.title} of {names[0] if names is not None and len(values) == 1 else what}"
        return map_figures.value_figure(
            self.frame, values, replace(wording, title=title), colors, limits, names=names, reverse=reverse, whole=whole
        )

    def _map(self, map_type: str, **arguments: Any) -> Floats:
        """A map as float64, one row a target, shape (o, m)."""
        built: Tensor = self.som.build_map(map_type, **arguments)
        return np.asarray(built.double().cpu().numpy().reshape(-1, self.som.grid.m))

    def _target_map(
        self, map_type: str, target: Any, data: Any, bmus_data_map: SamplesByPlace | None, **arguments: Any
    ) -> Floats:
        return self._map(map_type, target=target, data=data, bmus_data_map=bmus_data_map, **arguments)

    def _codebook(self) -> Tensor:
        """The weights in flat order on the CPU, shape (m, d)."""
        return self.som.codebook.cpu()

    def _neurons(self, indices: Iterable[int], name: str) -> Ints:
        """Flat indices without repetition, in the order given."""
        neurons = np.array(list(dict.fromkeys(int(index) for index in indices)), dtype=np.int64)
        outside = neurons[(neurons < 0) | (neurons >= self.som.grid.m)]
        if len(outside):
            raise ArgumentError(f"{name} must be flat indices from 0 to {self.som.grid.m - 1}, got {outside[0]}")
        return neurons

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


def _class_names(target: Any, names: Sequence[str] | Mapping[Any, str] | None) -> dict[float, str]:
    """The name of each label in the target; NaN is none."""
    values = np.unique(read_targets(target, len(target)).numpy())
    labels = [float(label) for label in values[~np.isnan(values)]]
    if names is None or isinstance(names, Mapping):
        given = names or {}
        return {label: str(given.get(label, _label_text(label))) for label in labels}
    if len(names) != len(labels):
        raise ShapeError(f"class_names must have {len(labels)} names, one a class, got {len(names)}")
    return {label: str(name) for label, name in zip(labels, names, strict=True)}


def _label_text(label: float) -> str:
    return str(int(label)) if label.is_integer() else str(label)

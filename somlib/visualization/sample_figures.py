"""Figures of samples on a map, and of their targets and classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from somlib.errors import ArgumentError, ShapeError
from somlib.utils.class_labels import text_labels
from somlib.utils.inputs import read_targets
from somlib.visualization import map_figures
from somlib.visualization.drawing import MapDrawing, require_one
from somlib.visualization.lattice import Floats
from somlib.visualization.map_figures import Limits, Wording

SamplesByPlace = Mapping[tuple[int, int], Any]
FEW_SAMPLES = "fewer than 2 samples"


class SampleFigures(MapDrawing):
    """What shows which samples fall where."""

    def plot_hit_map(
        self,
        data: Any = None,
        batch_size: int | None = None,
        *,
        hits: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        save_path: str | Path | None = None,
        fig_name: str = "hit_map",
    ) -> Figure:
        """How many samples fall on each neuron; neurons without any are gray and hatched.

        Args:
            data: Samples, shape (n, d).
            batch_size: Passed on to `build_map`; None leaves it out.
            hits: Samples of each neuron where they are known, shape (x, y), as of `build_map("hit", data)`; `data` is
                not needed then.
            vmin: Count at the lower end of the colors; None takes 0.
            vmax: Count at the upper end; None takes the largest.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: Neither `data` nor `hits`, or both.
            ShapeError: `hits` of another shape.
        """
        counts = self.hits_of(data, hits, batch_size)
        return self.saved(self._hit_figure(counts, Limits(vmin, vmax)), save_path, fig_name)

    def hits_of(self, data: Any, hits: Any, batch_size: int | None = None) -> Floats:
        """Samples of each neuron, shape (m,), from the one of both that is given; arguments as in `plot_hit_map`."""
        require_one("data", data, "hits", hits)
        if hits is None:
            built = self._map("hit", data=data, **({} if batch_size is None else {"batch_size": batch_size}))
        else:
            built = self._known_map("hits", hits)
        return np.asarray(built[0])

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
        target: Any = None,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        neighborhood_order: int | None = None,
        *,
        statistic: Any = None,
        class_names: Sequence[str] | Mapping[Any, str] | None = None,
        target_name: str = "",
        save_path: str | Path | None = None,
        fig_name: str = "classification_map",
    ) -> Figure:
        """The most frequent class of the samples on each neuron.

        Args:
            target: Class labels as numbers or texts, shape (n,), or (n, o) for a panel each.
            data: Samples, shape (n, d); not needed with `bmus_data_map`.
            bmus_data_map: `build_map("bmus_data", data)`.
            neighborhood_order: Hops whose samples decide ties; None takes the map's.
            statistic: The label of each neuron as a number where it is known, NaN for none, shape (x, y); `target` and
                samples are not needed then, but `class_names` are.
            class_names: By label, or in ascending order of the labels in `target`; None shows the labels.
            target_name: What the classes are of.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: Neither `target` nor `statistic`, or both.
            ShapeError: Another number of names than classes.
        """
        require_one("target", target, "statistic", statistic)
        if statistic is None:
            order = {"neighborhood_order": neighborhood_order}
            values = self._target_map("classification", target, data, bmus_data_map, **order)
            names = _class_names(target, class_names)
        else:
            values = self._known_map("statistic", statistic)
            names = {float(label): str(name) for label, name in _numbered(class_names).items()}
        panels = [f"target {i + 1}" for i in range(len(values))]
        return self.saved(map_figures.class_figure(self.frame, values, names, panels, target_name), save_path, fig_name)

    def plot_metric_map(
        self,
        target: Any = None,
        data: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        reduction_parameter: str = "mean",
        *,
        statistic: Any = None,
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
            statistic: It where it is known, shape (x, y) or (o, x, y), as of `build_map("metric", ...)`; `target` and
                samples are not needed then.
            target_names: A name for each target.
            vmin: Value at the lower end of the colors; None takes the smallest.
            vmax: Value at the upper end; None takes the largest.
            center: Value that gets the middle of a diverging color map; None takes a sequential one.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: Neither `target` nor `statistic`, or both.
            ShapeError: `statistic` of another shape, or another number of names than targets.
        """
        require_one("target", target, "statistic", statistic)
        if statistic is None:
            values = self._target_map("metric", target, data, bmus_data_map, reduction_parameter=reduction_parameter)
        else:
            values = self._known_map("statistic", statistic)
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

    def _target_map(
        self, map_type: str, target: Any, data: Any, bmus_data_map: SamplesByPlace | None, **arguments: Any
    ) -> Floats:
        return self._map(map_type, target=target, data=data, bmus_data_map=bmus_data_map, **arguments)


def _numbered(names: Sequence[str] | Mapping[Any, str] | None) -> Mapping[Any, str]:
    """Names by label; those of a list by their place."""
    if names is None:
        raise ArgumentError("class_names must name the labels of statistic, got None")
    return names if isinstance(names, Mapping) else dict(enumerate(names))


def _class_names(target: Any, names: Sequence[str] | Mapping[Any, str] | None) -> dict[float, str]:
    """The name of each label in the target; NaN is none."""
    texts = text_labels(target)
    if texts is not None:
        shown = {float(place): name for place, name in enumerate(texts.names)}
    else:
        values = np.unique(read_targets(target, len(target)).numpy())
        shown = {float(label): _label_text(float(label)) for label in values[~np.isnan(values)]}
    if names is None or isinstance(names, Mapping):
        given = names or {}
        return {label: str(given.get(label if texts is None else text, text)) for label, text in shown.items()}
    if len(names) != len(shown):
        raise ShapeError(f"class_names must have {len(shown)} names, one a class, got {len(names)}")
    return {label: str(name) for label, name in zip(shown, names, strict=True)}


def _label_text(label: float) -> str:
    return str(int(label)) if label.is_integer() else str(label)

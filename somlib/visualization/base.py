"""`SOMVisualizer`: one object with every figure of a map, whatever its topology."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import numpy as np
from matplotlib.figure import Figure

from somlib.core import SOM
from somlib.utils.class_labels import text_labels
from somlib.utils.clustering import ClusterResult
from somlib.utils.inputs import read_targets
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.clustering import ClusteringVisualizer
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.hexagonal import HexagonalVisualizer
from somlib.visualization.rectangular import RectangularVisualizer

VISUALIZERS: dict[str, type[BaseVisualizer]] = {
    "rectangular": RectangularVisualizer,
    "hexagonal": HexagonalVisualizer,
}
MOST_CLASSES = 50  # distinct whole numbers up to which `plot_all` takes a target for classes

P = ParamSpec("P")
R = TypeVar("R")


class Delegated(Generic[P, R]):
    """A method of one of the two visualizers behind a `SOMVisualizer`, with its signature and its documentation."""

    def __init__(self, part: str, method: Callable[Concatenate[Any, P], R]) -> None:
        self.part = part
        self.method = method

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[Concatenate[Any, P], R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: object, owner: type) -> Callable[..., R]:
        """The method, bound to the part that has it."""
        if instance is None:
            return self.method
        bound: Callable[..., R] = getattr(getattr(instance, self.part), self.method.__name__)
        return bound


class SOMVisualizer:
    """All figures of one map: a `RectangularVisualizer` or a `HexagonalVisualizer`, and a `ClusteringVisualizer`.

    Every method but `plot_all` returns a `matplotlib.figure.Figure` that pyplot knows nothing of. It takes `save_path`,
    a folder (made if need be) to save in, and `fig_name`, which names the file: `<fig_name>.png`, or what
    `config.formats` says. Nothing is shown, and no global setting of matplotlib is changed.

    Args:
        som: The map.
        config: How figures look; None takes the defaults.

    Attributes:
        maps: Draws the map and its training.
        clusters: Draws its clusters.

    Example:
        >>> import torch
        >>> from somlib.core import SOM
        >>> figure = SOMVisualizer(SOM(6, 4, 3)).plot_hit_map(torch.rand(100, 3))
        >>> figure.axes[0].get_xlabel()
        'column'
    """

    def __init__(self, som: SOM, config: VisualizationConfig | None = None) -> None:
        self.maps = VISUALIZERS[som.topology](som, config)
        self.clusters = ClusteringVisualizer(self.maps)

    @property
    def som(self) -> SOM:
        """The map."""
        return self.maps.som

    @property
    def config(self) -> VisualizationConfig:
        """How figures look."""
        return self.maps.config

    plot_training_errors = Delegated("maps", BaseVisualizer.plot_training_errors)
    plot_distance_map = Delegated("maps", BaseVisualizer.plot_distance_map)
    plot_distance_history = Delegated("maps", BaseVisualizer.plot_distance_history)
    plot_hit_map = Delegated("maps", BaseVisualizer.plot_hit_map)
    plot_component_planes = Delegated("maps", BaseVisualizer.plot_component_planes)
    plot_component_plane_pages = Delegated("maps", BaseVisualizer.plot_component_plane_pages)
    plot_classification_map = Delegated("maps", BaseVisualizer.plot_classification_map)
    plot_metric_map = Delegated("maps", BaseVisualizer.plot_metric_map)
    plot_score_map = Delegated("maps", BaseVisualizer.plot_score_map)
    plot_rank_map = Delegated("maps", BaseVisualizer.plot_rank_map)
    plot_retrieval = Delegated("maps", BaseVisualizer.plot_retrieval)
    plot_cluster_map = Delegated("clusters", ClusteringVisualizer.plot_cluster_map)
    plot_connections = Delegated("clusters", ClusteringVisualizer.plot_connections)
    plot_elbow_analysis = Delegated("clusters", ClusteringVisualizer.plot_elbow_analysis)
    plot_silhouette_analysis = Delegated("clusters", ClusteringVisualizer.plot_silhouette_analysis)
    plot_cluster_quality_comparison = Delegated("clusters", ClusteringVisualizer.plot_cluster_quality_comparison)
    plot_cluster_profiles = Delegated("clusters", ClusteringVisualizer.plot_cluster_profiles)

    def plot_all(
        self,
        quantization_errors: Sequence[float],
        topographic_errors: Sequence[float],
        data: Any,
        target: Any = None,
        component_names: Sequence[str] | None = None,
        save_path: str | Path | None = None,
        *,
        sigmas: Sequence[float] | None = None,
        target_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        cluster_results: Sequence[ClusterResult] | None = None,
    ) -> dict[str, Figure]:
        """Every figure that the arguments allow, by name; with `save_path` saved under these names.

        `training_errors`, `distance_map`, `distance_map_expanded`, `hit_map`, `component_planes` (and
        `component_planes_2`, ... where one sheet does not hold all), `cluster_map`, `cluster_profiles`,
        `silhouette_analysis` and `elbow_analysis`; of two cluster results or more, `cluster_quality_comparison`. With a
        target `metric_map`, `metric_map_std`, `score_map` and `rank_map`; with a target of up to 50 distinct whole
        numbers `classification_map` as well, and with a target of texts that map alone.

        Args:
            quantization_errors: One an epoch, as `fit` returns them.
            topographic_errors: One an epoch, fractions in [0, 1].
            data: Samples, shape (n, d).
            target: Shape (n,) or (n, o); None leaves its maps out.
            component_names: A name for each feature; None takes the columns of the training data.
            save_path: Folder to save in.
            sigmas: Neighborhood radius of each epoch.
            target_names: A name for each target.
            class_names: A name for each class, in ascending order of the labels.
            cluster_results: What `som.cluster` returned; the first is drawn. None runs K-Means.
        """
        results = [self.som.cluster()] if cluster_results is None else list(cluster_results)
        figures = {
            "training_errors": self.plot_training_errors(quantization_errors, topographic_errors, sigmas),
            "distance_map": self.plot_distance_map(),
            "distance_map_expanded": self.plot_distance_map(expanded=True),
            "hit_map": self.plot_hit_map(data),
        }
        pages = self.plot_component_plane_pages(component_names)
        figures |= dict(zip(self.maps.page_names("component_planes"), pages, strict=False))
        if target is not None:
            figures |= self._target_figures(target, data, target_names, class_names)
        figures |= self._cluster_figures(results, data, component_names)
        for name, figure in figures.items():
            self.maps.saved(figure, save_path, name)
        return figures

    def _target_figures(
        self, target: Any, data: Any, target_names: Sequence[str] | None, class_names: Sequence[str] | None
    ) -> dict[str, Figure]:
        samples = self.som.build_map("bmus_data", data=data)  # one search serves all
        if text_labels(target) is not None:
            drawn = self.plot_classification_map(target, bmus_data_map=samples, class_names=class_names)
            return {"classification_map": drawn}
        target = read_targets(target, len(target))
        given = {"target": target, "bmus_data_map": samples, "target_names": target_names}
        figures = {
            "metric_map": self.plot_metric_map(**given),
            "metric_map_std": self.plot_metric_map(**given, reduction_parameter="std"),
            "score_map": self.plot_score_map(**given),
            "rank_map": self.plot_rank_map(**given),
        }
        labels = np.unique(target.numpy())
        if class_names is not None or (len(labels) <= MOST_CLASSES and (labels == labels.round()).all()):
            figures["classification_map"] = self.plot_classification_map(
                target, bmus_data_map=samples, class_names=class_names
            )
        return figures

    def _cluster_figures(
        self, results: Sequence[ClusterResult], data: Any, component_names: Sequence[str] | None
    ) -> dict[str, Figure]:
        figures = {
            "cluster_map": self.plot_cluster_map(results[0], data),
            "cluster_profiles": self.plot_cluster_profiles(results[0], component_names),
            "silhouette_analysis": self.plot_silhouette_analysis(results[0]),
            "elbow_analysis": self.plot_elbow_analysis(),
        }
        if len(results) > 1:
            figures["cluster_quality_comparison"] = self.plot_cluster_quality_comparison(results)
        return figures

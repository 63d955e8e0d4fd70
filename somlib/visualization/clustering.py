"""Figures of clusterings: `ClusteringVisualizer`, to which `SOMVisualizer` gives its cluster plots."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from somlib.errors import ArgumentError, ShapeError
from somlib.utils.clustering import (
    CLUSTERING_METHODS,
    SILHOUETTE_NEURONS,
    ClusterResult,
    kmeans_inertias,
    neuron_features,
    silhouette_values,
)
from somlib.utils.maps import distance_map
from somlib.visualization import cluster_figures
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.cluster_figures import standardized_differences
from somlib.visualization.connection_figures import connection_figure
from somlib.visualization.lattice import Floats, Ints

SEED = 0  # of that sample


class ClusteringVisualizer:
    """Figures of clusterings of one map.

    Every method returns a `matplotlib.figure.Figure` that pyplot knows nothing of, and saves it as
    `<fig_name>.<format>` where `save_path` (a folder, made if need be) is given. Noise is gray and hatched.

    Args:
        maps: The visualizer of the map itself, with its settings.
    """

    def __init__(self, maps: BaseVisualizer) -> None:
        self.maps = maps
        self.som = maps.som
        self.config = maps.config

    def plot_cluster_map(
        self,
        cluster_result: ClusterResult,
        data: Any = None,
        *,
        hits: Any = None,
        save_path: str | Path | None = None,
        fig_name: str = "cluster_map",
    ) -> Figure:
        """The clusters on the map, with outlines between them and their sizes.

        Args:
            cluster_result: What `som.cluster` returned.
            data: Samples, shape (n, d), to count them by cluster as well.
            hits: Samples of each neuron where they are known, shape (x, y); counts them without `data`.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: `cluster_result` is none, or both `data` and `hits` are given.
            ShapeError: It or `hits` is of a map of another size.
        """
        labels = self._labels(cluster_result)
        counts = self.maps.hits_of(data, hits) if data is not None or hits is not None else None
        figure = cluster_figures.cluster_figure(self.maps.frame, labels, _described(cluster_result), counts)
        return self.maps.saved(figure, save_path, fig_name)

    def plot_connections(
        self,
        data: Any = None,
        cluster_result: ClusterResult | None = None,
        *,
        save_path: str | Path | None = None,
        fig_name: str = "connections",
    ) -> Figure:
        """Between which neurons rows lie, as lines over the distances of neurons (CONNvis).

        Lines join neurons that are the two nearest of some row, thicker where there are more. Colored ones join neurons
        that are no neighbors: the map is folded or torn there. A gap without lines is a border of groups.

        Args:
            data: Rows, shape (n, d); None takes those of the latest training.
            cluster_result: What `som.cluster` returned, to outline its clusters.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            NotFittedError: No `data`, and a map that was not trained.
            ArgumentError: `cluster_result` is none.
            ShapeError: It is of a map of another size.
        """
        labels = None if cluster_result is None else self._labels(cluster_result)
        connections = self.som.connections(data)
        distances = distance_map(self.som.codebook, self.som.grid, self.som.metric, scaling="mean")
        values = np.asarray(distances.double().cpu().numpy()).ravel()
        note = "thicker: more rows between two neurons; darker cells: farther from their neighbors"
        figure = connection_figure(self.maps.frame, values, connections, labels, note)
        return self.maps.saved(figure, save_path, fig_name)

    def plot_elbow_analysis(
        self,
        max_k: int = 10,
        feature_space: str = "weights",
        *,
        save_path: str | Path | None = None,
        fig_name: str = "elbow_analysis",
    ) -> Figure:
        """K-Means inertia by number of clusters, with the elbow marked.

        Args:
            max_k: Largest number of clusters, at least 1.
            feature_space: `"weights"`, `"positions"` or `"combined"`.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: `max_k` below 1, or an unknown feature space.
        """
        features = neuron_features(self.som.codebook, self.som.grid, feature_space)
        counts, inertias = kmeans_inertias(features, max_k, random_seed=self.som.random_seed)
        note = f"of {self.som.grid.m} neurons by their {feature_space}"
        figure = cluster_figures.elbow_figure(counts, np.array(inertias), note, self.config)
        return self.maps.saved(figure, save_path, fig_name)

    def plot_silhouette_analysis(
        self,
        cluster_result: ClusterResult,
        *,
        save_path: str | Path | None = None,
        fig_name: str = "silhouette_analysis",
    ) -> Figure:
        """The silhouette of every neuron by cluster: near 1 well inside, near 0 between two, below 0 in the wrong one.

        Of maps beyond 5 000 neurons a fixed random sample of that size.

        Args:
            cluster_result: What `som.cluster` returned.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: `cluster_result` is none.
            ShapeError: It is of a map of another size.
        """
        labels = self._labels(cluster_result)
        kept = np.arange(len(labels))
        if len(kept) > SILHOUETTE_NEURONS:
            kept = np.sort(np.random.default_rng(SEED).choice(kept, SILHOUETTE_NEURONS, replace=False))
        features = cluster_result["original_data"].cpu()[torch.from_numpy(kept)]
        values = silhouette_values(features, torch.from_numpy(labels[kept])).double().numpy()
        note = _described(cluster_result)
        figure = cluster_figures.silhouette_figure(values, labels[kept], note, self.config)
        return self.maps.saved(figure, save_path, fig_name)

    def plot_cluster_quality_comparison(
        self,
        results_list: Sequence[ClusterResult],
        *,
        save_path: str | Path | None = None,
        fig_name: str = "cluster_quality_comparison",
    ) -> Figure:
        """The scores of several clusterings side by side.

        Args:
            results_list: What `som.cluster` returned for each.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: The list is empty, or holds something else.
        """
        if isinstance(results_list, dict) or not len(results_list):
            raise ArgumentError(
                f"results_list must be a list of at least one cluster result, got {_kind(results_list)}"
            )
        for result in results_list:
            self._labels(result)
        scores = [dict(result["metrics"]) for result in results_list]
        names = [_described(result) for result in results_list]
        figure = cluster_figures.comparison_figure(scores, names, self.config)  # type: ignore[arg-type]  # all numbers
        return self.maps.saved(figure, save_path, fig_name)

    def plot_cluster_profiles(
        self,
        cluster_result: ClusterResult,
        component_names: Sequence[str] | None = None,
        max_features: int = 8,
        *,
        save_path: str | Path | None = None,
        fig_name: str = "cluster_profiles",
    ) -> Figure:
        """Which features set each cluster apart, and how far: the strongest `max_features` of each.

        A bar is a standardized mean difference: the mean weight of the cluster's neurons minus that of all other
        neurons, in standard deviations of the feature over the map. +1 says: here this feature is one standard
        deviation higher than elsewhere. 0.2 is little, 0.5 medium, 0.8 and more is much; see
        `standardized_differences`.

        Args:
            cluster_result: What `som.cluster` returned.
            component_names: A name for each of the d features; None takes the columns of the training data.
            max_features: Features a cluster, at least 1.
            save_path: Folder to save in.
            fig_name: Name of the file.

        Raises:
            ArgumentError: `cluster_result` is none, or `max_features` below 1.
            ShapeError: It is of a map of another size, or another number of names than features.
        """
        if max_features < 1:
            raise ArgumentError(f"max_features must be at least 1, got {max_features}")
        labels, names = self._labels(cluster_result), self.maps.component_names(component_names)
        effects = self.effects(cluster_result)
        note = "difference to all other neurons, in standard deviations over the map"
        figure = cluster_figures.profile_figure(effects, labels, names, max_features, note, self.config)
        return self.maps.saved(figure, save_path, fig_name)

    def effects(self, cluster_result: ClusterResult) -> Floats:
        """The standardized differences of `plot_cluster_profiles`, one row a cluster, shape (k, d)."""
        weights = np.asarray(self.som.codebook.double().cpu().numpy())
        return standardized_differences(weights, self._labels(cluster_result))

    def _labels(self, result: ClusterResult) -> Ints:
        """The labels of a result, checked."""
        if not isinstance(result, dict) or "labels" not in result:
            raise ArgumentError(f"cluster_result must be what som.cluster returns, got {_kind(result)}")
        labels = np.asarray(torch.as_tensor(result["labels"]).cpu().numpy())
        if labels.shape != (self.som.grid.m,):
            raise ShapeError(f"cluster_result must label {self.som.grid.m} neurons, got labels of shape {labels.shape}")
        return labels.astype(np.int64)


def _described(result: ClusterResult) -> str:
    known = CLUSTERING_METHODS.get(result["method"])
    title = result["method"] if known is None else known.title
    return f"{title} on {result['feature_space']}, k = {result['n_clusters']}"


def _kind(value: object) -> str:
    return type(value).__name__

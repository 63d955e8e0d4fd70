"""Samples in clusters by way of the map: neurons are clustered, and a sample belongs to the cluster of its nearest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import ClusterMixin

from somlib.estimators.base import IntArray, SOMEstimator, trained_map, winners
from somlib.utils.clustering import CLUSTERING_METHODS
from somlib.utils.estimator_inputs import checked_weight


@dataclass(kw_only=True, eq=False, repr=False)
class SOMClusterer(ClusterMixin, SOMEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Clusters of samples, each the samples of a cluster of neurons.

    Args:
        n_clusters: How many; None chooses, see `somlib.utils.clustering.cluster_neurons`.
        method: `"kmeans"`, `"gmm"`, `"ward"` (every cluster one connected piece of the map), `"hdbscan"`,
            `"connectivity"` (dense regions of the training rows) or `"mixture"` (Gaussians, merged where rows bridge
            them); the last two find the number themselves, one group included.
        feature_space: What neurons are compared by: `"weights"`, `"positions"` or `"combined"`.
        method_options: Further options of the method, by name.

    All other parameters and attributes are those of `SOMEstimator`; among them `som_`, `n_features_in_` and
    `feature_names_in_`. Features are not scaled here: see there.

    Attributes:
        labels_: Cluster of each training sample, int64, shape (n,): from 0; -1 for noise, and for samples without a
            nearest neuron (nothing observed, a zero vector under cosine).
        neuron_labels_: Cluster of each neuron, int64, shape (x, y). A cluster whose neurons won no sample has one of
            the last numbers.
        n_clusters_: Number of clusters of neurons.

    Example:
        >>> X = [[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]]
        >>> SOMClusterer(n_clusters=2).fit_predict(X)
        array([0, 0, 1, 1])

    References:
        Vesanto and Alhoniemi, Clustering of the self-organizing map, IEEE Trans. Neural Networks 11(3), 2000.
    """

    n_clusters: int | None = None
    method: str = "kmeans"
    feature_space: str = "weights"
    method_options: Mapping[str, Any] | None = None

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a map and cluster its neurons.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Ignored.
            sample_weight: Shape (n,), >= 0; weight k acts like k copies of the sample. None for 1 each.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        del y
        X = self._read(X)
        weight = checked_weight(sample_weight, X)
        som = trained_map(self._map_settings(), X, weight)
        method = CLUSTERING_METHODS.get(self.method)
        rows = {"data": X, "sample_weight": weight} if method is not None and method.needs_data else {}
        options = rows | dict(self.method_options or {})
        found = som.cluster(self.method, self.n_clusters, self.feature_space, **options)
        winner = winners(som, X)
        labels = numbered_from_zero(found["labels"].cpu().numpy(), winner[(winner >= 0) & (weight > 0)])
        self._take_over(som)
        self.n_clusters_ = found["n_clusters"]
        self.neuron_labels_ = labels.reshape(som.grid.x, som.grid.y)
        self.labels_ = self._labels(winner)
        return self

    def predict(self, X: Any) -> IntArray:
        """Cluster of each of the samples (n, d), int64, shape (n,), numbered as in `labels_`."""
        X = self._checked(X)
        return self._labels(winners(self.som_, X))

    def _labels(self, winner: IntArray) -> IntArray:
        return np.append(self.neuron_labels_, -1)[winner]  # winner -1 takes the last


def numbered_from_zero(labels: IntArray, winner: IntArray) -> IntArray:
    """Labels of neurons, shape (m,), numbered from 1, renumbered from 0: clusters with samples first; noise stays -1.

    Args:
        labels: Cluster of each neuron, 1 to k, or -1.
        winner: Neurons with samples, in any number and order.
    """
    clusters = np.arange(1, labels.max(initial=0) + 1)
    held = np.isin(clusters, labels[winner])
    number = np.full(len(clusters) + 2, -1)  # the last is for noise
    number[np.concatenate((clusters[held], clusters[~held]))] = np.arange(len(clusters))
    return number[labels]

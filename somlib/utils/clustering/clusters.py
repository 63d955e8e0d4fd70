"""Clusters of neurons by any of the methods."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from somlib.errors import ArgumentError, ShapeError, warn
from somlib.utils.arguments import require_choice
from somlib.utils.clustering.connections import Connections
from somlib.utils.clustering.connectivity import CONNECTIVITY
from somlib.utils.clustering.gmm import GMM
from somlib.utils.clustering.hdbscan import HDBSCAN
from somlib.utils.clustering.kmeans import KMEANS
from somlib.utils.clustering.method import ClusteringMethod, Partition, one_thread
from somlib.utils.clustering.mixture import MIXTURE
from somlib.utils.clustering.neurons import (
    FloatArray,
    IntArray,
    Neurons,
    features_of,
    is_whole,
    means_of,
    neurons_of,
    unit_variance,
)
from somlib.utils.clustering.result import ClusterResult
from somlib.utils.clustering.row_sample import RowSample
from somlib.utils.clustering.scores import metrics_of
from somlib.utils.clustering.ward import WARD
from somlib.utils.grid import Grid

CLUSTERING_METHODS: dict[str, ClusteringMethod] = {
    "kmeans": KMEANS,
    "gmm": GMM,
    "hdbscan": HDBSCAN,
    "ward": WARD,
    "connectivity": CONNECTIVITY,
    "mixture": MIXTURE,
}


def cluster_neurons(
    codebook: Tensor,
    grid: Grid,
    method: str = "kmeans",
    n_clusters: int | None = None,
    feature_space: str = "weights",
    random_seed: int = 0,
    connections: Connections | None = None,
    rows: RowSample | None = None,
    **kwargs: Any,
) -> ClusterResult:
    """The neurons of a map in clusters.

    Maps of any size work; neurons that are all equal are one cluster, whatever the method. The same arguments give the
    same result every time, whatever the number of threads.

    Args:
        codebook: Weights in flat order, finite, shape (m, d).
        grid: The grid of the m neurons.
        method: A key of `CLUSTERING_METHODS`.
        n_clusters: From 1 to the number of distinct neurons; None chooses, up to sqrt(m) and at most 20. `"kmeans"`
            and `"ward"` take the best silhouette from 2 up, or 1 where none reaches 0.5 and the density
            of rows, where `connections` tell it, has no valley. `"gmm"` does so among mixtures whose every component
            holds enough neurons to estimate its covariance, and takes 1 where no silhouette reaches 0.5. `"hdbscan"`
            finds its own and warns if a number is asked for. `"connectivity"` and `"mixture"` find their own, 1
            included, or merge down to the number.
        feature_space: `"weights"`, `"positions"` or `"combined"`.
        random_seed: Fixes the starts of `"kmeans"` and `"gmm"`, and the sample of the silhouette on large maps; >= 0.
        connections: How rows lie on the neurons; `"connectivity"` needs it.
        rows: Rows themselves, or a sample of them; `"mixture"` needs it.
        **kwargs: Options of the estimator in scikit-learn or hdbscan: for `"kmeans"` n_init, max_iter, tol, algorithm;
            for `"gmm"` covariance_type, tol, reg_covar (in units of the features' mean variance), max_iter, n_init,
            init_params; for `"hdbscan"` min_cluster_size (half the root of m unless given, at least 5), min_samples (1
            unless given: neurons are means of samples already), max_cluster_size, cluster_selection_epsilon,
            cluster_selection_method, cluster_selection_persistence, allow_single_cluster, alpha; for `"mixture"`
            n_components and covariance_type (full, diagonal or spherical, or such as "tied full"), both chosen by BIC
            unless given; none for `"ward"` and `"connectivity"`.

    Returns:
        Labels, centers, metrics and what the method adds.

    Raises:
        ArgumentError: An unknown method, feature space or option, an option's value that the estimator refuses,
            `n_clusters` below 1 or beyond the distinct neurons, or no rows where the method needs them.
        ShapeError: `codebook` is not of shape (m, d) for the grid, or `connections` or `rows` not of its neurons.
        DataError: `codebook` is not finite.
        DataTypeError: `codebook` is not of a float type.

    Example:
        >>> codebook = torch.tensor([[0.0], [0.1], [5.0], [5.1], [5.2]])
        >>> cluster_neurons(codebook, Grid(1, 5))["labels"]
        tensor([1, 1, 2, 2, 2])

    References:
        Vesanto and Alhoniemi, Clustering of the self-organizing map, IEEE Trans. Neural Networks 11(3), 2000.
        Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20, 1987. Schwarz, Estimating the dimension of a model,
        Ann. Statist. 6(2), 1978. Campello, Moulavi and Sander, Density-based clustering based on hierarchical density
        estimates, PAKDD 2013. Murtagh, A survey of algorithms for contiguity-constrained clustering, Comput. J. 28(1),
        1985 (Ward with contiguity).
    """
    chosen = _method(method, kwargs)
    features = features_of(codebook, grid, feature_space)
    if chosen.needs_data and feature_space != "weights":
        raise ArgumentError(f"method={method!r} compares rows: feature_space must be 'weights', got {feature_space!r}")
    if connections is not None and len(connections.rows) != grid.m:
        raise ShapeError(f"connections must be of {grid.m} neurons, got {len(connections.rows)}")
    if rows is not None:
        _require_rows(rows, codebook)
    neurons = neurons_of(
        features,
        torch.finfo(codebook.dtype).eps,
        grid,
        random_seed,
        uniform=feature_space == "positions",
        connections=connections,
        rows=rows if chosen.needs_data else None,
    )
    _require_n_clusters(n_clusters, neurons, feature_space)
    if n_clusters is not None and not chosen.takes_n_clusters:
        warn(f"n_clusters={n_clusters} has no effect: method={method!r} finds the number of clusters itself")
    with one_thread():
        partition = _fit(chosen, method, neurons, n_clusters, kwargs)
        result = _result(partition, features, neurons, codebook, method, feature_space)
    if chosen.takes_n_clusters and n_clusters not in (None, result["n_clusters"]):
        warn(f"n_clusters={n_clusters} was asked for, but only {result['n_clusters']} of them hold neurons")
    return result


def _method(name: str, options: Mapping[str, Any]) -> ClusteringMethod:
    require_choice("method", name, CLUSTERING_METHODS)
    method = CLUSTERING_METHODS[name]
    for option in options:
        if option not in method.options:
            known = ", ".join(method.options) or "none"
            raise ArgumentError(f"method={name!r} takes the options {known}, got {option!r}")
    return method


def _fit(
    method: ClusteringMethod, name: str, neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]
) -> Partition:
    try:
        return method.fit(neurons, n_clusters, options)
    except (ValueError, TypeError, RuntimeError) as error:
        if not options:
            raise  # no fault of the caller's
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ArgumentError(f"method={name!r} cannot use {given}: {error}") from error


def _require_rows(rows: RowSample, codebook: Tensor) -> None:
    m, d = codebook.shape
    if rows.values.shape[1] != d or int(rows.winner.max(initial=-1)) >= m:
        raise ShapeError(
            f"rows must be of {m} neurons and {d} features, got {rows.values.shape[1]} features and neurons up to "
            f"{int(rows.winner.max(initial=-1))}"
        )


def _require_n_clusters(n_clusters: int | None, neurons: Neurons, feature_space: str) -> None:
    if n_clusters is None:
        return
    m = len(neurons.points)
    if not is_whole(n_clusters, least=1):
        raise ArgumentError(f"n_clusters must be None or a whole number of at least 1, got {n_clusters!r}")
    if n_clusters > m:
        raise ArgumentError(f"n_clusters must be at most {m}, the number of neurons, got {n_clusters}")
    if n_clusters > neurons.distinct:
        raise ArgumentError(
            f"n_clusters must be at most {neurons.distinct}, the number of neurons that differ in "
            f"feature_space={feature_space!r}, got {n_clusters}"
        )


def _result(
    partition: Partition, features: FloatArray, neurons: Neurons, codebook: Tensor, method: str, feature_space: str
) -> ClusterResult:
    numbers, order = _numbered(partition.labels)
    labels = torch.from_numpy(numbers)
    if partition.centers is None:
        centers = means_of(features, numbers)
    else:
        centers = features.mean(axis=0) + partition.centers[order]
    result: ClusterResult = {
        "labels": labels.to(codebook.device),
        "centers": torch.from_numpy(centers).to(codebook),
        "n_clusters": len(order),
        "method": method,
        "feature_space": feature_space,
        "metrics": metrics_of(unit_variance(neurons.points), labels, neurons),
        "original_data": torch.from_numpy(features).to(codebook, copy=True),
    }
    if partition.probabilities is not None:
        result["probabilities"] = torch.from_numpy(_renumbered(partition.probabilities, order)).to(codebook)
    if partition.membership is not None:
        result["membership"] = torch.from_numpy(partition.membership[:, order]).to(codebook)
    if partition.outlier_scores is not None:
        result["outlier_scores"] = torch.from_numpy(partition.outlier_scores).to(codebook)
    return {**result, **partition.scores}  # type: ignore[typeddict-item]  # the scores are keys of ClusterResult


def _numbered(labels: IntArray) -> tuple[IntArray, IntArray]:
    """Clusters from 1 by first appearance, noise -1, shape (m,); and the old number of each cluster, shape (k,)."""
    old, first = np.unique(labels[labels >= 0], return_index=True)
    order = old[np.argsort(first)]
    new = np.full(int(labels.max()) + 2, -1, dtype=np.int64)  # the last entry is that of noise
    new[order] = np.arange(1, len(order) + 1)
    return new[labels], order


def _renumbered(probabilities: FloatArray, order: IntArray) -> FloatArray:
    """The columns of the clusters in their new order, rows summing to 1; strengths of membership as they are."""
    if probabilities.ndim == 1:
        return probabilities
    kept: FloatArray = probabilities[:, order] / probabilities[:, order].sum(axis=1, keepdims=True)
    return kept

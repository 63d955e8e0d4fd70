"""What a clustering answers."""

import logging
import math
from typing import NotRequired, TypedDict

from torch import Tensor

logger = logging.getLogger(__name__)


class ClusterMetrics(TypedDict):
    """How good a partition is. A score that is not defined is NaN; the reason is logged at level INFO.

    The first three are over the clustered neurons, in the feature space. They need two clusters, fewer clusters than
    clustered neurons, and at least half of the neurons clustered: the silhouette of the few that are not noise would
    praise a clustering that explains little of the map.

    Attributes:
        silhouette_score: Mean silhouette, in [-1, 1], higher is better; over a fixed random sample of 2 000 neurons
            on larger maps.
        davies_bouldin_score: Mean over the clusters of their worst ratio of spread to separation, >= 0, lower is
            better. Not defined if two clusters share one center.
        calinski_harabasz_score: Variance between over variance within clusters, > 0, higher is better. Not defined
            without variance within.
        n_noise_points: Number of neurons in no cluster.
        noise_ratio: Their share.
        topological_quality: Contiguity on the grid, see `topological_quality`.
    """

    silhouette_score: float
    davies_bouldin_score: float
    calinski_harabasz_score: float
    n_noise_points: int
    noise_ratio: float
    topological_quality: float


class ClusterResult(TypedDict):
    """A partition of the neurons; tensors on the device and in the float type of the codebook.

    Attributes:
        labels: Cluster of each neuron in flat order, int64, shape (m,): from 1 without gaps, numbered by first
            appearance, so that equal partitions get equal labels; noise is -1.
        centers: Row k - 1 is the center of cluster k, in the space of `original_data`, shape (k, f): the means of the
            mixture for `"gmm"`, else the mean of the members.
        n_clusters: The clusters that the labels show.
        method: As asked.
        feature_space: As asked.
        metrics: See `ClusterMetrics`.
        original_data: The features that were clustered: weights first, then row and column position, shape (m, f).
        inertia: `"kmeans"`: sum of squared distances to the centers, in squared units of `original_data`.
        bic: `"gmm"`: Bayesian information criterion, lower is better; NaN where all neurons are equal. Constant
            features are left out of the density.
        aic: `"gmm"`: Akaike's criterion.
        probabilities: `"gmm"`: of each cluster by neuron, shape (m, k), rows sum to 1. `"hdbscan"`: strength of each
            neuron's membership in its cluster, shape (m,), 0 for noise. `"connectivity"`: share of its cluster in the
            density of rows there, shape (m,). `"mixture"`: mean probability of its cluster over its rows, shape (m,).
        n_components: `"mixture"`: Gaussians before they are merged.
        covariance_type: `"mixture"`: the form of their covariances.
        stability: Where it was measured: of each cluster by number, shape (k,); see `cluster_stability`.
        membership: `"hdbscan"`: probability of each cluster by neuron, noise too, shape (m, k), rows sum to at most 1.
        outlier_scores: `"hdbscan"`: how far each neuron lies from dense regions, in [0, 1], shape (m,).
        relative_validity: `"hdbscan"`: density within clusters against that between them, in [-1, 1], higher is better,
            to compare settings on one map; NaN below two clusters.
    """

    labels: Tensor
    centers: Tensor
    n_clusters: int
    method: str
    feature_space: str
    metrics: ClusterMetrics
    original_data: Tensor
    inertia: NotRequired[float]
    bic: NotRequired[float]
    aic: NotRequired[float]
    probabilities: NotRequired[Tensor]
    n_components: NotRequired[int]
    covariance_type: NotRequired[str]
    stability: NotRequired[Tensor]
    membership: NotRequired[Tensor]
    outlier_scores: NotRequired[Tensor]
    relative_validity: NotRequired[float]


def undefined_score(score: str, reason: str) -> float:
    """NaN, with the reason in the log."""
    logger.info("%s not defined: %s", score, reason)
    return math.nan

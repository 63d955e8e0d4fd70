"""How well clusters stand apart: silhouette, Davies-Bouldin and Calinski-Harabasz score."""

import logging

import numpy as np
import torch
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils.clustering.contiguity import topological_quality
from somlib.utils.clustering.neurons import (
    RESOLUTION,
    FloatArray,
    IntArray,
    Neurons,
    checked,
    means_of,
    on_lattice,
    unit_variance,
)
from somlib.utils.clustering.result import ClusterMetrics, undefined_score

logger = logging.getLogger(__name__)

SILHOUETTE_NEURONS = 2_000  # its cost is quadratic: 0.07 s for these on one core, 1.3 s for a choice of k
LEAST_CLUSTERED = 0.5  # share of neurons below which scores of the clustered ones say nothing of the map
WORKING_MEMORY_MB = 64


def silhouette_values(features: Tensor, labels: Tensor) -> Tensor:
    """The silhouette of every neuron: (b - a) / max(a, b).

    `a` is the mean distance to the rest of its cluster, `b` the smallest mean distance to another cluster. A neuron
    alone in its cluster has 0 (Rousseeuw 1987).

    Args:
        features: Features of the neurons, finite, shape (m, f).
        labels: Cluster of each neuron, negative for noise, shape (m,).

    Returns:
        Silhouettes in [-1, 1], device and dtype of `features`, shape (m,). NaN for noise, and everywhere where there
        is one cluster or each clustered neuron is its own.

    Raises:
        ShapeError: `features` is not of shape (m, f), or `labels` not (m,).
        DataError: `features` is not finite.
        DataTypeError: `features` is not of a float type.
    """
    values, numbers = checked(features, "features"), labels.detach().cpu().numpy()
    if numbers.shape != (len(values),):
        raise ShapeError(f"labels must have shape ({len(values)},), one a neuron, got {tuple(numbers.shape)}")
    clustered = numbers >= 0
    silhouettes = np.full(len(values), np.nan)
    reason = incomparable(numbers[clustered])
    if reason:
        logger.info("silhouettes are not defined: %s", reason)
    else:
        points = unit_variance(on_lattice(values, torch.finfo(features.dtype).eps))
        silhouettes[clustered] = _silhouettes(points[clustered], numbers[clustered])
    return torch.from_numpy(silhouettes).to(features)


def metrics_of(unit: FloatArray, labels: Tensor, neurons: Neurons) -> ClusterMetrics:
    """All scores of labels (m,) from 1, noise -1, by points of variance 1, shape (m, f)."""
    numbers = labels.numpy()
    clustered = numbers > 0
    noise = int((~clustered).sum())
    silhouette, davies_bouldin, calinski_harabasz = _separation(unit, numbers, neurons.seed)
    return {
        "silhouette_score": silhouette,
        "davies_bouldin_score": davies_bouldin,
        "calinski_harabasz_score": calinski_harabasz,
        "n_noise_points": noise,
        "noise_ratio": noise / len(numbers),
        "topological_quality": topological_quality(labels, neurons.grid),
    }


def _separation(unit: FloatArray, labels: IntArray, seed: int) -> tuple[float, float, float]:
    """Silhouette, Davies-Bouldin and Calinski-Harabasz score of the clustered neurons."""
    clustered = labels > 0
    reason = incomparable(labels[clustered])
    if not reason and clustered.mean() < LEAST_CLUSTERED:
        reason = f"only {clustered.sum()} of {len(labels)} neurons are in a cluster"
    if reason:
        undefined = undefined_score("silhouette, Davies-Bouldin and Calinski-Harabasz score", reason)
        return undefined, undefined, undefined
    points, labels = unit[clustered], labels[clustered]
    return mean_silhouette(points, labels, seed), _davies_bouldin(points, labels), _calinski_harabasz(points, labels)


def incomparable(labels: IntArray) -> str:
    """Why the labels of the clustered neurons allow no comparison of clusters; empty if they do."""
    k = len(np.unique(labels))
    if k == 0:
        return "all neurons are noise"
    if k == 1:
        return "there is only one cluster"
    return "every neuron is a cluster of its own" if k == len(labels) else ""


def _davies_bouldin(points: FloatArray, labels: IntArray) -> float:
    from sklearn.metrics import davies_bouldin_score  # slow to import, and no map needs it to train

    centers = np.round(means_of(points, labels) / RESOLUTION)
    if len(np.unique(centers, axis=0)) < len(centers):
        return undefined_score("Davies-Bouldin score", "two clusters share one center")
    return float(davies_bouldin_score(points, labels))


def _calinski_harabasz(points: FloatArray, labels: IntArray) -> float:
    from sklearn.metrics import calinski_harabasz_score

    within = np.square(points - means_of(points, labels)[labels - 1]).mean()
    if within < RESOLUTION**2:
        return undefined_score("Calinski-Harabasz score", "the neurons of each cluster are all equal")
    return float(calinski_harabasz_score(points, labels))


def mean_silhouette(points: FloatArray, labels: IntArray, seed: int) -> float:
    """The mean silhouette, of a fixed sample where there are many points; NaN where it is not defined."""
    if len(points) > SILHOUETTE_NEURONS:
        rows = np.random.default_rng(seed).choice(len(points), SILHOUETTE_NEURONS, replace=False)
        points, labels = points[rows], labels[rows]
    reason = incomparable(labels)  # a sample may miss a small cluster
    return undefined_score("silhouette score", reason) if reason else float(_silhouettes(points, labels).mean())


def _silhouettes(points: FloatArray, labels: IntArray) -> FloatArray:
    import sklearn
    from sklearn.metrics import silhouette_samples

    with sklearn.config_context(working_memory=WORKING_MEMORY_MB):
        silhouettes: FloatArray = silhouette_samples(points, labels)
    return silhouettes

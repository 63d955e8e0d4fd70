"""Dense regions of neurons, by the package `hdbscan`: with soft membership, outlier scores and relative validity."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from somlib.utils.clustering.choosing import one_group
from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one
from somlib.utils.clustering.neurons import FloatArray, Neurons, unit_variance
from somlib.utils.clustering.result import undefined_score

logger = logging.getLogger(__name__)

# The tree is exact and made on one thread, so that two machines cut the same one.
FIXED = {"approx_min_span_tree": False, "gen_min_span_tree": True, "prediction_data": True, "core_dist_n_jobs": 1}


def _hdbscan(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    m = len(neurons.points)
    if neurons.distinct == 1:
        return Partition(all_in_one(neurons), probabilities=np.ones(m))
    import hdbscan  # slow to import, and no map needs it to train

    defaults = {"min_cluster_size": max(5, math.isqrt(m) // 2), "min_samples": 1}
    settings = {**defaults, **{name: value for name, value in options.items() if value is not None}}
    points = unit_variance(neurons.points)
    model = hdbscan.HDBSCAN(**settings, **FIXED).fit(points)
    if model.labels_.max() > 0 and "allow_single_cluster" not in settings and one_group(neurons):
        model = hdbscan.HDBSCAN(**settings, allow_single_cluster=True, **FIXED).fit(points)
    labels = model.labels_.astype(np.int64)
    if neurons.uniform and labels.max() > 0:
        logger.info("no dense regions: cells are equally dense, and only rounding tells their distances apart")
        return Partition(np.full(m, -1), probabilities=np.zeros(m))
    return Partition(
        labels,
        probabilities=model.probabilities_,
        scores={"relative_validity": _validity(model, int(labels.max()) + 1)},
        membership=_membership(model, m, int(labels.max()) + 1),
        outlier_scores=np.nan_to_num(model.outlier_scores_, nan=0.0).clip(0, 1),
    )


def _membership(model: Any, m: int, count: int) -> FloatArray:
    """Probability of each cluster by neuron, shape (m, count), rows summing to at most 1."""
    if count < 2:  # the package measures membership between clusters
        return model.probabilities_.reshape(m, 1) if count else np.empty((m, 0))
    import hdbscan

    with np.errstate(divide="ignore", invalid="ignore"):
        vectors: FloatArray = hdbscan.all_points_membership_vectors(model)
    return np.nan_to_num(vectors, nan=0.0)


def _validity(model: Any, count: int) -> float:
    if count < 2:
        return undefined_score("relative validity", "it compares clusters, and there are fewer than two")
    return float(model.relative_validity_)


HDBSCAN = ClusteringMethod(
    _hdbscan,
    "HDBSCAN",
    (
        "min_cluster_size",
        "min_samples",
        "max_cluster_size",
        "cluster_selection_epsilon",
        "cluster_selection_method",
        "cluster_selection_persistence",
        "allow_single_cluster",
        "alpha",
    ),
    takes_n_clusters=False,
    finds_number=True,
)

"""Dense regions of neurons."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one
from somlib.utils.clustering.neurons import Neurons

logger = logging.getLogger(__name__)


def _hdbscan(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    import sklearn.cluster  # slow to import, and no map needs it to train

    m = len(neurons.points)
    if neurons.distinct == 1:
        return Partition(all_in_one(neurons), probabilities=np.ones(m))
    defaults = {"min_cluster_size": max(5, math.isqrt(m) // 2), "min_samples": 2}
    model = sklearn.cluster.HDBSCAN(copy=True, **{**defaults, **options}).fit(neurons.points)
    if neurons.uniform and model.labels_.max() > 0:
        logger.info("no dense regions: cells are equally dense, and only rounding tells their distances apart")
        return Partition(np.full(m, -1), probabilities=np.zeros(m))
    return Partition(model.labels_.astype(np.int64), probabilities=model.probabilities_)


HDBSCAN = ClusteringMethod(
    _hdbscan,
    (
        "min_cluster_size",
        "min_samples",
        "max_cluster_size",
        "cluster_selection_epsilon",
        "cluster_selection_method",
        "allow_single_cluster",
        "alpha",
    ),
    takes_n_clusters=False,
)

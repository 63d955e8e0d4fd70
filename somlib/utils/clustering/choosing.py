"""The number of clusters by silhouette."""

import logging
from collections.abc import Callable

import numpy as np

from somlib.utils.clustering.method import Partition
from somlib.utils.clustering.neurons import Neurons, unit_variance
from somlib.utils.clustering.scores import mean_silhouette

logger = logging.getLogger(__name__)


def best_silhouette(neurons: Neurons, partition: Callable[[int], Partition]) -> Partition:
    """The partition of the largest mean silhouette from 2 clusters up, the smallest k of equals; 1 if all are equal."""
    if neurons.distinct == 1:
        return partition(1)
    candidates = [partition(k) for k in range(2, neurons.most_clusters + 1)]
    unit = unit_variance(neurons.points)
    scores = [mean_silhouette(unit, candidate.labels, neurons.seed) for candidate in candidates]
    best = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
    logger.info("chose %d of 2..%d clusters, silhouette %.3f", best + 2, neurons.most_clusters, scores[best])
    return candidates[best]

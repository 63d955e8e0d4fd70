"""The number of clusters by silhouette, and whether rows form one group.

The largest silhouette always parts a map in two at least. So one cluster is the answer where no silhouette shows any
structure and the density of rows no valley. On the 36 sets of TUNING in benchmarks/cluster_sets.py, two maps each, that
holds for all 26 maps of one group, and for 5 of the 46 others: shells, touching disks and stretched groups, of which
the largest silhouette had parted only the last rightly.
"""

import logging
from collections.abc import Callable

import numpy as np

from somlib.utils.clustering.connectivity import CONNECTIVITY
from somlib.utils.clustering.method import Partition
from somlib.utils.clustering.neurons import Neurons, unit_variance
from somlib.utils.clustering.scores import mean_silhouette

logger = logging.getLogger(__name__)

STRUCTURE = 0.5  # mean silhouette from which there is "a reasonable structure" (Kaufman and Rousseeuw 1990, ch. 2)


def best_silhouette(neurons: Neurons, partition: Callable[[int], Partition]) -> Partition:
    """The partition of the largest mean silhouette from 2 clusters up, the smallest k of equals.

    One cluster if all neurons are equal, or if no silhouette shows structure and rows form one group.
    """
    if neurons.distinct == 1:
        return partition(1)
    candidates = [partition(k) for k in range(2, neurons.most_clusters + 1)]
    unit = unit_variance(neurons.points)
    scores = [mean_silhouette(unit, candidate.labels, neurons.seed) for candidate in candidates]
    best = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
    if not scores[best] >= STRUCTURE and one_group(neurons):
        logger.info("chose 1: silhouette %.3f, and the density of rows has no valley", scores[best])
        return partition(1)
    logger.info("chose %d of 2..%d clusters, silhouette %.3f", best + 2, neurons.most_clusters, scores[best])
    return candidates[best]


def one_group(neurons: Neurons) -> bool:
    """Whether the density of rows is known and has no valley, see `connectivity.py`."""
    connections = neurons.connections
    if connections is None or neurons.uniform or not bool((connections.rows > 0).any()):
        return False
    return int(CONNECTIVITY.fit(neurons, None, {}).labels.max()) == 0

"""What every method of clustering is: a function from neurons to a partition, and its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from somlib.utils.clustering.neurons import FloatArray, IntArray, Neurons


@dataclass(frozen=True)
class Partition:
    """What a method answers, in its own numbering of clusters from 0.

    Attributes:
        labels: Cluster of each neuron, -1 for noise, shape (m,); numbers may be missing.
        centers: Row c for cluster c, around the mean of the features; None for the mean of the members.
        probabilities: By neuron, shape (m,), or by neuron and cluster, one column for each row of `centers`.
        scores: Further entries of the result.
        membership: Of each cluster by neuron where a neuron may belong to several, one column a cluster, shape (m, k).
        outlier_scores: Of each neuron, shape (m,).
    """

    labels: IntArray
    centers: FloatArray | None = None
    probabilities: FloatArray | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    membership: FloatArray | None = None
    outlier_scores: FloatArray | None = None


@dataclass(frozen=True)
class ClusteringMethod:
    """A way to cluster.

    Attributes:
        fit: From neurons, the number of clusters (None: the method chooses) and options to a partition.
        title: What it is called in figures and reports.
        options: Names of the options, which are those of the scikit-learn estimator where there is one.
        takes_n_clusters: Whether the number of clusters can be asked for.
        finds_number: Whether it finds the number of clusters by itself rather than by trying several.
        needs_rows: Whether it asks how rows lie on the neurons.
        needs_data: Whether it asks for rows themselves.
    """

    fit: Callable[[Neurons, int | None, Mapping[str, Any]], Partition]
    title: str
    options: tuple[str, ...] = ()
    takes_n_clusters: bool = True
    finds_number: bool = False
    needs_rows: bool = False
    needs_data: bool = False


def starts(m: int, most: int, together: int) -> int:
    """How often a method starts on m neurons: less often on a large map, which leaves less to chance."""
    return max(1, min(most, together // m))


def all_in_one(neurons: Neurons) -> IntArray:
    """Labels of one cluster of all neurons, shape (m,)."""
    return np.zeros(len(neurons.points), np.int64)


def one_thread() -> threadpool_limits:
    """Keeps sums in one order, and small matrices from waiting for threads.

    K-Means adds up the partial sums of its threads in the order in which they end: with 8 threads and 5 000 neurons,
    30 equal fits of scikit-learn 1.9 gave 29 different sets of centers.
    """
    return threadpool_limits(limits=1)

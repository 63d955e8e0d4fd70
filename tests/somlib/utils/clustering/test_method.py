"""What holds for every method."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from threadpoolctl import (
    threadpool_info,  # type: ignore[import-untyped]  # ships no types
    threadpool_limits,  # type: ignore[import-untyped]  # ships no types
)

from somlib.utils.clustering import CLUSTERING_METHODS, ClusteringMethod, Neurons, Partition, cluster_neurons
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.cases import normal


def test_methods_run_on_one_thread_since_the_order_of_threads_changes_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def fit(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return Partition(np.zeros(len(neurons.points), np.int64))

    monkeypatch.setitem(CLUSTERING_METHODS, "kmeans", ClusteringMethod(fit, "of a test"))
    with threadpool_limits(4):
        cluster_neurons(normal(4, 2), Grid(2, 2))
        assert all(pool["num_threads"] > 1 for pool in threadpool_info() if pool["user_api"] == "openmp")
    assert set(seen) == {1}

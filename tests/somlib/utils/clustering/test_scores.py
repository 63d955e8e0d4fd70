"""Scores against their definitions as plain loops."""

import itertools
import logging
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils.clustering import (
    FEATURE_SPACES,
    SILHOUETTE_NEURONS,
    cluster_neurons,
    silhouette_values,
    topological_quality,
)
from somlib.utils.grid import Grid
from tests.somlib.oracle import Lattice
from tests.somlib.utils.clustering.cases import (
    METHODS,
    TIGHT,
    Array,
    blobs,
    contiguity_by_definition,
    normal,
    silhouettes_by_definition,
)

SCORES = ["silhouette_score", "davies_bouldin_score", "calinski_harabasz_score"]
# Two tight groups of six, and neurons each 1.45 times as far out as the one before.
MOSTLY_NOISE = torch.cat([TIGHT, 2 + TIGHT, 20 * 1.45 ** torch.arange(24).double()])[:, None]


def davies_bouldin_by_definition(points: Array, labels: Sequence[int]) -> float:
    members = [points[np.array(labels) == cluster] for cluster in sorted(set(labels))]
    centers = [group.mean(axis=0) for group in members]
    spread = [np.mean([math.dist(p, c) for p in group]) for group, c in zip(members, centers, strict=True)]
    k = len(members)
    worst = [
        max((spread[i] + spread[j]) / math.dist(centers[i], centers[j]) for j in range(k) if j != i) for i in range(k)
    ]
    return float(np.mean(worst))


def calinski_harabasz_by_definition(points: Array, labels: Sequence[int]) -> float:
    overall, between, within = points.mean(axis=0), 0.0, 0.0
    for cluster in set(labels):
        group = points[np.array(labels) == cluster]
        between += len(group) * math.dist(group.mean(axis=0), overall) ** 2
        within += sum(math.dist(p, group.mean(axis=0)) ** 2 for p in group)
    k = len(set(labels))
    return (between / (k - 1)) / (within / (len(points) - k))


@pytest.mark.parametrize(
    ("method", "feature_space"),
    # HDBSCAN finds no clusters in positions, which are uniform.
    [pair for pair in itertools.product(METHODS, FEATURE_SPACES) if pair != ("hdbscan", "positions")],
)
def test_scores_match_their_definitions(method: str, feature_space: str) -> None:
    codebook, _ = blobs([12, 12, 9])
    noise = torch.tensor([[200.0, 0.0], [0.0, 200.0], [-200.0, 0.0]]).double()
    k = None if method == "hdbscan" else 4
    result = cluster_neurons(torch.cat([codebook, noise]), Grid(6, 6), method, k, feature_space)
    clustered = (result["labels"] > 0).numpy()
    points, labels = result["original_data"].numpy()[clustered], result["labels"][clustered].tolist()
    assert result["n_clusters"] > 1
    metrics = result["metrics"]
    assert metrics["silhouette_score"] == pytest.approx(np.mean(silhouettes_by_definition(points, labels)), rel=1e-6)
    assert metrics["davies_bouldin_score"] == pytest.approx(davies_bouldin_by_definition(points, labels), rel=1e-5)
    assert metrics["calinski_harabasz_score"] == pytest.approx(
        calinski_harabasz_by_definition(points, labels), rel=1e-5
    )
    assert metrics["n_noise_points"] == 36 - len(labels)
    assert metrics["noise_ratio"] == pytest.approx(1 - len(labels) / 36)
    lattice = Lattice(6, 6, False, False)
    assert metrics["topological_quality"] == pytest.approx(contiguity_by_definition(lattice, result["labels"].tolist()))


def test_metrics_are_the_six_of_the_contract() -> None:
    metrics = cluster_neurons(normal(9, 2), Grid(3, 3))["metrics"]
    assert list(metrics) == [*SCORES, "n_noise_points", "noise_ratio", "topological_quality"]


@pytest.mark.parametrize(
    ("codebook", "method", "n_clusters", "reason"),
    [
        (normal(9, 2), "kmeans", 1, "there is only one cluster"),
        (normal(9, 2), "kmeans", 9, "every neuron is a cluster of its own"),
        (torch.tensor([[0.0], [1.0], [5.0]]), "hdbscan", None, "all neurons are noise"),
        (MOSTLY_NOISE, "hdbscan", None, "only 12 of 36 neurons are in a cluster"),
    ],
)
def test_scores_that_are_not_defined_are_nan_with_the_reason_logged(
    codebook: Tensor, method: str, n_clusters: int | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        metrics = cluster_neurons(codebook, Grid(1, len(codebook)), method, n_clusters=n_clusters)["metrics"]
    assert all(math.isnan(metrics[score]) for score in SCORES)  # type: ignore[literal-required]  # keys of the metrics
    assert f"silhouette, Davies-Bouldin and Calinski-Harabasz score not defined: {reason}" in caplog.messages


def test_clusters_without_any_spread_have_no_calinski_harabasz_score(caplog: pytest.LogCaptureFixture) -> None:
    codebook = torch.tensor([[0.1], [0.1], [0.7], [0.7]])
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        metrics = cluster_neurons(codebook, Grid(2, 2), n_clusters=2)["metrics"]
    assert metrics["silhouette_score"] == pytest.approx(1)
    assert metrics["davies_bouldin_score"] == pytest.approx(0, abs=1e-12)
    assert math.isnan(metrics["calinski_harabasz_score"])
    assert "Calinski-Harabasz score not defined: the neurons of each cluster are all equal" in caplog.messages


def test_clusters_of_one_center_have_no_davies_bouldin_score(caplog: pytest.LogCaptureFixture) -> None:
    """A ring around a core: the ratio of spread to separation has no bound."""
    angle = torch.arange(40).double() * math.pi / 20
    ring = 10 * torch.stack((angle.cos(), angle.sin()), dim=1)
    core = 0.1 * torch.cat([ring[::4], -ring[::4]])
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        result = cluster_neurons(torch.cat([ring, core]), Grid(6, 10), "hdbscan")
    assert result["n_clusters"] == 2
    assert math.isnan(result["metrics"]["davies_bouldin_score"])
    assert not math.isnan(result["metrics"]["silhouette_score"])
    assert "Davies-Bouldin score not defined: two clusters share one center" in caplog.messages


def test_the_silhouette_of_a_large_map_is_that_of_a_sample_within_its_error() -> None:
    m = SILHOUETTE_NEURONS + 1_000
    codebook = normal(m, 1, seed=1) + 6 * (torch.arange(m)[:, None] % 2)
    result = cluster_neurons(codebook, Grid(100, m // 100), n_clusters=2)
    every = silhouette_values(codebook, result["labels"]).mean().item()
    assert result["metrics"]["silhouette_score"] == pytest.approx(every, abs=0.01)
    assert abs(result["metrics"]["silhouette_score"] - every) > 1e-9  # a sample indeed


def test_silhouettes_match_their_definition_and_leave_noise_out() -> None:
    features, labels = normal(20, 3), [1, 2, 3, -1] * 4 + [4, 2, 2, 1]
    expected = iter(silhouettes_by_definition(features.numpy()[np.array(labels) > 0], [v for v in labels if v > 0]))
    values = silhouette_values(features, torch.tensor(labels)).tolist()
    for label, value in zip(labels, values, strict=True):
        if label == -1:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(next(expected), abs=1e-6)


def test_silhouettes_of_one_cluster_are_nan_with_the_reason_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        assert silhouette_values(normal(4, 2), torch.tensor([1, 1, -1, 1])).isnan().all()
    assert "silhouettes are not defined: there is only one cluster" in caplog.messages


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"labels must have shape \(6,\) on a 2 x 3 grid, got \(5,\)"):
        topological_quality(torch.ones(5, dtype=torch.int64), Grid(2, 3))
    with pytest.raises(ShapeError, match=r"labels must have shape \(6,\), one a neuron, got \(5,\)"):
        silhouette_values(normal(6, 2), torch.ones(5, dtype=torch.int64))

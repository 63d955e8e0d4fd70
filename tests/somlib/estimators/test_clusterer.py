"""Clusters of samples by way of neurons, against known groups, K-Means, and numbering by hand."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.errors import ArgumentError
from somlib.estimators import SOMClusterer
from somlib.estimators.clusterer import numbered_from_zero

BLOBS, GROUPS = make_blobs(200, centers=[[0, 0], [10, 0], [0, 10], [10, 10]], random_state=0)


@pytest.mark.parametrize("method", ["kmeans", "gmm", "ward", "hdbscan", "connectivity", "mixture"])
def test_groups_that_lie_apart_are_found(method: str) -> None:
    estimator = SOMClusterer(method=method)
    assert adjusted_rand_score(GROUPS, estimator.fit_predict(BLOBS)) > 0.95
    assert sorted(set(estimator.labels_.tolist()) - {-1}) == [0, 1, 2, 3]


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_clusters_agree_with_the_classes_about_as_well_as_those_of_kmeans(load: Any) -> None:
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    witness = adjusted_rand_score(y, KMeans(3, n_init=10, random_state=0).fit_predict(X))
    assert adjusted_rand_score(y, SOMClusterer(n_clusters=3).fit_predict(X)) > witness - 0.15


@pytest.mark.parametrize("method", ["kmeans", "hdbscan"])
def test_every_sample_has_the_label_of_its_nearest_neuron(method: str) -> None:
    estimator = SOMClusterer(method=method, epochs=5).fit(BLOBS)
    nearest = cdist(BLOBS, estimator.som_.codebook.numpy()).argmin(axis=1)
    np.testing.assert_array_equal(estimator.labels_, estimator.neuron_labels_.ravel()[nearest])
    np.testing.assert_array_equal(estimator.predict(BLOBS[::-1]), estimator.labels_[::-1])
    assert estimator.neuron_labels_.shape == (estimator.som_.x, estimator.som_.y)


def test_neurons_are_in_the_clusters_that_the_map_finds() -> None:
    estimator = SOMClusterer(n_clusters=5, feature_space="combined", epochs=5).fit(BLOBS)
    found = estimator.som_.cluster("kmeans", 5, "combined")["labels"].numpy()
    assert adjusted_rand_score(found, estimator.neuron_labels_.ravel()) == 1.0
    assert estimator.n_clusters_ == 5


@pytest.mark.parametrize(
    ("labels", "winner", "expected"),
    [
        ([1, 2, 3], [0, 1, 2], [0, 1, 2]),
        ([1, 2, 3], [2, 0, 0], [0, 2, 1]),  # cluster 2 holds nothing and comes last
        ([1, -1, 2, 1], [1, 2], [1, -1, 0, 1]),
        ([-1, -1], [0], [-1, -1]),
    ],
)
def test_clusters_are_numbered_from_zero_those_with_samples_first(
    labels: list[int], winner: list[int], expected: list[int]
) -> None:
    assert numbered_from_zero(np.array(labels), np.array(winner)).tolist() == expected


def test_samples_without_a_nearest_neuron_are_noise() -> None:
    X = BLOBS.copy()
    X[3] = np.nan
    estimator = SOMClusterer(n_clusters=4, missing="mask", epochs=5).fit(X)
    assert np.flatnonzero(estimator.labels_ == -1).tolist() == [3]


def test_options_reach_the_method() -> None:
    few: Mapping[str, Any] = {"min_cluster_size": 30}
    assert SOMClusterer(method="hdbscan", method_options=few).fit(BLOBS).n_clusters_ <= 1
    with pytest.raises(ArgumentError, match="takes the options"):
        SOMClusterer(method="kmeans", method_options=few).fit(BLOBS)


def test_an_unknown_method_leaves_the_estimator_unfitted() -> None:
    estimator = SOMClusterer(method="dbscan")
    with pytest.raises(ArgumentError, match="method must be one of"):
        estimator.fit(BLOBS)
    assert not hasattr(estimator, "som_")


def test_the_method_that_asks_for_rows_works_in_a_pipeline_and_knows_copies_by_their_weight() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(300) % 3
    X = np.array([[0, 0, 0], [900, 0, 1], [0, 900, 2]])[group] * [1, 1, 0.01] + rng.normal(size=(300, 3)) * [90, 90, 0]
    model = make_pipeline(StandardScaler(), SOMClusterer(method="connectivity"))
    found = model.fit(X).predict(X)
    assert len({*zip(group.tolist(), found.tolist(), strict=True)}) == 3
    weight = rng.integers(0, 3, 300)
    weighted = SOMClusterer(method="connectivity", x=8, y=8).fit(X, sample_weight=weight)
    copied = SOMClusterer(method="connectivity", x=8, y=8).fit(np.repeat(X, weight, axis=0))
    assert (weighted.predict(X) == copied.predict(X)).all()

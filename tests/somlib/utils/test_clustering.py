"""Clusters of neurons and their scores, against definitions as loops, scikit-learn, scipy and exhaustive search."""

import itertools
import logging
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.stats import multivariate_normal
from sklearn.cluster import HDBSCAN, AgglomerativeClustering
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from somlib import SOM
from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError, SomlibWarning
from somlib.utils.clustering import (
    CLUSTERING_METHODS,
    FEATURE_SPACES,
    MOST_CLUSTERS,
    SILHOUETTE_NEURONS,
    ClusteringMethod,
    Neurons,
    Partition,
    cluster_neurons,
    kmeans_inertias,
    neuron_features,
    silhouette_values,
    topological_quality,
)
from somlib.utils.grid import Grid
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, SMALL, Lattice

METHODS = list(CLUSTERING_METHODS)
COUNTED = ["kmeans", "gmm", "ward"]
SCORES = ["silhouette_score", "davies_bouldin_score", "calinski_harabasz_score"]
SEPARATE = [[-20.0, 0.0], [20.0, 0.0], [0.0, 30.0], [0.0, -30.0], [45.0, 45.0]]
TIGHT = torch.arange(6).double() / 10
# Two tight groups of six, and neurons each 1.45 times as far out as the one before.
MOSTLY_NOISE = torch.cat([TIGHT, 2 + TIGHT, 20 * 1.45 ** torch.arange(24).double()])[:, None]
Array = NDArray[np.float64]


def normal(m: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(sizes: Sequence[int], seed: int = 0) -> tuple[Tensor, list[int]]:
    """Round, well separated groups in flat order, and the group of each neuron from 1."""
    data, group = make_blobs(list(sizes), centers=np.array(SEPARATE[: len(sizes)]), shuffle=False, random_state=seed)
    return torch.from_numpy(data), (group + 1).tolist()


def silhouettes_by_definition(points: Array, labels: Sequence[int]) -> list[float]:
    values = []
    for i in range(len(points)):
        mean = {
            cluster: np.mean(
                [math.dist(points[i], points[j]) for j in range(len(points)) if labels[j] == cluster and j != i]
            )
            for cluster in set(labels)
            if any(labels[j] == cluster and j != i for j in range(len(points)))
        }
        if labels[i] not in mean:
            values.append(0.0)
            continue
        a, b = mean[labels[i]], min(value for cluster, value in mean.items() if cluster != labels[i])
        values.append(float((b - a) / max(a, b)))
    return values


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


def contiguity_by_definition(lattice: Lattice, labels: Sequence[int]) -> float:
    """Walk through each cluster from every neuron; the largest piece counts."""
    largest: dict[int, int] = {}
    for start, cluster in enumerate(labels):
        seen, stack = {start}, [start]
        while stack:
            for there in oracle.neighbors(lattice)[stack.pop()] - seen:
                if labels[there] == cluster:
                    seen.add(there)
                    stack.append(there)
        largest[cluster] = max(largest.get(cluster, 0), len(seen))
    return sum(size for cluster, size in largest.items() if cluster > 0) / sum(cluster > 0 for cluster in labels)


# ---- features


def test_weights_are_clustered_as_they_are_and_positions_as_the_grid_has_them() -> None:
    grid, codebook = Grid(3, 4, "hexagonal"), normal(12, 2)
    assert torch.equal(neuron_features(codebook, grid, "weights"), codebook)
    assert torch.equal(neuron_features(codebook, grid, "positions"), grid.positions)


def test_combined_joins_weights_then_row_then_column_each_block_of_the_same_total_variance() -> None:
    grid, codebook = Grid(4, 6), 1000 + 250 * normal(24, 3)
    combined = neuron_features(codebook, grid, "combined")
    assert combined.shape == (24, 5)
    variances = combined.var(dim=0, correction=0)
    assert variances[:3].sum() == pytest.approx(1)
    assert variances[3:].sum() == pytest.approx(1)
    torch.testing.assert_close(combined[:, :3], codebook * (combined[0, 0] / codebook[0, 0]))  # one factor a block
    torch.testing.assert_close(combined[:, 3:], grid.positions * combined[1, 4])


def test_a_block_without_variance_joins_unscaled() -> None:
    equal = torch.full((6, 2), 0.1)
    combined = neuron_features(equal, Grid(2, 3), "combined")
    torch.testing.assert_close(combined[:, :2], equal)
    assert combined[:, 2:].var(dim=0, correction=0).sum().item() == pytest.approx(1)
    assert neuron_features(torch.tensor([[5.0]]), Grid(1, 1), "combined").tolist() == [[5.0, 0.0, 0.0]]


# ---- the methods


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmeans_finds_the_partition_that_an_exhaustive_search_finds(k: int) -> None:
    codebook = normal(8, 2, seed=3)
    points = codebook.numpy()

    def inertia(labels: Sequence[int]) -> float:
        groups = [points[np.array(labels) == cluster] for cluster in range(k)]
        return sum(float(np.square(group - group.mean(axis=0)).sum()) for group in groups)

    best = min(inertia(labels) for labels in itertools.product(range(k), repeat=8) if len(set(labels)) == k)
    result = cluster_neurons(codebook, Grid(2, 4), "kmeans", n_clusters=k)
    assert result["inertia"] == pytest.approx(best, rel=1e-5, abs=1e-9)
    assert inertia([label - 1 for label in result["labels"].tolist()]) == pytest.approx(best)


def test_kmeans_ends_with_every_neuron_nearest_to_its_center_and_every_center_the_mean_of_its_members() -> None:
    codebook = normal(400, 3)
    result = cluster_neurons(codebook, Grid(20, 20), n_clusters=7)
    squares = ((codebook[:, None] - result["centers"]) ** 2).sum(dim=2)
    assert torch.equal(squares.argmin(dim=1) + 1, result["labels"])
    assert result["inertia"] == pytest.approx(squares.min(dim=1).values.sum().item(), rel=1e-6)


@pytest.mark.parametrize("k", [1, 2, 5, 20])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_ward_agrees_with_scikit_learn_under_the_grids_own_connectivity(lattice: Lattice, k: int) -> None:
    codebook = normal(lattice.m, 3, seed=lattice.x)
    pairs = [(a, b) for a, found in enumerate(oracle.neighbors(lattice)) for b in found]
    ones, (rows, columns) = np.ones(len(pairs)), zip(*pairs, strict=True)
    connectivity = coo_array((ones, (rows, columns)), shape=(lattice.m, lattice.m)).tocsr()
    model = AgglomerativeClustering(k, linkage="ward", connectivity=connectivity)
    expected = model.fit_predict(codebook.numpy())
    result = cluster_neurons(codebook, Grid(**lattice.arguments), "ward", n_clusters=k)
    assert adjusted_rand_score(expected, result["labels"].numpy()) == 1
    assert contiguity_by_definition(lattice, result["labels"].tolist()) == 1


@pytest.mark.parametrize("options", [{}, {"min_cluster_size": 8}, {"cluster_selection_method": "leaf"}])
def test_hdbscan_agrees_with_scikit_learn(options: dict[str, Any]) -> None:
    codebook = torch.cat([blobs([40, 40, 15])[0], 60 * normal(5, 2)])
    model = HDBSCAN(**{"min_cluster_size": 5, "min_samples": 2, **options}, copy=True).fit(codebook.numpy())
    result = cluster_neurons(codebook, Grid(10, 10), "hdbscan", **options)
    labels = result["labels"].numpy()
    assert 0 < (model.labels_ < 0).sum() < 50
    assert ((labels < 0) == (model.labels_ < 0)).all()
    assert adjusted_rand_score(model.labels_, labels) == 1
    np.testing.assert_allclose(result["probabilities"].numpy(), model.probabilities_, rtol=1e-3)


def test_gmm_agrees_with_scikit_learn_where_its_regularization_does_not_matter() -> None:
    codebook, _ = blobs([30, 30, 21])
    model = GaussianMixture(3, random_state=0).fit(codebook.numpy())
    result = cluster_neurons(codebook, Grid(9, 9), "gmm", n_clusters=3)
    assert adjusted_rand_score(model.predict(codebook.numpy()), result["labels"].numpy()) == 1
    order = [model.predict(codebook[[row]].numpy())[0] for row in (0, 30, 60)]
    np.testing.assert_allclose(result["centers"].numpy(), model.means_[order], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(result["probabilities"].numpy(), model.predict_proba(codebook)[:, order], atol=1e-3)
    assert result["bic"] == pytest.approx(model.bic(codebook.numpy()), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_bic_and_aic_of_one_gaussian_are_those_of_its_density_in_the_features_units(scale: float) -> None:
    codebook = scale * normal(49, 3) @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 2.0]]).double()
    points = codebook.numpy()
    density = multivariate_normal(points.mean(axis=0), np.cov(points.T, bias=True))
    log_likelihood, parameters = density.logpdf(points).sum(), 3 + 6
    result = cluster_neurons(codebook, Grid(7, 7), "gmm", n_clusters=1)
    assert result["bic"] == pytest.approx(-2 * log_likelihood + parameters * math.log(49), rel=1e-5)
    assert result["aic"] == pytest.approx(-2 * log_likelihood + 2 * parameters, rel=1e-5)


def test_a_constant_feature_costs_a_mixture_no_parameters() -> None:
    codebook, _ = blobs([30, 30])
    with_constants = torch.cat([codebook, torch.full((60, 3), 0.1, dtype=torch.float64)], dim=1)
    plain, padded = (cluster_neurons(c, Grid(6, 10), "gmm") for c in (codebook, with_constants))
    assert torch.equal(plain["labels"], padded["labels"])
    assert plain["bic"] == pytest.approx(padded["bic"])
    torch.testing.assert_close(padded["centers"][:, :2], plain["centers"])
    torch.testing.assert_close(padded["centers"][:, 2:], with_constants[:2, 2:])


# ---- the choice of k


@pytest.mark.parametrize("sizes", [[50, 50], [40, 30, 30], [20] * 5])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_well_separated_groups_by_itself(method: str, sizes: list[int]) -> None:
    codebook, groups = blobs(sizes)
    result = cluster_neurons(codebook, Grid(10, 10), method)
    assert result["n_clusters"] == len(sizes)
    found = np.array(result["labels"].tolist())
    assert (found > 0).mean() > 0.9
    assert (found[found > 0] == np.array(groups)[found > 0]).all()


@pytest.mark.parametrize("m", [1, 2, 9, 100])
@pytest.mark.parametrize("method", METHODS)
def test_neurons_that_are_all_equal_are_one_cluster(method: str, m: int) -> None:
    result = cluster_neurons(torch.full((m, 3), 0.1), Grid(1, m), method)
    assert result["labels"].tolist() == [1] * m
    assert result["n_clusters"] == 1
    torch.testing.assert_close(result["centers"], torch.full((1, 3), 0.1))


@pytest.mark.parametrize("method", METHODS)
def test_rounding_alone_makes_no_clusters(method: str) -> None:
    """Neurons that agree but for the last bits, as a wide neighborhood leaves them."""
    codebook = (1000 * (1 + 2.0**-24 * normal(36, 3))).float()
    assert len(np.unique(codebook, axis=0)) > 20
    assert cluster_neurons(codebook, Grid(6, 6), method)["n_clusters"] == 1


def test_gmm_takes_one_gaussian_for_one_cluster() -> None:
    assert cluster_neurons(normal(225, 2), Grid(15, 15), "gmm")["n_clusters"] == 1


def test_gmm_does_not_take_singular_components_for_a_gain() -> None:
    """30 neurons in 20 features: with two components, one at least has a likelihood without bound."""
    assert cluster_neurons(normal(30, 20), Grid(5, 6), "gmm")["n_clusters"] == 1


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_the_chosen_k_has_the_best_silhouette_of_all_that_were_tried(method: str) -> None:
    codebook, grid = normal(64, 2, seed=5), Grid(8, 8)
    scores = {}
    for k in range(2, 9):
        labels = cluster_neurons(codebook, grid, method, n_clusters=k)["labels"].tolist()
        scores[k] = np.mean(silhouettes_by_definition(codebook.numpy(), labels))
    assert cluster_neurons(codebook, grid, method)["n_clusters"] == max(scores, key=lambda k: scores[k])


def test_the_chosen_gmm_has_the_best_silhouette_of_those_with_components_of_enough_neurons() -> None:
    codebook, _ = blobs([30, 20, 30, 20])
    grid = Grid(10, 10)
    scores = {}
    for k in range(2, 11):
        result = cluster_neurons(codebook, grid, "gmm", n_clusters=k)
        if result["probabilities"].sum(dim=0).min() > 2 and result["n_clusters"] == k:
            scores[k] = np.mean(silhouettes_by_definition(codebook.numpy(), result["labels"].tolist()))
    assert cluster_neurons(codebook, grid, "gmm")["n_clusters"] == max(scores, key=lambda k: scores[k]) == 4


def test_the_neurons_of_one_gaussian_are_one_component() -> None:
    for seed, features in ((1, 2), (2, 5), (3, 10)):
        rows = normal(600, features, seed=seed).float()
        som = SOM(9, 8, features, preset="balanced")
        som.fit(rows, verbose=False)
        assert som.cluster("gmm")["n_clusters"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_gmm_finds_four_clear_groups_of_rows_asked_for_or_not(seed: int) -> None:
    """With a single start of EM three are found now and then, for two components settle in one group."""
    centers = torch.tensor([[0.0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8]])
    rows, group = normal(800, 3, seed=seed).float() + centers.repeat(200, 1), torch.arange(4).repeat(200)
    som = SOM(12, 10, 3, topology="hexagonal", random_seed=seed)
    som.fit(rows, verbose=False)
    winner = som.winners(rows).index[:, 0]
    for k in (4, None):
        labels = som.cluster("gmm", n_clusters=k)["labels"][winner]
        assert adjusted_rand_score(group, labels) > 0.97


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_two_distinct_neurons_are_two_clusters(method: str) -> None:
    assert cluster_neurons(torch.tensor([[0.0], [1.0]]), Grid(2, 1), method)["labels"].tolist() == [1, 2]
    repeated = torch.tensor([[0.0], [1.0], [0.0], [0.0], [1.0], [1.0]])
    assert cluster_neurons(repeated, Grid(2, 3), method)["n_clusters"] == 2


def test_an_automatic_k_has_an_upper_end() -> None:
    codebook = torch.arange(900.0)[:, None] // 30 * 1000 + normal(900, 1).float()  # 30 groups
    assert cluster_neurons(codebook, Grid(30, 30), "ward")["n_clusters"] == MOST_CLUSTERS


# ---- small and awkward maps


@pytest.mark.parametrize("feature_space", FEATURE_SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_every_small_size_are_clustered_the_same_each_time(method: str, feature_space: str) -> None:
    for lattice in SMALL[::9]:  # 12 maps of all four kinds, up to 6 x 3 and 2 x 5
        grid, codebook = Grid(**lattice.arguments), normal(lattice.m, 2).float()
        first, second = (cluster_neurons(codebook, grid, method, feature_space=feature_space) for _ in range(2))
        k, labels = first["n_clusters"], first["labels"]
        assert labels.shape == (lattice.m,)
        assert sorted(set(labels.tolist()) - {-1}) == list(range(1, k + 1))
        assert first["centers"].shape == (k, first["original_data"].shape[1])
        assert set(first) == set(second)
        for key in ("labels", "centers", "original_data"):
            assert torch.equal(first[key], second[key])


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("method", COUNTED)
def test_duplicates_among_the_neurons_are_clustered_without_warnings(method: str, k: int) -> None:
    codebook = torch.tensor([[0.1, 0.7], [3.3, 3.1], [9.7, 0.3]]).repeat_interleave(5, dim=0)
    result = cluster_neurons(codebook, Grid(3, 5), method, n_clusters=k)
    assert result["n_clusters"] == k
    if k == 3:
        assert result["labels"].tolist() == [1] * 5 + [2] * 5 + [3] * 5


@pytest.mark.parametrize("method", COUNTED)
def test_as_many_clusters_as_neurons_can_be_asked_for(method: str) -> None:
    result = cluster_neurons(normal(6, 2), Grid(2, 3), method, n_clusters=6)
    assert result["labels"].tolist() == [1, 2, 3, 4, 5, 6]


def test_cells_of_equal_density_are_no_dense_regions() -> None:
    """Distances between hexagons differ in their last bits, and HDBSCAN takes them for a hierarchy."""
    for lattice in (Lattice(10, 10, False, False), Lattice(10, 10, True, False), Lattice(25, 15, True, False)):
        grid = Grid(**lattice.arguments)
        result = cluster_neurons(normal(grid.m, 2), grid, "hdbscan", feature_space="positions")
        assert result["n_clusters"] == 0
        assert result["centers"].shape == (0, 2)
        assert result["metrics"]["noise_ratio"] == 1


# ---- labels, centers, types


@pytest.mark.parametrize("feature_space", FEATURE_SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_clusters_are_numbered_by_first_appearance(method: str, feature_space: str) -> None:
    codebook, _ = blobs([12, 12, 12])
    codebook = codebook[torch.randperm(36, generator=torch.Generator().manual_seed(1))]
    labels = cluster_neurons(codebook, Grid(6, 6), method, feature_space=feature_space)["labels"].tolist()
    appearing = list(dict.fromkeys(label for label in labels if label != -1))
    assert appearing == list(range(1, len(appearing) + 1))


@pytest.mark.parametrize("feature_space", FEATURE_SPACES)
@pytest.mark.parametrize("method", ["kmeans", "hdbscan", "ward"])
def test_centers_are_the_means_of_their_members_in_the_space_of_original_data(method: str, feature_space: str) -> None:
    codebook, _ = blobs([20, 30, 14])
    result = cluster_neurons(500 + codebook, Grid(8, 8), method, feature_space=feature_space)
    for number, center in enumerate(result["centers"], start=1):
        torch.testing.assert_close(center, result["original_data"][result["labels"] == number].mean(dim=0))


def test_gmm_probabilities_follow_the_numbering_of_the_labels() -> None:
    codebook, _ = blobs([20, 20, 24])
    result = cluster_neurons(codebook[torch.arange(63, -1, -1)], Grid(8, 8), "gmm", n_clusters=3)
    probabilities = result["probabilities"]
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(64, dtype=torch.float64))
    assert torch.equal(probabilities.argmax(dim=1) + 1, result["labels"])
    weighted = probabilities.T @ result["original_data"] / probabilities.sum(dim=0)[:, None]
    torch.testing.assert_close(result["centers"], weighted, rtol=1e-3, atol=1e-3)  # the M step at convergence


def test_a_mixture_whose_components_hold_no_neurons_shows_fewer_clusters_and_says_so() -> None:
    """Two Gaussians of one center: the wide one is ahead nowhere but in the tails that have no neurons."""
    codebook = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0], [0.0], [0.5], [1.0], [0.0], [0.5]])
    with pytest.warns(SomlibWarning, match="n_clusters=3 was asked for, but only 2 of them hold neurons"):
        result = cluster_neurons(codebook, Grid(2, 5), "gmm", n_clusters=3, reg_covar=10.0)
    assert result["n_clusters"] == len(result["centers"]) == result["probabilities"].shape[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_results_have_the_codebooks_type_and_leave_it_alone(method: str, dtype: torch.dtype) -> None:
    codebook = blobs([18, 18])[0].to(dtype).requires_grad_()
    before = codebook.detach().clone()
    result = cluster_neurons(codebook, Grid(6, 6), method)
    assert result["labels"].dtype == torch.int64
    assert result["centers"].dtype == result["original_data"].dtype == dtype
    assert result.get("probabilities", codebook).dtype == dtype
    result["original_data"].zero_()
    neuron_features(codebook, Grid(6, 6)).zero_()
    assert torch.equal(codebook, before)


@pytest.mark.parametrize("method", METHODS)
def test_clusters_depend_on_neither_offset_nor_scale_of_the_weights(method: str) -> None:
    codebook = normal(100, 2, seed=4) + 4 * torch.arange(100)[:, None] // 25
    plain = cluster_neurons(codebook, Grid(10, 10), method)
    for moved in (codebook * 1e-12, codebook * 1e12, codebook + 1e6):
        result = cluster_neurons(moved, Grid(10, 10), method)
        assert torch.equal(result["labels"], plain["labels"])
        for score, value in result["metrics"].items():
            assert value == pytest.approx(plain["metrics"][score], rel=1e-4, nan_ok=True)  # type: ignore[literal-required]  # a key


@pytest.mark.parametrize("method", METHODS)
def test_global_random_states_are_neither_read_nor_moved(method: str) -> None:
    def states() -> tuple[Any, ...]:
        key = np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002  # the global state is the point
        return torch.get_rng_state().tolist(), key, random.getstate()

    codebook, grid, results = normal(49, 2), Grid(7, 7), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # the global state is the point
        random.seed(seed)
        before = states()
        results.append(cluster_neurons(codebook, grid, method)["labels"].tolist())
        assert states() == before
    assert results[0] == results[1]


def test_methods_run_on_one_thread_since_the_order_of_threads_changes_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def fit(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
        seen.extend(pool["num_threads"] for pool in threadpool_info())
        return Partition(np.zeros(len(neurons.points), np.int64))

    monkeypatch.setitem(CLUSTERING_METHODS, "kmeans", ClusteringMethod(fit))
    with threadpool_limits(4):
        cluster_neurons(normal(4, 2), Grid(2, 2))
        assert all(pool["num_threads"] > 1 for pool in threadpool_info() if pool["user_api"] == "openmp")
    assert set(seen) == {1}


# ---- metrics


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


def test_contiguity_of_noise_alone_is_nan_with_the_reason_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        assert math.isnan(topological_quality(torch.full((6,), -1), Grid(2, 3)))
    assert "topological_quality not defined: all neurons are noise" in caplog.messages


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


# ---- contiguity


def test_a_cluster_in_two_pieces_counts_its_larger_piece() -> None:
    labels = torch.tensor([[1, 1, 2, 1], [1, 1, 2, 1], [2, 2, 2, -1]]).flatten()
    assert topological_quality(labels, Grid(3, 4)) == pytest.approx((4 + 5) / 11)


def test_pieces_meet_around_the_edges_of_a_torus() -> None:
    labels = torch.tensor([[1, 2, 2, 1]] * 2).flatten()
    assert topological_quality(labels, Grid(2, 4)) == pytest.approx((2 + 4) / 8)
    assert topological_quality(labels, Grid(2, 4, pbc=True)) == 1
    assert topological_quality(labels, Grid(2, 4, "hexagonal", pbc=True)) == 1


def test_corners_join_squares_but_not_hexagons() -> None:
    labels = torch.tensor([[2, 1], [1, 2]]).flatten()
    assert topological_quality(labels, Grid(2, 2)) == 1
    assert topological_quality(labels, Grid(2, 2, "hexagonal")) == pytest.approx((2 + 1) / 4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(lattice=st.sampled_from(SMALL), data=st.data())
def test_contiguity_matches_its_definition(lattice: Lattice, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from([-1, 1, 2, 3]), min_size=lattice.m, max_size=lattice.m))
    assume(any(label > 0 for label in labels))
    found = topological_quality(torch.tensor(labels), Grid(**lattice.arguments))
    assert found == pytest.approx(contiguity_by_definition(lattice, labels))


# ---- what the plots ask for


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


def test_the_elbow_curve_is_the_inertia_of_each_clustering() -> None:
    codebook, grid = normal(25, 2), Grid(5, 5)
    counts, inertias = kmeans_inertias(codebook, max_k=6, random_seed=3)
    assert counts == [1, 2, 3, 4, 5, 6]
    assert inertias[0] == pytest.approx(25 * codebook.var(dim=0, correction=0).sum().item(), rel=1e-5)
    assert inertias == sorted(inertias, reverse=True)
    for k, inertia in zip(counts, inertias, strict=True):
        assert cluster_neurons(codebook, grid, n_clusters=k, random_seed=3)["inertia"] == inertia


def test_the_elbow_curve_ends_with_the_distinct_neurons() -> None:
    counts, inertias = kmeans_inertias(torch.tensor([[0.1], [0.7], [0.1], [0.9]]), max_k=10)
    assert counts == [1, 2, 3]
    assert inertias[-1] == pytest.approx(0, abs=1e-12)


# ---- refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "dbscan"}, "method must be one of 'kmeans', 'gmm', 'hdbscan', 'ward', got 'dbscan'"),
        ({"feature_space": "latent"}, "feature_space must be one of 'weights', 'positions', 'combined', got 'latent'"),
        ({"n_clusters": 0}, "n_clusters must be None or a whole number of at least 1, got 0"),
        ({"n_clusters": 2.0}, "n_clusters must be None or a whole number of at least 1, got 2.0"),
        ({"n_clusters": True}, "n_clusters must be None or a whole number of at least 1, got True"),
        ({"n_clusters": 7}, "n_clusters must be at most 6, the number of neurons, got 7"),
        ({"n_clusters": 4}, "n_clusters must be at most 3, the number of neurons that differ in .*'weights', got 4"),
        ({"n_clusters": 4, "method": "ward"}, "n_clusters must be at most 3"),
        ({"random_seed": -1}, "random_seed must be a whole number of at least 0, got -1"),
        ({"eps": 1}, "method='kmeans' takes the options n_init, max_iter, tol, algorithm, got 'eps'"),
        ({"method": "ward", "linkage": "single"}, "method='ward' takes the options none, got 'linkage'"),
        ({"n_init": 0}, "method='kmeans' cannot use n_init=0: .*'n_init'"),
        ({"method": "hdbscan", "min_cluster_size": 1}, "method='hdbscan' cannot use min_cluster_size=1"),
        ({"method": "hdbscan", "min_samples": 9}, "method='hdbscan' cannot use min_samples=9: .*at most"),
        ({"method": "gmm", "covariance_type": "round"}, "method='gmm' cannot use covariance_type='round'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    codebook = torch.tensor([[0.0], [1.0], [5.0], [0.0], [1.0], [5.0]])
    with pytest.raises(ArgumentError, match=message):
        cluster_neurons(codebook, Grid(2, 3), **arguments)


def test_bad_codebooks_are_refused() -> None:
    with pytest.raises(ShapeError, match="codebook must have 6 rows on a 2 x 3 grid, got 5"):
        cluster_neurons(normal(5, 2), Grid(2, 3))
    with pytest.raises(ShapeError, match=r"codebook must have shape \(m, f\), one row a neuron, got \(2, 3, 2\)"):
        cluster_neurons(normal(6, 2).reshape(2, 3, 2), Grid(2, 3))
    with pytest.raises(DataTypeError, match=r"codebook must be of a float type, got torch\.int64"):
        cluster_neurons(torch.arange(6)[:, None], Grid(2, 3))
    codebook = normal(6, 2)
    codebook[4, 1] = math.nan
    with pytest.raises(DataError, match="codebook must be finite, got nan at neuron 4, feature 1"):
        cluster_neurons(codebook, Grid(2, 3))


def test_labels_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"labels must have shape \(6,\) on a 2 x 3 grid, got \(5,\)"):
        topological_quality(torch.ones(5, dtype=torch.int64), Grid(2, 3))
    with pytest.raises(ShapeError, match=r"labels must have shape \(6,\), one a neuron, got \(5,\)"):
        silhouette_values(normal(6, 2), torch.ones(5, dtype=torch.int64))


def test_an_elbow_curve_needs_a_k() -> None:
    with pytest.raises(ArgumentError, match="max_k must be a whole number of at least 1, got 0"):
        kmeans_inertias(normal(6, 2), max_k=0)


def test_hdbscan_says_that_it_takes_no_number_of_clusters() -> None:
    codebook, _ = blobs([18, 18])
    with pytest.warns(SomlibWarning, match="n_clusters=5 has no effect: method='hdbscan' finds the number"):
        assert cluster_neurons(codebook, Grid(6, 6), "hdbscan", n_clusters=5)["n_clusters"] == 2

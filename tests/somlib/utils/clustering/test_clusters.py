"""Clusters by any method: labels, centers, types, and what is refused."""

import random
from typing import Any

import numpy as np
import pytest
import torch

from somlib.errors import ArgumentError
from somlib.utils.clustering import FEATURE_SPACES, cluster_neurons, neuron_features
from somlib.utils.grid import Grid
from tests.somlib.oracle import SMALL
from tests.somlib.utils.clustering.cases import METHODS, blobs, normal

COUNTED = ["kmeans", "gmm", "ward"]


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


@pytest.mark.parametrize("method", ["kmeans", "ward"])
def test_two_distinct_neurons_are_two_clusters(method: str) -> None:
    assert cluster_neurons(torch.tensor([[0.0], [1.0]]), Grid(2, 1), method)["labels"].tolist() == [1, 2]
    repeated = torch.tensor([[0.0], [1.0], [0.0], [0.0], [1.0], [1.0]])
    assert cluster_neurons(repeated, Grid(2, 3), method)["n_clusters"] == 2


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "dbscan"},
            "method must be one of 'kmeans', 'gmm', 'hdbscan', 'ward', 'connectivity', 'mixture', got 'dbscan'",
        ),
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
        ({"method": "hdbscan", "min_samples": 9}, "method='hdbscan' cannot use min_samples=9: .*less than or equal"),
        ({"method": "gmm", "covariance_type": "round"}, "method='gmm' cannot use covariance_type='round'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    codebook = torch.tensor([[0.0], [1.0], [5.0], [0.0], [1.0], [5.0]])
    with pytest.raises(ArgumentError, match=message):
        cluster_neurons(codebook, Grid(2, 3), **arguments)

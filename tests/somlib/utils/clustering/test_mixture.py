"""Mixtures whose components are merged: how many clusters there are, of maps and rows of every kind."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

from somlib import SOM
from somlib.errors import ArgumentError, ShapeError
from somlib.utils.clustering import Connections, RowSample, cluster_neurons, row_sample
from somlib.utils.clustering.gaussians import FORMS, Moments
from somlib.utils.clustering.mixture import UNITS, Rows, Wanted, best_mixture, merged
from somlib.utils.grid import Grid
from tests.somlib.utils.clustering.test_connectivity import blobs, trained


def labels_of(som: SOM, data: np.ndarray, **arguments: Any) -> np.ndarray:
    labels = som.cluster("mixture", data=data, **arguments)["labels"].numpy()
    return np.append(labels, -1)[som.winners(data).index[:, 0].numpy()]


@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_as_many_clusters_are_found_as_there_are_groups(k: int) -> None:
    data, group = blobs(k)
    found = labels_of(trained(data), data)
    assert len(set(found)) == k
    assert adjusted_rand_score(group, found) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("d", [2, 10, 60])
def test_one_group_is_one_cluster_in_few_dimensions_and_in_many(d: int) -> None:
    rng = np.random.default_rng(d)
    for data in (rng.normal(size=(500, d)), rng.uniform(size=(500, d))):
        data = data.astype(np.float32)
        assert trained(data).cluster("mixture", data=data)["n_clusters"] == 1


@pytest.mark.parametrize("make", [make_moons, make_circles])
def test_groups_of_any_shape_are_found(make: Any) -> None:
    data, group = make(600, noise=0.05, random_state=0, **({"factor": 0.4} if make is make_circles else {}))
    data = data.astype(np.float32)
    assert adjusted_rand_score(group, labels_of(trained(data), data)) > 0.97


def test_groups_in_more_features_than_rows_of_each_are_found() -> None:
    rng, group = np.random.default_rng(0), np.arange(600) % 4
    data = (rng.normal(size=(600, 200)) + 9 * np.eye(200)[group]).astype(np.float32)
    assert adjusted_rand_score(group, labels_of(trained(data), data)) > 0.97


def test_a_torus_shows_the_groups() -> None:
    data, group = blobs(4, seed=1)
    som = SOM(10, 8, 3, topology="hexagonal", preset="balanced", pbc=True)
    som.fit(data, verbose=False)
    assert adjusted_rand_score(group, labels_of(som, data)) > 0.97


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_values_may_be_missing(share: float) -> None:
    data, group = blobs(3, seed=2)
    data = np.tile(data, 3)  # so that no group rests on one value alone
    data[np.random.default_rng(0).uniform(size=data.shape) < share] = np.nan
    data[0] = np.nan
    som = SOM(9, 8, 9, topology="hexagonal", preset="balanced", missing="mask")
    som.fit(data, verbose=False)
    found = labels_of(som, data)
    assert found[0] == -1
    assert adjusted_rand_score(group[1:], found[1:]) > 0.9


def test_a_lattice_of_hours_and_counts_is_no_group_for_each_value() -> None:
    rng = np.random.default_rng(0)
    data = np.stack((rng.poisson(3, 1000), rng.integers(0, 2, 1000), rng.normal(size=1000)), axis=1).astype(np.float32)
    assert trained(data).cluster("mixture", data=data)["n_clusters"] == 1


def test_a_weight_counts_like_copies_of_the_row() -> None:
    data, _ = blobs(3, n=40)
    som, weight = trained(data), np.arange(len(data)) % 3
    weighted = som.cluster("mixture", data=data, sample_weight=weight)
    copied = som.cluster("mixture", data=np.repeat(data, weight, axis=0))
    assert torch.equal(weighted["labels"], copied["labels"])
    torch.testing.assert_close(weighted["probabilities"], copied["probabilities"])


def test_the_same_call_gives_the_same_clusters_also_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    data, group = blobs(3, n=300)
    som = trained(data)
    monkeypatch.setattr(row_sample.sampled, "__defaults__", (500,))
    first, second = (som.cluster("mixture", data=data) for _ in range(2))
    assert torch.equal(first["labels"], second["labels"])
    assert torch.equal(first["probabilities"], second["probabilities"])
    assert adjusted_rand_score(group, labels_of(som, data)) > 0.97


def test_maps_of_more_neurons_than_em_takes_show_the_groups() -> None:
    data, group = blobs(4, n=400)
    som = trained(data, x=25, y=20)
    assert som.grid.m > UNITS
    assert adjusted_rand_score(group, labels_of(som, data)) > 0.97


@pytest.mark.filterwarnings("ignore:data has . rows for 9 neurons")
@pytest.mark.parametrize("data", [np.ones((50, 3)), np.zeros((1, 2)), np.repeat([[0.0], [1.0]], 3, axis=0)])
def test_rows_of_no_or_little_spread_are_clustered(data: np.ndarray) -> None:
    som = SOM(3, 3, data.shape[1])
    som.fit(data.astype(np.float32), verbose=False)
    assert som.cluster("mixture", data=data.astype(np.float32))["n_clusters"] in (1, 2)


def test_one_neuron_is_one_cluster() -> None:
    data, _ = blobs(3)
    som = SOM(1, 1, 3)
    som.fit(data, verbose=False)
    result = som.cluster("mixture", data=data)
    assert (result["labels"].tolist(), result["probabilities"].tolist()) == ([1], [1.0])


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_as_many_clusters_as_asked_for(k: int) -> None:
    data, _ = blobs(3, n=60)
    assert trained(data).cluster("mixture", k, data=data)["n_clusters"] == k


def test_more_clusters_than_a_mixture_shows_are_those_of_k_means() -> None:
    data, _ = blobs(1, n=30)
    som = trained(data, x=5, y=5)
    result = som.cluster("mixture", 20, data=data)
    assert torch.equal(result["labels"], som.cluster("kmeans", 20)["labels"])
    assert "probabilities" not in result


# ---------------------------------------------------------------- neurons, rows and components alone


def test_the_strength_is_the_mean_probability_of_the_cluster_over_the_rows_of_the_neuron() -> None:
    """Two groups of one dimension and unit variance: the probability of a row has a closed form."""
    rng = np.random.default_rng(0)
    group = np.arange(4000) % 2
    values = 5.0 * group[:, None] + rng.normal(size=(4000, 1))
    codebook = torch.cat((torch.linspace(-3, 8, 45), torch.tensor([40.0]))).double()[:, None]
    winner = np.abs(values - codebook[:, 0].numpy()).argmin(axis=1)
    result = cluster_neurons(codebook, Grid(1, 46), "mixture", 2, rows=RowSample(values, winner, np.ones(4000)))
    assert result["labels"].tolist() == [1] * 22 + [2] * 24 or result["labels"].tolist() == [1] * 23 + [2] * 23
    of_first = 1 / (1 + np.exp(5 * (values[:, 0] - 2.5)))
    share = [of_first[winner == k].mean() for k in range(45)]
    expected = [max(p, 1 - p) for p in share]
    expected.append(expected[-1])  # no row lies near the last: it joins its neighbor
    np.testing.assert_allclose(result["probabilities"].numpy(), expected, atol=0.03)


def test_overlap_and_merges_of_components_are_worked_by_hand() -> None:
    """Components 0 and 1 are halves of one group; 2 lies far away."""
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(size=600), rng.normal(30, 1, 300))[:, None]
    density = np.stack([-np.square(values[:, 0] - mean) / 2 for mean in (-0.8, 0.8, 30.0)], axis=1)
    rows = Rows(values, np.ones(900), density, density.argmax(axis=1))
    share = np.exp(density) / np.exp(density).sum(axis=1, keepdims=True)
    likeliest = share.argmax(axis=1)
    for p in range(3):
        for q in range(3):
            ways = [share[likeliest == b, a].sum() / share[:, a].sum() for a, b in ((p, q), (q, p))]
            assert rows.overlap()[p, q] == pytest.approx(max(ways))
    assert sorted(map(sorted, merged(rows))) == [[0, 1], [2]]
    assert sorted(map(sorted, merged(rows, 1))) == [[0, 1, 2]]
    assert sorted(map(sorted, merged(rows, 3))) == [[0], [1], [2]]


def test_the_number_of_components_is_that_of_the_groups() -> None:
    data, group = blobs(4)
    order = np.argsort(group, kind="stable")
    moments = Moments.of(data[order].astype(np.float64), np.ones(480), np.arange(480) // 2, products=True)
    mixture, chosen = best_mixture(moments, 0, Wanted())
    assert len(mixture.theta) == chosen["n_components"] == 4
    assert len(best_mixture(moments, 0, Wanted(least=6))[0].theta) >= 6
    asked, chosen = best_mixture(moments, 0, Wanted(5, FORMS["tied spherical"]))
    assert len(asked.theta) == 5
    assert chosen == {"n_components": 5, "covariance_type": "tied spherical"}


def test_components_and_their_form_can_be_asked_for() -> None:
    data, group = blobs(3)
    som = trained(data)
    result = som.cluster("mixture", data=data, n_components=6, covariance_type="spherical")
    assert (result["n_components"], result["covariance_type"]) == (6, "spherical")
    assert result["n_clusters"] == 3  # merged
    for wrong in ({"n_components": 0}, {"covariance_type": "round"}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            som.cluster("mixture", data=data, **wrong)
    assert group.max() == 2


def test_rows_must_be_given_and_fit() -> None:
    codebook, rows = torch.rand(4, 2), RowSample(np.zeros((3, 2)), np.zeros(3, np.int64), np.ones(3))
    nothing = RowSample(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0))
    wide = RowSample(np.zeros((3, 3)), np.zeros(3, np.int64), np.ones(3))
    with pytest.raises(ArgumentError, match="method='mixture' needs rows: give data"):
        cluster_neurons(codebook, Grid(2, 2), "mixture")
    with pytest.raises(ArgumentError, match="needs rows that have a nearest neuron, got none"):
        cluster_neurons(codebook, Grid(2, 2), "mixture", rows=nothing)
    with pytest.raises(ArgumentError, match="feature_space must be 'weights', got 'combined'"):
        cluster_neurons(codebook, Grid(2, 2), "mixture", feature_space="combined", rows=rows)
    with pytest.raises(ShapeError, match="rows must be of 4 neurons and 2 features, got 3 features"):
        cluster_neurons(codebook, Grid(2, 2), "mixture", rows=wide)
    data, _ = blobs(2)
    som = trained(data)
    with pytest.raises(ArgumentError, match="method='mixture' needs rows: give data"):
        som.cluster("mixture")
    assert isinstance(som._connections, Connections)

"""Clusters from shared rows and density: how many there are, of maps of every kind."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import make_circles, make_moons
from sklearn.metrics import adjusted_rand_score

from somlib import SOM
from somlib.errors import ArgumentError, ShapeError, SomlibWarning
from somlib.utils.alignment import symmetries
from somlib.utils.clustering import Connections, cluster_neurons
from somlib.utils.clustering.connectivity import FALSE_VALLEYS, required_score
from somlib.utils.grid import Grid

CENTERS = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 9, 0], [9, 0, 9], [0, 9, 9], [9, 9, 9]])


def blobs(k: int, n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.arange(k * n) % k
    return (CENTERS[group] + rng.normal(size=(k * n, 3))).astype(np.float32), group


def trained(data: np.ndarray, **settings: Any) -> SOM:
    som = SOM(num_features=data.shape[1], topology="hexagonal", preset="balanced", **settings)
    som.fit(data, verbose=False)
    return som


def labels_of(som: SOM, data: np.ndarray, **arguments: Any) -> np.ndarray:
    labels = som.cluster("connectivity", **arguments)["labels"].numpy()
    return np.append(labels, -1)[som.winners(data).index[:, 0].numpy()]


@pytest.mark.parametrize("k", range(1, 9))
def test_as_many_clusters_are_found_as_there_are_groups(k: int) -> None:
    data, group = blobs(k)
    found = labels_of(trained(data), data)
    assert len(set(found)) == k
    assert adjusted_rand_score(group, found) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("d", [2, 10, 60])
def test_one_group_is_one_cluster_in_few_dimensions_and_in_many(d: int) -> None:
    rng = np.random.default_rng(d)
    for data in (rng.normal(size=(500, d)), rng.uniform(size=(500, d))):
        assert trained(data.astype(np.float32)).cluster("connectivity")["n_clusters"] == 1


@pytest.mark.parametrize("make", [make_moons, make_circles])
def test_groups_of_any_shape_are_found(make: Any) -> None:
    data, group = make(600, noise=0.05, random_state=0, **({"factor": 0.4} if make is make_circles else {}))
    data = data.astype(np.float32)
    assert adjusted_rand_score(group, labels_of(trained(data), data)) > 0.97


@pytest.mark.parametrize(
    "settings", [{"pbc": True}, {"algorithm": "minibatch", "preset": None}, {"topology": "rectangular"}]
)
def test_maps_of_every_kind_show_the_groups(settings: dict[str, Any]) -> None:
    data, group = blobs(4, seed=1)
    som = SOM(10, 8, 3, **{"topology": "hexagonal", "preset": "balanced", **settings})
    som.fit(data, verbose=False)
    assert adjusted_rand_score(group, labels_of(som, data)) > 0.97


def test_the_rows_of_the_training_and_the_same_rows_given_are_one() -> None:
    data, _ = blobs(3)
    som = trained(data)
    kept, given = som.cluster("connectivity"), som.cluster("connectivity", data=data)
    assert torch.equal(kept["labels"], given["labels"])
    assert torch.equal(kept["probabilities"], given["probabilities"])


def test_rows_given_count_and_not_those_of_the_training() -> None:
    data, group = blobs(2)
    som = trained(data)
    assert som.cluster("connectivity")["n_clusters"] == 2
    assert som.cluster("connectivity", data=data[group == 0])["n_clusters"] == 1


def test_a_weight_counts_like_copies_of_the_row() -> None:
    data, _ = blobs(3, n=40)
    som, weight = trained(data), np.arange(len(data)) % 3
    weighted = som.cluster("connectivity", data=data, sample_weight=weight)
    copied = som.cluster("connectivity", data=np.repeat(data, weight, axis=0))
    assert torch.equal(weighted["labels"], copied["labels"])
    torch.testing.assert_close(weighted["probabilities"], copied["probabilities"])


def test_values_may_be_missing() -> None:
    data, group = blobs(3, seed=2)
    data = np.tile(data, 3)  # so that no group rests on one value alone
    data[np.random.default_rng(0).uniform(size=data.shape) < 0.1] = np.nan
    data[0] = np.nan
    som = SOM(9, 8, 9, topology="hexagonal", preset="balanced", missing="mask")
    som.fit(data, verbose=False)
    found = labels_of(som, data)
    assert found[0] == -1
    assert adjusted_rand_score(group[1:], found[1:]) > 0.9


def test_a_map_read_again_and_a_turned_one_have_the_same_clusters(tmp_path: Path) -> None:
    data, _ = blobs(3)
    som = SOM(8, 8, 3, preset="balanced")
    som.fit(data, verbose=False)
    som.save(tmp_path / "map")
    labels = som.cluster("connectivity")["labels"]
    assert torch.equal(SOM.load(tmp_path / "map").cluster("connectivity")["labels"], labels)
    for permutation in symmetries(som.grid):
        turned = som.reoriented(permutation).cluster("connectivity")["labels"]
        assert adjusted_rand_score(labels[permutation], turned) == 1.0


def test_weights_of_another_training_forget_the_rows() -> None:
    data, _ = blobs(2)
    som, other = SOM(6, 6, 3), SOM(6, 6, 3)
    som.fit(data, verbose=False)
    som.load_state_dict(other.state_dict())
    with pytest.raises(ArgumentError, match="needs rows: give data, or fit the map first"):
        som.cluster("connectivity")


# ---------------------------------------------------------------- neurons alone


def line(positions: list[float], rows: list[float], pairs: list[tuple[int, int]]) -> dict[str, Any]:
    codebook = torch.tensor(positions, dtype=torch.float64)[:, None]
    shared = torch.ones(len(pairs), dtype=torch.float64)
    connections = Connections(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2), shared
    )
    return {"codebook": codebook, "grid": Grid(1, len(positions)), "method": "connectivity", "connections": connections}


def test_neurons_without_rows_join_the_nearest_with_rows() -> None:
    chain = [(i, i + 1) for i in range(4)]
    positions = [0.0, 1, 2, 3, 4, 9, 14, 20, 21, 22, 23, 24]
    rows = [50.0] * 5 + [0.0, 0.0] + [50.0] * 5
    result = cluster_neurons(**line(positions, rows, [*chain, *[(a + 7, b + 7) for a, b in chain]]))
    assert result["labels"].tolist() == [1] * 6 + [2] * 6
    assert result["probabilities"].min() > 0.99


def test_the_strength_is_the_share_of_the_own_cluster_in_the_density() -> None:
    positions, rows = [0.0, 1, 2, 5, 8, 9, 10], [90.0, 90, 90, 2, 90, 90, 90]
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    result = cluster_neurons(**line(positions, rows, pairs))
    assert result["n_clusters"] == 2
    labels = result["labels"].tolist()
    for k, x in enumerate(positions):
        kernels = [n * np.exp(-((x - w) ** 2) / 2) for n, w in zip(rows, positions, strict=True)]  # typical distance 1
        own = sum(value for value, label in zip(kernels, labels, strict=True) if label == labels[k])
        assert float(result["probabilities"][k]) == pytest.approx(own / sum(kernels), rel=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3, 6, 12])
def test_as_many_clusters_as_asked_for(k: int) -> None:
    data, _ = blobs(3, n=30)
    result = trained(data, x=6, y=5).cluster("connectivity", k)
    assert result["n_clusters"] == k


def test_no_more_clusters_than_neurons_with_rows() -> None:
    arguments = line([0.0, 1, 2, 3], [5.0, 5, 0, 0], [(0, 1)])
    with pytest.warns(SomlibWarning, match="only 2 of them hold neurons"):
        assert cluster_neurons(**arguments, n_clusters=3)["n_clusters"] == 2


def test_a_map_with_all_rows_on_one_neuron_is_one_cluster() -> None:
    assert cluster_neurons(**line([0.0, 1, 2], [0.0, 7, 0], []))["labels"].tolist() == [1, 1, 1]


def test_neurons_at_one_place_are_one_cluster() -> None:
    assert cluster_neurons(**line([2.0, 2, 2], [3.0, 3, 3], [(0, 1)]))["n_clusters"] == 1


def test_the_required_score_leaves_as_many_false_valleys_to_chance_as_it_says() -> None:
    assert 200 * norm.sf(required_score(200)) == pytest.approx(FALSE_VALLEYS)
    assert required_score(10_000) > required_score(100) > required_score(1) >= 0


def test_rows_must_be_known_and_fit() -> None:
    codebook = torch.rand(4, 2)
    with pytest.raises(ArgumentError, match="needs rows: give data, or fit the map first"):
        cluster_neurons(codebook, Grid(2, 2), "connectivity")
    nothing = Connections.of_winners(torch.full((3, 2), -1), 4)
    with pytest.raises(ArgumentError, match="needs rows that have a nearest neuron, got none"):
        cluster_neurons(codebook, Grid(2, 2), "connectivity", connections=nothing)
    with pytest.raises(ShapeError, match="connections must be of 4 neurons, got 3"):
        cluster_neurons(codebook, Grid(2, 2), connections=Connections.of_winners(torch.full((3, 2), -1), 3))
    with pytest.raises(ArgumentError, match="sample_weight must be given together with data"):
        SOM(2, 2, 2).cluster("connectivity", sample_weight=[1.0])

"""Trustworthiness and preservation against their definitions and scikit-learn."""

import itertools
import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.quality import neighborhood_preservation, ranks, trustworthiness
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice
from tests.somlib.utils.quality.cases import EUCLIDEAN, METRICS, grid_of, random_map, winners_of

GOLOMB = [0, 2, 6, 24, 29, 40, 43, 55, 68, 75, 76, 85]  # a ruler on which all distances differ


def place_chance(row: Sequence[float], j: int, k: int) -> float:
    """Probability that j is among the k nearest, equal distances in random order."""
    closer = sum(other < row[j] - 1e-9 for other in row)
    tied = sum(abs(other - row[j]) <= 1e-9 for other in row)
    return min(max((k - closer) / tied, 0.0), 1.0)


def shortfall(near: Array, judged: Array, k: int) -> float:
    """One minus the scaled sum of ranks beyond k in `judged`, of those that are among the k nearest in `near`."""
    n, total = len(near), 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        near_row, judged_row = [near[i, j] for j in others], [judged[i, j] for j in others]
        for j in range(n - 1):
            rank = 1 + sum(other < judged_row[j] - 1e-9 for other in judged_row)
            total += place_chance(near_row, j, k) * max(rank - k, 0)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total


def map_distances(lattice: Lattice, winner: Tensor) -> Array:
    """Distances on the map between samples."""
    apart: Array = oracle.distances(lattice)[winner.numpy()][:, winner.numpy()]
    return apart


def shared_distances(data: Array, metric: str) -> Array:
    """Distances between samples over the features that both have, times d / shared for sums; 1e9 where none is."""
    table = np.full((len(data), len(data)), 1e9)
    for a, b in itertools.product(range(len(data)), repeat=2):
        shared = ~np.isnan(data[a] + data[b])
        if shared.any():
            share = {"euclidean": math.sqrt(data.shape[1] / shared.sum()), "manhattan": data.shape[1] / shared.sum()}
            table[a, b] = oracle.feature_distance(data[a][shared], data[b][shared], metric) * share.get(metric, 1.0)
    return table


@pytest.mark.parametrize("k", [1, 5, 12])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_neighborhood_measures_match_their_definition(lattice: Lattice, k: int) -> None:
    data, codebook = random_map(lattice, n=40)
    winner = winners_of(data, codebook).index[:, 0]
    in_data = shared_distances(data.numpy(), "euclidean")
    on_map = map_distances(lattice, winner)
    grid = grid_of(lattice)
    assert trustworthiness(data, winner, grid, EUCLIDEAN, k) == pytest.approx(shortfall(on_map, in_data, k))
    assert neighborhood_preservation(data, winner, grid, EUCLIDEAN, k) == pytest.approx(shortfall(in_data, on_map, k))


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("name", METRICS)
def test_neighborhood_measures_use_the_metric_of_the_map_over_the_features_that_both_samples_have(
    name: str, missing: float
) -> None:
    lattice, metric = FOUR[3], Metric(name)
    data, codebook = random_map(lattice, n=40, missing=missing)
    winner = winners_of(data, codebook, metric).index[:, 0]
    known = (winner >= 0).numpy()
    in_data = shared_distances(data.numpy()[known], name)
    on_map = map_distances(lattice, winner[winner >= 0])
    grid = grid_of(lattice)
    assert trustworthiness(data, winner, grid, metric, 4) == pytest.approx(shortfall(on_map, in_data, 4))
    assert neighborhood_preservation(data, winner, grid, metric, 4) == pytest.approx(shortfall(in_data, on_map, 4))


def test_neighborhood_measures_are_those_of_scikit_learn_where_no_distances_tie() -> None:
    places = torch.tensor(GOLOMB)[torch.randperm(12, generator=torch.Generator().manual_seed(1))]
    data = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    on_map = places[:, None].double().numpy()
    grid = Grid(1, 86)
    for k in (1, 3, 5):
        trusted = sklearn_trustworthiness(data.numpy(), on_map, n_neighbors=k)
        preserved = sklearn_trustworthiness(on_map, data.numpy(), n_neighbors=k)  # continuity: the spaces trade places
        assert trustworthiness(data, places, grid, EUCLIDEAN, k) == pytest.approx(trusted)
        assert neighborhood_preservation(data, places, grid, EUCLIDEAN, k) == pytest.approx(preserved)


def test_trustworthiness_is_the_mean_of_scikit_learns_over_random_orders_of_tied_samples() -> None:
    lattice = FOUR[0]
    data, codebook = random_map(lattice, n=50)
    winner = winners_of(data, codebook).index[:, 0]
    places, rng = grid_of(lattice).positions[winner].numpy(), np.random.default_rng(0)
    jittered = [
        sklearn_trustworthiness(data.numpy(), places + 1e-6 * rng.normal(size=places.shape), n_neighbors=5)
        for _ in range(200)
    ]
    measured = trustworthiness(data, winner, grid_of(lattice), EUCLIDEAN, 5)
    assert measured == pytest.approx(np.mean(jittered), abs=4 * float(np.std(jittered)) / math.sqrt(200))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_an_ordered_chain_is_trustworthy_and_preserves_all_neighborhoods(k: int) -> None:
    data = torch.arange(30.0)[:, None]
    winner = torch.arange(30)
    assert trustworthiness(data, winner, Grid(1, 30), EUCLIDEAN, k) == 1
    assert neighborhood_preservation(data, winner, Grid(30, 1), EUCLIDEAN, k) == 1


def test_equal_samples_on_one_neuron_are_no_error() -> None:
    data, winner = torch.tensor([[0.0], [9.0]]).repeat_interleave(20, dim=0), torch.arange(2).repeat_interleave(20)
    assert trustworthiness(data, winner, Grid(1, 2), EUCLIDEAN, 10) == 1
    assert neighborhood_preservation(data, winner, Grid(1, 2), EUCLIDEAN, 10) == 1


def test_a_map_that_puts_all_on_one_neuron_tears_nothing_apart_and_cannot_be_trusted() -> None:
    data = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    winner = torch.zeros(200, dtype=torch.int64)
    assert neighborhood_preservation(data, winner, Grid(3, 3), EUCLIDEAN, 10) == 1
    # A random neighbor has mean rank (n - 1 + 1) / 2 = 100; beyond k = 10: sum over r = 11..199 of (r - 10) / 199.
    beyond = sum(range(1, 190)) / 199
    assert trustworthiness(data, winner, Grid(3, 3), EUCLIDEAN, 10) == pytest.approx(1 - 10 * beyond * 2 / (10 * 369))


def test_a_shuffled_map_loses_both() -> None:
    data = torch.arange(60.0)[:, None]
    winner = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert trustworthiness(data, winner, Grid(1, 60), EUCLIDEAN, 5) < 0.6
    assert neighborhood_preservation(data, winner, Grid(1, 60), EUCLIDEAN, 5) < 0.6


def test_neighborhood_measures_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    data, codebook = random_map(FOUR[1], n=200)
    winner = winners_of(data, codebook).index[:, 0]
    whole = trustworthiness(data, winner, grid_of(FOUR[1]), EUCLIDEAN)
    monkeypatch.setattr(ranks, "CHUNK_ENTRIES", {"cpu": 1})
    assert trustworthiness(data, winner, grid_of(FOUR[1]), EUCLIDEAN) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize("measure", [trustworthiness, neighborhood_preservation])
def test_neighborhoods_of_half_the_samples_are_undefined(
    measure: Callable[..., float], caplog: pytest.LogCaptureFixture
) -> None:
    data = torch.arange(20.0)[:, None]
    winner = torch.arange(20)
    assert not math.isnan(measure(data, winner, Grid(1, 20), EUCLIDEAN, 9))
    with caplog.at_level(logging.INFO):
        assert math.isnan(measure(data, winner, Grid(1, 20), EUCLIDEAN, 10))
    assert "needs more samples with a nearest neuron than twice n_neighbors" in caplog.text


@pytest.mark.parametrize("k", [0, -1, 2.0, True])
def test_n_neighbors_must_be_a_whole_number_of_at_least_one(k: int) -> None:
    with pytest.raises(ArgumentError, match=f"n_neighbors must be a whole number of at least 1, got {k}"):
        trustworthiness(torch.zeros(9, 1), torch.zeros(9, dtype=torch.int64), Grid(1, 1), EUCLIDEAN, k)

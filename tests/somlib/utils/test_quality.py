"""Measures of quality, against their definitions as plain loops, scikit-learn, scipy, and maps with a known answer."""

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils import quality
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.metrics import quantization_error, topographic_error
from somlib.utils.neighborhood import KERNELS
from somlib.utils.quality import (
    MEASURES,
    QualityReport,
    bootstrap_intervals,
    combined_error,
    distortion,
    neighborhood_preservation,
    quality_report,
    topographic_product,
    trustworthiness,
)
from somlib.utils.search import TorchSearch, Winners
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice

EUCLIDEAN = Metric("euclidean")
METRICS = ("euclidean", "manhattan", "chebyshev", "cosine")
GOLOMB = [0, 2, 6, 24, 29, 40, 43, 55, 68, 75, 76, 85]  # a ruler on which all distances differ


def grid_of(lattice: Lattice) -> Grid:
    return Grid(**lattice.arguments)


def random_map(lattice: Lattice, n: int = 60, d: int = 3, missing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Samples and a codebook that is ordered along its rows and columns, more or less."""
    rng = np.random.default_rng(lattice.m + n)
    codebook = rng.normal(size=(lattice.m, d))
    codebook[:, :2] += [oracle.position(lattice, neuron) for neuron in range(lattice.m)]
    data = codebook[rng.integers(lattice.m, size=n)] + rng.normal(size=(n, d))
    data[rng.random(data.shape) < missing] = np.nan
    return torch.from_numpy(data), torch.from_numpy(codebook)


def winners_of(data: Tensor, codebook: Tensor, metric: Metric = EUCLIDEAN) -> Winners:
    return TorchSearch(codebook, metric).nearest(data, k=2)


def report_of(data: Tensor, codebook: Tensor, grid: Grid, sigma: float = 1.0, **options: Any) -> QualityReport:
    winners, generator = winners_of(data, codebook), torch.Generator().manual_seed(0)
    return quality_report(data, winners, codebook, grid, EUCLIDEAN, KERNELS["gaussian"], sigma, generator, **options)


# ---- distortion


def distortion_by_loops(
    data: Array, codebook: Array, lattice: Lattice, kernel: str, sigma: float, metric: str, factors: Array | None
) -> float:
    h, energies = oracle.kernel_matrix(lattice, kernel, sigma), []
    for sample in data:
        order = oracle.ranked(sample, codebook, metric, factors)
        if order:
            squares = [oracle.feature_distance(sample, w, "euclidean", factors) ** 2 for w in codebook]
            energies.append(sum(h[order[0], j] * squares[j] for j in range(len(codebook))))
    return float(np.mean(energies))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_distortion_matches_its_definition(lattice: Lattice, kernel: str, missing: float) -> None:
    data, codebook = random_map(lattice, missing=missing)
    winner = winners_of(data, codebook).index[:, 0]
    expected = distortion_by_loops(data.numpy(), codebook.numpy(), lattice, kernel, 1.3, "euclidean", None)
    measured = distortion(data, winner, codebook, grid_of(lattice), EUCLIDEAN, KERNELS[kernel], 1.3)
    assert measured == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_distortion_squares_weighted_differences_whatever_metric_finds_the_winner(name: str) -> None:
    lattice, factors = FOUR[1], (2.0, 0.0, 0.5)
    data, codebook = random_map(lattice)
    data[0] = 0  # has no winner under cosine
    metric = Metric(name, factors)
    winner = winners_of(data, codebook, metric).index[:, 0]
    expected = distortion_by_loops(data.numpy(), codebook.numpy(), lattice, "gaussian", 0.8, name, np.array(factors))
    measured = distortion(data, winner, codebook, grid_of(lattice), metric, KERNELS["gaussian"], 0.8)
    assert measured == pytest.approx(expected, rel=1e-12)


def test_distortion_at_a_vanishing_radius_is_the_mean_squared_distance_to_the_winner() -> None:
    data, codebook = random_map(FOUR[0])
    winners = winners_of(data, codebook)
    measured = distortion(data, winners.index[:, 0], codebook, grid_of(FOUR[0]), EUCLIDEAN, KERNELS["gaussian"], 1e-3)
    assert measured == pytest.approx(float(winners.distance[:, 0].square().mean()))


def test_distortion_is_not_lost_at_an_offset() -> None:
    data, codebook = (values.float() for values in random_map(FOUR[0]))
    moved, moved_codebook = data + 2.0**12, codebook + 2.0**12
    winner = winners_of(moved, moved_codebook).index[:, 0]
    expected = distortion_by_loops(
        moved.double().numpy(), moved_codebook.double().numpy(), FOUR[0], "gaussian", 1.0, "euclidean", None
    )
    measured = distortion(moved, winner, moved_codebook, grid_of(FOUR[0]), EUCLIDEAN, KERNELS["gaussian"], 1.0)
    assert measured == pytest.approx(expected, rel=1e-10)


# ---- combined error


def combined_error_by_loops(data: Array, codebook: Array, lattice: Lattice, metric: str) -> float:
    paths = shortest_paths(codebook, lattice, metric)
    total, counted = 0.0, 0
    for sample in data:
        order = oracle.ranked(sample, codebook, metric)
        if order:
            total += oracle.feature_distance(sample, codebook[order[0]], metric) + paths[order[0], order[1]]
            counted += 1
    return total / counted


def shortest_paths(codebook: Array, lattice: Lattice, metric: str) -> Array:
    """Floyd and Warshall."""
    m = lattice.m
    length = np.full((m, m), math.inf)
    for a in range(m):
        length[a, a] = 0.0
        for b in oracle.neighbors(lattice)[a]:
            length[a, b] = oracle.feature_distance(codebook[a], codebook[b], metric)
    for via, a, b in itertools.product(range(m), repeat=3):
        length[a, b] = min(length[a, b], length[a, via] + length[via, b])
    return length


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_combined_error_matches_its_definition(lattice: Lattice, name: str) -> None:
    data, codebook = random_map(lattice, missing=0.2)
    metric = Metric(name)
    expected = combined_error_by_loops(data.numpy(), codebook.numpy(), lattice, name)
    measured = combined_error(winners_of(data, codebook, metric), codebook, grid_of(lattice), metric)
    assert measured == pytest.approx(expected, rel=1e-9)


def test_combined_error_goes_all_the_way_around_a_map_whose_ends_meet() -> None:
    neurons, gap = 200, 0.01
    angle = torch.linspace(gap, 2 * math.pi - gap, neurons, dtype=torch.float64)
    codebook = torch.stack((angle.cos(), angle.sin()), dim=1)
    sample = torch.tensor([[1.0, 1e-4]], dtype=torch.float64)  # between the two ends, a little nearer to the first
    start = math.dist(sample[0].tolist(), codebook[0].tolist())
    around = (neurons - 1) * 2 * math.sin((math.pi - gap) / (neurons - 1))
    flat, ring = Grid(1, neurons), Grid(1, neurons, pbc=True)
    winners = winners_of(sample, codebook)
    assert combined_error(winners, codebook, flat, EUCLIDEAN) == pytest.approx(start + around)
    assert combined_error(winners, codebook, ring, EUCLIDEAN) == pytest.approx(start + 2 * math.sin(gap))


def test_combined_error_passes_neurons_that_lie_on_one_another() -> None:
    codebook = torch.tensor([[0.0], [5.0], [5.0], [0.2]])
    winners = winners_of(torch.tensor([[0.05]]), codebook)
    assert combined_error(winners, codebook, Grid(1, 4), EUCLIDEAN) == pytest.approx(0.05 + 5 + 0 + 4.8)
    equal = torch.ones(4, 1)
    assert combined_error(winners_of(torch.tensor([[3.0]]), equal), equal, Grid(1, 4), EUCLIDEAN) == 2.0


def test_combined_error_is_undefined_where_a_zero_vector_blocks_every_way(caplog: pytest.LogCaptureFixture) -> None:
    codebook = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.9, 0.1]])
    cosine = Metric("cosine")
    with caplog.at_level(logging.INFO):
        assert math.isnan(
            combined_error(winners_of(torch.tensor([[2.0, 0.0]]), codebook, cosine), codebook, Grid(1, 3), cosine)
        )
    assert "combined error not defined: it needs samples with two nearest neurons, joined by a path" in caplog.text


# ---- trustworthiness and neighborhood preservation


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
    monkeypatch.setattr(quality, "CHUNK_ENTRIES", {"cpu": 1})
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


# ---- topographic product


def in_order(row: Array, j: int) -> list[list[int]]:
    """The others by distance, in groups of equal distance."""
    others = sorted((n for n in range(len(row)) if n != j), key=lambda n: row[n])
    groups: list[list[int]] = []
    for n in others:
        if groups and row[n] - row[groups[-1][0]] < 1e-9:
            groups[-1].append(n)
        else:
            groups.append([n])
    return groups


def logs_by_rank(groups: list[list[int]], row: Array) -> list[float]:
    """Log distance of the l-th nearest, on average over the orders of those that tie."""
    return [sum(math.log(row[n]) for n in group) / len(group) for group in groups for _ in group]


def topographic_product_by_loops(on_grid: Array, in_features: Array) -> float:
    m, total = len(on_grid), 0.0
    for j in range(m):
        a, v = in_order(on_grid[j], j), in_order(in_features[j], j)
        q1 = np.subtract(logs_by_rank(a, in_features[j]), logs_by_rank(v, in_features[j]))
        q2 = np.subtract(logs_by_rank(a, on_grid[j]), logs_by_rank(v, on_grid[j]))
        for k in range(1, m):
            total += sum(q1[:k] + q2[:k]) / (2 * k)
    return total / (m * (m - 1))


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_topographic_product_matches_its_definition(lattice: Lattice, name: str) -> None:
    codebook = random_map(lattice)[1]
    features = np.array([[oracle.feature_distance(a, b, name) for b in codebook.numpy()] for a in codebook.numpy()])
    expected = topographic_product_by_loops(oracle.distances(lattice), features)
    assert topographic_product(codebook, grid_of(lattice), Metric(name)) == pytest.approx(expected, rel=1e-9)


def test_topographic_product_of_equally_far_neurons_matches_its_definition() -> None:
    lattice = FOUR[1]
    codebook = torch.from_numpy(np.random.default_rng(0).permutation(20)).double()[:, None]  # many tie in features too
    features = (codebook - codebook.T).abs().numpy()
    expected = topographic_product_by_loops(oracle.distances(lattice), features)
    assert topographic_product(codebook, grid_of(lattice), EUCLIDEAN) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("grid", [Grid(1, 12), Grid(6, 5), Grid(6, 5, "hexagonal")], ids=str)
def test_topographic_product_of_the_grid_itself_is_zero_at_any_scale(grid: Grid) -> None:
    # The log of a tie that rounding breaks changes nothing: both distances are equal there.
    assert topographic_product(1e3 * grid.positions + 7, grid, EUCLIDEAN) == pytest.approx(0, abs=1e-12)


def test_topographic_product_is_negative_for_a_chain_folded_into_a_plane() -> None:
    snake = [(row, column if row % 2 == 0 else 5 - column) for row in range(6) for column in range(6)]
    assert topographic_product(torch.tensor(snake).double(), Grid(1, 36), EUCLIDEAN) < -0.05


def test_topographic_product_is_positive_for_a_plane_squeezed_onto_a_line() -> None:
    grid = Grid(6, 6)
    line = grid.positions @ torch.tensor([[1.0], [0.01]], dtype=torch.float64)
    assert topographic_product(line, grid, EUCLIDEAN) > 0.05


def test_topographic_product_under_cosine_is_that_of_the_unit_vectors() -> None:
    codebook = random_map(FOUR[0])[1]
    units = codebook / codebook.norm(dim=1, keepdim=True)
    under_cosine = topographic_product(codebook, grid_of(FOUR[0]), Metric("cosine"))
    assert under_cosine == pytest.approx(topographic_product(units, grid_of(FOUR[0]), EUCLIDEAN), rel=1e-9)


def test_topographic_product_of_a_part_of_the_neurons_estimates_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = random_map(FOUR[2])[1]
    whole = topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN)
    monkeypatch.setattr(quality, "NEURON_PAIRS", 5 * 20)
    generator = torch.Generator().manual_seed(0)
    parts = [topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN, generator) for _ in range(300)]
    assert np.std(parts) > 0
    assert np.mean(parts) == pytest.approx(whole, abs=4 * float(np.std(parts)) / math.sqrt(300))
    assert topographic_product(codebook, grid_of(FOUR[2]), EUCLIDEAN) == whole


@pytest.mark.parametrize("codebook", [torch.zeros(1, 2), torch.tensor([[0.0], [1.0], [0.0]])], ids=["one", "equal"])
def test_topographic_product_needs_neurons_that_differ(codebook: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert math.isnan(topographic_product(codebook, Grid(1, len(codebook)), EUCLIDEAN))
    assert "topographic product not defined: it needs two neurons at least, and no two at distance 0" in caplog.text


# ---- bootstrap


def test_bootstrap_intervals_agree_with_scipy() -> None:
    terms = torch.from_numpy(np.random.default_rng(0).exponential(size=(300, 2)))
    low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), 4_000, 0.9)
    theirs = scipy.stats.bootstrap(
        (terms.numpy(),), np.mean, axis=0, confidence_level=0.9, n_resamples=4_000, method="percentile", rng=1
    ).confidence_interval
    np.testing.assert_allclose(low, theirs.low, atol=0.01)
    np.testing.assert_allclose(high, theirs.high, atol=0.01)


def test_bootstrap_intervals_of_more_rows_than_a_resample_draws_are_as_wide_as_theory_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quality, "RESAMPLED_ROWS", 200)
    terms = torch.randn(5_000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), 4_000)
    assert float(high - low) == pytest.approx(2 * 1.96 * float(terms.std()) / math.sqrt(5_000), rel=0.05)


def test_bootstrap_intervals_hold_the_mean_even_of_equal_terms_and_of_one_resample() -> None:
    equal = torch.full((7, 1), 0.1, dtype=torch.float64)
    for terms in (equal, torch.arange(5.0)[:, None]):
        low, high = bootstrap_intervals(terms, torch.Generator().manual_seed(0), resamples=1)
        assert low <= terms.double().mean() <= high


def test_bootstrap_intervals_of_one_sample_are_undefined() -> None:
    low, high = bootstrap_intervals(torch.ones(1, 3), torch.Generator())
    assert bool(low.isnan().all())
    assert bool(high.isnan().all())


# ---- the report


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_report_holds_every_measure_as_its_function_gives_it(lattice: Lattice) -> None:
    data, codebook = random_map(lattice, n=80, missing=0.1)
    data[3] = math.nan
    grid, winners = grid_of(lattice), winners_of(data, codebook)
    winner = winners.index[:, 0]
    report = report_of(data, codebook, grid)
    expected = {
        "quantization_error": quantization_error(winners),
        "topographic_error": topographic_error(winners, grid),
        "edge_topographic_error": topographic_error(winners, grid, "edge"),
        "distortion": distortion(data, winner, codebook, grid, EUCLIDEAN, KERNELS["gaussian"], 1.0),
        "combined_error": combined_error(winners, codebook, grid, EUCLIDEAN),
        "trustworthiness": trustworthiness(data, winner, grid, EUCLIDEAN),
        "neighborhood_preservation": neighborhood_preservation(data, winner, grid, EUCLIDEAN),
        "topographic_product": topographic_product(codebook, grid, EUCLIDEAN),
    }
    assert {name: estimate.value for name, estimate in report.estimates.items()} == pytest.approx(expected)
    assert list(report.estimates) == list(MEASURES)
    assert (report.n_samples, report.n_compared) == (79, 79)


def test_report_intervals_hold_their_values_and_shrink_with_the_samples() -> None:
    data, codebook = random_map(FOUR[0], n=800)
    few, many = (report_of(data[:n], codebook, grid_of(FOUR[0]), resamples=300) for n in (80, 800))
    for name in MEASURES:
        if name == "topographic_product":
            assert math.isnan(few[name].low)
            continue
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].low < many[name].value < many[name].high
        assert many[name].high - many[name].low < 0.5 * (few[name].high - few[name].low)


def test_report_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone() -> None:
    data, codebook = random_map(FOUR[1])
    before = torch.get_rng_state()
    assert report_of(data, codebook, grid_of(FOUR[1])) == report_of(data, codebook, grid_of(FOUR[1]))
    assert torch.equal(torch.get_rng_state(), before)


def test_report_compares_the_neighborhoods_of_a_sample_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "COMPARED_ROWS", 200)
    data, codebook = random_map(FOUR[0], n=600)
    report = report_of(data, codebook, grid_of(FOUR[0]), n_neighbors=15, resamples=50)
    winner = winners_of(data, codebook).index[:, 0]
    assert (report.n_samples, report.n_compared) == (600, 200)
    whole = trustworthiness(data, winner, grid_of(FOUR[0]), EUCLIDEAN, 45)  # the same share of the rows
    assert report["trustworthiness"].value == pytest.approx(whole, abs=0.03)


def test_report_of_a_map_of_one_neuron_says_what_is_not_defined(caplog: pytest.LogCaptureFixture) -> None:
    data, codebook = torch.arange(30.0)[:, None], torch.zeros(1, 1)
    with caplog.at_level(logging.INFO):
        report = report_of(data, codebook, Grid(1, 1))
    undefined = {name for name in MEASURES if math.isnan(report[name].value)}
    assert undefined == {"topographic_error", "edge_topographic_error", "combined_error", "topographic_product"}
    assert report["quantization_error"].value == 14.5
    assert caplog.text.count("not defined: it needs") == 4


def test_report_of_one_sample_has_values_and_no_intervals() -> None:
    codebook = random_map(FOUR[0])[1]
    report = report_of(codebook[:1] + 0.1, codebook, grid_of(FOUR[0]))
    assert report["quantization_error"].value == pytest.approx(0.1 * math.sqrt(3))
    assert math.isnan(report["quantization_error"].low)
    assert math.isnan(report["trustworthiness"].value)


def test_report_without_any_winner_leaves_only_what_the_map_alone_tells() -> None:
    codebook = random_map(FOUR[0])[1]
    report = report_of(torch.full((40, 3), math.nan, dtype=torch.float64), codebook, grid_of(FOUR[0]))
    assert report.n_samples == report.n_compared == 0
    assert [name for name in MEASURES if not math.isnan(report[name].value)] == ["topographic_product"]


def test_report_prints_a_line_in_plain_language_for_each_measure() -> None:
    data, codebook = random_map(FOUR[0], n=15)
    report = report_of(data, codebook, grid_of(FOUR[0]), sigma=0.75)
    header, titles, *lines = str(report).splitlines()
    assert header == "Quality on 15 samples (distortion at sigma 0.75; neighborhoods of 10 among 15 samples)"
    assert "95% interval" in titles
    assert len(lines) == len(MEASURES)
    for line, (name, measure) in zip(lines, MEASURES.items(), strict=True):
        assert line.startswith(measure.label)
        defined = not math.isnan(report[name].value)
        assert line.endswith(measure.meaning if defined else f"not defined: it needs {measure.needs}")
    assert f"{report['quantization_error'].value:.3f}"[:4] in lines[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0.0}, "sigma must be finite and > 0, got 0.0"),
        ({"sigma": math.nan}, "sigma must be finite and > 0, got nan"),
        ({"n_neighbors": 0}, "n_neighbors must be a whole number of at least 1, got 0"),
        ({"resamples": 0}, "resamples must be a whole number of at least 1, got 0"),
        ({"confidence": 1.0}, "confidence must lie between 0 and 1, got 1.0"),
    ],
)
def test_report_refuses_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    data, codebook = random_map(FOUR[0])
    with pytest.raises(ArgumentError, match=message):
        report_of(data, codebook, grid_of(FOUR[0]), **options)

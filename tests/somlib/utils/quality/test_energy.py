"""The distortion against its definition as plain loops."""

import numpy as np
import pytest

from somlib.utils.distances import Metric
from somlib.utils.neighborhood import KERNELS
from somlib.utils.quality import distortion
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice
from tests.somlib.utils.quality.cases import EUCLIDEAN, METRICS, grid_of, random_map, winners_of


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

"""The combined error against its definition as plain loops."""

import itertools
import logging
import math

import numpy as np
import pytest
import torch

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.quality import combined_error
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Array, Lattice
from tests.somlib.utils.quality.cases import EUCLIDEAN, METRICS, grid_of, random_map, winners_of


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

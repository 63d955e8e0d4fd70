"""Contiguity against its definition as a search over the grid."""

import logging
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from somlib.utils.clustering import topological_quality
from somlib.utils.grid import Grid
from tests.somlib.oracle import SMALL, Lattice
from tests.somlib.utils.clustering.cases import contiguity_by_definition


def test_contiguity_of_noise_alone_is_nan_with_the_reason_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="somlib.utils.clustering"):
        assert math.isnan(topological_quality(torch.full((6,), -1), Grid(2, 3)))
    assert "topological_quality not defined: all neurons are noise" in caplog.messages


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

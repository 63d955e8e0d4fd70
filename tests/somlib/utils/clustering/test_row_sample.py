"""Rows for methods that ask for them: which count, what stands for missing values, values of few levels."""

import numpy as np
import pytest
import torch

from somlib.errors import ShapeError
from somlib.utils.clustering.row_sample import ROWS, RowSample, sampled, without_steps


def test_rows_without_a_neuron_or_a_weight_do_not_count() -> None:
    samples = torch.arange(8.0).reshape(4, 2)
    found = RowSample.of(samples, torch.tensor([2, -1, 0, 1]), torch.tensor([1.0, 1.0, 0.0, 3.0]))
    assert found.values.tolist() == [[0.0, 1.0], [6.0, 7.0]]
    assert found.winner.tolist() == [2, 1]
    assert found.weight.tolist() == [1.0, 3.0]
    assert RowSample.of(samples, torch.zeros(4, dtype=torch.int64)).weight.tolist() == [1.0] * 4


def test_lengths_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"winner and weight must have shape \(4,\), one a row, got \(3,\)"):
        RowSample.of(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))


def test_a_missing_value_is_drawn_around_its_neuron_as_wide_as_known_ones_lie() -> None:
    rng, points = np.random.default_rng(0), np.array([[0.0, 0.0], [100.0, 0.0]])
    winner = np.arange(4000) % 2
    values = points[winner] + rng.normal(size=(4000, 2)) * [2.0, 5.0]
    missing = rng.uniform(size=(4000, 2)) < 0.3
    sample = RowSample(np.where(missing, np.nan, values), winner, np.ones(4000))
    found = sample.complete(points, 0)
    np.testing.assert_array_equal(found[~missing], values[~missing])
    for column, deviation in enumerate((2.0, 5.0)):
        drawn = (found - points[winner])[missing[:, column], column]
        assert drawn.mean() == pytest.approx(0.0, abs=0.3)
        assert drawn.std() == pytest.approx(deviation, rel=0.1)
    np.testing.assert_array_equal(found, sample.complete(points, 0))


def test_many_rows_are_sampled_without_repeats() -> None:
    assert sampled(ROWS, 0) is None
    kept = sampled(ROWS + 1, 0)
    assert kept is not None
    assert len(set(kept.tolist())) == ROWS
    assert torch.equal(kept, kept.sort().values)
    other = sampled(ROWS + 1000, 1)
    assert other is not None
    assert not torch.equal(other, kept)


def test_values_on_a_lattice_are_spread_over_its_step() -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 10, 5000).astype(float)
    continuous = rng.normal(size=5000)
    found = without_steps(np.stack((whole, continuous, np.zeros(5000)), axis=1), 0)
    assert np.abs(found[:, 0] - whole).max() <= 0.5
    assert np.histogram(found[:, 0], bins=40, range=(-0.5, 9.5))[0].min() > 60  # 125 expected in a quarter of a step
    np.testing.assert_array_equal(found[:, 1:], np.stack((continuous, np.zeros(5000)), axis=1))


def test_a_gap_between_levels_that_are_close_stays() -> None:
    levels = np.append(np.arange(20), np.arange(200, 220))[np.arange(2000) % 40].astype(float)
    found = without_steps(levels[:, None], 0)[:, 0]
    assert np.abs(found - levels).max() <= 0.5

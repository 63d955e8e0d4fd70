import numpy as np
import pytest

from somlib.jitl.moments import NeuronMoments, group_sums


def test_group_sums_match_their_definition() -> None:
    rng = np.random.default_rng(0)
    rows, group = rng.normal(size=(40, 3)), rng.integers(-1, 5, 40)
    expected = np.zeros((6, 3, 3))
    for row, g in zip(rows, group, strict=True):
        if g >= 0:
            expected[g] += np.outer(row, row)
    np.testing.assert_allclose(group_sums(rows, group, 6), expected, rtol=1e-12, atol=1e-12)


def test_adding_and_removing_equals_the_sums_of_what_stays() -> None:
    rng = np.random.default_rng(1)
    rows, neuron = rng.normal(size=(300, 4)), rng.integers(0, 7, 300)
    moments = NeuronMoments(7, 4)
    moments.add(rows[:200], neuron[:200])
    moments.add(rows[200:], neuron[200:])
    kept = rng.random(300) < 0.7
    moments.remove(rows, neuron, kept)
    np.testing.assert_allclose(moments.sums, group_sums(rows[kept], neuron[kept], 7), rtol=1e-12, atol=1e-12)


def test_a_neuron_that_loses_all_is_exactly_empty() -> None:
    rows = np.random.default_rng(2).normal(size=(20, 3))
    moments = NeuronMoments(1, 3)
    moments.add(rows, np.zeros(20, dtype=np.int64))
    moments.remove(rows, np.zeros(20, dtype=np.int64), np.zeros(20, dtype=bool))
    assert not moments.sums.any()


@pytest.mark.parametrize("huge", [1e6, 1e9])
def test_removing_something_huge_leaves_the_digits_of_the_rest(huge: float) -> None:
    rows = np.random.default_rng(3).normal(size=(20, 3))
    rows[4] *= huge
    neuron, kept = np.zeros(20, dtype=np.int64), np.arange(20) != 4
    moments = NeuronMoments(1, 3)
    moments.add(rows, neuron)
    moments.remove(rows, neuron, kept)
    np.testing.assert_allclose(moments.sums[0], rows[kept].T @ rows[kept], rtol=1e-13)

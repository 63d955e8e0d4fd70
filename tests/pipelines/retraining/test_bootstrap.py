"""Intervals of paired means, against scipy's bootstrap, a plain loop, and how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from pipelines.retraining.bootstrap import (
    LEAST_ROWS,
    MOST_BLOCKS,
    FloatArray,
    _block_sums,
    _resampled_means,
    _tail,
    block_length,
    paired_interval,
)


def difference(first: FloatArray, second: FloatArray) -> FloatArray:
    return first - second


def autoregressive(n: int, phi: float, seed: int) -> FloatArray:
    """A series with mean 0, each value `phi` times the one before plus noise of deviation 1."""
    noise, series = np.random.default_rng(seed).normal(size=n + 200), np.zeros(n + 200)
    for i in range(1, n + 200):
        series[i] = phi * series[i - 1] + noise[i]
    return series[200:]


def test_independent_rows_get_the_interval_of_a_plain_bootstrap() -> None:
    random = np.random.default_rng(3)
    first, second = random.gamma(2, 1, 400), random.gamma(2, 1.1, 400)
    assert block_length(first * second.mean() - second * first.mean()) == 1

    def gain(a: FloatArray, b: FloatArray, axis: int = -1) -> FloatArray:
        return 1 - b.mean(axis) / a.mean(axis)

    expected = stats.bootstrap(
        (first, second), gain, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = paired_interval(first, second, lambda a, b: 1 - b / a, 0.95)
    width = expected.high - expected.low
    assert found == pytest.approx(tuple(expected), abs=0.05 * width)


def test_a_draw_is_made_of_stretches_that_wrap_around_the_end() -> None:
    values = np.arange(10.0).reshape(5, 2)
    expected = [sum(values[(start + k) % 5] for k in range(3)) for start in range(5)]
    np.testing.assert_allclose(_block_sums(values, 3), expected)
    np.testing.assert_array_equal(_block_sums(values, 0), np.zeros((5, 2)))


def test_blocks_have_the_length_of_the_definition() -> None:
    series = autoregressive(400, 0.8, 5)
    n, centered = len(series), series - series.mean()
    covariance = [sum(centered[i] * centered[i + k] for i in range(n - k)) / n for k in range(n)]
    bound, m = 2 * np.sqrt(np.log10(n) / n) * covariance[0], 0
    while any(abs(covariance[m + k]) >= bound for k in range(1, 6)):
        m += 1
    assert 0 < 2 * m < np.sqrt(n) + 6  # else the lags would have been cut
    weight = {k: 1.0 if abs(k) <= m else 2 * (1 - abs(k) / (2 * m)) for k in range(-2 * m, 2 * m + 1)}
    bias = sum(w * abs(k) * covariance[abs(k)] for k, w in weight.items())
    spread = 4 / 3 * sum(w * covariance[abs(k)] for k, w in weight.items()) ** 2
    assert block_length(series) == np.ceil((2 * bias**2 / spread) ** (1 / 3) * n ** (1 / 3))


def test_correlated_rows_are_drawn_in_longer_blocks_but_never_in_fewer_than_three() -> None:
    lengths = [np.mean([block_length(autoregressive(300, phi, seed)) for seed in range(20)]) for phi in (0, 0.5, 0.9)]
    assert lengths[0] < 2 < lengths[1] < lengths[2]
    assert block_length(np.arange(60.0)) <= 20
    assert block_length(np.ones(60)) == 1


def test_a_95_percent_interval_holds_the_truth_nearly_that_often_on_correlated_rows() -> None:
    held, naive, samples = 0, 0, 150
    for seed in range(samples):
        change, base = autoregressive(400, 0.6, seed), np.random.default_rng(seed + 1_000).normal(10, 1, 400)
        low, high = paired_interval(base + change, base, difference, 0.95, seed)
        held += low <= 0 <= high
        naive += abs(change.mean()) <= 1.96 * change.std(ddof=1) / 20
    assert 0.9 <= held / samples <= 0.99
    assert naive / samples < 0.75  # what is promised as 95 % where rows are taken for independent


def test_blocks_are_as_long_as_the_ratio_needs_where_the_difference_is_not_correlated() -> None:
    """The ratio of two means: both series swing together, so their difference is white and their ratio is not."""
    held, short, samples = 0, 0, 150
    for seed in range(samples):
        first = 10 + autoregressive(400, 0.6, seed)
        second = first + 10 + np.random.default_rng(seed + 1_000).normal(0, 0.1, 400)
        assert block_length(first - second) <= 3
        low, high = paired_interval(first, second, lambda a, b: b / a, 0.95, seed)
        held += low <= 2 <= high
        short += abs(first.mean() - 10) <= 1.96 * first.std(ddof=1) / 20
    assert 0.9 <= held / samples <= 0.99
    assert short / samples < 0.75


@pytest.mark.parametrize(("blocks", "quantile"), [(4, 3.182446), (6, 2.570582), (20, 2.093024)])
def test_few_blocks_take_the_percentile_further_out_by_students_table(blocks: int, quantile: float) -> None:
    """Student's quantile at 0.975 with blocks - 1 degrees of freedom, from the table; the normal tail by erfc."""
    reach = quantile * math.sqrt(blocks / (blocks - 1))
    assert _tail(0.95, blocks) == pytest.approx(math.erfc(reach / math.sqrt(2)) / 2, rel=1e-5)


@pytest.mark.parametrize("blocks", [4, 10])
def test_expanded_percentiles_of_few_normal_blocks_hold_the_truth_as_often_as_they_say(blocks: int) -> None:
    means = np.random.default_rng(blocks).normal(size=(200_000, blocks))
    spread = means.std(axis=1) / math.sqrt(blocks)  # of the bootstrap: over the blocks there are
    inside = np.abs(means.mean(axis=1)) <= stats.norm.isf(_tail(0.9, blocks)) * spread
    assert inside.mean() == pytest.approx(0.9, abs=0.003)


def test_draws_have_as_many_rows_as_there_are_where_blocks_do_not_divide_them() -> None:
    ones = np.ones(LEAST_ROWS)
    np.testing.assert_allclose(_resampled_means(ones, 2 * ones, 7, seed=0), [[1.0, 2.0]] * 2_000)


def test_a_long_series_is_drawn_in_a_bounded_number_of_blocks() -> None:
    swings = np.resize([1.0, -1.0], 2 * MOST_BLOCKS)  # blocks of two rows cancel, single rows do not
    assert block_length(swings) == 1
    low, high = paired_interval(swings, 0 * swings, difference, 0.95)
    assert abs(low) < 1e-9
    assert abs(high) < 1e-9


def test_the_fewest_rows_that_are_taken_get_an_interval() -> None:
    rows = autoregressive(LEAST_ROWS, 0.0, 1)
    low, high = paired_interval(rows, 0 * rows, difference, 0.95)
    assert low < rows.mean() < high


def test_the_same_rows_give_the_same_interval() -> None:
    rows = autoregressive(100, 0.5, 0)
    assert paired_interval(rows, rows**2, difference, 0.9) == paired_interval(rows, rows**2, difference, 0.9)


def test_more_confidence_takes_a_wider_interval() -> None:
    rows = autoregressive(100, 0.5, 0)
    inner, outer = (paired_interval(rows, 0 * rows, difference, level) for level in (0.8, 0.99))
    assert outer[0] < inner[0] < inner[1] < outer[1]


def test_too_few_rows_are_refused() -> None:
    rows = np.ones(LEAST_ROWS - 1)
    with pytest.raises(ValueError, match=f"first must have at least {LEAST_ROWS} rows, got {LEAST_ROWS - 1}"):
        paired_interval(rows, rows, difference, 0.95)


@pytest.mark.parametrize(("n", "seed", "uncapped"), [(24, 331, 15), (30, 314, 12), (30, 260, 17)])
def test_a_block_of_a_short_series_is_at_most_a_third_of_it(n: int, seed: int, uncapped: int) -> None:
    """Random walks that ask for longer blocks, of which two would tell nothing of the spread."""
    walk = np.random.default_rng(seed).normal(size=n).cumsum()
    assert block_length(walk) == math.ceil(n / 3) < uncapped <= 3 * math.sqrt(n) + 1

r"""How sure a comparison of two means over the same rows is, where rows near in time are alike.

Rows in the order of time are not independent: a model that errs at noon errs at one o'clock too. Resampling single
rows would take them for independent and call noise certain. Here whole stretches of rows are drawn, both models' rows
together, and the statistic is computed from the two means of each draw: the circular block bootstrap (Politis and
Romano 1992). With R(k) the autocovariance at lag k and w a flat-top window that ends at 2 m, m the lag from which on
correlations are no larger than chance, the length of blocks that estimates the variance best is

    b = (2 G^2 / D)^(1/3) n^(1/3),    G = sum w(k) |k| R(k),    D = 4/3 (sum w(k) R(k))^2

n / b blocks are a small sample, however many rows they hold, and its plain percentiles are too narrow: they are taken
further out, as Student's t with n / b - 1 degrees of freedom is wider than the normal (Hesterberg's expanded
percentiles).

References:
    Politis and White, Automatic block-length selection for the dependent bootstrap, Econometric Reviews 23 (2004),
    with the correction of Patton, Politis and White, Econometric Reviews 28 (2009).
    Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015), sec. 5.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray, FloatArray], FloatArray]

RESAMPLES = 2_000
LEAST_ROWS = 50  # of 24 rows correlated by 0.5 from each to the next, 95 % intervals hold the truth in 80 %
MOST_BLOCKS = 5_000  # a draw has no more: longer blocks cost a long series no precision, and bound the time
CHUNK_ENTRIES = 2**20


def paired_interval(
    first: FloatArray, second: FloatArray, statistic: Statistic, confidence: float, seed: int = 0
) -> tuple[float, float]:
    """Interval of a statistic of two means over the same rows.

    Args:
        first: Values of one model, finite, in the order of time, shape (n,), n >= `LEAST_ROWS`.
        second: Values of the other at the same rows, shape (n,).
        statistic: From means of `first` and of `second`, shape (r,) each, to shape (r,); infinity is allowed.
        confidence: Share of such intervals that hold the true value, between 0 and 1.
        seed: Of the resampling.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: Too few rows.
    """
    n = len(first)
    if n < LEAST_ROWS:
        raise ValueError(f"first must have at least {LEAST_ROWS} rows, got {n}")
    length = max(block_length(first * second.mean() - second * first.mean()), math.ceil(n / MOST_BLOCKS))
    draws = statistic(*_resampled_means(first, second, length, seed).T)
    tail = _tail(confidence, n / length)
    low, high = np.quantile(draws, (tail, 1 - tail), method="nearest")  # others subtract, which infinity forbids
    return float(low), float(high)


def block_length(series: FloatArray) -> int:
    """Rows in a block of the circular block bootstrap of the mean of a series, at most a third of it.

    Args:
        series: In the order of time, shape (n,), n >= `LEAST_ROWS`.
    """
    n = len(series)
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    covariance = _autocovariances(series, math.ceil(math.sqrt(n)) + run)
    if covariance[0] <= 0:
        return 1
    within_chance = np.abs(covariance[1:]) < 2 * math.sqrt(math.log10(n) / n) * covariance[0]
    last = _last_before_run(within_chance, run)
    if last == 0:
        return 1
    lags = np.arange(1, min(2 * last, len(covariance) - 1) + 1)
    window = np.clip(2 * (1 - lags / (2 * last)), 0, 1)
    spread = covariance[0] + 2 * float(window @ covariance[lags])
    bias = 2 * float((window * lags) @ covariance[lags])
    if spread <= 0:  # swings cancel within a block of any length
        return 1
    return min(max(1, math.ceil(math.cbrt(1.5 * n * (bias / spread) ** 2))), longest)


def _autocovariances(series: FloatArray, most: int) -> FloatArray:
    """Autocovariances at lags 0 to `most`, or as many as there are."""
    centered, n = series - series.mean(), len(series)
    lags = range(min(most, n - 1) + 1)
    return np.array([float(centered[: n - lag] @ centered[lag:]) / n for lag in lags])


def _last_before_run(within_chance: NDArray[np.bool_], run: int) -> int:
    """The lag after which the first `run` lags in a row are within chance; else the last lag that is not."""
    runs = np.lib.stride_tricks.sliding_window_view(within_chance, run).all(axis=1)
    return int(runs.argmax()) if runs.any() else int(np.flatnonzero(~within_chance)[-1]) + 1


def _resampled_means(first: FloatArray, second: FloatArray, length: int, seed: int) -> FloatArray:
    """Means of both over rows drawn in circular blocks, n rows a draw, shape (RESAMPLES, 2)."""
    n = len(first)
    random = np.random.default_rng(seed)
    whole, rest = divmod(n, length)
    values = np.column_stack((first, second))
    sums, last = _block_sums(values, length), _block_sums(values, rest)
    means = [
        (sums[random.integers(0, n, (draws, whole))].sum(axis=1) + last[random.integers(0, n, draws)]) / n
        for draws in _chunks(RESAMPLES, max(1, CHUNK_ENTRIES // whole))
    ]
    return np.concatenate(means)


def _block_sums(values: FloatArray, length: int) -> FloatArray:
    """Sum of the `length` rows from each row on, the first following the last, shape (n, 2)."""
    wrapped = np.concatenate((np.zeros((1, values.shape[1])), values, values[:length])).cumsum(axis=0)
    sums: FloatArray = wrapped[length : length + len(values)] - wrapped[: len(values)]
    return sums


def _tail(confidence: float, blocks: float) -> float:
    """Share of draws beyond either end of the interval."""
    freedom = max(blocks - 1, 1.0)
    reach = math.sqrt(blocks / freedom) * stats.t.ppf((1 + confidence) / 2, freedom)
    return float(stats.norm.cdf(-reach))


def _chunks(total: int, size: int) -> Iterator[int]:
    """Sizes that add up to `total`, none above `size`."""
    for start in range(0, total, size):
        yield min(size, total - start)

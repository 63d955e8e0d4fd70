r"""Whether rows lie in two groups with a valley between them, by counts that chance cannot make.

Rows are projected on a line and counted in bins. Between two peaks of at least p rows a bin of c rows has the deviance

    G^2 = 2 [ p log(2 p / (p + c)) + c log(2 c / (p + c)) ]

that is about chi-squared with one degree of freedom where all bins are equal but for chance, so G is a standard score.
The deepest of all bins, of several widths, says how sure a valley is.

References:
    Anderson and Bahadur, Classification into two multivariate normal distributions with different covariance matrices,
    Ann. Math. Statist. 33(2), 1962 (the line).
"""

import math

import numpy as np

from somlib.utils.clustering.neurons import FloatArray

DEEP = 0.6  # of the lower peak; a bin above is no valley, however sure: no density is quite even
BINS = tuple(round(5 * 2 ** (i / 2)) for i in range(10))
OFFSETS = (0.0, 0.5)  # of a bin
FEWEST = 9  # rows below which a valley is never sure
TILTS = np.linspace(0.03, 0.97, 9)
LEAST_VARIANCE = 1e-3  # of the mean one, a feature


def valley(line: FloatArray, weight: FloatArray) -> float:
    """The standard score of the deepest valley in values (n,), each of some weight, 0 where there is none."""
    if len(line) < FEWEST or not np.ptp(line):
        return 0.0
    best, at = 0.0, (line - line.min()) / np.ptp(line)
    for bins in BINS:
        for offset in OFFSETS:
            count = np.bincount((at * (bins - 1e-9) + offset).astype(np.int64), weight, minlength=bins + 1)
            peak = np.minimum(np.maximum.accumulate(count), np.maximum.accumulate(count[::-1])[::-1])
            deep = (peak > 0) & (count < DEEP * peak)
            p, c = peak[deep], count[deep]
            deviance = 2 * (p * np.log(2 * p / (p + c)) + c * np.log(np.maximum(2 * c / (p + c), 1e-300)))
            best = max(best, float(deviance.max(initial=0.0)))
    return math.sqrt(best)


def discriminant(one: FloatArray, of_one: FloatArray, other: FloatArray, of_other: FloatArray) -> FloatArray:
    """The direction on which two groups of rows (n, d) of some weight (n,) overlap least, shape (d,)."""
    d = one.shape[1]
    first, second = (
        np.cov(rows.T, aweights=weight, bias=True).reshape(d, d) for rows, weight in ((one, of_one), (other, of_other))
    )
    between = np.average(other, axis=0, weights=of_other) - np.average(one, axis=0, weights=of_one)
    least = LEAST_VARIANCE * (np.trace(first + second) / 2 / d or 1.0) * np.eye(d)
    directions = [np.linalg.solve(q * first + (1 - q) * second + least, between) for q in TILTS]
    apart = [w @ between / (np.sqrt(w @ first @ w) + np.sqrt(w @ second @ w) + 1e-300) for w in directions]
    return directions[int(np.argmax(apart))]

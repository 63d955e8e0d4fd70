"""Whether columns of a sample say the same, or say a target: what `looking.py` compares them by."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.labels import labels

SAME, COPIES = 1 - 1e-9, 1 - 1e-6  # correlation of two columns that say the same, and of one that says the target
PRESENT = 0.85  # and with a target of whether there is a value, from which on the value comes after the target
FEWEST_ROWS = 20  # that have both: fewer agree by chance
MOST_PAIRS, ROWS_A_PAIR = 50, 5  # different pairs of values of two columns, and rows that each has on average, at least
LIKELY, FIRST_ROWS = 0.9, 1_000  # correlation over a few of the rows that two columns must have to be looked at whole
UNLIKE_GAPS = 0.02  # share of rows by which the missing values of two columns that say the same may differ


class Numbers(NamedTuple):
    """A column as numbers.

    Attributes:
        values: float64, NaN where missing, shape (n,); of texts codes.
        amounts: Whether more of the number is more of something.
        codes: Of each value its number among the different ones, -1 where missing, shape (n,); None where these are
            more than `MOST_PAIRS`.
    """

    values: NDArray[np.float64]
    amounts: bool
    codes: NDArray[np.int64] | None


def as_numbers(values: pl.Series) -> Numbers:
    """A column of any type as numbers."""
    amounts = values.dtype.is_numeric() or values.dtype.is_temporal() or values.dtype == pl.Boolean
    plain = values.to_physical() if amounts else labels(values).cast(pl.Categorical).to_physical()
    found = plain.cast(pl.Float64).fill_null(np.nan).to_numpy()
    known = np.isfinite(found)
    distinct, places = np.unique(found[known], return_inverse=True)
    codes = np.full(len(found), -1)
    codes[known] = places
    return Numbers(np.where(known, found, np.nan), amounts, codes if len(distinct) <= MOST_PAIRS else None)


def say_the_same(a: Numbers, b: Numbers, least: float) -> bool:
    """Whether each value of one goes with one value of the other, or the two correlate by at least that much."""
    return (a.amounts and b.amounts and _correlate(a, b, least)) or _pair_up(a, b)


def _correlate(a: Numbers, b: Numbers, least: float) -> bool:
    """Whether two amounts correlate by at least that much; most pairs differ in a few of the rows already."""
    step = max(1, len(a.values) // FIRST_ROWS)
    for values in ((a.values[::step], b.values[::step]), (a.values, b.values)):
        known = ~np.isnan(values[0]) & ~np.isnan(values[1])
        x, y = (each[known] for each in values)
        varies = len(x) >= FEWEST_ROWS and x.std() > 0 and y.std() > 0
        if varies and abs(np.corrcoef(x, y)[0, 1]) < LIKELY:
            return False
    return bool(varies and _alike_gaps(a, b) and abs(np.corrcoef(x, y)[0, 1]) >= least)


def _pair_up(a: Numbers, b: Numbers) -> bool:
    """Whether each of few values of one goes with one value of the other."""
    if a.codes is None or b.codes is None or not _alike_gaps(a, b):
        return False
    known = (a.codes >= 0) & (b.codes >= 0)
    if known.sum() < FEWEST_ROWS:
        return False
    x, y = a.codes[known], b.codes[known]
    pairs, first, second = (np.count_nonzero(np.bincount(each)) for each in (x * (y.max() + 1) + y, x, y))
    return bool(1 < pairs <= min(MOST_PAIRS, len(x) // ROWS_A_PAIR) and pairs == first == second)


def _alike_gaps(a: Numbers, b: Numbers) -> bool:
    gaps = abs(int(np.isnan(a.values).sum()) - int(np.isnan(b.values).sum()))
    return gaps <= UNLIKE_GAPS * len(a.values)


def there_with(column: Numbers, target: Numbers) -> bool:
    """Whether it depends on the target if there is a value at all."""
    known = ~np.isnan(target.values)
    there, goal = (~np.isnan(column.values[known])).astype(np.float64), target.values[known]
    if len(goal) < FEWEST_ROWS or there.std() == 0 or goal.std() == 0:
        return False
    return bool(abs(np.corrcoef(there, goal)[0, 1]) >= PRESENT)


def summands(target: Numbers, columns: Mapping[str, Numbers]) -> tuple[str, ...]:
    """Two columns whose sum is the target in every row; none where there are no such two."""
    goal = target.values
    if not target.amounts or np.isnan(goal).all():
        return ()
    size, names = np.nanmax(np.abs(goal)), list(columns)
    step = max(1, len(goal) // FIRST_ROWS)
    few = np.array([columns[name].values[::step] for name in names])
    for i, first in enumerate(names):
        apart = np.abs(few[i + 1 :] + few[i] - goal[::step])
        for j in np.flatnonzero(~(apart > 1e-9 * size).any(axis=1)):  # the few rows do not speak against it
            second = names[i + 1 + j]
            whole = np.abs(columns[first].values + columns[second].values - goal)
            known = ~np.isnan(whole)
            if known.sum() >= FEWEST_ROWS and (whole[known] <= 1e-9 * size).all():
                return first, second
    return ()

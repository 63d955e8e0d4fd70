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
UNLIKE_GAPS = 0.02  # share of rows by which the missing values of two columns that say the same may differ


class Numbers(NamedTuple):
    """A column as numbers.

    Attributes:
        values: float64, NaN where missing, shape (n,); of texts codes.
        amounts: Whether more of the number is more of something.
    """

    values: NDArray[np.float64]
    amounts: bool


def as_numbers(values: pl.Series) -> Numbers:
    """A column of any type as numbers."""
    amounts = values.dtype.is_numeric() or values.dtype.is_temporal() or values.dtype == pl.Boolean
    plain = values.to_physical() if amounts else labels(values).cast(pl.Categorical).to_physical()
    found = plain.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return Numbers(np.where(np.isfinite(found), found, np.nan), amounts)


def say_the_same(a: Numbers, b: Numbers, least: float) -> bool:
    """Whether each value of one goes with one value of the other, or the two correlate by at least that much."""
    known = ~np.isnan(a.values) & ~np.isnan(b.values)
    gaps = abs(int(np.isnan(a.values).sum()) - int(np.isnan(b.values).sum()))
    if known.sum() < FEWEST_ROWS or gaps > UNLIKE_GAPS * len(known):
        return False
    x, y = a.values[known], b.values[known]
    if a.amounts and b.amounts and x.std() > 0 and y.std() > 0 and abs(np.corrcoef(x, y)[0, 1]) >= least:
        return True
    pairs = len(np.unique(np.column_stack([x, y]), axis=0))
    few = 1 < pairs <= min(MOST_PAIRS, len(x) // ROWS_A_PAIR)
    return bool(few and pairs == len(np.unique(x)) == len(np.unique(y)))


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
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            apart = np.abs(columns[first].values + columns[second].values - goal)
            known = ~np.isnan(apart)
            if known.sum() >= FEWEST_ROWS and (apart[known] <= 1e-9 * size).all():
                return first, second
    return ()

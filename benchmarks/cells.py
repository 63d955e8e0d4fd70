"""The data that training is measured on: made sets, sets shipped with scikit-learn, and the shipped weather.

Made sets look like sensors of a plant with several states: a point moves within one of twelve clusters in a space of
three hidden variables, each feature is a smooth function of them, the same for all rows, and has noise of its own:

    x = s + 0.2 e,   s = tanh(z A + a) B standardized,   z = cluster center + 0.5 e',   all draws normal

One seed fixes them. Rows are float32 and standardized in all sets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_breast_cancer, load_digits

Array = np.ndarray
WEATHER = Path(__file__).parents[1] / "data" / "weather" / "**" / "*.parquet"
WEATHER_FEATURES = ["^.*_EWR$", "^.*_LGA$", "hour"]
CLUSTERS, HIDDEN, WAVES, NOISE = 12, 3, 24, 0.2


@dataclass(frozen=True)
class Cell:
    """One set of rows on one map.

    Attributes:
        load: Makes the rows, float32, shape (n, d).
        x: Rows of the map.
        y: Columns of the map.
        topology: Of the map.
        optional: Whether it runs only when named.
    """

    load: Callable[[], Array]
    x: int = 25
    y: int = 15
    topology: str = "rectangular"
    optional: bool = False


def manifold(n: int, d: int, seed: int = 1_001) -> Array:
    """Clusters on a curved body of three dimensions, seen through d noisy features."""
    rng = np.random.default_rng(seed)
    centers = 1.5 * rng.normal(size=(CLUSTERS, HIDDEN))
    A, a = rng.normal(size=(HIDDEN, WAVES)) / np.sqrt(HIDDEN), rng.normal(size=WAVES)
    B = rng.normal(size=(WAVES, d)) / np.sqrt(WAVES)
    z = centers[rng.integers(CLUSTERS, size=n)] + 0.5 * rng.normal(size=(n, HIDDEN))
    signal = standardized(np.tanh(z @ A + a) @ B)
    return standardized(signal + NOISE * rng.standard_normal((n, d), dtype=np.float32))


def digits() -> Array:
    return standardized(load_digits().data)


def cancer() -> Array:
    return standardized(load_breast_cancer().data)


def weather() -> Array:
    """The sensors of two airports and the hour, complete rows only."""
    rows = pl.read_parquet(WEATHER, hive_partitioning=True).select(*(pl.col(name) for name in WEATHER_FEATURES))
    return standardized(rows.drop_nulls().to_numpy())


def standardized(rows: Array) -> Array:
    """Rows (n, d) with mean 0 and deviation 1 in each feature; a feature that never changes is 0."""
    deviation = rows.std(axis=0)
    return np.ascontiguousarray((rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1), dtype=np.float32)


CELLS = {
    **{f"{n}x{d}": Cell(partial(manifold, n, d)) for n in (4_000, 16_000) for d in (4, 50, 300)},
    "4000x50-hexagonal": Cell(partial(manifold, 4_000, 50), topology="hexagonal"),
    "digits": Cell(digits),
    "cancer": Cell(cancer, 15, 10),
    "weather": Cell(weather),
    "100000x32": Cell(partial(manifold, 100_000, 32), 30, 30),
    "1000000x16": Cell(partial(manifold, 1_000_000, 16), 50, 50),
    "100000x784": Cell(partial(manifold, 100_000, 784), 40, 40, optional=True),
}

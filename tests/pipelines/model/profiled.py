"""Rows with their place on a map, for the tests of profiles."""

import numpy as np

from pipelines.model.profile import AssignedRows
from somlib.utils.grid import Grid

GRID = Grid(4, 5)
NAN = float("nan")


def rows(n: int = 400, seed: int = 0) -> AssignedRows:
    random = np.random.default_rng(seed)
    features = {"a": random.normal(10, 2, n), "b": np.where(random.random(n) < 0.1, NAN, random.gamma(2, 1, n))}
    return AssignedRows(features, random.integers(0, GRID.m, n), random.gamma(9, 0.1, n), {"y": random.normal(size=n)})

"""A dataset of batches for tests, which counts its passes."""

from collections.abc import Iterator
from typing import Any


class Batches:
    """Rows (n, d) in batches of some size, with weights or without."""

    def __init__(self, rows: Any, size: int, weight: Any = None, n_rows: int | None = None) -> None:
        self.rows, self.size, self.weight = rows, size, weight
        self.passes = 0
        if n_rows is not None:
            self.n_rows = n_rows

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        for start in range(0, len(self.rows), self.size):
            part = slice(start, start + self.size)
            yield self.rows[part] if self.weight is None else (self.rows[part], self.weight[part])

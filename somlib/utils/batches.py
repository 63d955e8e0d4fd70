"""Rows that come batch by batch, from wherever they lie, for whoever need not hold them all.

A dataset of batches is any object that can be iterated again and again, each time to the same rows in the same order: a
class with `__iter__` over files, a `torch.utils.data.DataLoader` that does not shuffle. A batch is whatever holds rows
in memory, shape (b, d): a tensor, an array, a frame; or a pair `(rows, weights)` with one weight a row. Batches may be
of any size, and of different ones; the result does not depend on it.

A dataset may say how many rows it has, in an attribute `n_rows`, which saves a pass, and may have a method
`shuffled(seed)` that gives its batches in another order for each seed, which rules that learn row by row ask for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from somlib.errors import DataTypeError

IN_BATCHES = "sample_weight must be in the batches of data, as pairs (rows, weights)"
IN_MEMORY = ("__array__", "__getitem__", "shape", "columns", "column_names")


def is_batches(data: Any) -> bool:
    """Whether data is a dataset of batches rather than rows in memory.

    Raises:
        DataTypeError: What can be iterated once only, such as a generator.
    """
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | Sequence | Mapping | Set):
        return False
    if any(hasattr(type(data), name) for name in IN_MEMORY):  # of the class: of a LazyFrame to ask would be to compute
        return False
    if isinstance(data, Iterator):
        raise DataTypeError(
            f"data must be a dataset that can be iterated again, got a {type(data).__name__}, which ends after one "
            "pass: give an object whose __iter__ begins anew, or the rows in memory"
        )
    return True


def rows_and_weights(batch: Any) -> tuple[Any, Any]:
    """The rows of a batch, and their weights, None without any."""
    if isinstance(batch, tuple | list) and len(batch) in (1, 2) and len(getattr(batch[0], "shape", ())) == 2:
        return batch[0], batch[1] if len(batch) == 2 else None
    return batch, None


def known_length(data: Any) -> int | None:
    """How many rows a dataset says that it has."""
    n = getattr(data, "n_rows", None)
    return None if n is None else int(n)

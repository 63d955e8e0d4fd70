"""What is a dataset of batches, and what a batch holds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from somlib.errors import DataTypeError
from somlib.utils.batches import is_batches, known_length, rows_and_weights

ROWS = np.arange(6.0).reshape(3, 2)


class Batches:
    n_rows = 3

    def __iter__(self) -> Iterator[Any]:
        yield ROWS


@pytest.mark.parametrize(
    "data",
    [
        ROWS, torch.from_numpy(ROWS), ROWS.tolist(), tuple(ROWS), pd.DataFrame(ROWS), pl.DataFrame(ROWS),
        pl.DataFrame(ROWS).lazy(), pa.table({"a": [1.0]}), pd.Series([1.0]), pl.Series([1.0]), "text", {"a": 1},
        None, 3, np.ma.masked_array(ROWS), memoryview(b"12"),
    ],
)  # fmt: skip
def test_rows_in_memory_are_no_batches(data: Any) -> None:
    assert not is_batches(data)


def test_what_can_be_iterated_again_is_batches() -> None:
    assert is_batches(Batches())
    assert is_batches(DataLoader(TensorDataset(torch.from_numpy(ROWS)), batch_size=2))
    assert known_length(Batches()) == 3
    assert known_length(DataLoader(TensorDataset(torch.from_numpy(ROWS)))) is None


def test_what_ends_after_one_pass_is_refused() -> None:
    with pytest.raises(DataTypeError, match="iterated again, got a generator"):
        is_batches(row for row in ROWS)


def test_a_batch_is_rows_or_rows_with_weights() -> None:
    weight = np.ones(3)
    for rows in (ROWS, torch.from_numpy(ROWS), pd.DataFrame(ROWS), pl.DataFrame(ROWS), pa.table({"a": [1.0]})):
        for batch in ((rows, weight), [rows, weight]):
            got = rows_and_weights(batch)
            assert got[0] is rows
            assert got[1] is weight
        assert rows_and_weights([rows])[0] is rows
        assert rows_and_weights(rows) == (rows, None) or rows_and_weights(rows)[0] is rows
    assert rows_and_weights(ROWS.tolist()) == (ROWS.tolist(), None)

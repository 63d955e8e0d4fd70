"""Blocks out of batches, and rows out of blocks."""

import numpy as np
import pytest
import torch

from somlib.core import blocks as module
from somlib.core.blocks import BlockReader, Gathering
from tests.somlib.core.batches import Batches

ROWS = np.arange(46.0).reshape(23, 2)


def reader(size: int, weight: np.ndarray | None = None) -> BlockReader:
    return BlockReader(Batches(ROWS, size, weight), lambda rows, name, names: torch.from_numpy(rows), None)


@pytest.mark.parametrize("size", [1, 4, 5, 11, 23, 100])
def test_blocks_are_the_same_whatever_the_batches_are(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 2 * 5)
    weight = np.arange(23.0)
    found = list(reader(size, weight).blocks())
    assert [(block.start, len(block.data)) for block in found] == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
    np.testing.assert_array_equal(torch.cat([block.data for block in found]).numpy(), ROWS)
    weights = [block.weight for block in found if block.weight is not None]
    np.testing.assert_array_equal(torch.cat(weights).numpy(), weight)


def test_rows_are_picked_out_of_blocks_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 2 * 5)
    gathering = Gathering([torch.tensor([22, 3]), torch.tensor([3, 9, 10])], torch.device("cpu"))
    for block in reader(4).blocks():
        gathering.take(block)
    held = gathering.held(torch.float64)
    assert held.numbers.tolist() == [3, 9, 10, 22]
    places = held.places_of(torch.tensor([10, 3, 10]))
    assert places is not None
    np.testing.assert_array_equal(held.rows.part(places).data.numpy(), ROWS[[10, 3, 10]])
    assert held.places_of(torch.tensor([10, 4])) is None
    assert held.places_of(torch.tensor([0])) is None

"""Rows in chunks, and exact distances against their definition as a loop."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from somlib.utils import winners
from somlib.utils.distances import Metric
from somlib.utils.winners import block_entries, exact_distances, paired_distances, row_chunks


def test_chunks_cover_every_row_once() -> None:
    assert [range(10)[rows] for rows in row_chunks(10, 4)] == [range(4), range(4, 8), range(8, 10)]
    assert list(row_chunks(0, 4)) == []


@pytest.mark.parametrize("entries", [1, 2**16])
def test_exact_distances_are_those_of_each_pair_at_an_offset_and_nan_where_there_is_no_neuron(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winners, "EXACT_ENTRIES", {"cpu": entries})
    generator = torch.Generator().manual_seed(0)
    data, codebook = (torch.randn(n, 3, generator=generator) + 1e4 for n in (5, 4))
    index = torch.tensor([[0, 3], [1, -1], [2, 2], [-1, 0], [3, 1]])
    found = exact_distances(data, codebook, index, Metric("euclidean"))
    for i, row in enumerate(index.tolist()):
        for rank, k in enumerate(row):
            expected = math.dist(data[i].tolist(), codebook[k].tolist()) if k >= 0 else math.nan
            assert float(found[i, rank]) == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_paired_distances_are_those_of_each_pair() -> None:
    data, codebook = torch.tensor([[0.0, 0.0], [1.0, 5.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    sample, neuron = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    assert paired_distances(data, codebook, sample, neuron, Metric("manhattan")).tolist() == [7.0, 3.0, 4.0]


def test_a_block_on_the_cpu_has_the_limit_of_the_cpu_or_all_that_is_wanted() -> None:
    tensor = torch.zeros(1)
    assert block_entries({"cpu": 100, "cuda": 7}, tensor, 1_000) == 100
    assert block_entries({"cpu": 100, "cuda": 7}, tensor, 40) == 40


def test_a_block_on_a_card_fits_into_what_is_free_there(monkeypatch: pytest.MonkeyPatch) -> None:
    on_card: Any = SimpleNamespace(device=torch.device("cuda"), is_cuda=True)  # no card needed to ask
    megabyte = 2**20
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * megabyte, 1_000 * megabyte))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 90 * megabyte)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 62 * megabyte)
    limits = {"cpu": 1, "cuda": 2**27}
    assert block_entries(limits, on_card, 2**40) * 64 == 128 * megabyte
    assert block_entries(limits, on_card, 5_000) == 5_000

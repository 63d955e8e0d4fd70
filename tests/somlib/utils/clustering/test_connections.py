"""Rows of neurons and of pairs of neurons, counted from their two nearest."""

from collections import Counter

import pytest
import torch

from somlib.errors import ShapeError
from somlib.utils.clustering import Connections
from somlib.utils.clustering import connections as module


def winners(n: int, m: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    index = torch.stack([torch.randperm(m, generator=generator)[:2] for _ in range(n)])
    index[::7] = -1
    index[3::11, 1] = -1
    return index


@pytest.mark.parametrize("dense", [0, 10**6])
def test_counts_match_their_definition(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_NEURONS", dense)
    index, weight = winners(200, 6), torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight[5] = 0
    rows, pairs = Counter[int](), Counter[tuple[int, int]]()
    for (first, second), own in zip(index.tolist(), weight.tolist(), strict=True):
        if first >= 0:
            rows[first] += own
        if first >= 0 and second >= 0 and own > 0:
            pairs[min(first, second), max(first, second)] += own
    found = Connections.of_winners(index, 6, weight)
    torch.testing.assert_close(found.rows, torch.tensor([rows[k] for k in range(6)], dtype=torch.float64))
    assert [tuple(pair) for pair in found.pairs.tolist()] == sorted(pairs)
    torch.testing.assert_close(found.shared, torch.tensor([pairs[p] for p in sorted(pairs)], dtype=torch.float64))


def test_a_weight_counts_like_copies() -> None:
    index, weight = winners(50, 5), torch.arange(50) % 4
    weighted = Connections.of_winners(index, 5, weight.float())
    copied = Connections.of_winners(index.repeat_interleave(weight, dim=0), 5)
    for name, value in weighted.tensors().items():
        torch.testing.assert_close(value, copied.tensors()[name])


def test_neurons_put_in_another_order_keep_their_rows() -> None:
    index, order = winners(100, 8), torch.randperm(8, generator=torch.Generator().manual_seed(2))
    place = order.argsort()
    moved = torch.where(index < 0, -1, place[index.clamp_min(0)])
    turned, counted = Connections.of_winners(index, 8).reordered(order), Connections.of_winners(moved, 8)
    for name, value in turned.tensors().items():
        assert torch.equal(value, counted.tensors()[name])


@pytest.mark.parametrize("dense", [0, 1_000])
def test_those_of_parts_add_up(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_NEURONS", dense)
    index, weight = winners(100, 8), torch.arange(100.0)
    whole = Connections.of_winners(index, 8, weight).tensors()
    parts = [Connections.of_winners(index[part], 8, weight[part]) for part in (slice(30), slice(30, None))]
    for name, value in parts[0].plus(parts[1]).tensors().items():
        assert torch.equal(value, whole[name])


def test_a_map_of_one_neuron_has_rows_and_no_pairs() -> None:
    found = Connections.of_winners(torch.tensor([[0, -1], [0, -1]]), 1)
    assert (found.rows.tolist(), found.pairs.tolist()) == ([2.0], [])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"index must have shape \(n, 2\), got \(3, 1\)"):
        Connections.of_winners(torch.zeros(3, 1, dtype=torch.int64), 2)
    with pytest.raises(ShapeError, match=r"weight must have shape \(3,\), got \(2,\)"):
        Connections.of_winners(torch.zeros(3, 2, dtype=torch.int64), 2, torch.ones(2))

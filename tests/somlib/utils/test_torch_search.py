"""The pieces of the exact search, and its memory; that its winners are the true ones is in `test_search.py`."""

import pytest
import torch

from somlib.utils import torch_search, winners
from somlib.utils.distances import Metric
from somlib.utils.torch_search import TorchSearch, smallest, smallest_by_lanes
from tests.somlib.largest import largest_tensor

NAMES = ("euclidean", "manhattan", "cosine", "chebyshev")
NAN = float("nan")


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_the_smallest_are_those_of_a_stable_sort(k: int, lanes: int) -> None:
    values = torch.randn(50, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = values.sort(dim=1, stable=True)
    for find in (smallest, lambda v, count: smallest_by_lanes(v, count, lanes)):
        value, index = find(values.clone(), k)
        assert torch.equal(value, expected.values[:, : k + 1])
        assert torch.equal(index, expected.indices[:, :k])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_value_after_the_smallest_is_left_out_where_it_is_not_wanted(k: int) -> None:
    values = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    expected = values.sort(dim=1, stable=True)
    value, index = smallest_by_lanes(values.clone(), k, 8, one_more=False)
    assert torch.equal(value[:, :k], expected.values[:, :k])
    assert torch.equal(index, expected.indices[:, :k])
    assert torch.isinf(value[:, k]).all()


def test_nan_and_infinity_never_are_the_smallest_and_ties_go_to_the_lowest_index() -> None:
    inf = float("inf")
    values = torch.tensor([[NAN, 2.0, 1.0, 1.0], [inf, NAN, inf, -5.0], [NAN, NAN, inf, NAN]])
    value, index = smallest(values, 2)
    assert index.tolist() == [[2, 3], [3, -1], [-1, -1]]
    assert value.tolist() == [[1.0, 1.0, 2.0], [-5.0, inf, inf], [inf, inf, inf]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", [False, True])
def test_no_search_builds_more_than_a_chunk(name: str, missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_search, "CHUNK_ENTRIES", {"cpu": 64 * 160})
    monkeypatch.setattr(winners, "EXACT_ENTRIES", {"cpu": 1_000})
    generator = torch.Generator().manual_seed(0)
    data, codebook = (
        torch.randint(0, 3, (n, 20), generator=generator).float() for n in (400, 160)
    )  # ties: the longest way
    if missing:
        data[:, 0] = NAN
    # Samples by neurons is 64 000, by features 1 280 000; a chunk of pairs and its gathered rows stay below.
    assert largest_tensor(lambda: TorchSearch(codebook, Metric(name)).nearest(data, k=2)) <= 2 * 64 * 160

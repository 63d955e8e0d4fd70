"""The pieces of the exact search, and its memory; that its winners are the true ones is in `test_search.py`."""

import pytest
import torch

from somlib.utils import masked_distances, torch_search, winners
from somlib.utils.distances import Metric
from somlib.utils.torch_search import TorchSearch
from tests.somlib.largest import largest_tensor

NAMES = ("euclidean", "manhattan", "cosine", "chebyshev")
NAN = float("nan")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("missing", [False, True])
def test_no_search_builds_more_than_a_chunk(name: str, missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_search, "CHUNK_ENTRIES", {"cpu": 64 * 160})
    monkeypatch.setattr(winners, "EXACT_ENTRIES", {"cpu": 1_000})
    monkeypatch.setattr(masked_distances, "BLOCK_ENTRIES", {"cpu": 64 * 160})
    generator = torch.Generator().manual_seed(0)
    data, codebook = (
        torch.randint(0, 3, (n, 20), generator=generator).float() for n in (400, 160)
    )  # ties: the longest way
    if missing:
        data[:, 0] = NAN
    # Samples by neurons is 64 000, by features 1 280 000; a chunk of pairs and its gathered rows stay below.
    assert largest_tensor(lambda: TorchSearch(codebook, Metric(name)).nearest(data, k=2)) <= 2 * 64 * 160

"""FAISS where it is missing, and its inverted file; that its winners are the true ones is in `test_search.py`."""

import pytest
import torch

from somlib.errors import ArgumentError
from somlib.utils import faiss_search
from somlib.utils.distances import Metric
from somlib.utils.search import TorchSearch, make_search


def test_without_faiss_auto_is_torch_and_asking_for_faiss_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(faiss_search, "faiss_module", lambda: None)
    codebook = torch.zeros(2_500, 16)
    assert isinstance(make_search(codebook, Metric("euclidean"), "auto"), TorchSearch)
    with pytest.raises(ArgumentError, match="search_backend='faiss' needs the package faiss-cpu"):
        make_search(codebook, Metric("euclidean"), "faiss")


def large_codebook() -> torch.Tensor:
    """Neurons of a 110 x 100 map over a curved sheet in eight dimensions."""
    u, v = torch.meshgrid(torch.linspace(-2, 2, 110), torch.linspace(-2, 2, 100), indexing="ij")
    return torch.stack([u, v, u * v, u.sin(), v.cos(), u**2 / 2, (u + v).sin(), (u - v) / 3], dim=2).flatten(0, 1)


def test_an_inverted_file_finds_nearly_all_winners_of_a_large_map_and_their_true_distances() -> None:
    codebook = large_codebook()
    data = codebook[::7] + 0.05 * torch.randn(len(codebook[::7]), 8, generator=torch.Generator().manual_seed(0))
    search = make_search(codebook, Metric("euclidean"), "faiss_ivf")
    assert type(search).__name__ == "FaissIvfSearch"
    found = search.nearest(data, k=2)
    exact = torch.cdist(data.double(), codebook.double()).topk(2, largest=False)
    assert float((found.index[:, 0] == exact.indices[:, 0]).float().mean()) > 0.999
    witness = (data.double() - codebook[found.index[:, 0]].double()).norm(dim=1)
    torch.testing.assert_close(found.distance[:, 0].double(), witness, rtol=1e-5, atol=1e-6)


def test_an_inverted_file_is_exact_below_its_size_and_for_other_distances() -> None:
    codebook = large_codebook()
    for neurons, name in ((codebook[:400], "euclidean"), (codebook, "manhattan")):
        search = make_search(neurons, Metric(name), "faiss_ivf")
        data = neurons[:50] + 0.01
        expected = make_search(neurons, Metric(name), "torch").nearest(data).index
        assert torch.equal(search.nearest(data).index, expected)


def test_an_inverted_file_leaves_rows_without_a_distance_out() -> None:
    codebook = large_codebook()
    data = torch.cat((codebook[:3], torch.zeros(1, 8)))
    found = make_search(codebook, Metric("cosine"), "faiss_ivf").nearest(data)
    assert found.index[3, 0] == -1
    assert bool(torch.isnan(found.distance[3, 0]))

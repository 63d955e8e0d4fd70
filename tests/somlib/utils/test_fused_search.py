"""The fused search finds the winners of the exact one, and its bound holds for what tensor cores do to a product."""

from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.utils import fused_search
from somlib.utils.distances import Metric
from somlib.utils.fused_search import FusedSearch, can_fuse, features_at_once, tensor_core_roundings
from somlib.utils.search import TorchSearch, make_search
from tests.somlib.largest import largest_tensor
from tests.somlib.utils.test_search import HARD, TIED, assert_nearest, true_distances, true_ranking

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAN = float("nan")
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")


@pytest.fixture
def every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows take the fused way, too."""
    monkeypatch.setattr(fused_search, "FEWEST_ROWS", 1)


@pytest.fixture
def decided_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows that go to the exact search from now on."""
    rows: list[int] = []
    nearest: Callable[..., Any] = TorchSearch.nearest

    def counted(self: Any, data: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(data))
        return nearest(self, data, *args, **kwargs)

    monkeypatch.setattr(TorchSearch, "nearest", counted)
    return rows


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@needs_triton
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # NumPy's word in the interpreter, at 1e30
@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("name", ["euclidean", "cosine"])
@pytest.mark.parametrize("case", HARD)
def test_the_winner_is_the_true_nearest_at_any_offset_and_scale(case: str, name: str) -> None:
    data, codebook = (t.float() for t in HARD[case]())
    found = FusedSearch(codebook.to(DEVICE), Metric(name)).nearest(data.to(DEVICE), k=2)
    assert_nearest(type(found)(found.index.cpu(), found.distance.cpu()), data, codebook, name, k=2)


@needs_triton
@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("name", ["euclidean", "cosine"])
@pytest.mark.parametrize("case", TIED)
def test_ties_go_to_the_lowest_flat_index(case: str, name: str) -> None:
    data, codebook = (t.float() for t in TIED[case]())
    expected = true_ranking(true_distances(data, codebook, name), 2)
    search = FusedSearch(codebook.to(DEVICE), Metric(name))
    assert search.nearest(data.to(DEVICE), k=2).index.tolist() == expected.tolist()
    assert search.nearest(data.to(DEVICE)).index.tolist() == expected[:, :1].tolist()


@needs_triton
@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("name", ["euclidean", "cosine"])
def test_feature_weights_missing_values_and_zero_vectors_are_decided_as_by_the_exact_search(name: str) -> None:
    data, codebook = normal(60, 4), normal(50, 4, seed=1)
    data[:5, 2], data[5], data[6], codebook[7] = NAN, NAN, 0, 0
    metric = Metric(name, (0.5, 0.0, 3.0, 1.0))
    for k in (1, 2, 3):
        found, expected = (search(codebook, metric).nearest(data, k) for search in (FusedSearch, TorchSearch))
        assert torch.equal(found.index, expected.index)
        torch.testing.assert_close(found.distance, expected.distance, rtol=0, atol=0, equal_nan=True)


@needs_triton
@pytest.mark.usefixtures("every_row")
@pytest.mark.parametrize("k", [1, 2])
def test_hardly_a_row_of_ordinary_data_has_to_be_decided_again(k: int, decided_again: list[int]) -> None:
    FusedSearch(normal(90, 34, seed=1), Metric("euclidean")).nearest(normal(1_000, 34), k)
    assert sum(decided_again) < 20


@needs_triton
@pytest.mark.usefixtures("every_row")
def test_chunks_change_no_winner_and_no_block_of_scores_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    data, codebook = normal(600, 4), normal(200, 4, seed=1)
    search = FusedSearch(codebook, Metric("euclidean"))
    expected = TorchSearch(codebook, Metric("euclidean")).nearest(data).index
    assert largest_tensor(lambda: search.nearest(data, distances=False)) < 600 * 200 / 10
    monkeypatch.setattr(fused_search, "POINT_ENTRIES", {"cpu": 4 * 250, "cuda": 4 * 250})
    assert [rows.stop - rows.start for rows in search.chunks(600)] == [250, 250, 100]
    assert torch.equal(search.nearest(data).index, expected)


def test_few_rows_and_many_winners_go_to_the_exact_search_at_once(decided_again: list[int]) -> None:
    search = FusedSearch(normal(20, 3), Metric("euclidean"))
    assert search.nearest(normal(5, 3)).index.shape == (5, 1)
    assert search.nearest(normal(9_000, 3), k=3).index.shape == (9_000, 3)
    assert decided_again == [5, 9_000]


# ---- where it can be used


def on_card(dtype: torch.dtype = torch.float32, entries: int = 300) -> Any:
    return SimpleNamespace(is_cuda=True, dtype=dtype, device=torch.device("cuda"), numel=lambda: entries)


def test_only_products_in_float32_on_tensor_cores_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = [(8, 0)]
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability[0])
    monkeypatch.setattr(fused_search, "_has_triton", lambda: True)
    monkeypatch.setattr(torch.version, "hip", None)
    euclidean = Metric("euclidean")
    assert can_fuse(on_card(), euclidean)
    assert can_fuse(on_card(), Metric("cosine"))
    assert not can_fuse(on_card(), Metric("manhattan"))
    assert not can_fuse(on_card(torch.float64), euclidean)
    assert not can_fuse(on_card(entries=2**31), euclidean)
    capability[0] = (7, 5)
    assert not can_fuse(on_card(), euclidean)
    capability[0] = (9, 0)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert not can_fuse(on_card(), euclidean)


def test_without_triton_or_a_card_the_exact_search_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(fused_search, "_has_triton", lambda: False)
    assert not can_fuse(on_card(), Metric("euclidean"))
    assert isinstance(make_search(torch.zeros(4, 2), Metric("euclidean")), TorchSearch)


# ---- the bound


def cut(values: Any, bits: int) -> Any:
    """Float64 values cut to so many significant bits, towards zero."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.trunc(np.ldexp(mantissa, bits)), exponent - bits)


def nearest_tf32(values: Any) -> Any:
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.floor(np.abs(np.ldexp(mantissa, 11)) + 0.5) * np.sign(mantissa), exponent - 11)


def tensor_core_sum(a: Any, b: Any, total: Any, block: int) -> Any:
    """`total` plus a . b over the last axis, by blocks: aligned to their largest number, cut where they stick out."""
    for start in range(0, a.shape[-1], block):
        terms = a[..., start : start + block] * b[..., start : start + block]
        terms = np.concatenate((terms, total[..., None]), axis=-1)
        unit = np.ldexp(1.0, np.frexp(np.abs(terms).max(axis=-1, keepdims=True))[1] - 24)
        total = cut((np.trunc(terms / unit) * unit).sum(axis=-1), 24)
    return total


def product_in_3xtf32(a: Any, b: Any, tile: int, block: int) -> Any:
    """a . b over the last axis, tiles added in float32."""
    (a_big, a_rest), (b_big, b_rest) = ((nearest_tf32(v), cut(v - nearest_tf32(v), 11)) for v in (a, b))
    total = np.zeros(a.shape[:-1], dtype=np.float32)
    for start in range(0, a.shape[-1], tile):
        part = slice(start, start + tile)
        small = tensor_core_sum(a_rest[..., part], b_big[..., part], np.zeros(total.shape), block)
        small = tensor_core_sum(a_big[..., part], b_rest[..., part], small, block)
        total = total + tensor_core_sum(a_big[..., part], b_big[..., part], small, block).astype(np.float32)
    return total.astype(np.float64)


@pytest.mark.parametrize("block", [2, 4, 8])
@pytest.mark.parametrize("d", [1, 7, 34, 64, 65, 300])
def test_the_bound_holds_for_products_as_tensor_cores_make_them(d: int, block: int) -> None:
    generator = np.random.default_rng(0)
    spread = generator.standard_normal((2, 2_000, d)).astype(np.float32).astype(np.float64)
    for a, b in (spread, np.abs(spread), spread * 10.0 ** generator.integers(-3, 4, d)):  # of one sign: cuts add up
        a, b = a.astype(np.float32).astype(np.float64), b.astype(np.float32).astype(np.float64)
        squares = (a * a).sum(axis=-1) + (b * b).sum(axis=-1)
        off = np.abs(product_in_3xtf32(a, b, features_at_once(d), block) - (a * b).sum(axis=-1)) / squares
        assert off.max() <= tensor_core_roundings(d)
        single = np.abs((nearest_tf32(a) * nearest_tf32(b)).sum(axis=-1) - (a * b).sum(axis=-1)) / squares
        assert single.max() > tensor_core_roundings(d)  # one TF32 product would not do


# ---- on a device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("d", [4, 34, 300])
@pytest.mark.parametrize("k", [1, 2])
def test_on_a_device_winners_are_those_of_the_exact_search_and_scores_are_not_stored(d: int, k: int) -> None:
    data, codebook = normal(100_000, d), normal(2_500, d, seed=1)
    search = make_search(codebook, Metric("euclidean"))
    assert isinstance(search, FusedSearch)
    search.nearest(data[:10_000], k)  # compiles
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = search.nearest(data, k, distances=False).index
    assert torch.cuda.max_memory_allocated() - before < len(data) * len(codebook) * 4 / 3
    assert torch.equal(found, TorchSearch(codebook.double(), Metric("euclidean")).nearest(data.double(), k).index)

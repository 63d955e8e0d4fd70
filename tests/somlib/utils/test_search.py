"""Winners: the true nearest neuron, whatever the numbers, the chunks and the backend.

The witness ranks neurons by differences in extended precision, which decides what float64 cannot.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from somlib.utils import faiss_search, torch_search, winners
from somlib.utils.distances import Metric
from somlib.utils.search import Backend, TorchSearch, Winners, make_search
from tests.somlib.oracle import feature_distance

NAMES = ("euclidean", "manhattan", "cosine", "chebyshev")
BACKENDS: tuple[Backend, ...] = ("torch", "faiss")
DTYPES = (torch.float32, torch.float64)
NAN = float("nan")
N, M, D = 120, 70, 5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed)).double()


def clusters(at: float) -> tuple[Tensor, Tensor]:
    """Samples and neurons of spread 1 around two places, in turn."""
    side = torch.tensor([at, -at]).double()
    return normal(N, D) + side.repeat(N // 2)[:, None], normal(M, D, seed=1) + side.repeat(M // 2)[:, None]


def on_neurons() -> tuple[Tensor, Tensor]:
    codebook = normal(M, D, seed=1)
    return codebook[torch.arange(N) % M], codebook


# What is easy in exact arithmetic and hard in float32: (samples, codebook).
HARD: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "plain": lambda: (normal(N, D), normal(M, D, seed=1)),
    "offset 1e3": lambda: (normal(N, D) + 1e3, normal(M, D, seed=1) + 1e3),
    "offset 3e3 times 1e-2": lambda: (normal(N, D) / 100 + 3e3, normal(M, D, seed=1) / 100 + 3e3),
    "offset 1e6": lambda: (normal(N, D) + 1e6, normal(M, D, seed=1) + 1e6),
    "clusters at 40": lambda: clusters(40),
    "clusters at 300": lambda: clusters(300),
    "clusters at 1e4": lambda: clusters(1e4),
    "on neurons": on_neurons,
    "near neurons": lambda: (on_neurons()[0] * (1 + 1e-6), on_neurons()[1]),
    "codebook far away": lambda: (normal(N, D), normal(M, D, seed=1) + 1e4),
    "one neuron far away": lambda: (normal(N, D), torch.cat((normal(M - 1, D, seed=1), torch.full((1, D), 1e8)))),
    "1e30": lambda: (normal(N, D) * 1e30, normal(M, D, seed=1) * 1e30),
    "1e-30": lambda: (normal(N, D) * 1e-30, normal(M, D, seed=1) * 1e-30),
    "one feature": lambda: (normal(N, 1), normal(M, 1, seed=1)),
    "many features": lambda: (normal(N, 80), normal(M, 80, seed=1)),
    "one neuron": lambda: (normal(N, D), normal(1, D, seed=1)),
}
# Where many neurons are exactly as near as the nearest.
TIED: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "whole numbers": lambda: (whole(5, N, 3), whole(4, M, 3, seed=1)),
    "whole numbers at 1e4": lambda: (whole(5, N, 3) + 1e4, whole(4, M, 3, seed=1) + 1e4),
    "centers of a grid": lambda: (whole(4, N, 2) + 0.5, torch.cartesian_prod(*torch.arange(16.0).view(2, 8).double())),
    "duplicates": lambda: (normal(N, D).float().double(), normal(7, D, seed=1).float().double().repeat(10, 1)),
    "all neurons equal": lambda: (normal(N, D), torch.full((M, D), 0.3).double()),
    "zeros and ones": lambda: (whole(2, N, 8), whole(2, M, 8, seed=1)),
}  # fmt: skip


def true_distances(data: Tensor, codebook: Tensor, name: str) -> Any:
    """Distances (n, m) of complete rows in extended precision; NaN where a cosine is not defined."""
    x, w = data.numpy().astype(np.longdouble), codebook.numpy().astype(np.longdouble)
    if name == "cosine":
        with np.errstate(invalid="ignore"):
            x, w = (v / np.sqrt((v * v).sum(axis=1, keepdims=True)) for v in (x, w))
    difference = np.abs(x[:, None] - w[None])
    if name == "manhattan":
        return difference.sum(axis=2)
    if name == "chebyshev":
        return difference.max(axis=2)
    squares = (difference * difference).sum(axis=2)
    return squares / 2 if name == "cosine" else np.sqrt(squares)


def true_ranking(distances: Any, k: int) -> Any:
    """The `k` nearest neurons of each row, ties (to the last bits of extended precision) by index."""
    rows = []
    for row in distances:
        left, order = np.flatnonzero(~np.isnan(row)).tolist(), list[int]()
        while left and len(order) < k:
            best = min(row[left])
            order.append(next(j for j in left if row[j] <= best * (1 + np.longdouble(1e-15)) + np.longdouble(1e-36)))
            left.remove(order[-1])
        rows.append(order + [-1] * (k - len(order)))
    return np.array(rows)


def assert_nearest(found: Winners, data: Tensor, codebook: Tensor, name: str, k: int = 1) -> None:
    """Distances are the smallest ones to rounding, and neurons the right ones unless a tie is closer than rounding."""
    truth = true_distances(data, codebook, name)
    expected = true_ranking(truth, k)
    index, eps = found.index.numpy(), float(torch.finfo(data.dtype).eps)
    assert found.index.dtype == torch.int64
    assert (index < 0).tolist() == (expected < 0).tolist()
    valid = expected >= 0
    smallest_ones = np.take_along_axis(truth, expected.clip(0), axis=1)[valid]
    taken = np.take_along_axis(truth, index.clip(0), axis=1)[valid]
    # float64 rounds the unit vectors under cosine; all else is decided by differences
    slack = 1e-14 * np.sqrt(smallest_ones) + 1e-30 if name == "cosine" else 4e-16 * smallest_ones * D
    assert np.abs(taken - smallest_ones).max(initial=0) <= slack.max(initial=0)
    assert (np.abs(taken - smallest_ones) <= slack).all()
    given = found.distance.numpy()
    assert np.isnan(given[~valid]).all()
    assert (np.abs(given[valid] - smallest_ones) <= 2 * eps * smallest_ones + slack).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", HARD)
def test_the_winner_is_the_true_nearest_at_any_offset_and_scale(case: str, name: str, backend: Backend) -> None:
    for dtype in DTYPES:
        data, codebook = (t.to(dtype) for t in HARD[case]())
        found = make_search(codebook, Metric(name), backend).nearest(data, k=2)
        assert found.distance.dtype == dtype
        assert_nearest(found, data, codebook, name, k=2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", TIED)
def test_ties_go_to_the_lowest_flat_index(case: str, name: str, backend: Backend) -> None:
    for dtype in DTYPES:
        data, codebook = (t.to(dtype) for t in TIED[case]())
        expected = true_ranking(true_distances(data, codebook, name), 2)
        found = make_search(codebook, Metric(name), backend).nearest(data, k=2)
        assert found.index.tolist() == expected.tolist()
        assert make_search(codebook, Metric(name), backend).nearest(data).index.tolist() == expected[:, :1].tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["clusters at 1e4", "whole numbers"])
def test_a_large_map_has_the_same_winners_as_the_definition(case: str, name: str) -> None:
    many = 1_700  # beyond the size where the lanes change
    if case == "whole numbers":
        data, codebook = whole(30, 60, 3), whole(30, many, 3, seed=1)
    else:
        side = torch.tensor([1e4, -1e4]).double()
        data, codebook = (normal(n, 3, seed=n) + side.repeat(n // 2)[:, None] for n in (60, many))
    data, codebook = data.float(), codebook.float()
    expected = true_ranking(true_distances(data, codebook, name), 2)
    for backend in BACKENDS:
        assert make_search(codebook, Metric(name), backend).nearest(data, k=2).index.tolist() == expected.tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["plain", "clusters at 300", "whole numbers"])
def test_neither_chunk_nor_batch_nor_order_of_rows_changes_a_winner(
    case: str, backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, codebook = (t.float() for t in {**HARD, **TIED}[case]())
    expected = make_search(codebook, Metric(name), backend).nearest(data, k=2)

    def same(found: Winners, rows: Any = slice(None)) -> bool:
        distances = torch.equal(found.distance.nan_to_num(-1), expected.distance[rows].nan_to_num(-1))
        return torch.equal(found.index, expected.index[rows]) and distances

    search = make_search(codebook, Metric(name), backend)
    singles = [search.nearest(data[i : i + 1], k=2) for i in range(40)]
    assert same(Winners(*(torch.cat([getattr(s, f) for s in singles]) for f in ("index", "distance"))), slice(40))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(3))
    assert same(search.nearest(data[order], k=2), order)
    for entries in (1, 7_000, 10_000_000):
        monkeypatch.setattr(torch_search, "CHUNK_ENTRIES", {"cpu": entries})
        monkeypatch.setattr(winners, "EXACT_ENTRIES", {"cpu": entries})
        monkeypatch.setattr(faiss_search, "FAISS_ROWS", 1 + entries % 97)
        assert same(make_search(codebook, Metric(name), backend).nearest(data, k=2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [None, (0.3, 0.0, 2.0)])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_both_backends_agree_on_winner_and_distance(
    name: str, dtype: torch.dtype, weights: tuple[float, ...] | None, offset: float
) -> None:
    data = torch.cat((normal(N, 3), whole(3, N, 3))).to(dtype) + offset
    codebook = torch.cat((normal(20, 3, seed=1), whole(3, 20, 3, seed=1), data[:10].double() - offset)).to(dtype)
    codebook = codebook.repeat(2, 1) + offset
    metric = Metric(name, weights)
    ours, theirs = (make_search(codebook, metric, backend).nearest(data, k=3) for backend in BACKENDS)
    assert torch.equal(ours.index, theirs.index)
    torch.testing.assert_close(ours.distance, theirs.distance, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_feature_weights_decide_the_winner(name: str, offset: float, backend: Backend) -> None:
    weights = (0.5, 0.0, 9.0, 1.0, 0.01)
    data, codebook = (normal(80, D) + offset).float(), (normal(M, D, seed=1) + offset).float()
    found = make_search(codebook, Metric(name, weights), backend).nearest(data)
    for i, sample in enumerate(data.double().numpy()):
        reach = [feature_distance(sample, w, name, np.array(weights)) for w in codebook.double().numpy()]
        rel = 1e-3 if name == "cosine" and offset else 1e-6  # 1 - cos itself is rounded at 1e-16
        assert reach[int(found.index[i, 0])] == pytest.approx(min(reach), rel=rel, abs=1e-15)
        assert float(found.distance[i, 0]) == pytest.approx(min(reach), rel=max(rel, 1e-5), abs=1e-12)


# ---- what has no winner


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_vector_has_no_winner_under_cosine_and_never_is_one(backend: Backend, dtype: torch.dtype) -> None:
    codebook = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], dtype=dtype)
    data = torch.tensor([[0.0, 0.0], [2.0, 0.1], [-3.0, 0.0], [0.0, 0.0]], dtype=dtype)
    found = make_search(codebook, Metric("cosine"), backend).nearest(data, k=3)
    assert found.index.tolist() == [[-1, -1, -1], [1, 3, -1], [3, 1, -1], [-1, -1, -1]]
    assert found.distance.isnan().tolist() == (found.index < 0).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_map_of_zero_vectors_has_no_winner_under_cosine(backend: Backend) -> None:
    found = make_search(torch.zeros(5, 3), Metric("cosine"), backend).nearest(torch.eye(3), k=2)
    assert found.index.tolist() == [[-1, -1]] * 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_vectors_are_ordinary_under_the_other_distances(backend: Backend) -> None:
    codebook = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    for name in ("euclidean", "manhattan", "chebyshev"):
        found = make_search(codebook, Metric(name), backend).nearest(torch.zeros(1, 2))
        assert (found.index.tolist(), found.distance.tolist()) == ([[1]], [[0.0]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_beyond_a_right_angle_and_beyond_all_samples_there_still_is_a_nearest(name: str, backend: Backend) -> None:
    codebook = torch.tensor([[-1.0, 0.0], [-1.0, 0.5], [-1.0, -1.0]])
    found = make_search(codebook, Metric(name), backend).nearest(torch.tensor([[30.0, 50.0]]))
    reach = [feature_distance(np.array([30.0, 50.0]), w, name) for w in codebook.double().numpy()]
    assert int(found.index) == int(np.argmin(reach)) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_beyond_the_last_neuron_there_is_none(name: str, backend: Backend) -> None:
    found = make_search(torch.ones(2, 3), Metric(name), backend).nearest(normal(4, 3).float(), k=3)
    assert found.index.tolist() == [[0, 1, -1]] * 4
    assert found.distance[:, 2].isnan().all()


# ---- missing values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [None, (1.0, 0.3, 2.0, 0.7)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_rows_with_missing_values_are_decided_over_the_observed_features(
    name: str, weights: tuple[float, ...] | None, offset: float, backend: Backend
) -> None:
    data, codebook = (normal(60, 4) + offset).float(), (normal(40, 4, seed=1) + offset).float()
    data[torch.rand(60, 4, generator=torch.Generator().manual_seed(5)) < 0.4] = NAN
    data[7] = NAN
    data[8:20] = (normal(12, 4) + offset).float()
    found = make_search(codebook, Metric(name, weights), backend).nearest(data, k=2)
    factors = None if weights is None else np.array(weights)
    for i, sample in enumerate(data.double().numpy()):
        reach = np.array([feature_distance(sample, w, name, factors) for w in codebook.double().numpy()])
        if np.isnan(reach).all():
            assert found.index[i].tolist() == [-1, -1]
            continue
        # 1 - cos rounds at 1e-16, which at a large offset is all there is to see
        tolerance: dict[str, Any] = {"rel": 1e-6, "abs": 3e-15 if name == "cosine" else 0.0}
        assert sorted(reach)[:2] == pytest.approx(reach[found.index[i].tolist()], **tolerance)
        assert found.distance[i].tolist() == pytest.approx(sorted(reach)[:2], rel=1e-5, abs=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
def test_ties_over_the_observed_features_go_to_the_lowest_flat_index(name: str, backend: Backend) -> None:
    data, codebook = whole(5, 200, 3).float(), whole(4, 60, 3, seed=1).float()
    data[torch.arange(200), torch.arange(200) % 3] = NAN
    found = make_search(codebook, Metric(name), backend).nearest(data)
    for i, sample in enumerate(data.double().numpy()):
        reach = [feature_distance(sample, w, name) for w in codebook.double().numpy()]
        assert int(found.index[i, 0]) == reach.index(min(reach))


@pytest.mark.parametrize("backend", BACKENDS)
def test_complete_rows_are_decided_alike_beside_incomplete_ones(backend: Backend) -> None:
    data, codebook = normal(N, D).float(), normal(M, D, seed=1).float()
    search = make_search(codebook, Metric("euclidean"), backend)
    expected = search.nearest(data).index
    data[::7, 0] = NAN
    complete = torch.arange(N) % 7 > 0
    assert torch.equal(search.nearest(data).index[complete], expected[complete])


# ---- any numbers, any size


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**32 - 1), st.sampled_from(NAMES))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_whole_numbers_have_the_first_of_the_nearest_as_winner(
    m: int, d: int, k: int, seed: int, name: str
) -> None:
    data, codebook = whole(4, 20, d, seed=seed) - 1, whole(4, m, d, seed=seed + 1) - 1
    expected = true_ranking(true_distances(data, codebook, name), k)
    for dtype in DTYPES:
        for backend in BACKENDS:
            found = make_search(codebook.to(dtype), Metric(name), backend).nearest(data.to(dtype), k)
            assert found.index.tolist() == expected.tolist()


def test_no_winners_of_no_samples() -> None:
    for backend in BACKENDS:
        found = make_search(torch.ones(3, 2), Metric("euclidean"), backend).nearest(torch.empty(0, 2), k=2)
        assert (found.index.shape, found.distance.shape) == ((0, 2), (0, 2))


def test_distances_come_only_where_asked_for() -> None:
    found = make_search(torch.ones(3, 2), Metric("euclidean")).nearest(torch.ones(4, 2), distances=False)
    assert found.distance.shape == (4, 0)


def test_search_changes_neither_samples_nor_codebook() -> None:
    data, codebook = whole(3, 50, 3).float(), whole(3, 20, 3, seed=1).float()
    before = data.clone(), codebook.clone()
    for backend in BACKENDS:
        for name in NAMES:
            make_search(codebook, Metric(name), backend).nearest(data, k=2)
    assert torch.equal(data, before[0])
    assert torch.equal(codebook, before[1])


def test_auto_never_takes_the_approximate_index() -> None:
    assert isinstance(make_search(torch.zeros(20_000, 2), Metric("euclidean"), "auto"), TorchSearch)

"""Passes over the rows: their winners and sums, against plain loops, the fast way and the sure one."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib.core import scan as module
from somlib.core import trust
from somlib.core.rule import Rule, TrainingSet
from somlib.core.scan import Pass, Scan
from somlib.utils.decay import DECAY_FUNCTIONS
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import KERNELS
from somlib.utils.training import WinnerSums
from tests.somlib import oracle
from tests.somlib.largest import largest_tensor
from tests.somlib.oracle import Array
from tests.somlib.utils.test_search import HARD, TIED, assert_nearest, true_distances, true_ranking

N, D = 70, 3
PART = torch.tensor([64, 3, 7, 12, 50, 0, 33])
FACTORS = (0.5, 0.0, 3.0)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}


def example(n: int = N, d: int = D, gaps: bool = False) -> Array:
    rng = np.random.default_rng(7)
    data = rng.normal(size=(n, d)).astype(np.float32).astype(np.float64) * np.linspace(1, 2, d) + np.linspace(5, -3, d)
    if gaps:
        data[rng.random((n, d)) < 0.3] = np.nan
        data[3 % n] = np.nan
    return data


def neurons(m: int, d: int = D) -> Array:
    return np.random.default_rng(8).normal(size=(m, d)).astype(np.float32) + np.linspace(5, -3, d)


def scan_of(
    data: Array | Tensor, m: int, weight: Array | None = None, dtype: torch.dtype = torch.float64, **rule: Any
) -> Scan:
    rows = torch.as_tensor(data).to(dtype)
    center = torch.nan_to_num(rows.double().nanmean(dim=0)).to(dtype)
    share = None if weight is None else torch.from_numpy(weight).to(dtype)
    settings: dict[str, Any] = {
        "grid": Grid(1, m), "metric": Metric("euclidean"), "kernel": KERNELS["gaussian"], "batch": True, "sigma": 1.0,
        "sigma_decay": DECAY_FUNCTIONS["asymptotic_decay"], "learning_rate": 0.5,
        "learning_rate_decay": DECAY_FUNCTIONS["asymptotic_decay"], "batch_size": 8, "backend": "auto", **rule,
    }  # fmt: skip
    return Scan(TrainingSet(rows, share, center, bool(torch.isnan(rows).any())), Rule(**settings))


def as_given(scan: Scan) -> tuple[Array, Array | None]:
    """Rows and weights as the scan has them, rounded to its type."""
    weight = scan.rows.weight
    return scan.rows.data.double().numpy(), None if weight is None else weight.double().numpy()


def assert_sums(sums: WinnerSums, scan: Scan, codebook: Array, index: Tensor | None = None) -> None:
    """What the rows of every winner add up to is what a loop over the rows adds up."""
    data, weight = as_given(scan)
    rows = slice(None) if index is None else index.numpy()
    metric, share = scan.rule.metric, None if weight is None else list(weight[rows])
    factors = None if metric.feature_weights is None else np.array(metric.feature_weights)
    total, count = oracle.sums_by_winner(codebook, data[rows], share, metric.name, factors)
    centered = total - count * scan.rows.center.double().numpy()
    tolerance = TOLERANCE[scan.rows.data.dtype]
    np.testing.assert_allclose(sums.count.expand(-1, data.shape[1]).numpy(), count, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(sums.total.numpy(), centered, rtol=tolerance, atol=tolerance * len(data))


def assert_pass(found: Pass, scan: Scan, codebook: Array, index: Tensor | None = None) -> None:
    """Likewise, with the two nearest neurons of every row and the distance to the first."""
    data, _ = as_given(scan)
    metric = scan.rule.metric
    factors = None if metric.feature_weights is None else np.array(metric.feature_weights)
    samples = data if index is None else data[index.numpy()]
    ranked = [oracle.ranked(sample, codebook, metric.name, factors) for sample in samples]
    assert found.winners.index.tolist() == [[*order, -1, -1][:2] for order in ranked]
    distances = [
        oracle.feature_distance(sample, codebook[order[0]], metric.name, factors) if order else np.nan
        for sample, order in zip(samples, ranked, strict=True)
    ]
    tolerance = TOLERANCE[scan.rows.data.dtype]
    np.testing.assert_allclose(found.winners.distance[:, 0].numpy(), distances, rtol=tolerance, atol=tolerance)
    assert_sums(found.sums, scan, codebook, index)


def assert_every_pass(scan: Scan, codebook: Array) -> None:
    """All that a scan can be asked, one after the other, on the same buffers."""
    weights = torch.from_numpy(codebook).to(scan.rows.data.dtype)
    for index in (None, PART % len(scan.rows.data)):
        assert_sums(scan.sums(weights, index), scan, codebook, index)
        assert_pass(scan.measured(weights, index), scan, codebook, index)
        assert_pass(scan.measured(weights, index, certain=True), scan, codebook, index)


def only_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("the sure way was gone")

    monkeypatch.setattr(Scan, "_sure_pass", refused)


def only_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("the fast way was gone")

    monkeypatch.setattr(Scan, "_load", refused)


@pytest.fixture
def in_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows at a time."""
    monkeypatch.setattr(module, "FEWEST", 7)
    monkeypatch.setattr(module, "CHUNK_ENTRIES", {"cpu": 1})


# ---- what a pass finds


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("factors", [None, FACTORS])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_a_pass_finds_the_two_nearest_neurons_and_the_sums_per_winner(
    gaps: bool, weighted: bool, factors: tuple[float, ...] | None, dtype: torch.dtype
) -> None:
    share = np.random.default_rng(5).uniform(0, 3, N) * (np.arange(N) % 5 > 0) if weighted else None
    scan = scan_of(example(gaps=gaps), 20, share, dtype, metric=Metric("euclidean", factors))
    assert_every_pass(scan, neurons(20).astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("m", [1, 2, 31, 64])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.usefixtures("in_small_chunks")
def test_chunks_that_do_not_come_out_even_change_nothing(
    kept: bool, m: int, weighted: bool, gaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_ENTRIES", 10_000 if kept else 0)
    share = np.random.default_rng(5).uniform(0, 3, 17) if weighted else None
    scan = scan_of(example(17, gaps=gaps), m, share)
    assert_every_pass(scan, neurons(m))
    assert scan._chunk == 7
    assert (scan._kept is not None) == kept


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 14, 20])
@pytest.mark.usefixtures("in_small_chunks")
def test_one_feature_and_few_rows_are_no_exception(n: int, gaps: bool) -> None:
    data = example(n, 1, gaps)
    data[0] = 5.5
    assert_every_pass(scan_of(data, 33), neurons(33, 1))


def test_ordinary_rows_go_the_fast_way_with_and_without_missing_values(monkeypatch: pytest.MonkeyPatch) -> None:
    only_fast(monkeypatch)
    weights = torch.from_numpy(neurons(20))
    for gaps in (False, True):
        scan = scan_of(example(gaps=gaps), 20)
        assert_sums(scan.sums(weights), scan, neurons(20))
        assert_pass(scan.measured(weights), scan, neurons(20))


def test_sums_of_a_batch_take_its_rows_and_their_weights_only() -> None:
    scan = scan_of(example(), 20, np.arange(1.0, N + 1))
    sums = scan.sums(torch.from_numpy(neurons(20)), torch.tensor([2, 9]))
    assert float(sums.count.sum()) == 3 + 10
    total = sums.total.sum(dim=0) + sums.center * 13
    np.testing.assert_allclose(total, 3 * example()[2] + 10 * example()[9], rtol=1e-12)


@pytest.mark.usefixtures("in_small_chunks")
@pytest.mark.parametrize("gaps", [False, True])
def test_nothing_of_a_pass_is_left_in_the_next(gaps: bool) -> None:
    data, share = example(gaps=gaps), np.arange(1.0, N + 1)
    first, second = (torch.from_numpy(neurons(33) + shift) for shift in (0, 0.7))
    used = scan_of(data, 33, share)
    for codebook, index in ((first, None), (second, PART), (first, PART), (second, None)):
        fresh = scan_of(data, 33, share)
        assert torch.equal(used.sums(codebook, index).values, fresh.sums(codebook, index).values)
        assert torch.equal(used.measured(codebook, index).sums.values, fresh.measured(codebook, index).sums.values)


def test_a_pass_changes_neither_rows_nor_codebook() -> None:
    scan, codebook = scan_of(example(), 20, np.arange(1.0, N + 1)), torch.from_numpy(neurons(20))
    scan.measured(codebook, PART, certain=True)
    np.testing.assert_array_equal(scan.rows.data.numpy(), example())
    np.testing.assert_array_equal(codebook.numpy(), neurons(20))
    assert scan.rows.weight is not None
    assert scan.rows.weight.tolist() == list(range(1, N + 1))


def test_no_pass_builds_more_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ENTRIES", {"cpu": 64 * 160})
    n, m = 2_000, 160  # 320 000 scores; a chunk has 10 240, the rows themselves 6 000
    codebook = torch.from_numpy(neurons(m))
    for gaps in (False, True):
        scan = scan_of(example(n, gaps=gaps), m)
        assert largest_tensor(lambda: scan.sums(codebook)) <= 2 * 64 * m  # noqa: B023  # called at once
        assert largest_tensor(lambda: scan.measured(codebook)) <= 2 * 64 * m  # noqa: B023  # likewise


# ---- where rounding could decide


def near_ties(at: float = 4.0) -> tuple[Tensor, Tensor]:
    """Samples of float32 and pairs of neurons that differ by little more than its rounding."""
    generator = torch.Generator().manual_seed(2)
    data, codebook = (at * torch.randn(n, D, generator=generator) for n in (400, 20))
    return data, torch.cat((codebook, codebook * (1 + 2e-7)))


@pytest.mark.parametrize("weighted", [False, True])
def test_certain_winners_are_the_true_ones_and_the_sums_are_theirs(
    weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_fast(monkeypatch)
    data, codebook = near_ties()
    share = np.random.default_rng(0).random(400) if weighted else None
    truth = true_ranking(true_distances(data.double(), codebook.double(), "euclidean"), 2)
    scan = scan_of(data, 40, share, torch.float32)
    quick = scan.measured(codebook).winners.index.numpy()
    assert 0 < np.sum(quick != truth) < truth.size  # or there is nothing to mend
    found = scan.measured(codebook, certain=True)
    np.testing.assert_array_equal(found.winners.index.numpy(), truth)
    counted = np.bincount(truth[:, 0], None if share is None else share.astype(np.float32), minlength=40)
    np.testing.assert_allclose(found.sums.count[:, 0].numpy(), counted, rtol=1e-6)
    assert ((found.sums.count[:, 0] == 0).numpy() == (counted == 0)).all()  # not a crumb is left behind
    centered = data.double().numpy() - scan.rows.center.double().numpy()
    weight = np.ones(400) if share is None else share
    for j in range(40):
        mine = truth[:, 0] == j
        np.testing.assert_allclose(found.sums.total[j].numpy(), weight[mine] @ centered[mine], atol=1e-3)


@pytest.mark.parametrize("case", TIED)
def test_certain_winners_of_tied_neurons_are_the_first_ones(case: str) -> None:
    for dtype in (torch.float32, torch.float64):
        data, codebook = (t.to(dtype) for t in TIED[case]())
        expected = true_ranking(true_distances(data, codebook, "euclidean"), 2)
        found = scan_of(data, len(codebook), dtype=dtype).measured(codebook, certain=True)
        assert found.winners.index.tolist() == expected.tolist()
        counted = np.bincount(expected[:, 0], minlength=len(codebook))
        np.testing.assert_array_equal(found.sums.count[:, 0].numpy(), counted)


def one_far_out(at: float) -> Callable[[], tuple[Tensor, Tensor]]:
    """Ordinary samples and neurons but for one sample that no neuron is near to."""

    def make() -> tuple[Tensor, Tensor]:
        data, codebook = HARD["plain"]()
        data[7] = at
        return data, codebook

    return make


FAR: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    **HARD,
    "one sample at 1e6": one_far_out(1e6),
    "one sample at 1e20": one_far_out(1e20),
    "1e16": lambda: (HARD["plain"]()[0] * 1e16, HARD["plain"]()[1] * 1e16),
    "codebook at 1e20": lambda: (HARD["plain"]()[0], HARD["plain"]()[1] * 1e20),
    "two neurons, one far away": lambda: (HARD["plain"]()[0], HARD["one neuron far away"]()[1][-2:] * 1e12),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # NumPy, of 0 / 0 on neurons
@pytest.mark.parametrize("case", FAR)
def test_no_offset_scale_or_outlier_takes_a_sample_from_its_neuron(case: str) -> None:
    """Nearer than by a hundredth of the distance no winner may be missed, and not at all where it must be certain."""
    for dtype in (torch.float32, torch.float64):
        data, codebook = (t.to(dtype) for t in FAR[case]())
        scan, truth = scan_of(data, len(codebook), dtype=dtype), true_distances(data, codebook, "euclidean")
        sums, found = scan.sums(codebook), scan.measured(codebook)
        winner = found.winners.index.numpy()[:, :1]
        assert int(found.winners.index.max()) < len(codebook)
        assert (np.take_along_axis(truth, winner, 1)[:, 0] <= 1.01 * truth.min(axis=1)).all()
        counted = np.bincount(winner[:, 0], minlength=len(codebook))
        for each in (sums, found.sums):
            np.testing.assert_array_equal(each.count[:, 0].numpy(), counted)
        certain = scan.measured(codebook, certain=True).winners
        alone = type(certain)(certain.index[:, :1], certain.distance)
        assert_nearest(alone, data, codebook, "euclidean")


@pytest.mark.parametrize(
    ("case", "dtype"),
    [("clusters at 1e4", torch.float32), ("one sample at 1e6", torch.float32), ("1e30", torch.float64)],
)
def test_rows_too_far_out_for_the_product_go_the_sure_way(
    case: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_sure(monkeypatch)
    data, codebook = (t.to(dtype) for t in FAR[case]())
    scan = scan_of(data, len(codebook), dtype=dtype)
    for index in (None, PART):
        scan.sums(codebook, index)
        scan.measured(codebook, index)


def test_the_way_is_chosen_anew_for_each_codebook_that_is_measured() -> None:
    """A training that is taken up knows nothing of the codebooks before, and must go the same way."""
    data, near = HARD["clusters at 300"]()
    near, far = near.float(), near.float() * 0
    used = scan_of(data, len(near), dtype=torch.float32)
    for codebook in (far, near, far, near):
        fresh = scan_of(data, len(near), dtype=torch.float32)
        used.measured(codebook)
        fresh.measured(codebook)
        assert used.trust.fast == fresh.trust.fast == (codebook is far)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize(
    "rule",
    [{"metric": Metric(name, (0.5, 1.0, 3.0))} for name in ("manhattan", "cosine", "chebyshev")]
    + [{"backend": "faiss"}],
    ids=str,
)
def test_other_distances_and_backends_go_the_sure_way(
    rule: dict[str, Any], gaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "backend" in rule:
        pytest.importorskip("faiss")
    only_sure(monkeypatch)
    monkeypatch.setattr("somlib.utils.torch_search.CHUNK_ENTRIES", {"cpu": 1})
    data = example(gaps=gaps)
    data[4:, :2] = example()[4:, :2]  # one observed feature would make all cosines of a row equal
    assert_every_pass(scan_of(data[3:], 20, np.arange(4.0, N + 1), **rule), neurons(20))


# ---- one kernel of product and minimum


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("m", [1, 40])
def test_the_kernel_of_product_and_minimum_finds_the_same(m: int, gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setattr(trust, "can_fuse", lambda *_: True)
    monkeypatch.setattr(trust, "FEWEST_ROWS", 50)
    monkeypatch.setattr(module, "FEWEST_ROWS", 50)
    monkeypatch.setattr(module, "POINT_ENTRIES", {"cpu": 1, "cuda": 1})  # chunks of fifty rows, the fewest
    plain = scan_of(example(gaps=gaps), m, np.arange(1.0, N + 1), torch.float32)
    codebook = neurons(m).astype(np.float32)
    rows = plain.rows
    assert rows.weight is not None
    there = TrainingSet(rows.data.to(device), rows.weight.to(device), rows.center.to(device), rows.incomplete)
    scan, weights = Scan(there, plain.rule), torch.from_numpy(codebook).to(device)
    for index in (None, PART):
        taken = None if index is None else index.to(device)
        for sums in (scan.sums(weights, taken), scan.measured(weights, taken).sums):
            assert_sums(sums.to(rows.center), plain, codebook.astype(np.float64), index)
        found = scan.measured(weights, taken)
        back = type(found.winners)(found.winners.index.cpu(), found.winners.distance.cpu())
        assert_pass(Pass(back, found.sums.to(rows.center)), plain, codebook.astype(np.float64), index)
    assert scan.trust.fused
    assert scan._chunk == 50

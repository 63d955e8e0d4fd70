"""The loop over epochs, driven with the same shuffles as a plain-loop oracle."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from somlib.core import trainer
from somlib.core.trainer import Epoch, Rule, TrainingSet, batch_sums, pass_over, train
from somlib.utils import torch_search
from somlib.utils.decay import DECAY_FUNCTIONS
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.neighborhood import KERNELS as BY_NAME
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, KERNELS, Array, Lattice

N, D, T = 37, 3, 4


def data_and_codebook(m: int, n: int = N) -> tuple[Array, Array]:
    rng = np.random.default_rng(11)
    middle = np.array([5.0, 0, -3])
    return rng.normal(size=(n, D)) * [1, 2, 0.5] + middle, rng.normal(size=(m, D)) + middle


def rule_on(lattice: Lattice, **changed: Any) -> Rule:
    settings: dict[str, Any] = {
        "grid": Grid(**lattice.arguments),
        "metric": Metric("euclidean"),
        "kernel": BY_NAME["gaussian"],
        "batch": False,
        "sigma": 2.0,
        "sigma_decay": DECAY_FUNCTIONS["asymptotic_decay"],
        "learning_rate": 0.6,
        "learning_rate_decay": DECAY_FUNCTIONS["lr_linear_decay_to_zero"],
        "batch_size": 8,
        "backend": "torch",
    }
    return Rule(**{**settings, **changed})


def rows_of(data: Array, weight: Array | None = None) -> TrainingSet:
    center = torch.from_numpy(np.nan_to_num(np.nanmean(data, axis=0)))
    share = None if weight is None else torch.from_numpy(weight)
    return TrainingSet(torch.from_numpy(data), share, center, bool(np.isnan(data).any()))


def run(codebook: Array, rows: TrainingSet, rule: Rule, seed: int = 5, epochs: range = range(T)) -> list[Epoch]:
    generator = torch.Generator().manual_seed(seed)
    return list(train(torch.from_numpy(codebook), rows, rule, generator, epochs, T))


def count_searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that are searched from now on."""
    searched: list[int] = []
    original: Callable[..., Any] = torch_search.TorchSearch.nearest

    def nearest(self: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        searched.append(len(data))
        return original(self, data, *args, **kwargs)

    monkeypatch.setattr(torch_search.TorchSearch, "nearest", nearest)
    return searched


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_minibatch_epochs_are_the_rule_applied_to_the_shuffled_batches(lattice: Lattice, name: str) -> None:
    data, codebook = data_and_codebook(lattice.m)
    twin = torch.Generator().manual_seed(5)
    expected = codebook
    for epoch in run(codebook, rows_of(data), rule_on(lattice, kernel=BY_NAME[name])):
        t = epoch.report.epoch
        sigma, rate = 2.0 / (1 + t / (T / 2)), 0.6 * (1 - t / T)
        order = torch.randperm(N, generator=twin).numpy()
        for batch in np.split(order, [8, 16, 23, 30]):  # 37 = 8 + 8 + 7 + 7 + 7
            kernel = oracle.kernel_matrix(lattice, name, sigma)
            expected = oracle.minibatch_update(expected, data[batch], kernel, rate)
            expected = oracle.confined(expected, data) if name == "mexican_hat" else expected
        np.testing.assert_allclose(epoch.codebook.numpy(), expected, rtol=1e-9, atol=1e-11)
        assert (epoch.report.sigma, epoch.report.learning_rate) == pytest.approx((sigma, rate))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_batch_epochs_are_kohonens_batch_map_with_the_errors_of_each_codebook(lattice: Lattice, name: str) -> None:
    data, codebook = data_and_codebook(lattice.m)
    expected = codebook
    for epoch in run(codebook, rows_of(data), rule_on(lattice, kernel=BY_NAME[name], batch=True)):
        sigma = 2.0 / (1 + epoch.report.epoch / (T / 2))
        expected = oracle.batch_epoch(expected, data, oracle.kernel_matrix(lattice, name, sigma))
        expected = oracle.confined(expected, data) if name == "mexican_hat" else expected
        np.testing.assert_allclose(epoch.codebook.numpy(), expected, rtol=1e-9, atol=1e-11)
        measured = (epoch.report.quantization_error, epoch.report.topographic_error)
        assert measured == pytest.approx(oracle.errors(expected, data, lattice), rel=1e-9)
        assert math.isnan(epoch.report.learning_rate)


@pytest.mark.parametrize("batch", [False, True])
def test_only_the_last_epoch_knows_winners_and_sums_of_all_rows(batch: bool) -> None:
    data, codebook = data_and_codebook(20)
    epochs = run(codebook, rows_of(data), rule_on(FOUR[0], batch=batch))
    assert [epoch.winners is None and epoch.sums is None for epoch in epochs] == [True] * (T - 1) + [False]
    last = epochs[-1]
    assert last.winners is not None
    assert last.sums is not None
    ranked = [oracle.ranked(sample, last.codebook.numpy())[:2] for sample in data]
    assert last.winners.index.tolist() == ranked
    assert last.sums.count.flatten().tolist() == [sum(pair[0] == j for pair in ranked) for j in range(20)]


@pytest.mark.parametrize("batch", [False, True])
def test_training_changes_neither_its_codebook_nor_its_rows(batch: bool) -> None:
    data, codebook = data_and_codebook(20)
    rows, start = rows_of(data), torch.from_numpy(codebook.copy())
    list(train(start, rows, rule_on(FOUR[0], batch=batch), torch.Generator().manual_seed(0), range(T), T))
    np.testing.assert_array_equal(start.numpy(), codebook)
    np.testing.assert_array_equal(rows.data.numpy(), data_and_codebook(20)[0])


@pytest.mark.parametrize("batch", [False, True])
def test_epochs_in_the_middle_take_their_place_in_the_schedules(batch: bool) -> None:
    data, codebook = data_and_codebook(20)
    (only,) = run(codebook, rows_of(data), rule_on(FOUR[0], batch=batch), epochs=range(3, 4))
    assert (only.report.epoch, only.report.epochs) == (3, T)
    assert only.report.sigma == pytest.approx(2.0 / 2.5)
    assert batch or only.report.learning_rate == pytest.approx(0.15)
    assert only.winners is not None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_many_rows_are_measured_on_a_fixed_sample_but_last_of_all(
    batch: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, codebook = data_and_codebook(20)
    share = np.arange(1.0, N + 1) if weighted else None
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 10)
    searched = count_searches(monkeypatch)
    epochs = run(codebook, rows_of(data, share), rule_on(FOUR[0], batch=batch))
    per_epoch = [8, 8, 7, 7, 7]
    assert searched == ([N, *[N, 10] * 3, N] if batch else [*[*per_epoch, 10] * 3, *per_epoch, N])
    sample = np.sort(torch.randperm(N, generator=torch.Generator().manual_seed(5)).numpy()[:10])
    for epoch in epochs:
        rows = np.arange(N) if epoch is epochs[-1] else sample
        counted = None if share is None else list(share[rows])
        expected = oracle.errors(epoch.codebook.numpy(), data[rows], FOUR[0], counted)
        assert (epoch.report.quantization_error, epoch.report.topographic_error) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [10, 11])
def test_a_sample_is_measured_only_beyond_the_limit(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 10)
    data, codebook = data_and_codebook(20, n)
    searched = count_searches(monkeypatch)
    run(codebook, rows_of(data), rule_on(FOUR[0], batch=True))
    assert len(searched) == (T + 1 if n == 10 else 2 * T)  # the search of an epoch serves errors and the next sums


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_chunks_of_any_size_give_the_same_training(metric: str, batch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data, codebook = data_and_codebook(20, n=300)
    data[::7, 1] = np.nan
    rule = rule_on(FOUR[1], batch=batch, metric=Metric(metric), batch_size=150)
    whole = run(codebook, rows_of(data), rule)
    monkeypatch.setattr(torch_search, "CHUNK_ENTRIES", {"cpu": 1})  # chunks of 64 rows, the fewest
    chunked = run(codebook, rows_of(data), rule)
    for one, other in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one.codebook, other.codebook, rtol=1e-12, atol=1e-13)
        assert one.report.quantization_error == pytest.approx(other.report.quantization_error, rel=1e-12)
        assert one.report.topographic_error == other.report.topographic_error


@pytest.mark.parametrize("k", [1, 2])
def test_a_pass_gives_winners_and_sums_of_rows_some_of_which_have_no_winner(k: int) -> None:
    data, codebook = data_and_codebook(20)
    data[3] = np.nan
    found = pass_over(torch.from_numpy(codebook), rows_of(data), rule_on(FOUR[0]), k)
    assert found.winners.index.shape == (N, k)
    assert found.winners.distance.shape == (N, k if k > 1 else 0)
    assert found.winners.index[3].tolist() == [-1] * k
    assert found.sums.count.sum(dim=0).tolist() == [N - 1] * D


def test_sums_of_a_batch_take_its_rows_and_their_weights_only() -> None:
    data, codebook = data_and_codebook(20)
    share = np.arange(1.0, N + 1)
    sums = batch_sums(torch.from_numpy(codebook), rows_of(data, share), torch.tensor([2, 9]), rule_on(FOUR[0]))
    assert float(sums.count.sum()) == 3 + 10
    total = sums.total.sum(dim=0) + sums.center * 13
    np.testing.assert_allclose(total, 3 * data[2] + 10 * data[9], rtol=1e-12)


def test_the_box_of_the_data_ignores_missing_values() -> None:
    data = np.array([[1.0, np.nan, np.nan], [-2.0, 5.0, np.nan]])
    low, high = TrainingSet(torch.from_numpy(data), None, torch.tensor([-0.5, 5, 7]), incomplete=True).box
    assert low.tolist() == [-2, 5, 7]
    assert high.tolist() == [1, 5, 7]

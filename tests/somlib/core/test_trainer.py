"""The loop over epochs, driven with the same shuffles as a plain-loop oracle."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from somlib.core import batch_steps, scan, trainer
from somlib.core.batch_steps import Shuffled
from somlib.core.rule import Rule, TrainingSet
from somlib.core.scan import Scan
from somlib.core.trainer import Epoch, train
from somlib.utils import heuristics, torch_search
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
    sums, measured = Scan.sums, Scan.measured

    def count(scan: Scan, index: torch.Tensor | None) -> None:
        searched.append(len(scan.rows.data) if index is None else len(index))

    def counted_sums(self: Scan, codebook: torch.Tensor, index: torch.Tensor | None = None) -> Any:
        count(self, index)
        return sums(self, codebook, index)

    def counted_measured(
        self: Scan, codebook: torch.Tensor, index: torch.Tensor | None = None, certain: bool = False
    ) -> Any:
        count(self, index)
        return measured(self, codebook, index, certain)

    monkeypatch.setattr(Scan, "sums", counted_sums)
    monkeypatch.setattr(Scan, "measured", counted_measured)
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


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_no_map_hangs_on_the_last_bits_of_its_radius(
    lattice: Lattice, name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its radii, 2, 4/3, 1 and 4/5 (in three steps, whole and half ones too), end at neurons."""
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 12)
    data, codebook = data_and_codebook(lattice.m)
    rule = rule_on(lattice, kernel=BY_NAME[name], batch=steps > 0, steps=max(steps, 1))
    expected = run(codebook, rows_of(data), rule)[-1].codebook
    for bits in (-2, -1, 1, 2):
        moved = replace(rule, sigma=2.0 * (1 + bits * 2.0**-52))
        torch.testing.assert_close(run(codebook, rows_of(data), moved)[-1].codebook, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("batch", [False, True])
def test_only_the_last_epoch_knows_winners_and_sums_of_all_rows(batch: bool) -> None:
    data, codebook = data_and_codebook(20)
    epochs = run(codebook, rows_of(data), rule_on(FOUR[0], batch=batch))
    assert [epoch.found is None for epoch in epochs] == [True] * (T - 1) + [False]
    last = epochs[-1]
    assert last.found is not None
    ranked = [oracle.ranked(sample, last.codebook.numpy())[:2] for sample in data]
    assert last.found.winners.index.tolist() == ranked
    assert last.found.sums.count.flatten().tolist() == [sum(pair[0] == j for pair in ranked) for j in range(20)]


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
    assert only.found is not None


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
    assert searched == ([*[N, 10] * 3, N, N] if batch else [*[*per_epoch, 10] * 3, *per_epoch, N])
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
    for module in (scan, torch_search):
        monkeypatch.setattr(module, "CHUNK_ENTRIES", {"cpu": 1})  # chunks of 64 rows, the fewest
    chunked = run(codebook, rows_of(data), rule)
    for one, other in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one.codebook, other.codebook, rtol=1e-12, atol=1e-13)
        assert one.report.quantization_error == pytest.approx(other.report.quantization_error, rel=1e-12)
        assert one.report.topographic_error == other.report.topographic_error


# ---- short steps


def progressive(
    codebook: Array, data: Array, lattice: Lattice, name: str, steps: int, measured: int, seed: int = 5
) -> list[Array]:
    """The codebooks after every epoch of short steps, by loops, on the same shuffles."""
    twin, n = torch.Generator().manual_seed(seed), len(data)
    sample = np.sort(torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()[:measured])
    height = math.sqrt(3) / 2 if lattice.hexagonal else 1.0
    after_epochs: list[Array] = []
    for t in range(T):
        order: list[int] = []
        running = before = None
        for k in range(t * steps, (t + 1) * steps):
            last, sigma = k == T * steps - 1, 2.0 / (1 + k / (T * steps / 2))
            neighborhoods = lattice.m * height / (2 * math.pi * sigma**2)
            wanted = n if last else min(n, max(1, round(heuristics.ROWS_PER_NEIGHBORHOOD * neighborhoods)))
            if k == t * steps and t and len(sample) >= wanted:
                rows = sample  # searched already, to measure the errors of the epoch before
            elif wanted == n:
                rows = np.arange(n)
            else:
                if len(order) < wanted:
                    order = torch.randperm(n, generator=twin).tolist()
                rows, order = np.array(order[:wanted]), order[wanted:]
            total, count = (of_all / len(rows) for of_all in oracle.sums_by_winner(codebook, data[rows]))
            if running is not None and len(rows) < n:
                past = batch_steps.PAST
                total, count = (past * old + (1 - past) * new for old, new in zip(running, (total, count), strict=True))
            running = total, count
            means = oracle.smoothed_means(codebook, total, count, oracle.kernel_matrix(lattice, name, sigma))
            means = oracle.confined(means, data) if name == "mexican_hat" else means
            settles = k == T * steps - 2
            ahead = batch_steps.FINAL_STEP if settles else 1 + batch_steps.MOMENTUM
            codebook = means if before is None or last else before + ahead * (means - before)
            codebook = oracle.confined(codebook, data) if name == "mexican_hat" else codebook
            before = means
        after_epochs.append(codebook)
    return after_epochs


@pytest.mark.parametrize("measured", [30, 1_000])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("name", ["gaussian", "bubble", "mexican_hat"])
@pytest.mark.parametrize("lattice", [FOUR[0], FOUR[3]], ids=str)
def test_short_steps_are_batch_maps_of_random_rows_that_remember_and_run_ahead(
    lattice: Lattice, name: str, gaps: bool, measured: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", measured)
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 12)  # 9 to 80 rows a step, and all of 130 at the end
    data, codebook = data_and_codebook(lattice.m, 130)
    if gaps:
        data[::3, 1], data[4] = np.nan, np.nan
    epochs = run(codebook, rows_of(data), rule_on(lattice, kernel=BY_NAME[name], batch=True, steps=3))
    for epoch, expected in zip(epochs, progressive(codebook, data, lattice, name, 3, measured), strict=True):
        np.testing.assert_allclose(epoch.codebook.numpy(), expected, rtol=1e-9, atol=1e-9)
        assert epoch.report.sigma == pytest.approx(2.0 / (1 + (3 * epoch.report.epoch + 2) / (T * 3 / 2)))


@pytest.mark.parametrize("measured", [30, 1_000])
def test_an_epoch_knows_the_codebook_and_the_generator_and_nothing_else_of_those_before(
    measured: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", measured)
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 12)
    data, codebook = data_and_codebook(20, 130)
    rows, rule = rows_of(data), rule_on(FOUR[0], batch=True, steps=3)
    generator, states, whole = torch.Generator().manual_seed(5), [], []
    for epoch in train(torch.from_numpy(codebook), rows, rule, generator, range(T), T):
        states.append(generator.get_state())
        whole.append(epoch)
    for done in range(1, T):
        generator.set_state(states[done - 1])
        left = list(train(whole[done - 1].codebook, rows, rule, generator, range(done, T), T))
        for one, other in zip(left, whole[done:], strict=True):
            assert torch.equal(one.codebook, other.codebook)
            assert repr(one.report) == repr(other.report)  # by text, for the learning rate is NaN


def test_short_steps_search_the_rows_they_need_and_all_in_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 30)
    monkeypatch.setattr(heuristics, "ROWS_PER_NEIGHBORHOOD", 12)
    data, codebook = data_and_codebook(20, 130)
    searched = count_searches(monkeypatch)
    run(codebook, rows_of(data), rule_on(FOUR[0], batch=True, steps=2))
    # 12 * 20 / (2 pi sigma^2) = 9.55, 14.9, 21.5, 29.2, 38.2, 48.3, 59.7, 72.2 at sigma = 2 / (1 + k / 4)
    assert searched == [10, 15, 30, 29, 30, 38, 48, 30, 60, 130, 130]


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_neurons_that_repel_run_ahead_no_further_than_the_box_of_the_data_allows(lattice: Lattice) -> None:
    data, codebook = data_and_codebook(lattice.m, 130)
    low, high = data.min(axis=0), data.max(axis=0)
    rule = rule_on(lattice, kernel=BY_NAME["mexican_hat"], batch=True, steps=3)
    for epoch in run(codebook, rows_of(data), rule):
        assert (epoch.codebook.numpy() >= low - (high - low) - 1e-9).all()
        assert (epoch.codebook.numpy() <= high + (high - low) + 1e-9).all()


def test_short_steps_depend_on_the_seed_and_on_nothing_else_by_chance() -> None:
    data, codebook = data_and_codebook(20, 400)
    rule = rule_on(FOUR[0], batch=True, steps=3)
    one, same, other = (run(codebook, rows_of(data), rule, seed) for seed in (1, 1, 2))
    assert torch.equal(one[-1].codebook, same[-1].codebook)
    assert not torch.equal(one[-1].codebook, other[-1].codebook)


def test_shuffled_rows_come_once_until_too_few_are_left() -> None:
    shuffled = Shuffled(10, torch.Generator().manual_seed(0), torch.device("cpu"))
    taken = [shuffled.take(4) for _ in range(3)]
    rows = [part.tolist() for part in taken if part is not None]
    assert [len(part) for part in rows] == [4, 4, 4]
    assert len({*rows[0], *rows[1]}) == 8
    twin = torch.Generator().manual_seed(0)
    orders = [torch.randperm(10, generator=twin).tolist() for _ in range(2)]
    assert rows == [orders[0][:4], orders[0][4:8], orders[1][:4]]
    assert shuffled.take(10) is None
    assert shuffled.take(11) is None

"""One step of either training rule, against the rules written as plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from somlib.utils.grid import Grid
from somlib.utils.neighborhood import KERNELS as BY_NAME
from somlib.utils.smoothing import Smoother
from somlib.utils.training import (
    WinnerSums,
    add_samples,
    add_terms,
    batch_sizes,
    batch_step,
    confined,
    empty_sums,
    minibatch_step,
)
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, KERNELS, Array, Lattice

N, D = 30, 3


def example(m: int, missing: bool = False) -> tuple[Array, Array, Array]:
    """Codebook (m, d), samples (n, d), every third value missing where asked, and sample weights (n,)."""
    rng = np.random.default_rng(3)
    weights, data = rng.normal(size=(m, D)), rng.normal(size=(N, D)) * [1, 2, 0.5] + [5, 0, -3]
    if missing:
        data[rng.random((N, D)) < 0.3] = np.nan
        data[4] = np.nan
    return weights, data, rng.integers(0, 4, N).astype(float)


def winners_of(weights: Array, data: Array) -> Tensor:
    found = [oracle.ranked(sample, weights) for sample in data]
    return torch.tensor([order[0] if order else -1 for order in found])


def sums_of(weights: Array, data: Array, share: Array | None = None, center: Array | None = None) -> WinnerSums:
    center = np.nan_to_num(np.nanmean(data, axis=0)) if center is None else center
    sums = empty_sums(len(weights), torch.from_numpy(center), bool(np.isnan(data).any()))
    weight = None if share is None else torch.from_numpy(share)
    add_samples(sums, torch.from_numpy(data), winners_of(weights, data), weight)
    return sums


def smoother_on(lattice: Lattice) -> Smoother:
    return Smoother(Grid(**lattice.arguments), torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_sums_are_what_the_samples_of_each_winner_add_up_to(missing: bool, weighted: bool) -> None:
    weights, data, share = example(12, missing)
    factor = share if weighted else np.ones(N)
    center = np.array([4.0, 1.0, -2.0])
    sums = sums_of(weights, data, share if weighted else None, center)
    for j in range(12):
        for a in range(D):
            mine = [i for i, w in enumerate(winners_of(weights, data)) if w == j and not np.isnan(data[i, a])]
            assert float(sums.total[j, a]) == pytest.approx(sum(factor[i] * (data[i, a] - center[a]) for i in mine))
            assert float(sums.count.expand(-1, D)[j, a]) == sum(factor[i] for i in mine)
    assert sums.count.shape == (12, D if missing else 1)


def test_terms_are_added_as_they_are_to_the_sums_of_their_winners() -> None:
    sums = empty_sums(3, torch.tensor([1.0, 2.0]), per_feature=False)
    terms = torch.tensor([[1.0, -2, 1], [3, 4, 2], [0.5, 0, 1]])
    add_terms(sums, terms, torch.tensor([2, 0, 2]))
    assert sums.values.tolist() == [[3, 4, 2], [0, 0, 0], [1.5, -2, 2]]
    assert (sums.total[2].tolist(), sums.count[2].tolist()) == ([1.5, -2], [2])


def test_sums_of_chunks_are_the_sums_of_all() -> None:
    weights, data, share = example(12, missing=True)
    whole, parts = sums_of(weights, data, share), sums_of(weights, data[:7], share[:7], np.nanmean(data, axis=0))
    rest = torch.from_numpy(data[7:])
    add_samples(parts, rest, winners_of(weights, data[7:]), torch.from_numpy(share[7:]))
    torch.testing.assert_close(parts.total, whole.total)
    torch.testing.assert_close(parts.count, whole.count)


def test_samples_without_a_winner_add_nothing() -> None:
    sums = empty_sums(2, torch.zeros(1), per_feature=False)
    data = torch.tensor([[1.0], [torch.nan], [4.0]])
    add_samples(sums, data, torch.tensor([1, -1, 1]), torch.tensor([1.0, 5.0, 2.0]))
    assert sums.total.tolist() == [[0.0], [9.0]]
    assert sums.count.tolist() == [[0.0], [3.0]]


@pytest.mark.parametrize("missing", [(False, False), (True, False), (False, True), (True, True)])
def test_merged_sums_are_those_of_both_sets_though_their_centers_differ(missing: tuple[bool, bool]) -> None:
    weights = example(12)[0]
    first, second = (example(12, one)[1][rows] for one, rows in zip(missing, (slice(11), slice(11, N)), strict=True))
    merged = sums_of(weights, first, center=np.array([4.0, 1.0, -2.0])).merged(sums_of(weights, second))
    whole = sums_of(weights, np.concatenate((first, second)), center=np.array([4.0, 1.0, -2.0]))
    torch.testing.assert_close(merged.total, whole.total)
    torch.testing.assert_close(merged.count, whole.count.expand_as(merged.count))
    torch.testing.assert_close(merged.center, whole.center)


def test_forgotten_sums_count_each_sample_so_many_times() -> None:
    weights, data, _ = example(12)
    half = sums_of(weights, data).forgotten(0.5)
    by_weight = sums_of(weights, data, np.full(N, 0.5))
    torch.testing.assert_close(half.total, by_weight.total)
    torch.testing.assert_close(half.count, by_weight.count)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_a_minibatch_moves_every_neuron_by_the_mean_pull_of_the_batch(
    lattice: Lattice, name: str, missing: bool
) -> None:
    weights, data, share = example(lattice.m, missing)
    for sigma, rate, counted in ((0.6, 1.0, None), (1.5, 0.3, share), (2.5, 0.02, None)):
        expected = oracle.minibatch_update(
            weights, data, oracle.kernel_matrix(lattice, name, sigma), rate, None if counted is None else list(counted)
        )
        sums = sums_of(weights, data, counted)
        after = minibatch_step(torch.from_numpy(weights), sums, smoother_on(lattice), BY_NAME[name], sigma, rate)
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_a_batch_epoch_takes_the_smoothed_means(lattice: Lattice, name: str, missing: bool) -> None:
    weights, data, share = example(lattice.m, missing)
    for sigma, counted in ((0.6, None), (1.5, share), (2.5, None)):
        kernel = oracle.kernel_matrix(lattice, name, sigma)
        expected = oracle.batch_epoch(weights, data, kernel, None if counted is None else list(counted))
        sums = sums_of(weights, data, counted)
        after = batch_step(torch.from_numpy(weights), sums, smoother_on(lattice), BY_NAME[name], sigma)
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rate", [0.7, 3.0, 1e6])
@pytest.mark.parametrize("name", ["gaussian", "bubble", "triangle"])
def test_no_learning_rate_moves_a_neuron_past_the_mean_that_pulls_it(name: str, rate: float) -> None:
    lattice, sigma = FOUR[1], 1.2
    weights, data, _ = example(lattice.m)
    after = minibatch_step(
        torch.from_numpy(weights), sums_of(weights, data), smoother_on(lattice), BY_NAME[name], sigma, rate
    )
    kernel, winner = oracle.kernel_matrix(lattice, name, sigma), winners_of(weights, data).numpy()
    for k in range(lattice.m):
        pull = kernel[k, winner]
        mean = weights[k] if not pull.any() else pull @ data / pull.sum()
        step = min(1.0, rate * pull.mean())
        np.testing.assert_allclose(after[k].numpy(), weights[k] + step * (mean - weights[k]), rtol=1e-10, atol=1e-12)


def test_a_neuron_that_nothing_pulls_keeps_its_weights_exactly() -> None:
    lattice = Lattice(1, 6, False, False)
    weights = np.arange(6.0)[:, None] * [1, 1, 1]
    data = np.array([[0.1, 0.2, 0.3], [1.1, 1.2, 0.9]])  # won by neurons 0 and 1
    before = torch.from_numpy(weights)
    for name in ("bubble", "triangle", "mexican_hat"):
        after = batch_step(before, sums_of(weights, data), smoother_on(lattice), BY_NAME[name], 1.0)
        assert torch.equal(after[3:], before[3:]), name
        assert not torch.isclose(after[:2], before[:2]).any(), name
    after = minibatch_step(before, sums_of(weights, data), smoother_on(lattice), BY_NAME["bubble"], 1.0, 0.5)
    assert torch.equal(after[3:], before[3:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_influence_below_rounding_leaves_neurons_where_they_are_in_every_number_type(dtype: torch.dtype) -> None:
    """All samples alike, all won by the first of many neurons: a neuron either goes there or stays."""
    m, target = 300, 7.0
    sums = empty_sums(m, torch.zeros(2, dtype=dtype), per_feature=False)
    add_samples(sums, torch.full((5, 2), target, dtype=dtype), torch.zeros(5, dtype=torch.int64))
    before = torch.full((m, 2), 100.0, dtype=dtype)
    smoother = Smoother(Grid(1, m), torch.device("cpu"), dtype)
    after = batch_step(before, sums, smoother, BY_NAME["gaussian"], 2.0)
    moved = after[:, 0] != 100.0
    reach = 14  # sigma sqrt(2 ln 2^40) = 14.9
    assert moved.tolist() == [k <= reach for k in range(m)]
    torch.testing.assert_close(after[moved], torch.full_like(after[moved], target))
    stepped = minibatch_step(before, sums, smoother, BY_NAME["gaussian"], 2.0, 0.5)
    assert bool(((stepped >= target) & (stepped <= 100)).all())


# Squared radius, in squared sigmas, at which a kernel is exactly none (or for a bubble, exactly all).
EDGES = {"triangle": 1.0, "bubble": 1.0, "mexican_hat": 2.0}


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(EDGES)),
    lattice=st.sampled_from(FOUR),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    pair=st.tuples(st.integers(0, 19), st.integers(0, 19)),
    bits=st.integers(-3, 3),
)
def test_no_step_hangs_on_the_last_bits_of_a_radius_that_ends_at_a_neuron(
    name: str, lattice: Lattice, dtype: torch.dtype, pair: tuple[int, int], bits: int
) -> None:
    winner, other = pair
    apart = round(4 * oracle.distances(lattice)[winner, other] ** 2) / 4  # squares of distances are whole quarters
    if not apart:
        return
    sigma = float(np.sqrt(apart / EDGES[name]) * (1 + bits * 2.0**-52))
    sums = empty_sums(lattice.m, torch.zeros(1, dtype=dtype), per_feature=False)
    add_samples(sums, torch.full((3, 1), 7.0, dtype=dtype), torch.full((3,), winner))
    before = torch.full((lattice.m, 1), 100.0, dtype=dtype)
    smoother = Smoother(Grid(**lattice.arguments), torch.device("cpu"), dtype)
    after = batch_step(before, sums, smoother, BY_NAME[name], sigma)
    squares = oracle.distances(lattice)[winner] ** 2
    edge = sigma**2 * EDGES[name]
    inside = squares < edge + 1e-6 if name == "bubble" else squares < edge - 1e-6
    np.testing.assert_allclose(after.flatten().numpy(), np.where(inside, 7.0, 100.0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_neuron_whose_attraction_and_repulsion_cancel_keeps_its_weights(dtype: torch.dtype) -> None:
    """1 / e of attraction and e^-2 of repulsion, weighed so that nothing is left but rounding."""
    lattice, sigma = Lattice(1, 40, False, False), 7.0
    kernel = oracle.kernel_matrix(lattice, "mexican_hat", sigma)
    for near, far in ((4, 25), (7, 18), (2, 30)):
        sums = empty_sums(40, torch.zeros(1, dtype=dtype), per_feature=False)
        weight = torch.tensor([-kernel[0, far] / kernel[0, near], 1.0], dtype=dtype)
        add_samples(sums, torch.tensor([[3.0], [-5.0]], dtype=dtype), torch.tensor([near, far]), weight)
        before = torch.full((40, 1), 100.0, dtype=dtype)
        smoother = Smoother(Grid(1, 40), torch.device("cpu"), dtype)
        after = batch_step(before, sums, smoother, BY_NAME["mexican_hat"], sigma)
        assert float(after[0, 0]) == 100.0
        assert float(after[far, 0]) != 100.0


def test_a_repelled_neuron_keeps_its_weights_under_the_batch_rule() -> None:
    lattice = Lattice(1, 6, False, False)
    weights, data = np.arange(6.0)[:, None] * [1, 1, 1], np.array([[0.1, 0.0, 0.2]])
    kernel = oracle.kernel_matrix(lattice, "mexican_hat", 1.0)
    assert kernel[0, 2] < 0 < kernel[0, 1]
    after = batch_step(
        torch.from_numpy(weights), sums_of(weights, data), smoother_on(lattice), BY_NAME["mexican_hat"], 1.0
    )
    np.testing.assert_allclose(after.numpy()[:2], [[0.1, 0.0, 0.2]] * 2, atol=1e-12)
    np.testing.assert_array_equal(after.numpy()[2:], weights[2:])


def test_steps_without_any_sample_change_nothing() -> None:
    codebook = torch.from_numpy(example(20)[0])
    for per_feature in (False, True):
        sums = empty_sums(20, torch.zeros(D, dtype=torch.float64), per_feature)
        for name in KERNELS:
            smoother = smoother_on(FOUR[0])
            assert torch.equal(minibatch_step(codebook, sums, smoother, BY_NAME[name], 1.0, 0.5), codebook)
            assert torch.equal(batch_step(codebook, sums, smoother, BY_NAME[name], 1.0), codebook)


@pytest.mark.parametrize("name", KERNELS)
def test_a_feature_that_no_sample_has_stays_and_the_others_move(name: str) -> None:
    weights, data, _ = example(20)
    data[:, 1] = np.nan
    sums = sums_of(weights, data, center=np.zeros(D))
    before = torch.from_numpy(weights)
    for after in (
        minibatch_step(before, sums, smoother_on(FOUR[0]), BY_NAME[name], 1.0, 0.5),
        batch_step(before, sums, smoother_on(FOUR[0]), BY_NAME[name], 1.0),
    ):
        assert torch.equal(after[:, 1], before[:, 1])
        assert not torch.isclose(after[:, ::2], before[:, ::2]).all(dim=1).all()


def test_confined_neurons_stay_within_the_data_widened_by_its_own_size() -> None:
    low, high = torch.tensor([0.0, 10.0]), torch.tensor([2.0, 10.0])
    codebook = torch.tensor([[-5.0, 9.0], [1.0, 10.0], [3.5, 11.0], [4.5, torch.inf], [-torch.inf, 10.0]])
    assert confined(codebook, low, high).tolist() == [[-2, 10], [1, 10], [3.5, 10], [4, 10], [-2, 10]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 5_000), st.integers(1, 6_000))
def test_batches_are_as_few_and_as_equal_as_the_largest_size_allows(n: int, largest: int) -> None:
    sizes = batch_sizes(n, largest)
    assert sum(sizes) == n
    assert max(sizes) <= largest
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert len(sizes) == 1 or n > (len(sizes) - 1) * largest

"""Maps against loops over neurons and their samples, written from the table of map types."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import (
    NeuronSamples,
    classification_map,
    distance_map,
    hit_map,
    mean_map,
    neuron_samples,
    rank_map,
    scaled_to_one,
    score_map,
    std_map,
)
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, SMALL, Lattice

NAN = float("nan")
N = 90


def doubles(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_winners(m: int, n: int = N, seed: int = 0) -> Tensor:
    """Winners of which some neurons get none, one or many, and some samples none."""
    generator = torch.Generator().manual_seed(seed)
    winner = (m * torch.rand(n, generator=generator) ** 2).long().clamp(0, m - 1)
    winner[::11] = -1
    return winner


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def samples_of(winner: Tensor, m: int) -> list[list[int]]:
    return [[i for i, k in enumerate(winner.tolist()) if k == neuron] for neuron in range(m)]


def by_neuron(winner: Tensor, m: int, target: Tensor, statistic: Callable[[list[float]], float]) -> Tensor:
    """One statistic of each neuron's targets, (m,)."""
    return doubles([statistic([float(target[i]) for i in own]) for own in samples_of(winner, m)])


def std(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else NAN


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-12, atol=1e-14, equal_nan=True)


# ---- samples of neurons and hits


def test_every_sample_belongs_to_its_winner_in_ascending_order() -> None:
    winner, m = random_winners(20), 20
    groups = neuron_samples(winner, m)
    expected = samples_of(winner, m)
    assert [groups.of(k).tolist() for k in range(m)] == expected
    assert groups.count.tolist() == [len(own) for own in expected]
    assert groups.neuron.tolist() == [k for k in range(m) for _ in expected[k]]


def test_hits_count_the_samples_of_each_neuron_and_are_0_where_there_are_none() -> None:
    winner = random_winners(20)
    hits = hit_map(winner, 20)
    assert hits.is_floating_point()
    assert hits.tolist() == [len(own) for own in samples_of(winner, 20)]
    assert 0 in hits.tolist()
    assert hit_map(torch.tensor([-1, -1]), 3).tolist() == [0, 0, 0]


# ---- U-matrix


@pytest.mark.parametrize("lattice", [*FOUR, *SMALL[::7]], ids=str)
@pytest.mark.parametrize("order", [1, 2, 9])
@pytest.mark.parametrize("scaling", ["sum", "mean"])
def test_the_u_matrix_adds_up_the_distances_to_all_neighbors(lattice: Lattice, order: int, scaling: str) -> None:
    codebook = normal(lattice.m, 3)
    expected = []
    for k in range(lattice.m):
        reach = [oracle.feature_distance(codebook[k].numpy(), codebook[j].numpy()) for j in oracle.within(lattice, k, order)]  # fmt: skip  # noqa: E501
        expected.append(sum(reach) / (len(reach) if scaling == "mean" and reach else 1))
    actual = distance_map(codebook, Grid(**lattice.arguments), Metric("euclidean"), order, scaling)
    same(actual, doubles(expected))


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_the_u_matrix_is_in_the_metric_with_its_feature_weights(name: str) -> None:
    weights, lattice = (0.5, 2.0, 0.0), FOUR[1]
    codebook = normal(lattice.m, 3)
    distance = [[oracle.feature_distance(a, b, name, np.array(weights)) for b in codebook.numpy()] for a in codebook.numpy()]  # fmt: skip  # noqa: E501
    expected = doubles([sum(distance[k][j] for j in oracle.neighbors(lattice)[k]) for k in range(lattice.m)])
    actual = distance_map(codebook, Grid(**lattice.arguments), Metric(name, weights))
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hexagonal", [False, True])
@pytest.mark.parametrize("scaling", ["sum", "mean"])
def test_a_map_rolled_around_a_torus_rolls_its_u_matrix_with_it(hexagonal: bool, scaling: str) -> None:
    lattice = Lattice(6, 5, hexagonal, True)
    grid, codebook = Grid(**lattice.arguments), normal(6, 5, 3)
    before = distance_map(codebook.flatten(0, 1), grid, Metric("euclidean"), 2, scaling).reshape(6, 5)
    rolled = codebook.roll((2, 3), dims=(0, 1))
    after = distance_map(rolled.flatten(0, 1), grid, Metric("euclidean"), 2, scaling).reshape(6, 5)
    same(after, before.roll((2, 3), dims=(0, 1)))


def test_borders_of_a_flat_map_look_smooth_by_sum_but_not_by_mean() -> None:
    codebook = torch.arange(9.0).double().reshape(3, 3).T.flatten()[:, None]  # each step down a column is 1
    flat = torch.zeros(9, 1).double()
    flat[4] = 1.0  # only the center differs
    assert distance_map(flat, Grid(3, 3), Metric("euclidean"), 1, "sum").tolist() == [1, 1, 1, 1, 8, 1, 1, 1, 1]
    mean = distance_map(flat, Grid(3, 3), Metric("euclidean"), 1, "mean")
    same(mean, doubles([1 / 3, 1 / 5, 1 / 3, 1 / 5, 1, 1 / 5, 1 / 3, 1 / 5, 1 / 3]))
    assert distance_map(codebook, Grid(3, 3), Metric("euclidean")).argmax() == 4


def test_scaled_to_one_divides_by_the_largest_and_leaves_zeros() -> None:
    assert scaled_to_one(torch.tensor([1.0, 4.0, 2.0])).tolist() == [0.25, 1.0, 0.5]
    assert scaled_to_one(torch.zeros(3)).tolist() == [0, 0, 0]


# ---- statistics of targets


@pytest.mark.parametrize("m", [1, 6, 20, 200])
def test_mean_and_std_are_those_of_each_neurons_targets(m: int) -> None:
    winner, target = random_winners(m), normal(N, 2)
    groups = neuron_samples(winner, m)
    for column in range(2):
        mean = by_neuron(winner, m, target[:, column], lambda v: statistics.fmean(v) if v else NAN)
        same(mean_map(groups, target)[column], mean)
        same(std_map(groups, target)[column], by_neuron(winner, m, target[:, column], std))
    assert mean_map(groups, target).dtype == std_map(groups, target).dtype == torch.float64


def test_the_standard_deviation_survives_a_large_mean() -> None:
    target = 1e8 + torch.arange(5.0).double()[:, None]
    groups = neuron_samples(torch.zeros(5, dtype=torch.int64), 1)
    assert float(std_map(groups, target)) == pytest.approx(math.sqrt(2.5), rel=1e-12)
    assert float(mean_map(groups, target)) == 100_000_002.0


@pytest.mark.parametrize("m", [1, 6, 20, 200])
def test_the_score_is_the_standard_error_times_the_rarity_of_the_neuron(m: int) -> None:
    winner, target = random_winners(m), normal(N, 1)
    total = sum(len(own) for own in samples_of(winner, m))

    def score(values: list[float]) -> float:
        return std(values) / math.sqrt(len(values)) * math.log(total / len(values)) if len(values) > 1 else NAN

    same(score_map(neuron_samples(winner, m), target)[0], by_neuron(winner, m, target[:, 0], score))


def test_the_score_of_numbers_worked_by_hand() -> None:
    winner = torch.tensor([0, 0, 1, 1, 1, 1, 2])
    target = doubles([1.0, 3.0, 0.0, 0.0, 0.0, 4.0, 7.0])[:, None]
    score = score_map(neuron_samples(winner, 4), target)[0]
    assert score[:2].tolist() == pytest.approx([math.sqrt(2) / math.sqrt(2) * math.log(7 / 2), 2 / 2 * math.log(7 / 4)])
    assert score[2:].isnan().all()  # one sample, none: no perfect score


@pytest.mark.parametrize("m", [1, 6, 20, 200])
def test_the_rank_is_that_of_scipy_by_standard_deviation(m: int) -> None:
    winner, target = random_winners(m), normal(N, 1).round()  # rounded, so that some are equal
    deviation = by_neuron(winner, m, target[:, 0], std).numpy()
    expected = scipy.stats.rankdata(deviation, method="min", nan_policy="omit")
    same(rank_map(neuron_samples(winner, m), target)[0], torch.from_numpy(expected))


def test_equal_deviations_share_the_smaller_rank_and_single_samples_have_none() -> None:
    winner = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4])
    target = doubles([0.0, 2.0, 10.0, 12.0, 0.0, 8.0, 5.0, 5.0, 1.0])[:, None]
    rank = rank_map(neuron_samples(winner, 6), target)[0]
    assert rank[:4].tolist() == [2, 2, 4, 1]
    assert rank[4:].isnan().all()


# ---- classes


def most_frequent(winner: Tensor, lattice: Lattice, labels: Sequence[float], order: int) -> list[float]:
    """The definition: most frequent class; of tied ones the most frequent around; then the smallest."""
    own = samples_of(winner, lattice.m)
    result = []
    for k in range(lattice.m):
        votes = Counter(labels[i] for i in own[k])
        tied = [label for label in votes if votes[label] == max(votes.values())]
        around = Counter(labels[i] for j in oracle.within(lattice, k, order) for i in own[j])
        result.append(min(tied, key=lambda label: (-around[label], label)) if tied else NAN)
    return result


@pytest.mark.parametrize("lattice", [*FOUR, *SMALL[::9]], ids=str)
@pytest.mark.parametrize("order", [1, 2, 9])
def test_the_class_is_the_most_frequent_one_with_ties_broken_by_the_neighborhood(lattice: Lattice, order: int) -> None:
    for seed in range(4):
        winner = random_winners(lattice.m, n=60, seed=seed)
        labels = torch.randint(-2, 2, (60,), generator=torch.Generator().manual_seed(seed)).double()
        actual = classification_map(
            neuron_samples(winner, lattice.m), labels[:, None], Grid(**lattice.arguments), order
        )
        same(actual[0], doubles(most_frequent(winner, lattice, labels.tolist(), order)))


def line_of(classes: list[list[float]]) -> tuple[NeuronSamples, Tensor]:
    """A map of one row whose neurons hold the given labels."""
    winner = torch.tensor([k for k, labels in enumerate(classes) for _ in labels])
    return neuron_samples(winner, len(classes)), doubles([v for labels in classes for v in labels])[:, None]


def test_a_tie_is_decided_by_the_neighbors_and_never_won_by_a_class_that_was_not_tied() -> None:
    groups, labels = line_of([[3.0], [1.0, 3.0], [7.0, 7.0, 7.0]])
    assert classification_map(groups, labels, Grid(1, 3), 1)[0].tolist() == [3.0, 3.0, 7.0]


def test_a_tie_that_the_neighbors_do_not_decide_goes_to_the_smallest_label() -> None:
    groups, labels = line_of([[5.0], [5.0, -2.0], [-2.0], [9.0, 4.0]])
    assert classification_map(groups, labels, Grid(1, 4), 1)[0].tolist() == [5.0, -2.0, -2.0, 4.0]


def test_a_tie_on_a_torus_is_decided_across_the_seam() -> None:
    groups, labels = line_of([[1.0, 2.0], [], [], [], [2.0]])
    assert classification_map(groups, labels, Grid(1, 5), 1)[0, 0] == 1.0
    assert classification_map(groups, labels, Grid(1, 5, pbc=True), 1)[0, 0] == 2.0


def test_the_order_says_how_far_a_tie_looks() -> None:
    groups, labels = line_of([[1.0, 2.0], [], [2.0]])
    assert classification_map(groups, labels, Grid(1, 3), 1)[0, 0] == 1.0
    assert classification_map(groups, labels, Grid(1, 3), 2)[0, 0] == 2.0


def test_ties_are_decided_alike_every_time() -> None:
    groups, labels = line_of([[float(v) for v in range(6)], [0.0, 1.0, 2.0]])
    runs = {tuple(classification_map(groups, labels, Grid(1, 2), 1)[0].tolist()) for _ in range(5)}
    assert runs == {(0.0, 0.0)}


def test_labels_beyond_float32_stay_exact() -> None:
    large = [2.0**24 + 1, 2.0**24 + 2, 2.0**53 - 1]
    groups, labels = line_of([[v] for v in large])
    assert classification_map(groups, labels, Grid(1, 3), 1)[0].tolist() == large


@pytest.mark.parametrize("statistic", [mean_map, std_map, score_map, rank_map])
def test_each_column_of_a_target_has_its_own_map(statistic: Callable[[NeuronSamples, Tensor], Tensor]) -> None:
    groups, target = neuron_samples(random_winners(20), 20), normal(N, 3)
    together = statistic(groups, target)
    assert together.shape == (3, 20)
    for column in range(3):
        same(together[column], statistic(groups, target[:, [column]])[0])


def test_each_column_of_labels_has_its_own_classes() -> None:
    groups, labels = neuron_samples(random_winners(20), 20), normal(N, 2).round()
    together: Any = classification_map(groups, labels, Grid(4, 5), 1)
    for column in range(2):
        same(together[column], classification_map(groups, labels[:, [column]], Grid(4, 5), 1)[0])

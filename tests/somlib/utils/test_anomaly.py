"""Anomaly scores by hand, and thresholds by how often they are exceeded."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from somlib import SOM
from somlib.errors import ArgumentError, DataError
from somlib.utils.anomaly import PRIOR, DistanceTotals, NormalDistances, conformal_threshold, left_out_distances
from somlib.utils.grid import Grid
from somlib.utils.winners import Winners

NAN, INF = float("nan"), float("inf")


def winners(index: list[int], distance: list[float]) -> Winners:
    return Winners(torch.tensor(index)[:, None], torch.tensor(distance)[:, None])


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_scale_is_the_mean_left_out_distance_of_a_neuron_drawn_towards_that_of_the_map() -> None:
    found = winners([0, 0, 0, 2, -1], [1.0, 2.0, 6.0, 7.0, NAN])
    influence = doubles([4.0, 1.0, 2.0])
    left_out = [1 * 4 / 3, 2 * 4 / 3, 6 * 4 / 3, 7 * 2 / 1]
    mean = sum(left_out) / 4
    normal = NormalDistances.of_training(found, influence)
    expected = [(12 + PRIOR * mean) / (3 + PRIOR), mean, (14 + PRIOR * mean) / (1 + PRIOR)]
    assert normal.scales.tolist() == pytest.approx(expected)
    scores = [d / ((12 - d + PRIOR * mean) / (2 + PRIOR)) for d in left_out[:3]] + [14 / mean]
    assert normal.scores[:4].tolist() == pytest.approx(scores)
    assert normal.scores[4].isnan()


def test_totals_of_parts_left_out_neuron_by_neuron_are_those_left_out_row_by_row() -> None:
    index, distance, influence = [0, 0, 0, 2, -1, 1], [1.0, 2.0, 6.0, 7.0, NAN, 3.0], doubles([4.0, 1.0, 2.0])
    parts = [
        DistanceTotals.of(torch.tensor(index[part]), doubles(distance[part]), 3, None)
        for part in (slice(2), slice(2, None))
    ]
    totals, expected = parts[0].plus(parts[1]).without_each(influence), [9 * 4 / 3, 3.0, 7 * 2 / 1]  # 1 holds its own
    assert totals.distance.tolist() == pytest.approx(expected)
    assert totals.weight.tolist() == [3, 1, 1]
    by_row = DistanceTotals.left_out(winners(index, distance), influence)
    assert by_row.distance.tolist() == pytest.approx(expected)
    some = winners(index[1:3], distance[1:3])
    scores = NormalDistances.of_training(winners(index, distance), influence).scores
    assert torch.equal(NormalDistances.of_sample(by_row, some, influence).scores, scores[1:3])


def test_a_left_out_distance_is_that_to_the_batch_map_without_the_sample() -> None:
    """Witness: the step of the batch map done again without the row, with the other rows at their winners."""
    generator = torch.Generator().manual_seed(3)
    data = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    weight = torch.randint(1, 4, (60,), generator=generator).double()
    positions = Grid(4, 3, "hexagonal").positions.double()
    influence = torch.exp(-(torch.cdist(positions, positions) ** 2) / (2 * 1.2**2))
    winner = torch.randint(0, 12, (60,), generator=generator)

    def codebook(count: Tensor) -> Tensor:
        per_neuron = influence[:, winner] * count  # (m, n)
        return per_neuron @ data / per_neuron.sum(1, keepdim=True)

    distance = (data - codebook(weight)[winner]).norm(dim=1)
    expected = []
    for i in range(60):
        fewer = weight.clone()
        fewer[i] = 0
        expected.append((data[i] - codebook(fewer)[winner[i]]).norm())
    found = Winners(winner[:, None], distance[:, None])
    mass = influence @ torch.zeros(12, dtype=torch.float64).index_add_(0, winner, weight)
    torch.testing.assert_close(left_out_distances(found, mass, weight), torch.stack(expected))


def test_a_sample_that_holds_its_neuron_alone_is_infinitely_unusual_without_it_and_the_scales_stay_finite() -> None:
    found, influence = winners([0, 1, 1], [2.0, 1.0, 3.0]), doubles([1.0, 4.0])
    assert left_out_distances(found, influence).tolist() == [INF, 4 / 3, 4.0]
    normal = NormalDistances.of_training(found, influence)
    assert normal.scores[0] == INF
    assert bool(torch.isfinite(normal.scales).all())


def test_a_weight_of_k_acts_like_k_copies_of_a_sample_in_the_scales_and_the_threshold() -> None:
    influence = doubles([5.0, 6.0])
    weighted = NormalDistances.of_training(
        winners([0, 1, 1], [1.0, 3.0, 8.0]), influence, torch.tensor([1.0, 1.0, 0.0])
    )
    plain = NormalDistances.of_training(winners([0, 1], [1.0, 3.0]), influence)
    assert torch.equal(weighted.scales, plain.scales)
    assert torch.equal(weighted.scores[:2], plain.scores)
    assert weighted.threshold(0.4) == plain.threshold(0.4)


def test_outliers_of_weight_0_leave_the_threshold_as_it_is_without_them() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(400, 3, generator=generator)
    weight = torch.ones(400)
    weight[::20] = 0
    spoiled = data.clone()
    spoiled[::20] *= 100
    thresholds = []
    for rows, counts in ((spoiled, weight), (data[weight > 0], None)):
        som = SOM(5, 4, 3, algorithm="batch", steps_per_epoch=1, initialization_mode="pca", epochs=3)
        som.initialize_weights(data[weight > 0])
        som.fit(rows, verbose=False, sample_weight=counts)
        thresholds.append(som.anomaly_threshold(0.05))
    assert thresholds[0] == pytest.approx(thresholds[1], rel=1e-4)


def test_a_score_is_the_distance_in_units_of_the_scale() -> None:
    normal = NormalDistances(doubles([2.0, 6.0]), doubles([]))
    scores = normal.scores_of(winners([0, 1, -1, 1], [3.0, 3.0, NAN, 0.0]))
    assert scores.dtype == torch.float64
    assert scores[[0, 1, 3]].tolist() == [1.5, 0.5, 0.0]
    assert scores[2].isnan()


def test_off_a_neuron_that_was_only_ever_hit_exactly_a_sample_is_infinitely_unusual() -> None:
    normal = NormalDistances(doubles([0.0]), doubles([]))
    assert normal.scores_of(winners([0, 0], [0.0, 1e-9])).tolist() == [0.0, INF]


@pytest.mark.parametrize("x", [4, 12], ids=["many rows a neuron", "few rows a neuron"])
@pytest.mark.parametrize("settings", [{}, {"preset": "fast"}, {"algorithm": "batch", "steps_per_epoch": 1}], ids=str)
def test_without_calibration_the_promised_share_of_false_alarms_is_nearly_kept(
    settings: dict[str, Any], x: int
) -> None:
    """Of 2 000 new samples; scored as they are, training samples would let 7 to 30 % pass for the 5 promised."""
    generator = torch.Generator().manual_seed(7)
    mixing = torch.randn(4, 4, generator=generator)
    train, fresh = (torch.randn(n, 4, generator=generator) @ mixing for n in (400, 2_000))
    som = SOM(x, x, 4, epochs=10, **settings)
    som.fit(train, verbose=False)
    assert 0.02 < float(som.is_anomaly(fresh, 0.05).double().mean()) < 0.085


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05])
def test_a_weighted_threshold_is_that_of_copies(alpha: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(50, generator=generator, dtype=torch.float64)
    weight = torch.randint(0, 4, (50,), generator=generator)
    assert conformal_threshold(scores, alpha, weight) == conformal_threshold(scores.repeat_interleave(weight), alpha)


@pytest.mark.parametrize(("n", "alpha", "rank"), [(99, 0.01, 99), (199, 0.01, 198), (9, 0.1, 9), (19, 0.1, 18), (4, 0.5, 3)])  # fmt: skip  # noqa: E501
def test_the_threshold_is_the_conformal_quantile(n: int, alpha: float, rank: int) -> None:
    scores = torch.randperm(n, generator=torch.Generator().manual_seed(0)).double() + 1
    assert conformal_threshold(scores, alpha) == rank
    assert conformal_threshold(torch.cat((scores, doubles([NAN, NAN]))), alpha) == rank


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_new_normal_scores_exceed_the_threshold_at_most_as_often_as_promised(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    draws, n = 20_000, math.ceil(1 / alpha) + 13
    exceeded = 0
    for _ in range(400):
        threshold = conformal_threshold(torch.randn(n, generator=generator, dtype=torch.float64), alpha)
        exceeded += int((torch.randn(draws // 400, generator=generator) > threshold).sum())
    deviation = math.sqrt(alpha / n / 400 + alpha / draws)  # of the calibration sets, and of the new scores
    assert exceeded / draws <= alpha + 3 * deviation
    assert exceeded / draws >= alpha - 1 / (n + 1) - 3 * deviation  # and is not far on the safe side


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, NAN])
def test_a_share_of_false_alarms_lies_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ArgumentError, match="alpha must lie between 0 and 1, got"):
        conformal_threshold(doubles([1.0, 2.0]), alpha)


@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.1, 0.07, 0.05, 1 / 3, 0.01, 0.003, 0.001])
def test_too_few_scores_are_refused_with_the_number_that_would_do(alpha: float) -> None:
    enough = next(n for n in range(1, 2_000) if math.ceil((n + 1) * (1 - alpha)) <= n)
    assert math.isfinite(conformal_threshold(torch.zeros(enough), alpha))
    with pytest.raises(DataError, match=f"must have at least {enough} usable rows for alpha={alpha}, got {enough - 1}"):
        conformal_threshold(torch.zeros(enough - 1), alpha)

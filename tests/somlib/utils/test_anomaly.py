"""Anomaly scores by hand, and thresholds by how often they are exceeded."""

import math

import pytest
import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataError
from somlib.utils.anomaly import PRIOR, anomaly_scores, conformal_threshold, distance_scales
from somlib.utils.search import Winners

NAN, INF = float("nan"), float("inf")


def winners(index: list[int], distance: list[float]) -> Winners:
    return Winners(torch.tensor(index)[:, None], torch.tensor(distance)[:, None])


def doubles(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_scale_is_the_mean_distance_of_a_neuron_drawn_towards_that_of_the_map() -> None:
    found = winners([0, 0, 0, 2, -1], [1.0, 2.0, 6.0, 7.0, NAN])
    mean = 16 / 4
    expected = [(9 + PRIOR * mean) / (3 + PRIOR), mean, (7 + PRIOR * mean) / (1 + PRIOR)]
    assert distance_scales(found, 3).tolist() == pytest.approx(expected)


def test_a_weight_of_k_acts_like_k_copies_of_a_sample() -> None:
    weighted = distance_scales(winners([0, 1, 1], [1.0, 3.0, 8.0]), 2, torch.tensor([2.0, 1.0, 0.0]))
    assert torch.equal(weighted, distance_scales(winners([0, 0, 1], [1.0, 1.0, 3.0]), 2))


def test_a_score_is_the_distance_in_units_of_the_scale() -> None:
    scores = anomaly_scores(winners([0, 1, -1, 1], [3.0, 3.0, NAN, 0.0]), doubles([2.0, 6.0]))
    assert scores.dtype == torch.float64
    assert scores[[0, 1, 3]].tolist() == [1.5, 0.5, 0.0]
    assert scores[2].isnan()


def test_off_a_neuron_that_was_only_ever_hit_exactly_a_sample_is_infinitely_unusual() -> None:
    assert anomaly_scores(winners([0, 0], [0.0, 1e-9]), doubles([0.0])).tolist() == [0.0, INF]


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

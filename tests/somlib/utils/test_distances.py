"""Every distance of the registry against its definition, one pair at a time."""

import math

import numpy as np
import pytest
import scipy.spatial.distance
import torch
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils import masked_distances
from somlib.utils.distances import DISTANCE_FUNCTIONS, DISTANCES, Metric, masked_pairwise, unit_vectors
from tests.somlib.largest import largest_tensor
from tests.somlib.oracle import feature_distance

NAMES = tuple(DISTANCES)
GAPPED = tuple(name for name, record in DISTANCES.items() if record.takes_missing)
WEIGHED = tuple(name for name, record in DISTANCES.items() if record.weighting is not None)
WEIGHTS = (0.5, 0.0, 3.0, 1.0, 10.0)
NAN = float("nan")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def defined(data: Tensor, codebook: Tensor, name: str, weights: tuple[float, ...] | None = None) -> Tensor:
    """The definition, pair by pair."""
    factors = None if weights is None else np.array(weights)
    rows = [[feature_distance(x, w, name, factors) for w in codebook.double().numpy()] for x in data.double().numpy()]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "expected"), [("euclidean", 5.0), ("manhattan", 7.0), ("chebyshev", 4.0), ("cosine", 1 - 24 / 25)]
)
def test_distances_of_numbers_worked_by_hand(name: str, expected: float) -> None:
    start = {"cosine": (3.0, 4.0)}.get(name, (1.0, 1.0))
    end = {"cosine": (4.0, 3.0)}.get(name, (4.0, 5.0))
    distance = DISTANCE_FUNCTIONS[name](torch.tensor([start]), torch.tensor([[end]]))
    assert float(distance) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_distances_match_their_definition(name: str, dtype: torch.dtype, rtol: float) -> None:
    data, weights = normal(7, 5, dtype=dtype), normal(4, 3, 5, seed=1, dtype=dtype)
    distances = DISTANCE_FUNCTIONS[name](data, weights)
    assert distances.dtype == dtype
    assert distances.shape == (7, 4, 3)
    expected = defined(data, weights.reshape(12, 5), name).reshape(7, 4, 3)
    torch.testing.assert_close(distances.double(), expected, rtol=rtol, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_distances_match_scipy(name: str) -> None:
    data, weights = normal(50, 8, dtype=torch.float64), normal(5, 6, 8, seed=1, dtype=torch.float64)
    kind = {"manhattan": "cityblock"}.get(name, name)
    expected = scipy.spatial.distance.cdist(data, weights.reshape(30, 8), kind)
    distances = DISTANCE_FUNCTIONS[name](data, weights).reshape(50, 30)
    torch.testing.assert_close(distances, torch.from_numpy(expected), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_distances_are_symmetric_and_zero_to_oneself(name: str) -> None:
    points = normal(20, 6)
    distances = DISTANCE_FUNCTIONS[name](points, points[None])[:, 0]
    assert torch.equal(distances, distances.T)
    assert not distances.diagonal().any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_distances_at_the_ends_of_float32_keep_their_precision(name: str, scale: float) -> None:
    data, weights = normal(6, 4) * scale, normal(2, 2, 4, seed=1) * scale
    expected = defined(data, weights.reshape(4, 4), name).reshape(6, 2, 2)
    distances = DISTANCE_FUNCTIONS[name](data, weights)
    torch.testing.assert_close(distances.double(), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("offset", [1e3, 1e6, -3e6])
def test_an_offset_of_float32_data_costs_no_precision(name: str, offset: float) -> None:
    data, weights = normal(6, 4) + offset, normal(2, 2, 4, seed=1) + offset
    expected = defined(data, weights.reshape(4, 4), name).reshape(6, 2, 2)
    distances = DISTANCE_FUNCTIONS[name](data, weights)
    torch.testing.assert_close(distances.double(), expected, rtol=2e-6, atol=0)


def test_cosine_runs_from_0_to_2_and_does_not_stop_at_a_right_angle() -> None:
    angles = torch.tensor([0.0, 60.0, 90.0, 120.0, 180.0], dtype=torch.float64).deg2rad()
    weights = torch.stack((angles.cos(), angles.sin()), dim=1)
    distances = DISTANCE_FUNCTIONS["cosine"](torch.tensor([[2.0, 0.0]]).double(), 3 * weights[None])
    torch.testing.assert_close(distances.flatten(), torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]).double())
    assert distances.max() <= 2


def test_cosine_of_small_angles_is_not_lost_to_rounding() -> None:
    angle = 1e-6
    point = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    turned = torch.tensor([[[math.cos(angle), math.sin(angle)]]], dtype=torch.float64)
    expected = 2 * math.sin(angle / 2) ** 2  # 1 - cos, which itself has four digits here
    assert float(DISTANCE_FUNCTIONS["cosine"](point, turned)) == pytest.approx(expected, rel=1e-9)


def test_cosine_to_a_zero_vector_is_not_a_number() -> None:
    zero, one = torch.zeros(1, 2), torch.ones(1, 2)
    assert DISTANCE_FUNCTIONS["cosine"](zero, one[None]).isnan().all()
    assert DISTANCE_FUNCTIONS["cosine"](one, zero[None]).isnan().all()


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1.0, 1e30, 3e38])
def test_unit_vectors_have_length_1_at_any_size(size: float) -> None:
    vectors = torch.tensor([[3.0, -4.0], [1.0, 0.0]]) * (size / 4)
    torch.testing.assert_close(unit_vectors(vectors), torch.tensor([[0.6, -0.8], [1.0, 0.0]]))
    assert unit_vectors(torch.zeros(1, 3)).isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_distance_builds_a_block_of_samples_by_neurons_by_features(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked_distances, "BLOCK_ENTRIES", {"cpu": 3_000})
    data, weights = torch.ones(60, 50), torch.ones(6, 10, 50)
    assert largest_tensor(lambda: data[:, None] - weights.reshape(1, 60, 50)) == 60 * 60 * 50  # it would be seen
    assert largest_tensor(lambda: DISTANCE_FUNCTIONS[name](data, weights)) == 60 * 60
    if not DISTANCES[name].takes_missing:
        return
    incomplete = torch.where(torch.eye(60, 50) > 0, NAN, data)
    made = largest_tensor(lambda: masked_pairwise(Metric(name), incomplete, weights.reshape(60, 50)))
    assert made == 60 * 60


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_refused_with_both(name: str) -> None:
    with pytest.raises(ShapeError, match="weights must have 3 features, like data, got 2"):
        DISTANCE_FUNCTIONS[name](torch.zeros(1, 3), torch.zeros(4, 5, 2))
    with pytest.raises(ShapeError, match=r"data must have shape \(b, d\) and weights \(x, y, d\), got \(3,\) and"):
        DISTANCE_FUNCTIONS[name](torch.zeros(3), torch.zeros(4, 5, 3))


# ---- metrics: feature weights and missing values


@pytest.mark.parametrize(
    ("name", "weights"), [*((name, None) for name in NAMES), *((name, WEIGHTS) for name in WEIGHED)]
)
def test_a_metric_weighs_the_term_of_each_feature(name: str, weights: tuple[float, ...] | None) -> None:
    metric, data, codebook = Metric(name, weights), normal(7, 5), normal(9, 5, seed=1)
    expected = defined(data, codebook, name, weights)
    torch.testing.assert_close(metric.pairwise(data, codebook).double(), expected, rtol=2e-6, atol=1e-8)
    for k in range(9):
        rowwise = metric.rowwise(data, codebook[k].expand(7, 5))
        torch.testing.assert_close(rowwise.double(), expected[:, k], rtol=2e-6, atol=1e-8)
    if metric.distance.takes_missing:
        masked = masked_pairwise(metric, data.double(), codebook.double())
        torch.testing.assert_close(masked, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
def test_feature_weights_at_an_offset_cost_no_precision(name: str) -> None:
    metric, data, codebook = Metric(name, (0.3, 0.7, 1.1)), normal(5, 3) + 1e6, normal(4, 3, seed=1) + 1e6
    expected = defined(data, codebook, name, metric.feature_weights)
    torch.testing.assert_close(metric.pairwise(data, codebook).double(), expected, rtol=2e-6, atol=0)
    rowwise = metric.rowwise(data[:4], codebook)
    torch.testing.assert_close(rowwise.double(), expected[:4].diagonal(), rtol=2e-6, atol=0)


@pytest.mark.parametrize("name", WEIGHED)
def test_a_feature_of_weight_0_does_not_count(name: str) -> None:
    data, codebook = normal(4, 3), normal(5, 3, seed=1)
    without = Metric(name).pairwise(data[:, [0, 2]], codebook[:, [0, 2]])
    torch.testing.assert_close(Metric(name, (1.0, 0.0, 1.0)).pairwise(data, codebook), without)


def incomplete(n: int = 12, d: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Samples with one to all but one value missing, the last with nothing observed."""
    data = normal(n, d, dtype=dtype)
    for i in range(n - 1):
        data[i, torch.randperm(d, generator=torch.Generator().manual_seed(i))[: 1 + i % (d - 1)]] = NAN
    data[-1] = NAN
    return data


@pytest.mark.parametrize("name", GAPPED)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_missing_values_leave_the_observed_features_scaled_by_their_share(
    name: str, weights: tuple[float, ...] | None, dtype: torch.dtype, rtol: float
) -> None:
    metric, data, codebook = Metric(name, weights), incomplete(dtype=dtype), normal(9, 5, seed=1, dtype=dtype)
    expected = defined(data, codebook, name, weights)
    assert expected[-1].isnan().all()
    for k in range(9):
        rowwise = metric.rowwise(data, codebook[k].expand(len(data), 5))
        assert rowwise.dtype == dtype
        torch.testing.assert_close(rowwise.double(), expected[:, k], rtol=rtol, atol=rtol / 100, equal_nan=True)
    masked = masked_pairwise(metric, data.double(), codebook.double())
    torch.testing.assert_close(masked, expected, rtol=1e-7, atol=1e-12, equal_nan=True)


def test_scaled_by_the_share_observed_means_d_over_observed_before_the_root() -> None:
    sample, neuron = torch.tensor([[3.0, NAN, NAN, 4.0]]), torch.tensor([[0.0, 7.0, 7.0, 0.0]])
    assert float(Metric("euclidean").rowwise(sample, neuron)) == pytest.approx(math.sqrt(4 / 2 * 25), rel=1e-6)
    assert float(Metric("manhattan").rowwise(sample, neuron)) == pytest.approx(4 / 2 * 7)
    assert float(Metric("chebyshev").rowwise(sample, neuron)) == 4.0
    assert float(Metric("cosine").rowwise(sample, torch.tensor([[4.0, 7.0, 7.0, 3.0]]))) == pytest.approx(1 / 25)


@pytest.mark.parametrize("name", GAPPED)
def test_distances_do_not_change_their_arguments(name: str) -> None:
    data, codebook = incomplete(), normal(9, 5, seed=1)
    before = data.clone(), codebook.clone()
    Metric(name, WEIGHTS).rowwise(data[:9], codebook)
    masked_pairwise(Metric(name), data.double(), codebook.double())
    Metric(name).pairwise(codebook, codebook)
    torch.testing.assert_close((data, codebook), before, rtol=0, atol=0, equal_nan=True)

"""Distances over observed features, against the definition on the columns that are left."""

import math

import pytest
import torch
from torch import Tensor

from somlib.utils import masked_distances
from somlib.utils.distances import DISTANCE_FUNCTIONS, DISTANCES

NAN = math.nan
# sqrt and identity for sums that grow with the number of features, 1 for the others
GAPPED = [name for name, record in DISTANCES.items() if record.takes_missing]
GROWTH = {"euclidean": math.sqrt, "manhattan": float, "chebyshev": lambda _: 1.0, "cosine": lambda _: 1.0}


def with_gaps(n: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, d, generator=generator, dtype=torch.float64) + 3
    return values.masked_fill(torch.rand(n, d, generator=generator) < 0.4, torch.nan)


def by_definition(name: str, a: Tensor, b: Tensor) -> float:
    both = ~(torch.isnan(a) | torch.isnan(b))
    if not bool(both.any()):
        return NAN
    distance = float(DISTANCE_FUNCTIONS[name](a[both][None], b[both][None, None]))
    return distance * GROWTH[name](len(a) / int(both.sum()))


@pytest.mark.parametrize("name", GAPPED)
def test_distances_between_samples_are_over_the_features_of_both(name: str) -> None:
    a, b = with_gaps(9, 4, seed=0), with_gaps(7, 4, seed=1)
    a[0], b[0, 0] = torch.nan, torch.nan
    shared = DISTANCES[name].shared
    assert shared is not None
    expected = torch.tensor([[by_definition(name, row, other) for other in b] for row in a], dtype=torch.float64)
    assert expected.isnan().any()
    torch.testing.assert_close(shared(a, b), expected, rtol=1e-9, atol=1e-11, equal_nan=True)


@pytest.mark.parametrize("entries", [1, 4 * 7 * 4, 2**16])  # 1, 4 and all 9 rows at a time
@pytest.mark.parametrize("name", GAPPED)
def test_distances_to_neurons_are_over_the_observed_features(
    name: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked_distances, "BLOCK_ENTRIES", {"cpu": entries})
    x, w = with_gaps(9, 4, seed=2), with_gaps(7, 4, seed=3).nan_to_num(nan=0.5)
    x[3] = torch.nan
    masked = DISTANCES[name].masked
    assert masked is not None
    expected = torch.tensor([[by_definition(name, row, neuron) for neuron in w] for row in x], dtype=torch.float64)
    torch.testing.assert_close(masked(x, w), expected, rtol=1e-9, atol=1e-11, equal_nan=True)


def test_pairs_that_share_one_feature_have_a_cosine_distance_of_exactly_0_or_2() -> None:
    a = torch.tensor([[0.1, NAN], [-0.3, NAN]], dtype=torch.float64)
    assert masked_distances.cosine_shared(a, torch.tensor([[0.7, 5.0]]).double()).tolist() == [[0.0], [2.0]]

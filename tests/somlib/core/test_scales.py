"""Maps do not hang on the unit of their data, nor on the size of sample weights, nor on features of no weight."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from somlib.core.som import SOM
from somlib.errors import DataError

SCALES = [2.0**-87, 2.0**-60, 2.0**-33, 2.0**40, 2.0**100, 2.0**120]  # 6e-27 to 1e36
METRICS = ["euclidean", "manhattan", "cosine", "chebyshev"]


def blobs(n: int = 240, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=draw) + 4 * torch.randint(0, 3, (n, 1), generator=draw)


def trained(data: torch.Tensor, **settings: Any) -> SOM:
    som = SOM(6, 5, epochs=4, batch_size=24, random_seed=3, **settings)
    som.fit(data, verbose=False)
    return som


@pytest.mark.parametrize("start", ["random", "pca"])
@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_map_of_data_in_another_unit_is_the_map_in_that_unit(metric: str, algorithm: str, start: str) -> None:
    settings = {"algorithm": algorithm, "distance_function": metric, "initialization_mode": start}
    data = blobs()
    plain = trained(data.double(), **settings)
    for scale in SCALES:
        som = trained(data * scale, **settings)  # exact: a power of 2
        torch.testing.assert_close(som.weights.double() / scale, plain.weights, rtol=1e-6, atol=1e-6)
        unit = 1.0 if metric == "cosine" else scale
        assert som.quantization_errors == pytest.approx([qe * unit for qe in plain.quantization_errors], rel=1e-5)
        assert som.topographic_errors == pytest.approx(plain.topographic_errors)
        assert torch.equal(som.identify_bmus(data * scale), plain.identify_bmus(data.double()))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
def test_one_feature_of_tiny_unit_is_learned_beside_the_others(algorithm: str, gaps: bool) -> None:
    data, unit = blobs(), torch.tensor([1.0, 1.0, 2.0**-90])
    if gaps:
        data[::7, 2], data[::5, 0] = torch.nan, torch.nan
    weights = (1.0, 1.0, 0.0)  # a tiny feature does not count in a distance
    plain = trained(data.double(), algorithm=algorithm, missing="mask", feature_weights=weights)
    tiny = trained(data * unit, algorithm=algorithm, missing="mask", feature_weights=weights)
    torch.testing.assert_close(tiny.weights.double() / unit, plain.weights, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
def test_sample_weights_of_any_size_make_the_same_map(algorithm: str) -> None:
    data, draw = blobs(), torch.Generator().manual_seed(1)
    weight = torch.rand(len(data), generator=draw)
    maps = []
    for size in (1.0, 2.0**-90, 2.0**60):
        som = SOM(20, 12, epochs=4, algorithm=algorithm, sigma=1.0, steps_per_epoch=1)
        som.fit(data, verbose=False, sample_weight=weight * size)
        maps.append(som.weights)
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=1e-4, atol=1e-4)


def test_data_beyond_float64_is_refused_and_the_map_stays_as_it_was() -> None:
    som = SOM(3, 3)
    with pytest.raises(DataError, match="use another unit"):
        som.fit(np.random.default_rng(0).normal(size=(50, 2)) * 1e200, verbose=False)
    assert not som.initialized


@pytest.mark.parametrize("start", ["random", "pca"])
@pytest.mark.parametrize("algorithm", ["batch", "minibatch"])
@pytest.mark.parametrize(("metric", "root"), [("euclidean", 0.5), ("manhattan", 1), ("chebyshev", 1)])
def test_large_features_of_no_weight_leave_the_map_of_data_scaled_by_hand(
    metric: str, root: float, algorithm: str, start: str
) -> None:
    draw = torch.Generator().manual_seed(2)
    nuisance = 1000 * torch.randn(240, 2, generator=draw, dtype=torch.float64)
    data, weights = torch.cat((nuisance, blobs().double()), dim=1), (0.0, 0.0, 4.0, 1.0, 0.25)
    factor = torch.tensor(weights, dtype=torch.float64) ** root
    settings = {"algorithm": algorithm, "distance_function": metric, "initialization_mode": start}
    som, by_hand = trained(data, feature_weights=weights, **settings), trained(data[:, 2:] * factor[2:], **settings)
    assert torch.equal(som.identify_bmus(data), by_hand.identify_bmus(data[:, 2:] * factor[2:]))
    torch.testing.assert_close(som.weights[..., 2:] * factor[2:], by_hand.weights)
    assert som.topographic_errors == pytest.approx(by_hand.topographic_errors)


def test_the_size_of_a_map_follows_the_features_that_count() -> None:
    data = torch.cat((blobs(), torch.randn(240, 1) * 1e4), dim=1)
    som, by_hand = SOM(feature_weights=(1, 1, 1, 0)), SOM()
    som.initialize_weights(data)
    by_hand.initialize_weights(data[:, :3])
    assert (som.x, som.y) == (by_hand.x, by_hand.y)


@pytest.mark.parametrize("preset", [None, "fast", "balanced", "faithful"])
@pytest.mark.parametrize(
    "made", [list, tuple, np.array, torch.tensor, pd.Series, pl.Series, lambda values: np.array(values, np.float32)]
)
def test_feature_weights_may_be_any_sequence_with_and_without_a_preset(made: Any, preset: str | None) -> None:
    som = SOM(6, 5, 3, preset=preset, feature_weights=made([1.0, 2.0, 0.5]))
    assert som.feature_weights == (1.0, 2.0, 0.5)
    assert som.config == SOM(6, 5, 3, preset=preset, feature_weights=[1.0, 2.0, 0.5]).config


@pytest.mark.parametrize("preset", [None, "fast"])
@pytest.mark.parametrize("made", [np.float64, np.array, torch.tensor, lambda value: np.array(value, dtype=object)])
def test_numbers_may_be_scalars_of_any_library(made: Any, preset: str | None) -> None:
    som = SOM(made(6), made(5), made(3), sigma=made(2.0), random_seed=made(7), preset=preset)
    assert som.config == SOM(6, 5, 3, sigma=2.0, random_seed=7, preset=preset).config

"""How a map gets its first weights and its size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from somlib import SOM
from somlib.errors import (
    ArgumentError,
    DataError,
    NotFittedError,
    ShapeError,
    SomlibError,
    SomlibWarning,
)
from somlib.utils.initialization import pca_weights
from tests.somlib import oracle
from tests.somlib.core.small_maps import fitted, new_map, samples
from tests.somlib.oracle import FOUR

Call = Callable[[], object]
RULES = ("batch", "minibatch")


@pytest.mark.parametrize("mode", ["random", "pca"])
@pytest.mark.parametrize("start", ["fit", "partial_fit", "initialize_weights"])
def test_a_new_map_starts_by_its_initialization_mode(start: str, mode: str) -> None:
    som, begun = new_map(initialization_mode=mode, learning_rate=1e-12), samples()
    call: dict[str, Call] = {
        "fit": lambda: som.fit(begun, verbose=False),
        "partial_fit": lambda: som.partial_fit(begun),
        "initialize_weights": lambda: som.initialize_weights(begun),
    }
    call[start]()
    if mode == "pca":
        torch.testing.assert_close(som.codebook, pca_weights(begun, som.grid))
    else:
        nearest = torch.cdist(som.codebook, begun, p=1).min(dim=1)
        assert float(nearest.values.max()) < 1e-9
        assert len(set(nearest.indices.tolist())) == som.grid.m


def test_the_mode_given_to_initialize_weights_goes_before_the_configured_one() -> None:
    som = new_map(initialization_mode="random")
    som.initialize_weights(samples(), mode="pca")
    torch.testing.assert_close(som.codebook, pca_weights(samples(), som.grid))
    with pytest.raises(ArgumentError, match="mode must be one of 'random', 'pca', got 'linear'"):
        som.initialize_weights(samples(), mode="linear")


def test_weights_written_into_a_new_map_do_not_count_as_a_start() -> None:
    plain, written = new_map(num_features=3), new_map(num_features=3)
    written.weights.data.fill_(50.0)
    plain.fit(samples(), verbose=False)
    written.fit(samples(), verbose=False)
    assert torch.equal(plain.weights, written.weights)


@pytest.mark.parametrize("begin", ["initialize_weights", "initialize_from", "fit", "partial_fit", "load"])
def test_a_map_that_has_started_goes_on_from_its_weights(begin: str, tmp_path: Path) -> None:
    som, there = new_map(learning_rate=1e-12), torch.full((5, 4, 3), 50.0, dtype=torch.float64)
    if begin == "initialize_from":
        som.initialize_from(there)
    elif begin == "initialize_weights":
        som.initialize_weights(samples())
    elif begin == "partial_fit":
        som.partial_fit(samples())
    else:
        som.fit(samples(), verbose=False)
    som.weights.data.copy_(there)
    if begin == "load":
        som.save(tmp_path / "map")
        som = SOM.load(tmp_path / "map")
    som.fit(samples(), verbose=False)
    torch.testing.assert_close(som.weights, there)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("mode", ["random", "pca"])
def test_a_start_is_finite_and_within_the_data(mode: str, missing: bool) -> None:
    data = samples()
    if missing:
        data[torch.rand(data.shape, generator=torch.Generator().manual_seed(0)) < 0.4] = torch.nan
        data[0] = torch.nan
    som = new_map(missing="mask")
    som.initialize_weights(data, mode)
    assert bool(torch.isfinite(som.weights).all())
    assert float(som.weights.min()) >= float(data.nan_to_num(nan=9).min())
    assert float(som.weights.max()) <= float(data.nan_to_num(nan=-9).max())


def test_a_map_without_a_size_takes_size_sigma_and_batch_size_from_the_data() -> None:
    som = SOM(device="cpu", epochs=1)
    assert (som.x, som.y, som.num_features, som.sigma, som.batch_size) == (None, None, None, None, None)
    data = samples(900)
    som.fit(data, verbose=False)
    assert som.x is not None
    assert som.y is not None
    assert som.weights.shape == (som.x, som.y, 3)
    assert 120 <= som.x * som.y <= 180  # 5 sqrt(900) = 150
    assert som.sigma == pytest.approx(max(2.0, (som.x + som.y) / 12))
    assert som.batch_size == 4
    assert (som.config.x, som.config.sigma, som.config.batch_size) == (None, None, None)


def test_fewer_samples_than_neurons_are_warned_about_at_the_line_of_the_caller() -> None:
    calls: list[Call] = [
        lambda: new_map().fit(samples(7), verbose=False),
        lambda: new_map().partial_fit(samples(7)),
    ]
    for call in calls:
        with pytest.warns(SomlibWarning, match="data has 7 rows for 20 neurons") as caught:
            call()
        assert caught[0].filename == __file__


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_a_start_from_a_map_of_the_same_shape_copies_it(lattice: oracle.Lattice) -> None:
    source, som = fitted(**lattice.arguments), new_map(**lattice.arguments)
    som.initialize_from(source)
    assert torch.equal(som.weights, source.weights)
    som.weights.zero_()
    assert bool(source.weights.any())
    assert torch.equal(source.identify_bmus(samples()), fitted(**lattice.arguments).identify_bmus(samples()))


def test_a_start_from_a_map_of_another_size_keeps_its_order_and_most_of_its_fit() -> None:
    data = samples(400, d=2)
    source = fitted(data, epochs=10, initialization_mode="pca", algorithm="batch")
    for shape in ({"x": 10, "y": 8}, {"x": 10, "y": 8, "topology": "rectangular"}):
        som = new_map(**shape)
        som.initialize_from(source)
        assert som.weights.shape == (10, 8, 2)
        assert som.quantization_error(data) < 1.05 * source.quantization_error(data)
        assert som.topographic_error(data) < 0.2
        before = som.weights.clone()
        som.partial_fit(data)
        assert float((som.weights - before).abs().max()) < 1  # goes on from there


def test_a_map_without_a_size_takes_that_of_the_map_it_starts_from() -> None:
    som = SOM(device="cpu")
    som.initialize_from(fitted())
    assert (som.x, som.y, som.num_features) == (5, 4, 3)
    assert som.sigma is not None


def test_given_weights_are_copied_in_a_type_that_training_takes() -> None:
    given = torch.arange(60).reshape(5, 4, 3)
    som = new_map()
    som.initialize_from(given)
    assert som.weights.dtype == torch.float32
    som.weights.zero_()
    assert given.flatten().tolist() == list(range(60))
    som.initialize_from(given.double())
    assert som.weights.dtype == torch.float64


def test_a_refused_start_from_elsewhere_changes_nothing() -> None:
    refusals: list[tuple[dict[str, Any], Any, type[SomlibError], str]] = [
        ({}, torch.zeros(4, 5, 3), ShapeError, r"\(5, 4, 3\), got \(4, 5, 3\)"),
        ({"num_features": 3}, torch.zeros(5, 4, 2), ShapeError, r"\(5, 4, 3\), got \(5, 4, 2\)"),
        ({}, torch.full((5, 4, 3), torch.nan), DataError, "other must be finite"),
        ({"num_features": 2}, fitted(), ShapeError, "other must have 2 features, got 3"),
        ({"x": None, "y": None}, torch.zeros(5, 4, 3), NotFittedError, "no size yet"),
        ({"x": None, "y": None}, new_map(), NotFittedError, "no weights yet"),
        ({"x": None, "y": None, "pbc": True}, fitted(), ArgumentError, "even number of rows, got x=5"),
        ({"feature_weights": [1.0, 2.0]}, fitted(), ArgumentError, "feature_weights must have 3 values"),
        ({"feature_weights": [1.0, 2.0]}, torch.zeros(5, 4, 3), ArgumentError, "feature_weights must have 3 values"),
    ]
    for settings, other, error, message in refusals:
        som = new_map(**settings)
        before = (som.x, som.y, som.num_features, som.sigma, som.initialized, som.weights.clone())
        with pytest.raises(error, match=message):
            som.initialize_from(other)
        after = (som.x, som.y, som.num_features, som.sigma, som.initialized)
        assert after == before[:5]
        assert torch.equal(som.weights, before[5])

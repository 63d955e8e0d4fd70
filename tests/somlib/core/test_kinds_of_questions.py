"""Every question takes every kind of data, one sample where one makes sense, and the options of the reference."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from somlib import SOM, SOMVisualizer
from somlib.errors import ArgumentError

VALUES = np.random.default_rng(1).random((60, 2)).astype(np.float32)
KINDS: dict[str, Any] = {
    "array": VALUES,
    "tensor": torch.from_numpy(VALUES),
    "list": VALUES.tolist(),
    "polars": pl.from_numpy(VALUES),
    "pandas": pd.DataFrame(VALUES),
    "arrow": pa.table({"a": VALUES[:, 0], "b": VALUES[:, 1]}),
}


@pytest.fixture
def som() -> SOM:
    som = SOM(4, 3, 2, epochs=2, device="cpu")
    som.fit(VALUES, verbose=False)
    return som


@pytest.mark.parametrize("kind", KINDS)
def test_winners_of_every_kind_of_data(som: SOM, kind: str) -> None:
    distances = np.linalg.norm(VALUES[:, None] - som.codebook.numpy(), axis=2)
    found = som.winners(KINDS[kind], k=2, distances=True)
    assert found.index.tolist() == distances.argsort(axis=1)[:, :2].tolist()
    np.testing.assert_allclose(found.distance, np.sort(distances, axis=1)[:, :2], rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_a_number_of_winners_that_is_none_is_refused(som: SOM, k: Any) -> None:
    with pytest.raises(ArgumentError, match="k must be a whole number of at least 1"):
        som.winners(VALUES, k=k)


def test_errors_of_one_sample_are_those_of_one_row(som: SOM) -> None:
    for row in VALUES[:5]:
        nearest = np.sort(np.linalg.norm(row - som.codebook.numpy(), axis=1))[0]
        assert som.quantization_error(row) == pytest.approx(nearest, rel=1e-5)
        assert som.topographic_error(row) == som.topographic_error(row[None])
        assert som.quantization_error(row.tolist(), sample_weight=[2.0]) == pytest.approx(nearest, rel=1e-5)


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_a_random_state_replaces_the_seed_of_the_map(som: SOM, method: str) -> None:
    other = SOM.from_config(som.config.model_copy(update={"random_seed": 7}))
    other.initialize_from(som)
    asked, expected = som.cluster(method, 3, random_state=7), other.cluster(method, 3)
    assert torch.equal(asked["labels"], expected["labels"])
    assert torch.equal(som.cluster(method, 3, random_state=None)["labels"], som.cluster(method, 3)["labels"])
    assert torch.equal(som.cluster(method, 3, random_state=np.int64(42))["labels"], som.cluster(method, 3)["labels"])


@pytest.mark.parametrize("method", ["hdbscan", "ward"])
def test_methods_without_chance_take_a_random_state_too(som: SOM, method: str) -> None:
    assert torch.equal(som.cluster(method, random_state=1)["labels"], som.cluster(method, random_state=2)["labels"])


@pytest.mark.parametrize("state", [-1, 1.5, True, "7", 2**63])
def test_another_random_state_is_refused(som: SOM, state: Any) -> None:
    with pytest.raises(ArgumentError, match="random_state must be None or a whole number from 0 on"):
        som.cluster("kmeans", 2, random_state=state)


def test_an_order_of_0_asks_no_neighbors() -> None:
    """A tie of 3 and 5 at the first neuron, 5 all around: neighbors decide for 5, without them the smaller label."""
    som = SOM(1, 3, 1, device="cpu")
    som.weights.data = torch.tensor([[[0.0], [1.0], [2.0]]])
    data, target = np.array([[0.0], [0.0], [1.0], [2.0]]), [3, 5, 5, 5]
    assert som.build_map("classification", data, target).tolist() == [[5, 5, 5]]
    assert som.build_map("classification", data, target, neighborhood_order=0).tolist() == [[3, 5, 5]]
    figure = SOMVisualizer(som).plot_classification_map(target, data, neighborhood_order=0)
    assert figure.axes
    with pytest.raises(ArgumentError, match="neighborhood_order must be an integer of at least 0, got -1"):
        som.build_map("classification", data, target, neighborhood_order=-1)
    with pytest.raises(ArgumentError, match="neighborhood_order must be an integer of at least 1, got 0"):
        som.build_map("distance", neighborhood_order=0)

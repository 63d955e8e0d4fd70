"""Positions and distances, against the grid and the distances written out."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_iris

from somlib.errors import ArgumentError
from somlib.estimators import SOMTransformer
from tests.somlib import oracle

IRIS = load_iris().data
METRICS = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebyshev", "cosine": "cosine"}


def test_positions_are_rows_and_columns_of_the_nearest_neurons() -> None:
    estimator = SOMTransformer(x=4, y=5, epochs=3).fit(IRIS)
    nearest = cdist(IRIS, estimator.som_.codebook.numpy()).argmin(axis=1)
    expected = [divmod(k, 5) for k in nearest.tolist()]
    np.testing.assert_array_equal(estimator.transform(IRIS), expected)


def test_hexagonal_positions_shift_odd_rows_by_half_a_cell() -> None:
    estimator = SOMTransformer(x=4, y=5, epochs=3, topology="hexagonal").fit(IRIS)
    nearest = cdist(IRIS, estimator.som_.codebook.numpy()).argmin(axis=1)
    expected = [(i * math.sqrt(3) / 2, j + 0.5 * (i % 2)) for i, j in (divmod(k, 5) for k in nearest.tolist())]
    np.testing.assert_allclose(estimator.transform(IRIS), expected)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_those_of_scipy_in_flat_order(metric: str) -> None:
    estimator = SOMTransformer(x=4, y=5, epochs=3, distance_function=metric, output="distances").fit(IRIS)
    expected = cdist(IRIS, estimator.som_.codebook.numpy(), METRICS[metric])
    np.testing.assert_allclose(estimator.transform(IRIS), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_of_incomplete_rows_run_over_what_was_observed(metric: str) -> None:
    X = IRIS[::5].copy()
    X[::3, 1] = np.nan
    X[1::3, 2:] = np.nan
    factors = np.array([1.0, 0.5, 2.0, 1.0])
    settings: dict[str, Any] = {"distance_function": metric, "missing": "mask", "feature_weights": tuple(factors)}
    estimator = SOMTransformer(x=3, y=2, epochs=3, output="distances", **settings).fit(X)
    codebook = estimator.som_.codebook.numpy()
    expected = [[oracle.feature_distance(sample, neuron, metric, factors) for neuron in codebook] for sample in X]
    np.testing.assert_allclose(estimator.transform(X), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("output", ["positions", "distances"])
def test_a_row_with_nothing_observed_has_no_place(output: str) -> None:
    estimator = SOMTransformer(x=3, y=2, epochs=2, missing="mask", output=output).fit(IRIS)
    rows = np.vstack((IRIS[0], np.full(4, np.nan)))
    assert np.isnan(estimator.transform(rows)).all(axis=1).tolist() == [False, True]


def test_names_say_which_neuron_a_distance_is_to() -> None:
    estimator = SOMTransformer(x=2, y=3, epochs=1).fit(IRIS)
    assert estimator.get_feature_names_out().tolist() == ["som_row", "som_column"]
    names = estimator.set_params(output="distances").get_feature_names_out().tolist()
    assert names == [f"som_distance_{place}" for place in ("0_0", "0_1", "0_2", "1_0", "1_1", "1_2")]


def test_an_unknown_output_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="output must be one of 'positions', 'distances', got 'bmu'"):
        SOMTransformer(output="bmu").fit(IRIS)

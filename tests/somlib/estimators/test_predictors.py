"""Classes and values, against counts and means as plain loops, nearest neighbors, and guessing."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine, make_friedman1
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.errors import ArgumentError, DataError
from somlib.estimators import SOMClassifier, SOMRegressor
from somlib.estimators.predictors import deviations, mean_targets, scaled_to, shares

IRIS, SPECIES = load_iris(return_X_y=True)


# How good they are


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer, load_digits])
def test_classes_are_told_apart_nearly_as_well_as_by_nearest_neighbors(load: Any) -> None:
    X, y = load(return_X_y=True)
    folds = StratifiedKFold(3 if len(X) > 1000 else 5, shuffle=True, random_state=0)
    scaled = StandardScaler() if load is not load_digits else "passthrough"

    def accuracy(model: Any) -> float:
        return float(cross_val_score(make_pipeline(scaled, model), X, y, cv=folds).mean())

    reached = accuracy(SOMClassifier())
    assert reached > accuracy(KNeighborsClassifier()) - 0.04
    assert reached > accuracy(DummyClassifier()) + 0.3


def test_probabilities_are_better_than_the_shares_of_the_classes() -> None:
    X, y = load_digits(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    probability = cross_val_predict(SOMClassifier(), X, y, cv=folds, method="predict_proba")
    softened = 0.99 * probability + 0.001  # a class that no neuron knows would cost infinity
    assert log_loss(y, softened) < 0.4 < math.log(10)


@pytest.mark.parametrize("load", [load_diabetes, lambda return_X_y: make_friedman1(500, noise=1.0, random_state=0)])
def test_values_are_predicted_nearly_as_well_as_by_nearest_neighbors(load: Any) -> None:
    X, y = load(return_X_y=True)
    folds = KFold(5, shuffle=True, random_state=0)

    def r2(model: Any) -> float:
        return float(cross_val_score(make_pipeline(StandardScaler(), model), X, y, cv=folds).mean())

    assert r2(SOMRegressor()) > r2(KNeighborsRegressor()) - 0.1
    assert r2(SOMRegressor()) > 0.35


def test_targets_in_training_make_the_better_predictor_where_most_features_are_noise() -> None:
    X, y = make_friedman1(500, n_features=15, noise=1.0, random_state=0)
    with_targets, without = (
        cross_val_score(SOMRegressor(target_weight=weight), X, y, cv=5).mean() for weight in (0.5, 0.0)
    )
    assert with_targets > without + 0.05


# What they compute


@pytest.mark.parametrize("target_weight", [0.0, 0.5])
def test_one_neuron_answers_with_the_shares_of_its_own_samples(target_weight: float) -> None:
    weight = np.random.default_rng(0).uniform(0.5, 2, len(IRIS))
    estimator = SOMClassifier(x=3, y=2, n_neurons=1, target_weight=target_weight)
    estimator.fit(IRIS, SPECIES, sample_weight=weight)
    winner = cdist(IRIS, estimator.som_.codebook.numpy()).argmin(axis=1)
    assert len(set(winner)) == 6
    for k in range(6):
        own = winner == k
        counts = [sum(w for w, y in zip(weight[own], SPECIES[own], strict=True) if y == c) for c in range(3)]
        np.testing.assert_allclose(estimator.predict_proba(IRIS[own][:1])[0], np.array(counts) / sum(counts))
        assert set(estimator.predict(IRIS[own])) == {int(np.argmax(counts))}


@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
def test_several_neurons_answer_by_inverse_square_of_distance(metric: str) -> None:
    y = IRIS[:, 3] * 2 + 1
    X = IRIS[:, :3]
    estimator = SOMRegressor(x=3, y=2, n_neurons=3, target_weight=0.0, distance_function=metric).fit(X, y)
    scipy_name = {"euclidean": "euclidean", "manhattan": "cityblock"}[metric]
    distance = cdist(X, estimator.som_.codebook.numpy(), scipy_name)
    own = [y[distance.argmin(axis=1) == k] for k in range(6)]
    means = np.array([values.mean() if len(values) else np.nan for values in own])
    expected = []
    for row in distance:
        nearest = [k for k in np.argsort(row) if len(own[k])][:3]
        expected.append(np.average(means[nearest], weights=1 / row[nearest] ** 2))
    np.testing.assert_allclose(estimator.predict(X), expected)


def test_neurons_without_samples_are_not_asked() -> None:
    X = np.array([[0.0], [0.1], [10.0], [10.1]] * 5)
    y = np.array([1.0, 1.0, 3.0, 3.0] * 5)
    estimator = SOMRegressor(x=9, y=1, n_neurons=1, target_weight=0.0).fit(X, y)
    hits = estimator.som_.build_map("hit", X)
    assert bool((hits == 0).any())
    between = np.linspace(-5, 15, 101)[:, None]
    answer = estimator.predict(between)
    assert set(answer) == {1.0, 3.0}
    holding = estimator.som_.codebook.numpy()[hits.flatten().numpy() > 0]
    nearest = cdist(between, holding).argmin(axis=1)
    assert answer.tolist() == [1.0 if holding[k, 0] < 5 else 3.0 for k in nearest]


def test_rows_without_a_nearest_neuron_get_what_all_samples_say() -> None:
    nothing = np.full((1, 4), np.nan)
    weight = np.where(SPECIES == 0, 2.0, 1.0)
    classifier = SOMClassifier(missing="mask", epochs=2).fit(IRIS, SPECIES, sample_weight=weight)
    np.testing.assert_allclose(classifier.predict_proba(nothing), [[0.5, 0.25, 0.25]])
    regressor = SOMRegressor(missing="mask", epochs=2).fit(IRIS, SPECIES, sample_weight=weight)
    assert regressor.predict(nothing) == pytest.approx([0.75])


def test_zero_vectors_under_cosine_get_an_answer_too() -> None:
    X = np.vstack((IRIS, np.zeros(4)))
    y = np.append(SPECIES, 1)
    estimator = SOMClassifier(distance_function="cosine", epochs=3).fit(X, y)
    assert np.isfinite(estimator.predict_proba(X)).all()


@pytest.mark.parametrize("target_weight", [0.0, 0.5])
@pytest.mark.parametrize(("settings", "value"), [({"missing": "mask"}, np.nan), ({"distance_function": "cosine"}, 0.0)])
def test_data_of_which_no_row_has_a_nearest_neuron_are_refused(
    settings: dict[str, Any], value: float, target_weight: float
) -> None:
    estimator = SOMRegressor(target_weight=target_weight, epochs=2, **settings)
    with pytest.raises(DataError, match="must have"):
        estimator.fit(np.full((20, 3), value), np.arange(20.0))
    assert not hasattr(estimator, "som_")


def test_classes_may_be_text_and_ties_go_to_the_first() -> None:
    X = np.zeros((4, 2))
    estimator = SOMClassifier().fit(X, ["pear", "apple", "apple", "pear"])
    assert estimator.classes_.tolist() == ["apple", "pear"]
    assert estimator.predict_proba(X[:1]).tolist() == [[0.5, 0.5]]
    assert estimator.predict(X).tolist() == ["apple"] * 4


def test_several_targets_are_predicted_together_in_the_shape_of_fit() -> None:
    targets = np.column_stack((IRIS[:, 3], -5 * IRIS[:, 2], np.full(150, 7.0)))
    together = SOMRegressor(target_weight=0.0, epochs=5).fit(IRIS[:, :2], targets)
    for column in range(3):
        alone = clone(together).fit(IRIS[:, :2], targets[:, column])
        np.testing.assert_allclose(together.predict(IRIS[:, :2])[:, column], alone.predict(IRIS[:, :2]))
    assert together.n_outputs_ == 3
    assert clone(together).fit(IRIS[:, :2], targets[:, :1]).predict(IRIS[:5, :2]).shape == (5, 1)
    assert clone(together).fit(IRIS[:, :2], targets[:, 0]).predict(IRIS[:5, :2]).shape == (5,)


def test_units_and_offsets_of_the_targets_do_not_matter() -> None:
    targets = np.column_stack((IRIS[:, 3], IRIS[:, 2]))
    factor, offset = np.array([1e6, 1e-3]), np.array([1e7, -4.0])
    plain = SOMRegressor(epochs=5).fit(IRIS[:, :2], targets).predict(IRIS[:, :2])
    changed = SOMRegressor(epochs=5).fit(IRIS[:, :2], targets * factor + offset).predict(IRIS[:, :2])
    np.testing.assert_allclose((changed - offset) / factor, plain, rtol=1e-6)


def test_the_map_of_a_guided_training_is_one_of_the_features() -> None:
    estimator = SOMClassifier(feature_weights=(1.0, 2.0, 1.0, 0.5)).fit(IRIS, SPECIES)
    assert estimator.som_.num_features == 4
    assert estimator.som_.feature_weights == (1.0, 2.0, 1.0, 0.5)
    inside = estimator.som_.codebook.numpy()
    assert (inside >= IRIS.min(axis=0) - 1e-9).all()
    assert (inside <= IRIS.max(axis=0) + 1e-9).all()


def test_feature_weights_act_like_features_of_other_units() -> None:
    factors = np.array([1.0, 4.0, 0.25])
    settings: dict[str, Any] = {"x": 4, "y": 3, "initialization_mode": "random"}  # a PCA start knows no weights
    X, y = IRIS[:, :3], IRIS[:, 3]
    weighted = SOMRegressor(feature_weights=tuple(factors), **settings).fit(X, y).predict(X)
    rescaled = SOMRegressor(**settings).fit(X * np.sqrt(factors), y).predict(X * np.sqrt(factors))
    np.testing.assert_allclose(weighted, rescaled)


def test_a_target_that_says_nothing_leaves_the_map_of_the_features() -> None:
    guided = SOMRegressor().fit(IRIS, np.full(150, 3.0))
    alone = SOMRegressor(target_weight=0.0).fit(IRIS, np.full(150, 3.0))
    torch.testing.assert_close(guided.som_.weights, alone.som_.weights)
    assert set(guided.predict(IRIS).round(12)) == {3.0}


def test_answers_of_a_linear_target_follow_it() -> None:
    X = np.random.default_rng(0).uniform(size=(2000, 2))
    y = X @ [2.0, -1.0]
    new = np.random.default_rng(1).uniform(0.1, 0.9, size=(200, 2))
    witness = LinearRegression().fit(X, y).predict(new)
    assert np.abs(SOMRegressor().fit(X, y).predict(new) - witness).max() < 0.25


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"n_neurons": 0}, "n_neurons must be a whole number of at least 1, got 0"),
        ({"n_neurons": 1.5}, "n_neurons must be a whole number of at least 1, got 1.5"),
        ({"target_weight": -0.5}, "target_weight must be finite and >= 0, got -0.5"),
        ({"target_weight": math.nan}, "target_weight must be finite and >= 0, got nan"),
        ({"feature_weights": (1.0, 2.0)}, "feature_weights must have 4 values"),
    ],
)
@pytest.mark.parametrize("kind", [SOMClassifier, SOMRegressor])
def test_bad_parameters_are_refused_before_anything_is_fitted(kind: type, parameters: Any, said: str) -> None:
    estimator = kind(**parameters)
    with pytest.raises(ArgumentError, match=said):
        estimator.fit(IRIS, SPECIES)
    assert not hasattr(estimator, "som_")


# The parts


def test_mean_targets_are_weighted_means_of_the_own_samples() -> None:
    winner = np.array([2, 0, 2, -1, 3, 0])
    target = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0], [16.0, 160.0], [32.0, 320.0]])
    weight = np.array([1.0, 2.0, 3.0, 1.0, 0.0, 0.0])
    holding, means = mean_targets(winner, target, weight, 5)
    assert holding.tolist() == [0, 2]  # neuron 3 won a sample of no weight only
    overall = (1 + 4 + 12 + 8) / 7
    np.testing.assert_allclose(means, [[2.0, 20.0], [13 / 4, 130 / 4], [overall, 10 * overall]])


def test_shares_fall_with_the_square_of_the_distance() -> None:
    distance = torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [2.0, torch.nan, torch.nan]])
    expected = torch.tensor([[16 / 21, 4 / 21, 1 / 21], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(shares(distance), expected.double())
    assert shares(torch.full((1, 2), torch.nan)).tolist() == [[1.0, 0.0]]
    assert shares(torch.tensor([[1e-300, 2e-300]], dtype=torch.float64)).tolist() == [[0.8, 0.2]]


def test_deviations_are_those_of_the_copies_without_the_missing() -> None:
    rng = np.random.default_rng(0)
    values, weight = rng.normal(1e6, 2.0, (40, 3)), rng.integers(0, 4, 40).astype(float)
    values[::6, 1] = np.nan
    copies = np.repeat(values, weight.astype(int), axis=0)
    np.testing.assert_allclose(deviations(values, weight), np.nanstd(copies, axis=0))
    assert deviations(np.full((3, 1), np.nan), np.ones(3)).tolist() == [0.0]


def test_values_are_scaled_to_a_total_spread_around_their_mean() -> None:
    values = np.random.default_rng(0).normal(5.0, 3.0, (50, 2))
    scaled = scaled_to(0.7, values, np.ones(50))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    assert math.sqrt(scaled.var(axis=0).sum()) == pytest.approx(0.7)
    assert not scaled_to(0.7, np.full((5, 2), 3.0), np.ones(5)).any()

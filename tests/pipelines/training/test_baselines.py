import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from pipelines.training.baselines import neighbor_answers, ridge_answers

RANDOM = np.random.default_rng(0)
SAMPLES = (RANDOM.normal(size=(300, 3)) * (1.0, 20.0, 0.1) + (0.0, 500.0, 3.0)).astype(np.float32)
TARGET = np.sin(2 * SAMPLES[:, 0].astype(np.float64)) + SAMPLES[:, 1] / 20 + RANDOM.normal(size=300) / 10
QUERIES = (RANDOM.normal(size=(130, 3)) * (1.0, 20.0, 0.1) + (0.0, 500.0, 3.0)).astype(np.float32)


def test_one_ridge_solves_its_normal_equations() -> None:
    scaled, asked = ((part - SAMPLES.mean(0)) / SAMPLES.std(0) for part in (SAMPLES.astype(float), QUERIES))
    slopes = np.linalg.solve(scaled.T @ scaled + np.eye(3), scaled.T @ (TARGET - TARGET.mean()))
    np.testing.assert_allclose(
        ridge_answers(SAMPLES, TARGET, QUERIES), TARGET.mean() + asked @ slopes, rtol=1e-4, atol=1e-4
    )


def test_a_ridge_of_the_nearest_rows_is_that_of_scikit_learn_query_by_query() -> None:
    scaler = StandardScaler().fit(SAMPLES.astype(float))
    history, asked = scaler.transform(SAMPLES.astype(float)), scaler.transform(QUERIES.astype(float))
    expected = []
    for query in asked:
        nearest = np.argsort(((history - query) ** 2).sum(axis=1))[:80]
        expected.append(Ridge().fit(history[nearest], TARGET[nearest]).predict(query[None])[0])
    np.testing.assert_allclose(neighbor_answers(SAMPLES, TARGET, QUERIES), expected, rtol=1e-3, atol=1e-3)


def test_fewer_rows_than_neighbors_are_all_of_them() -> None:
    few, target = SAMPLES[:20], TARGET[:20]
    np.testing.assert_allclose(
        neighbor_answers(few, target, QUERIES), ridge_answers(few, target, QUERIES), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("answers", [ridge_answers, neighbor_answers])
def test_a_missing_input_is_the_mean_of_its_feature(answers) -> None:
    gaps, asked = SAMPLES.copy(), QUERIES.copy()
    gaps[::7, 0], asked[::3, 1] = np.nan, np.nan
    filled = SimpleImputer().fit(gaps)
    np.testing.assert_allclose(
        answers(gaps, TARGET, asked), answers(filled.transform(gaps), TARGET, filled.transform(asked)), rtol=1e-6
    )


@pytest.mark.parametrize("answers", [ridge_answers, neighbor_answers])
def test_a_feature_without_any_value_tells_nothing(answers) -> None:
    gaps, asked = (np.column_stack((part, np.full(len(part), np.nan))) for part in (SAMPLES, QUERIES))
    np.testing.assert_allclose(answers(gaps, TARGET, asked), answers(SAMPLES, TARGET, QUERIES), rtol=1e-6)

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from somlib.jitl import ridge
from somlib.jitl.moments import FloatArray, group_sums
from somlib.jitl.ridge import Shrinkage, coefficients_of_each, global_coefficients, local_coefficients


def some_rows(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) + 2.0
    y = x @ rng.normal(size=(3, 2)) + 0.3 * rng.normal(size=(n, 2))
    return np.hstack((np.ones((n, 1)), x, y))


def test_the_global_model_is_scikit_learns_ridge() -> None:
    rows = some_rows(60, 0)
    found = global_coefficients(rows.T @ rows, 3)
    expected = Ridge(alpha=1.0).fit(rows[:, 1:4], rows[:, 4:])
    np.testing.assert_allclose(found[1:].T, expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(found[0], expected.intercept_, rtol=1e-9)


def test_local_models_without_shrinking_are_scikit_learns_ridges_of_their_samples() -> None:
    rows, neuron = some_rows(90, 1), np.random.default_rng(2).integers(0, 3, 90)
    overall = global_coefficients(rows.T @ rows, 3)
    found = local_coefficients(group_sums(rows, neuron, 3), overall, Shrinkage(5.0, 0.0, "nothing"))
    for k in range(3):
        expected = Ridge(alpha=5.0).fit(rows[neuron == k, 1:4], rows[neuron == k, 4:])
        np.testing.assert_allclose(found[k, 1:].T, expected.coef_, rtol=1e-9)
        np.testing.assert_allclose(found[k, 0], expected.intercept_, rtol=1e-9)


def test_shrinking_matches_its_formulas() -> None:
    rows = some_rows(25, 3)
    overall = np.random.default_rng(4).normal(size=(4, 2))
    found = local_coefficients((rows.T @ rows)[None], overall, Shrinkage(7.0, 12.0))[0]
    x, y, B = rows[:, 1:4], rows[:, 4:], overall[1:]
    mean = x.mean(axis=0)
    C, c = (x - mean).T @ (x - mean), (x - mean).T @ (y - y.mean(axis=0))
    slope = B + np.linalg.inv(C + 7.0 * np.eye(3)) @ (c - C @ B)
    at_mean = overall[0] + mean @ B
    level = at_mean + 25 / (25 + 12.0) * (y.mean(axis=0) - at_mean)
    np.testing.assert_allclose(found[1:], slope, rtol=1e-9)
    np.testing.assert_allclose(found[0] + mean @ found[1:], level, rtol=1e-9)


@pytest.mark.parametrize("strength", [1e12])
def test_without_samples_or_with_strong_shrinking_the_local_model_is_the_global_one(strength: float) -> None:
    rows = some_rows(25, 5)
    overall = np.random.default_rng(6).normal(size=(4, 2))
    sums = np.stack((np.zeros((6, 6)), rows.T @ rows))
    found = local_coefficients(sums, overall, Shrinkage(strength, strength))
    np.testing.assert_allclose(found, np.stack((overall, overall)), rtol=1e-6, atol=1e-8)


def test_several_strengths_at_once_give_what_each_gives_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, neuron = some_rows(90, 7), np.random.default_rng(8).integers(0, 5, 90)
    sums, overall = group_sums(rows, neuron, 5), global_coefficients(rows.T @ rows, 3)
    shrinkages = [Shrinkage(r, level, to) for r in (0.5, 20.0) for level in (2.0, 50.0) for to in ("global", "nothing")]
    monkeypatch.setattr(ridge, "BLOCK", 2 * 36)  # two neurons at a time, of moments 6 x 6
    found = coefficients_of_each(sums, overall, shrinkages)
    for coefficients, shrinkage in zip(found, shrinkages, strict=True):
        np.testing.assert_allclose(coefficients, local_coefficients(sums, overall, shrinkage), rtol=1e-12)


def test_inputs_that_repeat_each_other_are_solved_with_the_smallest_ridge() -> None:
    x = np.random.default_rng(9).normal(size=(40, 1)) * 1e4
    rows = np.hstack((np.ones((40, 1)), x, x, x, 3 * x))
    found = local_coefficients((rows.T @ rows)[None], np.zeros((4, 1)), Shrinkage(1e-12, 1.0, "nothing"))
    np.testing.assert_allclose(rows[:, :4] @ found[0], rows[:, 4:], rtol=1e-3, atol=1.0)

import numpy as np
import pytest
from scipy.special import softmax as softmax_of_scipy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from somlib.jitl.pool import Pool, calibration_error, log_losses, softmax, with_floor


def test_softmax_is_that_of_scipy_for_large_scores_too() -> None:
    score = np.array([[1.0, 2.0, -3.0], [900.0, 901.0, 0.0]])
    np.testing.assert_allclose(softmax(score), softmax_of_scipy(score, axis=1))


def test_log_losses_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probability, code = softmax(rng.normal(size=(50, 4))), rng.integers(0, 4, 50)
    assert log_losses(probability, code).mean() == pytest.approx(log_loss(code, probability, labels=range(4)))
    assert np.isfinite(log_losses(np.array([[0.0, 1.0]]), np.array([0]))).all()


def test_one_expert_that_is_too_sure_is_softened_as_by_a_logistic_regression_on_its_log_odds() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1, 20_000)
    code = (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    sure = softmax(np.column_stack((np.zeros(20_000), 3 * odds)))  # three times too sure
    pool = Pool.fitted(np.log(sure)[None], code)
    witness = LogisticRegression(C=np.inf).fit(3 * odds[:, None], code)
    assert pool.weights[0] == pytest.approx(witness.coef_[0, 0], abs=0.01)
    assert pool.bias[1] - pool.bias[0] == pytest.approx(witness.intercept_[0], abs=0.01)
    assert calibration_error(pool.probability(np.log(sure)[None]), code) < 0.01 < calibration_error(sure, code)


def test_an_expert_that_guesses_gets_no_weight_where_there_is_much_to_learn_from() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(0, 3, 5_000)
    good = softmax(2 * np.eye(3)[code] + rng.normal(size=(5_000, 3)))
    guess = softmax(rng.normal(size=(5_000, 3)))
    weights = Pool.fitted(np.log(np.stack((good, guess))), code).weights
    assert weights[1] < 0.02 * weights[0]


def test_the_floor_leaves_probabilities_and_no_class_at_zero() -> None:
    floored = with_floor(np.array([[1.0, 0.0, 0.0]]), np.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(floored, [[0.9995, 0.00025, 0.00025]])


def test_the_calibration_error_is_that_of_its_definition() -> None:
    probability = np.array([[0.9, 0.1], [0.92, 0.08], [0.3, 0.7], [0.61, 0.39], [0.0, 1.0]])
    code = np.array([0, 1, 1, 1, 1])
    # 0.6 to 0.7: 0.61 and wrong; 0.7 to 0.8: 0.7 and right; from 0.9 on: 0.9 right, 0.92 wrong, 1 right
    expected = (0.61 + 0.3 + abs(0.9 + 0.92 + 1.0 - 2)) / 5
    assert calibration_error(probability, code) == pytest.approx(expected)
    assert np.isnan(calibration_error(probability[:0], code[:0]))

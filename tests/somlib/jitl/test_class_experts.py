import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from somlib.jitl.class_experts import MOST_ROUNDS, BoostedClasses, Logistic, fit_boosting, most_rounds, spread, staged


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logistic_regression_answers_as_that_of_scikit_learn(classes: int) -> None:
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    inputs = np.column_stack((np.ones(len(X)), X))
    model = Logistic.fitted(inputs, y, classes, 0.3)
    witness = LogisticRegression(C=0.3, max_iter=500).fit(X, y)
    np.testing.assert_allclose(model.probability(inputs), witness.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_boosted_trees_answer_as_the_boosting_that_they_come_from(classes: int) -> None:
    X, y = load_wine(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    X[::7, 3] = np.nan
    model = fit_boosting(X, y, classes, 20, 0)
    assert isinstance(model, HistGradientBoostingClassifier)
    known = np.arange(classes)
    trees = BoostedClasses.of(model, known, classes, 20)
    np.testing.assert_allclose(trees.probability(X), model.predict_proba(X), atol=1e-12)
    loaded = BoostedClasses.from_tensors("b.", trees.tensors("b."), classes)
    np.testing.assert_array_equal(loaded.probability(X), trees.probability(X))
    fewer = BoostedClasses.of(model, known, classes, 10).probability(X)
    np.testing.assert_allclose(fewer, list(staged(model, X, known, classes))[1], atol=1e-12)


def test_classes_that_were_not_learned_have_no_probability() -> None:
    X, y = load_iris(return_X_y=True)
    y = np.array([1, 4, 5])[y]
    inputs = np.column_stack((np.ones(len(X)), X))
    for probability in (
        Logistic.fitted(inputs, y, 7, 1.0).probability(inputs),
        BoostedClasses.of(fit_boosting(X, y, 7, 10, 0), np.unique(y), 7, 10).probability(X),
    ):
        np.testing.assert_allclose(probability.sum(axis=1), 1.0)
        assert (probability[:, [0, 2, 3, 6]] == 0).all()
        assert (probability.argmax(axis=1) == y).mean() > 0.9


def test_a_single_class_is_certain() -> None:
    X, one = np.zeros((5, 2)), np.full(5, 2)
    assert fit_boosting(X, one, 4, None, 0) is None
    expected = np.tile([0.0, 0.0, 1.0, 0.0], (5, 1))
    boosted = BoostedClasses.of(None, np.array([2]), 4, 10)
    np.testing.assert_array_equal(boosted.probability(X), expected)
    np.testing.assert_array_equal(BoostedClasses.from_tensors("", boosted.tensors(""), 4).probability(X), expected)
    np.testing.assert_array_equal(Logistic.fitted(np.ones((5, 3)), one, 4, 1.0).probability(np.ones((5, 3))), expected)
    np.testing.assert_array_equal(spread(np.ones((5, 1)), np.array([2]), 4), expected)


def test_many_classes_get_fewer_rounds() -> None:
    assert most_rounds(2) == most_rounds(10) == MOST_ROUNDS
    assert most_rounds(30) * 30 <= 1_500
    assert most_rounds(1_000) == 30

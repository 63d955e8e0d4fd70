import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from somlib.jitl.boosting import MANY, Trees, boosting_settings


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("n", [30, 900, MANY + 1])
def test_trees_answer_like_the_scikit_learn_model_they_come_from(missing: float, n: int) -> None:
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(n, 4)), rng.normal(size=(200, 4))
    y = X[:, 0] * X[:, 1] + np.sin(X[:, 2])
    for data in (X, new):
        data[rng.random(data.shape) < missing] = np.nan
    new[0] = np.nan
    expected = HistGradientBoostingRegressor(random_state=0, **boosting_settings(len(X))).fit(X, y)
    trees = Trees.fitted(X, y, seed=0)
    np.testing.assert_allclose(trees.predict(new), expected.predict(new), rtol=1e-10, atol=1e-12)
    again = Trees.from_tensors("t.", trees.tensors("t."))
    np.testing.assert_array_equal(again.predict(new), trees.predict(new))


def test_a_value_at_a_threshold_goes_the_way_that_scikit_learn_sends_it() -> None:
    rng = np.random.default_rng(1)
    X = rng.integers(0, 6, (600, 70)).astype(np.float64)
    y = X[:, 0] * X[:, 1] + X[:, 69]
    expected = HistGradientBoostingRegressor(random_state=0, **boosting_settings(len(X))).fit(X, y)
    trees = Trees.fitted(X, y, seed=0)
    at = np.repeat(np.unique(trees.threshold)[:, None], 70, axis=1)
    np.testing.assert_allclose(trees.predict(at), expected.predict(at), rtol=1e-10, atol=1e-12)
    new = rng.choice(np.unique(trees.threshold), (300, 70))
    np.testing.assert_allclose(trees.predict(new), expected.predict(new), rtol=1e-10, atol=1e-12)


def test_trees_without_a_split_say_the_mean() -> None:
    trees = Trees.fitted(np.arange(10.0)[:, None], np.full(10, 3.0), seed=0)
    np.testing.assert_allclose(trees.predict(np.array([[-1.0], [np.nan]])), [3.0, 3.0])


@pytest.mark.parametrize("known", [0, 1, 19])
@pytest.mark.parametrize("n", [60, 10_500])  # beyond 10 000 scikit-learn sets rows aside for early stopping
def test_a_feature_that_hardly_any_sample_has_changes_nothing(known: int, n: int) -> None:
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(n, 3)), rng.normal(size=(50, 3))
    y = X[:, 0] + np.sin(X[:, 1])
    X[known:, 2] = np.nan
    with_it, without = Trees.fitted(X, y, seed=0), Trees.fitted(X[:, :2], y, seed=0)
    np.testing.assert_array_equal(with_it.predict(new), without.predict(new[:, :2]))


def test_a_feature_is_used_as_soon_as_scikit_learn_could_split_by_it() -> None:
    X = np.column_stack((np.zeros(60), np.r_[np.full(40, np.nan), np.zeros(20)]))
    y = np.r_[np.zeros(40), np.ones(20)]
    expected = HistGradientBoostingRegressor(random_state=0, **boosting_settings(len(X))).fit(X, y)
    trees = Trees.fitted(X, y, seed=0)
    np.testing.assert_allclose(trees.predict(X), expected.predict(X), rtol=1e-10, atol=1e-12)
    assert trees.predict(X)[-1] > 0.9

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from somlib.jitl.boosting import Trees


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("n", [30, 900])
def test_trees_answer_like_the_scikit_learn_model_they_come_from(missing: float, n: int) -> None:
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(n, 4)), rng.normal(size=(200, 4))
    y = X[:, 0] * X[:, 1] + np.sin(X[:, 2])
    for data in (X, new):
        data[rng.random(data.shape) < missing] = np.nan
    new[0] = np.nan
    expected = HistGradientBoostingRegressor(random_state=0).fit(X, y)
    trees = Trees.fitted(X, y, seed=0)
    np.testing.assert_allclose(trees.predict(new), expected.predict(new), rtol=1e-10, atol=1e-12)
    again = Trees.from_tensors("t.", trees.tensors("t."))
    np.testing.assert_array_equal(again.predict(new), trees.predict(new))

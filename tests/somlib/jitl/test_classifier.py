from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_wine, make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.core import SOM
from somlib.errors import ArgumentError
from somlib.jitl import JITLClassifier
from somlib.jitl.moments import FloatArray


def moons(n: int, seed: int = 0) -> tuple[FloatArray, NDArray[Any]]:
    X, y = make_moons(n, noise=0.2, random_state=seed)
    return X, np.array(["lower", "upper"])[y]


def test_curved_borders_are_learned_better_than_by_logistic_regression() -> None:
    (X, y), (new, expected) = moons(600), moons(600, 1)
    score = JITLClassifier().fit(X, y).score(new, expected)
    assert score > 0.95
    assert score > LogisticRegression().fit(X, y).score(new, expected) + 0.05


def test_wine_is_classified_about_as_well_as_by_logistic_regression() -> None:
    X, y = load_wine(return_X_y=True)
    linear = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, y).mean()
    assert cross_val_score(JITLClassifier(), X, y).mean() > linear - 0.03


def test_probabilities_are_calibrated_and_sum_to_one() -> None:
    (X, y), (new, expected) = moons(2000), moons(2000, 1)
    probability = JITLClassifier().fit(X, y).predict_proba(new)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0)
    assert probability.min() > 0
    upper, error = probability[:, 1], 0.0
    for low in (0.0, 0.25, 0.5, 0.75):
        inside = (low <= upper) & (upper < low + 0.25 + (low == 0.75))
        error += inside.mean() * abs((expected == "upper")[inside].mean() - upper[inside].mean())
    assert error < 0.05


def test_neurons_without_shrinking_give_the_shares_of_their_samples() -> None:
    X, y = moons(200)
    som = SOM(2, 2, 2, epochs=3, device="cpu")
    som.fit(X, verbose=False)
    model = JITLClassifier(som=som, neighborhood="bmu_only", shrink="nothing", ridge=1e9, n_neurons=1).fit(X, y)
    details = model.predict(X, return_details=True)
    for row, col in {(int(r), int(c)) for r, c in zip(details.row, details.col, strict=True)}:
        here = (details.row == row) & (details.col == col) & ~details.fallback
        expected = np.clip((y[here | ((details.row == row) & (details.col == col))] == "upper").mean(), 1e-3, 1)
        np.testing.assert_allclose(details.probability[here, 1], expected, atol=2e-3)
    assert details.n_samples.tolist() == [float(np.sum((details.row == r) & (details.col == c)))
                                          for r, c in zip(details.row, details.col, strict=True)]  # fmt: skip


def test_updates_change_the_answer_and_forgetting_takes_them_back() -> None:
    X, y = moons(300)
    model = JITLClassifier(neighborhood="gaussian", sigma=0.5, ridge=10.0, level=3.0).fit(X, y, np.arange(300))
    before = model.predict_proba(X)
    model.update(X, y[::-1], np.arange(-300, 0), refit=False)
    assert np.abs(model.predict_proba(X) - before).max() > 0.1
    model.forget(before=0)
    np.testing.assert_allclose(model.predict_proba(X), before, atol=1e-9)


@pytest.mark.parametrize("labels", ["text", "integers"])
def test_a_saved_classifier_answers_and_learns_like_the_one_that_was_saved(tmp_path: Path, labels: str) -> None:
    X, y = moons(150)
    if labels == "integers":
        y = (y == "upper") * 7 - 3
    model = JITLClassifier(missing="mask").fit(X, y)
    model.save(tmp_path / "model")
    loaded = JITLClassifier.load(tmp_path / "model")
    for _ in range(2):
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        assert loaded.predict(X).tolist() == model.predict(X).tolist()
        for either in (model, loaded):
            either.update(X[:20], y[20:40])


def test_a_class_that_fit_has_not_seen_is_refused() -> None:
    X, y = moons(60)
    model = JITLClassifier().fit(X, y)
    with pytest.raises(ArgumentError, match=r"y must hold classes that fit has seen, got (np\.str_\()?'new'"):
        model.update(X[:2], ["upper", "new"])
    assert len(model.index_) == 60

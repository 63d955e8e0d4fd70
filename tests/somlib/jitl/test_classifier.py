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
from somlib.errors import ArgumentError, DataTypeError
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


def test_a_class_that_fit_has_not_seen_is_learned() -> None:
    X, y = moons(120)
    model = JITLClassifier(experts="pure").fit(X[:80], y[:80])
    model.update(np.vstack((X[80:], X[:20] + 9)), np.append(y[80:], ["a far and new one"] * 20), refit=False)
    assert model.classes_.tolist() == ["a far and new one", "lower", "upper"]
    assert len(model.index_) == 140
    assert model.predict(X[:3] + 9.1).tolist() == ["a far and new one"] * 3
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_new_whole_numbers_join_the_classes_as_such() -> None:
    X, y = moons(60)
    model = JITLClassifier(experts="pure").fit(X, (y == "upper").astype(np.int64))
    model.update(X[:10] + 9, np.full(10, 7.0))
    assert model.classes_.dtype == np.int64
    assert model.classes_.tolist() == [0, 1, 7]


def test_labels_of_another_kind_are_refused_and_change_nothing() -> None:
    X, y = moons(60)
    model = JITLClassifier(experts="pure").fit(X, y)
    with pytest.raises(DataTypeError, match="y must hold labels like those of fit, 'lower', 'upper', got 3"):
        model.update(X[:2], [3, 4])
    assert len(model.index_) == 60


def test_a_new_class_with_times_of_another_kind_changes_nothing() -> None:
    X, y = moons(60)
    model = JITLClassifier(experts="pure").fit(X, y, np.arange(60))
    before = model.predict_proba(X)
    with pytest.raises(ArgumentError, match="timestamps"):
        model.update(X[:2], ["upper", "new"], np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"))
    assert model.classes_.tolist() == ["lower", "upper"]
    assert len(model.index_) == 60
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_a_single_class_is_certain_until_another_comes() -> None:
    X, y = moons(60)
    model = JITLClassifier().fit(X, np.full(60, "only"))
    np.testing.assert_array_equal(model.predict_proba(X), 1.0)
    model.update(X[:40], y[:40])
    assert model.classes_.tolist() == ["lower", "only", "upper"]
    assert "boosting" in model.predict(X, return_details=True).experts


def test_a_class_of_one_row_has_its_place_and_a_small_probability() -> None:
    X, y = moons(100)
    y = np.where(np.arange(100) == 3, "rare", y)
    model = JITLClassifier().fit(X, y)
    probability = model.predict_proba(X[50:])
    assert model.classes_.tolist() == ["lower", "rare", "upper"]
    assert 0 < probability[:, 1].max() < 0.3
    assert model.score(X, y) > 0.9


def test_a_hundred_classes_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 6)
    X = np.column_stack((y % 10, y // 10)) + rng.normal(0, 0.1, (600, 2))
    assert JITLClassifier(experts="pure").fit(X, y).score(X + rng.normal(0, 0.05, X.shape), y) > 0.95


def test_a_class_of_three_in_a_thousand_keeps_its_share_of_the_probability() -> None:
    X, y = moons(2000)
    y = np.where(np.arange(2000) % 300 == 0, "rare", "usual")  # 7 rows, at random places
    model = JITLClassifier(experts="pure").fit(X, y)
    assert model.predict_proba(X)[:, 0].mean() == pytest.approx(7 / 2000, abs=0.004)


def test_losses_of_later_rows_call_for_a_fit() -> None:
    X, y = moons(800)
    model = JITLClassifier(experts="pure").fit(X, y)
    assert model.update(*moons(110, 1), refit=False).refit_reason == ""
    new, answer = moons(110, 2)
    wrong = np.where(answer == "upper", "lower", "upper")
    assert "times those of the last fit" in model.update(new, wrong, refit=False).refit_reason


def test_the_weights_of_the_experts_are_shares() -> None:
    X, y = moons(60)
    weights = JITLClassifier().fit(X, y).predict(X, return_details=True).experts
    assert list(weights) == ["ridge", "neighbors_20", "neighbors_60", "logistic", "boosting"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_steps_are_told() -> None:
    X, y = moons(60)
    steps: list[tuple[int, int, str]] = []
    JITLClassifier().fit(X, y, on_step=lambda *step: steps.append(step))
    assert [(number, of) for number, of, _ in steps] == [(i, 7) for i in range(1, 8)]
    assert {name for _, _, name in steps} == {"local ridges", "boosting"}

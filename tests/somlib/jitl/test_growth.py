from pathlib import Path

import numpy as np
import pytest

from somlib.jitl import JITLClassifier, JITLRegressor
from somlib.jitl.growth import Growth
from somlib.jitl.moments import FloatArray


def season(n: int, seed: int, low: float, high: float) -> tuple[FloatArray, FloatArray]:
    """Samples of a season, x0 from `low` to `high`, with steps that only trees learn."""
    rng = np.random.default_rng(seed)
    X = np.column_stack((rng.uniform(low, high, n), rng.uniform(-1, 1, (n, 2))))
    return X, np.floor(3 * X[:, 0]) * np.sign(X[:, 1]) + 0.05 * rng.normal(size=n)


def error(model: JITLRegressor, X: FloatArray, y: FloatArray) -> float:
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


@pytest.mark.parametrize(
    ("learned", "errors", "expected"),
    [
        (299, [0.1] * 299, ""),
        (300, [0.1] * 300, "300 rows learned since the last fit, which knew 1,000"),
        (100, [0.23] * 100, "errors 1.15 times those of the last fit on samples left out"),  # 0.23 / 0.2
        (100, [0.229] * 100, ""),
        (99, [9.0] * 99, ""),  # too few to say
        (0, [9.0] * 500, ""),  # answered, not learned: `refit` would know no more
    ],
)
def test_growth_calls_for_a_fit_by_rows_or_by_errors(learned: int, errors: list[float], expected: str) -> None:
    growth = Growth(fitted=1_000, usual=0.04 * (1 - 1e-9))
    growth.learn(learned)
    growth.answer(np.array(errors)[:, None])
    assert growth.reason == expected


def test_without_left_out_errors_only_rows_call_for_a_fit() -> None:
    growth = Growth(fitted=1_000, usual=None)
    growth.learn(200)
    growth.answer(np.full((200, 1), 9.0))
    assert growth.reason == ""


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("experts", ["pure", "blend"])
def test_fitted_anew_to_the_same_samples_it_is_the_same_model(experts: str, timed: bool) -> None:
    X, y = season(200, 0, -1, 1)
    X[::7, 2] = np.nan
    model = JITLRegressor(experts=experts, missing="mask").fit(X, y, np.arange(200) if timed else None)
    before, numbers = model.predict(X, return_details=True), model.index_.number.clone()
    after = model.refit().predict(X, return_details=True)
    for name in ("prediction", "lower", "upper", "trust"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), rtol=1e-4, atol=1e-4, err_msg=name)
    assert model.index_.number.equal(numbers)


def test_seasons_that_come_later_are_learned_by_all_experts() -> None:
    first, second, asked = season(300, 0, -1, 0), season(300, 1, 0, 1), season(200, 2, 0, 1)
    model = JITLRegressor().fit(*first, np.arange(300))
    model.update(*second, np.arange(300, 600), refit=False)
    assert model.refit_reason == "300 rows learned since the last fit, which knew 300"
    kept = error(model, *asked)
    model.update(asked[0][:1], asked[1][:1], [600])
    assert model.refit_reason == ""
    again = JITLRegressor().fit(np.vstack((first[0], second[0])), np.concatenate((first[1], second[1])), np.arange(600))
    assert error(model, *asked) < 0.7 * kept
    assert error(model, *asked) < 1.2 * error(again, *asked)
    model.forget(before=600)
    assert model.index_.number.tolist() == [600]


def test_the_level_of_intervals_stays_where_labels_have_made_it_more_careful() -> None:
    X, y = season(200, 0, -1, 1)
    model = JITLRegressor(experts="pure", gamma=0.01).fit(X, y)
    model.update(X[:50], y[:50] + 100)
    moved = model._intervals.alpha.copy()
    assert moved < 0.1
    model.refit()
    np.testing.assert_array_equal(model._intervals.alpha, moved)
    level = model._intervals
    level.alpha = np.array([0.1])
    usual = model.predict(X, return_details=True)
    level.alpha = moved
    assert (model.predict(X, return_details=True).upper > usual.upper).all()
    level.alpha = np.array([0.2])
    np.testing.assert_allclose(model.refit()._intervals.alpha, [0.1])
    level.alpha = moved
    np.testing.assert_allclose(model.fit(X, y)._intervals.alpha, [0.1])


def test_it_is_fitted_anew_only_where_that_is_due_or_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="somlib")
    X, y = season(200, 0, -1, 1)
    model = JITLRegressor(experts="pure").fit(X, y)
    model.update(X[:59], y[:59])
    assert "fitted anew" not in caplog.text
    model.update(X[:1], y[:1])
    assert "fitted anew to 260 rows" in caplog.text
    assert "60 rows learned since the last fit, which knew 200" in caplog.text
    caplog.clear()
    model.update(X[:1], y[:1], refit=True)
    assert "fitted anew to 261 rows" in caplog.text
    classifier = JITLClassifier().fit(X, X[:, 0] > 0)
    caplog.clear()
    classifier.update(X[:60], X[:60, 0] > 0)
    assert "fitted anew to 260 rows" in caplog.text


def test_what_has_grown_is_saved(tmp_path: Path) -> None:
    X, y = season(200, 0, -1, 1)
    model = JITLRegressor(experts="pure").fit(X, y).update(X[:59], y[:59])
    model.save(tmp_path / "model")
    loaded = JITLRegressor.load(tmp_path / "model")
    loaded.update(X[:1], y[:1], refit=False)
    assert loaded.refit_reason == "60 rows learned since the last fit, which knew 200"


def test_a_fit_that_fails_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = season(200, 0, -1, 1)
    model = JITLRegressor().fit(X, y, np.arange(200))
    before = model.predict(X)

    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("somlib.jitl.regressor.blend_fitted", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.refit()
    np.testing.assert_array_equal(model.predict(X), before)
    assert len(model.index_) == 200

"""Settings: which are allowed, and that those of a fit stay those of the model until the next."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from somlib.core import SOM
from somlib.errors import ArgumentError, DataError
from somlib.jitl import JITLClassifier, JITLRegressor
from somlib.jitl.moments import FloatArray

SETTINGS: list[dict[str, Any]] = [
    {"experts": "blend", "missing": "mask"},
    {"experts": "pure", "neighborhood": "bmu_neighborhood", "missing": "mask"},
    {"local_model": "query_ridge", "n_neighbors": 20, "half_life": 30.0, "missing": "mask"},
    {"local_model": "mean", "n_neighbors": 20},
    {"local_model": Ridge(alpha=0.5), "n_neighbors": 20},
]
OTHERS: dict[str, Any] = {
    "som": None,
    "x": 9,
    "y": -1,
    "neighborhood": "bmu_only",
    "sigma": 4.0,
    "ridge": 1e6,
    "level": 1e6,
    "shrink": "nothing",
    "n_neurons": 1,
    "local_model": "gpr",
    "n_neighbors": 3,
    "half_life": 0.1,
    "neighborhood_order": 3,
    "min_buffer_threshold": 0,
    "clip": 0.1,
    "missing": "nonsense",
    "random_state": 1,
    "experts": "nonsense",
    "coverage": 0.1,
    "gamma": 0.9,
    "n_jobs": -7,
}


def problem(n: int, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + np.sin(2 * X[:, 1]) + 0.1 * rng.normal(size=n), np.arange(n) + 1000.0 * seed


def change_one(model: Any, name: str) -> None:
    other = OTHERS[name]
    if name == "local_model" and not isinstance(model.local_model, str):
        model.set_params(local_model__alpha=1e6)  # the same object, changed inside
    if name == "som":
        other = SOM(2, 2, 3, device="cpu") if model.som is None else None
    setattr(model, name, other)


def life(model: JITLRegressor, folder: Path) -> list[FloatArray]:
    """All that a model says while it answers, learns, forgets, is saved and read again."""
    said = []
    queries = problem(20, 3)[0] * 4
    if model.som_.missing == "mask":
        queries[::3, 1] = np.nan

    def ask(asked: JITLRegressor) -> None:
        answer = asked.predict(queries, return_details=True)
        said.extend([answer.prediction, answer.lower, answer.upper, answer.n_samples, answer.trust])
        said.append(asked.predict_one(queries[1]))
        said.extend(asked.samples_behind(queries[1]))

    ask(model)
    model.update(*problem(40, 1))
    ask(model)
    model.observe(*problem(40, 2)).forget(before=20, per_neuron=9)
    ask(model)
    if isinstance(model._used.local_model, str):
        model.save(folder)
        ask(JITLRegressor.load(folder))
    return said


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_settings_assigned_after_fit_change_nothing_until_the_next_fit(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    assert set(OTHERS) == {field.name for field in fields(JITLRegressor)}
    given = {**settings, "x": 3, "y": 2}
    expected = life(JITLRegressor(**given).fit(*problem(120)), tmp_path / "as it was")
    model = JITLRegressor(**given).fit(*problem(120))
    for name in OTHERS:
        change_one(model, name)
    for one, other in zip(life(model, tmp_path / "changed"), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_new_fit_takes_what_was_assigned() -> None:
    X, y, time = problem(120)
    wanted = {"x": 3, "y": 2, "experts": "pure", "clip": 0.5, "n_neurons": 1, "coverage": 0.5}
    model = JITLRegressor(x=4, y=4, experts="pure").fit(X, y, time).set_params(**wanted)
    found = model.fit(X, y, time).predict(X, return_details=True)
    expected = JITLRegressor(**wanted).fit(X, y, time).predict(X, return_details=True)
    np.testing.assert_array_equal(found.prediction, expected.prediction)
    np.testing.assert_array_equal(found.upper, expected.upper)


def test_a_classifier_keeps_the_settings_of_its_fit() -> None:
    X, y, _ = problem(120)
    labels = np.where(y > 0, "high", "low")
    model, other = (JITLClassifier(x=3, y=2).fit(X, labels) for _ in range(2))
    for name in set(OTHERS) - {"experts", "coverage", "gamma", "n_jobs"}:
        change_one(other, name)
    for _ in range(2):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        for either in (model, other):
            either.update(X[:30], labels[::-1][:30]).forget(per_neuron=10)


def too_few_targets(model: JITLRegressor) -> None:
    model.fit(problem(20)[0], np.zeros(3))


def bad_setting(model: JITLRegressor) -> None:
    model.set_params(half_life=-1.0, n_neurons=1).fit(*problem(50))


def bad_seed(model: JITLRegressor) -> None:
    model.set_params(random_state=-1, clip=0.1).fit(*problem(50))


def nothing_observed(model: JITLRegressor) -> None:
    model.fit(np.full((20, 2), np.nan), np.zeros((20, 2)))


@pytest.mark.parametrize("fail", [too_few_targets, bad_setting, bad_seed, nothing_observed])
def test_a_fit_that_fails_leaves_the_model_of_before(fail: Callable[[JITLRegressor], None]) -> None:
    X, y, time = problem(120)
    model = JITLRegressor(x=3, y=2, experts="pure", missing="mask").fit(X, y, time)
    before = model.predict(2 * X, return_details=True)
    with pytest.raises((ArgumentError, DataError, ValueError)):
        fail(model)
    after = model.predict(2 * X, return_details=True)
    np.testing.assert_array_equal(after.prediction, before.prediction)
    np.testing.assert_array_equal(after.upper, before.upper)
    model.update(X[:5], y[:5], time[:5] + 1000)
    assert model.n_features_in_ == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighborhood": "wide"}, "neighborhood must be one of 'auto', 'gaussian'"),
        ({"local_model": "forest"}, "local_model must be one of 'ridge'"),
        ({"local_model": 3}, "local_model must be a name or a scikit-learn regressor, got 3"),
        ({"shrink": "much"}, "shrink must be one of"),
        ({"missing": "drop"}, "missing must be one of"),
        ({"sigma": 0.0}, "sigma must be finite and > 0, got 0.0"),
        ({"level": -1.0}, "level must be finite and >= 0"),
        ({"n_neurons": 0}, "n_neurons must be a whole number of at least 1, got 0"),
        ({"n_neighbors": 2.5}, "n_neighbors must be a whole number"),
        ({"coverage": 1.0}, "coverage must lie between 0 and 1"),
        ({"gamma": -0.1}, "gamma must be at least 0"),
        ({"x": 3}, "x and y must be given together"),
        ({"x": 30_000, "y": 1_000}, "x and y must leave room for 5 x 5 moments"),
    ],
)
def test_settings_that_are_not_allowed_are_named(settings: dict[str, Any], message: str) -> None:
    X, y, _ = problem(50)
    if "x" in settings and "y" in settings:
        som = SOM(settings["x"], settings["y"], 3, device="cpu")
        settings = {"som": som}
    model = JITLRegressor(**settings)
    with pytest.raises(ArgumentError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "som_")

"""Features without a value, or with a single one, in `fit`: without influence until the next, and said once."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from somlib.core import SOM
from somlib.errors import SomlibWarning
from somlib.jitl import JITLClassifier, JITLRegressor
from somlib.jitl.moments import FloatArray

MODELS: list[dict[str, Any]] = [
    {"experts": "blend"},
    {"experts": "pure"},
    {"local_model": "query_ridge", "n_neighbors": 25},
]
NAMES = ["flow", "late", "level"]
KINDS = {"constant": 3.0, "constant with gaps": -1e6, "without a value": np.nan}


def problem(n: int, kind: str, seed: int = 0) -> tuple[pd.DataFrame, FloatArray]:
    """Column `late` says nothing; without it, the target is known from the others."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = X[:, 0] + np.sin(2 * X[:, 2])
    X[:, 1] = KINDS[kind]
    if kind == "constant with gaps":
        X[::4, 1] = np.nan
    return pd.DataFrame(X, columns=NAMES), y


def installed(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same rows once the sensor shows values, in a unit of its own, at the places where it has shown any."""
    values = 1e3 * np.random.default_rng(seed).normal(size=len(frame)) + 5e3
    if 0 < frame["late"].isna().sum() < len(frame):
        values[frame["late"].isna()] = np.nan
    return frame.assign(late=values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", MODELS, ids=lambda settings: "-".join(map(str, settings.values())))
@pytest.mark.parametrize("given", [False, True])
def test_a_sensor_installed_later_has_no_influence_until_the_next_fit(
    settings: dict[str, Any], kind: str, given: bool, tmp_path: Path
) -> None:
    X, y = problem(150, kind)
    som = None
    if given:  # a map that knows the sensor: trained where it had values
        som = SOM(3, 3, 3, epochs=3, algorithm="batch", device="cpu", missing="mask")
        som.fit(installed(X, 9), verbose=False)
    without, model = (JITLRegressor(**settings, som=som, x=3, y=3, missing="mask").fit(X, y) for _ in range(2))
    new, labels = problem(60, kind, 1)
    with pytest.warns(SomlibWarning, match=r"values of 'late' where fit had none.*fit again to use them") as said:
        model.update(installed(new, 2), labels)
    assert len([w for w in said if issubclass(w.category, SomlibWarning)]) == 1
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.update(installed(new, 3), labels)  # said once
        without.update(new, labels).update(new, labels)
    queries, _ = problem(40, kind, 4)
    model.save(tmp_path / "model")
    for asked in (model, JITLRegressor.load(tmp_path / "model")):
        found = asked.predict(installed(queries, 5), return_details=True)
        expected = without.predict(queries, return_details=True)
        for name in ("prediction", "lower", "upper", "trust", "n_samples", "neuron"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        one = asked.predict_one(installed(queries, 6).iloc[1])
        assert one == pytest.approx(expected.prediction[1], rel=1e-5, abs=1e-5)
    again = model.fit(installed(X, 7), y)
    assert again._assigner.standardizer.variety is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.update(installed(new, 8), labels)


def test_a_classifier_leaves_it_without_influence_as_well() -> None:
    X, y = problem(150, "constant")
    labels = np.where(y > 0, "high", "low")
    without, model = (JITLClassifier(x=3, y=3).fit(X, labels) for _ in range(2))
    with pytest.warns(SomlibWarning, match="'late'"):
        model.update(installed(X, 1), labels)
    without.update(X, labels)
    np.testing.assert_array_equal(model.predict_proba(installed(X, 2)), without.predict_proba(X))


def test_an_update_that_is_refused_says_nothing_yet() -> None:
    X, y = problem(80, "constant")
    model = JITLRegressor(experts="pure", x=3, y=3).fit(X.to_numpy(), y, np.arange(80))
    late = installed(X, 1).to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.update(X.to_numpy(), y, np.arange(80))
        with pytest.raises(ValueError, match="timestamps"):
            model.update(late, y)
    with pytest.warns(SomlibWarning, match="values of 'number 1' where"):
        model.update(late, y, np.arange(80))

"""A map that was given knows its features by name: frames are put in their order, in every call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from somlib.core import SOM
from somlib.errors import ShapeError
from somlib.jitl import JITLClassifier, JITLRegressor, SampleIndex
from somlib.jitl.moments import FloatArray

NAMES = ["p", "t", "^q.*$"]
OTHER = ["^q.*$", "p", "t"]
Frames = Callable[[FloatArray, list[str]], Any]
FRAMES: dict[str, Frames] = {
    "pandas": lambda X, names: pd.DataFrame(X, columns=NAMES)[names],
    "polars": lambda X, names: pl.DataFrame({name: X[:, NAMES.index(name)] for name in names}),
}


def problem(n: int = 120, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1.0, 10.0, 0.1]
    return X, X[:, 0] + np.sin(X[:, 1]) - 20 * X[:, 2]


def named_map(X: FloatArray) -> SOM:
    som = SOM(4, 3, 3, epochs=3, algorithm="batch", device="cpu")
    som.fit(pd.DataFrame(X, columns=NAMES), verbose=False)
    return som


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_in_any_order_are_those_of_the_map(kind: str) -> None:
    frame, (X, y) = FRAMES[kind], problem()
    same = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)  # sums by columns round unlike those by rows
    expected, model = (JITLRegressor(som=named_map(X), experts="pure") for _ in range(2))
    expected.fit(X, y)
    model.fit(frame(X, OTHER), y)
    assert model.feature_names_in_.tolist() == NAMES
    new, labels = problem(30, 1)
    for names in (NAMES, OTHER):
        same(model.predict(frame(new, names)), expected.predict(new))
        same(model.predict_interval(frame(new, names)), expected.predict_interval(new))
        expected.update(new, labels).observe(new, labels)
        model.update(frame(new, names), labels).observe(frame(new, names), labels)
    same(model.predict(frame(new, OTHER)), expected.predict(new))


def test_one_sample_with_labels_goes_by_them() -> None:
    X, y = problem()
    model = JITLRegressor(som=named_map(X), experts="pure").fit(pd.DataFrame(X, columns=NAMES), y)
    one = pd.DataFrame(X, columns=NAMES)[OTHER].iloc[3]
    assert model.predict_one(one) == pytest.approx(model.predict(pd.DataFrame(X, columns=NAMES))[3])
    number, weight = model.samples_behind(one)
    again = model.samples_behind(pd.Series(X[3], index=NAMES))
    assert number.tolist() == again[0].tolist()
    assert weight.tolist() == again[1].tolist()


@pytest.mark.parametrize("kind", FRAMES)
def test_other_columns_are_refused_with_both_lists(kind: str) -> None:
    frame, (X, y) = FRAMES[kind], problem()
    model = JITLRegressor(som=named_map(X), experts="pure").fit(X, y)
    strange = pd.DataFrame(X, columns=["p", "t", "z"])
    for act in (model.predict, lambda data: model.update(data, y), lambda data: model.fit(data, y)):
        with pytest.raises(ShapeError, match=r"lacks \['\^q\.\*\$'\] and has in addition \['z'\]"):
            act(strange)
    labels = np.where(y > 0, "high", "low")
    classifier = JITLClassifier(som=named_map(X)).fit(frame(X, OTHER), labels)
    assert classifier.predict(frame(X, NAMES)).tolist() == classifier.predict(frame(X, OTHER)).tolist()
    with pytest.raises(ShapeError, match="lacks"):
        classifier.predict_proba(strange)


@pytest.mark.parametrize("kind", FRAMES)
def test_an_index_takes_columns_by_name(kind: str) -> None:
    frame, (X, _) = FRAMES[kind], problem()
    som = named_map(X)
    expected, index = SampleIndex.build(som, X), SampleIndex.build(som, frame(X[:60], OTHER))
    index.append(frame(X[60:], NAMES))
    assert index.winner.tolist() == expected.winner.tolist()
    assert index.retrieve(frame(X[:9], OTHER)).sample.tolist() == expected.retrieve(X[:9]).sample.tolist()
    with pytest.raises(ShapeError, match="queries must have the columns"):
        index.retrieve(pd.DataFrame(X, columns=["p", "t", "z"]))

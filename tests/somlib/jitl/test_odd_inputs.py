"""Odd but legal input: an answer or an error of somlib, never a raw one of NumPy, torch or scikit-learn."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError, SomlibError
from somlib.jitl import JITLClassifier, JITLRegressor
from somlib.jitl.moments import FloatArray

pytestmark = pytest.mark.filterwarnings("ignore:data has:somlib.errors.SomlibWarning")  # fewer rows than neurons
FAST: dict[str, Any] = {"x": 3, "y": 2, "experts": "pure"}


def problem(n: int = 60, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + np.sin(2 * X[:, 1]) + 0.1 * rng.normal(size=n)


@st.composite
def odd_problems(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, Any]:
    """Samples of any number, width, scale and offset, with constant, doubled and empty columns; times, some equal."""
    n, d = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    X = rng.normal(size=(n, d)) * 10.0 ** draw(st.sampled_from([-300, -30, -3, 0, 3, 30, 299]))
    for column in range(d):
        kind = draw(st.sampled_from(["as it is", "constant", "late", "gone", "never", "gaps", "first column", "whole"]))
        if kind == "constant":
            X[:, column] = draw(st.sampled_from([0.0, 1e-30, 7.0, -1e15]))
        elif kind == "late":
            X[: n // 2, column] = np.nan
        elif kind == "gone":
            X[n // 2 :, column] = np.nan
        elif kind == "never":
            X[:, column] = np.nan
        elif kind == "gaps":
            X[rng.random(n) < 0.5, column] = np.nan
        elif kind == "first column":
            X[:, column] = X[:, 0]
        elif kind == "whole":
            X[:, column] = rng.integers(0, 3, n)
    y = rng.normal(size=n) * 10.0 ** draw(st.sampled_from([-300, -30, 0, 30, 299]))
    if draw(st.booleans()):
        y[:] = y[0]
    times = draw(st.sampled_from([None, np.zeros(n), np.arange(n) // 3, np.arange(n)[::-1]]))
    return X, y, times


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(odd_problems(), st.sampled_from(["ridge", "query_ridge", "mean"]), st.booleans())
def test_a_regressor_answers_or_says_why_not(
    problem: tuple[FloatArray, FloatArray, Any], local_model: str, clipped: bool
) -> None:
    X, y, times = problem
    model = JITLRegressor(**FAST, missing="mask", local_model=local_model, clip=5.0 if clipped else None)
    if np.isnan(X).all():
        with pytest.raises(DataError, match="nothing observed"):
            model.fit(X, y, times)
        return
    model.fit(X, y, times)
    low, high = y.min(), y.max()
    for queries in (X, np.full_like(X, np.nan), np.nan_to_num(X / max(np.nanmax(np.abs(X)), 1e-300)) * 1e9):
        answer = model.predict(queries, return_details=True)
        slack = 0.11 * (high - low) + 1e-9 * np.abs(y).max()
        assert np.isfinite(answer.prediction).all()
        assert (answer.prediction >= low - slack).all()
        assert (answer.prediction <= high + slack).all()
        assert len(y) == 1 or (answer.upper >= answer.lower).all()
    model.update(X[:1], y[:1], None if times is None else times[:1])
    model.forget(per_neuron=1)
    assert np.isfinite(model.predict(X)).all()


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(odd_problems(), st.integers(1, 4))
def test_a_classifier_answers_or_says_why_not(problem: tuple[FloatArray, FloatArray, Any], classes: int) -> None:
    X, _, times = problem
    labels = np.array(["a", "b", "c", "d"])[np.minimum(np.arange(len(X)), classes - 1)]  # all but one seen once
    model = JITLClassifier(x=3, y=2, missing="mask")
    if np.isnan(X).all():
        with pytest.raises(DataError, match="nothing observed"):
            model.fit(X, labels, times)
        return
    model.fit(X, labels, times)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    assert set(model.predict(X)) <= set(labels)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e290])
def test_answers_do_not_depend_on_the_units_of_features_and_targets(scale: float) -> None:
    (X, y), (new, _) = problem(100), problem(40, 1)
    expected = JITLRegressor(**FAST).fit(X, y).predict(new)
    np.testing.assert_allclose(JITLRegressor(**FAST).fit(X * scale, y).predict(new * scale), expected, rtol=1e-4)
    np.testing.assert_allclose(
        JITLRegressor(**FAST).fit(X, y * scale).predict(new), expected * scale, rtol=1e-6, atol=1e-9 * scale
    )


def test_more_neurons_than_rows_and_rows_all_off_the_map_are_answered() -> None:
    X, y = problem(12)
    model = JITLRegressor(x=8, y=8, experts="pure").fit(X, y)
    far = model.predict(1e9 * X, return_details=True)
    assert far.fallback.all()
    assert np.isfinite(far.prediction).all()


X0, Y0 = problem()
FRAME = pd.DataFrame(X0, columns=["a", "b", "c"])

REFUSED: dict[str, tuple[Any, Any, type[SomlibError], str]] = {
    "too large": (X0 * 1e305, Y0, DataError, "X must be at most 1e.300 in size"),
    "too large targets": (X0, Y0 * 1e305, DataError, "y must be at most 1e.300 in size"),
    "infinite": (X0 * np.inf, Y0, DataError, "contains infinity"),
    "missing": (np.where(X0 > 2, np.nan, X0), Y0, DataError, "X contains NaN"),
    "missing targets": (X0, np.where(Y0 > 1, np.nan, Y0), DataError, "y contains NaN"),
    "no targets": (X0, None, DataError, "requires y"),
    "text": (np.array([["a"]] * 60), Y0, DataError, "could not convert string to float"),
    "a text column": (FRAME.assign(c="x"), Y0, DataError, "could not convert string to float"),
    "a date column": (FRAME.assign(c=pd.Timestamp("2020")), Y0, DataTypeError, "could not be promoted"),
    "text targets": (X0, ["a"] * 60, DataTypeError, "y must be numbers, got dtype <U1: classes"),
    "text objects": (X0, np.array(["a"] * 60, dtype=object), DataTypeError, "y must be numbers, got dtype object"),
    "a missing object": (X0, np.array([None] + [1.0] * 59, dtype=object), DataError, "y must be finite, got 1|NaN"),
    "numbers as text": (X0, ["1"] * 60, DataTypeError, "y must be numbers, got dtype <U1: classes"),
    "complex": (X0 + 1j, Y0, DataError, "Complex data not supported"),
    "one dimension": (X0[:, 0], Y0, DataError, "Expected 2D array"),
    "no rows": (X0[:0], Y0[:0], DataError, "0 sample"),
    "no features": (X0[:, :0], Y0, DataError, "0 feature"),
    "too few targets": (X0, Y0[:5], ShapeError, r"\[60, 5\]"),
    "sparse": (csr_matrix(X0), Y0, DataTypeError, "toarray"),
    "lazy": (pl.DataFrame(X0).lazy(), Y0, DataTypeError, r"call collect\(\) first"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learned_from_is_refused(case: str) -> None:
    X, y, kind, message = REFUSED[case]
    model = JITLRegressor(**FAST)
    with pytest.raises(kind, match=message):
        model.fit(X, y)
    assert not hasattr(model, "som_")


READ: dict[str, Any] = {
    "objects": X0.astype(object),
    "pandas": FRAME,
    "nullable": FRAME.astype("Float64"),
    "polars": pl.DataFrame(X0, schema=["a", "b", "c"]),
    "torch": torch.tensor(X0, requires_grad=True),
    "lists": X0.tolist(),
}


@pytest.mark.parametrize("kind", READ)
def test_numbers_in_any_wrapping_are_the_same(kind: str) -> None:
    expected = JITLRegressor(**FAST).fit(X0, Y0).predict(X0)
    found = JITLRegressor(**FAST).fit(READ[kind], Y0).predict(READ[kind])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("whole", [FRAME.round().astype("int64"), FRAME.round().astype("Int64"), FRAME > 0])
def test_integers_and_booleans_are_read_as_numbers(whole: pd.DataFrame) -> None:
    expected = JITLRegressor(**FAST).fit(whole.astype("float64"), Y0).predict(whole.astype("float64"))
    np.testing.assert_allclose(JITLRegressor(**FAST).fit(whole, Y0).predict(whole), expected, rtol=1e-6)


def test_frames_of_other_names_are_refused_with_both_lists() -> None:
    model = JITLRegressor(**FAST).fit(FRAME, Y0)
    before = model.predict(FRAME)
    for other in (FRAME[["c", "a", "b"]], FRAME.rename(columns={"a": "z"})):
        for act in (
            model.predict,
            model.predict_interval,
            lambda X: model.update(X, Y0),
            lambda X: model.observe(X, Y0),
        ):
            with pytest.raises(DataError, match=r"\(in fit: 'a', 'b', 'c'; now: '(c|z)'"):
                act(other)
    np.testing.assert_array_equal(model.predict(FRAME), before)


def test_updates_and_queries_that_do_not_fit_change_nothing() -> None:
    model = JITLRegressor(**FAST).fit(X0, Y0)
    before = model.predict(X0)
    for X, y in ((X0[:0], Y0[:0]), (X0[:2], Y0[:3]), (X0 * 1e305, Y0), (X0[:2], ["a", "b"])):
        with pytest.raises(SomlibError):
            model.update(X, y)
    with pytest.raises(DataError, match="could not convert string"):
        model.predict_one(["a", "b", "c"])
    for one in (X0, None, 3.0, [[1.0], [2.0, 3.0]]):
        with pytest.raises((ShapeError, DataError)):
            model.predict_one(one)
        with pytest.raises((ShapeError, DataError)):
            model.samples_behind(one)
    for wrong in (0, 1.5, "a"):
        with pytest.raises(ArgumentError, match="per_neuron must be a whole number"):
            model.forget(per_neuron=wrong)  # type: ignore[arg-type]  # that is the point
    np.testing.assert_array_equal(model.predict(X0), before)


LABELS: dict[str, Any] = {
    "text": ["low", "high"] * 30,
    "objects": np.array(["low", "high"] * 30, dtype=object),
    "booleans": [False, True] * 30,
    "integers": [3, -7] * 30,
    "categories": pd.Series(["low", "high"] * 30, dtype="category"),
    "polars": pl.Series(["low", "high"] * 30),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_come_back_as_they_are(kind: str) -> None:
    labels = LABELS[kind]
    X = np.column_stack((np.tile([0.0, 4.0], 30), X0[:, 0]))
    model = JITLClassifier(x=2, y=2).fit(X, labels)
    assert model.predict(X).tolist() == list(labels)
    assert model.update(X[:2], labels[:2]).predict(X).tolist() == list(labels)


def test_one_class_alone_is_certain() -> None:
    model = JITLClassifier(x=2, y=2).fit(X0, ["only"] * 60)
    assert set(model.predict(X0)) == {"only"}
    np.testing.assert_allclose(model.predict_proba(X0), 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(Y0, "continuous"), (np.array(["a", None] * 30, dtype=object), "one kind"), (np.eye(60), "1d array")],
)
def test_labels_that_are_none_are_refused(labels: Any, message: str) -> None:
    with pytest.raises((DataError, DataTypeError), match=message):
        JITLClassifier(x=2, y=2).fit(X0, labels)


def test_few_whole_targets_are_measured_values_like_others() -> None:
    whole = (Y0 > 0).astype(int)
    expected = JITLRegressor(**FAST).fit(X0, whole.astype(float)).predict(X0)
    np.testing.assert_array_equal(JITLRegressor(**FAST).fit(X0, whole).predict(X0), expected)

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from somlib.core import SOM
from somlib.jitl import JITLRegressor
from somlib.jitl.assignment import Assigner, Standardizer
from somlib.jitl.blend import Base, base_answers_to
from somlib.jitl.boosting import boosting_settings
from somlib.jitl.gaps import hidden_samples
from somlib.jitl.moments import FloatArray
from somlib.jitl.validation import Split, random_splits, subset


def problem(n: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, 2 * X[:, 0] + np.sin(2 * X[:, 1]) + 0.3 * rng.normal(size=n)


def placing_of(X: FloatArray) -> Assigner:
    som = SOM(3, 3, X.shape[1], epochs=3, algorithm="batch", device="cpu", missing="mask")
    som.fit(torch.from_numpy(X).float(), verbose=False)
    return Assigner(som, Standardizer.of(X), own_units=False)


def test_hidden_values_are_one_two_or_more_of_samples_left_out() -> None:
    X, _ = problem(200)
    splits = random_splits(200, 0)[:3]
    hidden = hidden_samples(X, placing_of(X), splits, seed=0)
    assert hidden is not None
    lost = hidden.assigned.missing.sum(axis=1)
    assert set(lost) == {1, 2, 3}
    assert min(np.bincount(lost)[1:]) >= len(lost) // 4
    left_out = np.concatenate([split.answer for split in splits])
    assert set(hidden.position) <= set(left_out)
    for number, split in enumerate(splits):
        assert set(hidden.position[hidden.split == number]) <= set(split.answer)
    seen = ~hidden.assigned.missing
    np.testing.assert_allclose(
        hidden.assigned.inputs[:, 1:][seen], Standardizer.of(X).apply(X)[hidden.position][seen], rtol=1e-6
    )
    by_feature = hidden.assigned.missing.mean(axis=0)
    assert np.ptp(by_feature) < 0.06


def test_gaps_that_samples_have_stay_and_one_value_is_left() -> None:
    X, _ = problem(100)
    X[:50, :2] = np.nan
    X[50, :3] = np.nan  # one value: nothing to hide
    hidden = hidden_samples(X, placing_of(X), [Split(np.arange(50, 100), np.arange(51))], seed=1)
    assert hidden is not None
    assert 50 not in hidden.position
    assert hidden.assigned.missing[:, :2].all()
    assert set(hidden.assigned.missing.sum(axis=1)) == {3}


def test_nothing_is_hidden_where_there_is_nothing_to_hide_or_to_leave_out() -> None:
    X, _ = problem(60)
    assert hidden_samples(X, placing_of(X), [], seed=0) is None
    assert hidden_samples(X[:, :1], placing_of(X[:, :1]), random_splits(60, 0), seed=0) is None


@pytest.mark.parametrize("experts", ["pure", "blend"])
@pytest.mark.parametrize("timed", [False, True])
def test_intervals_of_samples_with_gaps_hold_what_they_promise(experts: str, timed: bool) -> None:
    (X, y), (new, truth) = problem(900), problem(1_500, 1)
    model = JITLRegressor(missing="mask", experts=experts).fit(X, y, np.arange(900) if timed else None)
    order = np.random.default_rng(2).random(new.shape).argsort(axis=1)
    for gaps in range(4):
        low, high = model.predict_interval(np.where(order < gaps, np.nan, new))
        assert 0.86 < ((low <= truth) & (truth <= high)).mean() < 0.94, gaps


def test_left_out_answers_to_hidden_values_are_those_of_models_that_never_saw_the_sample() -> None:
    """One neuron, no shrinking: a plain ridge of each fold, and boosting of each fold, by scikit-learn."""
    X, y = problem(200)
    som = SOM(1, 1, 4, epochs=1, algorithm="batch", device="cpu", missing="mask")
    som.fit(torch.from_numpy(X).float(), verbose=False)
    settings = {"som": som, "missing": "mask", "neighborhood": "bmu_only", "shrink": "nothing", "ridge": 2.0}
    model = JITLRegressor(**settings, clip=None).fit(X, y)
    hidden = hidden_samples(X, model._assigner, random_splits(200, 42), seed=42)
    assert hidden is not None
    inputs, target = Standardizer.of(X).apply(X), Standardizer.of(y[:, None]).apply(y[:, None])[:, 0]
    error = np.empty(len(hidden))
    for number, split in enumerate(random_splits(200, 42)):
        ridge = Ridge(alpha=2.0).fit(inputs[split.learn], target[split.learn])
        chosen, asked = hidden.of(number)
        known = target[split.learn]
        margin = 0.1 * np.ptp(known)
        answer = np.clip(ridge.predict(asked.inputs[:, 1:]), known.min() - margin, known.max() + margin)
        error[chosen] = np.where(asked.trust == 1, answer - target[hidden.position[chosen]], np.nan)
    intervals = model._intervals
    usual = intervals._usual(hidden.assigned.neuron, hidden.assigned.share, hidden.assigned.trust)[:, 0]
    on_map = np.isfinite(error)
    assert on_map.mean() > 0.9
    np.testing.assert_allclose(intervals.ratio[on_map, 0], (np.abs(error) / usual)[on_map], rtol=1e-4, atol=1e-4)


def test_left_out_answers_of_boosting_to_hidden_values_are_scikit_learns() -> None:
    X, y = problem(200)
    assigner, splits = placing_of(X), random_splits(200, 0)
    assigned = assigner.assign(X)
    rows = np.hstack((assigned.inputs, y[:, None]))
    hidden = hidden_samples(X, assigner, splits, seed=0)
    assert hidden is not None
    bases = [
        Base.fitted(subset(assigned, split.learn), rows[split.learn], 1, on_ridge=False, seed=0) for split in splits
    ]
    found = base_answers_to(hidden, bases)
    for number, split in enumerate(splits):
        point = assigned.point.numpy()
        model = HistGradientBoostingRegressor(random_state=0, **boosting_settings(len(split.learn)))
        expected = model.fit(point[split.learn], y[split.learn])
        chosen, asked = hidden.of(number)
        np.testing.assert_allclose(found[chosen, 0], expected.predict(asked.point.numpy()), rtol=1e-6, atol=1e-6)

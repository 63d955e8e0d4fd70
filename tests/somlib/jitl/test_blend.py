from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingRegressor

from somlib.errors import ArgumentError
from somlib.jitl import JITLRegressor
from somlib.jitl.blend import _strength, convex_weights
from somlib.jitl.boosting import boosting_settings
from somlib.jitl.moments import FloatArray
from somlib.jitl.validation import BLOCKS, forward_splits, random_splits


def problem(n: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    return X, np.column_stack((np.sign(X[:, 0]) * np.sign(X[:, 1]) + X[:, 2], X[:, 0])) + 0.05 * rng.normal(size=(n, 2))


@pytest.fixture(scope="module")
def model() -> JITLRegressor:
    X, y = problem(400)
    return JITLRegressor().fit(X, y, np.arange(400.0))


def test_weights_are_halfway_between_inverse_errors_and_convex_least_squares() -> None:
    rng = np.random.default_rng(0)
    answers = rng.normal(size=(80, 3))
    target = answers @ [0.7, 0.5, -0.3] + 0.1 * rng.normal(size=80)
    fit = minimize(
        lambda w: np.sum((answers @ w - target) ** 2), np.full(3, 1 / 3), bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-12},
    )  # fmt: skip
    inverse = 1 / np.mean((answers - target[:, None]) ** 2, axis=0)
    np.testing.assert_allclose(convex_weights(answers, target), (fit.x + inverse / inverse.sum()) / 2, atol=1e-4)


def test_a_blend_learns_steps_that_local_ridges_smear(model: JITLRegressor) -> None:
    (X, y), (new, expected) = problem(400), problem(200, 1)
    pure = JITLRegressor(experts="pure").fit(X, y, np.arange(400.0))
    errors = [np.mean((m.predict(new)[:, 0] - expected[:, 0]) ** 2) for m in (model, pure)]
    assert errors[0] < errors[1]
    weights = model.predict(new, return_details=True).experts
    assert weights.keys() == {"ridge", "boosting", "boosting_on_ridge"}
    assert sum(weights.values()) == pytest.approx(1.0)


def test_answers_are_the_weighted_answers_of_the_experts(model: JITLRegressor) -> None:
    new = problem(50, 2)[0]
    assigned = model._assigner.assign(new)
    blend = model._blend
    assert blend is not None
    expected = blend.weights["ridge"] * model._ridge.answer(assigned)
    for name, expert in blend.experts.items():
        expected += blend.weights[name] * (expert.base.answer(assigned) + expert.correction.answer(assigned))
    np.testing.assert_allclose(model.predict(new), model._targets.undo(np.clip(expected, *model._ridge.bounds)))
    np.testing.assert_allclose(model.predict_one(new[0]), model.predict(new[:1])[0])


def test_a_saved_blend_answers_and_learns_like_the_one_that_was_saved(model: JITLRegressor, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    one, other = JITLRegressor.load(tmp_path / "model"), JITLRegressor.load(tmp_path / "model")
    new, target = problem(80, 3)
    np.testing.assert_array_equal(one.predict(new), model.predict(new))
    time = np.arange(400.0, 480.0)
    one.update(new, target + 1, time).forget(before=100)
    other.update(new[:50], target[:50] + 1, time[:50]).update(new[50:], target[50:] + 1, time[50:]).forget(before=100)
    np.testing.assert_allclose(one.predict(new), other.predict(new), rtol=1e-8, atol=1e-8)
    gained = np.mean((one.predict(new) - target - 1) ** 2) / np.mean((model.predict(new) - target - 1) ** 2)
    assert gained < 0.9


@pytest.mark.parametrize("timed", [False, True])
def test_left_out_errors_are_those_of_scikit_learns_boosting_on_the_other_samples(timed: bool) -> None:
    X, y = problem(160)
    y = y[:, 1] + 3 * X.sum(axis=1)  # slopes, which trees miss and corrections find
    time = np.random.default_rng(2).permutation(160).astype(np.float64)
    model = JITLRegressor(x=3, y=3, n_jobs=2).fit(X, y, time if timed else None)
    assert model._blend is not None
    assigned, target = model._assigner.assign(X), (y - y.mean()) / y.std()
    point = assigned.point.numpy()
    splits = forward_splits(time, BLOCKS, BLOCKS - 1) if timed else random_splits(160, 42)
    expected = np.full(160, np.nan)
    for split in splits:
        boosting = HistGradientBoostingRegressor(random_state=42, **boosting_settings(len(split.learn)))
        answer = boosting.fit(point[split.learn], target[split.learn]).predict(point[split.answer])
        expected[split.answer] = target[split.answer] - answer
    assert np.isnan(expected).any() == timed
    expert = model._blend.experts["boosting"]
    assert expert.settings["strength"] > 0.3
    np.testing.assert_allclose(expert.errors[:, 0], expert.settings["strength"] * expected, rtol=1e-6, atol=1e-6)
    whole = HistGradientBoostingRegressor(random_state=42, **boosting_settings(160)).fit(point, target)
    found = expert.base.answer(assigned)[:, 0]
    np.testing.assert_allclose(found, whole.predict(point), rtol=1e-6, atol=1e-6)


def test_a_correction_counts_as_far_as_it_corrects() -> None:
    correction = np.array([[1.0], [-2.0], [2.0]])
    for errors, expected in (
        ([[1.0], [-2.0], [2.0]], 1.0),
        ([[0.5], [-1.0], [1.0]], 0.5),
        ([[3.0], [-6.0], [6.0]], 1.0),  # never more than what was learned
        ([[-1.0], [2.0], [-2.0]], 0.0),
        ([[2.0], [0.0], [0.5]], np.linalg.lstsq(correction, np.array([2.0, 0.0, 0.5]), rcond=None)[0][0]),
    ):
        assert _strength(correction, np.array(errors)) == pytest.approx(expected)
    assert _strength(np.zeros((3, 1)), correction) == 0.0


def test_the_number_of_jobs_changes_neither_answers_nor_files(tmp_path: Path) -> None:
    X, y = problem(160)
    files = []
    for jobs in (None, 2):
        model = JITLRegressor(x=3, y=3, n_jobs=jobs).fit(X, y, np.arange(160))
        model.save(tmp_path / str(jobs))
        files.append({file.name: file.read_bytes() for file in (tmp_path / str(jobs)).iterdir()})
    assert files[0] == files[1]
    assert JITLRegressor.load(tmp_path / "2").n_jobs is None
    for jobs in (0, -2, 1.5, "2"):
        with pytest.raises(ArgumentError, match="n_jobs must be a whole number of at least 1, -1 or None, got"):
            JITLRegressor(n_jobs=jobs).fit(X, y)  # type: ignore[arg-type]  # refused


def test_every_step_of_a_fit_is_reported_once() -> None:
    X, y = problem(100)
    heard: list[tuple[int, int, str]] = []
    JITLRegressor(x=3, y=3, n_jobs=2).fit(X, y, on_step=lambda *event: heard.append(event))
    assert sorted(number for number, _, _ in heard) == list(range(1, 14))  # five folds and the whole, twice
    assert {of for _, of, _ in heard} == {13}
    assert sorted(name for *_, name in heard) == ["boosting"] * 6 + ["boosting_on_ridge"] * 6 + ["local ridges"]
    heard.clear()
    JITLRegressor(x=3, y=3, experts="pure").fit(X, y, on_step=lambda *event: heard.append(event))
    assert heard == [(1, 1, "local ridges")]


def test_random_folds_take_the_place_of_blocks_without_timestamps() -> None:
    X, y = problem(120)
    model = JITLRegressor(experts="blend", x=3, y=3).fit(X, y[:, 0])
    assert model.predict(X).shape == (120,)
    model.update(X[:5], y[:5, 0]).forget(per_neuron=10)
    assert np.isfinite(model.predict(X)).all()


def test_too_few_rows_for_boosting_are_left_to_local_models(caplog: pytest.LogCaptureFixture) -> None:
    X, y = problem(30)
    model = JITLRegressor(experts="blend").fit(X, y)
    assert "experts='blend' needs at least 40 rows, got 30" in caplog.text
    assert model.predict(X, return_details=True).experts == {"ridge": 1.0}


def test_blends_that_cannot_be_made_are_refused() -> None:
    X, y = problem(30)
    with pytest.raises(ArgumentError, match="local_model must be 'ridge' with experts='blend', got 'mean'"):
        JITLRegressor(experts="blend", local_model="mean").fit(X, y)
    with pytest.raises(ArgumentError, match="experts must be one of 'auto', 'pure', 'blend', got 'all'"):
        JITLRegressor(experts="all").fit(X, y)

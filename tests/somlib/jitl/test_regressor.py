import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from somlib.core import SOM
from somlib.errors import ArgumentError, DataError, DataTypeError, NotFittedError, SavedMapError, ShapeError
from somlib.jitl import JITLRegressor, SampleIndex
from somlib.jitl.moments import FloatArray

FIXED: dict[str, Any] = {"neighborhood": "gaussian", "sigma": 1.0, "ridge": 5.0, "level": 10.0, "experts": "pure"}
LOCAL_MODELS = ["ridge", "query_ridge", "mean", "pls", "gpr", KNeighborsRegressor(3)]


def problem(n: int, seed: int = 0, outputs: int = 1) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    clean = np.column_stack((np.sin(2 * X[:, 0]) + X[:, 1], 100 * X[:, 2] ** 2))[:, :outputs]
    y = clean + 0.05 * rng.normal(size=clean.shape)
    return X, y if outputs > 1 else y[:, 0]


def own_map(X: FloatArray, **settings: Any) -> SOM:
    som = SOM(6, 5, X.shape[1], epochs=5, algorithm="batch", initialization_mode="pca", device="cpu", **settings)
    som.fit(X, verbose=False)
    return som


def test_curved_targets_are_learned_better_than_by_ridge() -> None:
    (X, y), (new, expected) = problem(800), problem(300, 1)
    error = np.mean((JITLRegressor(experts="pure").fit(X, y).predict(new) - expected) ** 2)
    assert error < 0.3 * np.mean((Ridge().fit(X, y).predict(new) - expected) ** 2)


@pytest.mark.parametrize("mode", ["bmu_only", "bmu_neighborhood", "bmu_neighborhood_knn"])
def test_plain_ridges_of_a_retrieval_mode_equal_a_fit_to_the_retrieved_samples(mode: str) -> None:
    X, y = problem(300, outputs=2)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    som = own_map(X)
    model = JITLRegressor(som=som, neighborhood=mode, shrink="nothing", ridge=2.0, n_neurons=1).fit(X, y)
    by_place, queries = som.build_map("bmus_data", X), problem(40, 1)[0] / 1.2
    on_map = ~model.predict(queries, return_details=True).fallback
    for query, answer in zip(queries[on_map], model.predict(queries)[on_map], strict=True):
        buffer, outputs = som.collect_samples(query, X, y, by_place, retrieval_mode=mode)
        if len(buffer) == 0:
            continue
        expected = Ridge(alpha=2.0).fit(buffer.numpy(), outputs.numpy()).predict(query[None])[0]
        low, high = y.min(axis=0), y.max(axis=0)
        expected = np.clip(expected, low - 0.1 * (high - low), high + 0.1 * (high - low))
        np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


def test_updates_and_forgetting_equal_a_fit_to_what_is_held() -> None:
    X, y = problem(400, outputs=2)
    som, time = own_map(X), np.arange(400.0)
    model = JITLRegressor(som=som, **FIXED).fit(X[:200], y[:200], time[:200])
    model.update(X[200:300], y[200:300], time[200:300]).forget(before=90.0)
    model.update(X[300:], y[300:], time[300:]).forget(per_neuron=9)
    held = model.index_.number.numpy()
    assert set(np.flatnonzero(time >= 90)) >= set(held)
    assert int(model.index_.groups.count.max()) == 9
    rebuilt = clone(model).fit(X[held], y[held], time[held])
    # Same units of inputs, targets and reach, which stay those of the first fit.
    rebuilt._assigner, rebuilt._targets = model._assigner, model._targets
    rows = model._rows
    rebuilt._ridge = rebuilt._new_ridge(model._ridge.neighborhood, model._ridge.shrinkage)
    rebuilt._ridge.add(rows, rebuilt.index_.winner.numpy())
    rebuilt._ridge.solve(rows[:, -2:])
    assert rebuilt.index_.groups.sample.tolist() == model.index_.groups.sample.tolist()
    queries = problem(50, 1)[0]
    np.testing.assert_allclose(model.predict(queries), rebuilt.predict(queries), rtol=1e-9, atol=1e-9)


def test_an_update_is_known_at_once() -> None:
    X, y = problem(300)
    model = JITLRegressor(**FIXED).fit(X, y)
    spot = np.full((60, 3), 0.5) + 0.01 * np.random.default_rng(0).normal(size=(60, 3))
    before = model.predict(spot[:1])[0]
    model.update(spot, np.full(60, 2.9))
    assert abs(model.predict(spot[:1])[0] - 2.9) < abs(before - 2.9) / 2


def test_one_sample_is_answered_like_many() -> None:
    X, y = problem(300, outputs=2)
    model = JITLRegressor(**FIXED).fit(X, y)
    queries = np.vstack((X[:20], 3 * X[:20]))
    many = model.predict(queries)
    np.testing.assert_allclose([model.predict_one(q) for q in queries], many, rtol=1e-5, atol=1e-5)
    single = JITLRegressor(**FIXED).fit(X, y[:, 0])
    assert single.predict_one(X[0]).shape == ()


def test_intervals_hold_what_they_promise_on_new_data() -> None:
    rng = np.random.default_rng(0)
    X, new = rng.uniform(-2, 2, (1500, 2)), rng.uniform(-2, 2, (1500, 2))
    noise = 0.05 + 0.3 * (X[:, 0] > 0), 0.05 + 0.3 * (new[:, 0] > 0)
    model = JITLRegressor(experts="pure").fit(X, X[:, 0] + noise[0] * rng.normal(size=1500))
    lower, upper = model.predict_interval(new)
    target = new[:, 0] + noise[1] * rng.normal(size=1500)
    held = (lower <= target) & (target <= upper)
    right = new[:, 0] > 0
    assert 0.87 < held.mean() < 0.93
    assert held[right].mean() > 0.82
    assert held[~right].mean() < 0.98
    assert (upper - lower)[right].mean() > 3 * (upper - lower)[~right].mean()


def test_intervals_widen_while_labels_say_they_are_missed() -> None:
    X, y = problem(400)
    model = JITLRegressor(**FIXED).fit(X, y)
    before = np.diff(model.predict_interval(X[:1]), axis=0)
    answer = model.predict(X[:50])
    model.observe(X, y + 3.0)
    assert np.diff(model.predict_interval(X[:1]), axis=0) > before
    np.testing.assert_array_equal(model.predict(X[:50]), answer)


def test_a_map_that_is_trained_further_leaves_the_model_as_it_is() -> None:
    X, y = problem(200)
    som = own_map(X)
    model = JITLRegressor(som=som, **FIXED).fit(X, y)
    before = model.predict(X)
    som.weights.data += 1.0
    model.update(X[:1], y[:1]).forget(before=0)
    np.testing.assert_allclose(model.predict(X), before, atol=0.05)


def test_off_the_map_the_answer_fades_to_the_global_model_and_says_so() -> None:
    X, y = problem(500)
    model = JITLRegressor(**FIXED).fit(X, y)
    far = model.predict([[40.0, 40.0, 40.0], [0.1, 0.1, 0.1]], return_details=True)
    assert far.fallback.tolist() == [True, False]
    assert far.trust[0] < 0.5
    assert y.min() - 0.1 * np.ptp(y) <= far.prediction[0] <= y.max() + 0.1 * np.ptp(y)


def test_details_name_neuron_samples_and_experts() -> None:
    X, y = problem(300)
    som = own_map(X)
    model = JITLRegressor(
        som=som, neighborhood="bmu_neighborhood", n_neurons=1, ridge=1.0, level=1.0, experts="pure"
    ).fit(X, y)
    details = model.predict(X[:30], return_details=True)
    found = som.identify_bmus(X[:30])
    assert details.row.tolist() == found[:, 0].tolist()
    assert details.col.tolist() == found[:, 1].tolist()
    expected = (torch.from_numpy(X[:30]) - som.weights[details.row, details.col]).norm(dim=1)
    np.testing.assert_allclose(details.quantization_error, expected, rtol=1e-5)
    buffers = SampleIndex.build(som, X).retrieve(X[:30], "bmu_neighborhood")
    assert details.n_samples.tolist() == buffers.offset.diff().tolist()
    assert details.experts == {"ridge": 1.0}
    for i in (0, 7):
        number, weight = model.samples_behind(X[i])
        assert sorted(number) == sorted(buffers.of(i).tolist())
        assert set(weight) == {1.0}


@pytest.mark.parametrize("local_model", LOCAL_MODELS, ids=str)
def test_every_local_model_learns_several_targets(local_model: Any) -> None:
    (X, y), (new, expected) = problem(400, outputs=2), problem(40, 1, outputs=2)
    model = JITLRegressor(local_model=local_model, n_neighbors=25)
    if local_model == "gpr":
        model.set_params(n_neighbors=12)
        X, y = X[:60], y[:60]
    with np.errstate(all="ignore"):
        details = model.fit(X, y).predict(new[:15], return_details=True)
    error = np.mean((details.prediction - expected[:15]) ** 2, axis=0)
    assert (error < 0.5 * expected[:15].var(axis=0)).all()
    assert details.prediction.shape == details.lower.shape == (15, 2)
    number, weight = model.samples_behind(new[0])
    assert len(number) == len(weight) > 0
    assert (np.diff(weight) <= 0).all()


def test_query_ridges_match_weighted_ridges_by_hand() -> None:
    X, y = problem(300)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model = JITLRegressor(
        som=own_map(X), local_model="query_ridge", shrink="nothing", ridge=1.0, n_neighbors=30, half_life=50.0
    ).fit(X, y, np.arange(300))
    queries = X[:10] * 0.9
    for query, answer in zip(queries, model.predict(queries), strict=True):
        pool = model.index_.retrieve(query, "bmu_neighborhood_knn", 50).of(0).numpy()
        distance = np.linalg.norm(X[pool] - query, axis=1)
        nearest = np.argsort(distance)[:30]
        weight = (1 - (distance[nearest] / (1.01 * distance[nearest].max())) ** 3) ** 3
        weight *= 2.0 ** (-(299 - pool[nearest]) / 50)
        expected = Ridge(alpha=1.0).fit(X[pool[nearest]], y[pool[nearest]], sample_weight=weight).predict(query[None])
        assert answer == pytest.approx(expected[0], rel=1e-4, abs=1e-4)


def test_timestamps_choose_settings_by_later_samples() -> None:
    X, y = problem(400)
    order = np.random.default_rng(0).permutation(400)
    dates = pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 17, 15), "1h", eager=True)
    sorted_fit = JITLRegressor(experts="pure").fit(X, y, dates)
    shuffled = JITLRegressor(som=sorted_fit.som_, experts="pure").fit(X[order], y[order], dates.gather(order))
    assert sorted_fit.settings_.keys() == {"neighborhood", "sigma", "ridge", "level", "overall", "n_neighbors"}
    assert shuffled.index_.clock == "dates"
    with pytest.raises(ArgumentError, match="timestamps must be dates, like those before, got none"):
        sorted_fit.update(X, y)


def test_missing_values_are_answered_where_that_is_wanted() -> None:
    X, y = problem(400)
    X[::5, 2] = np.nan
    model = JITLRegressor(missing="mask", experts="pure").fit(X, y)
    details = model.predict([[0.1, np.nan, 0.2], [np.nan, np.nan, np.nan]], return_details=True)
    assert np.isfinite(details.prediction).all()
    assert details.fallback.tolist() == [False, True]
    assert details.row.tolist()[1] == -1
    assert details.n_samples[1] == 0
    assert np.isfinite(details.upper - details.lower).all()
    assert model.predict_one([0.1, np.nan, 0.2]) == pytest.approx(details.prediction[0])
    model.update([[np.nan, np.nan, np.nan]], [1.0]).forget(before=1)
    with pytest.raises(ValueError, match="NaN"):
        JITLRegressor(experts="pure").fit(X, y)


@pytest.mark.parametrize("local_model", ["ridge", "query_ridge", "mean"])
@pytest.mark.parametrize("given", [True, False])
def test_a_saved_model_answers_and_learns_exactly_like_the_one_that_was_saved(
    tmp_path: Path, local_model: str, given: bool
) -> None:
    X, y = problem(300, outputs=2)
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    model = JITLRegressor(som=own_map(X) if given else None, local_model=local_model, experts="pure")
    model.fit(frame, y, np.arange(300)).forget(before=20)
    model.save(tmp_path / "model")
    loaded = JITLRegressor.load(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "weights.safetensors"]
    assert loaded.get_params().keys() == model.get_params().keys()
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c"]
    queries = pl.DataFrame(problem(50, 1)[0], schema=["a", "b", "c"])
    for step in range(2):
        one, other = model.predict(queries, return_details=True), loaded.predict(queries, return_details=True)
        for name in ("prediction", "lower", "upper", "n_samples", "trust", "row", "quantization_error", "share"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{name} {step}")
        for either in (model, loaded):
            either.update(frame[:40], y[:40] + 1.0, np.arange(300, 340)).forget(before=60, per_neuron=30)


def test_a_saved_model_is_read_in_another_process(tmp_path: Path) -> None:
    X, y = problem(200)
    model = JITLRegressor(**FIXED).fit(X, y)
    model.save(tmp_path / "model")
    code = (
        "import sys, json; from somlib.jitl import JITLRegressor; "
        "print(json.dumps(JITLRegressor.load(sys.argv[1]).predict([[0.1, 0.2, 0.3]]).tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], capture_output=True, check=True)
    assert json.loads(done.stdout) == pytest.approx(model.predict([[0.1, 0.2, 0.3]]).tolist(), rel=1e-12)


def test_what_cannot_be_saved_or_loaded_is_refused(tmp_path: Path) -> None:
    X, y = problem(60)
    with pytest.raises(SavedMapError, match="local_model must be a name to be saved"):
        JITLRegressor(local_model=RandomForestRegressor(3), n_neighbors=20, **FIXED).fit(X, y).save(tmp_path / "a")
    own_map(X).save(tmp_path / "map")
    with pytest.raises(SavedMapError, match=r"path must hold a JITLRegressor, got a SOM: use SOM\.load"):
        JITLRegressor.load(tmp_path / "map")


def test_refused_calls_change_nothing() -> None:
    X, y = problem(100)
    model = JITLRegressor(**FIXED).fit(X, y, np.arange(100))
    before = model.predict(X)
    with pytest.raises(DataError, match="timestamps must all be known"):
        model.update(X[:2], y[:2], [1.0, np.nan])
    with pytest.raises(ValueError, match="3 features"):
        model.update(X[:2, :2], y[:2], [1, 2])
    with pytest.raises(ShapeError, match="y must have 1 targets like those of fit"):
        model.update(X[:2], np.ones((2, 2)), [1, 2])
    with pytest.raises(ArgumentError, match="before must leave at least one of the 100 samples"):
        model.forget(before=1e9)
    with pytest.raises(DataTypeError, match="before must be one of the numbers"):
        model.forget(before=np.datetime64("2020-01-01"))
    with pytest.raises(ShapeError, match=r"x must have shape \(3,\)"):
        model.predict_one([1.0])
    np.testing.assert_array_equal(model.predict(X), before)
    assert len(model.index_) == len(model._rows) == 100


def test_inputs_are_cut_at_the_wanted_deviations() -> None:
    X, y = problem(300)
    cut, free = JITLRegressor(**FIXED).fit(X, y), JITLRegressor(clip=None, **FIXED).fit(X, y)
    extremes = [[0.0, -8.0, 0.0], [0.0, -9.0, 0.0]]
    assert cut._assigner.assign(np.array(extremes)).inputs[:, 2].tolist() == [-5.0, -5.0]
    assert free._assigner.assign(np.array(extremes)).inputs[:, 2].max() < -6.0


def test_a_map_of_other_features_is_refused() -> None:
    X, y = problem(60)
    with pytest.raises(ShapeError, match="X must have the 2 features of som, got 3"):
        JITLRegressor(som=own_map(X[:, :2])).fit(X, y)
    with pytest.raises(NotFittedError):
        JITLRegressor(som=SOM(device="cpu")).fit(X, y)


def test_intervals_remember_a_season_through_fits_that_leave_out_newer_ones_alone() -> None:
    rng = np.random.default_rng(0)

    def rows(season: float, n: int) -> tuple[np.ndarray, np.ndarray]:
        X = np.column_stack((rng.normal(season, 0.1, n), rng.normal(size=n)))
        return X, X[:, 1] + rng.normal(size=n) * (
            0.1 if season else 3.0
        )  # errors of winter, 0, are 30 times those of summer

    model = JITLRegressor(experts="pure").fit(*rows(0, 300), np.arange(300))
    for start in (300, 600):
        model.update(*rows(1, 300), np.arange(start, start + 300), refit=True)
    inside = []
    for season in (0, 1):
        X, y = rows(season, 400)
        lower, upper = model.predict_interval(X)
        inside.append(np.mean((lower <= y) & (y <= upper)))
    assert min(inside) > 0.7  # from the errors of the newest samples alone, 0.06 of those in winter

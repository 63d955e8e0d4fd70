import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from pipelines.data.classes import classes_of
from pipelines.data.samples import Labelled
from pipelines.errors import ConfigError, ModelError
from pipelines.model.local_models import LocalModels, fit_local_models
from pipelines.settings.sections import JITLConfig
from pipelines.training.fitting import train_som
from somlib import SOM, SOMConfig
from somlib.errors import ArgumentError
from somlib.jitl import JITLRegressor

START = datetime(2024, 1, 1)
PURE = JITLConfig(experts="pure")


def rows(n: int = 240, first: int = 0, timed: bool = True, **targets: Any) -> Labelled:
    """Hourly rows of two features; the target `y` follows them."""
    random = np.random.default_rng(first)
    samples = random.normal(size=(n, 2)).astype(np.float32)
    y = np.sin(2 * samples[:, 0].astype(np.float64)) + samples[:, 1] + random.normal(size=n) / 10
    times = [START + timedelta(hours=first + i) for i in range(n)]
    return Labelled(
        samples, {"y": y, **targets}, pl.Series("time", times) if timed else None, np.arange(first, first + n)
    )


@pytest.fixture(scope="module")
def som() -> SOM:
    return make_som()


def make_som(missing: str = "error") -> SOM:
    config = SOMConfig(x=4, y=3, epochs=3, algorithm="batch", missing=missing)
    return train_som(rows().samples, config, ("a", "b")).som


def fitted(som: SOM, learned: Labelled, config: JITLConfig = PURE) -> LocalModels:
    models = fit_local_models(som, learned, config, seed=1)
    assert models is not None
    return models


def wide(n: int) -> np.ndarray:
    """Samples of 60 features."""
    return np.random.default_rng(0).normal(size=(n, 60)).astype(np.float32)


def with_gaps(values: np.ndarray, every: int) -> np.ndarray:
    return np.where(np.arange(len(values)) % every == 0, np.nan, values)


# ---------------------------------------------------------------- learning and answering


def test_each_target_is_answered_by_a_model_of_the_rows_that_have_it(som: SOM) -> None:
    learned = rows()
    z = with_gaps(-3 * learned.targets["y"], every=3)
    models = fitted(som, rows(z=z))
    queries = rows(20, first=5_000).samples
    answer = models.answer(queries)
    for name, target in (("y", learned.targets["y"]), ("z", z)):
        known = np.isfinite(target)
        alone = JITLRegressor(som=som, experts="pure", random_state=1)
        alone.fit(learned.samples[known], target[known], learned.moments.to_numpy()[known])  # type: ignore[union-attr]
        expected = alone.predict(queries, return_details=True)
        for kind in ("prediction", "lower", "upper", "n_samples", "fallback"):
            np.testing.assert_array_equal(answer[f"{kind}_{name}"], getattr(expected, kind))


def test_columns_of_a_single_target_go_without_its_name(som: SOM) -> None:
    one, two = fitted(som, rows()), fitted(som, rows(z=rows().targets["y"]))
    assert list(one.outputs) == ["prediction", "lower", "upper", "n_samples", "fallback"]
    assert list(two.outputs)[4:7] == ["fallback_y", "prediction_z", "lower_z"]
    for models in (one, two):
        answer = models.answer(rows(3).samples)
        assert {name: str(column.dtype) for name, column in answer.items()} == {
            name: "bool" if kind == "boolean" else "float64" for name, kind in models.outputs.items()
        }


def test_a_sample_far_off_the_map_falls_back(som: SOM) -> None:
    answer = fitted(som, rows()).answer(np.array([[0.0, 0.0], [60.0, -60.0]], dtype=np.float32))
    assert answer["fallback"].tolist() == [False, True]
    assert np.diff(answer["upper"] - answer["lower"])[0] > 0


def test_what_is_missing_is_left_to_the_map_and_nothing_is_said_of_nothing() -> None:
    models = fitted(make_som("mask"), rows())
    answer = models.answer(np.array([[0.5, np.nan], [np.nan, np.nan]], dtype=np.float32))
    assert np.isfinite(answer["prediction"][0])
    assert not answer["fallback"][0]
    assert [np.isnan(answer[kind][1]) for kind in ("prediction", "lower", "upper")] == [True] * 3
    assert (answer["n_samples"][1], answer["fallback"][1]) == (0.0, True)


def test_new_rows_are_answered_before_they_are_learned(som: SOM) -> None:
    models, new = fitted(som, rows()), rows(60, first=240)
    by_hand = JITLRegressor(som=som, experts="pure", random_state=1)
    by_hand.fit(rows().samples, rows().targets["y"], rows().moments)
    by_hand.observe(new.samples, new.targets["y"], new.moments)  # intervals learn from errors on rows not known yet
    by_hand.update(new.samples, new.targets["y"], new.moments, observed=True)
    assert models.learn(new, PURE) == {"y": 60}
    queries = rows(20, first=5_000).samples
    expected = by_hand.predict(queries, return_details=True)
    for kind in ("prediction", "lower", "upper"):
        np.testing.assert_allclose(models.answer(queries)[kind], getattr(expected, kind), rtol=1e-12)


def test_rows_without_the_value_of_a_target_teach_it_nothing(som: SOM) -> None:
    models, new = fitted(som, rows(z=rows().targets["y"])), rows(60, first=240, z=np.full(60, np.nan))
    before = models.answer(rows(5).samples)
    assert models.learn(new, PURE) == {"y": 60, "z": 0}
    after = models.answer(rows(5).samples)
    np.testing.assert_array_equal(before["prediction_z"], after["prediction_z"])
    assert not np.array_equal(before["prediction_y"], after["prediction_y"])


def test_times_of_another_kind_are_refused_and_change_nothing(som: SOM) -> None:
    models = fitted(som, rows(z=rows().targets["y"]))
    before = models.answer(rows(5).samples)
    with pytest.raises(ArgumentError, match="timestamps must be dates"):
        models.learn(rows(60, first=240, timed=False, z=rows(60).targets["y"]), PURE)
    after = models.answer(rows(5).samples)
    for name, column in before.items():
        np.testing.assert_array_equal(column, after[name])


# ---------------------------------------------------------------- which rows are known


def test_the_watermark_is_the_newest_time_that_all_models_have_learned(som: SOM) -> None:
    z = rows().targets["y"].copy()
    z[200:] = np.nan
    models = fitted(som, rows(z=z))
    assert models.watermarks == {
        "y": "2024-01-10T23:00:00.000000+00:00",
        "z": "2024-01-09T07:00:00.000000+00:00",
    }
    assert models.watermark == models.watermarks["z"]
    models.learn(rows(24, first=240, z=rows(24).targets["y"]), PURE)
    assert models.watermark == "2024-01-11T23:00:00.000000+00:00"


def test_there_is_no_watermark_without_dates(som: SOM) -> None:
    untimed = rows(timed=False)
    numbered = Labelled(untimed.samples, untimed.targets, pl.Series("time", np.arange(240)), untimed.numbers)
    assert fitted(som, untimed).watermark is None
    assert fitted(som, numbered).watermark is None


def test_what_is_old_is_forgotten_as_new_rows_come(som: SOM) -> None:
    config = JITLConfig(experts="pure", keep_days=5)
    models = fitted(som, rows(), config)
    models.learn(rows(60, first=240), config)
    held = models.regressors["y"].index_.time.numpy().astype("datetime64[us]")
    expected = [START + timedelta(hours=299 - age) for age in range(5 * 24, -1, -1)]
    np.testing.assert_array_equal(held, np.array(expected, dtype="datetime64[us]"))


def test_no_more_than_the_newest_rows_are_held(som: SOM) -> None:
    config = JITLConfig(experts="pure", max_rows=1_000)
    models = fitted(som, rows(990), config)
    models.learn(rows(60, first=990), config)
    index = models.regressors["y"].index_
    assert len(index) == 1_000
    assert index.number.min() == 50


def test_of_more_new_rows_than_are_held_the_newest_are_learned(som: SOM) -> None:
    config = JITLConfig(experts="pure", max_rows=1_000)
    many, last = fitted(som, rows(990), config), fitted(som, rows(990), config)
    new = rows(1_500, first=990)
    assert many.learn(new, config) == {"y": 1_000}
    assert last.learn(new.take(np.arange(500, 1_500)), config) == {"y": 1_000}
    queries = rows(20, first=5_000).samples
    for name, column in many.answer(queries).items():
        np.testing.assert_array_equal(column, last.answer(queries)[name])


def test_without_times_rows_are_learned_while_there_is_room_and_none_makes_way(som: SOM) -> None:
    config = JITLConfig(experts="pure", max_rows=1_000)
    models = fitted(som, rows(900, timed=False), config)
    assert models.learn(rows(3_000, first=900, timed=False), config) == {"y": 100}
    assert models.learn(rows(60, first=3_900, timed=False), config) == {"y": 0}
    held = models.regressors["y"].index_.samples.numpy()
    spread = rows(3_000, first=900).samples[np.linspace(0, 2_999, 100).round().astype(int)]
    np.testing.assert_array_equal(held, np.vstack((rows(900).samples, spread)))


def test_models_that_have_grown_are_fitted_anew_to_the_rows_they_hold(som: SOM) -> None:
    config = JITLConfig(experts="pure", keep_days=5)
    models = fitted(som, rows(z=rows().targets["y"]), config)
    models.learn(rows(36, first=240, z=np.full(36, np.nan)), config)
    assert models.refit() == {}
    models.learn(rows(1, first=276, z=np.full(1, np.nan)), config)
    before = models.regressors["y"].index_.number.tolist()
    assert models.refit() == {"y": "37 rows learned since the last fit, which knew 121"}
    assert models.regressors["y"].index_.number.tolist() == before == list(range(37, 158))
    assert models.refit() == {}


def test_a_neuron_holds_no_more_than_its_newest_rows(som: SOM) -> None:
    config = JITLConfig(experts="pure", per_neuron=4)
    models = fitted(som, rows(), config)
    models.learn(rows(60, first=240), config)
    index = models.regressors["y"].index_
    assert torch.bincount(index.winner, minlength=12).max() == 4
    everything = fitted(som, rows())
    everything.learn(rows(60, first=240), PURE)
    winner = everything.regressors["y"].index_.winner
    newest = sorted(i for neuron in range(12) for i in torch.nonzero(winner == neuron).flatten().tolist()[-4:])
    assert index.number.tolist() == newest


# ---------------------------------------------------------------- what gets no model


def test_targets_with_few_rows_get_no_model(som: SOM) -> None:
    rare = np.full(240, np.nan)
    rare[:49] = 1.0
    models = fitted(som, rows(rare=rare))
    assert list(models.regressors) == ["y"]
    assert fit_local_models(som, rows(49), PURE, seed=1) is None


def test_the_size_that_is_told_is_that_of_the_files_of_a_blend(tmp_path: Path) -> None:
    som = train_som(wide(240), SOMConfig(x=4, y=3, epochs=3, algorithm="batch"), [f"{i}" for i in range(60)]).som
    learned = replace(rows(), samples=wide(240))
    fitted(som, learned, JITLConfig(experts="blend")).save(tmp_path / "models")
    weights = load_file(tmp_path / "models" / "0" / "weights.safetensors")
    held = sum(tensor.nbytes for name, tensor in weights.items() if name.endswith("moments"))
    assert held == 3 * 8 * 12 * 62**2


def test_days_are_counted_on_dates_only(som: SOM) -> None:
    config = JITLConfig(keep_days=3)
    with pytest.raises(ConfigError, match="got no such column"):
        fit_local_models(som, rows(timed=False), config, seed=1)


# ---------------------------------------------------------------- saving


def test_saved_models_answer_and_learn_the_same(som: SOM, tmp_path: Path) -> None:
    models = fitted(som, rows(z=-rows().targets["y"]), JITLConfig(experts="blend"))
    models.save(tmp_path / "local")
    loaded = LocalModels.load(tmp_path / "local")
    assert loaded.watermarks == models.watermarks
    for both in (models, loaded):
        both.learn(rows(30, first=240, z=rows(30).targets["y"]), PURE)
    expected, got = (both.answer(rows(20, first=5_000).samples) for both in (models, loaded))
    for name, column in expected.items():
        np.testing.assert_array_equal(column, got[name])


def test_the_watermark_can_be_read_without_the_models(som: SOM, tmp_path: Path) -> None:
    models = fitted(som, rows())
    models.save(tmp_path / "local")
    contents = json.loads((tmp_path / "local" / "local.json").read_text())
    assert contents == {"watermark": models.watermark, "targets": models.watermarks}
    files = {path.suffix for path in (tmp_path / "local").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}


def test_models_that_cannot_be_read_are_told(som: SOM, tmp_path: Path) -> None:
    fitted(som, rows()).save(tmp_path / "local")
    (tmp_path / "local" / "0" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the local models in .* cannot be read"):
        LocalModels.load(tmp_path / "local")


# ---------------------------------------------------------------- classes


def with_class(part: Labelled, kind: str) -> Labelled:
    """The rows with the sign of `y` as a class, in one of three types of labels."""
    labels = {"text": ["minus", "plus"], "integer": [-1, 1], "boolean": [False, True]}[kind]
    codes = with_gaps((part.targets["y"] > 0).astype(np.float64), every=13)
    return Labelled(part.samples, {"sign": codes}, part.moments, part.numbers, {"sign": classes_of(np.array(labels))})


@pytest.mark.parametrize("kind", ["text", "integer", "boolean"])
def test_labels_are_answered_and_kept_in_their_own_type(tmp_path: Path, kind: str) -> None:
    som = make_som("mask")
    models = fitted(som, with_class(rows(), kind))
    models.save(tmp_path / "local")
    loaded = LocalModels.load(tmp_path / "local")
    queries = rows(20, first=5_000)
    sign = queries.targets["y"] > 0
    no, yes = {"text": ("minus", "plus"), "integer": (-1, 1), "boolean": (False, True)}[kind]
    for each in (models, loaded):
        answer = each.answer(queries.samples)
        assert list(answer) == list(each.outputs)
        assert {type(label) for label in answer["prediction"].tolist()} == {type(no)}
        assert np.mean([label == yes for label in answer["prediction"].tolist()] == sign) > 0.8
        names = [f"probability={str(label).lower()}" for label in (no, yes)]
        np.testing.assert_allclose(answer[names[0]] + answer[names[1]], 1.0)
        np.testing.assert_array_equal(answer["probability"], np.maximum(answer[names[0]], answer[names[1]]))


def test_a_row_without_values_has_no_class() -> None:
    som = make_som("mask")
    models = fitted(som, with_class(rows(), "integer"))
    samples = rows(3).samples.copy()
    samples[1] = np.nan
    answer = models.answer(samples)
    assert answer["prediction"][1] is None
    assert isinstance(answer["prediction"].tolist()[0], int)
    assert np.isnan([answer["probability"][1], answer["probability=1"][1]]).all()


def test_numbers_and_classes_are_not_taken_for_each_other(som: SOM) -> None:
    models = fitted(som, with_class(rows(), "text"))
    with pytest.raises(TypeError, match="sign is a class"):
        models.details("sign", rows(2).samples)
    with pytest.raises(TypeError, match="y is a number"):
        fitted(som, rows()).class_details("y", rows(2).samples)

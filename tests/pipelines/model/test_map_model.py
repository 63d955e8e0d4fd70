import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from pipelines.data.samples import Labelled
from pipelines.data.scaling import fit_scaler
from pipelines.errors import ModelError
from pipelines.model.local_models import fit_local_models
from pipelines.model.map_model import OFF_MAP, MapModel, reach_of, read_example
from pipelines.model.profile import AssignedRows
from pipelines.model.profiling import training_profile
from pipelines.settings.sections import JITLConfig
from pipelines.training.fitting import train_som
from somlib import SOM, SOMConfig

FEATURES = ("a", "b")
RAW = np.random.default_rng(0).normal(size=(80, 2)) * (1.0, 50.0) + (0.0, 1000.0)


def make_model(**settings: Any) -> MapModel:
    scaler = fit_scaler(RAW, FEATURES, "standard")
    config = SOMConfig.model_validate({"x": 4, "y": 3, "epochs": 3, "algorithm": "batch"} | settings)
    trained = train_som(scaler.transform(RAW), config, FEATURES)
    return MapModel(trained.som, scaler, torch.arange(1, 13))


@pytest.fixture(scope="module")
def model() -> MapModel:
    return make_model()


@pytest.fixture(scope="module")
def masking() -> MapModel:
    return make_model(missing="mask")


def frame(rows: int = 30) -> pd.DataFrame:
    values = np.random.default_rng(1).normal(size=(rows, 2)) * (1.0, 50.0) + (0.0, 1000.0)
    return pd.DataFrame(values, columns=list(FEATURES), index=np.arange(rows) + 100)


def test_answers_match_the_definition_in_float64(model: MapModel) -> None:
    scaled = (frame().to_numpy() - RAW.mean(axis=0)) / RAW.std(axis=0)
    codebook = model.som.weights.double().numpy().reshape(12, 2)
    distances = np.sqrt(((scaled[:, None] - codebook) ** 2).sum(axis=2))
    winner = distances.argmin(axis=1)
    answer = model.predict(frame())
    np.testing.assert_array_equal(answer["row"], winner // 3)
    np.testing.assert_array_equal(answer["col"], winner % 3)
    np.testing.assert_array_equal(answer["cluster"], winner + 1)
    np.testing.assert_allclose(answer["quantization_error"], distances.min(axis=1), rtol=1e-5)


def test_answers_keep_the_index_and_have_fixed_types(model: MapModel) -> None:
    for rows in (30, 0):
        answer = model.predict(frame(rows))
        assert list(answer.index) == list(frame(rows).index)
        assert [str(dtype) for dtype in answer.dtypes] == ["int64", "int64", "float64", "int64"]


def test_columns_are_found_by_name_and_further_ones_ignored(model: MapModel) -> None:
    shuffled = frame()[["b", "a"]].assign(note="text")
    pd.testing.assert_frame_equal(model.predict(shuffled), model.predict(frame()))


def test_whole_numbers_and_nullable_columns_are_welcome(model: MapModel) -> None:
    whole = frame().round().astype({"a": "int64", "b": "Int64"})
    pd.testing.assert_frame_equal(model.predict(whole), model.predict(frame().round()))


@pytest.mark.parametrize("bad", [np.nan, None, np.inf, -np.inf])
def test_null_nan_and_infinity_are_refused_with_rows_and_columns(model: MapModel, bad: Any) -> None:
    broken = frame().astype(object)
    broken.iloc[[3, 5], 1] = bad
    with pytest.raises(ModelError, match="must not be null, NaN or infinite, got such values in 2 rows: b in 2"):
        model.predict(broken)


def test_a_masking_map_answers_what_is_there_and_owns_up_where_nothing_is(masking: MapModel) -> None:
    gaps = frame(3)
    gaps.iloc[1, 0] = np.nan
    gaps.iloc[2, :] = np.nan
    answer = masking.predict(gaps)
    scaled = (gaps["b"].iloc[1] - RAW[:, 1].mean()) / RAW[:, 1].std()
    distance = np.abs(masking.som.weights.double().numpy().reshape(12, 2)[:, 1] - scaled)
    assert answer["row"].iloc[1] * 3 + answer["col"].iloc[1] == distance.argmin()
    assert answer["quantization_error"].iloc[1] == pytest.approx(np.sqrt(2) * distance.min(), rel=1e-4)
    assert answer.iloc[2][["row", "col", "cluster"]].tolist() == [-1, -1, -1]
    assert np.isnan(answer["quantization_error"].iloc[2])
    gaps.iloc[0, 0] = np.inf
    with pytest.raises(ModelError, match="must not be infinite, got such values in 1 rows: a in 1"):
        masking.predict(gaps)


def test_absent_and_textual_columns_are_named(model: MapModel) -> None:
    with pytest.raises(ModelError, match="must have the columns a, b; absent: a"):
        model.predict(frame()[["b"]])
    with pytest.raises(ModelError, match="column a must hold numbers, got the type"):
        model.predict(frame().assign(a="x"))


def test_a_saved_model_answers_the_same(model: MapModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    pd.testing.assert_frame_equal(MapModel.load(tmp_path / "m").predict(frame()), model.predict(frame()))


def test_a_saved_model_is_json_and_safetensors_only(model: MapModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    files = {str(path.relative_to(tmp_path / "m")) for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert files == {"manifest.json", "scaler.json", "clusters.json", "som/config.json", "som/weights.safetensors"}


def test_the_same_model_has_the_same_digest(model: MapModel, masking: MapModel, tmp_path: Path) -> None:
    digests = [m.save(tmp_path / str(i)) for i, m in enumerate((model, model, masking))]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", ["scaler.json", "clusters.json", "som/config.json", "som/weights.safetensors"])
def test_a_file_that_changed_or_is_gone_is_named(model: MapModel, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "m")
    content = (tmp_path / "m" / name).read_bytes()
    (tmp_path / "m" / name).write_bytes(content.replace(b"1", b"2", 1))
    with pytest.raises(ModelError, match=f"is damaged: {name} changed or missing"):
        MapModel.load(tmp_path / "m")
    (tmp_path / "m" / name).unlink()
    with pytest.raises(ModelError, match=f"is damaged: {name} changed or missing"):
        MapModel.load(tmp_path / "m")


def test_a_folder_without_a_model_and_a_newer_format_are_told(model: MapModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model: manifest\.json is missing"):
        MapModel.load(tmp_path)
    model.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ModelError, match="must be of format 1 or 2 or 3, got 99: update som-pipelines"):
        MapModel.load(tmp_path / "m")
    (tmp_path / "m" / "manifest.json").write_text("{")
    with pytest.raises(ModelError, match=r"manifest\.json is damaged"):
        MapModel.load(tmp_path / "m")


def test_parts_that_do_not_fit_together_are_refused(model: MapModel, tmp_path: Path) -> None:
    MapModel(model.som, model.scaler, torch.arange(5)).save(tmp_path / "m")
    with pytest.raises(ModelError, match="12 neurons and 2 features, 5 cluster labels and 2 scaled features"):
        MapModel.load(tmp_path / "m")


# ---------------------------------------------------------------- how surely a row is in its cluster


def test_answers_have_the_strength_of_the_neuron_and_no_cluster_beyond_its_reach(
    model: MapModel, tmp_path: Path
) -> None:
    sure, distance = torch.arange(12).double() / 12, model.predict(frame())["quantization_error"]
    reach = torch.full((12,), float(np.sort(distance)[-4]), dtype=torch.float64)
    sure_model = replace(model, strength=sure, reach=reach)
    digest = sure_model.save(tmp_path / "m")
    answer, plain = MapModel.load(tmp_path / "m", digest).predict(frame()), model.predict(frame())
    assert list(answer.columns) == list(sure_model.outputs) == [*plain.columns, "strength"]
    away = (distance > float(reach[0])).to_numpy()
    assert away.sum() == 3
    assert (answer["cluster"][away] == -1).all()
    assert (answer["strength"][away] == 0).all()
    np.testing.assert_array_equal(answer["cluster"][~away], plain["cluster"][~away])
    np.testing.assert_array_equal(answer["strength"][~away], (plain["cluster"][~away] - 1) / 12)
    assert list(sure_model.predict(frame(0)).columns) == list(answer.columns)


def test_the_reach_of_a_neuron_is_what_one_in_a_thousand_normal_rows_exceeds() -> None:
    rows = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    som = SOM(3, 3, 2)
    som.fit(rows, verbose=False)
    reach, found = reach_of(som), som.winners(rows, distances=True)
    assert reach is not None
    beyond = found.distance[:, 0].double() > reach[found.index[:, 0]]
    assert torch.equal(beyond, som.is_anomaly(rows, OFF_MAP))
    assert beyond.sum() <= 3
    som.fit(rows[:500], verbose=False)
    assert reach_of(som) is None  # too few to know
    assert reach_of(SOM(3, 3, 2)) is None


def test_numbers_of_neurons_that_are_damaged_are_refused(model: MapModel, tmp_path: Path) -> None:
    replace(model, strength=torch.ones(5)).save(tmp_path / "m")
    with pytest.raises(ModelError, match=r"clusters\.json.*strength must be a list of 12 numbers"):
        MapModel.load(tmp_path / "m")


# ---------------------------------------------------------------- with local models


def with_targets(model: MapModel, *names: str) -> MapModel:
    samples = model.scaler.transform(RAW)
    times = pl.Series("time", [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(len(RAW))])
    targets = {name: (i + 1) * RAW[:, 0] + RAW[:, 1] / 50 for i, name in enumerate(names)}
    rows = Labelled(samples, targets, times, np.arange(len(RAW)))
    local = fit_local_models(model.som, rows, JITLConfig(experts="pure"), seed=1)
    return replace(model, local=local)


@pytest.fixture(scope="module")
def predicting(model: MapModel) -> MapModel:
    return with_targets(model, "y")


def test_local_models_answer_scaled_rows_beside_the_map(model: MapModel, predicting: MapModel) -> None:
    answer = predicting.predict(frame())
    pd.testing.assert_frame_equal(answer[list(model.outputs)], model.predict(frame()))
    assert predicting.local is not None
    scaled = ((frame().to_numpy() - RAW.mean(axis=0)) / RAW.std(axis=0)).astype(np.float32)
    expected = predicting.local.details("y", scaled)
    np.testing.assert_allclose(answer["prediction"], expected.prediction, rtol=1e-6)
    np.testing.assert_array_equal(answer["fallback"], expected.fallback)
    error = answer["prediction"] - (frame()["a"] + frame()["b"] / 50)
    assert error.abs().median() < 0.2  # the target is linear, and so is every local model


def test_answers_of_local_models_have_their_own_columns_and_types(predicting: MapModel, model: MapModel) -> None:
    kinds = ["float64", "float64", "float64", "float64", "bool"]
    for rows in (3, 0):
        answer = predicting.predict(frame(rows))
        assert list(answer.columns) == list(predicting.outputs)
        assert [str(dtype) for dtype in answer.dtypes] == ["int64", "int64", "float64", "int64", *kinds]
    several = with_targets(model, "y", "z").predict(frame(3))
    assert list(several.columns)[4:] == [
        f"{kind}_{target}" for target in "yz" for kind in ("prediction", "lower", "upper", "n_samples", "fallback")
    ]


def test_local_models_refuse_gaps_like_their_map_and_take_them_with_a_masking_one(
    predicting: MapModel, masking: MapModel
) -> None:
    gaps = frame(3)
    gaps.iloc[1, 0] = np.nan
    gaps.iloc[2, :] = np.nan
    with pytest.raises(ModelError, match="must not be null, NaN or infinite, got such values in 2 rows"):
        predicting.predict(gaps)
    answer = with_targets(masking, "y").predict(gaps)
    assert np.isfinite(answer["prediction"].iloc[1])
    assert answer[["prediction", "lower", "upper"]].iloc[2].isna().all()
    assert bool(answer["fallback"].iloc[2])


def test_a_saved_model_keeps_its_local_models_and_their_watermark(predicting: MapModel, tmp_path: Path) -> None:
    predicting.save(tmp_path / "m")
    loaded = MapModel.load(tmp_path / "m")
    pd.testing.assert_frame_equal(loaded.predict(frame()), predicting.predict(frame()))
    assert loaded.watermark == predicting.watermark == "2024-01-04T07:00:00.000000+00:00"


def test_a_changed_local_model_is_damage(predicting: MapModel, tmp_path: Path) -> None:
    predicting.save(tmp_path / "m")
    (tmp_path / "m" / "local" / "local.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is damaged: local/local\.json changed or missing"):
        MapModel.load(tmp_path / "m")


def test_local_models_of_another_map_are_refused(predicting: MapModel, tmp_path: Path) -> None:
    other = make_model(x=2, y=2)
    MapModel(other.som, other.scaler, torch.arange(4), predicting.local).save(tmp_path / "m")
    with pytest.raises(ModelError, match="local models on the map of 4 neurons and 2 features, got y on 12 and 2"):
        MapModel.load(tmp_path / "m")


def test_a_model_of_format_1_is_read(model: MapModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
    (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    loaded = MapModel.load(tmp_path / "m")
    assert (loaded.local, loaded.watermark) == (None, None)
    pd.testing.assert_frame_equal(loaded.predict(frame()), model.predict(frame()))


def test_a_profile_of_training_comes_back_exactly_and_is_guarded_like_the_rest(model: MapModel, tmp_path: Path) -> None:
    placed = AssignedRows(dict(zip(FEATURES, RAW.T, strict=True)), np.arange(80) % 12, np.linspace(0.1, 1, 80))
    profile = training_profile(model.som.grid, placed)
    replace(model, profile=profile).save(tmp_path / "with")
    assert MapModel.load(tmp_path / "with").profile == profile
    model.save(tmp_path / "without")
    assert MapModel.load(tmp_path / "without").profile is None
    (tmp_path / "with" / "profile.json").write_text("{}")
    with pytest.raises(ModelError, match=r"profile\.json changed or missing"):
        MapModel.load(tmp_path / "with")


@pytest.mark.parametrize("name", ["manifest.json", "scaler.json", "clusters.json", "som/config.json"])
@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "3",
        '{"format": 2}',
        '{"format": 2, "files": 3}',
        '{"format": 2, "files": {}}',
        '{"format": [2], "files": {}}',
        '{"format": 2, "files": {"a": 1}}',
        '{"labels": [1.5]}',
        '{"labels": null}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_odd_content_is_refused_in_one_line_that_names_the_place(
    model: MapModel, tmp_path: Path, name: str, content: str
) -> None:
    model.save(tmp_path / "m")
    (tmp_path / "m" / name).write_text(content)
    if name != "manifest.json":  # as somebody would who writes a bundle by hand
        manifest = json.loads((tmp_path / "m" / "manifest.json").read_text())
        manifest["files"][name] = hashlib.sha256(content.encode()).hexdigest()
        (tmp_path / "m" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=str(tmp_path / "m")) as caught:
        MapModel.load(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_an_example_comes_back_and_is_guarded_like_the_rest(model: MapModel, tmp_path: Path) -> None:
    rows = pd.DataFrame({"a": [1.5, np.nan, 3.0], "text": ["x", None, "y"], "on": [True, False, True]})
    digest = model.save(tmp_path / "m", rows)
    MapModel.load(tmp_path / "m", digest)
    found = read_example(tmp_path / "m")
    assert found is not None
    assert found.astype(object).where(found.notna(), None).values.tolist() == [
        [1.5, "x", True],
        [None, None, False],
        [3.0, "y", True],
    ]
    (tmp_path / "m" / "example.json").write_text('{"a": [1], "b": [1, 2]}')
    with pytest.raises(ModelError, match=r"example\.json changed or missing"):
        MapModel.load(tmp_path / "m", digest)
    with pytest.raises(ModelError, match=r"example\.json is damaged"):
        read_example(tmp_path / "m")
    model.save(tmp_path / "without")
    assert read_example(tmp_path / "without") is None


def test_a_file_that_the_manifest_does_not_list_and_another_manifest_are_refused(
    model: MapModel, tmp_path: Path
) -> None:
    digest = model.save(tmp_path / "m")
    assert MapModel.load(tmp_path / "m", digest).features == FEATURES
    with pytest.raises(ModelError, match="not the manifest that was registered"):
        MapModel.load(tmp_path / "m", "0" * 64)
    (tmp_path / "m" / "more.json").write_text("{}")
    with pytest.raises(ModelError, match=r"manifest\.json does not list more\.json"):
        MapModel.load(tmp_path / "m")


@pytest.mark.parametrize("value", [1e308, -1e308, 1e30])
def test_rows_beyond_what_float32_can_measure_are_refused(model: MapModel, masking: MapModel, value: float) -> None:
    for each in (model, masking):
        with pytest.raises(ModelError, match=r"near enough to the training data for distances in float32, .* a in 1"):
            each.predict(frame(3).assign(a=[value, 0.0, 0.0]))

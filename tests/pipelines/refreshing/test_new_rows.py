from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.errors import ConfigError, DatasetError, ModelError
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.refreshing.new_rows import NewRows, find_new_rows, require_dated_models
from tests.pipelines.refreshed import KNOWN, ROWS, local_of, refresh_config, trained, write_rows

NEW = ROWS[KNOWN : KNOWN + 24]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MapModel:
    return trained(refresh_config(write_rows(tmp_path_factory.mktemp("data"), ROWS[:KNOWN])))[0]


def found(model: MapModel, folder: Path, new: pl.DataFrame, **sections: Any) -> NewRows:
    """What has come where these rows were added to the known ones."""
    write_rows(folder, ROWS[:KNOWN])
    config = refresh_config(write_rows(folder, new, "new"), **sections)
    return find_new_rows(model, local_of(model), config)


def without(target: str, *positions: int) -> pl.Expr:
    return pl.when(~pl.int_range(pl.len()).is_in(positions)).then(target).alias(target)


def test_rows_newer_than_the_watermark_are_new(model: MapModel, tmp_path: Path) -> None:
    new_rows = found(model, tmp_path, NEW)
    assert (new_rows.new, new_rows.few) == ({"y": 24, "z": 24}, {})
    assert (new_rows.unlabelled, new_rows.late) == ({"y": 0, "z": 0}, {"y": 0, "z": 0})
    np.testing.assert_array_equal(new_rows.dataset.features, NEW.select("a", "b", "c").to_numpy())
    np.testing.assert_array_equal(new_rows.samples.targets["z"], NEW["z"])
    assert new_rows.samples.moments is not None
    assert new_rows.samples.moments.to_list() == NEW["time"].to_list()
    scaled = (NEW.select("a", "b", "c").to_numpy() - model.scaler.center) / model.scaler.scale
    np.testing.assert_allclose(new_rows.samples.samples, scaled, rtol=1e-6)


def test_where_nothing_has_come_nothing_is_new(model: MapModel, tmp_path: Path) -> None:
    new_rows = found(model, tmp_path, NEW[:0])
    assert (len(new_rows.samples), new_rows.new, new_rows.few) == (0, {}, {})
    assert new_rows.late == {"y": 0, "z": 0}


def test_rows_without_a_value_wait_for_it(model: MapModel, tmp_path: Path) -> None:
    new_rows = found(model, tmp_path, NEW.with_columns(without("y", 20, 21, 22, 23), without("z", 22, 23)))
    assert new_rows.new == {"y": 20, "z": 22}
    assert new_rows.unlabelled == {"y": 4, "z": 2}
    assert len(new_rows.samples) == 22
    assert np.isnan(new_rows.samples.targets["y"][20:]).all()


def test_what_one_target_knows_already_is_not_new_to_it(tmp_path: Path) -> None:
    folder, late = tmp_path / "data", ROWS[:KNOWN].with_columns(without("z", *range(220, KNOWN)))
    model = trained(refresh_config(write_rows(folder, late)))[0]
    new_rows = found(model, folder, NEW)  # the values of z are there now
    assert new_rows.new == {"y": 24, "z": 44}
    assert np.isnan(new_rows.samples.targets["y"]).sum() == 20
    assert new_rows.late == {"y": 0, "z": 0}


def test_fewer_rows_than_can_be_judged_wait_for_more(model: MapModel, tmp_path: Path) -> None:
    new_rows = found(model, tmp_path, NEW.with_columns(without("z", *range(9))), refresh={"fewest_rows": 16})
    assert (new_rows.new, new_rows.few) == ({"y": 24}, {"z": 15})
    assert np.isnan(new_rows.samples.targets["z"]).all()
    assert (len(found(model, tmp_path, NEW[:9]).samples), found(model, tmp_path, NEW[:10]).new["y"]) == (0, 10)


def test_values_that_come_after_those_of_newer_rows_are_late(model: MapModel, tmp_path: Path) -> None:
    # Between known hours, at a known hour once more, and before everything that is known.
    late = pl.concat([ROWS[:2], ROWS[100:101], ROWS[:1]])
    times = [datetime(2024, 1, 5, 3, 30), datetime(2024, 1, 6, 7, 15), ROWS["time"][100], datetime(2023, 12, 1)]
    late = late.with_columns(time=pl.Series(times, dtype=pl.Datetime("us")))
    new_rows = found(model, tmp_path, pl.concat([NEW, late.with_columns(without("z", 1))]))
    assert new_rows.late == {"y": 3, "z": 2}
    assert new_rows.new == {"y": 24, "z": 24}


def test_rows_that_were_forgotten_are_not_late(tmp_path: Path) -> None:
    forgetful = {"jitl": {"keep_days": 4}}
    model = trained(refresh_config(write_rows(tmp_path / "data", ROWS[:KNOWN]), **forgetful))[0]
    assert found(model, tmp_path / "data", NEW, **forgetful).late == {"y": 0, "z": 0}


def test_late_rows_cannot_be_told_where_neurons_forget_and_it_is_said(model: MapModel, tmp_path: Path) -> None:
    new_rows = found(model, tmp_path, NEW, jitl={"per_neuron": 3})
    assert new_rows.late == {"y": None, "z": None}
    assert new_rows.remarks == [
        "late rows are not counted: with jitl.per_neuron they cannot be distinguished from forgotten rows"
    ]
    assert "rows/late/y" not in new_rows.metrics({"y": "y", "z": "z"})


def test_incomplete_rows_are_neither_new_nor_late_where_they_are_left_out(tmp_path: Path) -> None:
    rows, complete = ROWS.with_columns(without("b", 5, KNOWN + 1)), {"data": {"drop_incomplete": True}}
    model = trained(refresh_config(write_rows(tmp_path / "data", rows[:KNOWN]), **complete))[0]
    write_rows(tmp_path / "data", rows[KNOWN : KNOWN + 24], "new")
    new_rows = find_new_rows(model, local_of(model), refresh_config(tmp_path / "data", **complete))
    assert (new_rows.new, new_rows.late) == ({"y": 23, "z": 23}, {"y": 0, "z": 0})


@pytest.mark.parametrize(
    "changed",
    [
        {"data": {"features": ["c", "b", "a"]}},
        {"data": {"features": ["*"], "target": ["z", "y"]}},
    ],
)
def test_features_and_targets_are_those_of_the_version(model: MapModel, tmp_path: Path, changed: Any) -> None:
    new_rows, other = found(model, tmp_path, NEW), found(model, tmp_path, NEW, **changed)
    np.testing.assert_array_equal(other.samples.samples, new_rows.samples.samples)
    assert other.dataset.sha256 == new_rows.dataset.sha256


def test_a_target_without_model_is_told(model: MapModel, tmp_path: Path) -> None:
    alone = MapModel(model.som, model.scaler, model.clusters, LocalModels({"y": local_of(model).regressors["y"]}))
    (remark,) = found(alone, tmp_path, NEW).remarks
    assert remark == "what serves has no local model of z: som train or som retrain makes one"


@pytest.mark.parametrize("dtype", [pl.Datetime("us", "America/New_York"), pl.Datetime("ms", "UTC")])
def test_times_are_told_apart_in_any_zone(model: MapModel, tmp_path: Path, dtype: pl.Datetime) -> None:
    zoned = ROWS[: KNOWN + 24].with_columns(pl.col("time").dt.replace_time_zone("UTC").cast(dtype))
    config = refresh_config(write_rows(tmp_path, zoned))
    new_rows = find_new_rows(model, local_of(model), config)
    assert (new_rows.new, new_rows.late) == ({"y": 24, "z": 24}, {"y": 0, "z": 0})


def test_the_digest_is_of_what_would_be_learned(model: MapModel, tmp_path: Path) -> None:
    digest = found(model, tmp_path, NEW).dataset.sha256
    waiting = ROWS[KNOWN + 24 : KNOWN + 30].with_columns(y=pl.lit(None, pl.Float64), z=pl.lit(None, pl.Float64))
    assert found(model, tmp_path, pl.concat([NEW, waiting])).dataset.sha256 == digest
    for other in (NEW[1:], NEW.with_columns(a=pl.col("a") * 2), NEW.with_columns(without("y", 3))):
        assert found(model, tmp_path, other).dataset.sha256 != digest


def test_values_that_the_map_does_not_take_are_refused_with_their_column(model: MapModel, tmp_path: Path) -> None:
    for column in ("b", "y"):
        broken = NEW.with_columns(pl.when(pl.int_range(pl.len()) == 3).then(np.inf).otherwise(column).alias(column))
        with pytest.raises(DatasetError, match=f"column '{column}' is infinite in 1 of 24 rows"):
            found(model, tmp_path, broken)
    som = model.som.from_config(model.som.config.model_copy(update={"missing": "error"}), num_features=3)
    strict = MapModel(som, model.scaler, model.clusters, model.local)
    with pytest.raises(DatasetError, match=r"1 of 24 rows has missing values .* b in 1"):
        found(strict, tmp_path, NEW.with_columns(without("b", 3)))


def test_new_rows_need_dates(model: MapModel, tmp_path: Path) -> None:
    config, name = refresh_config(write_rows(tmp_path, ROWS)), "demo version 1"
    assert require_dated_models(model, config, name) is model.local
    with pytest.raises(ConfigError, match=r"data\.time must name the column"):
        require_dated_models(model, refresh_config(tmp_path, data={"time": None}), name)
    with pytest.raises(ModelError, match="demo version 1 has no local models to refresh"):
        require_dated_models(MapModel(model.som, model.scaler, model.clusters), config, name)
    numbered = write_rows(tmp_path / "numbered", ROWS.with_columns(time=pl.int_range(pl.len())))
    undated = trained(refresh_config(numbered))[0]
    with pytest.raises(ModelError, match="demo version 1 has local models that learned without dates"):
        require_dated_models(undated, config, name)
    with pytest.raises(DatasetError, match=r"data\.time: som refresh recognizes new rows by dates or times, got Int64"):
        find_new_rows(model, local_of(model), refresh_config(numbered))


def test_a_row_an_instant_after_the_watermark_is_new(model: MapModel, tmp_path: Path) -> None:
    instants = [ROWS["time"][KNOWN - 1] + timedelta(microseconds=i) for i in range(1, 11)]
    new_rows = found(model, tmp_path, NEW[:10].with_columns(time=pl.Series(instants, dtype=pl.Datetime("us"))))
    assert new_rows.new == {"y": 10, "z": 10}

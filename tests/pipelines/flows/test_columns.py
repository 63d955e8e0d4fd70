"""One table of texts, hours, dates and gaps through every flow: trained, refreshed, retrained, asked, checked."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest

from pipelines.errors import ModelError
from pipelines.flows import refresh_flow, retrain_flow, train_flow
from pipelines.model.map_model import MapModel
from pipelines.publishing.train_result import TrainResult
from pipelines.refreshing.refresh_result import RefreshResult
from pipelines.retraining.retrain_result import RetrainResult
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry, servable
from tests.pipelines.flows.conftest import opened

ROWS, FIRST = 420, 260
COLUMNS: dict[str, Any] = {
    "hour": {"kind": "cyclic", "period": 24},
    "city": "category",
    "grade": {"kind": "ordinal", "order": ["low", "mid", "high"]},
    "open": "boolean",
    "when": {"kind": "time", "parts": ["day_of_week"]},
    "before": {"kind": "lag", "of": "y", "by": "24h"},
}
ASKED = {
    "temp": 3.0, "hour": 23, "city": "Rome", "grade": "mid", "open": True, "when": "2024-01-05T23:00:00", "before": 2.0
}  # fmt: skip


def rows() -> pl.DataFrame:
    """Hourly rows with gaps, and of the last 100 some of a city that was not there before."""
    random = np.random.default_rng(0)
    when = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 30), "1h", eager=True)[:ROWS]
    city = np.where(random.random(ROWS) < 0.6, "Rome", "Oslo")
    city[-100::3] = "Bonn"
    hour = when.dt.hour().to_numpy().astype(np.float64)
    temp = 5 * np.cos(2 * np.pi * hour / 24) + random.normal(size=ROWS)
    frame = pl.DataFrame({"when": when, "hour": hour, "city": city, "temp": temp}).with_columns(
        grade=pl.Series(random.choice(["low", "mid", "high"], ROWS)),
        open=pl.Series(random.random(ROWS) < 0.5),
        y=pl.Series(temp + 4 * (city == "Rome") + random.normal(size=ROWS) * 0.2),
    )
    return frame.with_columns(
        pl.when(pl.Series(random.random(ROWS) < 0.04)).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("hour", "city", "grade", "open", "temp")
    )


def experiment(path: Path) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "mixed",
            "data": {
                "path": str(path), "features": ["temp", *COLUMNS], "columns": COLUMNS, "target": "y", "time": "when"
            },
            "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch", "missing": "mask"},
            "jitl": {"experts": "pure"},
            "refresh": {"rmse_ratio": None},  # a new city is predicted badly, and this is not about acceptance
            "runtime": {"checkpoint_seconds": 0},
        }
    )  # fmt: skip


class Story:
    """What the flows made of the table, one after the other."""

    trained: TrainResult
    refreshed: RefreshResult
    retrained: RetrainResult
    artifacts: Path


@pytest.fixture(scope="module")
def story(_empty_store: Path, prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with opened(tmp_path_factory.mktemp("mixed"), _empty_store, _empty_store.parent) as shop:
        story, path = Story(), shop.folder / "data.parquet"
        rows()[:FIRST].write_parquet(path)
        story.trained = train_flow(experiment(path))
        rows().write_parquet(path)
        story.refreshed = refresh_flow(experiment(path))
        story.retrained = retrain_flow(experiment(path))
        story.artifacts = Path(mlflow.artifacts.download_artifacts(run_id=story.trained.run_id))
        yield story


def model(version: str) -> MapModel:
    return servable.load(registry.find("mixed", version)).model


def test_a_map_of_such_columns_is_trained_and_read_back_in_them(story: Story) -> None:
    planes = pl.read_parquet(story.artifacts / "maps/component_planes.parquet")
    assert planes.columns == [
        "row", "col", "temp", "hour", "city=Oslo", "city=Rome", "grade", "open", "when day_of_week", "before"
    ]  # fmt: skip
    assert planes["hour"].is_between(0, 24).all()
    np.testing.assert_allclose(planes["city=Oslo"] + planes["city=Rome"], 1, atol=1e-4)
    everything = pl.read_parquet(story.artifacts / "cluster_profiles.parquet").filter(
        pl.col("cluster").is_null(), pl.col("role") == "feature"
    )
    assert everything["column"].to_list() == planes.columns[2:]
    known = rows()[:FIRST].sort("when")[: story.trained.rows["train"]]
    means = dict(zip(everything["column"], everything["row_mean"], strict=True))
    assert means["city=Rome"] == pytest.approx(
        known.drop_nulls("city").select(pl.col("city") == "Rome").to_series().mean()
    )
    assert means["temp"] == pytest.approx(known["temp"].mean(), abs=1e-3)
    facts = json.loads((story.artifacts / "facts.json").read_text())["features"]
    assert (facts["hour"]["period"], facts["city=Rome"]["missing"]) == (24, known["city"].null_count())
    assert (story.artifacts / "figures/component_planes.png").is_file()
    assert (story.artifacts / "report.html").is_file()


def test_what_serves_answers_requests_in_the_columns_as_they_are(story: Story) -> None:
    served = mlflow.pyfunc.load_model("models:/mixed/1")
    frame = pl.DataFrame([ASKED, ASKED | {"hour": 23 + 24, "city": "Rome"}, ASKED | {"city": None, "when": None}])
    answer = served.predict(frame.to_pandas())
    assert answer["quantization_error"].iloc[0] == pytest.approx(answer["quantization_error"].iloc[1])
    assert answer["prediction"].notna().all()
    rome, oslo, unknown = (
        served.predict(frame.head(1).with_columns(city=pl.lit(city)).to_pandas())["prediction"].item()
        for city in ("Rome", "Oslo", "Atlantis")
    )
    assert oslo < unknown < rome
    assert rome - oslo == pytest.approx(4, abs=1)


def test_local_models_learn_new_rows_of_such_columns(story: Story) -> None:
    assert story.refreshed.outcome == "promoted", story.refreshed.reasons
    assert model("2").local is not None
    (told,) = [remark for remark in story.refreshed.new_rows.remarks if remark.startswith("city: ")]
    assert "Bonn in" in told
    assert "it is none of those that the model knows" in told
    assert model("2").scaler.to_dict() == model("1").scaler.to_dict()
    dataset = story.refreshed.new_rows.dataset  # the first new rows look back to those that were known
    at = dataset.feature_names.index("before")
    np.testing.assert_allclose(dataset.features[:, at], rows()["y"][FIRST - 24 : ROWS - 24])


def test_a_request_without_a_lag_is_refused_with_what_it_is(story: Story) -> None:
    asked = pl.DataFrame([ASKED]).drop("before")
    with pytest.raises(ModelError, match="absent: before; before is y 24 hours before by when: rows hold it"):
        model("1").predict(asked)
    table = rows().with_columns(when=pl.col("when").dt.to_string("iso"))
    for made in (model("1").with_past(table), model("1").with_past(table.to_pandas())):
        assert model("1").predict(made)["prediction"].notna().all()
        np.testing.assert_array_equal(made["before"].to_numpy()[24:], rows()["y"][:-24])
    with pytest.raises(ModelError, match="input must have the columns when, y; absent: y"):
        model("1").with_past(table.drop("y"))


def test_a_challenger_may_know_categories_that_the_champion_does_not(story: Story) -> None:
    assert story.retrained.evaluation is not None
    assert model("3").scaler.readable[2:5] == ("city=Bonn", "city=Oslo", "city=Rome")
    assert model("2").scaler.readable[2:4] == ("city=Oslo", "city=Rome")
    compared = {each.metric: each for each in story.retrained.evaluation.verdict.comparisons}
    for name in ("qe", "jitl/y/rmse"):
        assert np.isfinite([compared[name].champion, compared[name].challenger]).all()


def test_drift_is_told_in_the_columns_as_they_are(story: Story) -> None:
    run = mlflow.get_run(story.retrained.run_id)
    drifted = {name.removeprefix("drift/feature/") for name in run.data.metrics if name.startswith("drift/feature/")}
    assert drifted == {"temp", "hour", "city", "grade", "open", "when day_of_week", "before"}
    assert run.data.metrics["drift/feature/city"] > 1  # a third of the newest rows is of a new one
    assert "city: stability index" in run.data.tags["som.drift"]
    assert "drift/mean/city" not in run.data.metrics
    assert "drift/mean/hour" not in run.data.metrics

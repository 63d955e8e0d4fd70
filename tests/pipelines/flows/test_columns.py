"""The example of `docs/data.md`, which has every kind of column, trained, refreshed, retrained and asked."""

import itertools
import json
import textwrap
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import mlflow
import numpy as np
import polars as pl
import pytest
import yaml

from pipelines.errors import ModelError
from pipelines.model.map_model import MapModel
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry, servable
from tests.pipelines.conftest import REPOSITORY
from tests.pipelines.flows.conftest import opened
from tests.pipelines.flows.story import Story

ROWS, FIRST = 420, 260


def block(begins: str) -> str:
    """The block of the page that begins so."""
    page = (REPOSITORY / "docs" / "data.md").read_text(encoding="utf-8")
    lines = page[page.index(begins) :].splitlines()
    return textwrap.dedent("\n".join(itertools.takewhile(str.strip, lines)))


EXAMPLE = yaml.safe_load(block("    name: shop"))
FEATURES = EXAMPLE["data"]["features"]
(ASKED,) = json.loads(block('    {"dataframe_records"'))["dataframe_records"]


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
        price=pl.Series([f"{value:.2f}" for value in random.uniform(4, 6, ROWS)]),
        sales=pl.Series(temp + 4 * (city == "Rome") + random.normal(size=ROWS) * 0.2),
    )
    return frame.with_columns(
        pl.when(pl.Series(random.random(ROWS) < 0.04)).then(None).otherwise(pl.col(name)).alias(name)
        for name in ("hour", "city", "grade", "open", "temp")
    )


def experiment(path: Path) -> PipelineConfig:
    quick = {
        "som": EXAMPLE["som"] | {"x": 4, "y": 3, "epochs": 3},
        "jitl": {"experts": "pure"},
        "refresh": {"rmse_ratio": None},  # a new city is predicted badly, and this is not about acceptance
        "runtime": {"checkpoint_seconds": 0},
    }
    return PipelineConfig.model_validate(EXAMPLE | quick | {"data": EXAMPLE["data"] | {"path": str(path)}})


@pytest.fixture(scope="module")
def story(_empty_store: Path, prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with opened(tmp_path_factory.mktemp("shop"), _empty_store, _empty_store.parent) as shop:
        yield Story.of(shop, rows(), FIRST, experiment)


def model(version: str) -> MapModel:
    return servable.load(registry.find("shop", version)).model


def test_a_map_of_such_columns_is_trained_and_read_back_in_them(story: Story) -> None:
    planes = pl.read_parquet(story.artifacts / "maps/component_planes.parquet")
    assert planes.columns == [
        "row", "col", "temp", "price", "hour", "city=Oslo", "city=Rome", "grade", "open", "when day_of_week",
        "yesterday", "last_days",
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
    served = mlflow.pyfunc.load_model("models:/shop/1")
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
    at = dataset.feature_names.index("yesterday")
    np.testing.assert_allclose(dataset.features[:, at], rows()["sales"][FIRST - 24 : ROWS - 24])


def test_a_request_without_a_lag_is_refused_with_what_it_is(story: Story) -> None:
    asked = pl.DataFrame([ASKED]).drop("yesterday")
    with pytest.raises(ModelError, match="absent: yesterday; yesterday is sales 24 hours before by when: rows hold it"):
        model("1").predict(asked)
    table = rows().with_columns(when=pl.col("when").dt.to_string("iso"))
    for made in (model("1").with_past(table), model("1").with_past(table.to_pandas())):
        assert model("1").predict(made)["prediction"].notna().all()
        np.testing.assert_array_equal(made["yesterday"].to_numpy()[24:], rows()["sales"][:-24])
    with pytest.raises(ModelError, match="input must have the columns when, sales, temp; absent: sales"):
        model("1").with_past(table.drop("sales"))


def test_a_challenger_may_know_categories_that_the_champion_does_not(story: Story) -> None:
    assert story.retrained.evaluation is not None
    assert model("3").scaler.readable[3:6] == ("city=Bonn", "city=Oslo", "city=Rome")
    assert model("2").scaler.readable[3:5] == ("city=Oslo", "city=Rome")
    compared = {each.metric: each for each in story.retrained.evaluation.verdict.comparisons}
    for name in ("qe", "jitl/sales/rmse"):
        assert np.isfinite([compared[name].champion, compared[name].challenger]).all()


def test_drift_is_told_in_the_columns_as_they_are(story: Story) -> None:
    run = mlflow.get_run(story.retrained.run_id)
    drifted = {name.removeprefix("drift/feature/") for name in run.data.metrics if name.startswith("drift/feature/")}
    assert drifted == {"when day_of_week" if name == "when" else name for name in FEATURES}
    assert run.data.metrics["drift/feature/city"] > 1  # a third of the newest rows is of a new one
    assert "city: stability index" in run.data.tags["som.drift"]
    assert "drift/mean/city" not in run.data.metrics
    assert "drift/mean/hour" not in run.data.metrics

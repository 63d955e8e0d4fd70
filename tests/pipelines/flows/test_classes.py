"""One table with a text, a boolean, whole numbers and a measured value to predict, through every flow."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest

from pipelines.model.map_model import MapModel
from pipelines.report.steps import stored_content
from pipelines.serving.invocation import write_json, write_records
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry, servable
from pipelines.store.tracking import TrackedRun
from tests.pipelines.flows.conftest import opened
from tests.pipelines.flows.story import Story

ROWS, FIRST = 400, 280
TARGETS = ("kind", "hot", "level", "y")


def rows() -> pl.DataFrame:
    """Hourly rows: `kind` lacks some labels, and a third of the last 60 are of a kind that was not there before."""
    random = np.random.default_rng(0)
    when = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 30), "1h", eager=True)[:ROWS]
    a, b = random.normal(size=(2, ROWS))
    kind = np.where(a + random.normal(size=ROWS) / 4 > 0, "ox", "ape")
    new = (np.arange(ROWS) >= ROWS - 60) & (np.arange(ROWS) % 3 == 0)
    kind, a = np.where(new, "yak", kind), np.where(new, a + 5, a)
    frame = pl.DataFrame({"when": when, "a": a, "b": b, "kind": kind, "hot": b > 0, "level": np.digitize(a, [-1, 1])})
    return frame.with_columns(
        kind=pl.when(pl.int_range(ROWS) % 20 == 7).then(None).otherwise("kind"),
        y=pl.Series(a - b + random.normal(size=ROWS) / 5),
    )


def experiment(path: Path) -> PipelineConfig:
    return PipelineConfig.model_validate(
        {
            "name": "classes",
            "data": {
                "path": str(path), "features": ["a", "b"], "target": TARGETS, "target_kind": {"level": "class"},
                "time": "when"
            },
            "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch"},
            "jitl": {"experts": "pure"},
            "runtime": {"checkpoint_seconds": 0},
            "refresh": {"fallback": 0.9, "coverage": None, "log_loss_ratio": 4.0, "rmse_ratio": 4.0},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def story(_empty_store: Path, prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with opened(tmp_path_factory.mktemp("classes"), _empty_store, _empty_store.parent) as shop:
        yield Story.of(shop, rows(), FIRST, experiment)


def model(version: str) -> MapModel:
    return servable.load(registry.find("classes", version)).model


def test_each_target_is_scored_by_what_it_is(story: Story) -> None:
    metrics = story.trained.metrics
    assert {name.split("/")[1] for name in metrics if name.endswith("/log_loss")} == {"kind", "hot", "level"}
    assert {name.split("/")[1] for name in metrics if name.endswith("/rmse")} == {"y"}
    for target in ("kind", "hot", "level"):
        assert metrics[f"jitl/{target}/log_loss"] < 0.5
        assert metrics[f"jitl/{target}/balanced_accuracy"] > 0.7
    lines = dict(story.trained.lines())
    assert "balanced accuracy" in lines["jitl log loss kind"]
    assert "within their intervals" in lines["jitl rmse y"]


def test_maps_figures_and_the_report_name_the_classes(story: Story) -> None:
    classes = pl.read_parquet(story.artifacts / "maps/target_kind.parquet")
    assert classes.columns == ["row", "col", "class", "rows"]
    known = rows()[: story.trained.rows["train"]].drop_nulls("kind")
    assert dict(classes.group_by("class").agg(pl.col("rows").sum()).iter_rows()) == dict(
        known["kind"].value_counts().iter_rows()
    )
    assert (story.artifacts / "figures/class_kind.png").is_file()
    assert json.loads((story.artifacts / "facts.json").read_text())["classes"]["hot"]["rows"].keys() == {
        "false",
        "true",
    }
    page = (story.artifacts / "report.html").read_text()
    assert "Most frequent kind on each neuron: ape, ox" in page
    assert "True class" in page


def test_the_report_can_be_made_again(story: Story, tmp_path: Path) -> None:
    content = stored_content(TrackedRun(story.trained.run_id), tmp_path)
    assert list(content.classes) == ["kind", "hot", "level"]
    assert content.class_predictions is not None
    assert set(content.class_predictions["target"]) == {"kind", "hot", "level"}


def test_what_serves_answers_with_labels_in_their_own_type(story: Story) -> None:
    served = mlflow.pyfunc.load_model("models:/classes/1")
    asked = pl.DataFrame({"a": [-2.0, 2.0], "b": [1.0, -1.0]})
    answer = served.predict(asked.to_pandas())
    assert answer["prediction_kind"].tolist() == ["ape", "ox"]
    assert answer["prediction_hot"].tolist() == [True, False]
    assert answer["prediction_level"].tolist() == [0, 2]
    np.testing.assert_allclose(answer["probability_kind=ape"] + answer["probability_kind=ox"], 1.0)
    outputs = {column.name: column.type.name for column in served.metadata.signature.outputs.inputs}
    kinds = {"prediction_kind": "string", "prediction_hot": "boolean", "prediction_level": "long"}
    assert kinds.items() <= outputs.items()
    assert list(outputs) == list(answer.columns)
    sent: dict[str, Any] = json.loads(b"".join(write_json([write_records(answer)])))["predictions"][0]
    assert (sent["prediction_kind"], sent["prediction_hot"], sent["prediction_level"]) == ("ape", True, 0)


def test_a_class_that_came_later_is_learned(story: Story) -> None:
    assert story.refreshed.outcome == "promoted", story.refreshed.reasons
    assert story.refreshed.acceptance is not None
    found = story.refreshed.acceptance.metrics
    assert found["prequential/kind/rows_of_new_classes"] > 10
    assert found["reference/kind/log_loss"] == story.trained.metrics["jitl/kind/log_loss"]
    after = model("2").local
    assert after is not None
    assert after.classes["kind"].names == ("ape", "ox", "yak")
    answer = model("2").predict(pl.DataFrame({"a": [5.0], "b": [0.0]}))
    assert answer["prediction_kind"].tolist() == ["yak"]
    assert "log loss kind" in dict(story.refreshed.lines())


def test_a_challenger_is_compared_by_log_loss_and_rmse(story: Story) -> None:
    assert story.retrained.evaluation is not None
    compared = {each.metric: each for each in story.retrained.evaluation.verdict.comparisons}
    for name in ("jitl/kind/log_loss", "jitl/hot/log_loss", "jitl/level/log_loss", "jitl/y/rmse"):
        assert np.isfinite([compared[name].champion, compared[name].challenger]).all()
        assert compared[name].rule is not None


def test_drift_of_predicted_classes_is_measured(story: Story) -> None:
    run = mlflow.get_run(story.retrained.run_id)
    assert {"drift/prediction/kind", "drift/prediction/hot", "drift/prediction/y"} <= run.data.metrics.keys()
    profile = model("1").profile
    assert profile is not None
    assert profile.classes["kind"] == ("ape", "ox")
    assert len(profile.predictions["kind"].counts) == 3

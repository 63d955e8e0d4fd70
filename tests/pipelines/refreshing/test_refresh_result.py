from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.data import Dataset, Survey
from pipelines.data.samples import Labelled
from pipelines.monitoring.drift import DriftReport
from pipelines.refreshing.acceptance import Acceptance, Prequential
from pipelines.refreshing.new_rows import NewRows
from pipelines.refreshing.refresh_result import RefreshResult, idle_reason
from pipelines.store.run_place import RunPlace
from pipelines.store.versions import Version
from pipelines.training.local_scores import Errors

NOTHING = np.empty((0, 1))
ROWS = Labelled(NOTHING.astype(np.float32), {}, None, np.arange(0))
DATASET = Dataset("data", ("a",), ("y",), NOTHING, NOTHING, None, "0" * 64, Survey(0, 0, 0, {}))
ARRIVALS = NewRows(DATASET, ROWS, {"y": 1_024, "z": 30}, {}, {"y": 0, "z": 0}, {"y": 0, "z": 0})
SCORES = {
    "y": Prequential(1_024, Errors(6.87, 5.0, 0.9), 0.917, 12.0, 0.004, 6.8),
    "z": Prequential(30, Errors(2.0, 1.0, np.nan), np.nan, np.nan, 0.0, None),
}
DRIFT = DriftReport("warn", ["a moved", "b moved", "c moved", "d moved"], (), 1_024)
MARKS = ("2024-01-10T23:00:00.000000+00:00", "2024-01-11T23:00:00.000000+00:00")
RESULT = RefreshResult(
    outcome="promoted",
    reasons=["within all limits of refresh"],
    champion=Version("demo", "4"),
    new_rows=ARRIVALS,
    watermarks=MARKS,
    seconds={"fetch": 0.5, "find": 1.25},
    acceptance=Acceptance(SCORES, (), DRIFT, {}),
    run=RunPlace("demo", "abc", "swift-fox", "http://mlflow/#/runs/abc", "mlflow ui"),
    published=Version("demo", "5"),
)


def test_a_promotion_is_told_line_by_line() -> None:
    assert list(RESULT.lines()) == [
        ("verdict", "promoted: within all limits of refresh"),
        ("new rows", "1,024 of y, 30 of z"),
        ("rmse y", "6.87, 1.01 times that of held-out rows; 91.7 % within their intervals, 0.4 % off the map"),
        ("rmse z", "2; no intervals, 0 % off the map"),
        ("drift", "warn: a moved, b moved, c moved and 1 more"),
        ("learned up to", "2024-01-10 23:00:00 UTC to 2024-01-11 23:00:00 UTC"),
        ("seconds", "1.8: fetch 0.5, find 1.2"),
        ("MLflow run", "swift-fox (abc) in demo"),
        ("model", "demo version 5, now champion after 4"),
    ]


def test_what_was_kept_and_what_was_not_learned_is_told() -> None:
    waiting = replace(ARRIVALS, few={"z": 3}, unlabelled={"y": 2, "z": 0}, late={"y": None, "z": 7})
    kept = replace(RESULT, outcome="kept", published=None, watermarks=(MARKS[0], MARKS[0]), new_rows=waiting)
    lines = dict(kept.lines())
    assert lines["model"] == "demo version 4 goes on serving"
    assert lines["learned up to"] == "2024-01-10 23:00:00 UTC"
    assert (lines["too few"], lines["without value"], lines["came late"]) == ("3 of z", "2 of y", "7 of z")


def test_the_table_for_prefect_has_a_link_and_keeps_its_columns() -> None:
    told = replace(RESULT, reasons=["a | b"]).markdown()
    assert "| verdict | promoted: a \\| b |" in told
    assert told.endswith("\n[MLflow run swift-fox](http://mlflow/#/runs/abc)\n")


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        ({}, ""),
        ({"few": {"y": 3}}, ": 3 of y wait for more, refresh.fewest_rows=10 are needed"),
        ({"unlabelled": {"y": 2, "z": 0}}, ": 2 of y wait for their value"),
        (
            {"few": {"y": 3}, "unlabelled": {"y": 0, "z": 5}},
            ": 3 of y wait for more, refresh.fewest_rows=10 are needed; 5 of z wait for their value",
        ),
    ],
)
def test_why_there_is_nothing_to_do_is_one_sentence(waiting: dict[str, Any], told: str) -> None:
    reason = idle_reason(Version("demo", "4"), replace(ARRIVALS, **{"new": {}, **waiting}), MARKS[0], 10)
    assert reason == f"demo version 4 has learned all that it can, up to 2024-01-10 23:00:00 UTC{told}"

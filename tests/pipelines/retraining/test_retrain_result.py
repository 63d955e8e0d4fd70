import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import TrackingError
from pipelines.retraining.decision import Record, decide
from pipelines.retraining.retrain_result import Evaluation, RetrainResult
from pipelines.settings.promotion import PromotionConfig
from pipelines.store.run_life import open_run
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version

RULES = PromotionConfig.model_validate({"rules": [{"metric": "qe", "confidence": None}], "limits": []})
JUDGMENT = Evaluation(decide(Record({"qe": 2.0}), Record({"qe": 1.0, "te": math.nan}), RULES), "3", ("said so",))
RESULT = RetrainResult(
    experiment="demo",
    model="boiler",
    run_id="abc",
    run_name="calm-owl",
    page="http://127.0.0.1:5000/#/runs/abc",
    how_to_open="mlflow ui",
    outcome="promoted",
    reason="qe is better",
    evaluation=JUDGMENT,
    challenger=Version("boiler", "4"),
    champion="4",
    drift="none",
)


@pytest.fixture
def run(store: str, tmp_path: Path) -> TrackedRun:
    (tmp_path / "artifacts").mkdir()
    with open_run("demo", None, {}, None) as run:
        JUDGMENT.write(tmp_path / "artifacts")
        run.files(tmp_path / "artifacts")
        return run


def test_a_judgment_comes_back_from_its_run(run: TrackedRun) -> None:
    found = Evaluation.of_run(run)
    assert (found.champion, found.remarks, found.reason) == ("3", ("said so",), JUDGMENT.reason)
    assert found.verdict.promote
    assert found.verdict.comparisons[0] == JUDGMENT.verdict.comparisons[0]


def test_what_is_not_finite_is_null_in_json(run: TrackedRun, tmp_path: Path) -> None:
    text = (tmp_path / "artifacts" / "verdict.json").read_text()
    assert "NaN" not in text
    (te,) = (each for each in json.loads(text)["comparisons"] if each["metric"] == "te")
    assert (te["champion"], te["challenger"]) == (None, None)


def test_a_run_without_a_verdict_says_so(store: str) -> None:
    with open_run("demo", None, {}, None) as run, pytest.raises(TrackingError, match=r"has no verdict\.json among"):
        Evaluation.of_run(run)


def test_the_page_has_reasons_remarks_and_a_table_of_both_versions() -> None:
    page = JUDGMENT.markdown()
    assert page.startswith("**Better**, evaluated against version 3:\n\n- qe 1 is 50 % lower than the champion's 2")
    assert "| metric | champion | challenger |" in page
    assert "| qe | 2 | 1 | -1 | -50 % |" in page
    assert page.endswith("\nsaid so.\n")


def test_the_summary_says_what_serves_and_how_to_approve_what_waits() -> None:
    assert dict(RESULT.lines()) == {
        "verdict": "promoted: qe is better",
        "serves now": "boiler version 4",
        "challenger": "boiler version 4",
        "drift": "none",
        "MLflow run": "calm-owl (abc) in demo",
    }
    waiting = dict(replace(RESULT, outcome="awaits approval", champion="3").lines())
    assert waiting["to approve"] == "som promote boiler 4"
    skipped = replace(RESULT, outcome="skipped", evaluation=None, challenger=None, champion=None, drift="")
    assert dict(skipped.lines())["serves now"] == "none"
    assert "judged" not in skipped.markdown()
    assert "[MLflow run calm-owl](http://127.0.0.1:5000/#/runs/abc)" in skipped.markdown()

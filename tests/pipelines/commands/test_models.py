import re
from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from pipelines.cli import app
from pipelines.store.registry import publish
from pipelines.store.run_life import open_run
from tests.pipelines.registered import RAW, damage, map_model, register_model

pytestmark = pytest.mark.usefixtures("store")


def som(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def champion() -> str:
    return str(MlflowClient().get_model_version_by_alias("demo", "champion").version)


def test_models_lists_versions_with_what_is_known_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"train_qe": 0.5, "heldout_qe": 0.25, "train_te": 0.0625, "jitl/temp/rmse": 2.25, "jitl/temp/mae": 1.0}
    with open_run("demo", None, {}, None) as run:
        run.metrics(metrics)
        model_id, _ = run.model(map_model(), RAW, step=0)
        for key in "ab":
            publish("demo", model_id, run.run_id, key, {"som.verdict": f"kept-{key}"}, lambda version: None)
    monkeypatch.setenv("COLUMNS", "120")
    lines = [" ".join(line.split()) for line in som("models", "demo").stdout.splitlines()]
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    assert f"2 challenger {day} {run.run_id[:8]} 0.25 6.2% temp 2.25 kept-b" in lines
    assert f"1 champion {day} {run.run_id[:8]} 0.25 6.2% temp 2.25 kept-a" in lines
    monkeypatch.setenv("COLUMNS", "80")
    narrow = som("models", "demo").stdout
    assert "…" not in narrow
    assert max(len(line) for line in narrow.splitlines()) <= 80


def test_columns_that_would_be_empty_are_left_out() -> None:
    register_model("demo", map_model())
    result = som("models", "demo")
    assert "aliases" in result.stdout
    assert "verdict" not in result.stdout
    assert "QE" not in result.stdout


def test_promote_and_rollback_say_what_serves_and_where_back_leads() -> None:
    for _ in range(2):
        register_model("demo", map_model())
    promoted = som("promote", "demo", "2", "--reason", "looks better")
    assert promoted.exit_code == 0, promoted.output
    for text in ("version 2, champion", "version 1", "passed"):
        assert text in promoted.stdout
    assert champion() == "2"
    assert MlflowClient().get_model_version("demo", "2").tags["som.promotion_reason"] == "looks better"
    again = som("rollback", "demo", "--from", "2")
    assert again.exit_code == 0, again.output
    assert "nothing: no version is on record before this one" in again.stdout
    assert champion() == "1"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["models", "other"], 5, "no registered model 'other': there are demo"),
        (["promote", "demo", "7"], 5, "model 'demo' has no version '7': the newest are 1"),
        (["rollback", "demo"], 5, "model 'demo': no version is on record that served before version 1"),
        (
            ["rollback", "demo", "--from", "3"],
            7,
            "model 'demo': version 1 serves by now, not version 3: evaluate again",
        ),
        (
            ["serve", "demo", "--alias", "best"],
            5,
            "no alias 'best': there are challenger (version 1), champion (version 1)",
        ),
    ],
)
def test_what_is_not_there_is_one_line_with_what_is(arguments: list[str], code: int, line: str) -> None:
    register_model("demo", map_model())
    result = som(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.count("error: ") == 1
    assert line in result.stderr
    assert champion() == "1"


def test_a_version_that_fails_its_smoke_test_is_not_promoted() -> None:
    register_model("demo", map_model())
    damage(register_model("demo", map_model()).uri)
    result = som("promote", "demo", "2")
    assert result.exit_code == 5
    assert "error: demo version 2 cannot be served: " in result.stderr
    assert champion() == "1"


def test_prune_lists_what_may_go_and_deletes_only_where_that_is_asked_for() -> None:
    for _ in range(3):
        register_model("demo", map_model())
    young = som("prune", "demo", "--keep", "1")
    assert (young.exit_code, young.stdout) == (0, "som prune: demo: no version may go\n")
    for _ in range(2):
        listed = som("prune", "demo", "--keep", "1", "--days", "0")
        assert listed.exit_code == 0, listed.output
        assert re.search(r"som prune: demo: 1 version, 0\.\d MB may go", listed.stdout)
        assert "note: nothing was deleted: --delete does it" in listed.stdout
    deleted = som("prune", "demo", "--keep", "1", "--days", "0", "--delete")
    assert re.search(r"1 version, 0\.\d MB deleted", deleted.stdout)
    assert [str(each.version) for each in MlflowClient().search_model_versions("name = 'demo'")] == ["3", "1"]
    assert som("prune", "nothing").exit_code == 5

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
from prefect.artifacts import Artifact
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import ChampionChanged, DatasetError, ModelError, SmokeTestError
from pipelines.flows import refresh as flow_module
from pipelines.flows import refresh_tasks as tasks
from pipelines.flows.refresh import refresh_flow
from pipelines.model.map_model import MapModel
from pipelines.progress import listening
from pipelines.store import registry, servable
from pipelines.store.connection import tracking_store
from pipelines.store.versions import Version
from tests.pipelines.flows.refresh_process import STAGES
from tests.pipelines.refreshed import (
    LATER,
    NEW,
    ROWS,
    Served,
    Trained,
    alias,
    first_version,
    local_of,
    predicted,
    published,
    refresh_config,
    retrain_meanwhile,
    runs,
    served_in,
)
from tests.pipelines.test_progress import Recorder

pytestmark = pytest.mark.usefixtures("prefect_api")

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def training(_empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return first_version(_empty_store, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def served(training: Trained, store: str, tmp_path: Path) -> Served:
    return served_in(training, tmp_path)


def refreshed(version: Version | None = None, name: str = "demo") -> MapModel:
    """The model of a version, or of the one that serves."""
    folder = Path.cwd() / "fetched" / os.urandom(4).hex()
    folder.mkdir(parents=True)
    return servable.fetch(version or registry.holding(name, "champion"), folder)


# ---------------------------------------------------------------- learning


def test_new_rows_are_judged_learned_and_published(served: Served) -> None:
    served.add(NEW, "new")
    recorder = Recorder()
    with listening(recorder):
        result = refresh_flow(served.config())
    assert [heard[1] for heard in recorder.heard if isinstance(heard, tuple) and heard[0] == "started"] == [*STAGES]
    assert result.outcome == "promoted"
    assert result.published is not None
    assert (result.published.version, result.published.aliases) == ("2", ("champion",))
    (run,) = runs()
    assert (run.info.run_id, run.info.status) == (result.run and result.run.run_id, "FINISHED")
    error = predicted(served.trained.model, NEW) - NEW["y"].to_numpy()
    assert run.data.metrics["prequential/y/rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert run.data.metrics["reference/y/rmse"] == served.trained.metrics["jitl/y/rmse"]
    assert {f"seconds/{stage}" for stage in STAGES} <= set(run.data.metrics)
    # 72 since the fit: 48 held-out rows of training, and these.
    assert result.refits == dict.fromkeys("yz", "72 rows learned since the last fit, which knew 192")
    assert run.data.metrics["refits"] == 2
    assert "| fitted anew | y: 72 rows learned since the last fit, which knew 192 |" in result.markdown()
    facts = {
        "som.kind": "refresh",
        "som.parent_version": "1",
        "som.map_version": "1",
        "som.rows": "24",
        "som.watermark_before": "2024-01-10T23:00:00.000000+00:00",
        "som.watermark": "2024-01-11T23:00:00.000000+00:00",
    }
    assert facts.items() <= result.published.tags.items()
    assert facts.items() <= run.data.tags.items()
    assert run.data.tags["som.verdict"] == "promoted"
    assert run.data.tags["som.verdict_reason"] == "within all limits of refresh"
    assert run.data.tags["som.drift"].startswith(("none", "warn", "drift"))
    told = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/refresh.json"))
    assert told["passes"]
    assert len(told["checks"]) == 6
    artifact = Artifact.get("som-refresh-demo")
    assert artifact is not None
    assert artifact.data == result.markdown()


def test_the_new_version_is_the_old_one_that_has_learned(served: Served) -> None:
    served.add(NEW, "new")
    refresh_flow(served.config())
    before, after = refreshed(registry.find("demo", "1")), refreshed()
    assert after.som.weights.equal(before.som.weights)
    assert after.clusters.equal(before.clusters)
    assert after.profile == before.profile
    for target, regressor in local_of(before).regressors.items():
        rows = before.scaler.transform(NEW.select("a", "b", "c").to_numpy())
        regressor.update(rows, NEW[target].to_numpy(), NEW["time"].to_numpy())
        expected = regressor.predict(before.scaler.transform(ROWS[:50].select("a", "b", "c").to_numpy()))
        np.testing.assert_allclose(predicted(after, ROWS[:50], target), expected, rtol=1e-9)
    assert not np.allclose(predicted(after, ROWS[:50]), predicted(served.trained.model, ROWS[:50]), rtol=1e-9)


def test_refreshed_bit_by_bit_or_at_once_the_answers_are_the_same(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("somlib.jitl.growth.SHARE", 1.0)  # fitted anew now or later is another model
    served.add(NEW, "new")
    refresh_flow(served.config())
    served.add(LATER, "later")
    refresh_flow(served.config())
    assert alias() == "3"
    at_once = refreshed(registry.find("demo", "1"))
    both = pl.concat([NEW, LATER])
    for target, regressor in local_of(at_once).regressors.items():
        rows = at_once.scaler.transform(both.select("a", "b", "c").to_numpy())
        regressor.update(rows, both[target].to_numpy(), both["time"].to_numpy())
        np.testing.assert_allclose(
            predicted(refreshed(), ROWS, target),
            regressor.predict(at_once.scaler.transform(ROWS.select("a", "b", "c").to_numpy())),
            rtol=1e-9,
        )
    assert registry.holding("demo", "champion").tags["som.map_version"] == "1"
    assert runs()[0].data.metrics["reference/z/rmse"] == served.trained.metrics["jitl/z/rmse"]


def test_what_is_old_is_forgotten(served: Served) -> None:
    served.add(NEW, "new")
    refresh_flow(served.config(jitl={"keep_days": 5}))
    assert len(local_of(refreshed()).regressors["y"].index_) == 5 * 24 + 1


# ---------------------------------------------------------------- nothing to do


def test_done_again_it_changes_nothing_and_leaves_no_run(served: Served) -> None:
    served.add(NEW, "new")
    refresh_flow(served.config())
    again = refresh_flow(served.config())
    assert (again.outcome, again.run) == ("idle", None)
    assert again.reasons == ["demo version 2 has learned all that it can, up to 2024-01-11 23:00:00 UTC"]
    assert len(runs()) == 1
    assert [each.version for each in registry.versions("demo")] == ["2", "1"]


def test_rows_that_wait_are_told_and_learned_when_they_can_be(served: Served) -> None:
    served.add(NEW.with_columns(y=pl.when(pl.int_range(24) < 4).then("y"), z=pl.lit(None, pl.Float64)), "new")
    idle = refresh_flow(served.config())
    assert idle.reasons == [
        "demo version 1 has learned all that it can, up to 2024-01-10 23:00:00 UTC: 4 of y wait for more, "
        "refresh.fewest_rows=10 are needed; 20 of y, 24 of z wait for their value"
    ]
    assert not runs()
    served.add(NEW, "new")
    result = refresh_flow(served.config())
    assert (result.outcome, dict(result.new_rows.new)) == ("promoted", {"y": 24, "z": 24})


def test_rows_that_come_late_are_told(served: Served) -> None:
    late = ROWS[5:8].with_columns(pl.col("time").dt.offset_by("30m"))
    served.add(pl.concat([NEW, late]), "new")
    result = refresh_flow(served.config())
    assert ("came late", "3 of y, 3 of z") in list(result.lines())
    assert runs()[0].data.metrics["rows/late/y"] == 3


def test_the_command_prints_a_table_or_a_line(served: Served, tmp_path: Path) -> None:
    served.add(NEW, "new")
    (tmp_path / "demo.yaml").write_text(served.config().to_yaml())
    first, second = (CliRunner().invoke(app, ["refresh", "demo.yaml"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    for told in ("som refresh: demo", "within all limits of refresh", "demo version 2, now champion after 1"):
        assert told in first.stdout
    assert second.stdout == ("som refresh: demo version 2 has learned all that it can, up to 2024-01-11 23:00:00 UTC\n")
    refused = CliRunner().invoke(app, ["refresh", "demo.yaml", "--set", "tracking.model=nobody"])
    assert refused.exit_code == 5
    assert refused.stderr.endswith("error: no registered model 'nobody': there are demo\n")


# ---------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("rows", "limits", "reason"),
    [
        (NEW.with_columns(pl.col("y") * 9 / 5 + 32), {"coverage": None}, "refresh.rmse_ratio allows 2 times"),
        (NEW.with_columns(pl.col("y") + 3), {"rmse_ratio": None}, "refresh.coverage allows 50 % to 100 %"),
        (
            NEW.with_columns(pl.col("a", "b") + 100),
            {"rmse_ratio": None, "coverage": None},
            "refresh.fallback allows 50 %",
        ),
    ],
)
def test_rows_beyond_a_limit_are_refused_and_seen_again(
    served: Served, rows: pl.DataFrame, limits: dict[str, Any], reason: str
) -> None:
    served.add(rows, "new")
    config = served.config(refresh=limits)
    result = refresh_flow(config)
    assert result.outcome == "kept"
    assert all(sentence.endswith(reason) for sentence in result.reasons)
    assert ("model", "demo version 1 goes on serving") in list(result.lines())
    (run,) = runs()
    assert (run.info.status, run.data.tags["som.verdict"]) == ("FINISHED", "kept")
    assert run.data.tags["som.verdict_reason"] == "; ".join(result.reasons)
    assert [each.version for each in registry.versions("demo")] == ["1"]
    again = refresh_flow(config)
    assert again.outcome == "idle"
    assert again.reasons[0].startswith(f"run {run.info.run_name} has refused these rows, and none have come since: ")
    assert len(runs()) == 1
    served.add(NEW, "new")  # corrected
    assert refresh_flow(config).outcome == "promoted"


def test_other_limits_judge_the_same_rows_again(served: Served) -> None:
    served.add(NEW.with_columns(pl.col("y") + 3), "new")
    assert refresh_flow(served.config()).outcome == "kept"
    generous = {"rmse_ratio": None, "coverage": None}
    assert refresh_flow(served.config(refresh=generous)).outcome == "promoted"


def test_a_failed_smoke_test_leaves_the_champion_and_is_tried_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(version: Version) -> None:
        raise SmokeTestError(f"version {version.version} does not answer")

    served.add(NEW, "new")
    with monkeypatch.context() as patch:
        patch.setattr(flow_module, "smoke_test", fail)
        with pytest.raises(SmokeTestError, match="version 2 does not answer"):
            refresh_flow(served.config())
    (run,) = runs()
    assert (run.info.status, run.data.tags["som.failure"]) == ("FAILED", "SmokeTestError: version 2 does not answer")
    assert "som.verdict" not in run.data.tags
    assert alias() == "1"
    assert refresh_flow(served.config()).outcome == "promoted"
    assert (alias(), len(registry.versions("demo"))) == ("2", 2)


def test_there_must_be_a_champion_and_data(served: Served) -> None:
    with pytest.raises(ModelError, match="no registered model 'nobody': there are demo"):
        refresh_flow(served.config(tracking={"model": "nobody"}))
    with pytest.raises(DatasetError, match="no such file or folder"):
        refresh_flow(refresh_config(Path("nowhere")))
    assert not runs()


# ---------------------------------------------------------------- no profile


def test_a_model_without_a_profile_is_refreshed_all_the_same(served: Served) -> None:
    old = replace(served.trained.model, profile=None)
    version = published(served.config(), old, served.trained.metrics, key="before profiles")
    registry.promote("demo", version.version, expected="1", check=lambda version: None, reason="test")
    served.add(NEW, "new")
    result = refresh_flow(served.config())
    assert (result.outcome, dict(result.lines())["drift"]) == ("promoted", "not known")
    assert "som.drift" not in runs()[0].data.tags


# ---------------------------------------------------------------- others at the same time


def test_where_a_retraining_was_faster_it_begins_again_from_there(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.add(NEW, "new")
    learned, waiting = tasks.learn, [1]

    def slow(*args: Any) -> Any:
        if waiting:
            waiting.pop()
            retrain_meanwhile(served)
        return learned(*args)

    monkeypatch.setattr(tasks, "learn", slow)
    recorder = Recorder()
    with listening(recorder):
        result = refresh_flow(served.config())
    told = "model 'demo': version 2 serves by now, not version 1: evaluate again"
    assert told in recorder.heard
    assert (result.champion.version, alias()) == ("2", "4")
    assert registry.holding("demo", "champion").tags["som.parent_version"] == "2"
    assert [run.info.status for run in runs()] == ["FINISHED", "FAILED"]
    assert runs()[1].data.tags["som.failure"] == f"ChampionChanged: {told}"


def test_it_does_not_begin_again_for_ever(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: Any, **__: Any) -> None:
        raise ChampionChanged("again")

    served.add(NEW, "new")
    monkeypatch.setattr(tasks, "promote", changed)
    with pytest.raises(ChampionChanged, match="again"):
        refresh_flow(served.config())
    assert len(runs()) == flow_module.REPEATS + 1


# ---------------------------------------------------------------- killed, and several at once


def killed(points: Mapping[Path, str]) -> None:
    """Refreshes that end themselves at these points, in processes that work in these folders."""
    arguments = [str(each) for pair in points.items() for each in pair]
    variables = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(next(iter(points)))}  # for what a killed one leaves
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.flows.refresh_process", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == " ".join(["-9"] * len(points)), done.stderr


def test_killed_and_run_again_it_comes_to_the_same(served: Served, tmp_path: Path) -> None:
    served.add(NEW, "new")
    points = {tmp_path / point: point for point in ("model written", "version registered", "version tagged")}
    configs = {folder: served.config(tracking={"uri": f"sqlite:///{folder}/mlflow.db"}) for folder in points}
    for folder, config in configs.items():
        folder.mkdir()
        shutil.copy(served.trained.database, folder / "mlflow.db")
        (folder / "demo.yaml").write_text(config.to_yaml())
    killed(points)
    once = refreshed()
    new = once.scaler.transform(NEW.select("a", "b", "c").to_numpy())
    local_of(once).regressors["y"].update(new, NEW["y"].to_numpy(), NEW["time"].to_numpy())
    for folder, config in configs.items():
        with tracking_store(config.tracking.uri):
            assert alias() == "1"
            np.testing.assert_array_equal(predicted(refreshed(), ROWS), predicted(served.trained.model, ROWS))
            assert (folder.name, refresh_flow(config).outcome) == (folder.name, "promoted")
            assert [each.version for each in registry.versions("demo")] == ["2", "1"]
            np.testing.assert_allclose(predicted(refreshed(), ROWS), predicted(once, ROWS), rtol=1e-9)


def test_two_at_once_come_to_one_version(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.add(NEW, "new")
    learned, together = tasks.learn, Barrier(2)

    def side_by_side(*args: Any) -> Any:
        together.wait(timeout=60)  # until both have judged the same rows by the same version
        return learned(*args)

    monkeypatch.setattr(tasks, "learn", side_by_side)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(copy_context().run, refresh_flow, served.config()) for _ in range(2)]
    assert [each.result().outcome for each in both] == ["promoted", "promoted"]
    assert [each.version for each in registry.versions("demo")] == ["2", "1"]
    assert alias() == "2"
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]
    assert local_of(refreshed()).watermark == "2024-01-11T23:00:00.000000+00:00"

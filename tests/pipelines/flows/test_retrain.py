import base64
import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
import torch
from mlflow import MlflowClient
from prefect import flow
from prefect.client.orchestration import get_client

from pipelines.data.scaling import Scaler
from pipelines.errors import ConfigError, ModelError, SmokeTestError
from pipelines.flows import publication, retrain_flow, retraining_steps, tasks
from pipelines.flows.approval import Answer
from pipelines.model.map_model import MapModel
from pipelines.progress import listening
from pipelines.retraining.retrain_result import Evaluation, RetrainResult
from pipelines.settings.config import PipelineConfig, load_config
from pipelines.store import registry, servable
from pipelines.store.locks import exclusive
from pipelines.store.names import MODEL_TAG
from pipelines.store.run_life import open_run, reopened_run
from pipelines.store.versions import Version
from somlib.utils.alignment import turns
from tests.pipelines.conftest import table
from tests.pipelines.flows.conftest import KNOWN, Shop, changed_rows, old_rows, opened
from tests.pipelines.flows.kills import ends
from tests.pipelines.test_progress import Recorder

pytestmark = pytest.mark.usefixtures("prefect_api", "store")

NEWEST = {"mode": "sliding", "length": "300h"}


def run_of(result: RetrainResult) -> Any:
    return MlflowClient().get_run(result.run_id)


def artifact(result: RetrainResult, path: str) -> Path:
    return Path(MlflowClient().download_artifacts(result.run_id, path))


def numbers() -> list[str]:
    return sorted(str(each.version) for each in MlflowClient().search_model_versions("name='demo'"))


def serving() -> Version:
    version = registry.champion("demo")
    assert version is not None
    return version


# ---------------------------------------------------------------- first, better, same


@pytest.fixture(scope="module")
def promoted(first_champion: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RetrainResult]:
    """A store in which a second version has taken the place of the first, with nothing in between; and the result."""
    with opened(tmp_path_factory.mktemp("promoted"), first_champion, first_champion.parent) as shop:
        return shop.folder, retrain_flow(better_config(shop))


def better_config(shop: Shop, **sections: Any) -> PipelineConfig:
    """The experiment on rows of a changed process, which a challenger knows better."""
    return shop.config(changed_rows(), window=NEWEST, retrain={"skip_without_drift": True}, **sections)


@pytest.fixture
def afterwards(promoted: tuple[Path, RetrainResult], first_champion: Path) -> Iterator[tuple[Shop, RetrainResult]]:
    """That store, open."""
    folder, result = promoted
    with opened(folder, folder / "mlflow.db", first_champion.parent) as shop:
        yield shop, result


@pytest.mark.usefixtures("shop")
def test_without_a_champion_a_first_version_within_its_limits_is_promoted() -> None:
    first = serving()
    assert (numbers(), first.tags["som.verdict"], first.aliases) == (["1"], "promoted", ("challenger", "champion"))
    assert first.tags["som.promotion_reason"].startswith("there is no champion yet")
    answer = mlflow.pyfunc.load_model("models:/demo@champion").predict(old_rows()[160:KNOWN].to_pandas())
    assert first.metrics["challenger/qe"] == pytest.approx(answer["quantization_error"].mean(), rel=1e-5)
    said = pl.read_parquet(MlflowClient().download_artifacts(str(first.run_id), "jitl.parquet"))
    error = ((said["prediction"] - said["measured"]) ** 2).mean() ** 0.5
    assert first.metrics["challenger/jitl/y/rmse"] == pytest.approx(error)
    assert not [name for name in first.metrics if name.startswith(("champion/", "moved/", "drift/"))]


def test_a_first_version_beyond_its_limits_is_registered_and_does_not_serve(config: PipelineConfig) -> None:
    strict = config.promotion.model_validate({"limits": [{"metric": "qe", "highest": 0.01}]})
    result = retrain_flow(config.model_copy(update={"promotion": strict}))
    assert (result.outcome, result.champion) == ("kept", None)
    assert "qe must be at most 0.01, which it is not at" in result.reason
    assert registry.champion("demo") is None
    assert registry.holding("demo", "challenger").version == "1"


def test_a_better_challenger_takes_the_place_and_all_of_it_is_on_record(
    afterwards: tuple[Shop, RetrainResult],
) -> None:
    _, result = afterwards
    assert (result.outcome, result.champion) == ("promoted", "2")
    assert serving().tags["som.previous_champion"] == "1"
    run = run_of(result)
    tags, metrics = run.data.tags, run.data.metrics
    assert run.info.status == "FINISHED"
    assert (tags["som.kind"], tags["som.verdict"], tags["som.champion_version"]) == ("retrain", "promoted", "1")
    assert tags["som.verdict_reason"] == result.reason
    assert tags["som.drift"].startswith("drift: ")
    assert metrics["challenger/qe"] < 0.5 * metrics["champion/qe"]
    assert metrics["challenger/jitl/y/rmse"] < 0.5 * metrics["champion/jitl/y/rmse"]
    assert metrics["drift/mean/b"] > 1
    assert {"moved/share", "moved/grid_distance", "moved/feature/b", "cluster_stability"} <= set(metrics)
    written = json.loads(artifact(result, "verdict.json").read_text())
    assert (written["champion"], written["promote"], written["reasons"]) == ("1", True, result.reason.split("; "))
    verdict = artifact(result, "verdict.md").read_text()
    assert "| qe |" in verdict
    with get_client(sync_client=True) as client:
        shown = {each.key: each for each in client.read_artifacts() if str(each.flow_run_id) == flow_run_of(result)}
    assert verdict in str(shown["som-retrain-demo"].data)
    drawn = base64.b64decode(str(shown["som-retrain-demo-maps"].data).partition("base64,")[2])
    assert drawn == artifact(result, "figures/u_matrices.png").read_bytes()


def flow_run_of(result: RetrainResult) -> str:
    return str(run_of(result).data.tags["prefect.flow_run_id"])


def test_work_that_made_the_champion_is_recognized(afterwards: tuple[Shop, RetrainResult]) -> None:
    shop, first = afterwards
    before = numbers()
    with listening(recorder := Recorder()):
        again = retrain_flow(better_config(shop))
    assert recorder.heard[-1] == f"already done: run {first.run_name} ({first.run_id}), use --force to train again"
    assert (again.run_id, again.evaluation) == (first.run_id, first.evaluation)
    assert list(again.lines()) == list(first.lines())
    assert numbers() == before


def test_work_that_left_the_champion_is_recognized_unless_it_is_forced_or_the_rules_are_others(shop: Shop) -> None:
    config = shop.config(old_rows(), promotion={"rules": [{"metric": "qe", "min_margin": 0.9}]})
    first = retrain_flow(config)
    again = retrain_flow(config)
    assert (again.run_id, again.outcome, numbers()) == (first.run_id, "kept", ["1", "2"])
    assert retrain_flow(config, force=True).run_id != first.run_id
    easy = {"rules": [{"metric": "te", "required": "not_worse", "confidence": None}]}
    retrain_flow(shop.config(old_rows(), promotion=easy))
    assert numbers() == ["1", "2", "3", "4"]


def test_where_nothing_has_drifted_nothing_is_trained_if_so_configured(shop: Shop) -> None:
    result = retrain_flow(shop.config(table(230), retrain={"skip_without_drift": True}))
    assert (result.outcome, result.champion, result.challenger) == ("skipped", "1", None)
    assert result.reason.startswith("nothing has shifted by more than is usual")
    run = run_of(result)
    tags = run.data.tags
    assert (run.info.status, tags["som.drift"], tags["som.verdict"]) == ("FINISHED", "none", "skipped")
    assert "train_qe" not in run.data.metrics
    assert numbers() == ["1"]


# ---------------------------------------------------------------- worse on purpose


def shuffled_features(monkeypatch: pytest.MonkeyPatch) -> None:
    train = tasks.train_som

    def train_shuffled(samples: Any, *arguments: Any, **named: Any) -> Any:
        random = np.random.default_rng(0)
        return train(np.stack([random.permutation(column) for column in samples.T], axis=1), *arguments, **named)

    monkeypatch.setattr(tasks, "train_som", train_shuffled)


def one_random_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    train = tasks.train_som

    def train_badly(samples: Any, config: Any, names: Any, **named: Any) -> Any:
        trained = train(samples, config, names, **named | {"start_from": None})
        trained.som.weights = torch.randn(trained.som.weights.shape, generator=torch.Generator().manual_seed(0))
        return trained

    monkeypatch.setattr(tasks, "train_som", train_badly)


def broken_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = tasks.window_samples

    def scale_badly(*arguments: Any) -> Any:
        samples = fit(*arguments)
        wrong = Scaler("standard", samples.scaler.features, samples.scaler.center, samples.scaler.scale * (1, 1e4, 1e4))
        parts = {
            name: replace(part, samples=wrong.transform(samples.scaler.inverse(part.samples)))
            for name, part in (("train", samples.train), ("heldout", samples.heldout))
        }
        return replace(samples, scaler=wrong, **parts)

    monkeypatch.setattr(tasks, "window_samples", scale_badly)


@pytest.mark.parametrize("spoil", [shuffled_features, one_random_epoch, broken_scaler])
def test_a_challenger_that_was_made_worse_is_refused_for_that(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    spoil(monkeypatch)
    epochs = 1 if spoil is one_random_epoch else 3
    result = retrain_flow(shop.config(old_rows(), data={"target": []}, som={"epochs": epochs}))
    assert (result.outcome, result.champion) == ("kept", "1")
    assert result.reason.startswith("qe ")
    assert " % higher than the champion's " in result.reason
    assert "not better by the 1 % asked" in result.reason
    metrics = run_of(result).data.metrics
    assert metrics["challenger/qe"] > 1.1 * metrics["champion/qe"]
    if spoil is broken_scaler:  # in its own units it looks better
        assert metrics["heldout_qe"] < metrics["champion/qe"]
    assert registry.holding("demo", "challenger").version == "2"
    assert serving().version == "1"


def test_a_challenger_that_fails_its_smoke_test_gets_no_alias_and_may_pass_it_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shop.config(changed_rows(), window=NEWEST)

    def fail(version: Version) -> None:
        raise SmokeTestError(f"{version.name} version {version.version} failed its smoke test: no answer")

    with monkeypatch.context() as patch:
        patch.setattr(retraining_steps, "smoke_test", fail)
        with pytest.raises(SmokeTestError, match="version 2 failed its smoke test"):
            retrain_flow(config)
    assert (serving().version, numbers()) == ("1", ["1", "2"])
    assert registry.find("demo", "2").aliases == ()
    failed = MlflowClient().get_run(str(registry.find("demo", "2").run_id))
    assert failed.info.status == "FAILED"
    result = retrain_flow(config)
    assert (result.outcome, result.champion, numbers()) == ("promoted", "2", ["1", "2"])
    assert result.run_id == failed.info.run_id
    assert run_of(result).info.status == "FINISHED"
    assert "som.failure" not in run_of(result).data.tags


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(shop: Shop) -> None:
    with pytest.raises(ModelError, match=r"the champion has c as features, which data\.features lacks, so that no"):
        retrain_flow(shop.config(old_rows(), data={"features": ["a", "b"]}))
    gaps = old_rows().with_columns(a=pl.when(pl.int_range(pl.len()) % 50 > 0).then("a"))
    with pytest.raises(ModelError, match="the champion takes no missing values, which the rows have"):
        retrain_flow(shop.config(gaps, som={"missing": "mask"}))
    with pytest.raises(ConfigError, match=r"tracking\.publish must be true for som retrain"):
        retrain_flow(shop.config(old_rows(), tracking={"publish": False}))
    assert numbers() == ["1"]


# ---------------------------------------------------------------- approval


def test_a_person_who_must_agree_has_the_last_word(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    config = shop.config(changed_rows(), window=NEWEST, promotion={"approval": True})
    result = retrain_flow(config)
    assert (result.outcome, result.champion) == ("awaits approval", "1")
    assert "not run by a deployment" in result.reason
    assert dict(result.lines())["to approve"] == "som promote demo 2"
    assert registry.find("demo", "2").tags["som.verdict"] == "awaits approval"
    settle = flow(publication.finish_publication, validate_parameters=False)
    said = {"no": Answer(False, "nobody approved it within 24 h"), "yes": Answer(True, "seen the maps")}
    for answer, outcome, champion, reason in (
        ("no", "kept", "1", "not approved: nobody approved it within 24 h; evaluated: "),
        ("yes", "promoted", "2", "; approved: seen the maps"),
    ):
        monkeypatch.setattr(publication, "asked_for_approval", partial(ask, said[answer]))
        with reopened_run(result.run_id) as run:
            settled = settle(config, run, registry.find("demo", "2"), Evaluation.of_run(run))
        assert (settled.outcome, settled.champion, serving().version) == (outcome, champion, champion)
        assert reason in settled.reason
    assert retrain_flow(config).run_id == result.run_id
    assert numbers() == ["1", "2"]


def ask(answer: Answer, question: str, hours: float) -> Answer:
    """Answer, when it is the right question and nobody waits for the lock."""
    assert question.startswith("Shall demo version 2 serve?")
    assert hours == 24
    with ThreadPoolExecutor(max_workers=1) as other:
        other.submit(enter, exclusive("demo", timeout=0)).result()
    return answer


def enter(lock: AbstractContextManager[None]) -> None:
    with lock:
        pass


# ---------------------------------------------------------------- like the champion


def turned_over(model: MapModel) -> MapModel:
    """The model with its map upside down, and cluster 1 called 7."""
    upside_down = next(turn for turn in turns(model.som.grid) if turn[0] == model.som.grid.m - 1)
    clusters = model.clusters[upside_down]
    return MapModel(model.som.reoriented(upside_down), model.scaler, torch.where(clusters == 1, 7, clusters))


def publish(model: MapModel, example: Any) -> Version:
    """Make a model the champion."""
    with open_run("demo", None, {}, None) as run:
        model_id, digest = run.model(model, example, step=0)
        tags = {MODEL_TAG: digest}
        version = registry.publish("demo", model_id, run.run_id, run.run_id, tags, lambda _: None)
    return registry.promote("demo", version.version, expected=serving().version, check=lambda _: None, reason="test")


def test_a_challenger_lies_like_the_champion_and_its_clusters_keep_their_numbers(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = servable.fetch(serving(), shop.folder / "first")
    champion = turned_over(first)
    publish(champion, old_rows()[:3].select("a", "b", "c").to_numpy())
    monkeypatch.setattr(
        retraining_steps, "better", lambda *_: 1
    )  # the one from scratch, which PCA lays as it laid the first
    config = shop.config(old_rows(), retrain={"from_scratch": True}, data={"target": []}, analysis={"n_clusters": 2})
    result = retrain_flow(config)
    curve = MlflowClient().get_metric_history(result.run_id, "qe")
    assert [point.step for point in curve] == [0, 1, 2]  # of the one that went on
    assert curve[-1].value == run_of(result).data.metrics["train_qe"]
    assert not (shop.folder / ".som").exists()
    assert result.challenger is not None
    found = servable.fetch(result.challenger, shop.folder / "found")

    def difference(other: MapModel) -> float:
        ours, theirs = (each.scaler.inverse(each.som.weights) / first.scaler.scale for each in (found, other))
        return float(np.abs(ours - theirs).mean())

    assert difference(champion) < 0.3 * difference(first)
    metrics = run_of(result).data.metrics
    assert metrics["moved/share"] < 0.3 * metrics["moved/share_before"]
    rows = old_rows()[:KNOWN].to_pandas()
    same = champion.predict(rows)["cluster"] == found.predict(rows)["cluster"]
    assert same.mean() > 0.95
    assert set(found.clusters.tolist()) == set(champion.clusters.tolist())
    logged = pl.read_parquet(artifact(result, "clusters.parquet"))
    assert logged["cluster"].to_list() == found.clusters.tolist()


# ---------------------------------------------------------------- others at the same time


def test_it_judges_again_where_another_champion_came_in_between(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    register, model = registry.register, servable.fetch(serving(), shop.folder / "first")

    def register_late(*arguments: Any) -> Version:
        monkeypatch.undo()
        publish(model, old_rows()[:3].select("a", "b", "c").to_numpy())
        return register(*arguments)

    monkeypatch.setattr(registry, "register", register_late)
    recorder = Recorder()
    with listening(recorder):
        result = retrain_flow(shop.config(changed_rows(), window=NEWEST))
    assert "model 'demo': version 2 serves by now, not version 1: evaluate again: evaluated again" in recorder.heard
    assert result.evaluation is not None
    assert (result.outcome, result.evaluation.champion, result.champion) == ("promoted", "2", "3")
    assert json.loads(artifact(result, "verdict.json").read_text())["champion"] == "2"
    assert serving().tags["som.previous_champion"] == "2"


# ---------------------------------------------------------------- processes of their own

PLACES = ("epoch 2", "after register", "after alias champion")  # at which one is killed; all are in `benchmarks/`


@pytest.fixture(scope="module")
def in_processes(first_champion: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of stores after retrainings in processes: killed at each of `PLACES`, and `two` at the same moment."""
    folders = {name: tmp_path_factory.mktemp("processes") for name in (*PLACES, "two")}
    points: list[tuple[Path, str]] = []
    for name, folder in folders.items():
        with opened(folder, first_champion, first_champion.parent) as shop:
            configs = [better_config(shop, tracking={"uri": shop.uri})]
            if name == "two":
                seeds = [{"random_seed": seed, "epochs": 3} for seed in (1, 2)]
                configs = [better_config(shop, tracking={"uri": shop.uri}, som=som) for som in seeds]
        for i, each in enumerate(configs):
            (folder / f"{i}.yaml").write_text(each.to_yaml())
            points.append((folder / f"{i}.yaml", "" if name == "two" else name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(first_champion.parent))
        assert ends("retrain_flow", points) == [-signal.SIGKILL] * len(PLACES) + [0, 0]
    return folders


def test_two_at_the_same_moment_leave_one_champion_and_both_versions(
    in_processes: dict[str, Path], first_champion: Path
) -> None:
    folder = in_processes["two"]
    with opened(folder, folder / "mlflow.db", first_champion.parent):
        assert numbers() == ["1", "2", "3"]
        verdicts = {n: registry.find("demo", n).tags["som.verdict"] for n in ("2", "3")}
        promoted = [n for n, verdict in verdicts.items() if verdict == "promoted"]
        assert serving().version in promoted
        chain = {registry.find("demo", n).tags["som.previous_champion"] for n in promoted}
    assert len(chain) == len(promoted)  # none took the place of one that served no more


def state() -> dict[str, Any]:
    """What must not depend on whether a run was killed on the way."""
    champion = serving()
    runs = MlflowClient().search_runs([MlflowClient().get_experiment_by_name("demo").experiment_id])
    return {
        "versions": numbers(),
        "champion": (champion.version, champion.tags["som.model_sha256"], champion.tags["som.previous_champion"]),
        "challenger": registry.holding("demo", "challenger").version,
        "verdict": champion.tags["som.verdict"],
        "its run": MlflowClient().get_run(str(champion.run_id)).info.status,
        "open": sum(run.info.status == "RUNNING" for run in runs),
        "checkpoints": Path(".som").exists(),
    }


@pytest.fixture
def uninterrupted(promoted: tuple[Path, RetrainResult], first_champion: Path) -> dict[str, Any]:
    """The state after a run that was not killed."""
    with opened(promoted[0], promoted[0] / "mlflow.db", first_champion.parent):
        return state()


@pytest.mark.parametrize("place", PLACES)
def test_killed_and_run_again_it_ends_as_if_nothing_had_happened(
    uninterrupted: dict[str, Any], in_processes: dict[str, Path], first_champion: Path, place: str
) -> None:
    folder = in_processes[place]
    with opened(folder, folder / "mlflow.db", first_champion.parent):
        assert retrain_flow(load_config(folder / "0.yaml")).outcome == "promoted"
        assert state() == uninterrupted
    assert uninterrupted["open"] == 0

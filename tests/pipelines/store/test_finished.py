from dataclasses import replace

import pytest
from mlflow import MlflowClient

from pipelines.errors import TrackingError
from pipelines.store.finished import Work, finished_runs
from pipelines.store.run_life import open_run

WORK = Work("retrain", "c" * 64, "d" * 64, champion="3")
OTHERS = [
    replace(WORK, kind="train"),
    replace(WORK, config_digest="e" * 64),
    replace(WORK, data_sha256="e" * 64),
    replace(WORK, champion="4"),
    replace(WORK, champion=None),
]


def found(work: Work, experiment: str = "demo") -> list[str]:
    """What a run that is at some work finds of it, and is gone again."""
    with open_run(experiment, None, work.tags, None) as run:
        earlier = [each.run_id for each in finished_runs(run, work)]
        run.discard()
    return earlier


def test_finished_runs_of_the_same_work_are_found_the_newest_first(store: str) -> None:
    ids = []
    for _ in range(2):
        with open_run("demo", None, WORK.tags, None) as run:
            ids.append(run.run_id)
    with pytest.raises(ZeroDivisionError), open_run("demo", None, WORK.tags, None):
        _ = 1 / 0
    assert found(WORK) == ids[::-1]
    assert found(WORK, "elsewhere") == []
    assert [found(other) for other in OTHERS] == [[]] * len(OTHERS)


def test_work_without_a_champion_is_not_that_of_a_challenger(store: str) -> None:
    alone = replace(WORK, champion=None)
    with open_run("demo", None, alone.tags, None) as run:
        pass
    assert found(WORK) == []
    assert found(alone) == [run.run_id]


def test_work_of_another_version_of_the_package_is_other_work(store: str) -> None:
    with open_run("demo", None, {**WORK.tags, "som.package_version": "0.0.1"}, None):
        pass
    assert found(WORK) == []


def test_the_key_tells_all_work_apart() -> None:
    keys = {work.key for work in (WORK, replace(WORK), *OTHERS)}
    assert len(keys) == 1 + len(OTHERS)
    assert all(len(key) == 64 for key in keys)


def test_a_discarded_run_is_gone_and_its_store_can_go_on(store: str) -> None:
    with open_run("demo", None, {}, None) as run:
        run.discard()
    assert MlflowClient().search_runs([run.experiment_id]) == []
    deleted = MlflowClient().get_run(run.run_id).info
    assert (deleted.lifecycle_stage, deleted.status) == ("deleted", "FINISHED")


def test_a_failure_after_discarding_is_not_hidden(store: str) -> None:
    def fail() -> None:
        with open_run("demo", None, {}, None) as run:
            run.discard()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_a_store_that_refuses_is_told(store: str) -> None:
    with open_run("demo", None, {}, None) as run, pytest.raises(TrackingError, match="MLflow at sqlite:"):
        finished_runs(run, replace(WORK, config_digest="'"))

from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipelines.errors import ModelError
from pipelines.store.connection import tracking_store
from pipelines.store.registry import versions
from pipelines.store.retention import Expired, Retention, delete, expired, reasons_to_keep
from pipelines.store.versions import Version
from tests.pipelines.registered import map_model, register_model, stored

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=100)


def version(number: int, age: float, *aliases: str, **tags: str) -> Version:
    return Version("demo", str(number), aliases, None, NOW - timedelta(days=age), tags)


def test_what_has_an_alias_a_way_back_few_after_it_or_few_days_stays() -> None:
    found = [
        version(9, 1),
        version(8, 50),
        version(7, 29.9),
        version(6, 60, "champion", **{"som.previous_champion": "4"}),
        version(5, 61, **{"som.previous_champion": "2"}),
        version(4, 70),
        version(3, 80, "mine", "other"),
        version(2, 90),
        Version("demo", "1"),
    ]
    assert reasons_to_keep(found, Retention(2, 30), NOW) == {
        "9": "one of the newest 2 versions",
        "8": "one of the newest 2 versions",
        "7": "younger than 30 days",
        "6": "champion",
        "4": "som rollback leads to it",
        "3": "mine and other",
        "1": "younger than 30 days",  # nobody knows when it was made
    }


@pytest.fixture
def published(store: str) -> list[Version]:
    """Four versions, of which the first is the champion and the last the challenger."""
    return [register_model("demo", map_model(i)) for i in range(4)]


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_version_goes_with_its_files_and_its_run_and_what_stays_is_untouched(published: list[Version]) -> None:
    retention = Retention(1, 30)
    first, second, third, last = (stored(each.uri) for each in published)
    before = files(first), files(last)
    going = expired("demo", retention, LATER)
    assert [(each.version.version, each.run) for each in going] == [("2", True), ("3", True)]
    assert going[0].megabytes == pytest.approx(sum(path.stat().st_size for path in files(second)) / 1e6)
    assert all(delete("demo", each, retention, LATER) for each in going)
    assert [each.version for each in versions("demo")] == ["4", "1"]
    assert (files(second), files(third)) == (set(), set())
    assert (files(first), files(last)) == before
    client = MlflowClient()
    stages = [client.get_run(str(each.run_id)).info.lifecycle_stage for each in published]
    assert stages == ["active", "deleted", "deleted", "active"]
    assert expired("demo", retention, LATER) == []
    assert not any(delete("demo", each, retention, LATER) for each in going)


def test_a_version_that_got_an_alias_since_it_was_listed_stays(published: list[Version]) -> None:
    retention = Retention(1, 30)
    going = expired("demo", retention, LATER)
    MlflowClient().set_registered_model_alias("demo", "mine", "3")
    assert [delete("demo", each, retention, LATER) for each in going] == [True, False]
    assert [each.version for each in versions("demo")] == ["4", "3", "1"]
    assert files(stored(published[2].uri))


def test_what_several_versions_come_from_stays_as_long_as_one_of_them(published: list[Version]) -> None:
    client = MlflowClient()
    source = client.get_model_version("demo", "2")
    client.create_model_version("demo", source.source, source.run_id, model_id=source.model_id)
    retention = Retention(1, 30)
    going = expired("demo", retention, LATER)
    assert [(each.version.version, each.run) for each in going] == [("2", False), ("3", True)]
    assert all(delete("demo", each, retention, LATER) for each in going)
    assert files(stored("models:/demo/5"))
    assert client.get_run(str(source.run_id)).info.lifecycle_stage == "active"


def test_interrupted_it_is_finished_when_it_is_done_again(
    published: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    retention = Retention(1, 30)
    going = expired("demo", retention, LATER)
    for name in ("delete_logged_model", "delete_run", "delete_model_version"):
        with monkeypatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, name, lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                delete("demo", going[0], retention, LATER)
        again: list[Expired] = expired("demo", retention, LATER)
        assert [each.version.version for each in again] == ["2", "3"]
    assert all(delete("demo", each, retention, LATER) for each in again)
    assert [each.version for each in versions("demo")] == ["4", "1"]


def test_a_model_that_is_not_there_is_one_line(store: str) -> None:
    with tracking_store(store), pytest.raises(ModelError, match="no registered model 'nothing'"):
        expired("nothing", Retention(1, 30), LATER)

import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from pipelines.errors import ChampionChanged, ModelError, SmokeTestError
from pipelines.store.names import MODEL_TAG
from pipelines.store.registry import (
    annotate,
    champion,
    find,
    holding,
    of_publication,
    offer,
    promote,
    publish,
    register,
    rollback,
    versions,
)
from pipelines.store.run_life import open_run
from pipelines.store.servable import fetch
from pipelines.store.versions import Version
from tests.pipelines.registered import stored
from tests.pipelines.store.test_tracking import RAW, make_model


def passing(version: Version) -> None:
    """A check that every version passes; the real one has tests of its own."""


def point_at_deleted(name: str, version: str) -> None:
    """As stores leave it that do not take aliases along with a version."""
    path = mlflow.get_tracking_uri().removeprefix("sqlite:///")
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM registered_model_aliases WHERE name = ? AND alias = 'champion'", (name,))
        database.execute(
            "INSERT INTO registered_model_aliases (alias, version, name) VALUES ('champion', ?, ?)", (version, name)
        )


def failing(version: Version) -> None:
    raise SmokeTestError(f"version {version.version} does not answer")


@pytest.fixture
def model_id(store: str) -> str:
    with open_run("demo", None, {}, None) as run:
        run.metrics({"train_qe": 0.25})
        return run.model(make_model(), RAW, step=0)[0]


Publish = Callable[..., Version]


@pytest.fixture
def published(model_id: str) -> Publish:
    """Publishes the model under a key, as another version each time."""
    run_id = MlflowClient().get_logged_model(model_id).source_run_id

    def publish_as(key: str, check: Any = passing) -> Version:
        return publish("demo", model_id, run_id, key, {"note": key}, check)

    return publish_as


def alias(name: str) -> str:
    return str(MlflowClient().get_model_version_by_alias("demo", name).version)


def test_the_first_version_is_champion_and_challenger_and_the_next_only_challenger(published: Publish) -> None:
    first, second = published("a"), published("b")
    assert (first.version, first.aliases) == ("1", ("challenger", "champion"))
    assert (second.version, second.aliases) == ("2", ("challenger",))
    assert (alias("champion"), alias("challenger")) == ("1", "2")
    record = MlflowClient().get_model_version("demo", "2")
    assert (record.run_id, record.tags["note"]) == (second.run_id, "b")
    assert second.created is not None
    assert second.created.timestamp() == pytest.approx(record.creation_timestamp / 1000)
    assert second.metrics == {"train_qe": 0.25}


def test_the_same_publication_is_one_version_however_often_it_is_done(published: Publish, model_id: str) -> None:
    first = published("run-1")
    assert published("run-1") == first
    assert register("demo", model_id, None, "run-1", {}) == first
    assert len(MlflowClient().search_model_versions("name = 'demo'")) == 1


def test_a_version_that_fails_its_check_gets_no_alias_and_publishing_it_again_can_mend_that(published: Publish) -> None:
    with pytest.raises(SmokeTestError):
        published("a", failing)
    assert (find("demo", "1").aliases, champion("demo")) == ((), None)
    assert published("a").aliases == ("challenger", "champion")
    with pytest.raises(SmokeTestError):
        published("b", failing)
    assert (alias("champion"), alias("challenger")) == ("1", "1")


def test_promotions_are_undone_one_by_one(published: Publish) -> None:
    for key in "abc":
        published(key)
    promote("demo", "2", expected="1", check=passing, reason="better")
    now = promote("demo", "3", expected="2", check=passing, reason="better still")
    assert now.aliases == ("challenger", "champion")
    assert now.tags["som.previous_champion"] == "2"
    assert now.tags["som.promotion_reason"] == "better still"
    assert rollback("demo", check=passing).version == alias("champion") == "2"
    assert rollback("demo", check=passing).version == alias("champion") == "1"
    with pytest.raises(ModelError, match="no version is on record that served before version 1"):
        rollback("demo", check=passing)
    assert alias("champion") == "1"


def test_a_promotion_judged_against_another_champion_is_refused(published: Publish) -> None:
    for key in "abc":
        published(key)
    promote("demo", "2", expected="1", check=passing, reason="")
    with pytest.raises(ChampionChanged, match="version 2 serves by now, not version 1: evaluate again"):
        promote("demo", "3", expected="1", check=passing, reason="")
    with pytest.raises(ChampionChanged, match="version 2 serves by now, not no version"):
        promote("demo", "3", expected=None, check=passing, reason="")
    with pytest.raises(ChampionChanged):
        rollback("demo", check=passing, expected="1")
    assert alias("champion") == "2"
    assert "som.promoted" not in find("demo", "3").tags


def test_aliases_stay_where_they_are_when_the_check_fails(published: Publish) -> None:
    for key in "ab":
        published(key)
    with pytest.raises(SmokeTestError):
        promote("demo", "2", expected="1", check=failing, reason="")
    assert alias("champion") == "1"
    promote("demo", "2", expected="1", check=passing, reason="")
    with pytest.raises(SmokeTestError):
        rollback("demo", check=failing)
    assert alias("champion") == "2"


def test_a_promotion_that_is_already_done_changes_nothing(published: Publish) -> None:
    for key in "ab":
        published(key)
    done = promote("demo", "2", expected="1", check=passing, reason="better")
    assert promote("demo", "2", expected="1", check=passing, reason="again") == done


WRITES = ("create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias")


@pytest.mark.parametrize("survived", range(14))
def test_killed_between_any_two_writes_and_done_again_it_comes_to_the_same(
    survived: int, published: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first version takes 7 writes, the second 3, to promote it 4; the kill comes before each of them."""

    def everything() -> None:
        published("a")
        published("b")
        promote("demo", "2", expected="1", check=passing, reason="better")

    left = [survived]
    with monkeypatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, killed_after(left, getattr(MlflowClient, name)))
        with pytest.raises(KeyboardInterrupt):
            everything()
    everything()
    first, second = find("demo", "1"), find("demo", "2")
    assert len(versions("demo")) == 2
    assert (first.aliases, second.aliases) == ((), ("challenger", "champion"))
    assert first.tags["som.previous_champion"] == ""
    assert second.tags["som.previous_champion"] == "1"


def killed_after(left: list[int], write: Callable[..., Any]) -> Callable[..., Any]:
    def written(*args: Any, **kwargs: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(*args, **kwargs)

    return written


def test_a_deleted_version_cannot_be_gone_back_to(published: Publish) -> None:
    for key in "abc":
        published(key)
    promote("demo", "2", expected="1", check=passing, reason="")
    promote("demo", "3", expected="2", check=passing, reason="")
    MlflowClient().delete_model_version("demo", "2")
    with pytest.raises(ModelError, match=r"version 2, which served before version 3, was deleted; .* newest are 3, 1"):
        rollback("demo", check=passing)
    assert alias("champion") == "3"


def test_an_alias_of_a_deleted_version_is_mended_by_promote_and_rollback(published: Publish) -> None:
    for key in "abc":
        published(key)
    promote("demo", "2", expected="1", check=passing, reason="")
    promote("demo", "3", expected="2", check=passing, reason="")
    MlflowClient().delete_model_version("demo", "3")
    MlflowClient().set_registered_model_alias("demo", "champion", "2")
    MlflowClient().delete_model_version("demo", "2")
    point_at_deleted("demo", "3")
    with pytest.raises(ModelError, match="'champion' points at version 3, which was deleted: choose another with som"):
        champion("demo")
    assert rollback("demo", check=passing).version == "1"
    point_at_deleted("demo", "3")
    published("d")
    assert promote("demo", "4", expected="3", check=passing, reason="").tags["som.previous_champion"] == "1"
    assert rollback("demo", check=passing).version == "1"


def test_what_is_not_there_is_told_with_what_is(published: Publish) -> None:
    with pytest.raises(ModelError, match="no registered model 'demo': there are none"):
        versions("demo")
    assert champion("demo") is None
    published("a")
    with pytest.raises(ModelError, match="no registered model 'other': there are demo"):
        find("other", "1")
    for version in ("7", "x"):
        with pytest.raises(ModelError, match=f"model 'demo' has no version '{version}': the newest are 1"):
            find("demo", version)
    with pytest.raises(
        ModelError, match=r"no alias 'best': there are challenger \(version 1\), champion \(version 1\)"
    ):
        holding("demo", "best")


def test_versions_come_newest_first_and_keep_their_facts_when_the_run_is_gone(published: Publish) -> None:
    for key in "abc":
        published(key)
    assert [each.version for each in versions("demo")] == ["3", "2", "1"]
    assert [each.version for each in versions("demo", most=1)] == ["3"]
    assert holding("demo", "challenger") == versions("demo")[0]


def test_a_model_with_a_quote_in_its_name_is_found(model_id: str) -> None:
    made = publish("boiler's map", model_id, None, "it's this", {}, passing)
    assert publish("boiler's map", model_id, None, "it's this", {}, passing) == made == champion("boiler's map")


def test_the_fetched_model_answers_like_the_one_that_was_published(published: Publish, tmp_path: Path) -> None:
    version = published("a")
    (manifest,) = stored(version.uri).rglob("manifest.json")
    annotate(version, {MODEL_TAG: sha256(manifest.read_bytes()).hexdigest()})
    model = fetch(find("demo", version.version), tmp_path / "copy")
    assert torch.equal(model.som.weights, make_model().som.weights)
    assert mlflow.pyfunc.load_model(champion("demo").uri).metadata.run_id == champion("demo").run_id  # type: ignore[union-attr]


def test_a_registered_version_is_offered_noted_and_found_by_what_made_it(published: Publish, model_id: str) -> None:
    published("first")
    registered = register("demo", model_id, None, "key of the work", {})
    assert (registered.aliases, of_publication("demo", "key of the work")) == ((), registered)
    assert of_publication("demo", "another") is None
    assert of_publication("nothing", "key of the work") is None
    offered = offer(registered, passing)
    assert (offered.version, offered.aliases) == (registered.version, ("challenger",))
    annotate(offered, {"som.verdict": "kept", "som.nothing": ""})
    assert find("demo", offered.version).tags["som.verdict"] == "kept"
    assert "som.nothing" not in find("demo", offered.version).tags

"""Registered models in MLflow: their versions, and the aliases that say which one serves.

`champion` is the version that serves, `challenger` the newest that was published. An alias only ever moves to a version
that has just passed a check, `smoke.smoke_test`: this is why `publish`, `promote` and `rollback` ask for one.

Each of them writes tags first and moves the alias last, in one call, and that call is the moment it takes effect. A
process killed anywhere before leaves the aliases as they were, and doing it again has the same result.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from mlflow import MlflowClient

from pipelines.errors import ChampionChanged, ModelError
from pipelines.store.connection import mlflow_errors, suppress_existing, written
from pipelines.store.locks import exclusive
from pipelines.store.names import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS_TAG,
    PROMOTED_TAG,
    PROMOTION_REASON_TAG,
    PUBLICATION_TAG,
)
from pipelines.store.versions import (
    NAMES_SHOWN,
    Version,
    alias_number,
    described,
    published,
    quoted,
    registered,
    require_model,
    search,
)
from pipelines.wording import some

Check = Callable[[Version], object]  # returns where the version may serve, raises where it may not


# ---------------------------------------------------------------- reading


def versions(name: str, most: int | None = None) -> list[Version]:
    """The versions of a model, the newest first.

    Args:
        name: Registered model.
        most: How many; None for all of them.

    Raises:
        ModelError: No such model; with the names of those that there are.
    """
    model = require_model(name)
    with mlflow_errors():
        return [described(each, model) for each in search(name, most=most)]


def find(name: str, version: str) -> Version:
    """A version by its number.

    Raises:
        ModelError: No such model or version; with those that there are.
    """
    model = require_model(name)
    with mlflow_errors():
        found = search(name, f"version_number = {version}") if version.isdecimal() else []
        if found:
            return described(found[0], model)
        numbers = [each.version for each in search(name, most=NAMES_SHOWN)]
    raise ModelError(
        f"model {name!r} has no version {version!r}: the newest are {some(numbers, NAMES_SHOWN) or 'none'}"
    )


def holding(name: str, alias: str) -> Version:
    """The version that an alias points at.

    Raises:
        ModelError: No such model or alias; with those that there are.
    """
    return _pointed_at(name, alias, number_at(name, alias))


def number_at(name: str, alias: str) -> str:
    """The number of that version, for those who only look whether it has changed: one request, not four.

    Raises:
        ModelError: No such model or alias; with those that there are.
    """
    aliases = require_model(name).aliases
    if alias not in aliases:
        known = some([f"{each} (version {number})" for each, number in sorted(aliases.items())], NAMES_SHOWN)
        raise ModelError(f"model {name!r} has no alias {alias!r}: there are {known or 'none'}")
    return str(aliases[alias])


def champion(name: str) -> Version | None:
    """The version that serves, None where there is no such model or no champion.

    Raises:
        ModelError: The version was deleted.
    """
    number = champion_number(name)
    return None if number is None else _pointed_at(name, CHAMPION, number)


def champion_number(name: str) -> str | None:
    """The number of that version, also where it was deleted."""
    return alias_number(name, CHAMPION)


def exists(name: str, version: str) -> bool:
    """Whether a model has a version of that number."""
    with mlflow_errors():
        return bool(version.isdecimal() and search(name, f"version_number = {version}"))


def of_run(name: str, run_id: str) -> Version | None:
    """The newest version of a model that comes from a run, None where there is none."""
    if registered(name) is None:
        return None
    with mlflow_errors():
        found = search(name, f"run_id = {quoted(run_id)}", most=1)
    return find(name, str(found[0].version)) if found else None


def of_publication(name: str, publication: str) -> Version | None:
    """The version that an act of publishing made, see `register`; None where it made none."""
    if registered(name) is None:
        return None
    with mlflow_errors():
        found = published(name, publication)
    return find(name, str(found[0].version)) if found else None


# ---------------------------------------------------------------- changing


def register(name: str, model_id: str, run_id: str | None, publication: str, tags: Mapping[str, str]) -> Version:
    """A version of a logged model: a new one, or the one that this publication made before.

    Args:
        name: Registered model, made if need be.
        model_id: The logged model.
        run_id: Run that it comes from.
        publication: What identifies this act of publishing, such as a run id or a digest of content: doing
            it again under the same key finds the version that is there instead of making a second one.
        tags: To set on a new version.
    """
    with exclusive(name), mlflow_errors():
        client = MlflowClient()
        with suppress_existing():
            client.create_registered_model(name)
        known = published(name, publication)
        if known:
            return find(name, str(known[0].version))
        given = {**tags, PUBLICATION_TAG: publication}
        made = client.create_model_version(
            name, source=f"models:/{model_id}", run_id=run_id, model_id=model_id, tags=given
        )
        return find(name, str(made.version))


def publish(
    name: str, model_id: str, run_id: str | None, publication: str, tags: Mapping[str, str], check: Check
) -> Version:
    """Register a logged model and make it the `challenger`, and the `champion` where there is none yet.

    Args:
        name: See `register`.
        model_id: See `register`.
        run_id: See `register`.
        publication: See `register`.
        tags: See `register`.
        check: What the version has to pass before an alias moves to it; what it raises leaves the version registered,
            without an alias.
    """
    with exclusive(name):
        version = offer(register(name, model_id, run_id, publication, tags), check)
        if alias_number(name, CHAMPION) is None:
            _crown(version, None, "the first version")
        return find(name, version.version)


def offer(version: Version, check: Check) -> Version:
    """Make a registered version the `challenger`.

    Args:
        version: Which one.
        check: What it has to pass first.
    """
    with exclusive(version.name):
        check(version)
        _move(version, CHALLENGER)
        return find(version.name, version.version)


def annotate(version: Version, tags: Mapping[str, str]) -> None:
    """Set tags on a version; those without a text are left out."""
    with mlflow_errors():
        for key, value in tags.items():
            if value:
                _tag(version, key, value)


def promote(name: str, version: str, *, expected: str | None, check: Check, reason: str) -> Version:
    """Make a version the champion, and remember on it which one it follows.

    Args:
        name: Registered model.
        version: Number of the version that shall serve.
        expected: Number of the champion that it was evaluated against, None where there was none.
        check: What the version has to pass first.
        reason: Why it shall serve, for its tag.

    Returns:
        The version as it is now; unchanged where it was the champion before.

    Raises:
        ChampionChanged: Another version serves by now: evaluate again.
        ModelError: No such model or version.
    """
    with exclusive(name):
        new = find(name, version)
        check(new)
        now = alias_number(name, CHAMPION)
        if now != new.version:
            _require_champion(name, now, expected)
            _crown(new, _served_before(name, now, new.version), reason)
        return find(name, version)


def rollback(name: str, *, check: Check, expected: str | None = None) -> Version:
    """Give the alias `champion` back to the version that served before.

    Done again, it goes back one promotion more, as long as the version before is on record. Where the champion was
    deleted, and with it the record, it goes to the version that was promoted last of those that are left.

    Args:
        name: Registered model.
        check: What the version before has to pass first.
        expected: Number of the champion to leave. Given, a repetition after an interruption cannot go back too far.

    Returns:
        The version that serves now.

    Raises:
        ChampionChanged: Another version than the expected one serves.
        ModelError: There is no champion, none before it, or that one was deleted.
    """
    with exclusive(name):
        leaving = number_at(name, CHAMPION)
        if expected is not None:
            _require_champion(name, leaving, expected)
        target = _way_back(name, leaving)
        check(target)
        _move(target, CHAMPION)
        return find(name, target.version)


# ---------------------------------------------------------------- parts


def _require_champion(name: str, now: str | None, expected: str | None) -> None:
    if now != expected:
        was, now_is = (f"version {each}" if each else "no version" for each in (expected, now))
        raise ChampionChanged(f"model {name!r}: {now_is} serves by now, not {was}: evaluate again")


def _pointed_at(name: str, alias: str, number: str) -> Version:
    if not exists(name, number):
        raise ModelError(
            f"model {name!r}: the alias {alias!r} points at version {number}, which was deleted: choose another with "
            "som promote, or go back with som rollback"
        )
    return find(name, number)


def _way_back(name: str, leaving: str) -> Version:
    """The version that served before another."""
    if not exists(name, leaving):
        last = _last_promoted(name)
        if last is None:
            raise ModelError(
                f"model {name!r}: version {leaving}, which served, was deleted, and no version is left that served "
                "before: choose one with som promote"
            )
        return last
    before = find(name, leaving).tags.get(PREVIOUS_TAG)
    if not before:
        raise ModelError(f"model {name!r}: no version is on record that served before version {leaving}")
    if exists(name, before):
        return find(name, before)
    numbers = some([each.version for each in versions(name, most=NAMES_SHOWN)], NAMES_SHOWN)
    raise ModelError(
        f"model {name!r}: version {before}, which served before version {leaving}, was deleted; choose another with "
        f"som promote: the newest are {numbers}"
    )


def _served_before(name: str, now: str | None, new: str) -> str | None:
    """What a new champion follows; where that was deleted, the last one before it, if it is another than the new."""
    if now is None or exists(name, now):
        return now
    last = _last_promoted(name)
    return None if last is None or last.version == new else last.version


def _last_promoted(name: str) -> Version | None:
    served = [each for each in versions(name) if PROMOTED_TAG in each.tags]
    return max(served, key=lambda each: (each.tags[PROMOTED_TAG], int(each.version)), default=None)


def _crown(version: Version, previous: str | None, reason: str) -> None:
    """Tags first: once the alias has moved, the way back is known."""
    tags = {PREVIOUS_TAG: previous or "", PROMOTED_TAG: datetime.now(UTC).isoformat(timespec="seconds")}
    with mlflow_errors():
        for key, value in {**tags, PROMOTION_REASON_TAG: reason}.items():
            _tag(version, key, value)
    _move(version, CHAMPION)


def _tag(version: Version, key: str, value: str) -> None:
    written(lambda: MlflowClient().set_model_version_tag(version.name, version.version, key, value))


def _move(version: Version, alias: str) -> None:
    with mlflow_errors():
        written(lambda: MlflowClient().set_registered_model_alias(version.name, alias, version.version))

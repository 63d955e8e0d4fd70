"""Registered models in MLflow: their versions, and the aliases that say which one serves.

`champion` is the version that serves, `challenger` the newest that was published. An alias only ever moves to a version
that has just passed a check, `smoke.smoke_test`: this is why `publish`, `promote` and `rollback` ask for one.

Each of them writes tags first and moves the alias last, in one call, and that call is the moment it takes effect. A
process killed anywhere before leaves the aliases as they were, and doing it again comes to what it would have come to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import PyFuncModel
from mlflow.types import Schema

from pipelines.errors import ChampionChanged, ModelError
from pipelines.model import ARTIFACT, MapModel
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
from pipelines.wording import some

NAMES_SHOWN = 20


@dataclass(frozen=True)
class Version:
    """A registered model version.

    Attributes:
        name: Of the registered model.
        version: Its number, as text like everywhere in MLflow.
        aliases: That point at it.
        run_id: Run that it comes from, if it comes from one.
        created: When, in UTC.
        tags: As set on the version.
        metrics: Last values of its run; empty where the run is gone.
    """

    name: str
    version: str
    aliases: tuple[str, ...] = ()
    run_id: str | None = None
    created: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}/{self.version}"


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
    model = _require_model(name)
    with mlflow_errors():
        return [_version(each, model) for each in _search(name, most=most)]


def find(name: str, version: str) -> Version:
    """A version by its number.

    Raises:
        ModelError: No such model or version; with those that there are.
    """
    model = _require_model(name)
    with mlflow_errors():
        found = _search(name, f"version_number = {version}") if version.isdecimal() else []
        if found:
            return _version(found[0], model)
        numbers = [each.version for each in _search(name, most=NAMES_SHOWN)]
    raise ModelError(
        f"model {name!r} has no version {version!r}: the newest are {some(numbers, NAMES_SHOWN) or 'none'}"
    )


def holding(name: str, alias: str) -> Version:
    """The version that an alias points at.

    Raises:
        ModelError: No such model or alias; with those that there are.
    """
    return find(name, number_at(name, alias))


def number_at(name: str, alias: str) -> str:
    """The number of that version, for those who only look whether it has changed: one request, not four.

    Raises:
        ModelError: No such model or alias; with those that there are.
    """
    aliases = _require_model(name).aliases
    if alias not in aliases:
        known = some([f"{each} (version {number})" for each, number in sorted(aliases.items())], NAMES_SHOWN)
        raise ModelError(f"model {name!r} has no alias {alias!r}: there are {known or 'none'}")
    return str(aliases[alias])


def champion(name: str) -> Version | None:
    """The version that serves, None where there is no such model or no champion."""
    number = _alias(name, CHAMPION)
    return None if number is None else find(name, number)


def of_run(name: str, run_id: str) -> Version | None:
    """The newest version of a model that comes from a run, None where there is none."""
    if _registered(name) is None:
        return None
    with mlflow_errors():
        found = _search(name, f"run_id = {_quoted(run_id)}", most=1)
    return find(name, str(found[0].version)) if found else None


def of_publication(name: str, publication: str) -> Version | None:
    """The version that an act of publishing made, see `register`; None where it made none."""
    if _registered(name) is None:
        return None
    with mlflow_errors():
        found = _published(name, publication)
    return find(name, str(found[0].version)) if found else None


def fetch(version: Version, folder: Path) -> MapModel:
    """The model of a version, downloaded into a folder that must outlive it.

    Raises:
        ModelError: What is registered is not a map, or damaged.
    """
    with mlflow_errors():
        root = Path(mlflow.artifacts.download_artifacts(version.uri, dst_path=str(folder)))
    return MapModel.load(root / "artifacts" / ARTIFACT)


@dataclass(frozen=True)
class Servable:
    """A version as MLflow serves it.

    Attributes:
        version: Which one.
        model: What `mlflow.pyfunc.load_model` makes of it.
        example: A few complete rows in the units of the data, logged with the model.
    """

    version: Version
    model: PyFuncModel
    example: pd.DataFrame

    @property
    def features(self) -> list[str]:
        """The columns that it needs."""
        return _names(self._signature.inputs)

    @property
    def outputs(self) -> list[str]:
        """The columns of its answers."""
        return _names(self._signature.outputs)

    @property
    def _signature(self) -> ModelSignature:
        signature: ModelSignature = self.model.metadata.signature
        return signature

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Its answer to rows; MLflow holds them against the signature first.

        Raises:
            ModelError: The rows are not what the model takes.
        """
        try:
            answer = self.model.predict(frame)
        except MlflowException as error:
            raise ModelError(f"input does not fit the signature of the model: {error.message}") from error
        if not isinstance(answer, pd.DataFrame):
            raise TypeError(f"{self.version.uri} must answer with a DataFrame, got {type(answer).__name__}")
        return answer


def load(version: Version) -> Servable:
    """A version, ready to answer; nothing of it stays on disk.

    Raises:
        ModelError: It has no signature or example, or is no map.
    """
    with TemporaryDirectory() as folder, mlflow_errors():
        path = mlflow.artifacts.download_artifacts(version.uri, dst_path=folder)
        model = mlflow.pyfunc.load_model(path)
        example = model.input_example
    if not isinstance(example, pd.DataFrame) or model.metadata.signature is None:
        raise ModelError(f"{version.name} version {version.version} must be logged with a signature and an example")
    return Servable(version, model, example)


def _names(schema: Schema) -> list[str]:
    return [str(name) for name in schema.input_names()]


# ---------------------------------------------------------------- changing


def register(name: str, model_id: str, run_id: str | None, publication: str, tags: Mapping[str, str]) -> Version:
    """A version of a logged model: a new one, or the one that this publication made before.

    Args:
        name: Registered model, made if need be.
        model_id: The logged model.
        run_id: Run that it comes from.
        publication: What tells this act of publishing from every other, such as a run id or a digest of content: doing
            it again under the same key finds the version that is there instead of making a second one.
        tags: To set on a new version.
    """
    with exclusive(name), mlflow_errors():
        client = MlflowClient()
        with suppress_existing():
            client.create_registered_model(name)
        known = _published(name, publication)
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
        if _alias(name, CHAMPION) is None:
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
        expected: Number of the champion that it was judged against, None where there was none.
        check: What the version has to pass first.
        reason: Why it shall serve, for its tag.

    Returns:
        The version as it is now; unchanged where it was the champion before.

    Raises:
        ChampionChanged: Another version serves by now: judge again.
        ModelError: No such model or version.
    """
    with exclusive(name):
        new = find(name, version)
        check(new)
        now = _alias(name, CHAMPION)
        if now != new.version:
            _require_champion(name, now, expected)
            _crown(new, now, reason)
        return find(name, version)


def rollback(name: str, *, check: Check, expected: str | None = None) -> Version:
    """Give the alias `champion` back to the version that served before.

    Done again, it goes back one promotion more, as long as the version before is on record.

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
        leaving = holding(name, CHAMPION)
        if expected is not None:
            _require_champion(name, leaving.version, expected)
        before = leaving.tags.get(PREVIOUS_TAG)
        if not before:
            raise ModelError(f"model {name!r}: no version is on record that served before version {leaving.version}")
        target = _still_there(leaving, before)
        check(target)
        _move(target, CHAMPION)
        return find(name, target.version)


# ---------------------------------------------------------------- parts


def _registered(name: str) -> RegisteredModel | None:
    with mlflow_errors():
        found = mlflow.search_registered_models(max_results=1, filter_string=f"name = {_quoted(name)}")
    return found[0] if found else None


def _require_model(name: str) -> RegisteredModel:
    model = _registered(name)
    if model is None:
        with mlflow_errors():
            names = [each.name for each in mlflow.search_registered_models()]
        raise ModelError(f"no registered model {name!r}: there are {some(names, NAMES_SHOWN) or 'none'}")
    return model


def _search(name: str, condition: str = "", most: int | None = None) -> list[ModelVersion]:
    """Versions of a model that meet a condition, the newest first."""
    conditions = " AND ".join(filter(None, (f"name = {_quoted(name)}", condition)))
    return mlflow.search_model_versions(most, conditions, order_by=["version_number DESC"])


def _published(name: str, publication: str) -> list[ModelVersion]:
    return _search(name, f"tags.`{PUBLICATION_TAG}` = {_quoted(publication)}")


def _quoted(text: str) -> str:
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def _alias(name: str, alias: str) -> str | None:
    model = _registered(name)
    number = None if model is None else model.aliases.get(alias)
    return None if number is None else str(number)


def _version(found: ModelVersion, model: RegisteredModel) -> Version:
    number = str(found.version)
    return Version(
        name=found.name,
        version=number,
        aliases=tuple(sorted(alias for alias, held in model.aliases.items() if str(held) == number)),
        run_id=found.run_id or None,
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC),
        tags=dict(found.tags),
        metrics=_metrics(found.run_id),
    )


def _metrics(run_id: str | None) -> dict[str, float]:
    if not run_id:
        return {}
    try:
        return dict(MlflowClient().get_run(run_id).data.metrics)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _require_champion(name: str, now: str | None, expected: str | None) -> None:
    if now != expected:
        was, now_is = (f"version {each}" if each else "no version" for each in (expected, now))
        raise ChampionChanged(f"model {name!r}: {now_is} serves by now, not {was}: judge again")


def _still_there(leaving: Version, before: str) -> Version:
    try:
        return find(leaving.name, before)
    except ModelError as error:
        raise ModelError(
            f"version {before}, which served before version {leaving.version}, was deleted; choose another with "
            f"som promote: {error}"
        ) from None


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

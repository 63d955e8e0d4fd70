"""Which versions of a registered model may go, and deleting them with their artifacts and runs.

Kept are versions with an alias, the one that `som rollback` leads to, the newest ones, and the young ones. Of another
one the files go first and the version last: interrupted and done again, it finds what is left by the same rule. A
version that has lost its files meanwhile has no alias, and gets none: it does not pass a smoke test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipelines.store.connection import mlflow_errors
from pipelines.store.locks import exclusive
from pipelines.store.names import CHAMPION, PREVIOUS_TAG
from pipelines.store.registry import versions
from pipelines.store.versions import Version
from pipelines.wording import counted

GONE = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


@dataclass(frozen=True)
class Retention:
    """What is kept for its own sake.

    Attributes:
        newest: How many of the newest versions.
        days: Versions that are younger.
    """

    newest: int
    days: float


@dataclass(frozen=True)
class Expired:
    """A version that goes.

    Attributes:
        version: Which one.
        megabytes: Of its files, those of its run included where that goes too.
        run: Whether it does: no version that stays comes from it.
    """

    version: Version
    megabytes: float
    run: bool


def reasons_to_keep(found: Sequence[Version], retention: Retention, now: datetime) -> dict[str, str]:
    """Why versions stay, by number; those without a reason may go.

    Args:
        found: All versions of a model, the newest first.
        retention: What is kept for its own sake.
        now: In UTC.
    """
    back = {each.tags.get(PREVIOUS_TAG) for each in found if CHAMPION in each.aliases}
    reasons = {}
    for i, each in enumerate(found):
        if each.aliases:
            reasons[each.version] = " and ".join(each.aliases)
        elif each.version in back:
            reasons[each.version] = "som rollback leads to it"
        elif i < retention.newest:
            reasons[each.version] = f"one of the newest {counted(retention.newest, 'version')}"
        elif each.created is None or now - each.created < timedelta(days=retention.days):
            reasons[each.version] = f"younger than {retention.days:g} days"
    return reasons


def expired(name: str, retention: Retention, now: datetime) -> list[Expired]:
    """The versions of a model that may go, the oldest first.

    Raises:
        ModelError: There is no such model.
    """
    found = versions(name)
    kept = reasons_to_keep(found, retention, now)
    runs = {each.run_id for each in found if each.version in kept}
    with mlflow_errors():
        return [
            Expired(each, _size(each, each.run_id not in runs), each.run_id is not None and each.run_id not in runs)
            for each in reversed(found)
            if each.version not in kept
        ]


def delete(name: str, each: Expired, retention: Retention, now: datetime) -> bool:
    """Delete a version with its files, and its run where that goes too; whether it was still one that may go."""
    with exclusive(name):
        found = versions(name)
        number = each.version.version
        if number in reasons_to_keep(found, retention, now) or number not in {other.version for other in found}:
            return False
        others = [other for other in found if other.version != number]
        with mlflow_errors():
            model_id = _model_id(each.version)
            if model_id is not None and model_id not in {_model_id(other) for other in others}:
                _delete_model(model_id)
            if each.run and each.version.run_id not in {other.run_id for other in others}:
                _delete_run(str(each.version.run_id))
            MlflowClient().delete_model_version(name, number)
    return True


def _size(version: Version, with_run: bool) -> float:
    repositories = [_model_files(_model_id(version)), _run_files(version.run_id) if with_run else None]
    return sum(_bytes(each) for each in repositories if each is not None) / 1e6


def _bytes(repository: ArtifactRepository, path: str | None = None) -> int:
    try:
        found = repository.list_artifacts(path)
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        return 0
    return sum(_bytes(repository, each.path) if each.is_dir else each.file_size or 0 for each in found)


def _model_id(version: Version) -> str | None:
    """The logged model of a version; None where it comes from elsewhere, whose files are none of our business."""
    source = str(MlflowClient().get_model_version(version.name, version.version).source)
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def _model_files(model_id: str | None) -> ArtifactRepository | None:
    if model_id is None:
        return None
    try:
        return get_artifact_repository(MlflowClient().get_logged_model(model_id).artifact_location)
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        return None


def _run_files(run_id: str | None) -> ArtifactRepository | None:
    if run_id is None:
        return None
    try:
        return get_artifact_repository(MlflowClient().get_run(run_id).info.artifact_uri)
    except MlflowException as error:
        if error.error_code not in GONE:
            raise
        return None


def _delete_model(model_id: str) -> None:
    files = _model_files(model_id)
    if files is not None:
        _delete_files(files)
        MlflowClient().delete_logged_model(model_id)


def _delete_run(run_id: str) -> None:
    files = _run_files(run_id)
    if files is None:
        return
    client = MlflowClient()
    if client.get_run(run_id).info.status == RunStatus.to_string(RunStatus.RUNNING):
        return  # somebody is at it, or `som close-stale` will find it
    _delete_files(files)
    client.delete_run(run_id)


def _delete_files(repository: ArtifactRepository) -> None:
    if repository.list_artifacts():
        repository.delete_artifacts()  # type: ignore[no-untyped-call]  # MLflow gives it no types

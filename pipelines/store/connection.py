"""The way to MLflow: which store, ready to be used; and what goes wrong on the way, as one line."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import TrackingError
from pipelines.interruption import deferred
from pipelines.masking import masked, masked_uri
from pipelines.store.addresses import (
    ARTIFACTS,
    DATABASE,
    SQLITE,
    artifact_root,
    is_server,
    sqlite_path,
    sqlite_uri,
    upgrade_command,
)
from pipelines.store.database import ready

Answer = TypeVar("Answer")

RACE = re.compile(r"UNIQUE constraint failed|duplicate key value|Duplicate entry|[Dd]eadlock|could not serialize")
RACES = 5  # that a write may lose in a row
OUTDATED = "out-of-date database schema"
# By the scheme of an artifact store: the module that reaches it, and what to install for it.
DRIVERS = {
    "s3": ("boto3", "som-pipelines[s3]"),
    "r2": ("boto3", "som-pipelines[s3]"),
    "b2": ("boto3", "som-pipelines[s3]"),
    "gs": ("google.cloud.storage", "som-pipelines[gcs]"),
    "wasbs": ("azure.storage.blob", "som-pipelines[azure]"),
    "abfss": ("azure.storage.filedatalake", "som-pipelines[azure]"),
    "sftp": ("pysftp", "pysftp"),
}


@contextmanager
def tracking_store(uri: str | None) -> Iterator[None]:
    """Let MLflow use a tracking store inside, which has its tables by then.

    Args:
        uri: Its address; None takes MLflow's own settings, and without any `mlflow.db` in the working folder.

    Raises:
        TrackingError: Its database cannot be made, or is not whole.
    """
    chosen = uri or _default()
    before = mlflow.get_tracking_uri() if _is_set() else None
    if chosen is not None:
        mlflow.set_tracking_uri(chosen)
    try:
        with mlflow_errors():
            ready(mlflow.get_tracking_uri())
        yield
    finally:
        if chosen is not None:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # None: as if none had been set


def _is_set() -> bool:
    return bool(mlflow.is_tracking_uri_set())  # type: ignore[no-untyped-call]


def _default() -> str | None:
    """The store of the working folder; None where the user has set one, or where MLflow finds one of its older kind."""
    if _is_set() or not mlflow.get_tracking_uri().startswith(SQLITE):
        return None
    return sqlite_uri(Path(DATABASE))


def store_address(uri: str | None) -> str:
    """The address that `tracking_store` takes, without making anything there."""
    return str(uri or _default() or mlflow.get_tracking_uri())


def connect(uri: str | None) -> None:
    """Make sure that the tracking store answers; a new SQLite store gets its tables here, which takes seconds.

    Raises:
        TrackingError: It cannot be reached, or refuses.
    """
    with tracking_store(uri), mlflow_errors():
        MlflowClient().search_experiments(max_results=1)


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of an experiment, made if need be, whose artifacts can be stored.

    Raises:
        TrackingError: It was deleted, or its artifacts need a package that is not installed.
    """
    known = client.get_experiment_by_name(name)
    if known is None:
        with suppress_existing():
            client.create_experiment(name, artifact_location=_artifact_location())
        known = client.get_experiment_by_name(name)  # ours, or that of another process that was faster
    if known is None or known.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking.experiment: {name!r} was deleted in MLflow: restore it there, or choose another name"
        )
    require_driver(str(known.artifact_location))
    return str(known.experiment_id)


def _artifact_location() -> str | None:
    """For MLflow to keep artifacts in the working folder where it would misread its name; None leaves it to MLflow."""
    root = artifact_root(Path.cwd())
    plain = root == str(Path.cwd() / ARTIFACTS)
    return None if plain or is_server(mlflow.get_tracking_uri()) else root


def require_driver(location: str) -> None:
    """Refuse a place for artifacts that cannot be reached from here, before there is anything to store.

    Args:
        location: Address of the artifacts of an experiment.

    Raises:
        TrackingError: The package for it is not installed; with what to install.
    """
    module, package = DRIVERS.get(urlsplit(location).scheme, (None, ""))
    if module is not None and not _installed(module):
        raise TrackingError(
            f"artifacts are kept in {masked_uri(location)}, which needs {module}, and that is not installed: "
            f"pip install '{package}'"
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def registry_store() -> str:
    """Where registered models are, without secrets; a SQLite file by one name, whatever the working folder."""
    uri = mlflow.get_registry_uri()
    path = sqlite_path(uri)
    return masked_uri(uri) if path is None else str(path.resolve())


# ---------------------------------------------------------------- what goes wrong


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Turns what MLflow raises inside into one line with the address of the store, without the secrets in either.

    A signal does not interrupt what MLflow does to a database itself: in the middle of a transaction that would leave a
    connection behind that locks the file for everyone, and first of all for the end of the run.
    """
    try:
        with nullcontext() if is_server(_uri()) else deferred():
            yield
    except ModuleNotFoundError as error:  # the driver of a database
        raise TrackingError(f"MLflow at {_store()} needs the package {error.name}, which is not installed") from error
    except TrackingError:
        raise
    except (MlflowException, RequestException, SQLAlchemyError, OSError, ValueError) as error:
        described = TrackingError(f"MLflow at {_store()}: {_reason(error)}")
        # A traceback that shows where it comes from would show the secret as well.
        raise described from (error if _harmless(error) else None)


def _store() -> str:
    return masked_uri(mlflow.get_tracking_uri())


def _harmless(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if masked(str(cause), mlflow.get_tracking_uri()) != str(cause):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def _reason(error: BaseException) -> str:
    """Why, in one line; of a failed connection the innermost reason, not the whole stack of clients around it."""
    cause: BaseException | None = error
    while cause is not None and "Max retries exceeded" in str(cause):
        cause = cause.__cause__ or cause.__context__
    text = str(cause or error).strip()
    if OUTDATED in text:
        return f"its schema is of another version of MLflow: copy it, then run: {upgrade_command(_uri())}"
    return masked(text.partition("\n")[0], _uri())


def _uri() -> str:
    return mlflow.get_tracking_uri()


@contextmanager
def suppress_existing() -> Iterator[None]:
    """Go on where what shall be made is there already."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def written(write: Callable[[], Answer]) -> Answer:
    """What a write to the store answers; done again where another process has written the same in between.

    MLflow looks for a row and adds it where there is none: of two processes that do so at once, one fails, and finds
    the row when it looks again.

    Args:
        write: May be done twice.
    """
    for _ in range(RACES - 1):
        try:
            return write()
        except (MlflowException, SQLAlchemyError) as error:
            if not RACE.search(str(error)):
                raise
    return write()

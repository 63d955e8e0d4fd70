"""What is asked of MLflow about registered models: one model, its versions, what is known of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from pipelines.errors import ModelError
from pipelines.store.connection import mlflow_errors
from pipelines.store.names import PUBLICATION_TAG
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


def registered(name: str) -> RegisteredModel | None:
    """The registered model of a name, None where there is none."""
    with mlflow_errors():
        found = mlflow.search_registered_models(max_results=1, filter_string=f"name = {quoted(name)}")
    return found[0] if found else None


def require_model(name: str) -> RegisteredModel:
    """The registered model of a name.

    Raises:
        ModelError: There is none; with the names of those that there are.
    """
    model = registered(name)
    if model is None:
        with mlflow_errors():
            names = [each.name for each in mlflow.search_registered_models()]
        raise ModelError(f"no registered model {name!r}: there are {some(names, NAMES_SHOWN) or 'none'}")
    return model


def search(name: str, condition: str = "", most: int | None = None) -> list[ModelVersion]:
    """Versions of a model that meet a condition, the newest first."""
    conditions = " AND ".join(filter(None, (f"name = {quoted(name)}", condition)))
    return mlflow.search_model_versions(most, conditions, order_by=["version_number DESC"])


def published(name: str, publication: str) -> list[ModelVersion]:
    """The versions that an act of publishing made."""
    return search(name, f"tags.`{PUBLICATION_TAG}` = {quoted(publication)}")


def quoted(text: str) -> str:
    """Text as MLflow's filters take it."""
    quote = '"' if "'" in text else "'"
    return f"{quote}{text}{quote}"


def alias_number(name: str, alias: str) -> str | None:
    """The number of the version that an alias points at, None where there is none."""
    model = registered(name)
    number = None if model is None else model.aliases.get(alias)
    return None if number is None else str(number)


def described(found: ModelVersion, model: RegisteredModel) -> Version:
    """What MLflow knows of a version."""
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

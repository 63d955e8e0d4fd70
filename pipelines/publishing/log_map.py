"""What a trained map leaves behind, wherever it was trained: the one way of a flow and of a notebook into MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipelines.data.scaling import Scaler
from pipelines.model.map_model import MapModel
from pipelines.model.profile import Profile
from pipelines.serving.smoke import smoke_test
from pipelines.store.names import DEVICE_TAG, MODEL_TAG
from pipelines.store.registry import publish
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version
from pipelines.training.analysis import Analysis, tables
from pipelines.training.fitting import TrainedMap, settings_taken
from pipelines.training.local_scores import LocalResults


@dataclass(frozen=True)
class LoggedMap:
    """Where a map went.

    Attributes:
        run_id: Its MLflow run.
        model_uri: What `mlflow.pyfunc.load_model` takes.
        metrics: Errors and scores that were logged.
        published: The registered version, None if it was not registered.
    """

    run_id: str
    model_uri: str
    metrics: Mapping[str, float]
    published: Version | None


def log_map(
    run: TrackedRun,
    trained: TrainedMap,
    analysis: Analysis,
    metrics: Mapping[str, float],
    scaler: Scaler,
    example: NDArray[Any],
    folder: Path,
    register_as: str | None,
    local: LocalResults | None = None,
    profile: Profile | None = None,
) -> LoggedMap:
    """Log a map with everything that was found out about it.

    Args:
        run: Where to.
        trained: The map and its curves; the curves are logged by `TrackedRun.epoch`.
        analysis: Maps and clusters, logged as tables.
        metrics: Errors and scores.
        scaler: How its samples were scaled; part of the model.
        example: Some samples in the units of the data, shape (n, d).
        folder: Figures and other files that shall be artifacts; the tables go there too.
        register_as: Name of the registered model that gets a new version, None for none.
        local: Local models of its targets, part of the model; None for none.
        profile: What its training rows looked like, part of the model; None where that is not known.
    """
    last_epoch = len(trained.quantization_errors) - 1
    run.params({f"som.{name}": value for name, value in settings_taken(trained.som).items()})
    run.params({} if local is None else local.params)
    run.metrics(metrics, step=last_epoch)
    write_tables(analysis, folder)
    run.files(folder)
    models = None if local is None else local.models
    model = MapModel(trained.som, scaler, analysis.clusters["labels"].cpu(), models, profile)
    model_id, digest = run.model(model, example, step=last_epoch)
    run.tags({MODEL_TAG: digest, DEVICE_TAG: str(trained.som.device)})
    published = None
    if register_as is not None:  # logged twice in one run, the same map is one version
        key, tags = f"{run.run_id}/{digest}", {MODEL_TAG: digest}
        published = publish(register_as, model_id, run.run_id, key, tags, check=smoke_test)
    return LoggedMap(run.run_id, f"models:/{model_id}", metrics, published)


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write every map and the clusters as Parquet files below a folder."""
    for path, table in tables(analysis).items():
        file = folder / f"{path}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(file)

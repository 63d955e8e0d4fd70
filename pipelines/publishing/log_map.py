"""Log a trained map to MLflow: the one way for flows and for notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.model.map_model import MapModel, reach_of
from pipelines.model.profile import Profile
from pipelines.serving.smoke import smoke_test
from pipelines.store.names import DEVICE_TAG, MODEL_TAG
from pipelines.store.registry import publish
from pipelines.store.tracking import Example, TrackedRun
from pipelines.store.versions import Version
from pipelines.training.analysis import Analysis, tables
from pipelines.training.findings import Findings
from pipelines.training.fitting import settings_taken
from somlib.utils.clustering import neuron_strength


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
    findings: Findings,
    example: Example,
    folder: Path,
    *,
    profile: Profile | None = None,
    register_as: str | None = None,
) -> LoggedMap:
    """Log a map with everything that was computed from it.

    Args:
        run: The run.
        findings: The map, its analysis and its local models; the curves are logged by `TrackedRun.epoch`.
        example: Some samples in the units of the data, shape (n, d), or rows as they are stored.
        folder: Figures and other files that become artifacts; the tables go there too.
        profile: What the training rows looked like, part of the model; None where that is not known.
        register_as: Name of the registered model that gets a new version; None for none.
    """
    som, local = findings.trained.som, findings.local
    last_epoch = len(findings.trained.quantization_errors) - 1
    run.params({f"som.{name}": value for name, value in settings_taken(som).items()})
    run.params({} if local is None else local.params)
    run.metrics(findings.metrics, step=last_epoch)
    write_tables(findings.analysis, folder)
    run.files(folder)
    clusters = findings.analysis.clusters
    strength = neuron_strength(clusters).cpu().double() if "probabilities" in clusters else None
    labels, reach = clusters["labels"].cpu(), reach_of(som)
    model = MapModel(som, findings.scaler, labels, findings.local_models, profile, strength, reach)
    model_id, digest = run.model(model, example, step=last_epoch)
    run.tags({MODEL_TAG: digest, DEVICE_TAG: str(som.device)})
    published = None
    if register_as is not None:  # logged twice in one run, the same map is one version
        key, tags = f"{run.run_id}/{digest}", {MODEL_TAG: digest}
        published = publish(register_as, model_id, run.run_id, key, tags, check=smoke_test)
    return LoggedMap(run.run_id, f"models:/{model_id}", findings.metrics, published)


def write_tables(analysis: Analysis, folder: Path) -> None:
    """Write every map and the clusters as Parquet files below a folder."""
    for path, table in tables(analysis).items():
        file = folder / f"{path}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(file)

"""For whoever trains a map by hand: one call that logs it like a flow would."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data.scaling import Scaler
from pipelines.errors import TrackingError
from pipelines.publishing.log_map import LoggedMap, log_map
from pipelines.report.facts import notebook_facts
from pipelines.report.page import write_page
from pipelines.report.steps import REPORT, report_content
from pipelines.settings.sections import AnalysisConfig
from pipelines.store.origin import environment_tags
from pipelines.store.run_life import active_run_id
from pipelines.store.tracking import TrackedRun
from pipelines.training.analysis import analyze, cluster_scores, train_scores
from pipelines.training.figures import draw_figures
from pipelines.training.findings import Findings
from pipelines.training.fitting import TrainedMap
from somlib import SOM
from somlib.core.trainer import EpochReport
from somlib.utils.inputs import feature_names as column_names
from somlib.utils.inputs import read_samples, read_targets


def log_som(  # seven arguments: a notebook has no configuration to put them in, and most are left out
    som: SOM,
    data: Any,
    *,
    target: Any = None,
    scaler: Any = None,
    feature_names: Sequence[str] | None = None,
    analysis: AnalysisConfig | None = None,
    register_as: str | None = None,
) -> LoggedMap:
    """Log a fitted map into the MLflow run that is open: params, curves, maps, clusters, figures, report, model.

    Args:
        som: A map after `fit`.
        data: What it was fitted to, shape (n, d): scaled, if it was scaled.
        target: What to read the map by: a frame, a mapping of names to values, or values of shape (n,) or (n, o); NaN
            where missing.
        scaler: The fitted scaler that made `data`, a scikit-learn `StandardScaler`, `MinMaxScaler` or `RobustScaler` or
            a `pipelines.data.scaling.Scaler`; the logged model then takes features in their own units. None: the model
            takes them as the map does.
        feature_names: Length d; None takes the columns of the frame that was fitted or given, else numbers.
        analysis: How neurons are clustered; None takes a mixture of Gaussians that are merged.
        register_as: Name of the registered model that gets a new version, None for none.

    Raises:
        TrackingError: No run is open, or MLflow refuses.
        ModelError: A scaler of another kind.
        somlib.errors.SomlibError: `data` or `target` do not fit the map.

    Example:
        Inside of `with mlflow.start_run():`, after `som.fit(data)`:
        `log_som(som, data, target=frame[["yield"]], scaler=scaler)`.
    """
    run_id = active_run_id()
    if run_id is None:
        raise TrackingError("log_som needs an open MLflow run: call it inside of `with mlflow.start_run():`")
    samples = (
        read_samples(data, num_features=som.num_features, missing=som.missing, names=som.feature_names)
        .cpu()
        .float()
        .numpy()
    )
    names = _names(som, data, feature_names)
    fitted = _as_scaler(scaler, names)
    trained = TrainedMap(som, som.quantization_errors, som.topographic_errors)
    run = TrackedRun(run_id)
    _log_curves(run, trained)
    analysis, targets = analysis or AnalysisConfig(), _targets(target, len(samples))
    found = analyze(som, samples, targets, fitted, analysis)
    findings = Findings(trained, found, train_scores(trained) | cluster_scores(found.clusters), fitted)
    run.tags(environment_tags())
    with TemporaryDirectory() as folder:
        draw_figures(trained, findings.analysis, Path(folder) / "figures")
        data = notebook_facts(som, samples, targets, fitted, analysis)
        write_page(report_content(run, data, findings, Path(folder)), Path(folder) / REPORT)
        return log_map(run, findings, fitted.inverse(samples[:100]), Path(folder), register_as=register_as)


def _names(som: SOM, data: Any, given: Sequence[str] | None) -> tuple[str, ...]:
    names = given or som.feature_names or column_names(data) or [f"feature_{i}" for i in range(som.num_features or 0)]
    return tuple(str(name) for name in names)


def _as_scaler(scaler: Any, names: tuple[str, ...]) -> Scaler:
    if scaler is None:
        return Scaler.identity(names)
    return scaler if isinstance(scaler, Scaler) else Scaler.from_sklearn(scaler, names)


def _targets(target: Any, n: int) -> dict[str, NDArray[np.float64]]:
    if target is None:
        return {}
    if isinstance(target, Mapping):
        return {str(name): read_targets(values, n)[:, 0].numpy() for name, values in target.items()}
    values = read_targets(target, n).numpy()
    single = getattr(target, "name", None)  # a series
    names = column_names(target) or ([str(single)] if single else None)
    names = names or (["target"] if values.shape[1] == 1 else [f"target_{i}" for i in range(values.shape[1])])
    return dict(zip(names, values.T, strict=True))


def _log_curves(run: TrackedRun, trained: TrainedMap) -> None:
    epochs = len(trained.quantization_errors)
    nan = float("nan")
    for epoch, (qe, te) in enumerate(zip(trained.quantization_errors, trained.topographic_errors, strict=True)):
        run.epoch(EpochReport(epoch, epochs, qe, te, sigma=nan, learning_rate=nan))

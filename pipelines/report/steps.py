"""The report as a step: written beside the other artifacts of a run that goes on, or made again for one that ended."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines.errors import TrackingError
from pipelines.model.map_model import MapModel
from pipelines.report.content import CLASS_PREDICTIONS, PREDICTIONS, PROFILES, ReportContent
from pipelines.report.facts import FACTS, ROWS, RunData
from pipelines.store.connection import connect, tracking_store
from pipelines.store.names import MODEL_TAG
from pipelines.store.tracking import TrackedRun
from pipelines.training.findings import Findings

REPORT = "report.html"
ARTIFACTS = (FACTS, ROWS, PREDICTIONS, CLASS_PREDICTIONS, "config.yaml", "maps", "clusters.parquet", PROFILES)
CURVES = ("qe", "te", "sigma")


def report_content(
    run: TrackedRun,
    data: RunData,
    findings: Findings,
    folder: Path,
    config: str | None = None,
) -> ReportContent:
    """What the page of a run shows; written into the folder of its artifacts, so that the page can be made again.

    Args:
        run: Which run it is.
        data: What is known about its data.
        findings: The map and what was computed from it.
        folder: Where the files go.
        config: The experiment as YAML, None for a map that was trained by hand.
    """
    data = data.clustered(findings.analysis.clusters, findings.trained.som.grid)
    data.write(folder)
    if findings.answers is not None:
        findings.answers.write_parquet(folder / PREDICTIONS)
    if findings.class_answers is not None:
        findings.class_answers.write_parquet(folder / CLASS_PREDICTIONS)
    return ReportContent.of_findings(run.facts(), data, findings, config)


def remake_report(run_id: str, file: Path, uri: str | None = None) -> str:
    """Make the report of a run that has ended again, from its artifacts; write it, and log it to the run.

    Args:
        run_id: The run in MLflow.
        file: Where to write it; replaced if it is there.
        uri: The tracking store; None takes MLflow's own settings.

    Returns:
        Address of the logged report.

    Raises:
        TrackingError: No such run, or an artifact that is needed is missing or damaged.
        ModelError: Its model is damaged.
    """
    from pipelines.report.page import render_report  # Bokeh and matplotlib take a second to import

    with tracking_store(uri), TemporaryDirectory() as name:
        connect(None)
        run = TrackedRun(run_id)
        page = render_report(stored_content(run, Path(name)))
        try:
            file.write_text(page, encoding="utf-8")
        except OSError as error:
            raise TrackingError(f"{file} cannot be written: {error.strerror}") from error
        return run.file(file, REPORT)


def stored_content(run: TrackedRun, folder: Path) -> ReportContent:
    """What the report of a run shows, from its artifacts, which are fetched into an empty folder."""
    model = MapModel.load(run.fetch_model(folder / "model"), run.facts().tags.get(MODEL_TAG))
    run.fetch(ARTIFACTS, folder)
    curves = {name: run.history(name) for name in CURVES}
    return ReportContent.of_artifacts(run.facts(), folder, model, run.last_metrics(), curves)

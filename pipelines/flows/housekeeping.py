"""Close what dead processes left open, and say how things stand."""

from prefect import flow

from pipelines.flows.prefect_run import publish_summary
from pipelines.operations.stale import close_stale_runs
from pipelines.operations.status import Status, status
from pipelines.progress import tell
from pipelines.settings.config import PipelineConfig


@flow(name="som-housekeeping")
def housekeeping_flow(config: PipelineConfig) -> Status:
    """Close the runs in MLflow that nobody runs any more, and publish how the experiment stands as an artifact.

    Args:
        config: The experiment. Runs are closed in its whole tracking store.

    Raises:
        pipelines.errors.PipelineError: MLflow or Prefect cannot be reached, or refuse.
    """
    closed = close_stale_runs(config.tracking.uri)
    tell(f"run {each.run.name} of {each.run.experiment} was left open, {each.reason}: FAILED now" for each in closed)
    now = status(config)
    publish_summary(f"som-status-{config.name}", now.markdown())
    return now

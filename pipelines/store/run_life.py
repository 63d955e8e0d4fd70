"""The life of a run in MLflow: opened, closed with its outcome however the process leaves, opened again."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import mlflow
from mlflow import MlflowClient

from pipelines.errors import TrackingError
from pipelines.interruption import deferred, interruption, last_act
from pipelines.masking import masked
from pipelines.store.connection import experiment_id, mlflow_errors, tracking_store
from pipelines.store.names import FAILURE_TAG, PROCESS_TAG
from pipelines.store.processes import ProcessName
from pipelines.store.tracking import REASON_CHARACTERS, TrackedRun

logger = logging.getLogger(__name__)


def active_run_id() -> str | None:
    """The run that `mlflow.start_run` opened in this thread, if any."""
    run = mlflow.active_run()
    return None if run is None else str(run.info.run_id)


@contextmanager
def open_run(
    experiment: str, uri: str | None, tags: Mapping[str, str | None], name: str | None
) -> Iterator[TrackedRun]:
    """A new run, FINISHED when the block ends, FAILED with its reason in the tag `som.failure` when it raises.

    A run that was discarded in the block is left alone.

    Args:
        experiment: Its experiment, made if need be.
        uri: The tracking store; None takes MLflow's own settings.
        tags: To set on the run.
        name: Of the run; None lets MLflow think of one.

    Raises:
        TrackingError: The store cannot be reached, or refuses.
    """
    with tracking_store(uri), ExitStack() as stack:
        with deferred():  # a run that is there has somebody who ends it
            with mlflow_errors():
                client = MlflowClient()
                given = {key: value for key, value in tags.items() if value} | {PROCESS_TAG: str(ProcessName.own())}
                run = client.create_run(experiment_id(client, experiment), run_name=name, tags=given)
            tracked = stack.enter_context(_until_its_end(TrackedRun(run.info.run_id)))
        yield tracked


@contextmanager
def reopened_run(run_id: str) -> Iterator[TrackedRun]:
    """A run of the current tracking store that was left before its end, open again; it ends as in `open_run`.

    Raises:
        TrackingError: The store cannot be reached, or refuses.
    """
    tracked = TrackedRun(run_id)
    with ExitStack() as stack:
        with deferred():
            with mlflow_errors():
                tracked.client.update_run(run_id, status="RUNNING")
                tracked.client.set_tag(run_id, PROCESS_TAG, str(ProcessName.own()))
                if FAILURE_TAG in tracked.client.get_run(run_id).data.tags:
                    tracked.client.delete_tag(run_id, FAILURE_TAG)
            stack.enter_context(_until_its_end(tracked))
        yield tracked


@contextmanager
def _until_its_end(tracked: TrackedRun) -> Iterator[TrackedRun]:
    with last_act(lambda: _close(tracked, interruption() or KeyboardInterrupt())):
        try:
            yield tracked
            tracked.flush()
            if not tracked.ended:
                with deferred(), mlflow_errors():  # what has ended well is not ended otherwise by a signal just then
                    tracked.client.set_terminated(tracked.run_id, "FINISHED")
                    tracked.ended = True
        except BaseException as error:  # broad: whatever ends the block ends the run; a library may have changed it
            _close(tracked, interruption() or error)
            raise


def _close(tracked: TrackedRun, error: BaseException) -> None:
    """End a run that failed, unless it has ended; must not hide why, so what goes wrong here is only logged."""
    if tracked.ended:
        return
    interrupted = not isinstance(error, Exception)
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}".rstrip(": ")
    try:
        with mlflow_errors():  # first of all: a process that is asked to end may have time for no more
            tracked.client.set_terminated(tracked.run_id, "KILLED" if interrupted else "FAILED")
        tracked.tags({FAILURE_TAG: masked(reason, mlflow.get_tracking_uri())[:REASON_CHARACTERS]})
        tracked.flush()
    except TrackingError as second:
        logger.warning("the failure of run %s could not be recorded: %s", tracked.run_id, second)

"""Runs that are in MLflow already: finding them, and closing one that nobody will close any more."""

from collections.abc import Sequence
from datetime import UTC, datetime

from mlflow import MlflowClient

from pipelines.store.connection import mlflow_errors
from pipelines.store.names import CURVE, FAILURE_TAG, PROCESS_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.tracking import REASON_CHARACTERS

MOST = 500


def last_run(experiment: str, kind: str) -> RunFacts | None:
    """The newest run of a kind (tag `som.kind`: train, retrain, refresh) in an experiment; None where there is none."""
    with mlflow_errors():
        client = MlflowClient()
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        runs = _search(client, [found.experiment_id], f"tags.`som.kind` = '{kind}'", most=1)
    return runs[0] if runs else None


def newest_start() -> datetime | None:
    """When the newest run of all experiments began, in UTC; None where there is none."""
    with mlflow_errors():
        client = MlflowClient()
        experiments = [each.experiment_id for each in client.search_experiments()]
        found = _search(client, experiments, "", most=1)
    return found[0].started if found else None


def open_runs() -> list[RunFacts]:
    """The runs that MLflow calls running and that processes of ours opened, in all experiments."""
    with mlflow_errors():
        client = MlflowClient()
        experiments = [each.experiment_id for each in client.search_experiments()]
        return _search(client, experiments, f"attributes.status = 'RUNNING' AND tags.`{PROCESS_TAG}` LIKE '%'", MOST)


def last_point(run_id: str) -> datetime | None:
    """When a run last wrote a point of its training curve, in UTC; None where it has written none."""
    with mlflow_errors():
        points = MlflowClient().get_metric_history(run_id, CURVE)
    return max((datetime.fromtimestamp(point.timestamp / 1000, tz=UTC) for point in points), default=None)


def close(run_id: str, reason: str) -> bool:
    """Mark a run as FAILED with its reason in the tag `som.failure`; whether it was still open."""
    with mlflow_errors():
        client = MlflowClient()
        if client.get_run(run_id).info.status != "RUNNING":
            return False  # it has ended by itself since it was looked at
        client.set_tag(run_id, FAILURE_TAG, reason[:REASON_CHARACTERS])
        client.set_terminated(run_id, "FAILED")
    return True


def _search(client: MlflowClient, experiments: Sequence[str], condition: str, most: int) -> list[RunFacts]:
    names = {each: client.get_experiment(each).name for each in experiments}
    found = client.search_runs(
        list(experiments), filter_string=condition, max_results=most, order_by=["attributes.start_time DESC"]
    )
    return [
        RunFacts(
            run.info.run_id,
            run.info.run_name,
            names[run.info.experiment_id],
            datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC),
            run.data.tags,
        )
        for run in found
    ]

"""The flows as deployments run them: with the name of a configuration file in place of its content.

The file is read when a run starts, so that the next run follows what was changed in it without a new deployment. Each
is the flow of the same name: one run in Prefect, which the other flow's steps belong to.
"""

from prefect import flow

from pipelines.flows.housekeeping import housekeeping_flow
from pipelines.flows.refresh import refresh_flow
from pipelines.flows.retrain import retrain_flow
from pipelines.flows.train import train_flow
from pipelines.operations.status import Status
from pipelines.publishing.train_result import TrainResult
from pipelines.refreshing.refresh_result import RefreshResult
from pipelines.retraining.retrain_result import RetrainResult
from pipelines.settings.config import load_config


@flow(name=train_flow.name)
def train(config: str, overrides: tuple[str, ...] = ()) -> TrainResult:
    """Train a map, analyze, measure and draw it, log it to MLflow, register the model.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file, such as `som.epochs=40`.
    """
    return train_flow.fn(load_config(config, overrides))


@flow(name=retrain_flow.name)
def retrain(config: str, overrides: tuple[str, ...] = ()) -> RetrainResult:
    """Train a challenger on the newest window, evaluate it against the champion, promote it or keep the champion.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    return retrain_flow.fn(load_config(config, overrides))


@flow(name=refresh_flow.name)
def refresh(config: str, overrides: tuple[str, ...] = ()) -> RefreshResult:
    """Let the local models of the champion learn the labelled rows that have come since.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    return refresh_flow.fn(load_config(config, overrides))


@flow(name=housekeeping_flow.name)
def housekeeping(config: str, overrides: tuple[str, ...] = ()) -> Status:
    """Close runs in MLflow that a dead process left open, and publish the status.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    return housekeeping_flow.fn(load_config(config, overrides))

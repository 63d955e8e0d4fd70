"""The flows as deployments run them: with the name of a configuration file in place of its content.

The file is read when a run starts, so that the next run follows what was changed in it without a new deployment. Each
is the flow of the same name: one run in Prefect, which the other flow's steps belong to.

A flow is imported when it runs: `som deploy` and the worker import this file only to find what it can be given, and the
flow of an hour need not load what the one of a week draws with.
"""

from typing import TYPE_CHECKING

from prefect import flow

from pipelines.settings.config import load_config

if TYPE_CHECKING:
    from pipelines.operations.status import Status
    from pipelines.publishing.train_result import TrainResult
    from pipelines.refreshing.refresh_result import RefreshResult
    from pipelines.retraining.retrain_result import RetrainResult


@flow(name="som-train")
def train(config: str, overrides: tuple[str, ...] = ()) -> "TrainResult":
    """Train a map, analyze, measure and draw it, log it to MLflow, register the model.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file, such as `som.epochs=40`.
    """
    from pipelines.flows.train import train_flow

    return train_flow.fn(load_config(config, overrides))


@flow(name="som-retrain")
def retrain(config: str, overrides: tuple[str, ...] = ()) -> "RetrainResult":
    """Train a challenger on the newest window, evaluate it against the champion, promote it or keep the champion.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    from pipelines.flows.retrain import retrain_flow

    return retrain_flow.fn(load_config(config, overrides))


@flow(name="som-refresh")
def refresh(config: str, overrides: tuple[str, ...] = ()) -> "RefreshResult":
    """Let the local models of the champion learn the labelled rows that have come since.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    from pipelines.flows.refresh import refresh_flow

    return refresh_flow.fn(load_config(config, overrides))


@flow(name="som-housekeeping")
def housekeeping(config: str, overrides: tuple[str, ...] = ()) -> "Status":
    """Close runs in MLflow that a dead process left open, and publish the status.

    Args:
        config: Configuration file, as the worker sees it.
        overrides: Settings in place of those of the file.
    """
    from pipelines.flows.housekeeping import housekeeping_flow

    return housekeeping_flow.fn(load_config(config, overrides))

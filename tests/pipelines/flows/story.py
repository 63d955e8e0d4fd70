"""One experiment through three flows, for tests that share what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import polars as pl

from pipelines.flows import refresh_flow, retrain_flow, train_flow
from pipelines.publishing.train_result import TrainResult
from pipelines.refreshing.refresh_result import RefreshResult
from pipelines.retraining.retrain_result import RetrainResult
from pipelines.settings.config import PipelineConfig
from tests.pipelines.flows.conftest import Shop


@dataclass(frozen=True)
class Story:
    """What the flows made of a table, one after the other."""

    trained: TrainResult
    refreshed: RefreshResult
    retrained: RetrainResult
    artifacts: Path

    @classmethod
    def of(cls, shop: Shop, rows: pl.DataFrame, first: int, experiment: Callable[[Path], PipelineConfig]) -> "Story":
        """Train on the `first` rows of a table, then refresh and retrain on all, by an experiment on its file."""
        path = shop.folder / "data.parquet"
        rows[:first].write_parquet(path)
        trained = train_flow(experiment(path))
        rows.write_parquet(path)
        refreshed, retrained = refresh_flow(experiment(path)), retrain_flow(experiment(path))
        return cls(trained, refreshed, retrained, Path(mlflow.artifacts.download_artifacts(run_id=trained.run_id)))

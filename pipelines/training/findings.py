"""All that a training found, as one value: what the report shows and what is logged."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.data.scaling import Scaler
from pipelines.model.local_models import LocalModels
from pipelines.training.analysis import Analysis
from pipelines.training.fitting import TrainedMap
from pipelines.training.local_scores import LocalResults


@dataclass(frozen=True)
class Findings:
    """A trained map with everything that was computed from it.

    Attributes:
        trained: The map and its curves.
        analysis: Maps and clusters.
        metrics: Errors and scores by name, those of local models among them.
        scaler: How the samples of the map were scaled.
        local: Local models of the targets with their scores; None without any.
    """

    trained: TrainedMap
    analysis: Analysis
    metrics: Mapping[str, float]
    scaler: Scaler
    local: LocalResults | None = None

    @property
    def local_models(self) -> LocalModels | None:
        """The local models; None without any."""
        return None if self.local is None else self.local.models

    @property
    def answers(self) -> pl.DataFrame | None:
        """What local models and their rivals answer to held-out rows, see `LocalResults.answers`."""
        return None if self.local is None else self.local.answers

    @property
    def class_answers(self) -> pl.DataFrame | None:
        """The same of targets that are classes, see `LocalResults.class_answers`."""
        return None if self.local is None else self.local.class_answers

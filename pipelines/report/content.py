"""Everything that a report shows, as plain arrays: from a run that goes on, or from the artifacts of one that ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.errors import TrackingError
from pipelines.report.facts import Facts, RunData
from pipelines.store.origin import RunFacts
from pipelines.training.analysis import ClassMaps, class_maps_of, cluster_profiles
from somlib import SOM

if TYPE_CHECKING:
    from pipelines.model.map_model import MapModel
    from pipelines.training.findings import Findings

Floats = NDArray[np.float64]
TARGET_STATISTICS = ("mean", "std")
PREDICTIONS, CLASS_PREDICTIONS = "jitl.parquet", "jitl_classes.parquet"
PROFILES = "cluster_profiles.parquet"


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything that a report shows; maps are in flat order.

    Attributes:
        run: Which run it is.
        som: The map.
        facts: What is known about its data.
        rows: Where every row fell, see `row_table`; None where that was not kept.
        features: Their names.
        planes: Weights in the units of the data, shape (m, d).
        hits: Training rows of each neuron, shape (m,).
        distances: Mean distance of each neuron to its neighbors, scaled to at most 1, shape (m,).
        targets: By name: `mean` and `std` of the target at each neuron, NaN where it has no value, shape (m,) each.
        labels: Cluster of each neuron from 1, noise is -1, shape (m,).
        profiles: What the training rows of each cluster are like, see `cluster_profiles`; None for a run of a version
            that did not keep it.
        metrics: Errors and scores; those that are not defined may be absent.
        quantization_errors: One an epoch.
        topographic_errors: One an epoch, as a fraction.
        sigmas: Neighborhood radius of each epoch, None where it was not recorded.
        config: The experiment as YAML, None for a map that was trained by hand.
        predictions: What local models and their rivals say to held-out rows, see `LocalResults.answers`; None without
            local models, or without held-out rows.
        classes: Maps of the targets that are classes, by name.
        class_predictions: As `predictions`, of these, see `LocalResults.class_answers`.
    """

    run: RunFacts
    som: SOM
    facts: Facts
    rows: pl.DataFrame | None
    features: tuple[str, ...]
    planes: Floats
    hits: Floats
    distances: Floats
    targets: Mapping[str, Mapping[str, Floats]]
    labels: NDArray[np.int64]
    profiles: pl.DataFrame | None
    metrics: Mapping[str, float]
    quantization_errors: Sequence[float]
    topographic_errors: Sequence[float]
    sigmas: Sequence[float] | None
    config: str | None
    predictions: pl.DataFrame | None = None
    classes: Mapping[str, ClassMaps] = field(default_factory=dict)
    class_predictions: pl.DataFrame | None = None

    @classmethod
    def of_findings(cls, run: RunFacts, data: RunData, findings: "Findings", config: str | None) -> Self:
        """The content for a run that is going on; `config` is the experiment as YAML."""
        trained, analysis = findings.trained, findings.analysis
        return cls(
            run=run,
            som=trained.som,
            facts=data.facts,
            rows=data.rows,
            features=analysis.features,
            planes=analysis.planes.reshape(-1, len(analysis.features)),
            hits=analysis.hits.ravel(),
            distances=analysis.distances.ravel(),
            targets={
                name: {statistic: target.maps[statistic].ravel() for statistic in TARGET_STATISTICS}
                for name, target in analysis.targets.items()
            },
            labels=analysis.clusters["labels"].cpu().numpy(),
            profiles=cluster_profiles(analysis),
            metrics=findings.metrics,
            quantization_errors=trained.quantization_errors,
            topographic_errors=trained.topographic_errors,
            sigmas=trained.sigmas,
            config=config,
            predictions=findings.answers,
            classes=analysis.classes,
            class_predictions=findings.class_answers,
        )

    @classmethod
    def of_artifacts(
        cls,
        run: RunFacts,
        folder: Path,
        model: "MapModel",
        metrics: Mapping[str, float],
        curves: Mapping[str, Sequence[float]],
    ) -> Self:
        """The content for a run that has ended.

        Args:
            run: Which.
            folder: Its artifacts.
            model: The model that it logged.
            metrics: The last value of each metric.
            curves: `qe`, `te` and, where recorded, `sigma` by epoch.

        Raises:
            TrackingError: An artifact that is needed is missing or damaged.
        """
        data = RunData.read(folder)
        features, stems = tuple(data.facts.features), data.facts.stems
        target_maps = {
            name: {s: _column(folder, f"maps/target_{stems[name]}", s) for s in TARGET_STATISTICS}
            for name in data.facts.targets
        }
        config = folder / "config.yaml"
        return cls(
            run=run,
            som=model.som,
            facts=data.facts,
            rows=data.rows,
            features=features,
            planes=_table(folder, "maps/component_planes")[list(features)].to_numpy().astype(np.float64),
            hits=_column(folder, "maps/hits", "hits"),
            distances=_column(folder, "maps/distances", "distance"),
            targets=target_maps,
            labels=_column(folder, "clusters", "cluster").astype(np.int64),
            profiles=_table(folder, "cluster_profiles") if (folder / PROFILES).is_file() else None,
            metrics=metrics,
            quantization_errors=curves["qe"],
            topographic_errors=_padded(curves["te"], len(curves["qe"])),
            sigmas=curves["sigma"] if len(curves["sigma"]) == len(curves["qe"]) else None,
            config=config.read_text(encoding="utf-8") if config.is_file() else None,
            predictions=_table(folder, "jitl") if (folder / PREDICTIONS).is_file() else None,
            classes={
                name: class_maps_of(_table(folder, f"maps/target_{stems[name]}"), tuple(facts.rows), model.som.grid)
                for name, facts in data.facts.classes.items()
            },
            class_predictions=_table(folder, "jitl_classes") if (folder / CLASS_PREDICTIONS).is_file() else None,
        )

    def metric(self, name: str) -> float:
        """A metric, NaN where it is not defined."""
        return self.metrics.get(name, np.nan)


def _table(folder: Path, path: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(folder / f"{path}.parquet", glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TrackingError(f"{path}.parquet of the run cannot be read: {str(error).partition(chr(10))[0]}") from error


def _column(folder: Path, path: str, name: str) -> Floats:
    return _table(folder, path)[name].cast(pl.Float64).fill_null(np.nan).to_numpy().astype(np.float64)


def _padded(curve: Sequence[float], length: int) -> list[float]:
    """A curve whose values are not defined, and thus not in MLflow, filled up with NaN."""
    return [*curve, *[np.nan] * (length - len(curve))]

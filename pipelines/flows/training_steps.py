"""The steps that training flows share: local models, analysis, figures, report and log."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from pipelines.flows import tasks
from pipelines.flows.publication import FIGURES
from pipelines.progress import Stages
from pipelines.publishing.log_map import LoggedMap
from pipelines.report.steps import REPORT
from pipelines.second_process import SecondProcess
from pipelines.settings.config import PipelineConfig
from pipelines.store.finished import Work
from pipelines.store.names import MODEL_TAG
from pipelines.store.tracking import TrackedRun
from pipelines.training.analysis import Analysis
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.findings import Findings
from pipelines.training.fitting import TrainedMap
from pipelines.training.local_scores import LocalResults
from pipelines.training.plan import Prepared
from somlib import SOM
from somlib.utils.clustering import ClusterResult
from somlib.utils.winners import Winners


def checkpoints_of(config: PipelineConfig, work: Work) -> Checkpoints:
    """Where a training that does this work keeps its checkpoint."""
    return Checkpoints(Path(config.runtime.state), config.name, work.key, config.runtime.checkpoint_seconds)


def _on_cpu(som: SOM) -> SOM:
    return som if som.device.type == "cpu" else deepcopy(som).to("cpu")


def _of_neurons(analysis: Analysis) -> Analysis:
    """What the figures show, without what is known of each row, on the CPU."""
    clusters = {name: each.cpu() if isinstance(each, Tensor) else each for name, each in analysis.clusters.items()}
    return replace(
        analysis, clusters=cast(ClusterResult, clusters), winner=np.empty(0, dtype=np.int64), distance=np.empty(0)
    )


@dataclass(frozen=True)
class Training:
    """What the steps of one training share.

    Attributes:
        config: The experiment.
        run: The MLflow run.
        stages: Its stages.
        prepared: The rows, scaled and split, and the plan.
        work: What is being done, by which a later run recognizes it.
        folder: A temporary folder.
        drawing: Who draws the figures and writes the page.
    """

    config: PipelineConfig
    run: TrackedRun
    stages: Stages
    prepared: Prepared
    work: Work
    folder: Path
    drawing: SecondProcess

    @property
    def artifacts(self) -> Path:
        """Folder of the files that become artifacts of the run; made if need be."""
        artifacts = self.folder / "artifacts"
        artifacts.mkdir(exist_ok=True)
        return artifacts

    @property
    def row_counts(self) -> Mapping[str, float]:
        """Numbers of rows, as metrics."""
        return {f"rows/{name}": float(count) for name, count in self.prepared.plan.rows.items()}

    def version_tags(self) -> dict[str, str]:
        """Tags of the version that the run registers."""
        return {MODEL_TAG: self.run.facts().tags[MODEL_TAG]}

    def learn_targets(self, som: SOM, stage: str = "local models") -> LocalResults | None:
        """Local models of the targets on a trained map; None where the plan has none."""
        config, samples = self.config, self.prepared.samples
        if not self.prepared.plan.local.rows:
            return None
        with self.stages(stage, rows=len(samples.train) * len(samples.targets)):
            return tasks.learn_targets(som, samples, config.jitl, config.som.random_seed, config.runtime.threads)

    def analyze(self, som: SOM, winners: Winners | None = None) -> Analysis:
        """Maps and clusters of a trained map, whose training may have left the winners of its rows."""
        samples = self.prepared.samples
        train = samples.train
        return tasks.analyze(
            som, train.samples, samples.targets, samples.scaler, self.config.analysis, winners, train.classes
        )

    def measure(self, trained: TrainedMap, analysis: Analysis) -> dict[str, float]:
        """Errors of a map on training and held-out rows, and scores of its clusters."""
        return tasks.measure(trained, self.prepared.samples.heldout.samples, analysis.clusters)

    def begin_figures(self, trained: TrainedMap, analysis: Analysis) -> None:
        """Let the figures be drawn from now on; they are there once `log` has drawn."""
        trained = replace(trained, som=_on_cpu(trained.som), winners=None)
        self.drawing.submit(
            "pipelines.training.figures:draw_figures", trained, _of_neurons(analysis), self.artifacts / FIGURES
        )

    def log(self, findings: Findings) -> LoggedMap:
        """Report and log what was found, and wait for the figures; stages `draw` and `log`."""
        som, prepared, artifacts = findings.trained.som, self.prepared, self.artifacts
        with self.stages("draw"):
            data = tasks.flow_facts(som, self.config, prepared)
            content = tasks.report_content(self.run, data, findings, artifacts, self.config.to_yaml())
            self.drawing.submit(
                "pipelines.report.page:write_page", replace(content, som=_on_cpu(som)), artifacts / REPORT
            )
            tasks.draw(self.drawing)
        with self.stages("log"):
            (artifacts / "config.yaml").write_text(self.config.to_yaml(), encoding="utf-8")
            profile = tasks.profile_training(som, prepared.dataset, prepared.samples, findings.local, findings.analysis)
            example = prepared.dataset.examples
            return tasks.log_map(self.run, findings, example, artifacts, profile=profile)

"""The steps that training flows share: local models, analysis, figures, report and log."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.flows import tasks
from pipelines.flows.publication import FIGURES
from pipelines.progress import Stages
from pipelines.publishing.log_map import LoggedMap
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


def checkpoints_of(config: PipelineConfig, work: Work) -> Checkpoints:
    """Where a training that does this work keeps its checkpoint."""
    return Checkpoints(Path(config.runtime.state), config.name, work.key, config.runtime.checkpoint_seconds)


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
    """

    config: PipelineConfig
    run: TrackedRun
    stages: Stages
    prepared: Prepared
    work: Work
    folder: Path

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

    def analyze(self, som: SOM) -> Analysis:
        """Maps and clusters of a trained map."""
        samples = self.prepared.samples
        return tasks.analyze(som, samples.train.samples, samples.targets, samples.scaler, self.config.analysis)

    def measure(self, trained: TrainedMap, analysis: Analysis) -> dict[str, float]:
        """Errors of a map on training and held-out rows, and scores of its clusters."""
        return tasks.measure(trained, self.prepared.samples.heldout.samples, analysis.clusters)

    def log(self, findings: Findings) -> LoggedMap:
        """Draw, report and log what was found; stages `draw` and `log`."""
        som, prepared, artifacts = findings.trained.som, self.prepared, self.artifacts
        with self.stages("draw"):
            tasks.draw_figures(findings.trained, findings.analysis, artifacts / FIGURES)
            data = tasks.flow_facts(som, self.config, prepared)
            tasks.write_report(self.run, data, findings, artifacts, self.config.to_yaml())
        with self.stages("log"):
            (artifacts / "config.yaml").write_text(self.config.to_yaml(), encoding="utf-8")
            profile = tasks.profile_training(som, prepared.dataset, prepared.samples, findings.local, findings.analysis)
            example = prepared.dataset.examples
            return tasks.log_map(self.run, findings, example, artifacts, profile=profile)

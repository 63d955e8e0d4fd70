"""The steps of a retraining: train and align a challenger, evaluate it against the champion, register, promote."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.data import Dataset
from pipelines.errors import ChampionChanged
from pipelines.flows import tasks
from pipelines.flows.publication import FIGURES, finish_publication
from pipelines.flows.training_steps import Training, checkpoints_of
from pipelines.model.map_model import MapModel
from pipelines.monitoring.drift import DriftReport
from pipelines.progress import announced, tell
from pipelines.publishing.log_map import LoggedMap
from pipelines.retraining.decision import Record
from pipelines.retraining.evaluation import Candidate, better, require_comparable
from pipelines.retraining.map_alignment import AlignedMap
from pipelines.retraining.retrain_result import Evaluation, RetrainResult
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry, servable
from pipelines.store.finished import Work
from pipelines.store.locks import exclusive
from pipelines.store.names import DRIFT_TAG
from pipelines.store.tracking import REASON_CHARACTERS
from pipelines.store.versions import Version
from pipelines.training.analysis import Analysis
from pipelines.training.findings import Findings
from pipelines.training.fitting import TrainedMap, in_units_of
from pipelines.training.local_scores import LocalResults
from pipelines.training.plan import weighted
from somlib.core.trainer import EpochReport, OnEpoch

KIND = "retrain"
MOST_EVALUATIONS = 3  # of one challenger, where the champion changes during its evaluation
STABILITY = "cluster_stability"  # adjusted Rand index of the rows' clusters on both maps


@dataclass(frozen=True)
class Champion:
    """The version that serves, and its model."""

    version: Version
    model: MapModel

    @property
    def reference(self) -> Candidate:
        """Its map, whose units and metric distances are measured in."""
        return Candidate(self.model.som, self.model.scaler)


def fetch_champion(config: PipelineConfig, dataset: Dataset, folder: Path) -> Champion | None:
    """The version that serves now, fetched into a folder; None where none does.

    Raises:
        ModelError: It cannot be evaluated on these rows.
    """
    version = registry.champion(config.model_name)
    if version is None:
        return None
    model = servable.fetch(version, folder / f"version-{version.version}")
    require_comparable(model, config, dataset)
    return Champion(version, model)


def forget_checkpoints(config: PipelineConfig, work: Work) -> None:
    """Remove the checkpoints of a retraining."""
    for each in (work, _from_scratch(work)):
        checkpoints_of(config, each).remove()


def _from_scratch(work: Work) -> Work:
    """The part of the work that has checkpoints of its own."""
    return replace(work, kind=f"{KIND} from scratch")


@dataclass(frozen=True)
class Challenger:
    """A trained map, aligned to the champion, with its local models.

    Attributes:
        trained: The map.
        local: Local models of its targets; None where there are none.
        moved: How far it lies from the champion, and how many rows kept their cluster, as metrics.
    """

    trained: TrainedMap
    local: LocalResults | None
    moved: Mapping[str, float]


@dataclass(frozen=True)
class Retraining(Training):
    """A training whose map is a challenger."""

    def drift(self, champion: Champion | None) -> DriftReport | None:
        """How far the held-out rows have drifted from what the champion was trained on; None where that is unknown."""
        if champion is None or champion.model.profile is None:
            return None
        prepared = self.prepared
        assigned = tasks.assigned_rows(champion.model, prepared.dataset, prepared.samples.heldout.numbers)
        report = tasks.drift(champion.model.profile, assigned, self.config.drift)
        reasons = "" if report.level == "none" else f": {'; '.join(report.reasons)}"
        self.run.tags({DRIFT_TAG: f"{report.level}{reasons}"[:REASON_CHARACTERS]})
        self.run.metrics(report.metrics)
        return report

    # ---------------------------------------------------------------- training

    def challenger(self, champion: Champion | None) -> Challenger:
        """The map to be evaluated: started from the champion, or the better of that and one from scratch."""
        if champion is None or not self.config.retrain.from_scratch:
            return self._trained(champion, "train", self.work, self.run.epoch)
        warm_epochs: list[EpochReport] = []
        scratch_epochs: list[EpochReport] = []
        warm = self._trained(champion, "train", self.work, warm_epochs.append)
        cold = self._trained(champion, "train from scratch", _from_scratch(self.work), scratch_epochs.append)
        records = [self._record(self._candidate(each), champion.reference) for each in (warm, cold)]
        chosen = better(records, self.config.promotion)
        start = ("that started from the champion", "from scratch")[chosen]
        tell([f"the challenger {start} is the better one of the two"])
        for report in (warm_epochs, scratch_epochs)[chosen]:
            self.run.epoch(report)
        return (warm, cold)[chosen]

    def _trained(self, champion: Champion | None, stage: str, work: Work, on_epoch: OnEpoch) -> Challenger:
        """A trained map, aligned to the champion, with its local models.

        Args:
            champion: What serves; the training starts from it, unless it is the one from scratch.
            stage: What the training is called.
            work: The work of the retraining, or a part of it that has checkpoints of its own: the one from scratch.
            on_epoch: Called after each epoch.
        """
        config, samples, dataset = self.config, self.prepared.samples, self.prepared.dataset
        start = None
        if champion is not None and work == self.work:
            start = in_units_of(samples.scaler, champion.model.som, champion.model.scaler)
        with self.stages(stage, rows=len(samples.train) * config.som.epochs):
            trained = tasks.train_som(
                samples.train.samples,
                weighted(config.som, samples.scaler),
                samples.scaler.features,
                threads=config.runtime.threads,
                on_epoch=announced(on_epoch),
                start_from=start,
                checkpoints=checkpoints_of(config, work),
            )
        aligned = AlignedMap(trained, {})
        if champion is not None:
            numbers = samples.heldout.numbers
            aligned = tasks.align_to(champion.model, trained, samples.scaler, dataset, numbers)
        local = self.learn_targets(aligned.trained.som, stage.replace("train", "local models"))
        return Challenger(aligned.trained, local, aligned.moved)

    def analyze_challenger(self, champion: Champion | None, challenger: Challenger) -> tuple[Analysis, Challenger]:
        """Maps and clusters, these under the champion's numbers; and the challenger with the clusters' stability."""
        samples, som = self.prepared.samples, challenger.trained.som
        analysis = self.analyze(som)
        if champion is None:
            return analysis, challenger
        dataset, numbers = self.prepared.dataset, samples.heldout.numbers
        same = tasks.match_labels(champion.model, som, samples.scaler, analysis.clusters, dataset, numbers)
        moved = {**challenger.moved, STABILITY: same.stability}
        return replace(analysis, clusters=same.clusters), replace(challenger, moved=moved)

    # ---------------------------------------------------------------- evaluation

    def _candidate(self, challenger: Challenger) -> Candidate:
        answers = None if challenger.local is None else challenger.local.answers
        class_answers = None if challenger.local is None else challenger.local.class_answers
        return Candidate(challenger.trained.som, self.prepared.samples.scaler, answers, class_answers=class_answers)

    def _record(self, candidate: Candidate, reference: Candidate) -> Record:
        return tasks.evaluate(candidate, reference, self.prepared.dataset, self.prepared.samples.heldout)

    def evaluate(self, champion: Champion | None, challenger: Challenger) -> Evaluation:
        """Whether the challenger is better than what serves; logged as metrics and artifacts of the run."""
        with self.stages("judge"):
            mine, other, before = self._candidate(challenger), None, None
            if champion is not None:
                prepared = self.prepared
                other = tasks.champion_candidate(champion.model, prepared.dataset, prepared.samples, self.config)
                before = self._record(other, other)
            after = _with_stability(self._record(mine, other or mine), challenger)
            verdict = tasks.decide(before, after, self.config.promotion)
            remarks = () if other is None or not other.remark else (other.remark,)
            evaluation = Evaluation(verdict, None if champion is None else champion.version.version, remarks)
            tell(remarks)
            for who, record in (("champion", before), ("challenger", after)):
                self.run.metrics({} if record is None else {f"{who}/{name}": v for name, v in record.values.items()})
            self._write(evaluation, champion, challenger)
        return evaluation

    def _write(self, evaluation: Evaluation, champion: Champion | None, challenger: Challenger) -> None:
        """The verdict and both U-matrices, in the champion's units, as artifacts."""
        evaluation.write(self.artifacts)
        som = challenger.trained.som
        maps = {"Challenger": som}
        if champion is not None:
            model = champion.model
            new = in_units_of(model.scaler, som, self.prepared.samples.scaler)
            maps = {f"Champion, version {champion.version.version}": model.som, "Challenger": new}
        tasks.draw_u_matrices(maps, self.artifacts / FIGURES)

    # ---------------------------------------------------------------- logging and publishing

    def log_challenger(self, challenger: Challenger, analysis: Analysis) -> LoggedMap:
        """Log the challenger as `som train` logs a map, with how far it has moved."""
        trained, local, samples = challenger.trained, challenger.local, self.prepared.samples
        metrics = self.measure(trained, analysis) | ({} if local is None else local.metrics)
        counts = {f"rows/{name}": float(count) for name, count in samples.counts.items()}
        self.run.metrics({**challenger.moved, **counts})
        self.begin_figures(trained, analysis)
        return self.log(Findings(trained, analysis, metrics, samples.scaler, local))

    def register(self, logged: LoggedMap, force: bool) -> Version:
        """The challenger as a registered version, for a person to look at whatever the verdict is.

        Where another run has registered the same work, it is that run's version.
        """
        name, run_id = self.config.model_name, self.run.run_id
        key = f"{self.work.key}/{run_id}" if force else self.work.key
        tags = self.version_tags()
        with self.stages("publish"), exclusive(name):
            version = registry.register(name, logged.model_uri.removeprefix("models:/"), run_id, key, tags)
            if version.run_id == run_id:
                version = registry.offer(version, smoke_test)
        forget_checkpoints(self.config, self.work)
        return version

    def finish(self, challenger: Challenger, version: Version, evaluation: Evaluation) -> RetrainResult:
        """Promote the challenger or keep the champion; evaluate it again where another champion serves by now."""
        config, run = self.config, self.run
        for _ in range(MOST_EVALUATIONS - 1):
            try:
                return finish_publication(config, run, version, evaluation)
            except ChampionChanged as change:
                tell([f"{change}: evaluated again"])
                champion = fetch_champion(config, self.prepared.dataset, self.folder)
                evaluation = self.evaluate(champion, challenger)
                run.files(self.artifacts)
        return finish_publication(config, run, version, evaluation)


def _with_stability(record: Record, challenger: Challenger) -> Record:
    stability = {name: value for name, value in challenger.moved.items() if name == STABILITY}
    return replace(record, metrics={**record.metrics, **stability})

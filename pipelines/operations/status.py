"""How an experiment stands: what serves, what ran last and what it found, what runs next, what was left open."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipelines.errors import FlowEngineError
from pipelines.operations.orchestration import Deployed, deployed, lasting_api
from pipelines.operations.stale import StaleRun, stale_runs
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.connection import tracking_store
from pipelines.store.names import DRIFT_TAG, FAILURE_TAG, PROMOTED_TAG, VERDICT_REASON_TAG, VERDICT_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.runs import last_run
from pipelines.store.versions import Version

KINDS = ("train", "retrain", "refresh")
METRICS_SHOWN = {"train_qe": "QE", "heldout_qe": "QE held out", "train_te": "TE"}


@dataclass(frozen=True)
class Status:
    """How an experiment stands at one moment.

    Attributes:
        experiment: Its name.
        now: The moment, in UTC.
        model: Name of its registered model.
        champion: The version that serves, None where none does.
        last: The newest run of each kind that has run.
        deployments: As Prefect has them; empty where there are none, or Prefect was not asked.
        stale: Runs that nobody runs any more, of all experiments.
        remarks: What could not be found out, and why.
    """

    experiment: str
    now: datetime
    model: str
    champion: Version | None
    last: Mapping[str, RunFacts]
    deployments: Sequence[Deployed]
    stale: Sequence[StaleRun]
    remarks: Sequence[str]

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of each line of the status."""
        yield "champion", self._champion()
        for kind, run in self.last.items():
            yield f"last {kind}", f"{run.name}, {age(self.now - run.started)} ago{_verdict(run)}"
        yield "drift", self._drift()
        for each in self.deployments:
            when = "on demand only" if each.next_run is None else moment(each.next_run)
            yield f"next {each.flow}", f"{when}{f', {each.schedule}' if each.schedule else ''}"
        for left in self.stale:
            yield "left open", f"{left.run.name}: {left.reason} (som close-stale)"
        for remark in self.remarks:
            yield "not known", remark

    def markdown(self) -> str:
        """The status as a Markdown table."""
        rows = "\n".join(f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in self.lines())
        return f"**{self.experiment}** at {moment(self.now)}\n\n| | |\n| --- | --- |\n{rows}\n"

    def _champion(self) -> str:
        if self.champion is None:
            return f"none: no version of {self.model} serves yet"
        name = f"{self.model} version {self.champion.version}"
        return ", ".join([name, *_ages(self.champion, self.now), *_errors(self.champion)])

    def _drift(self) -> str:
        measured = [run for run in self.last.values() if DRIFT_TAG in run.tags]
        if not measured:
            return "not measured yet"
        newest = max(measured, key=lambda run: run.started)
        return f"{newest.tags[DRIFT_TAG]}, {age(self.now - newest.started)} ago"


def status(config: PipelineConfig) -> Status:
    """How an experiment stands now.

    Raises:
        TrackingError: MLflow cannot be reached, or refuses.
    """
    remarks: list[str] = []
    with tracking_store(config.tracking.uri):
        last = {kind: last_run(config.experiment_name, kind) for kind in KINDS}
        return Status(
            experiment=config.name,
            now=datetime.now(UTC),
            model=config.model_name,
            champion=registry.champion(config.model_name),
            last={kind: run for kind, run in last.items() if run is not None},
            deployments=_deployments(config.name, remarks),
            stale=_stale(remarks),
            remarks=remarks,
        )


def _deployments(experiment: str, remarks: list[str]) -> Sequence[Deployed]:
    if lasting_api() is None:
        remarks.append("what runs next: PREFECT_API_URL is not set")
        return ()
    try:
        return deployed(experiment)
    except FlowEngineError as error:
        remarks.append(f"what runs next: {error}")
        return ()


def _stale(remarks: list[str]) -> Sequence[StaleRun]:
    try:
        return stale_runs()
    except FlowEngineError:  # said above already
        remarks.append("which runs were left open")
        return ()


def _ages(version: Version, now: datetime) -> Iterator[str]:
    promoted = version.tags.get(PROMOTED_TAG)
    if version.created is not None:
        yield f"made {age(now - version.created)} ago"
    if promoted:
        yield f"serves for {age(now - datetime.fromisoformat(promoted))}"


def _errors(version: Version) -> Iterator[str]:
    for name, label in METRICS_SHOWN.items():
        if name in version.metrics:
            yield f"{label} {version.metrics[name]:.4g}"


def _verdict(run: RunFacts) -> str:
    verdict, reason = run.tags.get(VERDICT_TAG), run.tags.get(VERDICT_REASON_TAG)
    failure = run.tags.get(FAILURE_TAG)
    sentence = ": ".join(filter(None, (verdict, reason))) or (failure and f"failed: {failure}")
    return f", {sentence}" if sentence else ""


def age(passed: timedelta) -> str:
    """How long something took or is ago, as a person would say it."""
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        number = int(passed.total_seconds() / seconds)
        if number > 0:
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def moment(time: datetime) -> str:
    """A time as it is shown: in UTC, to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

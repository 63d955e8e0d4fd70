"""The result of a refresh, for a terminal and for a Prefect artifact."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pipelines.refreshing.acceptance import Acceptance, ClassPrequential, Prequential
from pipelines.refreshing.new_rows import NewRows
from pipelines.store.run_place import RunPlace
from pipelines.store.versions import Version
from pipelines.wording import percent, some

Outcome = Literal["promoted", "kept", "idle"]
REASONS_SHOWN = 3


@dataclass(frozen=True)
class RefreshResult:
    """The result of a refresh.

    Attributes:
        outcome: `promoted`: a new version serves; `kept`: new rows were refused; `idle`: there was nothing to do.
        reasons: Why, a sentence each.
        champion: The version that served.
        new_rows: Which rows had come.
        watermarks: Up to when was learned before, and is now; ISO 8601.
        seconds: By stage.
        acceptance: What was found of new rows; None where there was nothing to do.
        run: The MLflow run; None where there was nothing to do.
        published: The version that serves instead; None where the champion stays.
        refits: Why local models were fitted anew, by target of these.
    """

    outcome: Outcome
    reasons: Sequence[str]
    champion: Version
    new_rows: NewRows
    watermarks: tuple[str, str]
    seconds: Mapping[str, float]
    acceptance: Acceptance | None = None
    run: RunPlace | None = None
    published: Version | None = None
    refits: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """Outcome and reasons in one line."""
        return f"{self.outcome}: {'; '.join(self.reasons)}"

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of each line of the summary."""
        yield "verdict", self.sentence
        yield "new rows", _counted(self.new_rows.new)
        yield from _others(self.new_rows)
        if self.acceptance is not None:
            yield from _findings(self.acceptance)
        for target, reason in self.refits.items():
            yield "fitted anew", f"{target}: {reason}"
        yield "learned up to", " to ".join(dict.fromkeys(_moment(mark) for mark in self.watermarks))
        times = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in self.seconds.items())
        yield "seconds", f"{sum(self.seconds.values()):.1f}: {times}"
        if self.run is not None:
            yield "MLflow run", self.run.run_line
        yield "model", self._model()

    def markdown(self) -> str:
        """The summary as a Markdown table with a link to the run."""
        table = "\n".join(f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in self.lines())
        link = "" if self.run is None else f"\n[MLflow run {self.run.run_name}]({self.run.page})\n"
        return f"| | |\n| --- | --- |\n{table}\n{link}"

    def _model(self) -> str:
        if self.published is None:
            return f"{self.champion.name} version {self.champion.version} goes on serving"
        return f"{self.champion.name} version {self.published.version}, now champion after {self.champion.version}"


def idle_reason(champion: Version, new_rows: NewRows, mark: str, fewest: int) -> str:
    """Why there is nothing to do, in one sentence.

    Args:
        champion: The version that serves.
        new_rows: Without new rows.
        mark: Its watermark, ISO 8601.
        fewest: `refresh.fewest_rows`.
    """
    few, unlabelled = new_rows.few, {target: count for target, count in new_rows.unlabelled.items() if count}
    waits = [f"{_counted(few)} wait for more, refresh.fewest_rows={fewest} are needed"] if few else []
    waits += [f"{_counted(unlabelled)} wait for their value"] if unlabelled else []
    known = f"{champion.name} version {champion.version} has learned all that it can, up to {_moment(mark)}"
    return ": ".join([known, *(["; ".join(waits)] if waits else [])])


def _others(new_rows: NewRows) -> Iterator[tuple[str, str]]:
    """Rows that were not learned, where there are any."""
    late = {target: count for target, count in new_rows.late.items() if count}
    unlabelled = {target: count for target, count in new_rows.unlabelled.items() if count}
    for name, counts in (("too few", new_rows.few), ("without value", unlabelled), ("came late", late)):
        if counts:
            yield name, _counted(counts)


def _counted(counts: Mapping[str, int]) -> str:
    return some([f"{count:,} of {target}" for target, count in counts.items()], 20) or "none"


def _findings(acceptance: Acceptance) -> Iterator[tuple[str, str]]:
    for target, found in acceptance.scores.items():
        if isinstance(found, ClassPrequential):
            yield f"log loss {target}", _class_text(found)
        else:
            yield f"rmse {target}", _score_text(found)
    drift = acceptance.drift
    yield "drift", "not known" if drift is None else f"{drift.level}: {some(list(drift.reasons), REASONS_SHOWN)}"


def _score_text(score: Prequential) -> str:
    ratio = "" if score.ratio is None else f", {score.ratio:.2f} times that of held-out rows"
    inside = f"{percent(score.coverage)} within their intervals" if score.coverage == score.coverage else "no intervals"
    return f"{score.errors.rmse:.4g}{ratio}; {inside}, {percent(score.fallback)} off the map"


def _class_text(score: ClassPrequential) -> str:
    new = f"{score.unknown:,} rows of new classes, " if score.unknown else ""
    off = f"{percent(score.fallback)} off the map"
    if score.errors is None:
        return f"{new}{off}"
    ratio = "" if score.ratio is None else f", {score.ratio:.2f} times that of held-out rows"
    return f"{score.errors.log_loss:.4g}{ratio}; {percent(score.errors.accuracy)} right, {new}{off}"


def _moment(mark: str) -> str:
    return f"{datetime.fromisoformat(mark):%Y-%m-%d %H:%M:%S} UTC"

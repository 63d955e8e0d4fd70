"""The result of a retraining: as files of its run, for a terminal, and for a Prefect artifact."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from pipelines.errors import TrackingError
from pipelines.retraining.verdict import Comparison, Verdict
from pipelines.store.run_place import RunPlace
from pipelines.store.tracking import TrackedRun
from pipelines.store.versions import Version

VERDICT, PAGE = "verdict.json", "verdict.md"
PROMOTED, KEPT, AWAITED, SKIPPED = "promoted", "kept", "awaits approval", "skipped"


@dataclass(frozen=True)
class Evaluation:
    """A verdict, and against whom.

    Attributes:
        verdict: What was decided.
        champion: Number of the version that served; None where none did.
        remarks: How it was measured, where that is worth a sentence.
    """

    verdict: Verdict
    champion: str | None
    remarks: Sequence[str] = ()

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return "; ".join(self.verdict.reasons)

    def write(self, folder: Path) -> None:
        """Write `verdict.json` and `verdict.md` into a folder."""
        content = {
            "champion": self.champion,
            "promote": self.verdict.promote,
            "reasons": list(self.verdict.reasons),
            "remarks": list(self.remarks),
            "comparisons": [_finite(asdict(comparison)) for comparison in self.verdict.comparisons],
        }
        (folder / VERDICT).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / PAGE).write_text(self.markdown(), encoding="utf-8")

    @classmethod
    def of_run(cls, run: TrackedRun) -> Self:
        """What `write` wrote among the artifacts of a run.

        Raises:
            TrackingError: It is not there.
        """
        with TemporaryDirectory() as folder:
            run.fetch([VERDICT], Path(folder))
            try:
                content = json.loads((Path(folder) / VERDICT).read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise TrackingError(f"the run {run.run_id} has no {VERDICT} among its artifacts") from None
        comparisons = tuple(_comparison(each) for each in content["comparisons"])
        verdict = Verdict(content["promote"], tuple(content["reasons"]), comparisons)
        return cls(verdict, content["champion"], tuple(content["remarks"]))

    def markdown(self) -> str:
        """The verdict with its table of both versions."""
        against = "without a champion" if self.champion is None else f"against version {self.champion}"
        opening = "Better" if self.verdict.promote else "Not better"
        reasons = "\n".join(f"- {reason}" for reason in self.verdict.reasons)
        remarks = "".join(f"\n{remark}.\n" for remark in self.remarks)
        return f"**{opening}**, evaluated {against}:\n\n{reasons}\n\n{_table(self.verdict.table())}\n{remarks}"


def _comparison(content: Mapping[str, Any]) -> Comparison:
    interval = content["interval"]
    return Comparison(**{**content, "interval": None if interval is None else tuple(interval)})


def _finite(content: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON can say it: None for numbers that are not finite, and for an interval with such an end."""
    return {name: None if _undefined(value) else value for name, value in content.items()}


def _undefined(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(map(_undefined, value))
    return isinstance(value, float) and not math.isfinite(value)


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    lines = [" | ".join(row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(rows[0]), " | ".join(["---"] * len(rows[0])), *lines)) + "\n"


@dataclass(frozen=True)
class RetrainResult(RunPlace):
    """The result of a retraining.

    Attributes:
        model: Name of the registered model.
        outcome: `promoted`, `kept`, `awaits approval` or `skipped`.
        reason: Why.
        evaluation: What was compared; None where nothing was trained.
        challenger: The version that was registered; None where nothing was trained.
        champion: Number of the version that serves now; None where none does.
        drift: What the held-out rows looked like; empty where that is not known.
    """

    model: str
    outcome: str
    reason: str
    evaluation: Evaluation | None
    challenger: Version | None
    champion: str | None
    drift: str

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and value of each line of the summary."""
        yield "verdict", f"{self.outcome}: {self.reason}"
        yield "serves now", "none" if self.champion is None else f"{self.model} version {self.champion}"
        if self.challenger is not None:
            yield "challenger", f"{self.model} version {self.challenger.version}"
        if self.outcome == AWAITED and self.challenger is not None:
            yield "to approve", f"som promote {self.model} {self.challenger.version}"
        yield "drift", self.drift or "not known"
        yield "MLflow run", self.run_line

    def markdown(self) -> str:
        """The summary and the comparison, with a link to the run."""
        facts = "\n".join(f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in self.lines())
        comparison = "" if self.evaluation is None else f"\n{self.evaluation.markdown()}"
        return f"| | |\n| --- | --- |\n{facts}\n{comparison}\n[MLflow run {self.run_name}]({self.page})\n"

"""Whether new rows are let into local models: how well they were predicted, whether they drifted, the verdict.

Scores are prequential: every row is answered by the model as it serves, then learned. So they are what production got
from it, and no model is scored on a row that it knows.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from pipelines.data.samples import Labelled
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.monitoring.assignment import assigned_rows
from pipelines.monitoring.drift import DriftReport, drift
from pipelines.refreshing.new_rows import NewRows
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import DriftConfig, RefreshConfig
from pipelines.training import class_scores
from pipelines.training.analysis import file_stems
from pipelines.training.class_scores import ClassErrors
from pipelines.training.local_scores import Errors
from pipelines.wording import percent

# rmse or log_loss on rows held out when the map was trained; each version hands it on to the next.
REFERENCE = "reference/{}/{}"


@dataclass(frozen=True)
class Prequential:
    """How well new rows of a target were predicted before they were learned.

    Attributes:
        rows: How many.
        errors: Of the answers.
        coverage: Share of the rows whose value lies within its interval; NaN where there were no intervals yet.
        width: Mean width of the intervals, in the units of the target; NaN where there were none yet.
        fallback: Share of the rows that lie off the map.
        reference: RMSE on the rows that were held out when the map was trained; None where it is not on record.
    """

    rows: int
    errors: Errors
    coverage: float
    width: float
    fallback: float
    reference: float | None

    @property
    def ratio(self) -> float | None:
        """RMSE as a multiple of the reference; None where there is none, or it is 0."""
        return self.errors.rmse / self.reference if self.reference else None

    def metrics(self) -> dict[str, float]:
        """All of it by name; what is not known is left out."""
        own = {"rmse": self.errors.rmse, "mae": self.errors.mae, "rmse_ratio": self.ratio}
        rest = {"coverage": self.coverage, "width": self.width, "fallback": self.fallback, "rows": float(self.rows)}
        return {name: value for name, value in (own | rest).items() if value is not None}


@dataclass(frozen=True)
class ClassPrequential:
    """How well new rows of a target that is a class were predicted before they were learned.

    Attributes:
        rows: How many.
        unknown: Those of them whose class the model does not know, which it will learn.
        errors: Of the answers to the others; None where there are none.
        fallback: Share of the rows that lie off the map.
        reference: Log loss on the rows that were held out when the map was trained; None where it is not on record.
    """

    rows: int
    unknown: int
    errors: ClassErrors | None
    fallback: float
    reference: float | None

    @property
    def ratio(self) -> float | None:
        """Log loss as a multiple of the reference; None where there is none, or it is 0."""
        return self.errors.log_loss / self.reference if self.reference and self.errors else None

    def metrics(self) -> dict[str, float]:
        """All of it by name; what is not known is left out."""
        own = {} if self.errors is None else self.errors._asdict()
        rest = {"log_loss_ratio": self.ratio, "fallback": self.fallback, "rows": float(self.rows)}
        known = {**own, **rest, "rows_of_new_classes": float(self.unknown)}
        return {name: value for name, value in known.items() if value is not None}


Scores = Mapping[str, Prequential | ClassPrequential]


@dataclass(frozen=True)
class Check:
    """What one limit says of one target.

    Attributes:
        holds: Whether it does.
        sentence: What was found, and what is allowed.
    """

    holds: bool
    sentence: str


@dataclass(frozen=True)
class Acceptance:
    """Whether new rows shall be learned, and what that rests on.

    Attributes:
        scores: By target; only targets with new rows.
        checks: What the limits say, none for a limit that is not set.
        drift: Whether the rows look like training; None where nothing is known of that.
        metrics: All numbers by name: `prequential/TARGET/rmse`, `reference/TARGET/rmse`, `drift/hits` and so on.
    """

    scores: Scores
    checks: Sequence[Check]
    drift: DriftReport | None
    metrics: Mapping[str, float]

    @property
    def passes(self) -> bool:
        """Whether every limit holds."""
        return all(check.holds for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """What speaks against it; where nothing does, that."""
        against = [check.sentence for check in self.checks if not check.holds]
        return against or ["within all limits of refresh"]

    @property
    def drift_text(self) -> str:
        """Level of drift and what it rests on; empty where it is not known."""
        if self.drift is None:
            return ""
        return (
            self.drift.level if self.drift.level == "none" else f"{self.drift.level}: {'; '.join(self.drift.reasons)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content, all sentences with it."""
        drift = None if self.drift is None else {"level": self.drift.level, "reasons": [*self.drift.reasons]}
        checks = [{"holds": check.holds, "sentence": check.sentence} for check in self.checks]
        return {"passes": self.passes, "checks": checks, "drift": drift}


def settings_digest(config: PipelineConfig) -> str:
    """SHA-256 of the settings that decide the result of a refresh."""
    decisive = {name: getattr(config, name).model_dump(mode="json") for name in ("jitl", "refresh")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def evaluate(
    model: MapModel, local: LocalModels, new_rows: NewRows, record: Mapping[str, float], config: PipelineConfig
) -> Acceptance:
    """Whether the local models of a version shall learn new rows. They do not learn them here.

    Args:
        model: The version.
        local: Its local models.
        new_rows: The rows.
        record: Metrics of the version, with the errors on held-out rows.
        config: The limits.
    """
    stems = metric_names(config, tuple(local.regressors))
    kinds = {target: "log_loss" if target in local.classes else "rmse" for target in stems}
    references = {t: value for t, stem in stems.items() if (value := _reference(record, stem, kinds[t])) is not None}
    scores: Scores = {
        t: (class_score if t in local.classes else score)(local, t, new_rows.samples, references.get(t))
        for t in new_rows.new
    }
    drift = find_drift(model, new_rows, config.drift)
    metrics = {f"prequential/{stems[t]}/{name}": v for t, each in scores.items() for name, v in each.metrics().items()}
    metrics |= {REFERENCE.format(stems[target], kinds[target]): value for target, value in references.items()}
    metrics |= new_rows.metrics(stems) | ({} if drift is None else drift.metrics)
    return Acceptance(scores, [*checks(scores, config.refresh)], drift, metrics)


def metric_names(config: PipelineConfig, targets: Sequence[str]) -> dict[str, str]:
    """The name of each target in metrics."""
    names = list(dict.fromkeys((*config.data.target, *targets)))
    return dict(zip(names, file_stems(names), strict=True))


def _reference(record: Mapping[str, float], stem: str, kind: str) -> float | None:
    """From the version's own refresh, else from the run that trained it."""
    return record.get(REFERENCE.format(stem, kind), record.get(f"jitl/{stem}/{kind}"))


# ---------------------------------------------------------------- what was found


def score(local: LocalModels, target: str, samples: Labelled, reference: float | None) -> Prequential:
    """How well a model predicts rows that it does not know.

    Args:
        local: Local models.
        target: One of theirs.
        samples: Rows, some of them with its value.
        reference: RMSE on held-out rows, if known.
    """
    asked = samples.take(samples.known(target))
    details, truth = local.details(target, asked.samples), asked.targets[target]
    inside = (details.lower <= truth) & (truth <= details.upper)
    return Prequential(
        rows=len(asked),
        errors=Errors.of(details.prediction, truth),
        coverage=float(np.where(np.isnan(details.lower), np.nan, inside).mean()),
        width=float((details.upper - details.lower).mean()),
        fallback=float(details.fallback.mean()),
        reference=reference,
    )


def class_score(local: LocalModels, target: str, samples: Labelled, reference: float | None) -> ClassPrequential:
    """The same for a target that is a class; `reference` is the log loss on held-out rows, if known."""
    asked = samples.take(samples.known(target))
    answers = class_scores.said_to(local, target, asked)
    known = answers.filter(pl.col("measured").is_in(local.classes[target].names))
    right = (known["measured"] == known["prediction"]).to_numpy()
    return ClassPrequential(
        rows=len(asked),
        unknown=len(answers) - len(known),
        errors=ClassErrors.of(known["given"].to_numpy(), right, known["measured"].to_numpy()) if len(known) else None,
        fallback=float(answers["fallback"].cast(pl.Float64).to_numpy().mean()),
        reference=reference,
    )


def find_drift(model: MapModel, new_rows: NewRows, config: DriftConfig) -> DriftReport | None:
    """Whether new rows still look like those of training; None where the model does not know what these look like."""
    if model.profile is None:
        return None
    assigned = assigned_rows(model, new_rows.dataset, new_rows.samples.numbers)
    known = {target: said for target, said in assigned.predictions.items() if target in model.profile.predictions}
    return drift(model.profile, replace(assigned, predictions=known), config)


# ---------------------------------------------------------------- what the limits say


def checks(scores: Scores, limits: RefreshConfig) -> Iterator[Check]:
    """What each limit says of each target.

    A limit that cannot be checked does not hold, and its sentence says how to do without it.
    """
    for target, found in scores.items():
        if isinstance(found, ClassPrequential):
            if limits.log_loss_ratio is not None and found.errors is not None:
                yield _loss_check(target, found, found.errors.log_loss, limits)
        else:
            if limits.rmse_ratio is not None:
                yield _error_check(target, found, limits.rmse_ratio)
            if limits.coverage is not None:
                yield _coverage_check(target, found, limits.coverage)
        if limits.fallback is not None:
            yield _fallback_check(target, found, limits.fallback)


def _error_check(target: str, found: Prequential, most: float) -> Check:
    rmse = f"rmse of {target} on {found.rows} new rows is {found.errors.rmse:.4g}"
    if found.ratio is None:
        lack = "no error on held-out rows is on record" if found.reference is None else "that on held-out rows is 0"
        return Check(False, f"{rmse}, but {lack} to compare it with: refresh.rmse_ratio=null goes without")
    times = f"{found.ratio:.2f} times the {found.reference:.4g} on held-out rows"
    return Check(found.ratio <= most, f"{rmse}, {times}: refresh.rmse_ratio allows {most:g} times")


def _loss_check(target: str, found: ClassPrequential, loss: float, limits: RefreshConfig) -> Check:
    said = f"log loss of {target} on {found.rows - found.unknown} new rows is {loss:.4g}"
    if loss <= limits.log_loss_least:
        return Check(True, f"{said}: refresh.log_loss_least lets in {limits.log_loss_least:g}")
    if found.ratio is None:
        lack = "no loss on held-out rows is on record" if found.reference is None else "that on held-out rows is 0"
        return Check(False, f"{said}, but {lack} to compare it with: refresh.log_loss_ratio=null goes without")
    times = f"{found.ratio:.2f} times the {found.reference:.4g} on held-out rows"
    most = limits.log_loss_ratio or 0.0
    return Check(found.ratio <= most, f"{said}, {times}: refresh.log_loss_ratio allows {most:g} times")


def _coverage_check(target: str, found: Prequential, shares: tuple[float, float]) -> Check:
    if np.isnan(found.coverage):
        return Check(False, f"{target} has no intervals yet: refresh.coverage=null goes without")
    low, high = shares
    inside = f"{percent(found.coverage)} of {found.rows} new values of {target} lie within their intervals"
    allowed = f"refresh.coverage allows {percent(low)} to {percent(high)}"
    return Check(low <= found.coverage <= high, f"{inside}: {allowed}")


def _fallback_check(target: str, found: Prequential | ClassPrequential, most: float) -> Check:
    off = f"{percent(found.fallback)} of {found.rows} new rows with {target} lie off the map"
    return Check(found.fallback <= most, f"{off}: refresh.fallback allows {percent(most)}")

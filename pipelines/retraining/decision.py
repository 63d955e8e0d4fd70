r"""Whether a challenger takes the champion's place: a pure decision on what was measured of both.

Both are measured on the same rows, the newest, which neither was trained on. For a metric with a value at each row the
gain is the change for the better as a share of the champion's value,

    gain = s (champion - challenger) / |champion|          s = 1 where lower is better, -1 where higher is

and its interval comes from resampling the rows of both together (`bootstrap.py`). A rule holds where all of the
interval lies on the right side: above the margin for `improve`, above minus the margin for `not_worse`. Where a
pattern asks for one improvement among k metrics, each gets the k-th part of the doubt, for among many one always looks
better by chance. A metric that cannot be compared forbids the promotion and is named.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.retraining.bootstrap import LEAST_ROWS, paired_interval
from pipelines.retraining.verdict import Comparison, Verdict, amount, asked, bounds, compared, outcome, sentence
from pipelines.settings.promotion import PromotionConfig, PromotionLimit, PromotionRule
from pipelines.store.names import CLASS_LOSSES, COVERAGES, LOCAL_ERRORS, LOCAL_LOSSES

FloatArray = NDArray[np.float64]

ROOT = "rmse"  # a metric of this name is the root of the mean over rows
WITHOUT_TARGETS = (PromotionRule(metric="qe"),)
WITH_TARGETS = (
    PromotionRule(metric=LOCAL_ERRORS),
    PromotionRule(metric=LOCAL_ERRORS, required="not_worse", min_margin=0.05),
    PromotionRule(metric="qe", required="not_worse", min_margin=0.1),
)
WITH_CLASSES = (
    PromotionRule(metric=CLASS_LOSSES),
    PromotionRule(metric=CLASS_LOSSES, required="not_worse", min_margin=0.05),
    PromotionRule(metric="qe", required="not_worse", min_margin=0.1),
)
WITH_BOTH = (  # one of all targets must improve
    PromotionRule(metric=LOCAL_LOSSES),
    PromotionRule(metric=LOCAL_ERRORS, required="not_worse", min_margin=0.05),
    PromotionRule(metric=CLASS_LOSSES, required="not_worse", min_margin=0.05),
    PromotionRule(metric="qe", required="not_worse", min_margin=0.1),
)
ORDERED = PromotionLimit(metric="te", highest=0.2)
COVERED = PromotionLimit(metric=COVERAGES, lowest=0.8, highest=0.97)


@dataclass(frozen=True)
class Record:
    """What was measured of one version on rows that it was not trained on.

    Champion and challenger must be measured on the same rows and in the same units: a quantization error in the scaled
    features of one scaler cannot be compared with one of another.

    Attributes:
        metrics: Numbers that no rows stand behind, by name.
        rows: For metrics that are a mean over rows, the value at each row in the order of time, shape (n,): distances
            for `qe`, squared errors for a name that ends in `rmse`. NaN where a row has none.
        units: Unit of a metric, such as °C, where it has one.

    Raises:
        ValueError: A metric stands in both `metrics` and `rows`, or rows are not of shape (n,).

    Example:
        >>> Record({"te": 0.1}, rows={"jitl/temp/rmse": [9.0, 16.0, float("nan")]}).values
        {'te': 0.1, 'jitl/temp/rmse': 3.5355339059327378}
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, ArrayLike] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = sorted(set(self.metrics) & set(self.rows))
        if twice:
            raise ValueError(f"a metric must stand in metrics or in rows, got {twice[0]!r} in both")
        for name, values in self.at_rows.items():
            if values.ndim != 1:
                raise ValueError(f"rows[{name!r}] must be of shape (n,), got {values.shape}")

    @cached_property
    def at_rows(self) -> Mapping[str, FloatArray]:
        """The rows as arrays of float64."""
        return {name: np.array(values, dtype=np.float64) for name, values in self.rows.items()}

    @cached_property
    def values(self) -> Mapping[str, float]:
        """Every metric by name; NaN where it is not defined."""
        return {**self.metrics, **{name: _metric(name, values) for name, values in self.at_rows.items()}}


def decide(champion: Record | None, challenger: Record, rules: PromotionConfig) -> Verdict:
    """Whether the challenger shall serve from now on.

    Args:
        champion: The version that serves, None where there is none.
        challenger: The version that might, measured on the same rows.
        rules: What is asked. A person's `approval` is not awaited here.

    Raises:
        ValueError: The two were measured on different numbers of rows.
    """
    if champion is None:
        clauses = [_first(rules), *_limits(rules, Record(), challenger)]
    else:
        _require_same_rows(champion, challenger)
        clauses = [*_rules(rules, champion, challenger), *_limits(rules, champion, challenger)]
    findings = [finding for clause in clauses for finding in clause.findings]
    objections = [sentence for clause in clauses for sentence in clause.objections]
    support = [sentence for clause in clauses for sentence in clause.support]
    return Verdict(
        promote=not objections,
        reasons=tuple(dict.fromkeys(objections or support)) or ("nothing is asked of it",),
        comparisons=(*(finding.comparison for finding in findings), *_rest(findings, champion or Record(), challenger)),
    )


# ---------------------------------------------------------------- clauses


@dataclass(frozen=True)
class _Finding:
    """A line of the table and its sentence; `comparable` where the metric could be compared at all."""

    comparison: Comparison
    sentence: str
    comparable: bool = True

    @property
    def holds(self) -> bool:
        return bool(self.comparison.holds)


@dataclass(frozen=True)
class _Clause:
    """What one rule or limit found, what it has against the promotion, and what for it."""

    findings: Sequence[_Finding]
    objections: Sequence[str]
    support: Sequence[str]

    @classmethod
    def of(cls, findings: Sequence[_Finding], pattern: str, *, one_is_enough: bool = False) -> "_Clause":
        if not findings:
            return cls((), (f"{pattern} was measured of neither version, so it cannot be compared",), ())
        fulfilled = one_is_enough and any(finding.holds for finding in findings)
        against = [f.sentence for f in findings if not f.comparable or not (f.holds or fulfilled)]
        return cls(findings, against, [f.sentence for f in findings if f.holds])


def _first(rules: PromotionConfig) -> _Clause:
    if rules.first:
        return _Clause((), (), ("there is no champion yet",))
    return _Clause((), ("there is no champion to compare with, and promotion.first is false",), ())


def _rules(config: PromotionConfig, champion: Record, challenger: Record) -> Iterator[_Clause]:
    names = _names(champion, challenger)
    for rule in default_rules(names) if config.rules is None else config.rules:
        concerned, one_is_enough = matching(rule.metric, names), rule.required == "improve"
        doubts = len(concerned) if one_is_enough else 1
        confidence = None if rule.confidence is None else 1 - (1 - rule.confidence) / max(doubts, 1)
        findings = [_compared(rule, name, champion, challenger, confidence) for name in concerned]
        yield _Clause.of(findings, rule.metric, one_is_enough=one_is_enough)


def default_rules(names: Iterable[str]) -> tuple[PromotionRule, ...]:
    """The rules where none are configured, by the metrics that were measured."""
    known = [*names]
    numbers, classes = matching(LOCAL_ERRORS, known), matching(CLASS_LOSSES, known)
    if numbers and classes:
        return WITH_BOTH
    return WITH_CLASSES if classes else WITH_TARGETS if numbers else WITHOUT_TARGETS


def _limits(config: PromotionConfig, champion: Record, challenger: Record) -> Iterator[_Clause]:
    names = _names(champion, challenger)
    defaults = (ORDERED, COVERED) if matching(COVERAGES, names) else (ORDERED,)
    for limit in defaults if config.limits is None else config.limits:
        findings = [_within(limit, name, champion, challenger) for name in matching(limit.metric, names)]
        yield _Clause.of(findings, limit.metric)


def _names(*records: Record) -> list[str]:
    return sorted({name for record in records for name in record.values})


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that match a pattern, or one of several that `|` parts."""
    return [name for name in names if any(fnmatchcase(name, each) for each in pattern.split("|"))]


def _rest(findings: Sequence[_Finding], champion: Record, challenger: Record) -> Iterator[Comparison]:
    """Lines for the metrics that nothing is asked of."""
    covered = {finding.comparison.metric for finding in findings}
    for name in _names(champion, challenger):
        if name not in covered:
            yield compared(name, champion.values.get(name), challenger.values.get(name))


# ---------------------------------------------------------------- one metric


def _compared(
    rule: PromotionRule, name: str, champion: Record, challenger: Record, confidence: float | None
) -> _Finding:
    """What a rule says of one metric."""
    line = compared(name, champion.values.get(name), challenger.values.get(name))
    obstacle = _obstacle(name, champion, challenger, by_rows=confidence is not None)
    if obstacle:
        return _Finding(replace(line, rule=asked(rule), holds=False), f"{name} {obstacle}", comparable=False)
    sign = 1.0 if rule.better == "lower" else -1.0
    gain = float(_gain(np.array(line.champion), np.array(line.challenger), sign))
    low, high = (gain, gain) if confidence is None else _gain_interval(name, champion, challenger, sign, confidence)
    holds = (low >= rule.min_margin and gain > 0) if rule.required == "improve" else low >= -rule.min_margin
    interval = None if confidence is None else (-high, -low) if sign > 0 else (low, high)
    line = replace(line, interval=interval, rule=asked(rule), holds=holds)
    unit = challenger.units.get(name) or champion.units.get(name, "")
    return _Finding(line, f"{sentence(line, unit, confidence)}: {outcome(rule, gain, holds)}")


def _within(limit: PromotionLimit, name: str, champion: Record, challenger: Record) -> _Finding:
    """What a limit says of one metric of the challenger."""
    value = challenger.values.get(name)
    line = replace(compared(name, champion.values.get(name), value), rule=bounds(limit), holds=False)
    if value is None or not math.isfinite(value):
        return _Finding(line, f"{name} {_lack('challenger', value)}", comparable=False)
    above = limit.lowest is None or value >= limit.lowest
    below = limit.highest is None or value <= limit.highest
    stands = "which it is" if above and below else "which it is not"
    sentence = f"{name} must be {bounds(limit)}, {stands} at {amount(value, challenger.units.get(name, ''))}"
    return _Finding(replace(line, holds=above and below), sentence)


def _require_same_rows(champion: Record, challenger: Record) -> None:
    for name in sorted(set(champion.rows) & set(challenger.rows)):
        before, after = len(champion.at_rows[name]), len(challenger.at_rows[name])
        if before != after:
            raise ValueError(
                f"rows[{name!r}] must be of the same rows for both versions, got {before} of the champion and {after} "
                "of the challenger"
            )


def _obstacle(name: str, champion: Record, challenger: Record, *, by_rows: bool) -> str:
    """Why a metric cannot be compared; empty where it can."""
    for who, record in (("champion", champion), ("challenger", challenger)):
        value = record.values.get(name)
        if value is None or not math.isfinite(value):
            return _lack(who, value)
    first, second = champion.at_rows.get(name), challenger.at_rows.get(name)
    if first is None or second is None:
        return "has no values by row to rule out chance by: record them, or set confidence: null" if by_rows else ""
    for who, mine, other in (("champion", first, second), ("challenger", second, first)):
        if count := int((np.isnan(mine) & ~np.isnan(other)).sum()):
            return f"of the {who} is missing at {count} of {len(mine)} rows at which the other version has it"
    if by_rows and (count := int((~np.isnan(first)).sum())) < LEAST_ROWS:
        return f"was measured on {count} rows, too few to rule out chance: at least {LEAST_ROWS} are needed"
    return ""


def _lack(who: str, value: float | None) -> str:
    return f"was not measured of the {who}" if value is None else f"of the {who} must be finite, got {value}"


# ---------------------------------------------------------------- gains


def _metric(name: str, values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(_of_mean(name, known.mean())) if len(known) else math.nan


def _of_mean(name: str, mean: Any) -> Any:
    """The metric from the mean over rows."""
    return np.sqrt(mean) if name.rpartition("/")[2] == ROOT else mean


def _gain(champion: FloatArray, challenger: FloatArray, sign: float) -> FloatArray:
    """Change for the better as a share of the champion's value; from 0, any change is infinite."""
    difference = sign * (champion - challenger)
    gain: FloatArray = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
    np.divide(difference, np.abs(champion), out=gain, where=champion != 0)
    return gain


def _gain_interval(
    name: str, champion: Record, challenger: Record, sign: float, confidence: float
) -> tuple[float, float]:
    first, second = champion.at_rows[name], challenger.at_rows[name]
    known = ~np.isnan(first)

    def gain(before: FloatArray, after: FloatArray) -> FloatArray:
        return _gain(_of_mean(name, before), _of_mean(name, after), sign)

    return paired_interval(first[known], second[known], gain, confidence)

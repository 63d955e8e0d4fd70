"""The result of a comparison of two versions: the table, the sentences, the verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.settings.promotion import PromotionLimit, PromotionRule
from pipelines.wording import percent


@dataclass(frozen=True)
class Comparison:
    """One metric of both versions, and what a rule or a limit says of it; a line of the table.

    Attributes:
        metric: Its name.
        champion: Its value, None where there is none.
        challenger: The value of the challenger.
        difference: Challenger minus champion, None where one is missing.
        change: The difference as a share of the champion's value, None where that is 0 or one is missing.
        interval: Of the change, lower and upper end; None where it was not taken.
        rule: What is asked, in words; empty where nothing is.
        holds: Whether it holds, None where nothing is asked.
    """

    metric: str
    champion: float | None
    challenger: float | None
    difference: float | None
    change: float | None
    interval: tuple[float, float] | None = None
    rule: str = ""
    holds: bool | None = None

    @property
    def cells(self) -> dict[str, str]:
        """The comparison as texts, by the head of their column."""
        return {
            "metric": self.metric,
            "champion": _cell(self.champion),
            "challenger": _cell(self.challenger),
            "difference": _cell(self.difference),
            "change": "" if self.change is None else percent(self.change),
            "interval": "" if self.interval is None else f"{percent(self.interval[0])} to {percent(self.interval[1])}",
            "rule": self.rule,
            "holds": "" if self.holds is None else "yes" if self.holds else "no",
        }


@dataclass(frozen=True)
class Verdict:
    """What is decided, and why.

    Attributes:
        promote: Whether the challenger shall serve.
        reasons: One sentence each: what speaks against it, or where nothing does, what speaks for it.
        comparisons: Every metric of either version; one that several rules name has a line for each.
    """

    promote: bool
    reasons: Sequence[str]
    comparisons: Sequence[Comparison]

    def table(self) -> list[dict[str, str]]:
        """The comparisons as texts by column, for a terminal, a page or a Prefect table."""
        return [comparison.cells for comparison in self.comparisons]


def compared(metric: str, champion: float | None, challenger: float | None) -> Comparison:
    """One metric of both versions, with nothing asked of it."""
    difference = None if champion is None or challenger is None else challenger - champion
    if difference is None or not math.isfinite(difference):
        return Comparison(metric, champion, challenger, None, None)
    change = difference / abs(champion) if champion else None
    return Comparison(metric, champion, challenger, difference, change)


# ---------------------------------------------------------------- sentences


def asked(rule: PromotionRule) -> str:
    """What a rule asks: `lower is better: better by at least 1 %`."""
    kind = "better by at least" if rule.required == "improve" else "worse by no more than"
    one = f", one of {rule.metric}" if rule.required == "improve" and set(rule.metric) & set("*?[") else ""
    return f"{rule.better} is better: {kind} {percent(rule.min_margin)}{one}"


def bounds(limit: PromotionLimit) -> str:
    """What a limit asks: `at most 0.2`."""
    if limit.lowest is None:
        return f"at most {limit.highest:g}"
    return f"at least {limit.lowest:g}" if limit.highest is None else f"from {limit.lowest:g} to {limit.highest:g}"


def sentence(comparison: Comparison, unit: str, confidence: float | None) -> str:
    """How the two values differ: `qe 1.62 is 3.1 % lower than the champion's 1.67 (95 % interval 1.9 to 4.2 %)`."""
    before, after = comparison.champion, comparison.challenger
    if before is None or after is None:
        raise ValueError(f"{comparison.metric} must be known of both versions, got {before} and {after}")
    side = "equal to" if after == before else "lower than" if after < before else "higher than"
    size = f"{percent(abs(comparison.change))} " if comparison.change else ""
    interval = _interval(comparison, confidence)
    return f"{comparison.metric} {amount(after, unit)} is {size}{side} the champion's {amount(before, unit)}{interval}"


def _interval(comparison: Comparison, confidence: float | None) -> str:
    """The interval of how much lower, or higher, the challenger is."""
    ends = comparison.interval
    if ends is None or confidence is None or not all(map(math.isfinite, ends)):
        return ""
    low, high = (-ends[1], -ends[0]) if comparison.difference is not None and comparison.difference < 0 else ends
    return f" ({percent(confidence)} interval {percent(low).removesuffix(' %')} to {percent(high)})"


def outcome(rule: PromotionRule, gain: float, holds: bool) -> str:
    """What a rule makes of a gain, a share of the champion's value."""
    margin = percent(rule.min_margin)
    if rule.required == "improve":
        if holds:
            return f"better by at least the {margin} asked"
        return f"not {'surely ' if gain >= rule.min_margin else ''}better by the {margin} asked"
    if holds:
        return f"not worse by more than the {margin} allowed"
    return f"{'' if gain < -rule.min_margin else 'maybe '}worse by more than the {margin} allowed"


def amount(value: float, unit: str) -> str:
    """A number with its unit, if it has one."""
    return f"{value:.4g} {unit}".rstrip()


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"

"""Whether new rows still look like those that a map was trained on: the verdict on what `profile.py` measures.

A shift counts where it is both larger than its limit, so that it matters, and larger than what windows of as many
consecutive training rows come to, so that it is not chance. All shifts measured share one rate of false alarms.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import DatasetError
from pipelines.model.profile import AssignedRows, Profile, of_answers, of_features
from pipelines.settings.sections import DriftConfig
from pipelines.wording import percent, some

Level = Literal["none", "warn", "drift"]
LEVELS: tuple[Level, ...] = ("none", "warn", "drift")


@dataclass(frozen=True)
class Shift:
    """One way in which new rows may differ from training.

    Attributes:
        measure: `hits`, `feature/NAME`, `mean/NAME`, `missing/NAME`, `prediction/NAME`, `error_ratio`, `new_region`.
        value: Its value; NaN where it is not defined.
        usual: What windows of as many training rows stay below.
        level: Its verdict; a measure that is not defined warns.
        sentence: All that in words.
    """

    measure: str
    value: float
    usual: float
    level: Level
    sentence: str


@dataclass(frozen=True)
class DriftReport:
    """Whether rows have drifted.

    Attributes:
        level: The worst of all shifts.
        reasons: A sentence for each shift at a level above none, the worst first; one that says so where there is none.
        shifts: Everything measured.
        rows: How many were compared.
    """

    level: Level
    reasons: Sequence[str]
    shifts: Sequence[Shift]
    rows: int

    @property
    def metrics(self) -> dict[str, float]:
        """What came out by name, for a run: `drift/hits` and so on; what is not defined is left out."""
        return {f"drift/{shift.measure}": shift.value for shift in self.shifts if math.isfinite(shift.value)}


def drift(profile: Profile, rows: AssignedRows, config: DriftConfig) -> DriftReport:
    """Whether rows still look like those of training.

    Args:
        profile: Of training.
        rows: New ones on the same map, in the order of time; predictions of some targets may be left out.
        config: Limits.

    Raises:
        DatasetError: No rows, or without a feature of the profile, or with predictions of a target that it lacks.
    """
    _require_comparable(profile, rows)
    measures = of_features(profile, rows) | of_answers(profile, rows)
    level = 1 - config.false_alarms / len(measures)
    shifts = tuple(
        _shift(name, value, profile.usual[name].bound(len(rows), level), len(rows), config)
        for name, value in measures.items()
    )
    worst_first = sorted(shifts, key=lambda shift: -LEVELS.index(shift.level))
    reasons = tuple(shift.sentence for shift in worst_first if shift.level != "none")
    unchanged = f"nothing has shifted by more than is usual in {len(rows)} rows, or by enough to matter"
    return DriftReport(worst_first[0].level, reasons or (unchanged,), shifts, len(rows))


def _require_comparable(profile: Profile, rows: AssignedRows) -> None:
    if not len(rows):
        raise DatasetError("drift needs at least one new row, got none")
    absent = [name for name in profile.features if name not in rows.features]
    if absent:
        raise DatasetError(f"drift needs every feature of the profile; absent: {some(absent)}")
    unknown = [name for name in rows.predictions if name not in profile.predictions]
    if unknown:
        raise DatasetError(f"drift of predictions needs targets of the profile, got {some(unknown)}")


def _shift(measure: str, value: float, usual: float, rows: int, config: DriftConfig) -> Shift:
    kind, _, subject = measure.partition("/")
    if math.isnan(value):
        return Shift(measure, value, usual, "warn", f"{_MEANING[kind](subject, value)}: no row has a value")
    thresholds = [max(limit, usual) for limit in getattr(config, _LIMITS[kind])]
    level = LEVELS[sum(abs(value) > threshold for threshold in thresholds)]
    crossed = max(LEVELS.index(level) - 1, 0)
    limit, shown = getattr(config, _LIMITS[kind])[crossed], percent if kind in _SHARES else "{:.2g}".format
    sentence = (
        f"{_MEANING[kind](subject, value)}, {'within' if level == 'none' else 'above'} {shown(thresholds[crossed])}: "
        f"the limit is {shown(limit)}, windows of {rows} training rows stay below {shown(usual)}"
    )
    return Shift(measure, value, usual, level, sentence)


_SHARES = ("missing", "new_region")
_LIMITS = {
    **dict.fromkeys(("hits", "feature", "prediction"), "stability_index"),
    **{name: name for name in ("mean", "missing", "error_ratio", "new_region")},
}
_MEANING: Mapping[str, Callable[[str, float], str]] = {
    "hits": lambda _, value: f"hits on the map: stability index {value:.2g}",
    "feature": lambda name, value: f"{name}: stability index {value:.2g}",
    "prediction": lambda name, value: f"predictions of {name}: stability index {value:.2g}",
    "mean": lambda name, value: f"{name}: mean moved by {value:+.2g} training deviations",
    "missing": lambda name, value: f"{name}: share of missing values changed by {percent(value)}",
    "error_ratio": lambda _, value: f"quantization error: {value:.2f} times that of held-out rows",
    "new_region": lambda _, value: f"rows farther from the map than 99 % of the held-out rows: {percent(value)}",
}

"""Numbers that begin again after a period, as points on a circle and back, and the parts of moments that do."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.settings.columns import TimePart

Floats = NDArray[np.float64]
ROUNDING = 1e-6  # of a turn: as near as float32 features tell angles apart
# Of each part of a moment: how long its cycle is, and its smallest value.
CYCLES: Mapping[TimePart, tuple[float, float]] = {
    "minute_of_hour": (60, 0),
    "hour_of_day": (24, 0),
    "day_of_week": (7, 1),  # Monday
    "day_of_month": (31, 1),
    "day_of_year": (365.25, 1),
    "month_of_year": (12, 1),
}


def around(name: str) -> tuple[str, str]:
    """Names of sine and cosine."""
    return f"{name} sin", f"{name} cos"


def on_circle(values: Floats, period: float, start: float) -> Floats:
    """Sine and cosine (n, 2) of numbers (n, 1)."""
    angle = 2 * np.pi * (values - start) / period
    return np.hstack([np.sin(angle), np.cos(angle)])


def off_circle(pairs: Floats, period: float, start: float) -> Floats:
    """The numbers (..., 1) at the angles of pairs (..., 2), at least `start`; NaN for a pair without an angle."""
    sine, cosine = pairs[..., :1], pairs[..., 1:]
    turns = np.arctan2(sine, cosine) / (2 * np.pi) % 1.0
    turns = np.where(turns > 1 - ROUNDING, 0.0, turns)  # the start again, in float32 a little before it
    return np.where(np.hypot(sine, cosine) > 1e-9, start + period * turns, np.nan)


def part_of(found: pl.Series, part: TimePart) -> pl.Series:
    """A part of moments, Float64."""
    at = found.dt
    if part == "hour_of_day":
        hours: pl.Series = at.hour() + at.minute() / 60 + at.second() / 3600
        return hours.cast(pl.Float64)
    whole = {
        "minute_of_hour": at.minute, "day_of_week": at.weekday, "day_of_month": at.day, "day_of_year": at.ordinal_day,
        "month_of_year": at.month,
    }[part]  # fmt: skip
    return whole().cast(pl.Float64)

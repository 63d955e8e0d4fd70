"""Times among the columns of a dataset: which one orders the rows, and what of the others is worth a feature."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from pipelines.data.cycles import part_of
from pipelines.data.look import Look
from pipelines.settings.columns import TimePart

NAMES_THE_ROW = "as many values as rows: it names the row"
CLOCK_PERIOD = 2400  # of times of day such as 2359
PART_OF_PERIOD = {24: "hour_of_day", 7: "day_of_week", 365.25: "day_of_year", 12: "day_of_year"}
# Columns that are a date together.
DATES = tuple(re.compile(each, re.I) for each in ("year|yr", "month|mnth|mon", "day|mday", "hour|hr", "minute|min"))


def without_double_clocks(looks: Sequence[Look], sample: pl.DataFrame) -> list[Look]:
    """The columns, but for times of day such as 2359 that an hour and a minute say already."""
    periods = {
        each.name: each.kind["period"] for each in looks if isinstance(each.kind, Mapping) and "period" in each.kind
    }
    hours, minutes = ([name for name, period in periods.items() if period == wanted] for wanted in (24, 60))
    found = []
    for each in looks:
        pairs = [(h, m) for h in hours for m in minutes] if periods.get(each.name) == CLOCK_PERIOD else []
        same = next((f"{h} and {m}" for h, m in pairs if (sample[each.name] == 100 * sample[h] + sample[m]).all()), "")
        found.append(replace(each, role="left out", kind=None, why=f"says the same as {same}") if same else each)
    return found


def with_time(looks: Sequence[Look], sample: pl.DataFrame, time: str | None, parted: bool) -> list[Look]:
    """One of the times orders the rows, the most detailed one; of others the parts that go round are features.

    Where there is a target (`parted`), the parts of the one that orders are features too, but for those that other
    columns hold. Without such a time, a counter of rows that lie in the order of their dates is one.
    """
    candidates = [each.name for each in looks if each.role == "time" and sample.schema[each.name] != pl.String]
    ordering = time or max(candidates, key=lambda name: sample[name].n_unique(), default=None)
    if ordering is None and (counter := _counter_of_dates(looks, sample)):
        return [counter if each.name == counter.name else each for each in looks]
    cycles = [each.kind for each in looks if isinstance(each.kind, Mapping) and "period" in each.kind]
    held = {PART_OF_PERIOD.get(kind["period"]) for kind in cycles}
    found = []
    for each in looks:
        parts = [] if each.role != "time" else _varying_parts(sample[each.name].alias("values"))
        kind = {"kind": "time", "parts": [part for part in parts if part not in held]}
        if each.name == ordering:
            found.append(replace(each, role="time", kind=kind if parted and kind["parts"] else None))
        elif each.role != "time":
            found.append(each)
        elif ordering is not None and not (parts := _own_parts(each.name, parts, ordering, sample)):
            found.append(replace(each, role="left out", why=f"{each.why}: says nothing beside {ordering}"))
        elif parts:
            found.append(replace(each, role="feature", kind={"kind": "time", "parts": parts}))
        else:
            found.append(replace(each, role="left out", why=f"{each.why}: no part of it goes round"))
    return found


def _moments(values: pl.Series) -> pl.Series:
    """Times of any type as moments."""
    if values.dtype == pl.String:
        values = values.str.strip_chars().str.to_datetime(strict=False)
    return values.cast(pl.Datetime("us"))


def _own_parts(name: str, parts: Sequence[TimePart], ordering: str, sample: pl.DataFrame) -> list[TimePart]:
    """Those parts of a time that are not, in each row, those of the time that orders the rows."""
    if not isinstance(sample.schema[ordering], pl.Date | pl.Datetime):
        return [*parts]
    mine, its = (_moments(sample[each].alias("values")) for each in (name, ordering))
    return [part for part in parts if not (part_of(mine, part) == part_of(its, part)).all()]


def _counter_of_dates(looks: Sequence[Look], sample: pl.DataFrame) -> Look | None:
    """A counter of rows that follow each other by year, month and day, if any."""
    numbers = [each.name for each in looks if sample.schema[each.name].is_numeric()]
    names = [next(filter(part.fullmatch, numbers), "") for part in DATES]
    dates = [name for name in names if name]
    if len(dates) < 3 or dates != names[: len(dates)]:
        return None
    whole = [sample[name].cast(pl.Float64, strict=False).alias(str(i)) for i, name in enumerate(dates)]
    for each in looks:
        if each.why == NAMES_THE_ROW and sample.schema[each.name].is_integer():
            ordered = pl.DataFrame([sample[each.name].alias("counter"), *whole]).sort("counter").drop("counter")
            if ordered.equals(ordered.sort(ordered.columns)):
                return replace(each, role="time", why=f"counts rows that follow each other by {', '.join(dates)}")
    return None


def _varying_parts(values: pl.Series) -> list[TimePart]:
    """The parts of times that go round at least once."""
    known = _moments(values).drop_nulls()
    if not len(known):
        return []
    days = (known.max() - known.min()).days  # type: ignore[operator, union-attr]  # of moments
    parts: list[TimePart] = ["hour_of_day"] if known.dt.hour().n_unique() > 6 else []
    parts += ["day_of_week"] if days >= 14 and known.dt.weekday().n_unique() > 2 else []
    return parts + (["day_of_year"] if days >= 300 else [])

"""What a column of the data is, where it is more than a number: `data.columns`."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.settings.section import Section
from pipelines.settings.values import Names

ColumnKind = Literal["number", "boolean", "category", "ordinal", "cyclic", "time", "lag", "rolling_mean"]
PAST_KINDS = ("lag", "rolling_mean")  # made of the values that another column has in earlier rows
TimePart = Literal["minute_of_hour", "hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year"]

# The settings that each kind has, and of these the ones that must be given.
OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "number": ((), ()),
    "boolean": ((), ()),
    "category": (("least_share", "most"), ()),
    "ordinal": (("order",), ("order",)),
    "cyclic": (("period", "start"), ("period",)),
    "time": (("parts",), ()),
    "lag": (("of", "by", "oldest", "series"), ("of", "by")),
    "rolling_mean": (("of", "over", "by", "series"), ("of", "over")),
}
UNITS = {"s": (1, "second"), "min": (60, "minute"), "h": (3600, "hour"), "d": (86_400, "day"), "w": (604_800, "week")}


def seconds(age: str) -> int:
    """How long an age such as `90min` is."""
    number, unit = _age_parts(age)
    return number * UNITS[unit][0]


def age_in_words(age: str) -> str:
    """`90 minutes` for `90min`."""
    number, unit = _age_parts(age)
    return f"{number} {UNITS[unit][1]}{'s' if number > 1 else ''}"


def _age_parts(age: str) -> tuple[int, str]:
    found = re.fullmatch(rf"([1-9]\d{{0,6}})({'|'.join(UNITS)})", age)
    if found is None:
        raise ValueError(f"must be a time such as 30s, 15min, 24h, 7d or 2w, got {age!r:.40}")
    return int(found[1]), found[2]


def _as_age(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"must be a time such as 30s, 15min, 24h, 7d or 2w, got {value!r:.40}")
    _age_parts(value)
    return value


Age = Annotated[str, BeforeValidator(_as_age)]


def _as_text(value: Any) -> Any:
    """A value of an order as text: YAML reads 1 as a number, and yes as true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


class ColumnConfig(Section):
    """What a column is; a word alone is its kind: `city: category`."""

    kind: ColumnKind = Field(
        description="number; boolean: true and false, 1 and 0, yes and no; category: names without an order; ordinal: "
        "names with one; cyclic: a number that begins again after a period; time: parts of a date or time; lag: an "
        "earlier value of another column; rolling_mean: the mean of its values over a time before"
    )
    period: float | None = Field(default=None, gt=0, description="Of a cyclic column: hours 24, degrees 360")
    start: float = Field(default=0.0, description="Of a cyclic column: its smallest value, 1 for months from 1 to 12")
    order: tuple[Annotated[str, BeforeValidator(_as_text)], ...] = Field(
        default=(), description="Of an ordinal column: all of its values, the lowest first"
    )
    parts: tuple[TimePart, ...] = Field(
        default=("hour_of_day", "day_of_week", "day_of_year"), min_length=1, description="Of a time: what counts of it"
    )
    least_share: float = Field(
        default=0.01, ge=0, lt=1, description="Of a category: share of the training rows below which a value is rare"
    )
    most: int = Field(
        default=30,
        ge=1,
        description="Of a category: values with a feature each, the most frequent; the others are one together",
    )

    of: str | None = Field(
        default=None,
        min_length=1,
        description="Of a lag or rolling mean: the column that it is of; a target is welcome",
    )
    by: Age | None = Field(
        default=None,
        description="Of a lag or rolling mean: how old values are at least, such as 30s, 15min, 24h, 7d, 2w",
    )
    oldest: Age | None = Field(
        default=None, description="Of a lag: age beyond which a value counts as missing; None: twice as old as by"
    )
    over: Age | None = Field(default=None, description="Of a rolling mean: how long the time is that it is taken over")
    series: Names = Field(
        default=(), description="Of a lag or rolling mean: columns that tell apart series, each with a past of its own"
    )

    @model_validator(mode="after")
    def _fitting_options(self) -> Self:
        known, needed = OPTIONS[self.kind]
        problems = [
            f"{name} is of no use for kind={self.kind}, which takes {' and '.join(known) or 'no other setting'}"
            for name in type(self).model_fields
            if name != "kind"
            and name in self.model_fields_set
            and name not in known
            and getattr(self, name) != type(self).model_fields[name].default
        ]
        problems += [f"{name} must be given for kind={self.kind}" for name in needed if not getattr(self, name)]
        for name in ("order", "parts", "series"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                problems.append(f"{name} must have each value once, got {', '.join(getattr(self, name))}")
        if self.by and self.oldest and seconds(self.oldest) < seconds(self.by):
            problems.append(f"oldest must be at least by={self.by}, got {self.oldest}")
        if self.kind == "ordinal" and len(self.order) == 1:
            problems.append(f"order must have at least two values, got {self.order[0]} alone")
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _spelled_out(columns: Any) -> Any:
    """The columns with each word written out as a kind."""
    if not isinstance(columns, dict):
        return columns
    return {name: {"kind": given} if isinstance(given, str) else given for name, given in columns.items()}


Columns = Annotated[
    dict[str, ColumnConfig],
    BeforeValidator(_spelled_out, json_schema_input_type=dict[str, ColumnKind | ColumnConfig]),
]

"""What a column of the data is, where it is more than a number: `data.columns`."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipelines.settings.section import Section

ColumnKind = Literal["number", "boolean", "category", "ordinal", "cyclic", "time"]
TimePart = Literal["minute_of_hour", "hour_of_day", "day_of_week", "day_of_month", "day_of_year", "month_of_year"]

# The settings that each kind has, and of these the ones that must be given.
OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "number": ((), ()),
    "boolean": ((), ()),
    "category": (("least_share", "most"), ()),
    "ordinal": (("order",), ("order",)),
    "cyclic": (("period", "start"), ("period",)),
    "time": (("parts",), ()),
}


def _as_text(value: Any) -> Any:
    """A value of an order as text: YAML reads 1 as a number, and yes as true."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


class ColumnConfig(Section):
    """What a column is; a word alone is its kind: `city: category`."""

    kind: ColumnKind = Field(
        description="number; boolean: true and false, 1 and 0, yes and no; category: names without an order; ordinal: "
        "names with one; cyclic: a number that begins again after a period; time: parts of a date or time"
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
        for name in ("order", "parts"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                problems.append(f"{name} must have each value once, got {', '.join(getattr(self, name))}")
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

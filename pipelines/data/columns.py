r"""Columns that are more than a number, and how they become features of a map: one class a kind.

Two steps, the same for files and for requests:

    read      a column as it is stored -> numbers, one a column that has a meaning of its own
    expand    these numbers            -> features, the axes of the map

    kind       numbers                          features
    number     x                                x
    boolean    1 for true, 0 for false          the same
    ordinal    place in the order, from 0       the same
    cyclic     x                                sin(2 pi (x - s) / p), cos(2 pi (x - s) / p)
    time       each part of the moment          sine and cosine of each
    category   code of the value                for each value 1 or 0; another for all rare ones together
    lag        x of another column, earlier     the same
    rolling_mean                                the same

Numbers are what datasets, drift and reports hold; features are what the map is trained on. `collapse` is the way back
from features, of neurons or of means over rows, to what a person reads: the pair of a cycle is one angle again, and the
features of a category are shares.

The features of one column are scaled by one number (`scaling.py`), so that they weigh as one feature together. A value
that a category does not know is one of the rare ones, or where there were none, none at all: 0 for each value, as far
from one as from another. A missing value is missing in all features of its column.

A lag and a rolling mean are of no column of the files: `past.py` makes them of another one, by time. Requests hold them
as any number.

What was fitted is the list of these objects, as JSON.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from pipelines.data.column_base import BaseColumn, Floats
from pipelines.data.cycles import CYCLES, around, off_circle, on_circle, part_of
from pipelines.data.labels import labels, mapped, moments, numbers, truth
from pipelines.data.past_columns import LagColumn, RollingMeanColumn
from pipelines.errors import DatasetError
from pipelines.settings.columns import OPTIONS, PAST_KINDS, ColumnConfig, TimePart

OTHER = "(other)"


class NumberColumn(BaseColumn):
    """A number as it is.

    Attributes:
        text: Whether texts that are numbers are taken too.
    """

    kind: Literal["number"] = "number"
    text: bool = False

    @property
    def takes_text(self) -> bool:
        """Where that is declared."""
        return self.text

    @property
    def is_declared(self) -> bool:
        """Only where it takes text."""
        return self.text

    def config(self) -> dict[str, Any]:
        """As `data.columns` says it."""
        return {"kind": self.kind}


class BooleanColumn(BaseColumn):
    """True or false."""

    kind: Literal["boolean"] = "boolean"

    def read(self, values: pl.Series) -> list[pl.Series]:
        """1, 0 or null."""
        return [truth(values)]

    def stored(self, features: Floats) -> list[Any]:
        """Whichever is nearer."""
        return list((features[:, 0] >= 0.5).tolist())


class OrdinalColumn(BaseColumn):
    """Names with an order: equal steps from one to the next."""

    kind: Literal["ordinal"] = "ordinal"
    order: tuple[str, ...]

    def read(self, values: pl.Series) -> list[pl.Series]:
        """The place of each value in the order."""
        return [mapped(labels(values), self._place, pl.Float64())]

    def stored(self, features: Floats) -> list[Any]:
        """The nearest of the order."""
        places = np.clip(features[:, 0].round(), 0, len(self.order) - 1).astype(np.int64)
        return [self.order[place] for place in places]

    def _place(self, text: str) -> float:
        if text not in self.order:
            raise ValueError(f"must hold values of its order, {', '.join(self.order)}, got {text!r:.40}")
        return float(self.order.index(text))


class CyclicColumn(BaseColumn):
    """A number that begins again after a period."""

    has_mean: ClassVar[bool] = False
    kind: Literal["cyclic"] = "cyclic"
    period: float = Field(gt=0)
    start: float = 0.0

    @property
    def features(self) -> tuple[str, ...]:
        """Sine and cosine."""
        return around(self.name)

    @property
    def cycles(self) -> tuple[tuple[float, float] | None, ...]:
        """That of the column."""
        return ((self.period, self.start),)

    def read(self, values: pl.Series) -> list[pl.Series]:
        """The numbers within one period: 24 is hour 0 again."""
        return [(numbers(values) - self.start) % self.period + self.start]

    def expand(self, values: Floats) -> Floats:
        """On the unit circle."""
        return on_circle(values, self.period, self.start)

    def collapse(self, features: Floats) -> Floats:
        """The value whose angle that of the pair is; NaN where the pair lies at the center of the circle."""
        return off_circle(features, self.period, self.start)


class TimeColumn(BaseColumn):
    """Parts of a moment, each a cycle. The parts are those in `zone`; None: of columns without one, else UTC."""

    has_mean: ClassVar[bool] = False
    kind: Literal["time"] = "time"
    parts: tuple[TimePart, ...] = Field(min_length=1)
    zone: str | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """`time hour_of_day` and so on."""
        return tuple(f"{self.name} {part}" for part in self.parts)

    @property
    def features(self) -> tuple[str, ...]:
        """Sine and cosine of each part."""
        return tuple(name for number in self.numbers for name in around(number))

    @property
    def cycles(self) -> tuple[tuple[float, float] | None, ...]:
        """Those of the parts."""
        return tuple(CYCLES[part] for part in self.parts)

    def read(self, values: pl.Series) -> list[pl.Series]:
        """The parts."""
        found = moments(values, self.zone)
        return [part_of(found, part) for part in self.parts]

    def expand(self, values: Floats) -> Floats:
        """Each on a circle of its own."""
        return np.hstack([on_circle(values[:, [i]], *CYCLES[part]) for i, part in enumerate(self.parts)])

    def collapse(self, features: Floats) -> Floats:
        """The parts again."""
        pairs = [off_circle(features[..., 2 * i : 2 * i + 2], *CYCLES[part]) for i, part in enumerate(self.parts)]
        return np.concatenate(pairs, axis=-1)

    def stored(self, features: Floats) -> list[Any]:
        """Moments of 2024 at that day and hour, where the parts say them."""
        found = np.nan_to_num(self.collapse(features))
        known = dict(zip(self.parts, found.T, strict=True))
        nothing = np.zeros(len(found))
        days, hours = (known.get(part, nothing) for part in ("day_of_year", "hour_of_day"))
        return [
            (datetime(2024, 1, 1) + timedelta(days=int(day), hours=float(hour))).isoformat(timespec="seconds")
            for day, hour in zip(days, hours, strict=True)
        ]

    def config(self) -> dict[str, Any]:
        """As `data.columns` says it: the zone is that of the column."""
        return self.model_dump(exclude={"name", "zone"})


class CategoryColumn(BaseColumn):
    """Names without an order, one feature each.

    Attributes:
        levels: Values that have a feature of their own; none before it was fitted. The code of each is its place.
        other: Whether there is a feature for all other values together, whose code is the next one.
        least_share: Share of the training rows below which a value is rare.
        most: Values that have a feature, at most.
    """

    has_mean: ClassVar[bool] = False
    kind: Literal["category"] = "category"
    levels: tuple[str, ...] = ()
    other: bool = False
    least_share: float = 0.01
    most: int = 30

    @property
    def features(self) -> tuple[str, ...]:
        """`city=Paris` and so on."""
        return tuple(f"{self.name}={level}" for level in (*self.levels, *([OTHER] if self.other else ())))

    @property
    def readable(self) -> tuple[str, ...]:
        """A share for each feature."""
        return self.features

    def read(self, values: pl.Series) -> list[pl.Series]:
        """Labels: codes follow once the values are known."""
        return [labels(values)]

    def stored(self, features: Floats) -> list[Any]:
        """The value of the largest share."""
        return [self.levels[place] for place in features[:, : len(self.levels)].argmax(axis=1)]

    def codes(self, known: Sequence[str]) -> Floats:
        """The code of each of some labels; one beyond the last level for those that have none."""
        places = {level: float(i) for i, level in enumerate(self.levels)}
        return np.array([places.get(text, float(len(self.levels))) for text in known])

    def expand(self, values: Floats) -> Floats:
        """1 at the code, 0 elsewhere."""
        places = np.arange(len(self.features), dtype=np.float64)
        return np.where(np.isnan(values), np.nan, values == places)

    def fitted(self, known: Sequence[str], counts: NDArray[np.int64]) -> "CategoryColumn":
        """The column with the levels of rows.

        Args:
            known: Labels, ascending.
            counts: Rows of each.

        Returns:
            With the levels that enough rows have, at most `most`, ascending.

        Raises:
            DatasetError: Every value is rare.
        """
        frequent = [
            i for i in np.argsort(-counts, kind="stable") if counts[i] and counts[i] >= self.least_share * counts.sum()
        ]
        kept = sorted(frequent[: self.most])
        rest = counts.sum() - counts[kept].sum()
        if rest and not kept:
            raise DatasetError(
                f"data.columns: each value of {self.name!r} is in less than {self.least_share:.1%} of the training "
                "rows, so that all would be one: leave it out, or give it a smaller least_share"
            )
        return self.model_copy(update={"levels": tuple(known[i] for i in kept), "other": bool(rest)})

    def config(self) -> dict[str, Any]:
        """As `data.columns` says it: without what was fitted."""
        return self.model_dump(exclude={"name", "levels", "other"})


Column = Annotated[
    NumberColumn
    | BooleanColumn
    | OrdinalColumn
    | CyclicColumn
    | TimeColumn
    | CategoryColumn
    | LagColumn
    | RollingMeanColumn,
    Field(discriminator="kind"),
]
COLUMNS: TypeAdapter[tuple[Column, ...]] = TypeAdapter(tuple[Column, ...])


def column(name: str, config: ColumnConfig | None, zone: str | None = None, time: str | None = None) -> Column:
    """A column as configured, not fitted yet; a number where nothing is said.

    Args:
        name: Of the column.
        config: What `data.columns` says of it.
        zone: Time zone of its type, if any.
        time: The column that orders the rows.
    """
    if config is None:
        return NumberColumn(name=name)
    options = {option: getattr(config, option) for option in OPTIONS[config.kind][0]}
    if config.kind == "time":
        options["zone"] = zone
    if config.kind in PAST_KINDS:
        options["time"] = time
    if config.kind == "number":
        options["text"] = True
    return COLUMNS.validate_python(({"name": name, "kind": config.kind} | options,))[0]

"""Columns that hold what another column said before: no file has them, `past.py` makes them, requests hold them."""

from typing import Any, Literal

from pipelines.data.column_base import BaseColumn
from pipelines.settings.columns import age_in_words, seconds


class _PastColumn(BaseColumn):
    """What another column says of the time before a row.

    Attributes:
        of: The other column.
        time: The column that says when a row was.
        series: Columns whose values tell apart series; a row takes from its own one.
    """

    of: str
    time: str
    series: tuple[str, ...] = ()

    @property
    def takes_text(self) -> bool:
        """Never."""
        return False

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that it is made of."""
        return (self.time, *self.series, self.of)

    @property
    def meaning(self) -> str:
        """What its values are, in words."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """As `data.columns` says it: the time is `data.time`."""
        return self.model_dump(exclude={"name", "time"}, exclude_none=True)

    def _in_words(self, what: str) -> str:
        series = f" of the same {' and '.join(self.series)}" if self.series else ""
        return f"{what}{series} by {self.time}"


class LagColumn(_PastColumn):
    """The newest value that is at least `by` old.

    Attributes:
        by: Such as 24h.
        oldest: The age from which on a value counts as missing; None: twice `by`.
    """

    kind: Literal["lag"] = "lag"
    by: str
    oldest: str | None = None

    @property
    def meaning(self) -> str:
        """`load 24 hours before by when`."""
        return self._in_words(f"{self.of} {age_in_words(self.by)} before")

    @property
    def limit(self) -> int:
        """Age in seconds up to which a value counts."""
        return 2 * seconds(self.by) if self.oldest is None else seconds(self.oldest)


class RollingMeanColumn(_PastColumn):
    """The mean of the values of a time span before a row, never of the row itself.

    Attributes:
        over: How long the span is, such as 7d.
        by: How old values are at least; None: older than the row.
    """

    kind: Literal["rolling_mean"] = "rolling_mean"
    over: str
    by: str | None = None

    @property
    def meaning(self) -> str:
        """`mean of load over the 24 hours before by when`."""
        until = "" if self.by is None else f" that end {age_in_words(self.by)} before"
        return self._in_words(f"mean of {self.of} over the {age_in_words(self.over)}{until or ' before'}")


PastColumn = LagColumn | RollingMeanColumn

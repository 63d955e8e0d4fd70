"""Lags and rolling means: what a column says of the time before each row, from all rows of its series.

Of a row at the time t, with ages in the order of time and not of rows:

    lag             the newest value known whose age is at least `by` and at most `oldest`
    rolling_mean    the mean of all values known whose age is at least `by`, and less than `by` + `over`;
                    without `by`, of ages above 0 up to `over`

So neither the row itself nor a later one has a part in it, whatever the order of rows in files. Where several rows
share series and time, a lag is the mean of their values. Where nothing is known, the value is missing. A missing name
of a series is a name like any other.

The past of rows is that of the data as configured, whatever part of it they are: the first rows of a window look back
beyond its start.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from pipelines.data.labels import labels
from pipelines.data.past_columns import LagColumn, PastColumn, RollingMeanColumn
from pipelines.errors import DatasetError
from pipelines.settings.columns import seconds

SECOND = 1_000_000  # of the times here, which are microseconds
AT, SERIES, VALUE, SUM, COUNT, ROW = "at", "series", "value", "sum", "count", "row"


@dataclass(frozen=True)
class Past:
    """Lags and rolling means of the rows of a dataset.

    Attributes:
        columns: By name.
        read: All rows of the data, with the columns `sources`: times as stored, values as Float64.
    """

    columns: Mapping[str, PastColumn]
    read: Callable[[Sequence[str]], Iterable[pl.DataFrame]] = field(repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """The columns that all of them are made of."""
        return tuple(dict.fromkeys(name for each in self.columns.values() for name in each.sources))

    def keys(self, names: Iterable[str]) -> list[str]:
        """What rows must have so that these of the columns can be made for them: their time, and their series."""
        chosen = [self.columns[name] for name in names]
        return list(dict.fromkeys(name for each in chosen for name in (each.time, *each.series)))

    def beside(self, rows: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """Rows with these of the columns, Float64, null where nothing is known."""
        made = [self._of(self.columns[name], rows).alias(name) for name in names]
        return rows.with_columns(made)

    def _of(self, column: PastColumn, rows: pl.DataFrame) -> pl.Series:
        asked = _placed(rows, column).with_row_index(ROW)
        if isinstance(column, LagColumn):
            found = _lagged(self._known[column.of, column.series], asked, column)
        else:
            found = self._means[column.name].join(asked, on=[SERIES, AT], how="right")
        return found.sort(ROW).get_column(VALUE)

    @cached_property
    def _all(self) -> pl.DataFrame:
        """All rows of the data with what is needed of them."""
        batches = ([batch.get_column(name) for name in self.sources] for batch in self.read(self.sources))
        rows = pl.concat([pl.DataFrame(columns) for columns in batches])
        times = {each.time for each in self.columns.values()}
        return rows.filter(*(rows.get_column(name).is_not_null() for name in times))

    @cached_property
    def _known(self) -> Mapping[tuple[str, tuple[str, ...]], pl.DataFrame]:
        """Of each column and way to tell series apart, sums and counts of the values known, by series and time."""
        return {(each.of, each.series): self._values(each) for each in self.columns.values()}

    def _values(self, column: PastColumn) -> pl.DataFrame:
        value = self._all.get_column(column.of).alias(VALUE).fill_nan(None)
        if infinite := int(value.is_infinite().sum()):
            raise DatasetError(
                f"data.columns: column {column.of!r}, of which {column.name} is a {column.kind}, is infinite in "
                f"{infinite:,} rows: store such values as missing, or filter them out with data.where"
            )
        placed = _placed(self._all, column).with_columns(value).filter(pl.col(VALUE).is_not_null())
        sums = placed.group_by(SERIES, AT).agg(pl.col(VALUE).sum().alias(SUM), pl.len().alias(COUNT))
        return sums.sort(AT)

    @cached_property
    def _means(self) -> Mapping[str, pl.DataFrame]:
        """Each rolling mean by series and time, for all times that rows have."""
        means = (each for each in self.columns.values() if isinstance(each, RollingMeanColumn))
        return {each.name: self._rolling(each) for each in means}

    def _rolling(self, column: RollingMeanColumn) -> pl.DataFrame:
        times = _placed(self._all, column).unique()
        known = times.join(self._known[column.of, column.series], on=[SERIES, AT], how="left")
        # The span (t - by - over, t - by]; just before t where values need only be older than the row.
        over, by = seconds(column.over) * SECOND, 1 if column.by is None else seconds(column.by) * SECOND
        spans = known.sort(SERIES, AT).rolling(
            AT, group_by=SERIES, period=f"{over}i", offset=f"{-by - over}i", closed="right"
        )
        sums = spans.agg(pl.col(SUM).sum(), pl.col(COUNT).sum())
        mean = pl.when(pl.col(COUNT) > 0).then(pl.col(SUM) / pl.col(COUNT))
        return sums.select(SERIES, AT, mean.alias(VALUE))


def _lagged(known: pl.DataFrame, asked: pl.DataFrame, column: LagColumn) -> pl.DataFrame:
    """The newest values that are old enough, for rows asked by series and time."""
    by = seconds(column.by)
    means = known.select(SERIES, AT, (pl.col(SUM) / pl.col(COUNT)).alias(VALUE))
    back = asked.with_columns(pl.col(AT) - by * SECOND).sort(AT)
    return back.join_asof(
        means, on=AT, by=SERIES, strategy="backward", tolerance=(column.limit - by) * SECOND, check_sortedness=False
    )


def _placed(rows: pl.DataFrame, column: PastColumn) -> pl.DataFrame:
    """Series, as text, and time, in microseconds, of each row."""
    moments = rows.get_column(column.time).alias(AT)
    moments = moments.cast(pl.Datetime("us")) if moments.dtype == pl.Date else moments
    names = [labels(rows.get_column(name).alias("name")).fill_null("") for name in column.series]
    series = (
        pl.select(pl.concat_str(names, separator="\0")).to_series() if names else pl.repeat("", len(rows), eager=True)
    )
    return pl.DataFrame([series.alias(SERIES), moments.dt.timestamp("us")])

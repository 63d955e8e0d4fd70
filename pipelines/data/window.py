"""The window that a challenger is trained on, and the newest part of it that is held out.

Both are the configured data with narrower bounds, so they are read like any other data. They are cut apart at one place
in the order of the rows: a time of `data.time`, or a partition of the folders (`year=2024/month=03`, by number, date or
else by letter). Every held-out row is newer than every training row.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from pipelines.data import find_source, newest_share_from, partitions, time_span
from pipelines.errors import DatasetError
from pipelines.settings.sections import DataConfig, WindowConfig

logger = logging.getLogger(__name__)

UNITS = {"h": "hours", "d": "days", "w": "weeks"}
TICK = timedelta(microseconds=1)  # the smallest difference of two bounds


@dataclass(frozen=True)
class Window:
    """Training rows and held-out rows.

    Attributes:
        train: The rows to train on; none of them is to be held out again.
        heldout: The rows to evaluate on, each newer than every row of `train`.
    """

    train: DataConfig
    heldout: DataConfig


def choose_window(data: DataConfig, window: WindowConfig) -> Window:
    """The window as it lies in the data now.

    Args:
        data: The data.
        window: What to take of it; without `holdout` the newest `data.holdout` of the window's rows are held out.

    Raises:
        DatasetError: The data has no order of the kind that is asked for, or no row to train on or to hold out; with
            what was asked and what was found.
    """
    known = data if window.until is None else _until(data, window.until)
    chosen = known if window.length is None else _newest(known, window.length, "window.length").onward(known)
    cut = _share(chosen) if window.holdout is None else _newest(chosen, window.holdout, "window.holdout")
    whole = chosen.model_copy(update={"holdout": 0.0})
    found = Window(cut.before(whole), cut.onward(whole))
    _require_newer(found, data, window)
    return found


# ---------------------------------------------------------------- places between rows


class Cut(Protocol):
    """A place in the order of the rows."""

    def before(self, data: DataConfig) -> DataConfig:
        """The rows of the data before it."""

    def onward(self, data: DataConfig) -> DataConfig:
        """The rows from it on."""


@dataclass(frozen=True)
class TimeCut:
    """At a moment; without a zone it means UTC, like everywhere in `data`."""

    moment: datetime

    def before(self, data: DataConfig) -> DataConfig:
        """Rows before the moment."""
        return data.part(end=min(data.end or self.moment, self.moment, key=_as_utc))

    def onward(self, data: DataConfig) -> DataConfig:
        """Rows from the moment on."""
        return data.part(start=max(data.start or self.moment, self.moment, key=_as_utc))


@dataclass(frozen=True)
class ValueCut:
    """At the first row with these values in these columns, compared one after the other like the digits of a number."""

    columns: Sequence[str]
    values: Sequence[Any]

    def before(self, data: DataConfig) -> DataConfig:
        """Rows with smaller values."""
        return _where(data, f"NOT ({self._from_here()})")

    def onward(self, data: DataConfig) -> DataConfig:
        """Rows with these values or larger ones."""
        return _where(data, self._from_here())

    def _from_here(self) -> str:
        pairs = [(_quoted(name), _literal(value)) for name, value in zip(self.columns, self.values, strict=True)]
        column, value = pairs.pop()
        condition = f"{column} >= {value}"
        for column, value in reversed(pairs):
            condition = f"{column} > {value} OR ({column} = {value} AND ({condition}))"
        return condition


def _where(data: DataConfig, condition: str) -> DataConfig:
    return data.part(where=condition if data.where is None else f"({data.where}) AND ({condition})")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    """A value in SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, date) and not isinstance(value, datetime):
        return f"DATE '{value}'"
    if isinstance(value, int | float):
        return repr(value)
    raise DatasetError(f"window: partitions must be numbers, dates or text, got {value!r}")


# ---------------------------------------------------------------- which place


def _until(data: DataConfig, until: datetime | str) -> DataConfig:
    """The data before a time, or up to and with a partition."""
    if isinstance(until, datetime):
        _require_dates(data, f"window.until={until}")
        known = TimeCut(until).before(data)
        if _is_empty(known):
            raise DatasetError(f"window.until={until}: no row before it: {_found(data)}")
        return known
    table = partitions(data)
    wanted = dict(part.partition("=")[::2] for part in until.split("/"))
    places = [i for i, row in enumerate(table.rows(named=True)) if _is(row, wanted)]
    if not places:
        raise DatasetError(f"window.until={until}: no such partition with rows in {data.path}: {_found(data)}")
    return data if places[-1] + 1 == len(table) else ValueCut(table.columns, table.row(places[-1] + 1)).before(data)


def _is(row: dict[str, Any], wanted: dict[str, str]) -> bool:
    """Whether a partition is the wanted one, or of the wanted ones; 06 is month 6."""
    return all(name in row and _same(row[name], text) for name, text in wanted.items())


def _same(value: Any, text: str) -> bool:
    return str(value) == (text.lstrip("0") or "0" if isinstance(value, int) else text)


def _newest(data: DataConfig, extent: int | str, setting: str) -> Cut:
    """Where the newest part of the data begins: a number of partitions, or a time span up to its last row."""
    if isinstance(extent, str):
        last = _require_dates(data, f"{setting}={extent}")[1]
        return TimeCut(_moment(last) - timedelta(**{UNITS[extent[-1]]: int(extent[:-1])}) + TICK)
    table = partitions(data)
    if table.is_empty():
        raise DatasetError(
            f"{setting}={extent} counts partitions, and no folder of {data.path} is one, like month=06: give a time "
            "such as 90d"
        )
    if extent > len(table):
        logger.warning(
            "%s=%d: only %d partitions are there, all are taken: %s", setting, extent, len(table), _found(data)
        )
    return ValueCut(table.columns, table.row(-min(extent, len(table))))


def _share(data: DataConfig) -> Cut:
    """Where the newest share of the rows begins that `data.holdout` says."""
    source = find_source(data)
    if source.time is None:
        raise DatasetError("window.holdout must be given as a number of partitions, for data.time is not set")
    value = newest_share_from(source, data.holdout)
    if value is None:
        raise DatasetError(f"data.holdout={data.holdout} leaves no row to hold out: {_found(data)}")
    return TimeCut(_moment(value)) if isinstance(value, date) else ValueCut([source.time], [value])


def _require_dates(data: DataConfig, asked: str) -> tuple[date, date]:
    """The first and the last time of the data.

    Raises:
        DatasetError: It has none, or no row.
    """
    if data.time is None:
        raise DatasetError(f"{asked} needs data.time, the column of dates or times")
    first, last = time_span(find_source(data))
    if first is None:
        raise DatasetError(
            f"{asked}: the dataset is empty: no rows in {data.path} that match data.where, start and end"
        )
    if not isinstance(first, date):
        raise DatasetError(f"{asked} needs dates or times in data.time, got numbers from {first} to {last}")
    return first, last


def _moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _as_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# ---------------------------------------------------------------- what came out


def _require_newer(found: Window, data: DataConfig, window: WindowConfig) -> None:
    """Refuse a window without rows on both sides, or one whose partitions are not in the order of time."""
    for part, purpose in ((found.train, "train"), (found.heldout, "evaluate")):
        if _is_empty(part):
            asked = ", ".join(f"{name}={value}" for name, value in window if value is not None)
            raise DatasetError(f"window: no row is left to {purpose} on with {asked}: {_found(data)}")
    if data.time is None:
        return
    newest, oldest = time_span(find_source(found.train))[1], time_span(find_source(found.heldout))[0]
    if newest >= oldest:
        raise DatasetError(
            f"window: the held-out rows must be newer than those to train on, got {data.time} from {oldest} on and "
            f"up to {newest}: the partitions are not in the order of time, give times such as 90d"
        )


def _is_empty(data: DataConfig) -> bool:
    if data.time is None:
        return partitions(data).is_empty()
    return time_span(find_source(data))[0] is None


def _found(data: DataConfig) -> str:
    """What order there is in the data."""
    table = partitions(data)
    ends = [table.row(i, named=True) for i in (0, -1)] if len(table) else []
    names = ["/".join(f"{name}={value}" for name, value in row.items()) for row in ends]
    orders = [f"{len(table)} partitions from {names[0]} to {names[1]}"] if names else []
    if data.time is not None:
        orders.append("times from {} to {}".format(*time_span(find_source(data))))
    return "there are " + " and ".join(orders or ["neither partitions nor data.time"])

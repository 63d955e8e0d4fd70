"""Values of columns as text, by which categories are recognized wherever they come from, and what a text means."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import polars as pl

TRUE, FALSE = ("true", "yes", "y", "t", "on", "1"), ("false", "no", "n", "f", "off", "0")


def label(value: Any) -> str:
    """The text of a value: `3` for 3, 3.0 and "3" alike, whatever number type a file or a request has."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal) and isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, bytes):  # as Impala writes text
        return value.decode(errors="backslashreplace")
    return value.isoformat() if isinstance(value, date) else str(value)


def labels(values: pl.Series) -> pl.Series:
    """Values as their labels, String; null stays null, NaN becomes null. An empty text is no value."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    return mapped(values, lambda value: label(value) or None, pl.String())


def truth(values: pl.Series) -> pl.Series:
    """1 for true, yes, on and 1, and 0 for their opposites, in any case; Float64.

    Raises:
        ValueError: A value is none of them.
    """
    return mapped(labels(values), _truth, pl.Float64())


def numbers(values: pl.Series) -> pl.Series:
    """Values as Float64; texts that are numbers are read, blank ones are null.

    Raises:
        ValueError: A text is no number.
    """
    if values.dtype == pl.String:
        return mapped(values, _number, pl.Float64())
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise ValueError(f"must hold numbers, got the type {values.dtype}")
    return values.cast(pl.Float64)


def moments(values: pl.Series, zone: str | None) -> pl.Series:
    """Values as moments in a zone; None: without one, UTC where they have one. Texts are read as ISO 8601.

    Raises:
        ValueError: A value is no moment.
    """
    if values.dtype == pl.String:
        values = mapped(values, _moment, pl.Datetime("us"))
    if values.dtype in (pl.Null, pl.Date):
        values = values.cast(pl.Datetime("us"))
    if not isinstance(values.dtype, pl.Datetime):
        raise ValueError(f"must hold dates or times, got the type {values.dtype}")
    if values.dtype.time_zone is None:
        return values if zone is None else values.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return values.dt.convert_time_zone(zone or "UTC")


def mapped(values: pl.Series, of: Callable[[Any], Any], dtype: pl.DataType) -> pl.Series:
    """What a function says to each value that is not null, asked once for each distinct one."""
    distinct = values.unique().drop_nulls()
    said = pl.Series([of(value) for value in distinct.to_list()], dtype=dtype)
    if values.dtype == pl.Null or not len(distinct):
        return pl.Series(values.name, [None] * len(values), dtype)
    return values.replace_strict(distinct, said, default=None, return_dtype=dtype)


def _truth(text: str) -> float:
    if text.strip().lower() in TRUE:
        return 1.0
    if text.strip().lower() in FALSE:
        return 0.0
    raise ValueError(f"must hold true and false, yes and no, or 1 and 0, got {text!r:.40}")


def _number(text: str) -> float | None:
    try:
        if "_" not in text:  # which Python takes between digits
            return float(text) if text.strip() else None
    except ValueError:
        pass
    raise ValueError(f"must hold numbers, got {text!r:.40}")


def _moment(text: str) -> datetime | None:
    """A moment in UTC, which one without a zone is taken for."""
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"must hold dates or times such as 2013-06-01T12:00:00Z, got {text!r:.40}") from None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found

"""The common type of a column that files store in different types: one that holds every value of them, or none.

Numbers of any width, decimals and booleans are one family, texts of any encoding another, dates and times a third; a
moment with a time zone and one without have nothing in common. A column without any value fits everywhere.
"""

from collections.abc import Collection
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
from pyarrow import types

NUMBER = pa.float64()
UNITS = ("s", "ms", "us", "ns")


def value_type(stored: pa.DataType) -> pa.DataType:
    """The type of the values, however they are encoded."""
    if types.is_dictionary(stored) or types.is_run_end_encoded(stored):
        return stored.value_type
    return stored


def plain(stored: pa.DataType) -> pa.DataType:
    """The widest type of a kind: int64 for a narrower integer, a timestamp in milliseconds for one in seconds."""
    stored = value_type(stored)
    if types.is_string(stored) or types.is_large_string(stored) or types.is_string_view(stored):
        return pa.large_string()
    if types.is_date(stored):
        return pa.date32()
    if types.is_decimal(stored) or types.is_floating(stored):
        return NUMBER
    if types.is_signed_integer(stored):
        return pa.int64()
    if types.is_unsigned_integer(stored):
        return pa.uint64() if stored == pa.uint64() else pa.int64()
    if types.is_timestamp(stored):
        return pa.timestamp(_finest([stored.unit]), _zone(stored.tz))
    if types.is_duration(stored):
        return pa.duration(_finest([stored.unit]))
    if types.is_time(stored):
        return pa.time64("ns")
    return stored


def common_type(stored: Collection[pa.DataType]) -> pa.DataType | None:
    """The type that holds the values of all these types; None where no type does that safely."""
    found = {plain(each) for each in stored} - {pa.null()}
    if len(found) <= 1:
        return found.pop() if found else pa.null()
    if all(is_number(each) for each in found):
        return NUMBER if NUMBER in found else pa.int64()  # a value beyond it is refused when it is read
    if all(is_moment(each) for each in found):
        return _common_moment([each for each in found if types.is_timestamp(each)], pa.date32() in found)
    if all(types.is_duration(each) for each in found):
        return pa.duration(_finest([each.unit for each in found]))
    return None


def _common_moment(stamps: Collection[Any], dates: bool) -> pa.DataType | None:
    zones = {stamp.tz for stamp in stamps}
    if (None in zones and len(zones) > 1) or (dates and zones != {None}):
        return None
    return pa.timestamp(_finest([stamp.unit for stamp in stamps]), zones.pop() if len(zones) == 1 else "UTC")


def _finest(units: Collection[str]) -> str:
    """The finest of these units, among those that polars has."""
    return UNITS[max(1, *(UNITS.index(unit) for unit in units))]


def _zone(name: str | None) -> str | None:
    """A zone as polars takes it; one that is an offset such as +02:00 becomes UTC."""
    return "UTC" if name is not None and name[:1] in "+-" else name


def is_number(stored: pa.DataType) -> bool:
    """Whether values are numbers or booleans, or there are none at all."""
    return bool(
        types.is_integer(stored)
        or types.is_floating(stored)
        or types.is_decimal(stored)
        or types.is_boolean(stored)
        or types.is_null(stored)
    )


def is_moment(stored: pa.DataType) -> bool:
    """Whether values are dates, or dates with a time of day."""
    return bool(types.is_date(stored) or types.is_timestamp(stored))


def has_zone(stored: pa.DataType) -> bool:
    """Whether values are moments with a time zone."""
    return bool(types.is_timestamp(stored) and stored.tz is not None)


def zone_of(stored: pa.DataType | None) -> str | None:
    """The time zone of a type; None where it has none."""
    return str(stored.tz) if stored is not None and has_zone(stored) else None


def unknown_zone(stored: pa.DataType) -> str | None:
    """The time zone of a type where nobody knows it; None where all is well."""
    zone = stored.tz if types.is_timestamp(stored) else None
    if zone is None or zone[:1] in "+-":
        return None
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return str(zone)
    return None


def in_words(stored: pa.DataType) -> str:
    """What a column of this type holds, as a user would say it."""
    stored = plain(stored)
    if types.is_large_string(stored):
        return "text"
    if is_moment(stored) or types.is_time(stored) or types.is_duration(stored):
        return "dates or times"
    if types.is_binary(stored) or types.is_large_binary(stored) or types.is_binary_view(stored):
        return "bytes"
    return str(stored)


def makes_features(stored: pa.DataType) -> bool:
    """Whether features can be made of a type: numbers, texts, dates, times; not of durations, times of day, lists."""
    return is_number(stored) or is_moment(stored) or in_words(stored) in ("text", "bytes")


def type_name(stored: pa.DataType) -> str:
    """A type by its name, with the value type in place of an encoding: text, int64, timestamp[ns]."""
    return "text" if plain(stored) == pa.large_string() else str(value_type(stored))


def convert(values: Any, wanted: pa.DataType, exact: bool = True) -> Any:
    """An array in another type.

    Args:
        values: A `pyarrow.Array`.
        wanted: Its new type.
        exact: Whether a value that the new type cannot hold exactly is refused; else it is rounded.

    Raises:
        pyarrow.ArrowInvalid: A value does not fit.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_run_end_encoded(values.type):
        values = pa.compute.run_end_decode(values)
    if values.type == wanted:
        return values
    if types.is_decimal(values.type) or types.is_floating(values.type):
        exact = False  # a decimal becomes a float next to it
    if types.is_date64(values.type):
        values = values.cast(pa.date32())
    return values.cast(wanted, safe=exact)


def in_polars(common: pa.DataType) -> pl.DataType:
    """The type that polars has for a common type."""
    series = pl.from_arrow(pa.nulls(0, common))  # pa.array imports pandas
    return series.dtype if isinstance(series, pl.Series) else pl.Null()

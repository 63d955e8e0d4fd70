"""Timestamps as numbers: what callers pass becomes float64 once, here.

Dates become microseconds since 1970 UTC (exact in float64 until the year 2255; a date without a zone is taken as UTC),
numbers stay what they are. A clock shows one of the two, so that a date is never compared with a row number.
"""

import reprlib
from datetime import UTC, date, datetime
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from somlib.errors import DataError, DataTypeError, ShapeError

Clock = Literal["rows", "numbers", "dates"]
FloatArray = NDArray[np.float64]

# Units of NumPy's dates in microseconds. Years and months have no fixed length: NumPy itself turns them into days.
MICROSECONDS = {
    "W": 604_800e6, "D": 86_400e6, "h": 3_600e6, "m": 60e6, "s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "ps": 1e-6,
    "fs": 1e-9, "as": 1e-12,
}  # fmt: skip
NO_TIMES = {
    "m": "durations: add them to a date, or pass them as numbers",
    "U": "text: parse it into dates first",
    "S": "bytes: parse them into dates first",
    "b": "booleans",
    "c": "complex numbers",
}


def read_times(times: Any, n: int, name: str = "timestamps") -> tuple[FloatArray, Clock]:
    """Times of `n` rows as float64 (n,), and what they show.

    Args:
        times: Numbers or dates, shape (n,): list, array, or a series of polars, pandas, pyarrow or torch. Dates may be
            of Python, pandas or NumPy in any unit, with a zone or without.
        n: How many there must be.
        name: What to call them in errors.

    Raises:
        DataTypeError: Neither numbers nor dates, or some of both.
        ShapeError: Not of shape (n,).
        DataError: A time is missing or infinite; with the row of the first and how many there are.
    """
    values = _as_array(times, name)
    if values.shape != (n,):
        raise ShapeError(f"{name} must have shape ({n},), one a row, got {values.shape}")
    if values.dtype == object:
        numbers, clock = _of_objects(values, name)
    elif values.dtype.kind == "M":
        numbers, clock = _microseconds(values), "dates"
    elif values.dtype.kind in "iuf":
        numbers, clock = values.astype(np.float64), "numbers"
    else:
        got = NO_TIMES.get(values.dtype.kind, f"dtype {values.dtype}")
        raise DataTypeError(f"{name} must be numbers or dates, got {got}")
    known = np.isfinite(numbers)
    if not known.all():
        raise DataError(
            f"{name} must all be known, got {int((~known).sum())} missing or infinite of {n}, the first in row "
            f"{known.argmin()}: drop these rows, or fill the times in"
        )
    return numbers, clock


def read_time(time: Any, clock: Clock, name: str) -> float:
    """One time on the given clock.

    Raises:
        DataTypeError: A date where the rows have numbers, or the other way around.
    """
    single = np.empty(1, dtype=object)  # a list would be looked into, should `time` be one
    single[0] = time
    numbers, kind = read_times(single, 1, name)
    if (kind == "dates") != (clock == "dates"):
        raise DataTypeError(f"{name} must be one of the {clock} that the rows have, got {time!r}")
    return float(numbers[0])


def _as_array(times: Any, name: str) -> NDArray[Any]:
    """Times as an array of any type; NaN or NaT, or what stands for them, is still in it."""
    if isinstance(times, str | bytes | dict | set):
        raise DataTypeError(f"{name} must be a sequence of numbers or dates, got {type(times).__name__}")
    if hasattr(times, "detach"):
        times = times.detach().cpu()
    try:
        if type(times).__module__.startswith("pyarrow"):  # its arrays with nulls do not go over uncopied
            return np.asarray(times.to_numpy(zero_copy_only=False))
        return np.asarray(times.to_numpy() if hasattr(times, "to_numpy") else times)
    except (TypeError, ValueError, OverflowError) as error:
        kind = type(times).__name__
        raise DataTypeError(f"{name} must be a sequence of numbers or dates, got a {kind}: {error}") from error


def _microseconds(values: NDArray[Any]) -> FloatArray:
    """Dates of NumPy in any unit as microseconds since 1970, NaN for NaT.

    Through float64, since dates far off in a coarse unit do not fit into 64 bits of a fine one.
    """
    unit, count = np.datetime_data(values.dtype)
    if unit in ("Y", "M"):
        values, unit, count = values.astype("datetime64[D]"), "D", 1
    if unit == "generic":  # NaT alone has no unit
        return np.full(values.shape, np.nan)
    whole = values.astype(np.int64)
    if unit in ("ns", "ps", "fs", "as"):  # exact while the quotient is: float64 holds no 19 digits
        whole, factor = whole // round(1 / MICROSECONDS[unit]), float(count)
    else:
        factor = MICROSECONDS[unit] * count
    return np.where(np.isnat(values), np.nan, whole.astype(np.float64) * factor)


def _of_objects(values: NDArray[Any], name: str) -> tuple[FloatArray, Clock]:
    """Times given as Python objects, all numbers or all dates, NaN where one is missing."""
    numbers, dates = np.full(len(values), np.nan), np.zeros(len(values), dtype=bool)
    kinds: set[bool] = set()
    for row, value in enumerate(values):
        if _is_missing(value):
            continue
        complaint = f"{name} must be numbers or dates, got {reprlib.repr(value)} in row {row}"
        numbers[row], dates[row] = _number_of(value, complaint)
        kinds.add(bool(dates[row]))
        if len(kinds) == 2:
            raise DataTypeError(f"{name} must be all numbers or all dates, got both, the second kind from row {row} on")
    return numbers, "dates" if True in kinds else "numbers"


def _number_of(value: Any, complaint: str) -> tuple[float, bool]:
    """One time as a number, and whether it is a date."""
    if isinstance(value, datetime):  # pandas' are among them
        value = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return float(np.datetime64(value, "us").astype(np.int64)), True
    if isinstance(value, date):
        return float(np.datetime64(value, "D").astype(np.int64)) * MICROSECONDS["D"], True
    if isinstance(value, np.datetime64):
        return float(_microseconds(np.array([value]))[0]), True
    number = isinstance(value, Real) or type(value).__name__ == "Decimal"
    if not number or isinstance(value, bool | np.bool_ | np.timedelta64):
        raise DataTypeError(complaint)
    try:
        return float(value), False
    except OverflowError as error:
        raise DataTypeError(complaint) from error


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NaTType", "NAType"):  # pandas'
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float) and np.isnan(value)  # pandas' mark in columns of objects

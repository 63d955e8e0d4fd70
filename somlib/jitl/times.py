"""Timestamps as numbers: what callers pass becomes float64 once, here.

Dates become microseconds since 1970 UTC (exact in float64 until the year 2255; a date without a zone is taken as UTC),
numbers stay what they are. A clock shows one of the two, so that a date is never compared with a row number.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from somlib.errors import DataError, DataTypeError, ShapeError

Clock = Literal["rows", "numbers", "dates"]
FloatArray = NDArray[np.float64]


def read_times(times: Any, n: int, name: str = "timestamps") -> tuple[FloatArray, Clock]:
    """Times of `n` rows as float64 (n,), and what they show.

    Args:
        times: Numbers or dates, shape (n,): list, array, or a series of polars, pandas or torch.
        n: How many there must be.
        name: What to call them in errors.

    Raises:
        DataTypeError: Neither numbers nor dates.
        ShapeError: Not of shape (n,).
        DataError: A time is missing or infinite.
    """
    values = np.asarray(times.to_numpy() if hasattr(times, "to_numpy") else times)
    if values.dtype == object:
        values = np.array([_without_zone(value, name) for value in values.flat]).reshape(values.shape)
    if values.shape != (n,):
        raise ShapeError(f"{name} must have shape ({n},), one a row, got {values.shape}")
    if values.dtype.kind == "M":
        known, clock = ~np.isnat(values), "dates"
        numbers = values.astype("datetime64[us]").astype(np.int64).astype(np.float64)
    elif values.dtype.kind in "iuf":
        numbers, clock = values.astype(np.float64), "numbers"
        known = np.isfinite(numbers)
    else:
        raise DataTypeError(f"{name} must be numbers or dates, got dtype {values.dtype}")
    if not known.all():
        raise DataError(f"{name} must all be known, got {int((~known).sum())} missing, the first at {known.argmin()}")
    return numbers, clock  # type: ignore[return-value]  # one of the two names above


def read_time(time: Any, clock: Clock, name: str) -> float:
    """One time on the given clock.

    Raises:
        DataTypeError: A date where the rows have numbers, or the other way around.
    """
    numbers, kind = read_times([time], 1, name)
    if (kind == "dates") != (clock == "dates"):
        raise DataTypeError(f"{name} must be one of the {clock} that the rows have, got {time!r}")
    return float(numbers[0])


def _without_zone(value: Any, name: str) -> Any:
    if isinstance(value, datetime):
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value, "us")
    if value is None:
        return np.datetime64("NaT")
    if isinstance(value, np.datetime64 | int | float):
        return value
    raise DataTypeError(f"{name} must be numbers or dates, got {value!r}")

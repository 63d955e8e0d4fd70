"""Every kind of time that people have, as one number; anything else refused with its row."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from somlib.errors import DataError, DataTypeError, ShapeError
from somlib.jitl.times import read_time, read_times

# Seconds since 1970 worked out by hand: 18 262 days to 2020-01-01, 151 more and a half to 2020-05-31 12:00.
FIRST, SECOND = 18_262 * 86_400e6, (18_262 + 151.5) * 86_400e6
DATES = [datetime(2020, 1, 1), datetime(2020, 5, 31, 12)]
DAYS = [date(2020, 1, 1), date(2020, 5, 31)]
TEXT = ["2020-01-01T00:00:00", "2020-05-31T12:00:00"]
EAST = timezone(timedelta(hours=2))
HOUR = 3_600e6

KINDS_OF_DATES: dict[str, tuple[Any, float, float]] = {
    "python": (DATES, FIRST, SECOND),
    "python in a zone": ([moment.replace(tzinfo=EAST) for moment in DATES], FIRST - 2 * HOUR, SECOND - 2 * HOUR),
    "python, one in a zone": ([DATES[0], DATES[1].replace(tzinfo=UTC)], FIRST, SECOND),
    "python days": (DAYS, FIRST, SECOND - 12 * HOUR),
    **{f"numpy {u}": (np.array(TEXT, f"datetime64[{u}]"), FIRST, SECOND) for u in ("h", "m", "s", "ms", "us", "ns")},
    "numpy ten minutes": (np.array(TEXT, "datetime64[10m]"), FIRST, SECOND),
    "numpy years": (np.array(["2020", "1971"], "datetime64[Y]"), FIRST, 365 * 86_400e6),
    "numpy ps": (np.array(["1970-01-01T00:00:01", "1970-01-02"], "datetime64[ps]"), 1e6, 86_400e6),
    "numpy seconds, far off": (np.array([10**14, 0], "datetime64[s]"), 1e20, 0.0),
    "numpy objects": (np.array([np.datetime64(t) for t in TEXT], dtype=object), FIRST, SECOND),
    "pandas": (pd.Series(DATES), FIRST, SECOND),
    "pandas in a zone": (pd.Series(DATES).dt.tz_localize("Europe/Berlin"), FIRST - HOUR, SECOND - 2 * HOUR),
    "pandas index": (pd.DatetimeIndex(DATES, tz="UTC"), FIRST, SECOND),
    "pandas stamps": ([pd.Timestamp(moment) for moment in DATES], FIRST, SECOND),
    "polars": (pl.Series(DATES), FIRST, SECOND),
    "polars ns": (pl.Series(DATES).cast(pl.Datetime("ns")), FIRST, SECOND),
    "polars in a zone": (
        pl.Series(DATES).dt.replace_time_zone("Europe/Berlin"), FIRST - HOUR, SECOND - 2 * HOUR,
    ),
    "polars days": (pl.Series(DAYS), FIRST, SECOND - 12 * HOUR),
    "pyarrow": (pa.array(DATES), FIRST, SECOND),
    "pyarrow in a zone": (pa.chunked_array([pa.array(DATES, pa.timestamp("us", "UTC"))]), FIRST, SECOND),
}  # fmt: skip

KINDS_OF_NUMBERS: dict[str, Any] = {
    "integers": [1, 2],
    "floats": np.array([1.0, 2.0], dtype=np.float32),
    "unsigned": np.array([1, 2], dtype=np.uint64),
    "decimals": [Decimal(1), Decimal(2)],
    "objects": np.array([1, 2.0], dtype=object),
    "pandas nullable": pd.Series([1, 2], dtype="Int64"),
    "polars": pl.Series([1, 2]),
    "pyarrow": pa.array([1, 2]),
    "torch": torch.tensor([1.0, 2.0], requires_grad=True),
}

WITH_A_GAP: dict[str, Any] = {
    "nan": [1.0, np.nan],
    "infinite": [1.0, np.inf],
    "none among numbers": [1, None],
    "none among dates": [DATES[0], None],
    "pandas NaT among dates": [DATES[0], pd.NaT],
    "nan among dates": np.array([DATES[0], np.nan], dtype=object),
    "numpy NaT": np.array([TEXT[0], "NaT"], dtype="datetime64[us]"),
    "numpy NaT among objects": np.array([np.datetime64(TEXT[0]), np.datetime64("NaT")], dtype=object),
    "pandas in a zone": pd.Series([DATES[0], None]).dt.tz_localize("UTC"),
    "pandas nullable": pd.Series([1, None], dtype="Int64"),
    "polars dates": pl.Series([DATES[0], None]),
    "polars integers": pl.Series([1, None]),
    "pyarrow": pa.array([DATES[0], None]),
}

NO_TIMES: dict[str, tuple[Any, str]] = {
    "text": (TEXT, "got text: parse it into dates first"),
    "text objects": (np.array(TEXT, dtype=object), "got '2020-01-01T00:00:00' in row 0"),
    "booleans": ([True, False], "got booleans"),
    "a boolean": (np.array([2, True], dtype=object), "got True in row 1"),
    "durations": (np.array([1, 2], "timedelta64[s]"), "got durations"),
    "python durations": ([timedelta(1), timedelta(2)], r"got datetime\.timedelta\(days=1\) in row 0"),
    "complex": ([1j, 2j], "got complex numbers"),
    "times of day": ([time(1), time(2)], "in row 0"),
    "both kinds": ([1, DATES[0]], "all numbers or all dates, got both, the second kind from row 1 on"),
    "beyond floats": ([10**400, 1], "in row 0"),
    "ragged": ([[1], [2, 3]], "must be a sequence of numbers or dates"),
    "one text": ("2020", "must be a sequence of numbers or dates, got str"),
}


@pytest.mark.parametrize("kind", KINDS_OF_DATES)
def test_dates_of_every_kind_are_microseconds_since_1970(kind: str) -> None:
    values, *expected = KINDS_OF_DATES[kind]
    numbers, clock = read_times(values, 2)
    assert clock == "dates"
    assert numbers.tolist() == expected


@pytest.mark.parametrize("kind", KINDS_OF_NUMBERS)
def test_numbers_of_every_kind_stay_what_they_are(kind: str) -> None:
    numbers, clock = read_times(KINDS_OF_NUMBERS[kind], 2)
    assert clock == "numbers"
    assert numbers.dtype == np.float64
    assert numbers.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", WITH_A_GAP)
def test_a_time_that_is_missing_is_refused_with_its_row(kind: str) -> None:
    with pytest.raises(DataError, match="got 1 missing or infinite of 2, the first in row 1"):
        read_times(WITH_A_GAP[kind], 2)


def test_times_that_are_all_missing_are_counted() -> None:
    for values in ([None] * 3, [pd.NaT] * 3, np.array(["NaT"] * 3, dtype="datetime64"), pl.Series([None] * 3)):
        with pytest.raises(DataError, match="got 3 missing or infinite of 3, the first in row 0"):
            read_times(values, 3)


@pytest.mark.parametrize("kind", NO_TIMES)
def test_what_is_no_time_is_refused(kind: str) -> None:
    values, message = NO_TIMES[kind]
    with pytest.raises(DataTypeError, match=message):
        read_times(values, 2)


@pytest.mark.parametrize("values", [[1, 2, 3], [[1], [2]], 3.0, []])
def test_times_must_be_one_a_row(values: Any) -> None:
    with pytest.raises(ShapeError, match=r"timestamps must have shape \(2,\), one a row"):
        read_times(values, 2)


def test_one_time_is_read_on_the_clock_of_the_rows() -> None:
    assert read_time(DATES[0], "dates", "before") == FIRST
    assert read_time(pd.Timestamp(DATES[1], tz="UTC"), "dates", "before") == SECOND
    assert read_time(np.float32(2.5), "numbers", "before") == read_time(2.5, "rows", "before") == 2.5
    with pytest.raises(DataTypeError, match="before must be one of the numbers that the rows have"):
        read_time(DATES[0], "numbers", "before")
    with pytest.raises(DataTypeError, match="before must be one of the dates that the rows have, got 3"):
        read_time(3, "dates", "before")
    for nothing in (None, pd.NaT, np.nan):
        with pytest.raises(DataError, match="before must all be known"):
            read_time(nothing, "dates", "before")
    with pytest.raises(DataTypeError, match="before must be numbers or dates"):
        read_time([1.0], "numbers", "before")

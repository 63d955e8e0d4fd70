"""Values of settings as people write them: one name for a list, sizes, spans, moments, limits."""

import re
from datetime import date, datetime, time
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def as_list(value: Any) -> Any:
    """A text alone as a list of it."""
    return [value] if isinstance(value, str) else value


def _refuse_number(value: Any) -> Any:
    if isinstance(value, bool | int | float):  # pydantic would take 2013 for 33 minutes past New Year 1970
        raise ValueError(f"must be a date or a time such as 2013-06-01 or 2013-06-01T12:00:00Z, got {value!r}")
    return value


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"must be the limit of a warning, then that of drift, got {list(limits)}")
    return limits


def _ascending(shares: tuple[float, float]) -> tuple[float, float]:
    if shares[0] > shares[1]:
        raise ValueError(f"must be the lowest share, then the highest, got {list(shares)}")
    return shares


def _as_extent(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if isinstance(value, str) and re.fullmatch(r"[1-9]\d*[hdw]", value):
        return value
    raise ValueError(f"must be a number of partitions such as 3, or a time such as 36h, 90d or 8w, got {value!r}")


def as_bytes(value: Any) -> Any:
    """A size such as 2GB in bytes."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?B)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be a number of bytes, or a size such as 500MB or 2GB, got {value!r}")
    return int(float(found[1]) * 1_000 ** ("B", "kB", "MB", "GB", "TB").index(found[2]))


def as_bound(value: Any) -> Any:
    """A time, or the name of a partition, as it is."""
    if value is None or isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str):
            return value if "=" in value else datetime.fromisoformat(value)
        if isinstance(value, date):
            return datetime.combine(value, time())
    except ValueError:
        pass
    raise ValueError(f"must be a time such as 2013-06-01T12:00:00Z or a partition such as month=06, got {value!r}")


Names = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(as_list, json_schema_input_type=str | list[str]),
]
Moment = Annotated[datetime, BeforeValidator(_refuse_number)]
Extent = Annotated[int | str, BeforeValidator(_as_extent)]
DriftLimits = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_rising)]

Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, Share], AfterValidator(_ascending)]

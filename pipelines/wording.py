"""How lists and numbers are written in messages, tables and summaries."""

from collections.abc import Sequence
from typing import Any

NAMED = 5


def some(items: Sequence[Any], most: int = NAMED) -> str:
    """The first items by name, the rest as a count: `a, b and 3 more`."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def percent(share: float) -> str:
    """A share as a percentage with a decimal where it has one: `3.1 %`, `10 %`."""
    return f"{round(100 * share, 1) + 0.0:g} %"  # + 0.0: no -0


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 row`, `1,098 rows`, `2 matches`.

    Args:
        count: At least 0.
        noun: For one.
        plural: For any other number; by default `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def of_all(count: int, total: int, noun: str) -> str:
    """A part of a whole: `3 of 8,714 rows`, `the only row`."""
    return f"the only {noun}" if count == total == 1 else f"{count:,} of {counted(total, noun)}"


def agreeing(count: int, singular: str, plural: str) -> str:
    """The verb that agrees with a number: `has` or `have`."""
    return singular if count == 1 else plural

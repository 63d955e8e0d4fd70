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

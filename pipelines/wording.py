"""How lists and numbers are written in messages, tables and summaries."""

from collections.abc import Sequence
from typing import Any

NAMED = 5


def some(items: Sequence[Any], most: int = NAMED) -> str:
    """The first items by name, the rest as a count: `a, b and 3 more`."""
    shown = ", ".join(str(item) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"

"""What the measures refuse."""

import math

from somlib.errors import ArgumentError


def require_sigma(sigma: float) -> None:
    """Refuse a radius that is not finite and above 0."""
    if not 0 < sigma < math.inf:
        raise ArgumentError(f"sigma must be finite and > 0, got {sigma}")


def require_at_least_one(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a whole number of at least 1, got {value!r}")

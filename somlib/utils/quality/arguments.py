"""What the measures refuse."""

import math

from somlib.errors import ArgumentError
from somlib.utils.arguments import require_number, require_whole


def require_sigma(sigma: float) -> None:
    """Refuse a radius that is not finite and above 0."""
    if not 0 < require_number("sigma", sigma, "be finite and > 0") < math.inf:
        raise ArgumentError(f"sigma must be finite and > 0, got {sigma}")


def require_at_least_one(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    require_whole(name, value, 1)

"""Arguments beside the data: choices, numbers, tensors. What is none of the kind is refused by its name.

A comparison with an array, a frame or a tensor is no yes or no, and raises errors of other libraries; so the kind of a
value is looked at before its value.
"""

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from somlib.errors import ArgumentError, DataTypeError, unknown_name


def require_choice(argument: str, value: Any, known: Iterable[str]) -> None:
    """Refuse what is none of the known names.

    Raises:
        ArgumentError: With the names that are known.
    """
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(argument, value, names)


def require_number(argument: str, value: Any, wanted: str) -> float:
    """The value as a float, refused unless it is one real number.

    Args:
        argument: Its name.
        value: What the caller passed.
        wanted: What it must be, for the error: "lie between 0 and 1".

    Raises:
        ArgumentError: It is no real number; NaN and infinity are some.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentError(f"{argument} must {wanted}, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError as error:
        raise ArgumentError(f"{argument} must {wanted}, got a number beyond the range of floats") from error


def require_whole(argument: str, value: Any, least: int) -> int:
    """The value as an int, refused unless it is a whole number of at least `least`.

    Raises:
        ArgumentError: It is no such number.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ArgumentError(f"{argument} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def require_function(argument: str, value: Any) -> None:
    """Refuse what can neither be called nor is None.

    Raises:
        ArgumentError: It is neither.
    """
    if value is not None and not callable(value):
        raise ArgumentError(f"{argument} must be a function, got {type(value).__name__}")


def require_truth(argument: str, value: Any) -> bool:
    """The value as a bool, refused unless it is a truth value or a whole number.

    Raises:
        ArgumentError: It is neither.
    """
    if not isinstance(value, bool | Integral | np.bool_):
        raise ArgumentError(f"{argument} must be True or False, got {type(value).__name__}")
    return bool(value)


def require_indices(argument: str, value: Any) -> None:
    """Refuse what is no tensor of int64, shape (n,).

    Raises:
        DataTypeError: It is none.
    """
    if not isinstance(value, Tensor) or value.is_nested or str(value.dtype) != "torch.int64" or value.ndim != 1:
        shown = f"{value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise DataTypeError(f"{argument} must be a tensor of int64, shape (n,), got {shown}")

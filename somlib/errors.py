"""Everything that somlib raises or warns with.

SomlibError
├── ArgumentError      (ValueError)    an argument has a value that is not allowed, or an unknown name
├── ShapeError         (ValueError)    data or targets have another shape than expected
├── DataError          (ValueError)    data is empty, or holds NaN or infinity where it may not
├── DataTypeError      (TypeError)     data is of a kind that cannot be read as numbers
├── FixedSettingError  (AttributeError) a setting is assigned or deleted after the map was made
├── NotFittedError     (RuntimeError)  the map has no size, weights or statistics yet that the call needs
└── SavedMapError      (ValueError)    a saved map is missing, damaged, or of another kind or version

SomlibWarning          (UserWarning)   the call went on, and the caller should know something
"""

import warnings


class SomlibError(Exception):
    """Base of all somlib exceptions."""


class ArgumentError(SomlibError, ValueError):
    """An argument has a value that is not allowed."""


class ShapeError(SomlibError, ValueError):
    """Data or targets have another shape than the call needs."""


class DataError(SomlibError, ValueError):
    """Data is empty, or holds NaN or infinity where it may not."""


class DataTypeError(SomlibError, TypeError):
    """Data is of a kind that cannot be read as numbers."""


class FixedSettingError(SomlibError, AttributeError):
    """A setting was assigned or deleted after construction."""


class NotFittedError(SomlibError, RuntimeError):
    """The map lacks something that only training gives it."""


class SavedMapError(SomlibError, ValueError):
    """A saved map cannot be read: missing, damaged, or of another kind or version."""


class SomlibWarning(UserWarning):
    """The call went on, and the caller should know something."""


def unknown_name(argument: str, value: object, known: object) -> ArgumentError:
    """The error for a name that is not in `known` (any iterable of names)."""
    names = ", ".join(repr(name) for name in known)  # type: ignore[attr-defined]  # any iterable will do
    return ArgumentError(f"{argument} must be one of {names}, got {value!r}")


def warn(message: str, stacklevel: int = 3) -> None:
    """Warn with somlib's own category, pointing at the line of the caller's caller."""
    warnings.warn(message, SomlibWarning, stacklevel=stacklevel)

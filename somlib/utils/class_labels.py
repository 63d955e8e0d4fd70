"""Class labels that are texts, as numbers that maps of classes count by."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from somlib.errors import DataTypeError


@dataclass(frozen=True)
class TextLabels:
    """Labels of samples that are texts.

    Attributes:
        codes: The place of each label among `names`, NaN where there is none, float64, shape (n,) or (n, o).
        names: The different labels, ascending.
    """

    codes: NDArray[np.float64]
    names: tuple[str, ...]


def text_labels(target: Any) -> TextLabels | None:
    """The labels of a target of shape (n,) or (n, o) that holds texts; None for one that holds none.

    Args:
        target: Array, list, series, frame or table; None and other marks of missing values are no label.

    Raises:
        DataTypeError: Some labels are texts and others are not.

    Example:
        >>> text_labels(["setosa", None, "iris"])
        TextLabels(codes=array([ 1., nan,  0.]), names=('iris', 'setosa'))
    """
    values = _objects(target)
    if values is None or not any(isinstance(value, str) for value in values.flat):
        return None
    missing = np.array([_is_missing(value) for value in values.flat], dtype=bool)
    known = [value for value, lost in zip(values.flat, missing, strict=True) if not lost]
    _require_texts(known)
    names, places = np.unique(np.array([str(label) for label in known], dtype=object), return_inverse=True)
    codes = np.full(values.size, np.nan)
    codes[~missing] = places
    return TextLabels(codes.reshape(values.shape), tuple(names.tolist()))


def _objects(target: Any) -> NDArray[Any] | None:
    """The values of a target as objects; None where its type alone says that none is text."""
    if isinstance(target, Tensor) or target is None or isinstance(target, str | bytes):
        return None
    if type(target).__module__.startswith("pyarrow") and hasattr(target, "columns"):  # a table
        columns = [_objects(column) for column in target.columns]
        found = [np.empty(0, dtype=object) if column is None else column for column in columns]
        return np.column_stack(found) if found and len({len(column) for column in found}) == 1 else None
    if isinstance(target, list | tuple):
        try:
            array = np.array(target, dtype=object)
        except ValueError:  # rows of different lengths, which are refused elsewhere
            return None
    else:
        array = np.asarray(target.to_numpy() if hasattr(target, "to_numpy") else target)
    return array.astype(object) if array.dtype.kind in "OUT" else None


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or what pandas has for them."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _require_texts(labels: Iterable[Any]) -> None:
    odd = next((label for label in labels if not isinstance(label, str)), None)
    if odd is not None:
        raise DataTypeError(f"target must hold texts or numbers, not both, got texts and {odd!r}")

"""Targets that are classes: which they are, and their labels as texts, codes and in the type that files have.

    kind        a column of it                      its labels
    text        text                                as they are
    boolean     true and false                      True and False
    integer     whole numbers, declared as class    whole numbers

Datasets and samples hold codes, the places of the labels among those of the dataset, NaN for a missing label; models
and answers have the labels themselves.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from pipelines.data import column_types as kinds
from pipelines.data.labels import labels

ClassKind = Literal["text", "boolean", "integer"]
MOST_CLASSES = 1_000  # of a target; beyond, it names the row
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassColumn:
    """A column whose values are classes.

    Attributes:
        name: Of the column.
        labels_of: What its values are.
    """

    name: str
    labels_of: ClassKind
    kind = "class"
    setting = "data.target_kind"

    @property
    def numbers(self) -> tuple[str, ...]:
        """The code, under the name of the column."""
        return (self.name,)

    def read(self, values: pl.Series) -> list[pl.Series]:
        """Labels as text, null where missing.

        Raises:
            ValueError: A number that is not whole.
        """
        if values.dtype.is_float():
            broken = values.filter(values.is_finite() & (values != values.round()) | values.is_infinite())
            if len(broken):
                raise ValueError(f"must hold whole numbers, text or true and false, got {broken[0]}")
        return [labels(values)]


@dataclass(frozen=True)
class Classes:
    """The classes of a target.

    Attributes:
        kind: What the labels are.
        names: The labels as text, in the order of their codes.
    """

    kind: ClassKind
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def values(self) -> NDArray[Any]:
        """The labels in their own type, in the order of their codes."""
        if self.kind == "boolean":
            return np.array([name == "true" for name in self.names], dtype=np.bool_)
        return np.array(self.names, dtype=np.int64 if self.kind == "integer" else np.str_)

    def labels(self, codes: Floats) -> NDArray[Any]:
        """The labels of codes (n,), none of which is missing, in their own type."""
        found: NDArray[Any] = self.values[codes.astype(np.int64)]
        return found

    def codes(self, values: NDArray[Any]) -> Floats:
        """The codes (n,) of labels; one beyond the last for those that are none of these."""
        place = {value: float(i) for i, value in enumerate(self.values.tolist())}
        return np.array([place.get(value, float(len(self))) for value in values.tolist()], dtype=np.float64)


def in_order(kind: ClassKind, names: Iterable[str]) -> tuple[str, ...]:
    """Labels as text, ascending: whole numbers by value, false before true."""
    return tuple(sorted(names, key=int)) if kind == "integer" else tuple(sorted(names))


def classes_of(values: NDArray[Any]) -> Classes:
    """The classes of labels in their own type, ascending; as text each of them once."""
    kind: ClassKind = "boolean" if values.dtype.kind == "b" else "integer" if values.dtype.kind in "iu" else "text"
    return Classes(kind, names_of(values))


def names_of(values: NDArray[Any] | Sequence[Any]) -> tuple[str, ...]:
    """Labels as text: true and false for booleans."""
    return tuple(str(value).lower() if isinstance(value, bool | np.bool_) else str(value) for value in values)


def class_kind(stored: pa.DataType, declared: str | None) -> ClassKind | None:
    """What the labels of a target are; None for one that is a number.

    Args:
        stored: The common type of its column.
        declared: What `data.target_kind` says.

    Raises:
        ValueError: Values of the type are no classes.
    """
    stored = kinds.plain(stored)
    if types.is_large_string(stored):
        if declared == "number":
            raise ValueError("is text, which is a class")
        return "text"
    if types.is_boolean(stored):
        return None if declared == "number" else "boolean"
    if declared == "class":
        if not kinds.is_number(stored):
            raise ValueError(
                f"must hold text, whole numbers or true and false to be a class, got {kinds.in_words(stored)}"
            )
        return "integer"
    return None

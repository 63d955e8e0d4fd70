"""The columns of a map together: numbers of rows to features of samples, and back to what a person reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.data.columns import COLUMNS, OTHER, CategoryColumn, Column
from pipelines.errors import ModelError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
    """The columns of a map, in its order; fitted.

    Attributes:
        columns: At least one.
    """

    columns: tuple[Column, ...]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the columns, as files and requests have them."""
        return tuple(each.name for each in self.columns)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of the r numbers of a row."""
        return tuple(name for each in self.columns for name in each.numbers)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the d features of a sample."""
        return tuple(name for each in self.columns for name in each.features)

    @cached_property
    def readable(self) -> tuple[str, ...]:
        """Names of the q values that `collapse` gives."""
        return tuple(name for each in self.columns for name in each.readable)

    @cached_property
    def cycles(self) -> Mapping[str, tuple[float, float]]:
        """Of the readable values that begin again, where they begin and where they end."""
        pairs = [pair for each in self.columns for pair in zip(each.readable, each.cycles, strict=True)]
        return {name: (cycle[1], cycle[1] + cycle[0]) for name, cycle in pairs if cycle is not None}

    @cached_property
    def firsts(self) -> list[int]:
        """Of each readable value, the place of the first feature that it is made of."""
        places = []
        for each, part in zip(self.columns, self.parts("features"), strict=True):
            places += list(range(part.start, part.stop, len(each.features) // len(each.readable)))
        return places

    @cached_property
    def codes(self) -> Mapping[str, int | None]:
        """The numbers without an order from low to high: of a category how many codes there are, of a cycle None."""
        return {
            name: len(each.levels) + 1 if isinstance(each, CategoryColumn) else None
            for each in self.columns
            if not each.has_mean
            for name in each.numbers
        }

    def parts(self, of: str) -> list[slice]:
        """Where each column stands among all `numbers`, `features` or `readable`."""
        ends = np.cumsum([len(getattr(each, of)) for each in self.columns]).tolist()
        return [slice(start, end) for start, end in zip((0, *ends), ends, strict=False)]

    def expand(self, values: Floats) -> Floats:
        """Features (n, d) of numbers (n, r)."""
        parts = zip(self.columns, self.parts("numbers"), strict=True)
        return np.hstack([each.expand(values[:, part]) for each, part in parts])

    def collapse(self, features: Floats) -> Floats:
        """What features (..., d) stand for, shape (..., q)."""
        parts = zip(self.columns, self.parts("features"), strict=True)
        return np.concatenate([each.collapse(features[..., part]) for each, part in parts], axis=-1)

    def as_stored(self, features: Floats) -> dict[str, list[Any]]:
        """Rows as requests have them that lie near features (n, d); a time only agrees in what its parts say."""
        parts = zip(self.columns, self.parts("features"), strict=True)
        return {each.name: each.stored(features[:, part]) for each, part in parts}

    def recoded(self, values: Floats, levels: Mapping[str, Sequence[str]]) -> Floats:
        """Numbers (n, r) with the codes that this encoding gives to the values of categories.

        Args:
            values: With other codes.
            levels: What these stand for, by column.
        """
        values = values.copy()
        for each, part in zip(self.columns, self.parts("numbers"), strict=True):
            if isinstance(each, CategoryColumn) and each.name in levels:
                own = np.append(each.codes(levels[each.name]), np.nan)  # the last one for missing values
                codes = np.where(np.isnan(values[:, part]), len(own) - 1, values[:, part]).astype(np.int64)
                values[:, part] = own[codes]
        return values

    def translation(self, old: "Encoding") -> Floats:
        """Features of another encoding of the same columns as those of this one, which may know other values.

        Returns:
            A matrix (d_old, d): features @ it are features of this encoding. Values that it does not know go to its
            rare ones, where it has some.
        """
        matrix = np.zeros((len(old.features), len(self.features)))
        places = {name: i for i, name in enumerate(self.features)}
        for each in old.columns:
            for name in each.features:
                target = places.get(name, places.get(f"{each.name}={OTHER}"))
                if target is not None:
                    matrix[old.features.index(name), target] = 1.0
        return matrix

    def differences(self, old: "Encoding") -> list[str]:
        """Columns that both have, and that are of another kind there, or have another setting."""
        theirs = {each.name: each for each in old.columns}
        return [
            each.name
            for each in self.columns
            if each.name in theirs and _decisive(each) != _decisive(theirs[each.name])
        ]

    def to_list(self) -> list[dict[str, Any]]:
        """JSON-ready content."""
        return [each.model_dump(mode="json") for each in self.columns]

    @classmethod
    def from_list(cls, content: Any) -> Self:
        """The encoding that `to_list` described.

        Raises:
            ModelError: Something is missing, or of another kind.
        """
        try:
            return cls(COLUMNS.validate_python(tuple(content), strict=False))
        except (ValidationError, TypeError) as error:
            raise ModelError(
                f"the columns of the model cannot be read: {' '.join(str(error).split())[:300]}"
            ) from error


def _decisive(each: Column) -> dict[str, Any]:
    """What decides the features of a column, but for the values that rows happened to have."""
    return each.model_dump(exclude={"levels", "other", "least_share", "most"})

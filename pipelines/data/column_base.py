"""What every column is, whatever its kind: numbers of stored values, features of numbers, and the way back."""

from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipelines.data.labels import numbers

Floats = NDArray[np.float64]


class BaseColumn(BaseModel):
    """A column and what is done with it.

    Attributes:
        name: In files and requests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    has_mean: ClassVar[bool] = True
    setting: ClassVar[str] = "data.columns"

    name: str

    @property
    def takes_text(self) -> bool:
        """Whether its values may be texts."""
        return True

    @property
    def is_declared(self) -> bool:
        """Whether it takes `data.columns` to say what it is."""
        return True

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of its numbers."""
        return (self.name,)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of its features."""
        return self.numbers

    @property
    def readable(self) -> tuple[str, ...]:
        """Names of what `collapse` gives."""
        return self.numbers

    @property
    def cycles(self) -> tuple[tuple[float, float] | None, ...]:
        """Of each of `readable`, how long its cycle is and its smallest value; None where it has none."""
        return (None,) * len(self.readable)

    def read(self, values: pl.Series) -> list[pl.Series]:
        """Its numbers, Float64, null where missing; of a category the labels, String.

        Raises:
            ValueError: A value that the kind does not take.
        """
        return [numbers(values)]

    def expand(self, values: Floats) -> Floats:
        """Features (n, k) of numbers (n, j)."""
        return values

    def collapse(self, features: Floats) -> Floats:
        """What features (..., k) stand for, by the names of `readable`."""
        return features

    def stored(self, features: Floats) -> list[Any]:
        """Values as a request has them, near to features (n, k)."""
        return list(self.collapse(features)[:, 0].tolist())

    def config(self) -> dict[str, Any]:
        """As `data.columns` says it."""
        return self.model_dump(exclude={"name"})

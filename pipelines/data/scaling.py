"""Making features comparable: `(x - center) / scale`, a pair of numbers for each feature.

Each method is that of a scaler of scikit-learn, which takes a second to import; NaN is skipped. What is fitted is kept
as numbers, so that a saved scaler is plain JSON:

    standard   center = mean      scale = standard deviation
    minmax     center = minimum   scale = range
    robust     center = median    scale = interquartile range
    none       center = 0         scale = 1

The features of a column that is more than a number (`encoding.py`) are scaled by one number, so that they weigh as one
feature: `standard` by the root of their variances together, so that rows lie on average as far from the mean as in a
column of numbers; `robust` by 1.349 times that, the quartile distance of a normal column with this deviation; `minmax`
so that two categories, or two opposite points of a cycle, are 1 apart.

Both are computed in float64, the standard deviation in a second pass. Values are scaled in float64 and come out as
float32, in training and in serving alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.data.columns import Column, NumberColumn
from pipelines.data.encoding import Encoding
from pipelines.errors import DatasetError, ModelError
from pipelines.settings.sections import ScalingMethod
from pipelines.wording import agreeing, counted, some

CHUNK_ROWS = 65_536  # rows that are float64 at a time
QUARTILES_OF_NORMAL = 1.3489795003921634  # how far its quartiles are apart, in deviations


@dataclass(frozen=True)
class Scaler:
    """A fitted scaler.

    Attributes:
        method: How it was fitted.
        features: Names of the d features.
        center: float64, shape (d,).
        scale: float64, > 0, shape (d,).
        encoding: How the features are made of r numbers; None where they are these numbers.
    """

    method: str
    features: tuple[str, ...]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    encoding: Encoding | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of files and requests that features are made of."""
        return self.features if self.encoding is None else self.encoding.inputs

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the r numbers that features are made of."""
        return self.features if self.encoding is None else self.encoding.numbers

    @property
    def readable(self) -> tuple[str, ...]:
        """Names of what `collapse` gives."""
        return self.features if self.encoding is None else self.encoding.readable

    def firsts(self, counts: NDArray[Any]) -> NDArray[Any]:
        """What is known of each feature (..., d), once for each value of `collapse`, (..., q)."""
        return counts if self.encoding is None else counts[..., self.encoding.firsts]

    def collapse(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """What features (..., d) in the units of the data stand for, shape (..., q): cycles are one value again."""
        return features if self.encoding is None else self.encoding.collapse(features)

    def numbers_of(
        self, values: NDArray[Any], rows: NDArray[np.int64], levels: Mapping[str, Sequence[str]]
    ) -> NDArray[np.float64]:
        """Some rows of numbers (n, r) as float64, categories with the codes of the encoding; see `transform`."""
        chosen = values[rows].astype(np.float64)
        return chosen if self.encoding is None or not levels else self.encoding.recoded(chosen, levels)

    def transform(
        self,
        values: NDArray[Any],
        rows: NDArray[np.int64] | None = None,
        levels: Mapping[str, Sequence[str]] | None = None,
    ) -> NDArray[np.float32]:
        """Samples, NaN where values were NaN.

        Args:
            values: Numbers in the units of the data, shape (n, r).
            rows: Row numbers wanted, in this order; None for all.
            levels: What the codes of categories stand for; None: what they do in the encoding.

        Returns:
            New array of shape (n, d), or of as many rows as wanted.
        """
        n = len(values) if rows is None else len(rows)
        scaled = np.empty((n, len(self.features)), dtype=np.float32)
        for start in range(0, n, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, n)
            chunk = values[start:stop] if rows is None else values[rows[start:stop]]
            scaled[start:stop] = (self._expanded(chunk.astype(np.float64), levels) - self.center) / self.scale
        return scaled

    def _expanded(self, values: NDArray[np.float64], levels: Mapping[str, Sequence[str]] | None) -> NDArray[np.float64]:
        """Features (n, d) of numbers (n, r)."""
        if self.encoding is None:
            return values
        return self.encoding.expand(self.encoding.recoded(values, levels) if levels else values)

    def inverse(self, scaled: ArrayLike) -> NDArray[np.float64]:
        """Features of scaled ones, shape (..., d), in the units of the data."""
        return np.asarray(scaled, dtype=np.float64) * self.scale + self.center

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; floats survive the round trip exactly."""
        content = {
            "method": self.method,
            "features": list(self.features),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
        }
        return content if self.encoding is None else content | {"columns": self.encoding.to_list()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The scaler that `to_dict` described.

        Raises:
            ModelError: Something is missing, or the lengths differ.
        """
        try:
            features = tuple(content["features"])
            center, scale = (np.array(content[key], dtype=np.float64) for key in ("center", "scale"))
            encoding = Encoding.from_list(content["columns"]) if "columns" in content else None
            scaler = cls(str(content["method"]), features, center, scale, encoding)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the scaler of the model cannot be read: {error!r}") from error
        if not center.shape == scale.shape == (len(features),):
            raise ModelError(f"the scaler of the model must have {len(features)} centers and scales, one a feature")
        if encoding is not None and encoding.features != features:
            raise ModelError(f"the scaler of the model must have the features of its columns, got {some(features)}")
        return scaler

    @classmethod
    def identity(cls, features: tuple[str, ...]) -> Self:
        """The scaler that changes nothing."""
        return cls("none", features, np.zeros(len(features)), np.ones(len(features)))

    @classmethod
    def from_sklearn(cls, fitted: Any, features: tuple[str, ...]) -> Self:
        """The scaler equal to a fitted `StandardScaler`, `MinMaxScaler` or `RobustScaler` of scikit-learn.

        Raises:
            ModelError: Another kind of object.
        """
        from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

        if isinstance(fitted, StandardScaler):
            method, center, scale = "standard", fitted.mean_ if fitted.with_mean else None, fitted.scale_
        elif isinstance(fitted, RobustScaler):
            method, center, scale = "robust", fitted.center_, fitted.scale_
        elif isinstance(fitted, MinMaxScaler):  # x * scale_ + min_, whatever its feature_range
            method, center, scale = "minmax", -fitted.min_ / fitted.scale_, 1 / fitted.scale_
        else:
            raise ModelError(
                "scaler must be a fitted StandardScaler, MinMaxScaler or RobustScaler of scikit-learn, or a Scaler, "
                f"got {type(fitted).__name__}"
            )
        neutral = cls.identity(features)
        return cls(
            method,
            features,
            neutral.center if center is None else np.asarray(center, dtype=np.float64),
            neutral.scale if scale is None else np.asarray(scale, dtype=np.float64),
        )


def fit_scaler(
    values: NDArray[Any],
    names: tuple[str, ...],
    method: ScalingMethod,
    rows: NDArray[np.int64] | None = None,
    encoding: Encoding | None = None,
) -> Scaler:
    """A scaler fitted to numbers of shape (n, r), or to some rows of them.

    Args:
        values: In the units of the data; of categories the codes of the encoding.
        names: Of the numbers.
        method: How.
        rows: Numbers of the rows; None for all.
        encoding: How features are made of the numbers; None where they are these.

    Raises:
        DatasetError: A feature has no value in these rows, or does not vary in them by the measure of the method, so
            that it has no scale.
    """
    fitting = values if rows is None else values[rows]
    _require_values(fitting, names)
    columns = [NumberColumn(name=name) for name in names] if encoding is None else encoding.columns
    features = names if encoding is None else encoding.features
    if method == "none":
        return Scaler(method, features, np.zeros(len(features)), np.ones(len(features)), encoding)
    flat, centers, scales, start = [], [], [], 0
    for column in columns:
        numbers = fitting[:, start : start + len(column.numbers)]
        start += len(column.numbers)
        measure = "minmax" if is_expanded(column) else method
        flat += [name for name, part in zip(column.numbers, numbers.T, strict=True) if _spread(part, measure) == 0]
        if not flat:
            center, scale = _of_column(column, numbers, method)
            centers.append(center)
            scales.append(scale)
    refuse_flat(flat, method, len(fitting))
    return Scaler(method, features, np.concatenate(centers), np.concatenate(scales), encoding)


def refuse_flat(flat: Sequence[str], method: ScalingMethod, rows: int) -> None:
    """Refuse numbers of these names that do not vary in the training rows.

    Raises:
        DatasetError: There is one.
    """
    if flat:
        what = "quartiles of" if method == "robust" else "values of"
        raise DatasetError(
            f"scaling.method={method}: the {what} {some(flat)} are equal in {_all(rows)}: "
            "leave such features out" + (", or use scaling.method=standard" if method == "robust" else "")
        )


def _of_column(
    column: Column, numbers: NDArray[Any], method: ScalingMethod
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centers and scales (k,) of the features of a column whose numbers (n, j) are known, or missing."""
    if not is_expanded(column):
        center, scale = FITS[method](numbers[~np.isnan(numbers)])
        return np.array([center]), np.array([scale])
    return together_scaled(column, *_moments(column, numbers), method)


def together_scaled(
    column: Column, mean: NDArray[np.float64], variance: NDArray[np.float64], method: ScalingMethod
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centers and scales (k,) of the features of a column that is more than a number, from their moments (k,) each."""
    size = len(column.features) // len(column.numbers)  # each part of a time is a cycle of its own
    together = np.sqrt(variance.reshape(-1, size).sum(axis=1)).repeat(size)
    if method == "minmax":
        apart = 2.0 if column.kind != "category" else np.sqrt(2.0)
        return np.zeros_like(mean), np.full_like(mean, apart)
    return mean, together if method == "standard" else together * QUARTILES_OF_NORMAL


def _moments(column: Column, numbers: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of each feature of a column, over the rows that have it."""
    width = len(column.features)
    count, total, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    for start in range(0, len(numbers), CHUNK_ROWS):  # values of at most 1: their squares can be added up
        features = column.expand(numbers[start : start + CHUNK_ROWS].astype(np.float64))
        count += (~np.isnan(features)).sum(axis=0)
        total += np.nansum(features, axis=0)
        squares += np.nansum(np.square(features), axis=0)
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0.0)


def is_expanded(column: Column) -> bool:
    """Whether the features of a column are not its numbers."""
    return column.features != column.numbers


def _standard(observed: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation; the latter is 1 where it is within the rounding of the mean, as in scikit-learn."""
    n, mean = len(observed), observed.mean(dtype=np.float64)
    squares, left = 0.0, 0.0
    for start in range(0, n, CHUNK_ROWS):
        differences = observed[start : start + CHUNK_ROWS] - mean
        left += differences.sum()
        squares += np.square(differences, out=differences).sum()
    return float(mean), deviation(n, float(mean), max(squares - left**2 / n, 0.0) / n)


def deviation(n: float, mean: float, variance: float) -> float:
    """The standard deviation of n values; 1 where it is within the rounding of their mean, as in scikit-learn."""
    epsilon = np.finfo(np.float64).eps
    rounding = n * epsilon * variance + (n * mean * epsilon) ** 2
    return float(np.sqrt(variance)) if variance > rounding else 1.0


def _minmax(observed: NDArray[Any]) -> tuple[float, float]:
    low, high = float(observed.min()), float(observed.max())
    return low, high - low


def _robust(observed: NDArray[Any]) -> tuple[float, float]:
    low, median, high = np.quantile(observed.astype(np.float64), (0.25, 0.5, 0.75))
    return float(median), float(high - low)


FITS: Mapping[str, Callable[[NDArray[Any]], tuple[float, float]]] = {
    "standard": _standard,
    "minmax": _minmax,
    "robust": _robust,
}


def _require_values(fitting: NDArray[Any], features: tuple[str, ...]) -> None:
    """Refuse a feature that only rows have that do not train: its plane would be made up."""
    refuse_empty([name for name, each in zip(features, fitting.T, strict=True) if np.isnan(each).all()], len(fitting))


def refuse_empty(empty: Sequence[str], rows: int) -> None:
    """Refuse numbers of these names of which no training row has a value.

    Raises:
        DatasetError: There is one.
    """
    if empty:
        raise DatasetError(
            f"data.features: {some(empty)} {agreeing(len(empty), 'has', 'have')} no value in any of "
            f"{counted(rows, 'training row')}, only in held-out ones: leave "
            f"{agreeing(len(empty), 'it', 'them')} out until training rows have values"
        )


def _all(rows: int) -> str:
    return "the only training row" if rows == 1 else f"all {counted(rows, 'training row')}"


def _spread(column: NDArray[Any], method: ScalingMethod) -> float:
    """What the method divides by, up to a factor; 0 also where nothing is observed."""
    observed = column[~np.isnan(column)]
    if not len(observed):
        return 0.0
    low, high = np.quantile(observed, (0.25, 0.75)) if method == "robust" else (observed.min(), observed.max())
    return float(high - low)

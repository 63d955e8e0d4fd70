"""Making features comparable: `(x - center) / scale`, a pair of numbers for each feature.

Each method is that of a scaler of scikit-learn, which takes a second to import; NaN is skipped. What is fitted is kept
as numbers, so that a saved scaler is plain JSON:

    standard   center = mean      scale = standard deviation
    minmax     center = minimum   scale = range
    robust     center = median    scale = interquartile range
    none       center = 0         scale = 1

Both are computed in float64, the standard deviation in a second pass. Values are scaled in float64 and come out as
float32, in training and in serving alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.errors import DatasetError, ModelError
from pipelines.settings.sections import ScalingMethod
from pipelines.wording import agreeing, counted, some

CHUNK_ROWS = 65_536  # rows that are float64 at a time


@dataclass(frozen=True)
class Scaler:
    """A fitted scaler.

    Attributes:
        method: How it was fitted.
        features: Names of the d features.
        center: float64, shape (d,).
        scale: float64, > 0, shape (d,).
    """

    method: str
    features: tuple[str, ...]
    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    def transform(self, values: NDArray[Any], rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Scaled values, NaN where they were NaN.

        Args:
            values: In the units of the data, shape (n, d).
            rows: Row numbers wanted, in this order; None for all.

        Returns:
            New array of shape (n, d), or of as many rows as wanted.
        """
        n = len(values) if rows is None else len(rows)
        scaled = np.empty((n, len(self.features)), dtype=np.float32)
        for start in range(0, n, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, n)
            chunk = values[start:stop] if rows is None else values[rows[start:stop]]
            scaled[start:stop] = (chunk.astype(np.float64) - self.center) / self.scale
        return scaled

    def inverse(self, scaled: ArrayLike) -> NDArray[np.float64]:
        """Scaled values, shape (..., d), in the units of the data."""
        return np.asarray(scaled, dtype=np.float64) * self.scale + self.center

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; floats survive the round trip exactly."""
        return {
            "method": self.method,
            "features": list(self.features),
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The scaler that `to_dict` described.

        Raises:
            ModelError: Something is missing, or the lengths differ.
        """
        try:
            features = tuple(content["features"])
            center, scale = (np.array(content[key], dtype=np.float64) for key in ("center", "scale"))
            scaler = cls(str(content["method"]), features, center, scale)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the scaler of the model cannot be read: {error!r}") from error
        if not center.shape == scale.shape == (len(features),):
            raise ModelError(f"the scaler of the model must have {len(features)} centers and scales, one a feature")
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
    values: NDArray[Any], features: tuple[str, ...], method: ScalingMethod, rows: NDArray[np.int64] | None = None
) -> Scaler:
    """A scaler fitted to values of shape (n, d), or to some rows of them.

    Raises:
        DatasetError: A feature has no value in these rows, or does not vary in them by the measure of the method, so
            that it has no scale.
    """
    fitting = values if rows is None else values[rows]
    _require_values(fitting, features)
    if method == "none":
        return Scaler.identity(features)
    flat = [name for name, column in zip(features, fitting.T, strict=True) if _spread(column, method) == 0]
    if flat:
        what = "quartiles of" if method == "robust" else "values of"
        raise DatasetError(
            f"scaling.method={method}: the {what} {some(flat)} are equal in {_all(len(fitting))}: "
            "leave such features out" + (", or use scaling.method=standard" if method == "robust" else "")
        )
    center, scale = np.transpose([FITS[method](column[~np.isnan(column)]) for column in fitting.T])
    return Scaler(method, features, center, scale)


def _standard(observed: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation; the latter is 1 where it is within the rounding of the mean, as in scikit-learn."""
    n, mean = len(observed), observed.mean(dtype=np.float64)
    squares, left = 0.0, 0.0
    for start in range(0, n, CHUNK_ROWS):
        differences = observed[start : start + CHUNK_ROWS] - mean
        left += differences.sum()
        squares += np.square(differences, out=differences).sum()
    variance = max(squares - left**2 / n, 0.0) / n
    epsilon = np.finfo(np.float64).eps
    rounding = n * epsilon * variance + (n * mean * epsilon) ** 2
    return float(mean), float(np.sqrt(variance)) if variance > rounding else 1.0


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
    empty = [name for name, column in zip(features, fitting.T, strict=True) if np.isnan(column).all()]
    if empty:
        raise DatasetError(
            f"data.features: {some(empty)} {agreeing(len(empty), 'has', 'have')} no value in any of "
            f"{counted(len(fitting), 'training row')}, only in held-out ones: leave "
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

r"""What has to be known of a training to recognize drift later, and how new rows are measured against it.

Measured are

    stability index   sum (q_b - p_b) ln(q_b / p_b) over bins b, p the shares in training, q those now (PSI): of hits
                      on parts of the map, of each feature, of predictions
    mean              (mean now - mean in training) / deviation in training, of each feature
    missing           share of missing values now minus that in training, of each feature
    error ratio       mean distance to the map now / mean distance of held-out rows
    new region        share of rows farther from the map than 99 % of the held-out rows

Bins. Features and predictions: tenths of the training rows, between values that occur, so that a value that is half of
all rows is one bin. Hits: neurons are too many for their counts to say anything, so the grid is cut again and again
into rectangles of about equal hits, as long as either part keeps a twentieth of them: each is one piece of the map,
neighbors share a bin, and there are ten to twenty. Half a row is added to each bin, so that an empty one stays finite.

Chance. Without any change the index of n new rows against m old ones is about (B - 1) (1 / n + 1 / m) for B bins (0.4
for a day of hourly rows), and much more where rows near in time are alike: one warm week is not drift. No formula knows
by how much, but the training rows do: windows of 1, 4, 16, ... consecutive rows of training (held-out rows where
distances and predictions are compared) are measured like new rows would be. Mean and variance at each size make a
gamma distribution, the one that the index follows for independent rows, or a normal one for means; a shift beyond its
quantile, taken further out by Student's t where the windows were few, is more than chance. Windows longer than an
eighth of the rows would be too few: for more new rows the longest one's bound stands, which may hide a small shift, and
cries no wolf.

References:
    Siddiqi, Credit Risk Scorecards, Wiley 2006 (stability index).
    Yurdakul and Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation 14
    (2020).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import stats

from pipelines.errors import ModelError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROUNDING = 1e-9  # of a mean: a feature that varies by less is constant


@dataclass(frozen=True)
class AssignedRows:
    """Rows with their place on a map, in the order of time. Anything that makes an array is taken.

    Attributes:
        features: Numbers in the units of the data by name, NaN where missing, float64, shape (n,) each.
        winner: Flat index of the nearest neuron, -1 where there is none, int64, shape (n,).
        distance: To it, NaN where there is none, float64, shape (n,).
        predictions: By target, NaN where there is none, float64, shape (n,) each.

    Raises:
        ValueError: Something is of another shape.
    """

    features: Mapping[str, FloatArray]
    winner: IntArray
    distance: FloatArray
    predictions: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "winner", np.asarray(self.winner, dtype=np.int64))
        object.__setattr__(self, "distance", np.asarray(self.distance, dtype=np.float64))
        for name in ("features", "predictions"):
            columns = {key: np.asarray(column, dtype=np.float64) for key, column in getattr(self, name).items()}
            object.__setattr__(self, name, columns)
        for name, column in self._columns():
            if column.shape != (len(self),):
                raise ValueError(f"{name} must be of shape ({len(self)},), like winner, got {column.shape}")

    def __len__(self) -> int:
        return self.winner.size

    def __getitem__(self, window: slice) -> "AssignedRows":
        features, predictions = (
            {name: column[window] for name, column in columns.items()} for columns in (self.features, self.predictions)
        )
        return AssignedRows(features, self.winner[window], self.distance[window], predictions)

    def _columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        yield from (("winner", self.winner), ("distance", self.distance))
        for name, columns in (("features", self.features), ("predictions", self.predictions)):
            yield from ((f"{name}[{key!r}]", column) for key, column in columns.items())


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Bins(_Part):
    """How training rows are spread over bins.

    Attributes:
        edges: Upper ends of all bins but the last, which they belong to, ascending.
        counts: Training rows in each bin, one more than edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def stability_index(self, values: FloatArray) -> float:
        """PSI of values against training's; NaN where none is known."""
        return stability_index(np.array(self.counts), counts_in(values, self.edges))


class FeatureProfile(_Part):
    """A feature in training: its bins, mean and deviation, and the share of rows in which it is missing.

    Mean and deviation are None where they say nothing: of categories and cycles.
    """

    bins: Bins
    mean: float | None
    deviation: float | None
    missing: float

    def deviations(self, known: FloatArray) -> float:
        """How far the mean of values has moved; infinite off a constant, NaN where there are no values, or no mean."""
        if not len(known) or self.mean is None or self.deviation is None:
            return math.nan
        moved, rounding = float(known.mean()) - self.mean, ROUNDING * abs(self.mean)
        if abs(moved) <= rounding:
            return 0.0
        return moved / self.deviation if self.deviation > rounding else math.copysign(math.inf, moved)


class Usual(_Part):
    """The values of a measure for windows of consecutive training rows, by their size.

    Attributes:
        two_sided: Whether the measure swings around its mean, both ways alike; else it is 0 or more, and skewed.
        sizes: Rows in a window, ascending; none where the measure was too rarely defined.
        windows: How many of that size were measured.
        means: Of the measure, or its size, over windows of that size.
        variances: Of the same values.
    """

    two_sided: bool
    sizes: tuple[int, ...]
    windows: tuple[int, ...]
    means: tuple[float, ...]
    variances: tuple[float, ...]

    def bound(self, rows: int, level: float) -> float:
        """What a window of `rows` rows stays below, in size, with probability `level`; 0 where that is not known."""
        if not self.sizes:
            return 0.0
        at = partial(np.interp, math.log(rows), np.log(self.sizes))
        mean, deviation, windows = float(at(self.means)), float(at(np.sqrt(self.variances))), float(at(self.windows))
        if not deviation:
            return abs(mean)
        level = (1 + level) / 2 if self.two_sided else level
        reach = math.sqrt(1 + 1 / windows) * stats.t.ppf(level, windows - 1)  # few windows say little of others
        if self.two_sided:
            return abs(mean) + float(reach) * deviation
        shape = (mean / deviation) ** 2
        return float(stats.gamma.isf(stats.norm.sf(reach), shape, scale=mean / shape))


class Profile(_Part):
    """What has to be known of training to recognize drift; JSON, about a kilobyte a feature.

    Attributes:
        regions: Part of the map that each neuron belongs to, in flat order.
        hits: Training rows on each part.
        features: By name.
        predictions: Spread of the predictions of held-out rows, by target.
        mean_distance: Of held-out rows to the map.
        far: The distance that 99 % of the held-out rows stay below.
        usual: Values for windows of training rows, by measure.
        classes: Of the targets that are classes their names, whose places are the codes of predictions; a class that
            the model learned later has the code beyond the last.
    """

    regions: tuple[int, ...]
    hits: tuple[int, ...]
    features: dict[str, FeatureProfile]
    predictions: dict[str, Bins]
    mean_distance: float
    far: float
    usual: dict[str, Usual]
    classes: dict[str, tuple[str, ...]] = {}

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content; floats survive the round trip exactly."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The profile that `to_dict` described.

        Raises:
            ModelError: Something is missing, or of another kind.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise ModelError(f"the drift profile of the model cannot be read: {place}: {problem['msg']}") from error


# ---------------------------------------------------------------- measures


def stability_index(expected: IntArray, counts: IntArray) -> float:
    """Population stability index of counts against expected ones, half a row added to each bin.

    Args:
        expected: Rows in each bin in training, shape (b,).
        counts: Rows in each bin now, shape (b,).

    Returns:
        At least 0; NaN where there are no rows.
    """
    if not counts.sum():
        return math.nan
    p, q = ((c + 0.5) / (c.sum() + 0.5 * len(c)) for c in (expected, counts))
    return float(((q - p) * np.log(q / p)).sum())


def of_features(profile: Profile, rows: AssignedRows) -> dict[str, float]:
    """What is compared with training rows."""
    measures = {"hits": stability_index(np.array(profile.hits), hits_on(rows.winner, np.array(profile.regions)))}
    for name, before in profile.features.items():
        values = rows.features[name]
        known = values[~np.isnan(values)]
        measures[f"feature/{name}"] = before.bins.stability_index(known)
        if before.mean is not None:
            measures[f"mean/{name}"] = before.deviations(known)
        measures[f"missing/{name}"] = 1 - len(known) / len(values) - before.missing
    return measures


def of_answers(profile: Profile, rows: AssignedRows) -> dict[str, float]:
    """What is compared with held-out rows."""
    distance = rows.distance
    known = distance[~np.isnan(distance)]
    measures = {
        "error_ratio": float(known.mean()) / profile.mean_distance if len(known) else math.nan,
        "new_region": float((known > profile.far).mean()) if len(known) else math.nan,
    }
    for name, column in rows.predictions.items():
        measures[f"prediction/{name}"] = profile.predictions[name].stability_index(column)
    return measures


def hits_on(winner: IntArray, regions: IntArray) -> IntArray:
    """Rows on each part of the map."""
    return np.bincount(regions[winner[winner >= 0]], minlength=int(regions.max()) + 1)


def counts_in(values: FloatArray, edges: ArrayLike) -> IntArray:
    """Values in each bin, NaN left out; `edges` are upper ends that belong to their bin."""
    known = values[~np.isnan(values)]
    return np.bincount(np.searchsorted(edges, known, side="left"), minlength=np.size(edges) + 1)

"""The profile of a training: rows in bins, parts of the map, and how much windows of them differ (see `profile.py`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, takewhile

import numpy as np

from pipelines.errors import DatasetError
from pipelines.model.profile import (
    AssignedRows,
    Bins,
    FeatureProfile,
    FloatArray,
    IntArray,
    Profile,
    Usual,
    counts_in,
    hits_on,
    of_answers,
    of_features,
)
from pipelines.wording import some
from somlib.utils.grid import Grid

Block = tuple[slice, slice]

BINS = 10
MOST_CODES = 40  # of a category that get a bin each
LEAST_SHARE = 0.05  # of the training hits, on each part of the map
FAR = 0.99  # of the held-out rows lie nearer to the map
WINDOWS = 100  # of each size, evenly spaced, are measured
LEAST_WINDOWS = 8
GROWTH = 4  # from one size of window to the next
TWO_SIDED = "mean/"  # measures of this name are as often below 0 as above


def training_profile(
    grid: Grid,
    train: AssignedRows,
    heldout: AssignedRows | None = None,
    codes: Mapping[str, int | None] | None = None,
    classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Profile:
    """What has to be kept of training to recognize drift later.

    Args:
        grid: Of the map.
        train: Rows that the map was trained on: features and hits.
        heldout: Rows that it was not trained on: distances and predictions. None takes the training rows, whose
            distances and errors are a little too good.
        codes: Features whose means say nothing: how many values a category has, whose codes are 0, 1, ...; None for
            a cycle. See `Encoding.codes`.
        classes: Names of the classes of each target that is one, whose predictions are places among them.

    Raises:
        DatasetError: Too few rows, or a feature or distance without any value.
    """
    heldout = train if heldout is None or not len(heldout) else heldout
    _require_rows(train, heldout)
    profile = _without_usual(grid, train, heldout, codes or {}, classes or {})
    usual = _usual(profile, train, of_features) | _usual(profile, heldout, of_answers)
    return profile.model_copy(update={"usual": usual})


def _require_rows(train: AssignedRows, heldout: AssignedRows) -> None:
    for name, rows in (("training", train), ("held-out", heldout)):
        if len(rows) < LEAST_WINDOWS:
            raise DatasetError(f"a drift profile needs at least {LEAST_WINDOWS} {name} rows, got {len(rows)}")
    empty = [name for name, column in train.features.items() if np.isnan(column).all()]
    if empty:
        raise DatasetError(f"a drift profile needs values of each feature, got none of {some(empty)}")
    unknown = [name for name, column in heldout.predictions.items() if np.isnan(column).all()]
    if unknown:
        raise DatasetError(f"a drift profile needs predictions of each target, got none of {some(unknown)}")
    if np.isnan(heldout.distance).all() or (train.winner < 0).all():
        raise DatasetError("a drift profile needs rows with a nearest neuron, got none")


def _without_usual(
    grid: Grid,
    train: AssignedRows,
    heldout: AssignedRows,
    codes: Mapping[str, int | None],
    classes: Mapping[str, tuple[str, ...]],
) -> Profile:
    hits = hits_on(train.winner, np.arange(grid.m))
    regions = map_regions(hits.reshape(grid.x, grid.y))
    return Profile(
        regions=tuple(regions.tolist()),
        hits=tuple(hits_on(train.winner, regions).tolist()),
        features={
            name: _unordered_profile(column, codes[name]) if name in codes else _feature_profile(column)
            for name, column in train.features.items()
        },
        predictions={
            name: _unordered_profile(column, len(classes[name]) + 1).bins if name in classes else _bins(column)
            for name, column in heldout.predictions.items()
        },
        mean_distance=float(np.nanmean(heldout.distance)),
        far=float(np.nanquantile(heldout.distance, FAR)),
        usual={},
        classes={name: classes[name] for name in heldout.predictions if name in classes},
    )


def map_regions(hits: IntArray) -> IntArray:
    """Parts of a map with enough hits each, every part one rectangle of the grid.

    Args:
        hits: Of each neuron, at least one in all, shape (x, y).

    Returns:
        Part of each neuron in flat order, numbered from 0, shape (x * y,).
    """
    regions = np.zeros(hits.shape, dtype=np.int64)
    least, waiting, found = LEAST_SHARE * hits.sum(), [(slice(0, hits.shape[0]), slice(0, hits.shape[1]))], 0
    while waiting:
        block = waiting.pop()
        parts = _cut(hits, block, least)
        if parts is None:
            regions[block], found = found, found + 1
        else:
            waiting += parts
    return regions.ravel()


def _cut(hits: IntArray, block: Block, least: float) -> tuple[Block, Block] | None:
    """Two parts of a block with about equal hits, across its longer side if that can be; None where none can."""
    inside = hits[block]
    for axis in sorted((0, 1), key=lambda a: -inside.shape[a]):
        below = inside.sum(axis=1 - axis).cumsum()
        smaller = np.minimum(below, below[-1] - below)[:-1]
        if len(smaller) and smaller.max() >= least:
            side = block[axis]
            at = side.start + int(smaller.argmax()) + 1
            first, second = slice(side.start, at), slice(at, side.stop)
            return ((first, block[1]), (second, block[1])) if axis == 0 else ((block[0], first), (block[0], second))
    return None


def _feature_profile(values: FloatArray) -> FeatureProfile:
    return FeatureProfile(
        bins=_bins(values),
        mean=float(np.nanmean(values)),
        deviation=float(np.nanstd(values)),
        missing=float(np.isnan(values).mean()),
    )


def _unordered_profile(values: FloatArray, codes: int | None) -> FeatureProfile:
    """That of a category, each of its codes a bin, or of a cycle; both without a mean."""
    edges = None if codes is None or codes > MOST_CODES else np.arange(codes - 1.0)
    bins = (
        _bins(values)
        if edges is None
        else Bins(edges=tuple(edges.tolist()), counts=tuple(counts_in(values, edges).tolist()))
    )
    return FeatureProfile(bins=bins, mean=None, deviation=None, missing=float(np.isnan(values).mean()))


def _bins(values: FloatArray) -> Bins:
    """Tenths of the values, between values that occur, so that no bin is empty."""
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    below = known[known < known.max()]
    edges = np.unique(np.minimum(edges, below.max())) if len(below) else edges[:0]
    return Bins(edges=tuple(edges.tolist()), counts=tuple(counts_in(known, edges).tolist()))


def _usual(
    profile: Profile, rows: AssignedRows, measures: Callable[[Profile, AssignedRows], Mapping[str, float]]
) -> dict[str, Usual]:
    """The measures of windows of these rows."""
    longest = len(rows) // LEAST_WINDOWS
    sizes = [*takewhile(lambda size: size < longest, (GROWTH**power for power in count())), longest]
    by_size = [[measures(profile, window) for window in _windows(rows, size)] for size in sizes]
    return {name: _summary(name, sizes, [[m[name] for m in windows] for windows in by_size]) for name in by_size[0][0]}


def _windows(rows: AssignedRows, size: int) -> Iterator[AssignedRows]:
    """Evenly spaced windows that do not overlap."""
    windows = min(len(rows) // size, WINDOWS)
    for start in np.linspace(0, len(rows) - size, windows).astype(int).tolist():
        yield rows[start : start + size]


def _summary(measure: str, sizes: Sequence[int], values: Sequence[Sequence[float]]) -> Usual:
    two_sided = measure.startswith(TWO_SIDED)
    sized = [(size, np.array(found)) for size, found in zip(sizes, values, strict=True)]
    known = [(size, found[~np.isnan(found)]) for size, found in sized]
    known = [(size, found if two_sided else np.abs(found)) for size, found in known if len(found) > 1]
    return Usual(
        two_sided=two_sided,
        sizes=tuple(size for size, _ in known),
        windows=tuple(len(found) for _, found in known),
        means=tuple(float(found.mean()) for _, found in known),
        variances=tuple(float(found.var(ddof=1)) for _, found in known),
    )

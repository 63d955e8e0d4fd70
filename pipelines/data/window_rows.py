"""The rows of a window in memory: training rows, then held-out rows."""

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.data import ColumnSurvey, Dataset, Source, Survey, find_source, read_dataset, survey
from pipelines.data.counts import ordered
from pipelines.data.samples import Samples, fitted_scaler, labelled
from pipelines.data.validation import require_usable, value_problems
from pipelines.data.window import Window
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import DataConfig
from pipelines.wording import counted


@dataclass(frozen=True)
class WindowRows:
    """The rows of a window.

    Attributes:
        source: Where the training rows came from.
        dataset: Both parts, one after the other.
        train_count: Number of training rows: the first ones.
    """

    source: Source
    dataset: Dataset
    train_count: int


class Part(NamedTuple):
    """One part of a window, counted and not read."""

    source: Source
    found: Survey


def inspect_window(window: Window, missing: str) -> tuple[Part, Part]:
    """Both parts of a window as far as one pass over each shows: training rows and held-out rows.

    Unlike the training rows, held-out rows may be a few hours in which a sensor stood still.

    Args:
        window: Which rows.
        missing: The map's own rule for missing values, `"error"` or `"mask"`.

    Raises:
        DatasetError: A part is empty, damaged, or not what a map can be trained on or asked about.
    """
    train, heldout = (_counted(data) for data in (window.train, window.heldout))
    require_usable(*train, window.train, missing)
    problems = value_problems(*heldout, window.heldout, missing)
    if not heldout.found.used:
        every = counted(heldout.found.found, "held-out row")
        problems.append(f"window: all {every} lack a feature, and data.drop_incomplete is set")
    if problems:
        raise DatasetError(*problems)
    return train, heldout


def _counted(data: DataConfig) -> Part:
    source = find_source(data)
    return Part(source, survey(source, data.drop_incomplete))


def read_window(window: Window, missing: str) -> WindowRows:
    """Read both parts of a window; arguments and errors as of `inspect_window`."""
    parts = _with_common_levels(*inspect_window(window, missing))
    train, heldout = (read_dataset(*part, window.train.drop_incomplete) for part in parts)
    return WindowRows(parts[0].source, joined(train, heldout), len(train.features))


def _with_common_levels(train: Part, heldout: Part) -> tuple[Part, Part]:
    """Both parts with the values of both in each category, so that a code means the same in both."""
    levels = {
        name: ordered(train.source, name, {*known, *heldout.found.levels[name]})
        for name, known in train.found.levels.items()
    }
    return (
        train._replace(found=replace(train.found, levels=levels)),
        heldout._replace(found=replace(heldout.found, levels=levels)),
    )


def joined(first: Dataset, second: Dataset) -> Dataset:
    """Two datasets of the same columns as one."""
    both = (first, second)
    return replace(
        first,
        features=np.concatenate([each.features for each in both]),
        target=np.concatenate([each.target for each in both]),
        time=None if first.time is None or second.time is None else np.concatenate([first.time, second.time]),
        sha256=hashlib.sha256("".join(each.sha256 for each in both).encode()).hexdigest(),
        survey=_both(first.survey, second.survey),
        example=second.example if first.example is None else first.example,
    )


def _both(first: Survey, second: Survey) -> Survey:
    timed = first.first is not None and second.first is not None
    return Survey(
        found=first.found + second.found,
        incomplete=first.incomplete + second.incomplete,
        used=first.used + second.used,
        columns={name: _both_columns(first.columns[name], second.columns[name]) for name in first.columns},
        first=min(first.first, second.first) if timed else None,
        last=max(first.last, second.last) if timed else None,
        levels=first.levels,
    )


def _both_columns(first: ColumnSurvey, second: ColumnSurvey) -> ColumnSurvey:
    return ColumnSurvey(
        missing=first.missing + second.missing,
        infinite=first.infinite + second.infinite,
        low=float(np.fmin(first.low, second.low)),
        high=float(np.fmax(first.high, second.high)),
    )


def window_samples(rows: WindowRows, config: PipelineConfig) -> Samples:
    """Samples scaled by what the training rows look like.

    Raises:
        DatasetError: A feature does not vary in the training rows.
    """
    dataset = rows.dataset
    train, heldout = np.arange(rows.train_count), np.arange(rows.train_count, len(dataset.features))
    scaler = fitted_scaler(dataset, train, config)
    return Samples(labelled(dataset, scaler, train), labelled(dataset, scaler, heldout), scaler)

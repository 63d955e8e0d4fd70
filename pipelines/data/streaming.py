"""Training rows that are read again and again, and never all in memory.

Beside the pass that counts (`counts.py`) one more finds what training asks of all rows: how they are scaled, a digest
of their content, and every k-th row, which stands for all where not the map itself is concerned: local models, report,
profile. What is read in a pass is read ahead, by one thread, while what came before is worked on.
"""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.data.columns import CategoryColumn, NumberColumn
from pipelines.data.counts import Survey
from pipelines.data.dataset import (
    Dataset,
    coded,
    example_rows,
    feature_levels,
    feature_type,
    target_classes,
    used_rows,
)
from pipelines.data.encoding import Encoding
from pipelines.data.rows import exactly, times_of
from pipelines.data.samples import Samples, labelled, require_training_rows
from pipelines.data.scaling import (
    FITS,
    Scaler,
    deviation,
    is_expanded,
    refuse_empty,
    refuse_flat,
    together_scaled,
)
from pipelines.data.source import Source
from pipelines.data.splitting import HeldOut, newest_from
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import ScalingMethod
from somlib.utils.running import RunningMoments

SAMPLE_ROWS, SAMPLE_NUMBERS = 200_000, 2**23  # that stand for all, at most

Value = TypeVar("Value")


@dataclass(frozen=True)
class Part:
    """Some rows, in the order in which they are read.

    Attributes:
        start: Number of the first.
        features: Numbers, categories as codes, shape (b, r).
        target: float64, shape (b, o).
        time: Shape (b,); None without a time column.
        heldout: Whether a row is held out, shape (b,).
    """

    start: int
    features: NDArray[Any]
    target: NDArray[np.float64]
    time: NDArray[Any] | None
    heldout: NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """All used rows, in parts.

    Attributes:
        source: Where they are.
        found: What was counted there.
        complete: Whether rows that lack a feature are left out.
        split: Which rows are held out.
    """

    source: Source
    found: Survey
    complete: bool
    split: HeldOut

    def __iter__(self) -> Iterator[Part]:
        source, dtype, start = self.source, feature_type(self.source, self.found), 0
        for batch in used_rows(source, self.complete):
            features = coded(batch.select(map(exactly, source.features)), self.found.levels).to_numpy()
            target = np.zeros((batch.height, 0))
            if source.target:
                target = coded(batch.select(map(exactly, source.target)), self.found.levels).to_numpy()
            time = None if source.time is None else times_of(batch, source.time).to_physical().to_numpy()
            heldout = self.split.among(start, batch.height, time)
            yield Part(start, features.astype(dtype), target, time, heldout)
            start += batch.height
        if start != self.found.used:
            raise DatasetError(f"data.path: {source.path} changed while it was read: run again when its writer is done")


class TrainingRows:
    """The scaled training rows as a dataset of batches, which `SOM.fit` takes.

    Args:
        parts: All rows.
        scaler: How they become samples.
        n_rows: How many of them train.
    """

    def __init__(self, parts: Parts, scaler: Scaler, n_rows: int) -> None:
        self._parts, self._scaler, self.n_rows = parts, scaler, n_rows

    def __iter__(self) -> Iterator[torch.Tensor]:
        return read_ahead(self._batches())

    def _batches(self) -> Iterator[torch.Tensor]:
        for part in self._parts:
            rows = np.flatnonzero(~part.heldout)
            if len(rows):
                yield torch.from_numpy(self._scaler.transform(part.features, rows, self._parts.found.levels))


def stream_samples(source: Source, found: Survey, config: PipelineConfig) -> tuple[Dataset, Samples]:
    """Every k-th row in memory, split and scaled as all are, with the training rows to be read again.

    Raises:
        DatasetError: A file is damaged or changes, no row is left to train on, or a feature does not vary.
    """
    parts = Parts(source, found, config.data.drop_incomplete, _held_out(source, found, config))
    encoding = _encoding(parts) if source.special else None
    seen = _Seen(parts, encoding, config.som.x is None)
    for part in read_ahead(iter(parts)):
        seen.take(part)
    training = seen.features.n
    require_training_rows(found.used, training)
    dataset = seen.dataset()
    train, heldout = np.flatnonzero(~seen.heldout), np.flatnonzero(seen.heldout)
    scaler = _scaler(seen, dataset, train, encoding, config.scaling.method)
    samples = Samples(
        labelled(dataset, scaler, train),
        labelled(dataset, scaler, heldout),
        scaler,
        TrainingRows(parts, scaler, training),
        found.used - training,
        seen.variances(scaler),
    )
    return dataset, samples


def read_ahead(items: Iterator[Value]) -> Iterator[Value]:
    """The same items, each made by another thread while the one before is worked on."""
    with ThreadPoolExecutor(1, "som-reader") as reader:
        end = object()
        coming = reader.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = reader.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end


# ---------------------------------------------------------------- what is found on the way


def _held_out(source: Source, found: Survey, config: PipelineConfig) -> HeldOut:
    count = int(found.used * config.data.holdout)
    if not count or source.time is None:
        return HeldOut(found.used, count, config.som.random_seed)

    def times() -> Iterable[NDArray[Any]]:
        batches = used_rows(source, complete_only=True) if config.data.drop_incomplete else source.rows.batches([name])
        return (times_of(batch, name).to_physical().to_numpy() for batch in batches)

    name = source.time
    return HeldOut(found.used, count, since=newest_from(times, found.used, count))


def _encoding(parts: Parts) -> Encoding:
    """The columns, categories with the values that training rows have."""
    source, levels = parts.source, feature_levels(parts.source, parts.found)
    counts = {name: np.zeros(len(known), dtype=np.int64) for name, known in levels.items()}
    for part in read_ahead(iter(parts)) if levels else ():
        for name, known in levels.items():
            codes = part.features[~part.heldout, source.features.index(name)]
            counts[name] += np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=len(known))
    columns = [
        each.fitted(levels[each.name], counts[each.name]) if isinstance(each, CategoryColumn) else each
        for each in source.columns
    ]
    return Encoding(tuple(columns))


class _Seen:
    """What one pass over the rows finds.

    Args:
        parts: All rows.
        encoding: How features are made of numbers; None where they are these.
        axes: Whether the covariance of the features is wanted.
    """

    def __init__(self, parts: Parts, encoding: Encoding | None, axes: bool) -> None:
        self._parts, self._encoding = parts, encoding
        self.numbers, self.features = RunningMoments(squares=False), RunningMoments(squares=axes)
        self._axes = axes
        width = max(1, len(parts.source.features))
        self._step = _step(parts.found.used, min(SAMPLE_ROWS, SAMPLE_NUMBERS // width))
        self._kept: list[Part] = []
        names = (*parts.source.features, *parts.source.target, parts.source.time or "")
        known = [text for values in parts.found.levels.values() for text in values]
        self._digest = hashlib.sha256("\0".join(("streamed", *names, *known)).encode())

    def take(self, part: Part) -> None:
        """Take the next rows."""
        for array in (part.features, part.target, part.time):
            if array is not None:
                self._digest.update(np.ascontiguousarray(array).data)
        trains = part.features[~part.heldout].astype(np.float64)
        if len(trains):
            if self._encoding is None:
                self.features.add(torch.from_numpy(trains))
            else:
                values = self._encoding.recoded(trains, self._parts.found.levels)
                self.numbers.add(torch.from_numpy(values))
                self.features.add(torch.from_numpy(self._encoding.expand(values)))
        rows = slice(-part.start % self._step, None, self._step)
        self._kept.append(
            Part(
                part.start,
                part.features[rows].copy(),
                part.target[rows].copy(),
                None if part.time is None else part.time[rows].copy(),
                part.heldout[rows].copy(),
            )
        )

    @property
    def heldout(self) -> NDArray[np.bool_]:
        """Whether each of the kept rows is held out."""
        return np.concatenate([part.heldout for part in self._kept])

    def dataset(self) -> Dataset:
        """The kept rows."""
        source, found = self._parts.source, self._parts.found
        times = [part.time for part in self._kept if part.time is not None]
        return Dataset(
            path=source.path,
            feature_names=source.features,
            target_names=source.target,
            features=np.concatenate([part.features for part in self._kept]),
            target=np.concatenate([part.target for part in self._kept]),
            time=np.concatenate(times) if times else None,
            sha256=self._digest.hexdigest(),
            survey=found,
            time_type=source.time_type,
            columns=source.columns if source.special else (),
            levels=feature_levels(source, found),
            example=example_rows(source) if source.special else None,
            step=self._step,
            classes=target_classes(source, found),
        )

    def variances(self, scaler: Scaler) -> tuple[float, float] | None:
        """The two largest variances of samples along axes; None where nobody asks for them."""
        if not self._axes:
            return None
        scale = torch.from_numpy(scaler.scale)
        largest = torch.linalg.eigvalsh(self.features.covariance / scale / scale[:, None]).flip(0).clamp_min(0).tolist()
        return largest[0], largest[1] if len(largest) > 1 else 0.0


def _step(rows: int, most: int) -> int:
    """Which rows stand for all, every second, third, ...: a prime number, which days and weeks are no multiples of."""
    step = max(1, -(-rows // max(1, most)))
    while step > 1 and any(step % divisor == 0 for divisor in range(2, int(step**0.5) + 1)):
        step += 1
    return step


def _scaler(
    seen: _Seen, dataset: Dataset, train: NDArray[np.int64], encoding: Encoding | None, method: ScalingMethod
) -> Scaler:
    """The scaler of all training rows; by quartiles, which are those of the kept rows."""
    columns = [NumberColumn(name=name) for name in dataset.feature_names] if encoding is None else encoding.columns
    features = dataset.feature_names if encoding is None else encoding.features
    numbers, rows = seen.features if encoding is None else seen.numbers, seen.features.n
    count, low, high = (each.numpy() for each in (numbers.count, numbers.low, numbers.high))
    refuse_empty([name for name, n in zip(dataset.feature_names, count, strict=True) if not n], rows)
    if method == "none":
        return replace(Scaler.identity(features), encoding=encoding)
    refuse_flat([name for i, name in enumerate(dataset.feature_names) if low[i] == high[i]], method, rows)
    known = {name: dataset.features[train, i] for i, name in enumerate(dataset.feature_names)}
    mean, variance, of = seen.features.mean.numpy(), seen.features.variance.numpy(), seen.features.count.numpy()
    centers, scales, place, number = [], [], 0, 0
    for column in columns:
        part = slice(place, place + len(column.features))
        if is_expanded(column):
            center, scale = together_scaled(column, mean[part], variance[part], method)
        else:
            center, scale = _of_number(
                known[column.numbers[0]], of[place], mean[place], variance[place], (low[number], high[number]), method
            )
        centers.append(center)
        scales.append(scale)
        place, number = part.stop, number + len(column.numbers)
    scale = np.concatenate(scales)
    refuse_flat([name for name, each in zip(features, scale, strict=True) if not each > 0], method, rows)
    return Scaler(method, features, np.concatenate(centers), scale, encoding)


def _of_number(  # six: what is known of a number
    known: NDArray[Any],
    n: float,
    mean: float,
    variance: float,
    ends: tuple[float, float],
    method: ScalingMethod,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if method == "standard":
        return np.array([mean]), np.array([deviation(n, mean, variance)])
    if method == "minmax":
        return np.array([ends[0]]), np.array([ends[1] - ends[0]])
    values = known[~np.isnan(known)]
    center, scale = FITS[method](values) if len(values) else (mean, 0.0)
    return np.array([center]), np.array([scale])

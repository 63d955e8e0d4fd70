"""Which rows have come since local models last learned.

Each target has a watermark, the newest time that its model knows. Of the rows that are newer

    new         have its value, and are enough to evaluate the model on
    few         have its value, but are fewer than that: they wait for more
    unlabelled  lack its value: they wait for it
    late        are not newer than the watermark, and yet the model does not know them: their values came after those of
                newer rows. They are counted and reported; the next training learns them

A row that is not learned is found again next time, for the watermark stays.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Dataset, Source, content_digest, find_source, known_times, read_dataset, survey
from pipelines.data.samples import Labelled, labelled, unknown_values
from pipelines.data.validation import value_problems
from pipelines.data.window import TICK, TimeCut
from pipelines.errors import ConfigError, DatasetError, ModelError
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.settings.columns import ColumnConfig
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import DataConfig
from pipelines.wording import some
from somlib.jitl.times import read_times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class NewRows:
    """What has come since the local models of a version last learned.

    Attributes:
        dataset: The new rows, features as float64; a target is NaN in a row that is not new to its model.
        samples: They, scaled.
        new: Rows by target; only targets with new rows.
        few: Rows by target; only targets whose rows are too few.
        unlabelled: By target.
        late: By target; None where that is not known.
        remarks: What else the user should know.
    """

    dataset: Dataset
    samples: Labelled
    new: Mapping[str, int]
    few: Mapping[str, int]
    unlabelled: Mapping[str, int]
    late: Mapping[str, int | None]
    remarks: Sequence[str] = ()

    def metrics(self, stems: Mapping[str, str]) -> dict[str, float]:
        """The numbers of rows, as `rows/late/TARGET`; `rows/new` are those that any target has.

        Args:
            stems: Name of each target in metrics.
        """
        kinds: dict[str, Mapping[str, int | None]] = {
            "new": {**self.new}, "few": {**self.few}, "unlabelled": {**self.unlabelled}, "late": self.late
        }  # fmt: skip
        counts = {
            f"rows/{kind}/{stems[target]}": float(count)
            for kind, by_target in kinds.items()
            for target, count in by_target.items()
            if count is not None
        }
        return {"rows/new": float(len(self.samples)), **counts}


def require_dated_models(model: MapModel, config: PipelineConfig, name: str) -> LocalModels:
    """The local models of a version, which must have learned dates, by which new rows are recognized.

    Args:
        model: The version.
        config: The experiment.
        name: What to call the version in errors.

    Raises:
        ConfigError: No time column is configured.
        ModelError: The version has no local models, or they learned without dates.
    """
    _require_time(config)
    if model.local is None:
        raise ModelError(f"{name} has no local models to refresh: train it with data.target and jitl.enabled=true")
    if model.local.watermark is None:
        raise ModelError(
            f"{name} has local models that learned without dates, by which new rows are recognized: train it with a "
            "data.time of dates or times"
        )
    return model.local


def require_dated_rows(config: PipelineConfig) -> None:
    """Refuse data whose new rows cannot be recognized, whatever serves; no row is read.

    Raises:
        ConfigError: No time column is configured.
        DatasetError: The rows cannot be read, or have no dates.
    """
    _require_time(config)
    _require_dates(find_source(config.data))


def _require_time(config: PipelineConfig) -> None:
    if config.data.time is None:
        raise ConfigError("data.time must name the column of dates or times by which som refresh recognizes new rows")


def find_new_rows(model: MapModel, local: LocalModels, config: PipelineConfig) -> NewRows:
    """The rows that have come since the local models of a version last learned.

    Args:
        model: The version.
        local: Its local models, see `require_dated_models`.
        config: Where the rows are, and how many it takes. The features are those of the version.

    Raises:
        DatasetError: The rows cannot be read, have no dates, or hold values that the map does not take.
    """
    data = config.data.model_copy(
        update={
            "features": model.features,
            "columns": _columns(model),
            "target": tuple(local.regressors),
            "target_kind": {target: "class" if target in local.classes else "number" for target in local.regressors},
        }
    )
    marks = {target: datetime.fromisoformat(str(mark)) for target, mark in local.watermarks.items()}
    dataset = _newer(data, min(marks.values()), model.som.missing)
    newer = _newer_than(marks, dataset)
    fresh = {t: newer[t] & np.isfinite(dataset.target[:, i]) for i, t in enumerate(data.target)}
    found = {target: int(flags.sum()) for target, flags in fresh.items()}
    new = {target: count for target, count in found.items() if count >= config.refresh.fewest_rows}
    rows = _only(dataset, {target: flags for target, flags in fresh.items() if target in new})
    return NewRows(
        dataset=rows,
        samples=labelled(rows, model.scaler, np.arange(len(rows.target))),
        new=new,
        few={target: count for target, count in found.items() if count and target not in new},
        unlabelled={target: int(newer[target].sum()) - count for target, count in found.items()},
        late={t: None if config.jitl.per_neuron is not None else _late(data, marks[t], t, local) for t in marks},
        remarks=[*_remarks(config, local), *unknown_values(rows, model.scaler)],
    )


def _columns(model: MapModel) -> dict[str, ColumnConfig]:
    """What the columns of a version are, where any is more than a number."""
    encoding = model.scaler.encoding
    columns = () if encoding is None else encoding.columns
    return {each.name: ColumnConfig.model_validate(each.config()) for each in columns if each.is_declared}


def _newer(data: DataConfig, mark: datetime, missing: str) -> Dataset:
    """The rows after a time."""
    _require_dates(find_source(data))
    source = find_source(TimeCut(mark + TICK).onward(data))
    found = survey(source, data.drop_incomplete)
    problems = value_problems(source, found, data, missing)
    if problems:
        raise DatasetError(*problems)
    return read_dataset(source, found, data.drop_incomplete, np.float64)


def _require_dates(source: Source) -> None:
    if source.time_type is None or not source.time_type.is_temporal():
        raise DatasetError(f"data.time: som refresh recognizes new rows by dates or times, got {source.time_type}")


def _newer_than(marks: Mapping[str, datetime], dataset: Dataset) -> dict[str, Flags]:
    """Which rows are newer than the watermark of each target."""
    moments = np.empty(0) if dataset.moments is None else read_times(dataset.moments, len(dataset.target))[0]
    return {target: moments > (mark - EPOCH) // TICK for target, mark in marks.items()}


def _only(dataset: Dataset, fresh: Mapping[str, Flags]) -> Dataset:
    """The rows that are new to any target, with the values that are new, and the digest of these."""
    target = np.full_like(dataset.target, np.nan)
    for i, name in enumerate(dataset.target_names):
        if name in fresh:
            target[fresh[name], i] = dataset.target[fresh[name], i]
    rows = np.isfinite(target).any(axis=1)
    features, target, time = dataset.features[rows], target[rows], None if dataset.time is None else dataset.time[rows]
    digest = content_digest((*dataset.feature_names, *dataset.target_names), features, target, time)
    return replace(dataset, features=features, target=target, time=time, sha256=digest)


def _late(data: DataConfig, mark: datetime, target: str, local: LocalModels) -> int:
    """Rows up to the watermark with a value that the model does not know, though it knows older ones."""
    held = local.regressors[target].index_.time.numpy()
    oldest = EPOCH + timedelta(microseconds=int(held.min()))
    between = TimeCut(mark + TICK).before(TimeCut(oldest + TICK).onward(data))
    times = known_times(find_source(between), target, data.drop_incomplete)
    there, _ = read_times(times, len(times))
    return (Counter(there.tolist()) - Counter(held.tolist())).total()


def _remarks(config: PipelineConfig, local: LocalModels) -> Iterator[str]:
    without = [target for target in config.data.target if target not in local.regressors]
    if without:
        yield f"what serves has no local model of {some(without)}: som train or som retrain makes one"
    if config.jitl.per_neuron is not None:
        yield "late rows are not counted: with jitl.per_neuron they cannot be distinguished from forgotten rows"

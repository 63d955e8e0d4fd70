"""Whether a map can be trained as configured, and what a user should know of the data. Nothing is read here."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Dataset, Source, Survey
from pipelines.data.past_columns import PastColumn
from pipelines.data.samples import Samples
from pipelines.errors import ConfigError, DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import DataConfig
from pipelines.wording import agreeing, counted, of_all, some
from somlib.configs import SOMConfig
from somlib.errors import ArgumentError

MOST_CLASSES = 10  # distinct whole numbers in a target that look like labels
FEW_ROWS = 5  # of a class
ROWS_A_CLASS = 10  # that each of them has on average, at least: a few rows have few values anyway


def require_map(config: SOMConfig, features: int) -> None:
    """Refuse settings of the map that do not fit the number of features, or this machine.

    Raises:
        ConfigError: With a line for each problem.
    """
    try:
        config.for_features(features)
        if config.device not in (None, "cpu"):
            from somlib.core.base_som import chosen_device  # here: it needs PyTorch, which takes a second to import

            chosen_device(config.device)
    except ArgumentError as error:
        raise ConfigError(*(f"som.{line}" for line in str(error).split("; "))) from None


def require_publishing(config: PipelineConfig) -> None:
    """Refuse a retraining that may register nothing.

    Raises:
        ConfigError: `tracking.publish` is false.
    """
    if not config.tracking.publish:
        raise ConfigError("tracking.publish must be true for som retrain, which registers every challenger")


def require_usable(source: Source, found: Survey, config: DataConfig, missing: str) -> None:
    """Refuse rows that a map cannot be trained on; arguments as in `usability_problems`.

    Raises:
        DatasetError: With a line for each problem.
    """
    problems = usability_problems(source, found, config, missing)
    if problems:
        raise DatasetError(*problems)


def usability_problems(source: Source, found: Survey, config: DataConfig, missing: str) -> list[str]:
    """One line for each thing in the rows that a map cannot be trained on; empty where all is well.

    Args:
        source: What was surveyed.
        found: What was found there.
        config: What the user asked for.
        missing: The map's own rule for missing values, `"error"` or `"mask"`.
    """
    if not found.found:
        filtered = [name for name in ("where", "start", "end") if getattr(config, name) is not None]
        reason = f" after the filter data.{' and data.'.join(filtered)}" if filtered else ""
        return [f"data.path: the dataset is empty: no rows in {source.path}{reason}"]
    problems = [*_empty_columns(source, found)]
    if found.used == 0 and not problems:
        problems.append(
            f"data.drop_incomplete: all {counted(found.found, 'row')} lack a feature, "
            f"{_most_missing(source, found)}: "
            "use som.missing=mask, or leave out the features that are missing most"
        )
    problems += value_problems(source, found, config, missing)
    for name in source.features:
        column = found.columns[name]
        if column.constant and not column.infinite:
            problems.append(_constant(source, found, name))
    return problems


def _constant(source: Source, found: Survey, name: str) -> str:
    """What is said of a number of a feature that is the same in all rows."""
    value = found.levels[name][0] if name in found.levels else f"{found.columns[name].low:g}"
    owner = next(each for each in source.columns if name in each.numbers)
    if len(owner.numbers) > 1:
        part = name.removeprefix(f"{owner.name} ")
        return (
            f"data.columns: {part} of {owner.name!r} is {value} in all rows: leave it out of its parts, a map learns "
            "nothing from it"
        )
    return (
        f"data.features: column {name!r} is constant, {value} in all rows: leave it out, a map learns nothing from it"
    )


def value_problems(source: Source, found: Survey, config: DataConfig, missing: str) -> list[str]:
    """One line for each column with values that a map does not take, however many rows there are.

    Arguments as in `usability_problems`.
    """
    problems = [*_infinite_columns(source, found)]
    if missing == "error" and not config.drop_incomplete:
        problems += _missing_values(source, found)
    return problems


def _empty_columns(source: Source, found: Survey) -> Iterator[str]:
    for setting, names in (("data.features", source.features), ("data.target", source.target)):
        for name in names:
            column = found.columns[name]
            if column.missing == found.found:
                yield f"{setting}: column {name!r} has no value in any of {counted(found.found, 'row')}"


def _infinite_columns(source: Source, found: Survey) -> Iterator[str]:
    for setting, names in (("data.features", source.features), ("data.target", source.target)):
        for name in names:
            if count := found.columns[name].infinite:
                yield (
                    f"{setting}: column {name!r} is infinite in {of_all(count, found.used, 'row')}: "
                    "store such values as missing, or filter them out with data.where"
                )


def _missing_values(source: Source, found: Survey) -> Iterator[str]:
    if found.incomplete:
        yield (
            f"data.features: {of_all(found.incomplete, found.found, 'row')} "
            f"{agreeing(found.incomplete, 'has', 'have')} missing values (null or NaN), "
            f"{_most_missing(source, found)}: som.missing=mask trains around them, "
            "data.drop_incomplete=true leaves the rows out"
        )


def _most_missing(source: Source, found: Survey) -> str:
    counts = {name: found.columns[name].missing for name in source.features}
    ranked = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    return some([f"{name} in {counts[name]}" for name in ranked])


def remarks(source: Source, found: Survey) -> list[str]:
    """What a survey shows that a user should know, though it stops nothing; one line each."""
    lines = [*source.notes]
    if count := found.left_out:
        lines.append(
            f"{of_all(count, found.found, 'row')} {agreeing(count, 'is', 'are')} left out because a feature is missing "
            f"in {agreeing(count, 'it', 'them')}"
        )
    elif count := found.incomplete:
        lines.append(
            f"{of_all(count, found.found, 'row')} {agreeing(count, 'lacks', 'lack')} a feature; the map trains on what "
            f"{agreeing(count, 'it has', 'they have')}"
        )
    for name in source.target:
        column = found.columns[name]
        if column.missing:
            lines.append(
                f"target {name} is missing in {of_all(column.missing, found.found, 'row')}, which its maps leave out"
            )
        if column.constant:
            value = found.levels[name][0] if name in source.classes else f"{column.low:g}"
            lines.append(f"target {name} is constant, {value} wherever it is known: there is nothing to predict")
    return lines


def row_remarks(dataset: Dataset, samples: Samples) -> list[str]:
    """What only the rows themselves show that a user should know; one line each.

    Args:
        dataset: The rows.
        samples: The rows split and scaled.
    """
    lines = [*_repeated_times(dataset)]
    for name, values in samples.targets.items():
        lines += _rare_classes(name, samples) if name in samples.train.classes else _like_classes(name, values)
    return lines


def _rare_classes(name: str, samples: Samples) -> Iterator[str]:
    """Lines for classes of a target that few training rows have, or none."""
    names = samples.train.classes[name].names
    counts = {
        part: np.bincount(codes[np.isfinite(codes)].astype(np.int64), minlength=len(names))
        for part, codes in (("train", samples.train.targets[name]), ("heldout", samples.heldout.targets[name]))
    }
    rare = [f"{each} in {count}" for each, count in zip(names, counts["train"], strict=True) if 0 < count < FEW_ROWS]
    if rare:
        yield (
            f"target {name} has classes with fewer than {FEW_ROWS} training rows, {some(rare)}: little can be learned "
            "of them"
        )
    absent = [names[i] for i in np.flatnonzero((counts["train"] == 0) & (counts["heldout"] > 0))]
    if absent:
        yield (
            f"target {name} has classes in held-out rows that no training row has, {some(absent)}: no answer to such a "
            "row can be right"
        )


def _repeated_times(dataset: Dataset) -> Iterator[str]:
    if dataset.time is None or dataset.step > 1:  # rows of one time stand together mostly
        return
    _, counts = np.unique(dataset.time, return_counts=True)
    if shared := int(counts[counts > 1].sum()):
        yield (
            f"data.time: {of_all(shared, len(dataset.time), 'row')} share their time with another row: rows of one "
            f"time are held out together or train together{_of_several_series(dataset)}"
        )


def _of_several_series(dataset: Dataset) -> str:
    """What rows of one time do to lags and rolling means that do not tell series apart."""
    mixed = [each for each in dataset.columns if isinstance(each, PastColumn) and not each.series]
    if not mixed:
        return ""
    return f"; {mixed[0].name} takes their mean: give it the series, the column that tells such rows apart"


def _like_classes(name: str, values: NDArray[np.float64]) -> Iterator[str]:
    """A line for a target of a few whole numbers, which may be labels of classes."""
    known = values[np.isfinite(values)]
    distinct = np.unique(known[: ROWS_A_CLASS * MOST_CLASSES])
    if len(distinct) > MOST_CLASSES:  # most targets, without sorting all of their values
        return
    distinct = np.unique(known)
    few = 2 <= len(distinct) <= min(MOST_CLASSES, len(known) // ROWS_A_CLASS)
    if few and (distinct == np.round(distinct)).all():
        yield (
            f"target {name} has {len(distinct)} values {some([f'{value:g}' for value in distinct], MOST_CLASSES)}: is "
            f"it a class? data.target_kind={{{name}: class}} takes it for one; it is taken for a number now, whose "
            "means, errors and intervals say little of classes"
        )

"""Which targets get local models, and which rows they learn from; decided before a map is trained."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.data.samples import Labelled, evenly
from pipelines.errors import ConfigError
from pipelines.settings.sections import JITLConfig
from pipelines.wording import counted

FEWEST_ROWS = 50  # with a value, that a model is fitted to: below, there is little to choose its settings by
# Neurons times the square of the features: the numbers in the moments of a model, of which a blend has three, in memory
# and in its files. At this size, 200 features on 375 neurons, they take 370 MB a target.
MOST_MOMENTS = 2**24


def learnable(rows: Labelled, target: str, config: JITLConfig) -> Labelled:
    """The rows that a model of `target` is fitted to: those with a value, the newest `max_rows` in `keep_days`.

    Without times there are no newest ones, and the rows are spread evenly over all.
    """
    known = rows.known(target)
    if rows.moments is None:
        return rows.take(evenly(known, config.max_rows))
    times = rows.moments.gather(known).to_numpy()
    if config.keep_days is not None and len(known):
        recent = (times.max() - times) / np.timedelta64(1, "D") <= config.keep_days
        known, times = known[recent], times[recent]
    newest = times.argsort(kind="stable")[-config.max_rows :]
    return rows.take(known[np.sort(newest)])


@dataclass(frozen=True)
class LocalPlan:
    """Which targets get a local model.

    Attributes:
        rows: Training rows that the model of each target is fitted to; only targets that get one.
        reasons: Why others get none; one line each.
    """

    rows: Mapping[str, int]
    reasons: tuple[str, ...] = ()


def plan_local_models(rows: Labelled, neurons: int, config: JITLConfig) -> LocalPlan:
    """Which targets get a local model, and which not and why; decided before a map is trained.

    Args:
        rows: Those that train.
        neurons: Of the map.
        config: How models are made.
    """
    features = rows.samples.shape[1]
    if config.enabled is False or not rows.targets:
        return LocalPlan({})
    if leaves_out(config, neurons, features):
        return LocalPlan({}, (size_remark(neurons, features),))
    counts = {target: len(learnable(rows, target, config)) for target in rows.targets}
    few = [_too_few(target, count) for target, count in counts.items() if count < FEWEST_ROWS]
    wide = [
        size_remark(neurons, features, target, len(classes))
        for target, classes in rows.classes.items()
        if counts[target] >= FEWEST_ROWS and leaves_out(config, neurons, features, len(classes))
    ]
    return LocalPlan(
        {
            target: count
            for target, count in counts.items()
            if count >= FEWEST_ROWS and not leaves_out(config, neurons, features, len(rows.classes.get(target, (0,))))
        },
        (*few, *wide),
    )


def _too_few(target: str, count: int) -> str:
    have = f"{counted(count, 'training row')} {'has' if count == 1 else 'have'} a value"
    return f"no local model of {target}: {have}, it takes at least {FEWEST_ROWS}"


def leaves_out(config: JITLConfig, neurons: int, features: int, outputs: int = 1) -> bool:
    """Whether local models are left out for their size, which only happens where nobody has asked for them.

    Args:
        config: How models are made.
        neurons: Of the map.
        features: Of the samples.
        outputs: 1 for a number, the number of classes for a class.
    """
    return config.enabled is None and neurons * (features + 1 + outputs) ** 2 > MOST_MOMENTS


def size_remark(neurons: int, features: int, target: str = "", classes: int = 0) -> str:
    """Why `leaves_out` does so, of all targets or of one that is a class, and what to do."""
    size = (
        3 * 8 * neurons * (features + 2) ** 2 / 1e6
        if not classes
        else 8 * neurons * (features + 1 + classes) ** 2 / 1e6
    )
    return (
        f"no local model{f' of {target}' if target else 's'}: {counted(features, 'feature')} "
        f"{f'and {classes:,} classes ' if classes else ''}on {counted(neurons, 'neuron')} would take up to "
        f"{size:,.0f} MB a target; "
        "jitl.enabled=true has them all the same, fewer features or a smaller map are smaller and faster"
    )


def require_dates(config: JITLConfig, time: pl.DataType | None) -> None:
    """Refuse to count days where the type of the time column is no date.

    Raises:
        ConfigError: It is none.
    """
    if config.keep_days is not None and not (time is not None and time.is_temporal()):
        raise ConfigError(f"jitl.keep_days needs dates or times in data.time, got {time or 'no such column'}")

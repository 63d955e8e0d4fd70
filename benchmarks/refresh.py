"""What `som refresh` takes, and what it gains: the shipped weather, trained on January to June, then kept fresh.

    python benchmarks/refresh.py

A throwaway store. First the command as a user runs it, a process for each hour's row, with MLflow on SQLite and
Prefect's temporary server. Then July to December row by row: each is answered by the model that serves at its time, and
learned when the refresh of the hour, the day or the month finds it and its limits let it; the same plain functions as
in the flow.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.data.samples import Labelled
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.refreshing.acceptance import checks, score
from pipelines.refreshing.new_rows import find_new_rows
from pipelines.settings.config import PipelineConfig, load_config
from pipelines.settings.sections import RefreshConfig
from pipelines.store import registry, servable
from pipelines.store.connection import tracking_store

WEATHER = Path(__file__).parents[1] / "data" / "weather.yaml"
START = "2013-07-01"
PROCESSES = 5
AT_ONCE = RefreshConfig(fewest_rows=1, rmse_ratio=None, coverage=None, fallback=None)
MONTHS = range(7, 13)


class Outcome(NamedTuple):
    """Answers by target and kind, and how the refreshes went."""

    answers: dict[str, dict[str, NDArray[np.float64]]]
    learned: int = 0
    refused: int = 0


def som(folder: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of a command: on the clock, and of all cores."""
    command = [str(Path(sys.executable).with_name("som")), *arguments]
    variables = {"XDG_STATE_HOME": str(folder), "PREFECT_HOME": str(folder / "prefect")}
    start, used = time.perf_counter(), cpu()
    subprocess.run(command, cwd=folder, env={**os.environ, **variables}, check=True, capture_output=True)
    return time.perf_counter() - start, cpu() - used


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings(*more: str) -> list[str]:
    return [part for each in (f"data.path={WEATHER.parent / 'weather'}", *more) for part in ("--set", each)]


def time_processes(folder: Path) -> None:
    print(f"som train, January to June: {som(folder, 'train', str(WEATHER), *settings(f'data.end={START}'))[0]:.1f} s")
    limits = [f"refresh.{name}={'null' if value is None else value}" for name, value in AT_ONCE]
    times = []
    for hour in range(1, PROCESSES + 1):
        end = f"data.end={START}T{hour:02d}:00:00"
        times.append(som(folder, "refresh", str(WEATHER), *settings(end, *limits)))
    again = som(folder, "refresh", str(WEATHER), *settings(end, *limits))
    for name, i in (("clock", 0), ("CPU", 1)):
        every = [each[i] for each in times]
        rounds = " ".join(f"{seconds:.1f}" for seconds in every)
        print(
            f"som refresh, one hour: {statistics.median(every):.1f} s {name} [{rounds}]; nothing new: {again[i]:.1f} s"
        )


# ---------------------------------------------------------------- half a year


def trained(folder: Path, name: str) -> tuple[MapModel, LocalModels, Mapping[str, float]]:
    """The version that `som train` published, anew, and its errors on held-out rows."""
    with tracking_store(f"sqlite:///{folder}/mlflow.db"):
        version = registry.find("weather", "1")
        (folder / name).mkdir()
        model = servable.fetch(version, folder / name)
    assert model.local is not None
    return model, model.local, {t: version.metrics[f"jitl/{t}/rmse"] for t in model.local.regressors}


def steps(rows: Labelled, unit: str) -> Iterator[NDArray[np.int64]]:
    """Positions of the rows that come between two refreshes."""
    assert rows.moments is not None
    period = rows.moments.dt.truncate(unit).to_physical().to_numpy()
    yield from np.split(np.arange(len(rows)), np.flatnonzero(np.diff(period)) + 1)


def half_a_year(
    local: LocalModels,
    rows: Labelled,
    parts: Iterator[NDArray[np.int64]],
    limits: RefreshConfig | None,
    references: Mapping[str, float],
    config: PipelineConfig,
) -> Outcome:
    """Answer each part, then refresh with what is waiting; without limits, never."""
    answers: dict[str, dict[str, list[Any]]] = {t: {"prediction": [], "lower": [], "upper": []} for t in references}
    waiting, learned, refused = np.empty(0, dtype=np.int64), 0, 0
    for part in parts:
        for target, kinds in answers.items():
            details = local.details(target, rows.samples[part])
            for kind, values in kinds.items():
                values.append(getattr(details, kind))
        waiting = np.concatenate((waiting, part))
        new = rows.take(waiting)
        if limits is None or min(len(new.known(target)) for target in references) < limits.fewest_rows:
            continue
        scores = {target: score(local, target, new, reference) for target, reference in references.items()}
        if all(check.holds for check in checks(scores, limits)):
            local.learn(new, config.jitl)
            waiting, learned = waiting[:0], learned + 1
        else:
            refused += 1
    joined = {t: {kind: np.concatenate(parts) for kind, parts in kinds.items()} for t, kinds in answers.items()}
    return Outcome(joined, learned, refused)


def table(rows: Labelled, outcomes: Mapping[str, Outcome], target: str) -> None:
    assert rows.moments is not None
    month, truth = rows.moments.dt.month().to_numpy(), rows.targets[target]
    known = np.isfinite(truth)
    print(f"\n{target}, RMSE (coverage %):\n\n| refreshed | {' | '.join(map(str, MONTHS))} | all |")
    print(f"| --- |{' --- |' * (len(MONTHS) + 1)}")
    for name, outcome in outcomes.items():
        said = outcome.answers[target]
        inside = (said["lower"] <= truth) & (truth <= said["upper"])
        cells = [
            f"{np.sqrt(np.mean((said['prediction'] - truth)[part] ** 2)):.3f} ({100 * inside[part].mean():.0f})"
            for part in [*(known & (month == each) for each in MONTHS), known]
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        time_processes(folder)
        config = load_config(WEATHER)
        model, local, references = trained(folder, "first")
        rows = find_new_rows(model, local, config).samples
        print(f"held-out RMSE: {', '.join(f'{target} {value:.3f}' for target, value in references.items())}")
        outcomes = {}
        for label, unit, limits in (
            ("never", "1mo", None),
            ("each month", "1mo", RefreshConfig()),
            ("each day", "1d", RefreshConfig()),
            ("each hour", "1h", RefreshConfig()),
            ("each hour, no limits", "1h", AT_ONCE),
        ):
            local = trained(folder, label)[1]
            start = time.process_time()
            outcomes[label] = half_a_year(local, rows, steps(rows, unit), limits, references, config)
            found = outcomes[label]
            print(f"{label}: {found.learned} learned, {found.refused} refused, {time.process_time() - start:.0f} s CPU")
        for target in references:
            table(rows, outcomes, target)


if __name__ == "__main__":
    main(sys.argv[1:])

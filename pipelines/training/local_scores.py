"""Local models for the targets of a run, and how well they predict rows that they have not seen.

They are fitted to the training rows, and scored on the held-out rows next to what one would do without a map
(`baselines.py`), which learns the same training rows. With a time column the held-out rows are the newest, so this is
what production will ask for. At most `MOST_SCORED` held-out rows of a target are used, evenly spread, and all three
answer the same ones: a ridge for each query has its price. Rows without a value of the target take no part.

Targets that are classes have scores of their own (`class_scores.py`).

Once scored, the models learn the held-out rows too: what is published knows the newest rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.data.samples import Labelled, Samples, evenly
from pipelines.model.local_models import LocalModels, fit_local_models
from pipelines.model.local_plan import learnable, plan_local_models
from pipelines.progress import advance
from pipelines.settings.sections import JITLConfig
from pipelines.training import class_scores
from pipelines.training.analysis import file_stems
from pipelines.training.baselines import neighbor_answers, ridge_answers
from pipelines.training.class_scores import ClassScores
from pipelines.training.fitting import cpu_threads
from somlib import SOM
from somlib.jitl.side_by_side import side_by_side

MOST_SCORED = 5_000
Floats = NDArray[np.float64]


class Errors(NamedTuple):
    """How far answers lie from the truth.

    Attributes:
        rmse: Root of the mean squared error, in the units of the target.
        mae: Mean absolute error, in the units of the target.
        r2: Share of the variance that is explained; NaN where the target does not vary.
    """

    rmse: float
    mae: float
    r2: float

    @classmethod
    def of(cls, answers: Floats, truth: Floats) -> Self:
        """Those of answers (n,) to what is true (n,)."""
        error, spread = answers - truth, np.sum((truth - truth.mean()) ** 2)
        r2 = 1 - float(np.sum(error**2) / spread) if spread > 0 else np.nan
        return cls(float(np.sqrt(np.mean(error**2))), float(np.mean(np.abs(error))), r2)


@dataclass(frozen=True)
class TargetScores:
    """How well one target is predicted.

    Attributes:
        rows: Held-out rows that the scores are of.
        learned: Training rows that all three had learned.
        jitl: Errors of the local model.
        ridge: Of one ridge.
        neighbors: Of a ridge on the nearest rows of each query.
        coverage: Share of the rows whose target lies within the interval.
        width: Mean width of the intervals, in the units of the target.
        fallback: Share of the rows that lie off the map.
    """

    rows: int
    learned: int
    jitl: Errors
    ridge: Errors
    neighbors: Errors
    coverage: float
    width: float
    fallback: float

    def metrics(self) -> dict[str, float]:
        """All of them by name: `rmse`, `rmse_ridge`, `rmse_neighbors`, ..., `coverage`."""
        errors = {"": self.jitl, "_ridge": self.ridge, "_neighbors": self.neighbors}
        by_name = {f"{name}{of}": value for of, e in errors.items() for name, value in e._asdict().items()}
        rest = {"coverage": self.coverage, "width": self.width, "fallback": self.fallback}
        return by_name | rest | {"rows": float(self.rows), "rows_learned": float(self.learned)}


@dataclass(frozen=True)
class LocalResults:
    """What came of local models for the targets of a run.

    Attributes:
        models: They, having learned training and held-out rows; None where no target has one.
        scores: By target; targets without labelled held-out rows are not in it, nor are classes.
        answers: To each of these rows: `sample` (its number in reading order), `time` where there is one, `target` (its
            name), `measured`, `prediction`, `lower`, `upper`, `fallback`, `ridge`, `neighbors`. None where no row was
            scored.
        remarks: What the user should know.
        names: All targets of the run.
        class_scores: Of the targets that are classes, by name.
        class_answers: To each of their rows, as `class_scores.answers_to` gives them; None where none was scored.
    """

    models: LocalModels | None
    scores: Mapping[str, TargetScores]
    answers: pl.DataFrame | None
    remarks: tuple[str, ...]
    names: tuple[str, ...]
    class_scores: Mapping[str, ClassScores] = field(default_factory=dict)
    class_answers: pl.DataFrame | None = None

    @cached_property
    def _stems(self) -> dict[str, str]:
        """The name of each target in metrics and params, as in the names of its files."""
        return dict(zip(self.names, file_stems(self.names), strict=True))

    @property
    def metrics(self) -> dict[str, float]:
        """All scores, as `jitl/TARGET/rmse`."""
        scored: Mapping[str, TargetScores | ClassScores] = {**self.scores, **self.class_scores}
        return {
            f"jitl/{self._stems[target]}/{name}": value
            for target, scores in scored.items()
            for name, value in scores.metrics().items()
        }

    @property
    def params(self) -> dict[str, Any]:
        """What each model chose for itself, as `jitl/TARGET/sigma`."""
        chosen = {} if self.models is None else self.models.chosen
        return {
            f"jitl/{self._stems[target]}/{name}": value
            for target, settings in chosen.items()
            for name, value in settings.items()
        }


def learn_targets(
    som: SOM, samples: Samples, config: JITLConfig, seed: int, threads: int | None = None
) -> LocalResults:
    """Local models on a trained map, scored on the held-out rows, which they then learn too.

    Args:
        som: The map.
        samples: What it was trained on, and what was held out.
        config: How models are made.
        seed: Of what is random in it.
        threads: CPU threads; None takes as many as there are cores. They change no result.

    Raises:
        ConfigError: `jitl.keep_days` with times that are no dates.
        somlib.errors.SomlibError: Map and samples are too large for local models that were asked for.
    """
    rows, names = samples.train, tuple(samples.targets)
    remarks = plan_local_models(rows, som.grid.m, config).reasons
    report, jobs = advance(), threads or -1

    # Boosting on some thousand rows is made of short parallel regions. Where idle threads sleep (see environment.py),
    # waking one for each took ten times as long on two quiet cores as staying on one: 65 s and 6 for the shipped data.
    # So each computes in one thread, and several of them side by side.
    with cpu_threads(1), threadpool_limits(1):
        models = fit_local_models(som, rows, config, seed, jobs, report)
        if models is None:
            return LocalResults(None, {}, None, remarks, names)
        scored = _scored(models, samples, config, jobs)
        models.learn(samples.heldout, config)
    numbers, classes = ([t for t in scored if (t in rows.classes) == wanted] for wanted in (False, True))
    return LocalResults(
        models,
        {target: scores for target, (scores, _) in scored.items() if isinstance(scores, TargetScores)},
        _together([scored[target][1] for target in numbers]),
        remarks,
        names,
        {target: scores for target, (scores, _) in scored.items() if isinstance(scores, ClassScores)},
        _together([scored[target][1] for target in classes]),
    )


def _together(tables: Sequence[pl.DataFrame]) -> pl.DataFrame | None:
    return pl.concat(tables) if tables else None


def _scored(
    models: LocalModels, samples: Samples, config: JITLConfig, jobs: int
) -> dict[str, tuple[TargetScores | ClassScores, pl.DataFrame]]:
    """Scores of each target and its answers, where held-out rows have its value."""

    def scored(target: str) -> tuple[TargetScores | ClassScores, pl.DataFrame]:
        learned = learnable(samples.train, target, config)
        if target in samples.train.classes:
            answers = class_scores.answers_to(models, target, learned, asked[target])
            return class_scores.scores_of(answers, len(learned)), answers
        answers = answers_to(models, target, learned, asked[target])
        return target_scores(answers, len(learned)), answers

    asked = {target: asked_of(samples.heldout, target) for target in models.regressors}
    targets = [target for target, rows in asked.items() if len(rows)]
    return dict(zip(targets, side_by_side(scored, targets, jobs), strict=True))


def asked_of(heldout: Labelled, target: str) -> Labelled:
    """The rows on which the models of a target are scored: at most `MOST_SCORED` with a value, evenly spread."""
    return heldout.take(evenly(heldout.known(target), MOST_SCORED))


def answers_to(models: LocalModels, target: str, learned: Labelled, asked: Labelled) -> pl.DataFrame:
    """What the local model of a target and both baselines say to labelled rows; columns as in `LocalResults`.

    Args:
        models: Local models.
        target: One of theirs.
        learned: What the baselines learn.
        asked: Rows with a value of the target.
    """
    history = (learned.samples, learned.targets[target], asked.samples)
    return said_to(models, target, asked).with_columns(
        pl.Series("ridge", ridge_answers(*history)), pl.Series("neighbors", neighbor_answers(*history))
    )


def said_to(models: LocalModels, target: str, asked: Labelled) -> pl.DataFrame:
    """What the local model of a target says to labelled rows; columns as in `LocalResults`, without the rivals."""
    details = models.details(target, asked.samples)
    times = [] if asked.moments is None else [asked.moments.rename("time")]
    return pl.DataFrame(
        [
            pl.Series("sample", asked.numbers),
            *times,
            pl.Series("target", [target] * len(asked)),
            pl.Series("measured", asked.targets[target]),
            *(pl.Series(name, getattr(details, name)) for name in ("prediction", "lower", "upper", "fallback")),
        ]
    )


def target_scores(answers: pl.DataFrame, learned: int) -> TargetScores:
    """The scores of answers as `answers_to` gives them, by models that have learned `learned` rows."""
    truth = answers["measured"].to_numpy()
    lower, upper = answers["lower"].to_numpy(), answers["upper"].to_numpy()
    jitl, ridge, neighbors = (
        Errors.of(answers[name].to_numpy(), truth) for name in ("prediction", "ridge", "neighbors")
    )
    return TargetScores(
        rows=len(truth),
        learned=learned,
        jitl=jitl,
        ridge=ridge,
        neighbors=neighbors,
        coverage=float(np.mean((lower <= truth) & (truth <= upper))),
        width=float(np.mean(upper - lower)),
        fallback=float(answers["fallback"].cast(pl.Float64).to_numpy().mean()),
    )

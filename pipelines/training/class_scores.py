"""How well local models predict targets that are classes, beside what one would ask without a map.

log loss            mean of -log of the probability that the true class was given; guessing by shares gives their
entropy. A class that a model does not know counts as given 1e-15
balanced accuracy   mean over the true classes of the share of their rows that is named right
calibration error   how far the probability of the named class lies from the share that is right
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.data.classes import names_of
from pipelines.data.samples import Labelled
from pipelines.model.local_models import LocalModels
from pipelines.training.class_baselines import boosted_shares, logistic_shares, neighbor_shares
from somlib.jitl.pool import calibration_error

RIVALS = ("logistic", "neighbors", "boosting")
LEAST = 1e-15
Floats = NDArray[np.float64]


class ClassErrors(NamedTuple):
    """How far answers lie from the truth.

    Attributes:
        log_loss: Mean of -log of the probability of the true class.
        accuracy: Share of rows whose class is named.
        balanced_accuracy: Mean of that share over the true classes.
    """

    log_loss: float
    accuracy: float
    balanced_accuracy: float

    @classmethod
    def of(cls, given: Floats, right: NDArray[np.bool_], measured: NDArray[Any]) -> Self:
        """Those of answers by the probability of the true class (n,), whether it was named, and that class."""
        _, code, counts = np.unique(measured, return_inverse=True, return_counts=True)
        by_class = np.bincount(code, right) / counts
        return cls(float(losses(given).mean()), float(right.mean()), float(by_class.mean()))


@dataclass(frozen=True)
class ClassScores:
    """How well one target is predicted.

    Attributes:
        rows: Held-out rows that the scores are of.
        learned: Training rows that all had learned.
        jitl: Errors of the local model.
        rivals: Of those that one would ask without a map, by the names of `RIVALS`.
        calibration_error: Of the local model.
        fallback: Share of the rows that lie off the map.
    """

    rows: int
    learned: int
    jitl: ClassErrors
    rivals: dict[str, ClassErrors]
    calibration_error: float
    fallback: float

    def metrics(self) -> dict[str, float]:
        """All of them by name: `log_loss`, `log_loss_logistic`, ..., `calibration_error`."""
        errors = {"": self.jitl} | {f"_{name}": found for name, found in self.rivals.items()}
        by_name = {f"{name}{of}": value for of, found in errors.items() for name, value in found._asdict().items()}
        rest = {"calibration_error": self.calibration_error, "fallback": self.fallback}
        return by_name | rest | {"rows": float(self.rows), "rows_learned": float(self.learned)}


def losses(given: Floats) -> Floats:
    """Log losses (n,) by the probability that the true class was given."""
    found: Floats = -np.log(np.maximum(given, LEAST))
    return found


def said_to(models: LocalModels, target: str, asked: Labelled) -> pl.DataFrame:
    """What the local model of a class says to labelled rows.

    Returns:
        `sample` (its number in reading order), `time` where there is one, `target` (its name), `measured` and
        `prediction` (labels as text), `probability` of the latter, `given`, the probability of the former, `fallback`.
    """
    details, truth = models.class_details(target, asked.samples), asked.values(target)
    times = [] if asked.moments is None else [asked.moments.rename("time")]
    classes = models.regressors[target].classes_
    return pl.DataFrame(
        [
            pl.Series("sample", asked.numbers),
            *times,
            pl.Series("target", [target] * len(asked)),
            pl.Series("measured", names_of(truth), pl.String),
            pl.Series("prediction", names_of(details.prediction), pl.String),
            pl.Series("probability", details.probability.max(axis=1)),
            pl.Series("given", given_to(details.probability, classes, truth)),
            pl.Series("fallback", details.fallback),
        ]
    )


def answers_to(models: LocalModels, target: str, learned: Labelled, asked: Labelled) -> pl.DataFrame:
    """The same, with `RIVALS` beside it: `given_logistic` and `right_logistic`, whether the true class was named.

    Args:
        models: Local models.
        target: One of theirs, a class.
        learned: What the rivals learn.
        asked: Rows with a value of the target.
    """
    labels, truth = learned.values(target), asked.values(target)
    classes = np.unique(labels)
    columns = []
    for name, shares in zip(RIVALS, (logistic_shares, neighbor_shares, boosted_shares), strict=True):
        probability = shares(learned.samples, labels, asked.samples)
        columns.append(pl.Series(f"given_{name}", given_to(probability, classes, truth)))
        columns.append(pl.Series(f"right_{name}", classes[probability.argmax(axis=1)] == truth))
    return said_to(models, target, asked).with_columns(columns)


def given_to(probability: Floats, classes: NDArray[Any], truth: NDArray[Any]) -> Floats:
    """The probability (n, c) that each true label (n,) was given; 0 for one that is none of the classes (c,)."""
    place = np.minimum(np.searchsorted(classes, truth), len(classes) - 1)
    known = classes[place] == truth
    given: Floats = np.where(known, probability[np.arange(len(truth)), place], 0.0)
    return given


def scores_of(answers: pl.DataFrame, learned: int) -> ClassScores:
    """The scores of answers as `answers_to` gives them, by models that have learned `learned` rows."""
    measured = answers["measured"].to_numpy()
    right = (answers["measured"] == answers["prediction"]).to_numpy()
    probability = answers["probability"].to_numpy()
    return ClassScores(
        rows=len(answers),
        learned=learned,
        jitl=ClassErrors.of(answers["given"].to_numpy(), right, measured),
        rivals={
            name: ClassErrors.of(answers[f"given_{name}"].to_numpy(), answers[f"right_{name}"].to_numpy(), measured)
            for name in RIVALS
        },
        calibration_error=calibrated(probability, right),
        fallback=float(answers["fallback"].cast(pl.Float64).to_numpy().mean()),
    )


def calibrated(probability: Floats, right: NDArray[np.bool_]) -> float:
    """The calibration error of named classes by their probability (n,) and whether they are right (n,)."""
    # As if there were two classes, of which the named one is always the first and likelier one.
    return calibration_error(np.column_stack((probability, np.full(len(probability), -1.0))), (~right).astype(np.int64))


def confusion(answers: pl.DataFrame) -> pl.DataFrame:
    """Rows by true and named class: `measured`, `prediction`, `rows`, ascending, none for pairs that do not occur."""
    return answers.group_by("measured", "prediction").agg(rows=pl.len()).sort("measured", "prediction")

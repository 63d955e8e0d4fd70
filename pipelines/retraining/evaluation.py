"""Champion and challenger measured on the same rows, which neither knows, and in the same units.

    qe              distance of each row to the neuron that its map chooses for it
    te              share of rows whose two nearest neurons are no neighbors, on each map
    jitl/T/rmse     squared errors of the local models of target T at each row
    jitl/T/coverage share of rows whose target lies within its interval
    jitl/T/log_loss of a target that is a class: -log of the probability of the true class at each row

Each map chooses neurons in the units that it was trained in, as it does when it serves. The distance to them is then
measured in those of the champion: in the features as its scaler scales them, by its metric. A challenger cannot win by
a scaler that makes its errors look small.

Local models are asked as they were before they knew the rows. Those of a challenger are scored before they learn them
(`local_scores.py`). Those of a champion are asked as they serve, where they have not learned as far as the first of
these rows; a champion that has, since `som refresh` or its own training taught it, has models fitted anew on its map to
the rows that the challenger has learned.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.data import Dataset
from pipelines.data.columns import NumberColumn
from pipelines.data.encoding import Encoding
from pipelines.data.samples import Labelled, Samples, labelled, samples_of
from pipelines.data.scaling import Scaler
from pipelines.errors import ModelError
from pipelines.model.local_models import LocalModels, fit_local_models
from pipelines.model.map_model import MapModel
from pipelines.retraining.decision import WITHOUT_TARGETS, Record, default_rules, matching
from pipelines.settings.config import PipelineConfig
from pipelines.settings.promotion import PromotionConfig, PromotionRule
from pipelines.training import class_scores
from pipelines.training.analysis import file_stems
from pipelines.training.fitting import cpu_threads, in_units_of
from pipelines.training.local_scores import asked_of, said_to
from pipelines.wording import some
from somlib import SOM
from somlib.utils.winners import exact_distances

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Candidate:
    """A map, and what its local models say to the held-out rows, which they do not know.

    Attributes:
        som: The map.
        scaler: How its samples are scaled.
        answers: Columns `sample`, `target`, `measured`, `prediction`, `lower`, `upper`; None without local models.
        remark: How the answers came about, where that is worth a sentence.
        class_answers: Columns `sample`, `target`, `given` of targets that are classes, see `class_scores.said_to`; None
            without any.
    """

    som: SOM
    scaler: Scaler
    answers: pl.DataFrame | None = None
    remark: str = ""
    class_answers: pl.DataFrame | None = None


def require_comparable(champion: MapModel, config: PipelineConfig, dataset: Dataset) -> None:
    """Refuse a champion that cannot be asked about the rows that a challenger is evaluated on.

    Raises:
        ModelError: It has other features, or takes no missing values where there are some.
    """
    before, now = set(champion.scaler.numbers), set(dataset.feature_names)
    obstacles = [f"has {some(sorted(before - now))} as features, which data.features lacks"] if before - now else []
    obstacles += [f"lacks {some(sorted(now - before))}, which data.features has"] if now - before else []
    other = _of_other_kind(champion, dataset)
    obstacles += [f"takes {some(other)} for something else than data.columns says"] if other else []
    if champion.som.missing == "error" and np.isnan(dataset.features).any():
        obstacles.append("takes no missing values, which the rows have")
    if obstacles:
        raise ModelError(
            f"the champion {' and '.join(obstacles)}, so that no challenger can be compared with it: replace it by "
            "hand with som train and som promote"
        )


def _of_other_kind(champion: MapModel, dataset: Dataset) -> list[str]:
    """Columns that the champion and the dataset both have, as something else."""
    theirs = champion.scaler.encoding or Encoding(tuple(NumberColumn(name=name) for name in champion.scaler.features))
    ours = dataset.columns or tuple(NumberColumn(name=name) for name in dataset.feature_names)
    return Encoding(ours).differences(theirs)


def champion_candidate(champion: MapModel, dataset: Dataset, samples: Samples, config: PipelineConfig) -> Candidate:
    """The champion, with what local models on its map say to the held-out rows.

    Args:
        champion: What serves.
        dataset: The rows of the window.
        samples: Training and held-out rows.
        config: How local models are made where those of the champion know the rows already.
    """
    train, heldout = (labelled(dataset, champion.scaler, part.numbers) for part in (samples.train, samples.heldout))
    with cpu_threads(config.runtime.threads), threadpool_limits(config.runtime.threads):
        models, remark = _unknowing(champion, train, heldout, config)
        answers, class_answers = (None, None) if models is None else _said(models, heldout)
        return Candidate(champion.som, champion.scaler, answers, remark, class_answers)


def _unknowing(
    champion: MapModel, train: Labelled, heldout: Labelled, config: PipelineConfig
) -> tuple[LocalModels | None, str]:
    """Local models on the champion's map that know no held-out row, and how they came about."""
    serving = champion.local
    if not config.predicts:
        return None, ""
    if serving is not None and _answers_all(serving, heldout) and _knows_none(serving, heldout):
        return serving, ""
    fitted = fit_local_models(champion.som, train, config.jitl, config.som.random_seed)
    why = "has none for every target" if serving is None else "may know held-out rows"
    return fitted, f"the champion {why}: local models fitted anew on its map, to the training rows, answer for it"


def _answers_all(models: LocalModels, heldout: Labelled) -> bool:
    """Whether there is a model of each target, of classes where it is one."""
    return set(heldout.targets) <= set(models.regressors) and set(models.classes) & set(heldout.targets) == set(
        heldout.classes
    )


def _knows_none(models: LocalModels, heldout: Labelled) -> bool:
    """Whether all that the models have learned is older than the rows."""
    known = [datetime.fromisoformat(each) for each in models.watermarks.values() if each is not None]
    if heldout.moments is None or not heldout.moments.dtype.is_temporal() or len(known) < len(models.regressors):
        return False
    return max(known) < EPOCH + timedelta(microseconds=int(heldout.moments.dt.epoch("us").to_numpy().min()))


def _said(models: LocalModels, heldout: Labelled) -> tuple[pl.DataFrame | None, pl.DataFrame | None]:
    """What models say to held-out rows: of targets that are numbers, and of those that are classes."""
    asked = {target: asked_of(heldout, target) for target in heldout.targets if target in models.regressors}
    asked = {target: rows for target, rows in asked.items() if len(rows)}
    numbers = [said_to(models, target, rows) for target, rows in asked.items() if target not in heldout.classes]
    classes = [
        class_scores.said_to(models, target, rows) for target, rows in asked.items() if target in heldout.classes
    ]
    return pl.concat(numbers) if numbers else None, pl.concat(classes) if classes else None


# ---------------------------------------------------------------- measuring


def evaluate(candidate: Candidate, reference: Candidate, dataset: Dataset, heldout: Labelled) -> Record:
    """How well a candidate does on the held-out rows.

    Args:
        candidate: Who.
        reference: Whose units and metric distances are measured in: the champion, or where there is none the candidate.
        dataset: The rows of the window.
        heldout: Those held out.
    """
    rows = heldout.numbers[heldout.by_time()]
    samples = _samples(candidate.scaler, dataset, rows).to(candidate.som.device)
    answers = dict(_of_answers(candidate.answers, list(heldout.targets), rows))
    losses = dict(_of_classes(candidate.class_answers, list(heldout.targets), rows))
    return Record(
        metrics={
            "te": candidate.som.topographic_error(samples),
            **{f"jitl/{stem}/coverage": coverage for stem, (_, coverage) in answers.items()},
        },
        rows={
            "qe": _distances(candidate, reference, dataset, rows, samples),
            **{f"jitl/{stem}/rmse": errors for stem, (errors, _) in answers.items()},
            **{f"jitl/{stem}/log_loss": found for stem, found in losses.items()},
        },
    )


def _samples(scaler: Scaler, dataset: Dataset, rows: NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(samples_of(dataset, scaler, rows))


def _distances(
    candidate: Candidate, reference: Candidate, dataset: Dataset, rows: NDArray[np.int64], samples: torch.Tensor
) -> NDArray[np.float64]:
    """Of rows to the neurons that the candidate chooses, in the reference's units; NaN where it chooses none."""
    index = candidate.som.winners(samples).index
    common = in_units_of(reference.scaler, candidate.som, candidate.scaler).codebook
    values = _samples(reference.scaler, dataset, rows).to(common)
    return np.asarray(exact_distances(values, common, index, reference.som.metric)[:, 0].double().cpu().numpy())


def _of_answers(
    answers: pl.DataFrame | None, targets: Sequence[str], rows: NDArray[np.int64]
) -> Iterator[tuple[str, tuple[NDArray[np.float64], float]]]:
    """Squared errors at each row, NaN where none was asked, and coverage, by the name of the target in metrics."""
    for stem, said in _by_target(answers, targets):
        truth, lower, upper = (said[name].to_numpy() for name in ("measured", "lower", "upper"))
        errors = (said["prediction"].to_numpy() - truth) ** 2
        yield stem, (_at_rows(errors, said, rows), float(np.mean((lower <= truth) & (truth <= upper))))


def _of_classes(
    answers: pl.DataFrame | None, targets: Sequence[str], rows: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Log losses at each row, NaN where none was asked, by the name of the target in metrics."""
    for stem, said in _by_target(answers, targets):
        yield stem, _at_rows(class_scores.losses(said["given"].to_numpy()), said, rows)


def _by_target(answers: pl.DataFrame | None, targets: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """The answers of each target that has some, by its name in metrics."""
    if answers is None:
        return
    for target, stem in zip(targets, file_stems(targets), strict=True):
        said = answers.filter(target=target)
        if len(said):
            yield stem, said


def _at_rows(values: NDArray[np.float64], said: pl.DataFrame, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of answers at the rows that these are of, NaN at the others, shape (n,)."""
    found = np.full(len(rows), np.nan)
    found[_places(rows)[said["sample"].to_numpy()]] = values
    return found


def _places(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each row number among `rows`."""
    place = np.empty(int(rows.max()) + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    return place


# ---------------------------------------------------------------- choosing


def better(records: Sequence[Record], rules: PromotionConfig) -> int:
    """Which of several challengers goes on: the first one that none beats by the metric that a promotion asks first.

    Where that metric is one of several targets, their gains are averaged.
    """
    chosen = 0
    for other in range(1, len(records)):
        if _gain(records[chosen], records[other], rules) > 0:
            chosen = other
    return chosen


def _gain(first: Record, second: Record, rules: PromotionConfig) -> float:
    """By how much the second is better, as a share of the first; NaN where they cannot be compared."""
    rule = _first_rule(rules, first)
    names = [name for name in matching(rule.metric, first.values) if name in second.values]
    sign = 1.0 if rule.better == "lower" else -1.0
    gains = [sign * (first.values[name] - second.values[name]) / abs(first.values[name] or 1.0) for name in names]
    return math.fsum(gains) / len(gains) if gains else math.nan


def _first_rule(rules: PromotionConfig, record: Record) -> PromotionRule:
    return (default_rules(record.values) if rules.rules is None else rules.rules or WITHOUT_TARGETS)[0]

"""Where rows fall on a map, in the form that drift is measured by (`profile.py`)."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from pipelines.data import Dataset
from pipelines.data.classes import names_of
from pipelines.data.samples import Labelled, Samples, labelled
from pipelines.data.scaling import Scaler
from pipelines.errors import DatasetError
from pipelines.model.local_models import LocalModels
from pipelines.model.map_model import MapModel
from pipelines.model.profile import AssignedRows, Profile
from pipelines.model.profiling import training_profile
from pipelines.training.analysis import Analysis
from pipelines.training.local_scores import LocalResults
from somlib import SOM

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


def profile_training(
    som: SOM, dataset: Dataset, samples: Samples, local: LocalResults | None, analysis: Analysis | None = None
) -> Profile | None:
    """What has to be kept with a model to recognize drift later; None, with a warning, where rows are too few for it.

    Args:
        som: The trained map.
        dataset: The rows, in the units of the data.
        samples: What the map was trained and measured on.
        local: Local models with their answers to held-out rows; None without any.
        analysis: Where its training rows fall; None searches for it.
    """
    answers = {} if local is None else _answers(local, samples.heldout)
    train, heldout = samples.train, samples.heldout
    try:
        return training_profile(
            som.grid,
            _assigned(som, dataset, samples.scaler, train, {})
            if analysis is None
            else _in_time(dataset, samples.scaler, train, analysis.winner, analysis.distance, {}),
            _assigned(som, dataset, samples.scaler, heldout, answers) if heldout else None,
            None if samples.scaler.encoding is None else samples.scaler.encoding.codes,
            _names(local),
        )
    except DatasetError as error:
        logger.warning("drift from this model will not be recognized: %s", error)
        return None


def assigned_rows(model: MapModel, dataset: Dataset, rows: NDArray[np.int64]) -> AssignedRows:
    """Where rows of a dataset fall on the map of a model, and what its local models say to them.

    Targets of whose predictions the profile of the model knows nothing are left out: there is nothing to compare.

    Args:
        model: A published model.
        dataset: With the features of the model, in any order.
        rows: Numbers of the rows.
    """
    asked = labelled(dataset, model.scaler, rows)
    classes = {} if model.profile is None else model.profile.classes
    answers = {} if model.local is None else _predictions(model.local, asked.samples, classes)
    if model.profile is not None:
        answers = {target: said for target, said in answers.items() if target in model.profile.predictions}
    return _assigned(model.som, dataset, model.scaler, asked, answers)


def _assigned(
    som: SOM, dataset: Dataset, scaler: Scaler, rows: Labelled, predictions: Mapping[str, Floats]
) -> AssignedRows:
    """Rows with their places, in the order of time."""
    found = som.winners(torch.from_numpy(rows.samples).to(som.device), distances=True)
    winner, distance = found.index[:, 0].cpu().numpy(), found.distance[:, 0].double().cpu().numpy()
    return _in_time(dataset, scaler, rows, winner, distance, predictions)


def _in_time(  # six: what is known of the rows comes from two places
    dataset: Dataset,
    scaler: Scaler,
    rows: Labelled,
    winner: NDArray[np.int64],
    distance: Floats,
    predictions: Mapping[str, Floats],
) -> AssignedRows:
    """Rows with their places (n,) as they were found, in the order of time."""
    order = rows.by_time()
    values = scaler.numbers_of(
        dataset.with_features(scaler.numbers).features, rows.numbers[order] // dataset.step, dataset.levels
    )
    return AssignedRows(
        features={name: values[:, i] for i, name in enumerate(scaler.numbers)},
        winner=winner[order],
        distance=distance[order],
        predictions={target: answers[order] for target, answers in predictions.items()},
    )


def _predictions(
    models: LocalModels, samples: NDArray[np.float32], classes: Mapping[str, tuple[str, ...]]
) -> dict[str, Floats]:
    """By target, NaN for samples without any value; of a class its place among the names, if these are known."""
    empty = np.isnan(samples).all(axis=1)
    said = {}
    for target in models.regressors:
        if target not in models.classes:
            said[target] = np.where(empty, np.nan, models.details(target, samples).prediction)
        elif target in classes:
            named = names_of(models.class_details(target, samples).prediction)
            said[target] = np.where(empty, np.nan, _places(named, classes[target]))
    return said


def _places(labels: Sequence[str], names: Sequence[str]) -> Floats:
    """Places of labels among the names of classes; one beyond the last for others."""
    place = {name: float(i) for i, name in enumerate(names)}
    return np.array([place.get(label, float(len(names))) for label in labels], dtype=np.float64)


def _names(local: LocalResults | None) -> dict[str, tuple[str, ...]]:
    """Of each target that is a class and has a model, the names of the classes."""
    models = None if local is None else local.models
    return {} if models is None else {target: each.names for target, each in models.classes.items()}


def _answers(local: LocalResults, heldout: Labelled) -> dict[str, Floats]:
    """What local models said to held-out rows before they learned them, by target; NaN at rows they were not asked."""
    names, columns = _names(local), {}
    for target in (*local.scores, *local.class_scores):
        table = local.class_answers if target in names else local.answers
        said = pl.DataFrame() if table is None else table.filter(target=target)
        found = said["prediction"]
        columns[target] = np.full(len(heldout), np.nan)
        columns[target][np.searchsorted(heldout.numbers, said["sample"].to_numpy())] = (
            _places(found.to_list(), names[target]) if target in names else found.to_numpy()
        )
    return columns

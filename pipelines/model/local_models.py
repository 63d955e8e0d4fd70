"""Local models on a map, which predict its targets just in time: one for each target.

That of a number is a `JITLRegressor`, that of a class a `JITLClassifier`, which knows the labels themselves.

They see what the map sees, scaled samples, and live on the map that was trained: none is trained for them. A target
that many rows lack has a model of its own rows, so targets do not share one.

    local.json       the targets, and the time up to which each model has learned
    0/, 1/, ...      the model of each target, as it saves itself: safetensors and JSON

Each model learns from labelled rows, and forgets by the rules of `JITLConfig`: it keeps the newest `max_rows`, those of
the last `keep_days`, and of each neuron the newest `per_neuron`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines.data.classes import Classes, classes_of
from pipelines.data.samples import Labelled, evenly
from pipelines.errors import ModelError
from pipelines.model.local_plan import learnable, plan_local_models, require_dates
from pipelines.settings.sections import JITLConfig
from somlib import SOM
from somlib.errors import SavedMapError
from somlib.jitl import JITLClassification, JITLClassifier, JITLPrediction, JITLRegressor, SampleIndex
from somlib.jitl.base import OnStep
from somlib.jitl.side_by_side import side_by_side
from somlib.utils.cores import cores

CONTENTS = "local.json"
MICROSECONDS_A_DAY = 86_400e6
ANSWERS = {"prediction": "double", "lower": "double", "upper": "double", "n_samples": "double", "fallback": "boolean"}
LABEL_TYPES = {"text": "string", "integer": "long", "boolean": "boolean"}
LocalModel = JITLRegressor | JITLClassifier


@dataclass(frozen=True)
class LocalModels:
    """The models of some targets on one map. Learning changes them in place.

    Attributes:
        regressors: By target, at least one.
    """

    regressors: Mapping[str, LocalModel]

    @property
    def outputs(self) -> dict[str, str]:
        """Name and type of each column of `answer`."""
        return {
            self._column(kind, target): type_
            for target, model in self.regressors.items()
            for kind, type_ in answers_of(model).items()
        }

    @property
    def classes(self) -> dict[str, Classes]:
        """The classes of each target that is one."""
        return {
            target: classes_of(model.classes_)
            for target, model in self.regressors.items()
            if isinstance(model, JITLClassifier)
        }

    @property
    def watermarks(self) -> dict[str, str | None]:
        """The newest time that the model of each target has learned, ISO 8601 in UTC; None where times are no dates."""
        return {target: _newest(regressor.index_) for target, regressor in self.regressors.items()}

    @property
    def watermark(self) -> str | None:
        """The time up to which all models have learned: the earliest of `watermarks`; None where times are no dates."""
        known = [watermark for watermark in self.watermarks.values() if watermark is not None]
        return min(known) if len(known) == len(self.regressors) else None

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """What the model of each target chose for itself, by name, and the weights of its experts."""
        return {target: self._chosen(regressor) for target, regressor in self.regressors.items()}

    def answer(self, samples: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """What the models say to scaled samples (n, d), by column.

        For each target `prediction`, the ends `lower` and `upper` of its interval, `n_samples`, how many samples the
        answer rests on, and `fallback`, whether the sample lies off the map, where a global model answers. Of a class
        `prediction` is the label, and instead of an interval there is its `probability`, and `probability=LABEL` of
        each. The names end in `_TARGET` where there are several (`probability_TARGET=LABEL`): each has learned other
        rows. To a sample without any value there is no answer: NaN or None, 0 and True. Intervals are wider where
        values are missing.
        """
        empty = np.asarray(np.isnan(samples).all(axis=1))
        columns: dict[str, NDArray[Any]] = {}
        for target, model in self.regressors.items():
            said = _said(model, samples)
            for kind in answers_of(model):
                columns[self._column(kind, target)] = _without(said[kind], empty, _nothing(kind))
        return columns

    def details(self, target: str, samples: NDArray[np.float32]) -> JITLPrediction:
        """All that the model of a target that is a number says to scaled samples (n, d)."""
        model = self.regressors[target]
        if isinstance(model, JITLClassifier):
            raise TypeError(f"{target} is a class")
        return model.predict(samples, return_details=True)

    def class_details(self, target: str, samples: NDArray[np.float32]) -> JITLClassification:
        """All that the model of a target that is a class says to scaled samples (n, d)."""
        model = self.regressors[target]
        if isinstance(model, JITLRegressor):
            raise TypeError(f"{target} is a number")
        return model.predict(samples, return_details=True)

    def learn(self, rows: Labelled, config: JITLConfig) -> dict[str, int]:
        """Learn new rows, those of each target that have its value, then forget by the rules of `config`.

        The models answer the rows before they learn them, and their intervals adapt to these errors: an interval never
        rests on an answer to a row that its model knew. Of more rows than a model may hold it learns those that
        `learnable` says; without times there are no newest ones, and it learns as many as there is room for.

        Returns:
            How many rows the model of each target has learned.

        Raises:
            ArgumentError: Times of another kind than those before; nothing has changed then.
        """
        counts = {}
        for target, regressor in self.regressors.items():
            known = rows.take(rows.known(target))
            if rows.moments is None:
                room = max(config.max_rows - len(regressor.index_), 0)
                known = known.take(evenly(np.arange(len(known)), room))
            elif len(known) > config.max_rows:
                known = learnable(rows, target, config)
            if len(known):
                regressor.update(known.samples, known.values(target), known.moments, refit=False)
                _forget(regressor, config)
            counts[target] = len(known)
        return counts

    def refit(self) -> dict[str, str]:
        """Fit models anew where that is due: settings, boosting and the scale of intervals, which `learn` leaves.

        Returns:
            Why it was due, by target of the models that were fitted.
        """
        due = {target: model.refit_reason for target, model in self.regressors.items() if model.refit_reason}
        with threadpool_limits(1):  # regions of boosting are short: waking threads takes longer
            for target in due:
                self.regressors[target].refit()
        return due

    def require_map(self, som: SOM) -> None:
        """Refuse models that do not live on a map.

        Raises:
            ModelError: One has another map; with its size.
        """
        for target, regressor in self.regressors.items():
            if not torch.equal(regressor.som_.codebook.cpu(), som.codebook.cpu()):
                own = regressor.som_
                raise ModelError(
                    f"the model must have local models on the map of {som.grid.m} neurons and {som.num_features} "
                    f"features, got {target} on {own.grid.m} and {own.num_features}: not the map it was published with"
                )

    @staticmethod
    def _chosen(regressor: LocalModel) -> dict[str, Any]:
        nothing = np.zeros((1, regressor.n_features_in_), dtype=np.float32)
        experts = regressor.predict(nothing, return_details=True).experts
        weights = {f"weight_{name}": round(weight, 4) for name, weight in experts.items()}
        return {name: value for name, value in regressor.settings_.items() if name != "n_neighbors"} | weights

    def _column(self, kind: str, target: str) -> str:
        name, equals, label = kind.partition("=")
        return kind if len(self.regressors) == 1 else f"{name}_{target}{equals}{label}"

    # ---------------------------------------------------------------- saving

    def save(self, folder: Path) -> None:
        """Write the models into a new folder."""
        folder.mkdir()
        for number, regressor in enumerate(self.regressors.values()):
            regressor.save(folder / str(number))
        contents: dict[str, Any] = {"watermark": self.watermark, "targets": self.watermarks}
        if self.classes:
            contents["classes"] = list(self.classes)
        (folder / CONTENTS).write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The models in a folder, whose files are those that were written.

        Raises:
            ModelError: A model cannot be read.
        """
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        classes = contents.get("classes", [])  # written before there were any: numbers
        try:
            return cls(
                {
                    target: (JITLClassifier if target in classes else JITLRegressor).load(folder / str(i))
                    for i, target in enumerate(contents["targets"])
                }
            )
        except SavedMapError as error:
            raise ModelError(f"the local models in {folder} cannot be read: {error}") from error


def fit_local_models(
    som: SOM, rows: Labelled, config: JITLConfig, seed: int, jobs: int = 1, on_step: OnStep | None = None
) -> LocalModels | None:
    """Models of the targets that get one by `plan_local_models`, None where no target does.

    Args:
        som: The trained map.
        rows: To learn from, scaled like those the map was trained on.
        config: How.
        seed: Of what is random in choosing settings and in boosting.
        jobs: Threads that work side by side, at the targets first; -1 takes as many as there are cores.
        on_step: Called after each step of any model; from any thread.

    Raises:
        ConfigError: `keep_days` with times that are no dates.
    """
    require_dates(config, None if rows.moments is None else rows.moments.dtype)
    planned = plan_local_models(rows, som.grid.m, config)
    targets = list(planned.rows)
    jobs = cores() if jobs == -1 else jobs
    each = max(1, jobs // max(len(targets), 1))

    def fitted(target: str) -> LocalModel:
        known = learnable(rows, target, config)
        common: dict[str, Any] = {
            "som": som, "experts": config.experts, "missing": som.missing, "random_state": seed, "n_jobs": each
        }  # fmt: skip
        is_class = target in rows.classes
        regressor = JITLClassifier(**common) if is_class else JITLRegressor(coverage=config.coverage, **common)
        regressor.fit(known.samples, known.values(target), known.moments, on_step=steps_of[target])
        _forget(regressor, config)
        return regressor

    steps_of = dict(zip(targets, shared_steps(on_step, targets), strict=True))
    regressors = dict(zip(targets, side_by_side(fitted, targets, jobs), strict=True))
    return LocalModels(regressors) if regressors else None


def shared_steps(on_step: OnStep | None, targets: Sequence[str]) -> Iterator[OnStep]:
    """For each target what its model calls after a step, so that `on_step` hears of the steps of all together."""
    done = dict.fromkeys(targets, 0)

    def step_of(target: str) -> OnStep:
        def step(number: int, of: int, name: str) -> None:
            done[target] = number
            if on_step is not None:
                on_step(sum(done.values()), of * len(targets), f"{name} of {target}")

        return step

    return (step_of(target) for target in targets)


def _forget(regressor: LocalModel, config: JITLConfig) -> None:
    """Apply the rules by which rows are forgotten."""
    index = regressor.index_
    time = index.time.numpy()
    oldest = -np.inf
    if len(index) > config.max_rows:
        oldest = np.partition(time, len(index) - config.max_rows)[len(index) - config.max_rows]
    if config.keep_days is not None:
        oldest = max(oldest, time.max() - config.keep_days * MICROSECONDS_A_DAY)
    if time.min() < oldest or config.per_neuron is not None:
        before = None if oldest == -np.inf else _moment(oldest) if index.clock == "dates" else oldest
        regressor.forget(before=before, per_neuron=config.per_neuron)


def _moment(microseconds: float) -> np.datetime64:
    return np.datetime64(int(microseconds), "us")


def _newest(index: SampleIndex) -> str | None:
    if index.clock != "dates":
        return None
    return f"{np.datetime_as_string(_moment(float(index.time.max())))}+00:00"


def answers_of(model: LocalModel) -> dict[str, str]:
    """Name and type of each answer of a model to one target."""
    if isinstance(model, JITLRegressor):
        return ANSWERS
    classes = classes_of(model.classes_)
    probabilities = {f"probability={name}": "double" for name in classes.names}
    rest = {kind: ANSWERS[kind] for kind in ("n_samples", "fallback")}
    return {"prediction": LABEL_TYPES[classes.kind], "probability": "double", **probabilities, **rest}


def _said(model: LocalModel, samples: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What a model says to samples (n, d), by the names of `answers_of`."""
    if isinstance(model, JITLRegressor):
        details = model.predict(samples, return_details=True)
        return {kind: getattr(details, kind) for kind in ANSWERS}
    found = model.predict(samples, return_details=True)
    names = classes_of(model.classes_).names
    probabilities = {f"probability={name}": found.probability[:, i] for i, name in enumerate(names)}
    prediction = found.prediction.astype(object) if found.prediction.dtype.kind == "U" else found.prediction
    rest = {"n_samples": found.n_samples, "fallback": found.fallback}
    return {"prediction": prediction, "probability": found.probability.max(axis=1), **probabilities, **rest}


def _without(values: NDArray[Any], empty: NDArray[np.bool_], nothing: float | bool) -> NDArray[Any]:
    """Values (n,), with nothing said where there is nothing to rest on: None for a label."""
    if not empty.any():
        return values
    if values.dtype.kind == "f" or nothing is True:
        return np.where(empty, nothing, values)
    labels = values.astype(object)
    labels[empty] = None
    return labels


def _nothing(kind: str) -> float | bool:
    """What is said to a sample without any value."""
    return True if kind == "fallback" else 0.0 if kind == "n_samples" else np.nan

"""What the just-in-time regressor and classifier share: the map, the samples it holds, and the local models on it.

The map is trained once, on the inputs of `fit`. After that, `update` and `forget` change what local models know within
milliseconds: sums over a neuron's samples grow or shrink, and the small systems of all neurons are solved again.
"""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from somlib.core import SOM
from somlib.core.persistence import SavedMap, read_map, write_map
from somlib.errors import ArgumentError, DataError, SavedMapError, ShapeError, unknown_name
from somlib.jitl import query_models
from somlib.jitl.blend import Boosted
from somlib.jitl.gaps import Hidden, hidden_samples, ridge_answers_to
from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import GaussianNeighborhood, Neighborhood, RetrievedNeighborhood
from somlib.jitl.placing import Placed, Placing, Standardizer
from somlib.jitl.ridge import Shrinkage
from somlib.jitl.row_store import RowStore
from somlib.jitl.sample_index import Keep, SampleIndex
from somlib.jitl.validation import (
    LEVELS,
    OVERALL,
    RIDGES,
    SIGMAS,
    Candidate,
    LeftOut,
    Split,
    best,
    best_candidate,
    forward_splits,
    global_answers,
    random_splits,
    subset,
)
from somlib.utils.estimator_inputs import checked, own_errors
from somlib.utils.heuristics import map_size
from somlib.utils.retrieval import RETRIEVAL_MODES

logger = logging.getLogger(__name__)

LOCAL_MODELS = ("ridge", "query_ridge", "mean", "pls", "gpr")
NEIGHBORHOODS = ("gaussian", *RETRIEVAL_MODES)
FEWEST_NEURONS, MOST_NEURONS, ROWS_PER_NEURON = 16, 900, 10
NEIGHBORS = (25, 80, 250)
JUDGED_ONE_BY_ONE, JUDGED_BATCHED = 500, 2_000  # left-out rows that per-query models answer in `fit`, at most
NEVER_CUT = 1e100  # deviations: their squares still are floats
LEAST_SIGMA = 1e-3  # cell widths: the square of much less is no float
MOST_MOMENTS = 2**28  # numbers in the moments of all neurons: 2 GB


@dataclass(frozen=True, kw_only=True)
class Account:
    """What answers rest on, for n queries.

    Attributes:
        n_samples: Samples behind each local answer, weighted by the neighborhood, shape (n,); 0 where only the global
            model spoke.
        fallback: Whether a query lies off the map, so that its answer fades to the global model's, bool, shape (n,).
        trust: Share of the local answer, 1 on the map, falling to 0 off it, shape (n,).
        row: Row of the nearest neuron, -1 for none, int64, shape (n,).
        col: Its column.
        quantization_error: Distance to it, in the units of the map; NaN for none, shape (n,).
        neuron: Flat indices of the neurons that answered, int64, shape (n, k), -1 for none.
        share: What part each had, shape (n, k).
        experts: Weight of each expert in the answers, by name; they sum to 1.
    """

    n_samples: FloatArray
    fallback: NDArray[np.bool_]
    trust: FloatArray
    row: IntArray
    col: IntArray
    quantization_error: FloatArray
    neuron: IntArray
    share: FloatArray
    experts: dict[str, float]


@dataclass(kw_only=True, eq=False, repr=False)
class JITLEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Local models on a map; base of regressor and classifier, with the parameters that both take.

    Args:
        som: A trained map in the units of the samples. None trains one on standardized inputs, with a neuron for every
            ten rows, 16 to 900.
        x: Rows of the map that is trained; None together with `y` chooses.
        y: Columns.
        neighborhood: Whose samples a neuron's model is fitted to: `"gaussian"` (all, by grid distance), a retrieval
            mode (`"bmu_only"`, `"bmu_neighborhood"`, `"bmu_neighborhood_knn"`), or `"auto"`, chosen by errors on
            samples left out among gaussians of several radii and the last of the modes.
        sigma: Radius of the gaussian in cell widths; None chooses.
        ridge: Strength lambda that draws slopes to the global model, whose own is always chosen; None chooses.
        level: Samples' worth l0 of the global model's level; None chooses.
        shrink: `"global"` as above; `"nothing"` for plain ridges, whose slopes shrink to 0 and whose level is the mean.
        n_neurons: How many of the nearest neurons answer together.
        local_model: `"ridge"` is ready for each neuron. The others are fitted for each query, to the samples nearest
            to it: `"query_ridge"`, `"mean"`, `"pls"`, `"gpr"`, or a scikit-learn regressor.
        n_neighbors: Most samples of a query's buffer; None chooses for `"query_ridge"`, and takes 80 for the others.
        half_life: Age at which a sample of a query's buffer weighs half, in units of the timestamps (seconds for
            dates); None for no weight by age.
        neighborhood_order: Hops of the neighborhood of retrieval modes.
        min_buffer_threshold: Samples below which the fallback of `"bmu_neighborhood_knn"` adds neurons.
        clip: Standard deviations from the mean at which inputs are cut, above 0; None for never.
        missing: `"error"` refuses NaN, `"mask"` takes it as not observed.
        random_state: Seed of everything random: random folds, where there are no timestamps, and the map.
    """

    som: SOM | None = None
    x: int | None = None
    y: int | None = None
    neighborhood: str = "auto"
    sigma: float | None = None
    ridge: float | None = None
    level: float | None = None
    shrink: str = "global"
    n_neurons: int = 3
    local_model: Any = "ridge"
    n_neighbors: int | None = None
    half_life: float | None = None
    neighborhood_order: int = 1
    min_buffer_threshold: int = 50
    clip: float | None = 5.0
    missing: str = "error"
    random_state: int = 42

    # ---------------------------------------------------------------- learning

    def _fit(self, X: NDArray[Any], target: FloatArray, timestamps: Any) -> None:
        """Learn from checked samples (n, d) and targets (n, o)."""
        self._require_parameters()
        standardizer = Standardizer.of(X, self._limit)
        som = self._map(X, standardizer)
        self._require_room(som.grid.m, X.shape[1] + target.shape[1] + 1)
        placing = Placing(som, standardizer, self.som is None, self.n_neurons)
        index = SampleIndex(som)
        index.order = self.neighborhood_order
        time, clock = index.read_times(timestamps, len(X))
        placed = placing.place(X)
        if not (placed.winner >= 0).any():
            raise DataError(f"X must have a row with a nearest neuron, got {len(X)} rows with nothing observed")
        placing.learn_reach(placed.distance[:, 0])
        placed = placing.place(X)

        targets = Standardizer.of(target)
        rows = np.hstack((placed.inputs, targets.apply(target)))
        self._begin(placing, targets, index)
        index.append_placed(placed.point, torch.from_numpy(placed.winner), time, clock)
        splits = random_splits(len(X), self._seed()) if timestamps is None else forward_splits(time.numpy())
        left_out = self._choose(placed, rows, splits, time.numpy())
        hidden = hidden_samples(X, placing, splits, self._seed()) if self._needs_hidden else None
        to_hidden = None if hidden is None else self._answers_to(hidden, placed, rows, splits, time.numpy())
        self._store = RowStore(torch.empty((0, rows.shape[1]), dtype=torch.float64))
        self._store.append(torch.from_numpy(rows))
        self._ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        self._ridge.add(rows, placed.winner)
        self._ridge.solve(rows[:, -target.shape[1] :])
        left_out, to_hidden = self._fit_experts(placed, rows, splits, left_out, hidden, to_hidden)
        self._finish_fit(placed, rows, left_out, hidden, to_hidden)

    @property
    def _needs_hidden(self) -> bool:
        """Whether answers to samples with hidden values are to be learned from."""
        return False

    def _fit_experts(
        self, placed: Placed, rows: FloatArray, splits: list[Split], left_out: LeftOut, hidden: Hidden | None,
        to_hidden: FloatArray | None,
    ) -> tuple[LeftOut, FloatArray | None]:  # fmt: skip
        """What else answers beside the local models, if anything; the left-out answers of all together.

        Also those to samples with hidden values, shape (t, o), where there are any.
        """
        del placed, rows, splits, hidden
        return left_out, to_hidden

    def _finish_fit(
        self, placed: Placed, rows: FloatArray, left_out: LeftOut, hidden: Hidden | None, to_hidden: FloatArray | None
    ) -> None:
        """What is to be learned from the left-out answers."""

    def _answers_to(
        self, hidden: Hidden, placed: Placed, rows: FloatArray, splits: list[Split], time: FloatArray
    ) -> FloatArray:
        """Left-out answers (t, o) of the local models to samples with hidden values."""
        if self.local_model == "ridge":
            neighborhood, shrinkage = self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_)
            candidate = Candidate(self.settings_["neighborhood"], neighborhood, shrinkage)
            winner, m = placed.winner, self.som_.grid.m
            return ridge_answers_to(hidden, candidate, rows, splits, winner, m, self._outputs)
        answer = np.full((len(hidden), self._outputs), np.nan)
        most = JUDGED_BATCHED if self.local_model in ("query_ridge", "mean") else JUDGED_ONE_BY_ONE
        for number, split in enumerate(splits):
            chosen, _ = hidden.of(number)
            chosen = chosen[: math.ceil(most / len(splits))]
            if len(chosen):
                history = self._history(placed, rows, split, time)
                answer[chosen] = self._query_answers(subset(hidden.placed, chosen), *history)
        return answer

    def _update(self, X: NDArray[Any], target: FloatArray, timestamps: Any, judge: bool) -> None:
        """Learn from new checked samples (n, d) and targets (n, o); judge the answers to them first, where wanted."""
        time, clock = self.index_.read_times(timestamps, len(X))
        placed = self._placing.place(X)
        rows = np.hstack((placed.inputs, self._targets.apply(target)))
        boosted = self._boosted(placed)
        if judge:
            self._judge(placed, self._answer(placed, boosted), rows[:, -self._outputs :], time.numpy())
        self._learn(placed, rows, boosted)
        self.index_.append_placed(placed.point, torch.from_numpy(placed.winner), time, clock)
        self._store.append(torch.from_numpy(rows))
        self._solve()

    def _judge(self, placed: Placed, answer: FloatArray, target: FloatArray, time: NDArray[Any]) -> None:
        """What is to be learned from the errors of answers to samples whose labels came after."""

    def forget(self, before: Any = None, per_neuron: int | None = None, keep: Keep = "newest") -> Self:
        """Forget samples: first all older than `before`, then what a neuron has beyond `per_neuron`.

        The model is then the one that the remaining samples alone make, on the same map with the same settings.

        Args:
            before: A time on the clock of the timestamps (without any, a number by arrival); samples at it stay.
            per_neuron: The most that a neuron may hold, at least 1.
            keep: Which of a neuron's samples stay, the `"newest"` or the `"nearest"` to it.

        Raises:
            ArgumentError: No sample would be left, or an argument is not allowed; nothing has changed then.
        """
        check_is_fitted(self)
        kept = self.index_.within(before, per_neuron, keep)
        if not bool(kept.any()):
            raise ArgumentError(f"before must leave at least one of the {len(kept)} samples, got {before!r}")
        chosen = kept.numpy()
        self._unlearn(chosen)
        self.index_.retain(kept)
        self._store.retain(kept)
        self._solve()
        return self

    def _learn(self, placed: Placed, rows: FloatArray, boosted: Boosted) -> None:
        del boosted
        self._ridge.add(rows, placed.winner)

    def _unlearn(self, kept: NDArray[np.bool_]) -> None:
        self._ridge.remove(self._rows, self.index_.winner.numpy(), kept)

    def _solve(self) -> None:
        """Fit all models anew to what they have learned."""
        self._ridge.solve(self._rows[:, -self._outputs :])

    # ---------------------------------------------------------------- answering

    def _account(self, placed: Placed) -> dict[str, Any]:
        """The fields of `Account` for answers to placed queries."""
        nowhere, columns = placed.winner < 0, self.som_.grid.y
        return {
            "n_samples": self._samples_behind(placed),
            "fallback": placed.trust < 1,
            "trust": placed.trust,
            "row": np.where(nowhere, -1, placed.winner // columns),
            "col": np.where(nowhere, -1, placed.winner % columns),
            "quantization_error": placed.distance[:, 0],
            "neuron": placed.neuron,
            "share": placed.share,
            "experts": self._expert_weights(),
        }

    def _expert_weights(self) -> dict[str, float]:
        """Weight of each expert, by name."""
        return {self.local_model if isinstance(self.local_model, str) else type(self.local_model).__name__: 1.0}

    def _boosted(self, placed: Placed) -> Boosted:
        """What boosting says to placed samples: needed to answer them, and to learn from its errors."""
        del placed
        return {}

    def _answer(self, placed: Placed, boosted: Boosted) -> FloatArray:
        """Standardized answers (n, o) to placed queries."""
        del boosted
        if self.local_model == "ridge":
            return self._ridge.answer(placed)
        return self._query_answers(placed, self._ridge, self.index_, self._rows)

    def _query_answers(self, placed: Placed, ridge: LocalRidge, index: SampleIndex, rows: FloatArray) -> FloatArray:
        """Answers of the model that is fitted for each query, faded and bounded like those of neurons."""
        buffers = query_models.buffers_for(placed, index, self._query_settings)
        if self.local_model == "query_ridge":
            shrinkage = self._shrinkage_of(self.settings_)
            local = query_models.ridge_answers(placed, buffers, rows, ridge.overall, shrinkage)
        elif self.local_model == "mean":
            local = query_models.mean_answers(placed, buffers, rows, ridge.overall)
        else:
            named = isinstance(self.local_model, str)
            model = query_models.named_model(self.local_model, ridge.d) if named else self.local_model
            local = query_models.estimator_answers(model, placed, buffers, rows, ridge.overall)
        overall = placed.inputs @ ridge.overall
        return np.clip(overall + placed.trust[:, None] * (local - overall), *ridge.bounds)

    def _samples_behind(self, placed: Placed) -> FloatArray:
        """Samples behind each answer, shape (n,)."""
        if self.local_model == "ridge":
            support = np.append(self._ridge.support, 0.0)[placed.neuron]
            behind: FloatArray = (placed.share * support).sum(axis=1)
            return behind
        buffers = query_models.buffers_for(placed, self.index_, self._query_settings)
        return buffers.offset.diff().numpy().astype(np.float64)

    def samples_behind(self, x: Any) -> tuple[IntArray, FloatArray]:
        """Which samples an answer rests on, and with what weight.

        Args:
            x: One sample, shape (d,).

        Returns:
            Numbers of the samples by arrival (see `SampleIndex`), int64, and their weights, both shape (s,), heaviest
            first; samples of weight below a thousandth of the heaviest are left out. The global model, which every
            local one is drawn to, rests on all samples besides.
        """
        X = self._one(x)[None]
        placed = self._placing.place(X)
        if self.local_model == "ridge":
            weight = self._weights_of_samples(placed)
            position = np.flatnonzero(weight > 0)
        else:
            buffers = query_models.buffers_for(placed, self.index_, self._query_settings)
            weight = np.zeros(len(self.index_))
            position = buffers.sample.numpy()
            weight[position] = buffers.weight.numpy()
        position = position[weight[position] >= 1e-3 * weight.max(initial=0.0)]
        position = position[np.argsort(-weight[position], kind="stable")]
        return self.index_.number.numpy()[position], weight[position]

    def _one(self, x: Any) -> NDArray[Any]:
        """One sample as checked values (d,)."""
        check_is_fitted(self)
        with own_errors():
            shape = np.shape(x)
        if shape != (self.n_features_in_,):
            raise ShapeError(f"x must have shape ({self.n_features_in_},), got {shape}")
        sample: NDArray[Any] = self._checked(np.asarray(x)[None])[0]
        return sample

    def _weights_of_samples(self, placed: Placed) -> FloatArray:
        """Weight of every sample in the answer to one placed query, shape (n,)."""
        count = self._ridge.moments.count
        by_neuron = np.zeros(len(count) + 1)
        for neuron, share in zip(placed.neuron[0], placed.share[0], strict=True):
            if neuron >= 0:
                by_neuron[:-1] += share * self._ridge.neighborhood.weights(int(neuron), count)
        weight: FloatArray = by_neuron[self.index_.winner.numpy()]
        return weight

    @property
    def _rows(self) -> FloatArray:
        """Rows w = (1, x, y) of the samples held, standardized, shape (n, 1 + d + o); a view."""
        return self._store.rows.numpy()

    # ---------------------------------------------------------------- settings

    def _begin(self, placing: Placing, targets: Standardizer, index: SampleIndex) -> None:
        self._placing, self._targets, self.index_ = placing, targets, index
        self.som_ = placing.som
        self._outputs = len(targets.center)

    def _new_ridge(self, neighborhood: Neighborhood, shrinkage: Shrinkage) -> LocalRidge:
        return LocalRidge(self.som_.grid.m, self.som_.codebook.shape[1], self._outputs, neighborhood, shrinkage)

    def _choose(self, placed: Placed, rows: FloatArray, splits: list[Split], time: FloatArray) -> LeftOut:
        """Set `settings_` to the best by the samples left out; their answers with these settings."""
        overall = OVERALL[0]
        if splits and self.shrink == "global":
            globals_ = global_answers(OVERALL, placed, rows, splits, self._outputs)
            overall = OVERALL[best(globals_, rows[:, -self._outputs :])]
        candidates = self._candidates(overall)
        if not splits:
            self.settings_ = {**candidates[0][0], "n_neighbors": self.n_neighbors or NEIGHBORS[1]}
            return LeftOut(np.empty(0, dtype=np.int64), np.empty((0, self._outputs)))
        chosen, left_out = best_candidate(
            [c for _, c in candidates], placed, rows, splits, self.som_.grid.m, self._outputs
        )
        self.settings_ = {**candidates[chosen][0], "n_neighbors": self.n_neighbors or NEIGHBORS[1]}
        if self.local_model == "ridge":
            return left_out
        return self._choose_for_queries(placed, rows, splits, time)

    def _choose_for_queries(self, placed: Placed, rows: FloatArray, splits: list[Split], time: FloatArray) -> LeftOut:
        """The same for the model that is fitted for each query, with part of the samples left out."""
        options = [self.settings_]
        if self.local_model == "query_ridge":
            ridges = RIDGES if self.ridge is None else (self.ridge,)
            levels = LEVELS if self.level is None and self.shrink == "global" else (self.level or 0.0,)
            sizes = NEIGHBORS if self.n_neighbors is None else (self.n_neighbors,)
            options = [
                {**self.settings_, "ridge": float(ridge), "level": float(level), "n_neighbors": size}
                for ridge, level, size in product(ridges, levels, sizes)
            ]
        cap = JUDGED_BATCHED if self.local_model in ("query_ridge", "mean") else JUDGED_ONE_BY_ONE
        found: list[list[FloatArray]] = [[] for _ in options]
        position = []
        for split in splits:
            asked = split.answer[:: max(1, math.ceil(len(split.answer) * len(splits) / cap))]
            position.append(asked)
            history = self._history(placed, rows, split, time)
            for answers, settings in zip(found, options, strict=True):
                self.settings_ = settings
                answers.append(self._query_answers(subset(placed, asked), *history))
        every = [LeftOut(np.concatenate(position), np.concatenate(answers)) for answers in found]
        chosen = best(every, rows[:, -self._outputs :])
        self.settings_ = options[chosen]
        return every[chosen]

    def _history(
        self, placed: Placed, rows: FloatArray, split: Split, time: FloatArray
    ) -> tuple[LocalRidge, SampleIndex, FloatArray]:
        """What a model of the samples to learn from would hold."""
        known, rows = subset(placed, split.learn), rows[split.learn]
        index = SampleIndex(self.som_)
        index.order = self.neighborhood_order
        time_of_known = torch.from_numpy(time[split.learn])
        index.append_placed(known.point, torch.from_numpy(known.winner), time_of_known, self.index_.clock)
        ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        ridge.add(rows, known.winner)
        ridge.solve(rows[:, -self._outputs :])
        return ridge, index, rows

    def _candidates(self, overall: float) -> list[tuple[dict[str, Any], Candidate]]:
        """Settings to choose from, with what they stand for; those that are given are kept."""
        ridges = RIDGES if self.ridge is None else (self.ridge,)
        levels = LEVELS if self.level is None and self.shrink == "global" else (self.level or 0.0,)
        candidates = []
        for name, sigma in self._neighborhoods():
            neighborhood = self._neighborhood_of({"neighborhood": name, "sigma": sigma})
            for ridge, level in product(ridges, levels):
                strengths = {"ridge": float(ridge), "level": float(level), "overall": overall}
                settings = {"neighborhood": name, "sigma": sigma, **strengths}
                candidates.append((settings, Candidate(name, neighborhood, self._shrinkage_of(settings))))
        return candidates

    def _neighborhoods(self) -> list[tuple[str, float | None]]:
        gaussians: list[tuple[str, float | None]] = [
            ("gaussian", float(s)) for s in (SIGMAS if self.sigma is None else (self.sigma,))
        ]
        if self.neighborhood == "auto":
            return [("bmu_neighborhood_knn", None), *gaussians]
        return gaussians if self.neighborhood == "gaussian" else [(self.neighborhood, None)]

    def _neighborhood_of(self, settings: dict[str, Any]) -> Neighborhood:
        grid = self.som_.grid
        if settings["neighborhood"] == "gaussian":
            return GaussianNeighborhood(grid, settings["sigma"])
        codebook = self.som_.codebook.cpu()
        return RetrievedNeighborhood(
            codebook, grid, self.som_.metric, settings["neighborhood"], self.neighborhood_order,
            self.min_buffer_threshold,
        )  # fmt: skip

    def _shrinkage_of(self, settings: dict[str, Any]) -> Shrinkage:
        return Shrinkage(
            settings["ridge"],
            settings["level"],
            self.shrink,  # type: ignore[arg-type]  # checked in fit
            settings["overall"],
        )

    @property
    def _limit(self) -> float:
        return NEVER_CUT if self.clip is None else float(self.clip)

    @property
    def _query_settings(self) -> query_models.QuerySettings:
        mode = self.neighborhood if self.neighborhood in RETRIEVAL_MODES else "bmu_neighborhood_knn"
        neighbors = self.settings_["n_neighbors"]
        return query_models.QuerySettings(mode, self.min_buffer_threshold, neighbors, self.half_life)

    # ---------------------------------------------------------------- the map

    def _map(self, X: NDArray[Any], standardizer: Standardizer) -> SOM:
        if self.som is not None:
            if self.som.codebook.shape[1] != X.shape[1]:
                raise ShapeError(f"X must have the {self.som.codebook.shape[1]} features of som, got {X.shape[1]}")
            return copy.deepcopy(self.som)  # trained further, it would no longer fit the samples held
        data = torch.from_numpy(standardizer.clipped(X)).float()
        rows, columns = self._size(data)
        som = SOM(
            rows, columns, X.shape[1], epochs=20, algorithm="batch", initialization_mode="pca", device="cpu",
            missing=self.missing, neighborhood_order=self.neighborhood_order, random_seed=self._seed(),
        )  # fmt: skip
        som.fit(data, verbose=False)
        names = getattr(self, "feature_names_in_", None)
        som.feature_names = None if names is None else names.tolist()
        return som

    def _size(self, data: torch.Tensor) -> tuple[int, int]:
        if (self.x is None) != (self.y is None):
            raise ArgumentError(f"x and y must be given together or both left open, got x={self.x}, y={self.y}")
        if self.x is not None and self.y is not None:
            return self.x, self.y
        n = len(data)
        wanted = min(max(n // ROWS_PER_NEURON, FEWEST_NEURONS), MOST_NEURONS, n)
        # Proportions by the leading axes of the data.
        rows, columns = map_size(data.nan_to_num(nan=0.0))
        factor = math.sqrt(wanted / (rows * columns))
        longer = max(1, min(round(rows * factor), wanted))
        return longer, max(1, wanted // longer)

    # ---------------------------------------------------------------- saving

    def save(self, path: str | Path) -> None:
        """Save model, map and samples into the folder `path`: `weights.safetensors`, `config.json`, no other file.

        Raises:
            SavedMapError: `path` is a file, or holds something other than a saved map; or `local_model` is an object,
                which could only be pickled: use one of the names.
        """
        check_is_fitted(self)
        write_map(path, self._saved())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The model saved in the folder `path`; it answers, and learns, exactly like the one that was saved.

        Raises:
            SavedMapError: Missing, damaged, or a model of another class.
        """
        saved = read_map(path)
        if saved.kind != cls.__name__:
            raise SavedMapError(f"path must hold a {cls.__name__}, got a {saved.kind}: use {saved.kind}.load")
        try:
            model = cls(**saved.config)
            model._restore(saved.state, saved.tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise SavedMapError(f"the saved model must be whole and fit this machine, got {error!r}") from error
        return model

    def _saved(self) -> SavedMap:
        settings = {name: value for name, value in self.get_params(deep=False).items() if name != "som"}
        if not isinstance(self.local_model, str):
            raise SavedMapError(
                f"local_model must be a name to be saved, got {self.local_model!r}: it would be pickled"
            )
        som = self.som_._saved()
        tensors = {f"map.{name}": tensor for name, tensor in som.tensors.items()}
        map_state = {"config": som.config, "state": som.state, "given": self.som is not None}
        return SavedMap(type(self).__name__, settings, {**self._state(), "map": map_state}, tensors | self._tensors())

    def _state(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {
            "settings": self.settings_,
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else names.tolist(),
            "reach": self._placing.reach,
            "clock": self.index_.clock,
            "arrived": self.index_.arrived,
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        """What `_restore` needs beside the map, by name."""
        arrays = {
            "inputs.center": self._placing.standardizer.center,
            "inputs.scale": self._placing.standardizer.scale,
            "targets.center": self._targets.center,
            "targets.scale": self._targets.scale,
            "moments": self._ridge.moments.sums,
            "moments.peak": self._ridge.moments.peak,
            "rows": self._rows,
        }
        index = self.index_
        held = {"index.samples": index.samples, "index.time": index.time, "index.number": index.number}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return tensors | held | {"index.winner": index.winner}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Become the model that `_state` and `_tensors` describe."""
        of_map = {name.removeprefix("map."): t for name, t in tensors.items() if name.startswith("map.")}
        som = SOM._from_saved(SavedMap("SOM", state["map"]["config"], state["map"]["state"], of_map), None)
        if state["map"]["given"]:
            self.som = som
        arrays = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith("map.")}
        self.n_features_in_, self.settings_ = state["n_features_in"], state["settings"]
        if state["feature_names_in"] is not None:
            self.feature_names_in_ = np.array(state["feature_names_in"], dtype=object)
        standardizer = Standardizer(arrays["inputs.center"], arrays["inputs.scale"], self._limit)
        placing = Placing(som, standardizer, self.som is None, self.n_neurons, state["reach"])
        self._begin(placing, Standardizer(arrays["targets.center"], arrays["targets.scale"]), SampleIndex(som))
        self.index_.order = self.neighborhood_order
        self.index_.restore(
            tensors["index.samples"], tensors["index.winner"], tensors["index.time"], tensors["index.number"],
            state["clock"], state["arrived"],
        )  # fmt: skip
        self._store = RowStore(torch.empty((0, tensors["rows"].shape[1]), dtype=torch.float64))
        self._store.append(tensors["rows"])
        self._ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        self._ridge.moments.sums, self._ridge.moments.peak = arrays["moments"], arrays["moments.peak"]
        self._solve()

    # ---------------------------------------------------------------- checks

    def _require_parameters(self) -> None:
        choices: Sequence[tuple[str, Any, Sequence[str]]] = (
            ("neighborhood", self.neighborhood, ("auto", *NEIGHBORHOODS)),
            ("shrink", self.shrink, ("global", "nothing")),
            ("missing", self.missing, ("error", "mask")),
        )
        for name, value, known in choices:
            if value not in known:
                raise unknown_name(name, value, known)
        if isinstance(self.local_model, str) and self.local_model not in LOCAL_MODELS:
            raise unknown_name("local_model", self.local_model, LOCAL_MODELS)
        if not isinstance(self.local_model, str):
            query_models.require_regressor(self.local_model)
        if self.som is not None and not isinstance(self.som, SOM):
            raise ArgumentError(f"som must be a trained somlib.SOM or None, got {type(self.som).__name__}")
        if self.som is not None and self.missing == "mask" and self.som.missing != "mask":
            raise ArgumentError("som must have missing='mask' when missing is 'mask', got one with 'error'")
        self._require_numbers()

    def _require_numbers(self) -> None:
        for name, low in (("n_neurons", 1), ("n_neighbors", 1), ("neighborhood_order", 1), ("min_buffer_threshold", 0)):
            value = getattr(self, name)
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not (value is None and name == "n_neighbors") and not (whole and value >= low):
                raise ArgumentError(f"{name} must be a whole number of at least {low}, got {value!r}")
        for name, least in (("sigma", LEAST_SIGMA), ("ridge", 0.0), ("half_life", 0.0), ("clip", 0.0)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < math.inf):
                raise ArgumentError(f"{name} must be finite and > 0, got {value!r}")
            if value is not None and float(value) < least:
                raise ArgumentError(f"{name} must be at least {least}, got {value!r}: less lets no neighbor take part")
        if self.level is not None and not (isinstance(self.level, Real) and 0 <= self.level < math.inf):
            raise ArgumentError(f"level must be finite and >= 0, got {self.level!r}")

    def _require_room(self, m: int, q: int) -> None:
        if m * q * q > MOST_MOMENTS:
            raise ArgumentError(
                f"x and y must leave room for {q} x {q} moments a neuron, got {m} neurons: "
                f"use a map of at most {MOST_MOMENTS // q**2}, or fewer features"
            )

    def _seed(self) -> int:
        if not isinstance(self.random_state, Integral) or not 0 <= int(self.random_state) < 2**32:
            raise ArgumentError(f"random_state must be a whole number from 0 to 2^32 - 1, got {self.random_state!r}")
        return int(self.random_state)

    def _checked(self, X: Any, y: Any = "no_validation", fresh: bool = False, **checks: Any) -> Any:
        """Samples as an array (n, d), with targets where given; refused unless they are like those of `fit`."""
        if not fresh:
            check_is_fitted(self)
        return checked(self, X, y, fresh=fresh, missing=self.missing, squares=False, **checks)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags

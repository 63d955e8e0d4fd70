"""What the just-in-time regressor and classifier share: the map, the samples it holds, and the local models on it.

The map is trained once, on the inputs of `fit`. After that, `update` and `forget` change what local models know within
milliseconds: sums over a neuron's samples grow or shrink, and the small systems of all neurons are solved again.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter as time_now
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from somlib.core import SOM
from somlib.core.persistence import SavedMap, read_map, write_map
from somlib.errors import ArgumentError, DataError, SavedMapError, ShapeError, warn
from somlib.jitl.assignment import Assigner, Assignment, Standardizer
from somlib.jitl.blend import Boosted
from somlib.jitl.choosing import ChosenSettings
from somlib.jitl.gaps import Hidden, hidden_samples
from somlib.jitl.growth import Growth
from somlib.jitl.moments import FloatArray
from somlib.jitl.row_store import RowStore
from somlib.jitl.sample_index import Keep, SampleIndex
from somlib.jitl.validation import LeftOut, Split, forward_splits, random_splits
from somlib.utils.heuristics import map_size

logger = logging.getLogger(__name__)

OnStep = Callable[[int, int, str], None]  # steps done, steps in all, the name of the last one done

FEWEST_NEURONS, MOST_NEURONS, ROWS_PER_NEURON = 16, 900, 10
MOST_MOMENTS = 2**28  # numbers in the moments of all neurons: 2 GB


class JITLEstimator(ChosenSettings):
    """Local models on a map; base of regressor and classifier. Parameters are those of `JITLParameters`."""

    # ---------------------------------------------------------------- learning

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Stay the model of before where a fit fails."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:  # broad: an interruption, too, must not leave half a fit
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _fit(self, X: NDArray[Any], target: FloatArray, timestamps: Any, on_step: OnStep | None = None) -> None:
        """Learn from checked samples (n, d) and targets (n, o)."""
        self._require_parameters()
        self._keep_settings()
        standardizer = Standardizer.of(X, self._used._limit)
        X = standardizer.heard(X)
        self._told = np.zeros(X.shape[1], dtype=bool)
        som = self._map(X, standardizer)
        self._require_room(som.grid.m, X.shape[1] + target.shape[1] + 1)
        assigner = Assigner(som, standardizer, self._used.som is None, self._used.n_neurons)
        index = SampleIndex(som)
        index.order = self._used.neighborhood_order
        time, clock = index.read_times(timestamps, len(X))
        assigned = assigner.assign(X)
        if not (assigned.winner >= 0).any():
            raise DataError(f"X must have a row with a nearest neuron, got {len(X)} rows with nothing observed")
        index.append_assigned(assigned.point, torch.from_numpy(assigned.winner), time, clock)
        self._fit_models(X, target, assigner, index, assigned, on_step)

    def refit(self, *, on_step: OnStep | None = None) -> Self:
        """Choose settings and fit all models anew to the samples held; the map and its units stay.

        What `update` cannot reach is learned again too: settings, boosting, the weights of experts, the distances that
        are normal on the map, and the intervals.

        Args:
            on_step: As in `fit`.
        """
        check_is_fitted(self)
        target = self._targets.undo(self._rows[:, -self._outputs :])
        with self._all_or_nothing():
            held, before = self.index_, self._assigner
            X = held.samples.numpy()
            if before.own_units:
                X = before.standardizer.undo(X)
            assigner = Assigner(before.som, before.standardizer, before.own_units, self._used.n_neurons)
            self._fit_models(X, target, assigner, held, assigner.assign(X), on_step)
        return self

    def _fit_models(
        self, X: NDArray[Any], target: FloatArray, assigner: Assigner, index: SampleIndex, assigned: Assignment,
        on_step: OnStep | None,
    ) -> None:  # fmt: skip
        """Fit all that is not the map to samples (n, d), which `assigner` has placed and `index` holds."""
        assigner.learn_reach(assigned.distance[:, 0])
        assigned = replace(assigned, trust=assigner.trust_at(assigned.distance[:, 0]))  # without a second search

        targets = Standardizer.of(target)
        rows = np.hstack((assigned.inputs, targets.apply(target)))
        self._begin(assigner, targets, index)
        time = index.time.numpy()
        splits = random_splits(len(X), self._used._seed()) if index.clock == "rows" else forward_splits(time)
        left_out = self._choose(assigned, rows, splits, time)
        hidden = hidden_samples(X, assigner, splits, self._used._seed()) if self._needs_hidden else None
        to_hidden = None if hidden is None else self._answers_to(hidden, assigned, rows, splits, time)
        self._store = RowStore(torch.empty((0, rows.shape[1]), dtype=torch.float64))
        self._store.append(torch.from_numpy(rows))
        self._ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        self._ridge.add(rows, assigned.winner)
        self._ridge.solve(rows[:, -target.shape[1] :])
        left_out, to_hidden = self._fit_experts(assigned, rows, splits, left_out, hidden, to_hidden, on_step)
        self._finish_fit(assigned, rows, left_out, hidden, to_hidden)
        self._growth = Growth(len(rows), self._usual_loss(left_out, rows) if len(left_out.position) else None)

    def _usual_loss(self, left_out: LeftOut, rows: FloatArray) -> float:
        """Mean loss of the left-out answers, as the errors of later ones are measured."""
        return left_out.loss(rows[:, -self._outputs :])

    @property
    def _needs_hidden(self) -> bool:
        """Whether answers to samples with hidden values are to be learned from."""
        return False

    def _fit_experts(
        self, assigned: Assignment, rows: FloatArray, splits: list[Split], left_out: LeftOut, hidden: Hidden | None,
        to_hidden: FloatArray | None, on_step: OnStep | None,
    ) -> tuple[LeftOut, FloatArray | None]:  # fmt: skip
        """What else answers beside the local models, if anything; the left-out answers of all together.

        Also those to samples with hidden values, shape (t, o), where there are any.
        """
        del assigned, rows, splits, hidden, on_step
        return left_out, to_hidden

    def _finish_fit(
        self,
        assigned: Assignment,
        rows: FloatArray,
        left_out: LeftOut,
        hidden: Hidden | None,
        to_hidden: FloatArray | None,
    ) -> None:
        """What is to be learned from the left-out answers."""

    @property
    def refit_reason(self) -> str:
        """Why `refit` is due, in words: many new rows, or errors that have grown; empty where it is not."""
        check_is_fitted(self)
        return self._growth.reason

    def _update(self, X: NDArray[Any], target: FloatArray, timestamps: Any, score: bool, refit: bool | None) -> None:
        """Learn from new samples (n, d) and targets (n, o); with `score`, record the errors of answers first."""
        time, clock = self.index_.read_times(timestamps, len(X))
        self._tell_of_silent(X)
        assigned = self._assigner.assign(X)
        rows = np.hstack((assigned.inputs, self._targets.apply(target)))
        boosted = self._boosted(assigned)
        if score:
            self._record_errors(assigned, self._answer(assigned, boosted), rows[:, -self._outputs :], time.numpy())
        self._learn(assigned, rows, boosted)
        self.index_.append_assigned(assigned.point, torch.from_numpy(assigned.winner), time, clock)
        self._store.append(torch.from_numpy(rows))
        self._solve()
        self._growth.learn(len(rows))
        reason = self._growth.reason if refit is None else "asked for" if refit else ""
        if reason:
            start = time_now()
            self.refit()
            logger.info("fitted anew to %s rows in %.1f s: %s", f"{len(self.index_):,}", time_now() - start, reason)

    def _tell_of_silent(self, X: NDArray[Any]) -> None:
        """Warn, once for each, of features that vary in X (n, d) and did not in `fit`."""
        new = self._assigner.standardizer.unheard(X) & ~self._told
        if not new.any():
            return
        self._told |= new
        names = getattr(self, "feature_names_in_", [f"number {i}" for i in range(len(new))])
        listed = ", ".join(repr(str(name)) for name, fresh in zip(names, new, strict=True) if fresh)
        warn(
            f"X has values of {listed} where fit had none, or the same throughout: they have no influence; "
            "fit again to use them", stacklevel=5,
        )  # fmt: skip

    def _record_errors(self, assigned: Assignment, answer: FloatArray, target: FloatArray, time: NDArray[Any]) -> None:
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
        self.index_.keep_only(kept)
        self._store.keep_only(kept)
        self._solve()
        return self

    def _learn(self, assigned: Assignment, rows: FloatArray, boosted: Boosted) -> None:
        del boosted
        self._ridge.add(rows, assigned.winner)

    def _unlearn(self, kept: NDArray[np.bool_]) -> None:
        self._ridge.remove(self._rows, self.index_.winner.numpy(), kept)

    def _solve(self) -> None:
        """Fit all models anew to what they have learned."""
        self._ridge.solve(self._rows[:, -self._outputs :])

    # ---------------------------------------------------------------- the map

    def _map(self, X: NDArray[Any], standardizer: Standardizer) -> SOM:
        used, given = self._used, self._used.som
        if given is not None:
            if given.codebook.shape[1] != X.shape[1]:
                raise ShapeError(f"X must have the {given.codebook.shape[1]} features of som, got {X.shape[1]}")
            return copy.deepcopy(given)  # trained further, it would no longer fit the samples held
        data = torch.from_numpy(standardizer.clipped(X)).float()
        rows, columns = self._size(data)
        som = SOM(
            rows, columns, X.shape[1], epochs=20, algorithm="batch", initialization_mode="pca", device="cpu",
            missing=used.missing, neighborhood_order=used.neighborhood_order, random_seed=used._seed(),
        )  # fmt: skip
        som.fit(data, verbose=False)
        names = getattr(self, "feature_names_in_", None)
        som.feature_names = None if names is None else names.tolist()
        return som

    def _size(self, data: torch.Tensor) -> tuple[int, int]:
        x, y = self._used.x, self._used.y
        if (x is None) != (y is None):
            raise ArgumentError(f"x and y must be given together or both left open, got x={x}, y={y}")
        if x is not None and y is not None:
            return x, y
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
        # Without the number of threads, so that the same model is the same files on every machine.
        settings = {k: v for k, v in self._used.get_params(deep=False).items() if k not in ("som", "n_jobs")}
        if not isinstance(self._used.local_model, str):
            raise SavedMapError(
                f"local_model must be a name to be saved, got {self._used.local_model!r}: it would be pickled"
            )
        som = self.som_._saved()
        tensors = {f"map.{name}": tensor for name, tensor in som.tensors.items()}
        map_state = {"config": som.config, "state": som.state, "given": self._used.som is not None}
        return SavedMap(type(self).__name__, settings, {**self._state(), "map": map_state}, tensors | self._tensors())

    def _state(self) -> dict[str, Any]:
        names = getattr(self, "feature_names_in_", None)
        return {
            "settings": self.settings_,
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else names.tolist(),
            "reach": self._assigner.reach,
            "clock": self.index_.clock,
            "arrived": self.index_.arrived,
            "growth": asdict(self._growth),
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        """What `_restore` needs beside the map, by name."""
        arrays = {
            "inputs.center": self._assigner.standardizer.center,
            "inputs.scale": self._assigner.standardizer.scale,
            "targets.center": self._targets.center,
            "targets.scale": self._targets.scale,
            "moments": self._ridge.moments.sums,
            "moments.peak": self._ridge.moments.peak,
            "rows": self._rows,
        }
        index = self.index_
        held = {"index.samples": index.samples, "index.time": index.time, "index.number": index.number}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        variety = self._assigner.standardizer.variety
        if variety is not None:
            held["inputs.variety"] = torch.from_numpy(variety)
        return tensors | held | {"index.winner": index.winner}

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Become the model that `_state` and `_tensors` describe."""
        of_map = {name.removeprefix("map."): t for name, t in tensors.items() if name.startswith("map.")}
        som = SOM._from_saved(SavedMap("SOM", state["map"]["config"], state["map"]["state"], of_map), None)
        if state["map"]["given"]:
            self.som = som
        self._keep_settings()
        arrays = {name: tensor.numpy() for name, tensor in tensors.items() if not name.startswith("map.")}
        self.n_features_in_, self.settings_ = state["n_features_in"], state["settings"]
        if state["feature_names_in"] is not None:
            self.feature_names_in_ = np.array(state["feature_names_in"], dtype=object)
        variety = arrays.get("inputs.variety")  # models saved before it was known heard every feature
        standardizer = Standardizer(arrays["inputs.center"], arrays["inputs.scale"], self._used._limit, variety)
        self._told = np.zeros(len(standardizer.center), dtype=bool)
        assigner = Assigner(som, standardizer, self._used.som is None, self._used.n_neurons, state["reach"])
        self._begin(assigner, Standardizer(arrays["targets.center"], arrays["targets.scale"]), SampleIndex(som))
        self.index_.order = self._used.neighborhood_order
        self.index_.restore(
            tensors["index.samples"], tensors["index.winner"], tensors["index.time"], tensors["index.number"],
            state["clock"], state["arrived"],
        )  # fmt: skip
        self._store = RowStore(torch.empty((0, tensors["rows"].shape[1]), dtype=torch.float64))
        self._store.append(tensors["rows"])
        self._ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        self._ridge.moments.sums, self._ridge.moments.peak = arrays["moments"], arrays["moments.peak"]
        # Models saved before it was counted begin to count now.
        self._growth = Growth(**state.get("growth", {"fitted": len(self.index_), "usual": None}))
        self._solve()

    def _require_room(self, m: int, q: int) -> None:
        if m * q * q > MOST_MOMENTS:
            raise ArgumentError(
                f"x and y must leave room for {q} x {q} moments a neuron, got {m} neurons: "
                f"use a map of at most {MOST_MOMENTS // q**2}, or fewer features"
            )

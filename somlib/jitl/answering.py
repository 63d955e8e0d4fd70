"""Answers of local models to assigned queries, and what they rest on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from somlib.errors import ShapeError
from somlib.jitl import query_models
from somlib.jitl.assignment import Assigner, Assignment, Standardizer
from somlib.jitl.blend import Boosted
from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import GaussianNeighborhood, Neighborhood, RetrievedNeighborhood
from somlib.jitl.parameters import JITLParameters
from somlib.jitl.ridge import Shrinkage
from somlib.jitl.row_store import RowStore
from somlib.jitl.sample_index import SampleIndex
from somlib.utils.estimator_inputs import checked, own_errors
from somlib.utils.inputs import series_labels
from somlib.utils.retrieval import RETRIEVAL_MODES


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


class LocalAnswers(JITLParameters):
    """Local models of each neuron, or of each query, that answer."""

    _ridge: LocalRidge
    _store: RowStore

    def _begin(self, assigner: Assigner, targets: Standardizer, index: SampleIndex) -> None:
        self._assigner, self._targets, self.index_ = assigner, targets, index
        self.som_ = assigner.som
        self._outputs = len(targets.center)

    def _new_ridge(self, neighborhood: Neighborhood, shrinkage: Shrinkage) -> LocalRidge:
        return LocalRidge(self.som_.grid.m, self.som_.codebook.shape[1], self._outputs, neighborhood, shrinkage)

    def _account(self, assigned: Assignment) -> dict[str, Any]:
        """The fields of `Account` for answers to assigned queries."""
        nowhere, columns = assigned.winner < 0, self.som_.grid.y
        return {
            "n_samples": self._samples_behind(assigned),
            "fallback": assigned.trust < 1,
            "trust": assigned.trust,
            "row": np.where(nowhere, -1, assigned.winner // columns),
            "col": np.where(nowhere, -1, assigned.winner % columns),
            "quantization_error": assigned.distance[:, 0],
            "neuron": assigned.neuron,
            "share": assigned.share,
            "experts": self._expert_weights(),
        }

    def _expert_weights(self) -> dict[str, float]:
        """Weight of each expert, by name."""
        model = self._used.local_model
        return {model if isinstance(model, str) else type(model).__name__: 1.0}

    def _boosted(self, assigned: Assignment) -> Boosted:
        """What boosting says to assigned samples: needed to answer them, and to learn from its errors."""
        del assigned
        return {}

    def _answer(self, assigned: Assignment, boosted: Boosted) -> FloatArray:
        """Standardized answers (n, o) to assigned queries."""
        del boosted
        if self._used.local_model == "ridge":
            return self._ridge.answer(assigned)
        return self._query_answers(assigned, self._ridge, self.index_, self._rows)

    def _query_answers(
        self, assigned: Assignment, ridge: LocalRidge, index: SampleIndex, rows: FloatArray
    ) -> FloatArray:
        """Answers of the model that is fitted for each query, faded and bounded like those of neurons."""
        buffers = query_models.buffers_for(assigned, index, self._query_settings)
        if self._used.local_model == "query_ridge":
            shrinkage = self._shrinkage_of(self.settings_)
            local = query_models.ridge_answers(assigned, buffers, rows, ridge.overall, shrinkage)
        elif self._used.local_model == "mean":
            local = query_models.mean_answers(assigned, buffers, rows, ridge.overall)
        else:
            named = isinstance(self._used.local_model, str)
            model = query_models.named_model(self._used.local_model, ridge.d) if named else self._used.local_model
            local = query_models.estimator_answers(model, assigned, buffers, rows, ridge.overall)
        overall = assigned.inputs @ ridge.overall
        return np.clip(overall + assigned.trust[:, None] * (local - overall), *ridge.bounds)

    def _samples_behind(self, assigned: Assignment) -> FloatArray:
        """Samples behind each answer, shape (n,)."""
        if self._used.local_model == "ridge":
            support = np.append(self._ridge.support, 0.0)[assigned.neuron]
            behind: FloatArray = (assigned.share * support).sum(axis=1)
            return behind
        buffers = query_models.buffers_for(assigned, self.index_, self._query_settings)
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
        assigned = self._assigner.assign(X)
        if self._used.local_model == "ridge":
            weight = self._weights_of_samples(assigned)
            position = np.flatnonzero(weight > 0)
        else:
            buffers = query_models.buffers_for(assigned, self.index_, self._query_settings)
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
        row = np.asarray(x)[None] if series_labels(x) is None else x.to_frame().T
        sample: NDArray[Any] = self._checked(row)[0]
        return sample

    def _weights_of_samples(self, assigned: Assignment) -> FloatArray:
        """Weight of every sample in the answer to one assigned query, shape (n,)."""
        count = self._ridge.moments.count
        by_neuron = np.zeros(len(count) + 1)
        for neuron, share in zip(assigned.neuron[0], assigned.share[0], strict=True):
            if neuron >= 0:
                by_neuron[:-1] += share * self._ridge.neighborhood.weights(int(neuron), count)
        weight: FloatArray = by_neuron[self.index_.winner.numpy()]
        return weight

    @property
    def _rows(self) -> FloatArray:
        """Rows w = (1, x, y) of the samples held, standardized, shape (n, 1 + d + o); a view."""
        return self._store.rows.numpy()

    # ---------------------------------------------------------------- settings

    def _neighborhood_of(self, settings: dict[str, Any]) -> Neighborhood:
        grid = self.som_.grid
        if settings["neighborhood"] == "gaussian":
            return GaussianNeighborhood(grid, settings["sigma"])
        codebook = self.som_.codebook.cpu()
        return RetrievedNeighborhood(
            codebook, grid, self.som_.metric, settings["neighborhood"], self._used.neighborhood_order,
            self._used.min_buffer_threshold,
        )  # fmt: skip

    def _shrinkage_of(self, settings: dict[str, Any]) -> Shrinkage:
        return Shrinkage(
            settings["ridge"],
            settings["level"],
            self._used.shrink,  # type: ignore[arg-type]  # checked in fit
            settings["overall"],
        )

    @property
    def _query_settings(self) -> query_models.QuerySettings:
        mode = self._used.neighborhood if self._used.neighborhood in RETRIEVAL_MODES else "bmu_neighborhood_knn"
        neighbors = self.settings_["n_neighbors"]
        return query_models.QuerySettings(mode, self._used.min_buffer_threshold, neighbors, self._used.half_life)

    # ---------------------------------------------------------------- checks

    def _checked(self, X: Any, y: Any = "no_validation", fresh: bool = False, **checks: Any) -> Any:
        """Samples as an array (n, d), with targets where given; refused unless they are like those of `fit`."""
        if not fresh:
            check_is_fitted(self)
        settings = self if fresh else self._used
        given = self.som if fresh else (self.som_ if self._used.som is not None else None)
        names = getattr(given, "feature_names", None)  # whatever was given: `fit` refuses what is no map later
        return checked(self, X, y, fresh=fresh, missing=settings.missing, squares=False, names=names, **checks)

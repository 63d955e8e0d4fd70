"""Clusters of the neurons of a trained map."""

import warnings
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from somlib.core.remembering import RememberingSOM
from somlib.errors import ArgumentError, NotFittedError, ShapeError, SomlibWarning
from somlib.utils.arguments import require_whole
from somlib.utils.clustering import (
    CLUSTERING_METHODS,
    ROWS,
    ClusterResult,
    Connections,
    RowSample,
    cluster_neurons,
    cluster_stability,
    sampled,
)
from somlib.utils.inputs import read_sample_weight

STABILITY_ROWS = 10_000  # of a sample: more make stability no surer, and each is searched for


class ClusteringSOM(RememberingSOM):
    """A map whose neurons fall into clusters."""

    def cluster(
        self,
        method: str = "kmeans",
        n_clusters: int | None = None,
        feature_space: str = "weights",
        *,
        data: Any = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> ClusterResult:
        """Clusters of neurons; see `somlib.utils.clustering.cluster_neurons`, which this calls with the codebook.

        Args:
            method: See there.
            n_clusters: See there.
            feature_space: See there.
            data: Rows, shape (n, d), for the methods that ask how rows lie on the map; None takes those of the latest
                training. `"mixture"` must be given them, and takes a sample of many.
            sample_weight: Of `data`, shape (n,); weight k acts like k copies of the row. None for 1 each.
            **kwargs: Options of the method; `random_state` replaces the map's `random_seed`.

        Raises:
            ArgumentError: As there, or a `sample_weight` without `data`.
        """
        seed = _seed(kwargs.pop("random_state", None), self.random_seed)
        if data is None and sample_weight is not None:
            raise ArgumentError("sample_weight must be given together with data, got no data")
        known = CLUSTERING_METHODS.get(method) if isinstance(method, str) else None
        connections, rows = self._connections, None
        if known is not None and known.needs_data and data is not None:
            rows, _ = self._sample_of(data, sample_weight, seed)
        elif data is not None:
            connections = self._connections_of(data, sample_weight)
        return cluster_neurons(
            self.codebook, self.grid, method, n_clusters, feature_space, seed,
            connections=connections, rows=rows, **kwargs,
        )  # fmt: skip

    def connections(self, data: Any = None, sample_weight: Any = None) -> Connections:
        """How many rows lie on each neuron, and between which two.

        Args:
            data: Rows, shape (n, d); None takes those of the latest training.
            sample_weight: Of `data`, shape (n,). None for 1 each.

        Raises:
            NotFittedError: No `data`, and a map that was not trained, or whose weights were replaced since.
            ArgumentError: A `sample_weight` without `data`.
        """
        if data is not None:
            return self._connections_of(data, sample_weight)
        if sample_weight is not None:
            raise ArgumentError("sample_weight must be given together with data, got no data")
        if self._connections is None:
            raise NotFittedError("connections need rows: give data, or fit the map first")
        return self._connections

    def cluster_stability(
        self,
        clusters: ClusterResult,
        data: Any,
        n_clusters: int | None = None,
        *,
        sample_weight: Any = None,
        resamples: int = 10,
        **kwargs: Any,
    ) -> Tensor:
        """How stable each cluster is under other rows of the same kind and another seed.

        The neurons are clustered again on bootstrap samples of the rows; see `somlib.utils.clustering.stability`. Of
        more than 10 000 rows a sample is taken.

        Args:
            clusters: What `cluster` gave of this map.
            data: Rows, shape (n, d).
            n_clusters: As asked for then; None lets a method that finds its number find it again, and the others keep
                it.
            sample_weight: Of `data`, shape (n,). None for 1 each.
            resamples: How often, at least 1.
            **kwargs: Options of the method as given then; `random_state` replaces the map's `random_seed`.

        Returns:
            By number of the cluster, in [0, 1], float64, shape (k,); NaN for a number without rows.

        Raises:
            ArgumentError: `resamples` below 1, or options that the method does not take.
            ShapeError: Clusters of a map of another size, or no row that has a nearest neuron.
        """
        require_whole("resamples", resamples, least=1)
        seed = _seed(kwargs.pop("random_state", None), self.random_seed)
        self._require_own(clusters)
        sample, index = self._sample_of(data, sample_weight, seed, STABILITY_ROWS)
        method = CLUSTERING_METHODS[clusters["method"]]
        if n_clusters is None and not method.finds_number:
            n_clusters = clusters["n_clusters"]
        if method.needs_data:
            chosen = {name: clusters.get(name) for name in method.options if name in clusters}
            kwargs = chosen | kwargs

        def recluster(weight: NDArray[np.float64], other_seed: int) -> NDArray[np.int64]:
            drawn = torch.from_numpy(weight)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SomlibWarning)  # a resample that holds fewer groups
                found = cluster_neurons(
                    self.codebook, self.grid, clusters["method"], n_clusters, clusters["feature_space"], other_seed,
                    connections=Connections.of_winners(index, self.grid.m, drawn),
                    rows=sample.weighted(weight), **kwargs,
                )  # fmt: skip
            return np.asarray(found["labels"].cpu().numpy())

        winner, weight = torch.from_numpy(sample.winner), torch.from_numpy(sample.weight)
        return cluster_stability(clusters["labels"].cpu(), winner, weight, recluster, resamples, seed)

    def _require_own(self, clusters: ClusterResult) -> None:
        if len(clusters["labels"]) != self.grid.m:
            raise ShapeError(f"clusters must be of {self.grid.m} neurons, got {len(clusters['labels'])}")

    def _sample_of(self, data: Any, sample_weight: Any, seed: int, most: int = ROWS) -> tuple[RowSample, Tensor]:
        """A sample of rows that have a neuron, and their two nearest, shape (n, 2)."""
        samples = self._samples(data)
        weight = read_sample_weight(sample_weight, len(samples), samples)
        kept = sampled(len(samples), seed, most)
        if kept is not None:
            samples = samples[kept.to(samples.device)]
            weight = None if weight is None else weight[kept.to(weight.device)]
        index = self._two_nearest(samples)
        counted = (index[:, 0] >= 0) & (weight > 0 if weight is not None else True)
        return RowSample.of(samples, index[:, 0], weight), index[counted].cpu()

    def _connections_of(self, data: Any, sample_weight: Any) -> Connections:
        samples = self._samples(data)
        weight = read_sample_weight(sample_weight, len(samples), samples)
        return Connections.of_winners(self._two_nearest(samples), self.grid.m, weight)

    def _two_nearest(self, samples: Tensor) -> Tensor:
        """Flat indices, -1 for none, shape (n, 2)."""
        index = self._winners(samples, k=min(2, self.grid.m)).index
        return index if index.shape[1] == 2 else torch.cat((index, torch.full_like(index, -1)), dim=1)


def _seed(random_state: Any, otherwise: int) -> int:
    """The seed that a caller asks for."""
    if random_state is None:
        return otherwise
    if isinstance(random_state, bool) or not isinstance(random_state, Integral) or not 0 <= int(random_state) < 2**63:
        raise ArgumentError(f"random_state must be None or a whole number from 0 on, got {random_state!r}")
    return int(random_state)

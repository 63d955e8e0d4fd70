"""What a trained map answers: maps of its neurons, quality, retrieval, anomalies."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from somlib.core import map_builder
from somlib.core.clustering import ClusteringSOM
from somlib.core.map_builder import MapConfig, MapInput, SamplesByPlace
from somlib.errors import ArgumentError, NotFittedError, ShapeError
from somlib.utils import quality
from somlib.utils.anomaly import NormalDistances
from somlib.utils.clustering import ClusterResult, RowClusters, row_clusters
from somlib.utils.inputs import read_outputs
from somlib.utils.neighborhood import KERNELS
from somlib.utils.quality import QualityReport
from somlib.utils.retrieval import Retrieved, groups_from_dict, retrieve

logger = logging.getLogger(__name__)


class AnsweringSOM(ClusteringSOM):
    """A map that answers beyond its codebook, from what training left in it."""

    _last_epoch: int

    # ---------------------------------------------------------------- maps

    def build_map(
        self,
        map_type: str,
        data: Any = None,
        target: Any = None,
        bmus_data_map: SamplesByPlace | None = None,
        **kwargs: Any,
    ) -> Any:
        """One value for each neuron.

        | map_type | needs | value at a neuron |
        | --- | --- | --- |
        | `hit` | data | number of samples whose nearest neuron it is |
        | `distance` | nothing | sum or mean (`scaling`) of the distances (`distance_metric`) to its neighbors up to `neighborhood_order`, divided by the map's maximum |
        | `bmus_data` | data | dict `(row, col) ->` sample indices, or their rows with `return_indices=False` |
        | `metric` | target | mean or std (`reduction_parameter`) of the targets |
        | `score` | target | `std / sqrt(n_k) * ln(N / n_k)`; lower is more reliable |
        | `rank` | target | rank by std, 1 the lowest |
        | `classification` | target | most frequent class, ties by the neighborhood up to `neighborhood_order`, then the smallest label |

        Args:
            map_type: A type of the table.
            data: Samples, shape (n, d).
            target: Shape (n,) or (n, o), where a type needs it, with `data` or a `bmus_data_map`. NaN in it is refused
                like NaN in data; with `missing="mask"` a sample counts where its target is known. Labels of
                `classification` may be texts: the map then holds places from 0 in their ascending order.
            bmus_data_map: A `bmus_data` map made earlier, which saves the search.
            **kwargs: The arguments named in the table.

        Returns:
            Tensor (x, y), NaN where no sample falls; (o, x, y) for targets with o > 1 columns; `bmus_data` a dict.
            Target maps are float64.

        Raises:
            ArgumentError: Unknown type or argument, or something that the map needs is missing.
            ShapeError: A target of another length than the data.
        """  # noqa: E501  # a table row cannot be broken
        map_builder.require_map_arguments(map_type, kwargs)
        samples = None if data is None else self._samples(data)
        unused = map_builder.MAPS[map_type].needs == "codebook"
        winner = None if samples is None or unused else self._winners(samples).index[:, 0]
        return self._map(map_type, samples, winner, target, bmus_data_map, kwargs)

    def build_multiple_maps(
        self, map_configs: list[MapConfig], data: Any, target: Any = None, batch_size: int | None = None
    ) -> dict[str, Any]:
        """Several maps of the same data, from one search.

        Args:
            map_configs: A list of `{"type": ..., "name": optional, "kwargs": {...}}`.
            data: Samples, shape (n, d).
            target: For the maps that need one.
            batch_size: Accepted and not needed: the search bounds its own memory.

        Returns:
            The maps by `name`, else by type and argument values joined by `_` (`hit`, `distance_mean_2`), with `_2`,
            `_3` after a key already taken.

        Raises:
            ArgumentError: As `build_map`, before any map is built.
        """
        del batch_size
        configs = map_builder.require_map_configs(map_configs)
        samples = self._samples(data)
        winner = self._winners(samples).index[:, 0]
        built = [self._map(c["type"], samples, winner, target, None, c["kwargs"]) for c in configs]
        return dict(zip(map_builder.map_keys(configs), built, strict=True))

    def _map(
        self,
        map_type: str,
        samples: Tensor | None,
        winner: Tensor | None,
        target: Any,
        bmus_data_map: SamplesByPlace | None,
        arguments: Mapping[str, Any],
    ) -> Any:
        kind = map_builder.MAPS[map_type]
        given = MapInput(self.codebook, self.grid, self.metric, self.neighborhood_order, arguments, samples, winner)
        if kind.needs == "data" and winner is None:
            raise ArgumentError(f"build_map({map_type!r}) needs data, got none")
        if kind.needs != "target":
            return kind.build(given)
        groups = map_builder.grouped(winner, None if winner is not None else bmus_data_map, self.grid, map_type)
        n = None if winner is None else len(winner)
        all_assigned = self.missing == "error" and not self.metric.angular
        targets = map_builder.targets_for(groups, target, n, map_type, all_assigned, self.missing)
        return map_builder.target_map(kind, replace(given, groups=groups, target=targets)).to(self.device)

    # ---------------------------------------------------------------- quality

    def quality_report(
        self,
        data: Any,
        *,
        sigma: float | None = None,
        n_neighbors: int = 10,
        resamples: int = 1_000,
        confidence: float = 0.95,
    ) -> QualityReport:
        """All measures of quality on samples (n, d), with bootstrap intervals; see `somlib.utils.quality`.

        Args:
            data: Samples, shape (n, d).
            sigma: Radius of the kernel in the distortion, in cell widths; None takes that of the last epoch.
            n_neighbors: Size of the neighborhoods in trustworthiness and neighborhood preservation.
            resamples: Bootstrap resamples.
            confidence: Of the intervals, between 0 and 1.

        Raises:
            ArgumentError: An argument is out of its range.
        """
        samples, generator = self._samples(data), torch.Generator().manual_seed(self.random_seed)
        if sigma is None:
            sigma = self._sigma_decay(float(self.sigma or 1), self._last_epoch, self.epochs)
        winners, kernel = self._winners(samples, k=2, distances=True), KERNELS[self.neighborhood_function]
        return quality.quality_report(
            samples, winners, self.codebook, self.grid, self.metric, kernel, sigma, generator,
            n_neighbors=n_neighbors, resamples=resamples, confidence=confidence,
        )  # fmt: skip

    # ---------------------------------------------------------------- retrieval

    def collect_samples(
        self,
        query_sample: Any,
        historical_samples: Any,
        historical_outputs: Any,
        bmus_idx_map: Mapping[tuple[int, int], Sequence[int]],
        min_buffer_threshold: int = 50,
        return_indices: bool = False,
        retrieval_mode: str = "bmu_neighborhood_knn",
    ) -> tuple[Tensor, ...]:
        """The historical samples relevant to a query, for a just-in-time model.

        Args:
            query_sample: Shape (d,).
            historical_samples: Shape (n, d).
            historical_outputs: Shape (n,) or (n, o).
            bmus_idx_map: `build_map("bmus_data", historical_samples)`; a neuron that it lacks has no samples.
            min_buffer_threshold: The fallback adds neurons, nearest to the winner in the codebook first, while there
                are fewer samples than this.
            return_indices: Whether to return the indices too.
            retrieval_mode: `"bmu_only"`, `"bmu_neighborhood"`, or `"bmu_neighborhood_knn"` with the fallback.

        Returns:
            Samples (b, d) and outputs (b, o), and their indices (b,) where asked; no sample twice, maybe none.

        Raises:
            ArgumentError: Unknown mode, negative threshold, or a map of samples that does not fit.
            ShapeError: Shapes that do not fit.
        """
        query = self._samples(query_sample, name="query_sample", single=True)
        if len(query) != 1:
            raise ShapeError(f"query_sample must be one sample, got {len(query)}: use collect_samples_batch")
        history = self._samples(historical_samples, name="historical_samples")
        outputs = read_outputs(historical_outputs, len(history), name="historical_outputs", device=history.device)
        found = self._retrieve(query, len(history), bmus_idx_map, min_buffer_threshold, retrieval_mode)
        index = found.sample.to(history.device)
        if not len(index):
            logger.warning("no historical sample is relevant to the query by %s: the buffer is empty", retrieval_mode)
        buffer = (history[index], outputs[index])
        return (*buffer, index) if return_indices else buffer

    def collect_samples_batch(
        self,
        query_samples: Any,
        historical_samples: Any,
        bmus_idx_map: Mapping[tuple[int, int], Sequence[int]],
        min_buffer_threshold: int = 50,
        retrieval_mode: str = "bmu_neighborhood_knn",
    ) -> Retrieved:
        """What `collect_samples` would retrieve for each of many queries (q, d), as indices in flat arrays."""
        queries = self._samples(query_samples, name="query_samples")
        n = len(self._samples(historical_samples, name="historical_samples"))
        return self._retrieve(queries, n, bmus_idx_map, min_buffer_threshold, retrieval_mode)

    def _retrieve(
        self, queries: Tensor, n: int, samples: Mapping[tuple[int, int], Sequence[int]], threshold: int, mode: str
    ) -> Retrieved:
        groups = groups_from_dict(samples, self.grid, n)
        winner = self._winners(queries).index[:, 0].cpu()
        return retrieve(
            winner, groups, self.codebook.cpu(), self.grid, self.metric, mode, self.neighborhood_order, threshold
        )

    # ---------------------------------------------------------------- anomalies

    def anomaly_score(self, data: Any) -> Tensor:
        """Distance of each sample (n, d) to its nearest neuron, in units of what is normal for that neuron.

        Returns:
            float64, shape (n,), about 1 for normal samples; NaN for samples without a nearest neuron. See
            `somlib.utils.anomaly`.

        Raises:
            NotFittedError: The map was not trained, or its weights were replaced since.
        """
        return self._known_distances().scores_of(self._winners(self._samples(data), distances=True))

    def calibrate_anomalies(self, data: Any) -> None:
        """Take the scores of normal samples (n, d), held out from training, as the measure for thresholds."""
        self._normal = self._known_distances().calibrated(self.anomaly_score(data))

    def anomaly_threshold(self, alpha: float = 0.01) -> float:
        """The score that a new normal sample exceeds with probability at most `alpha`.

        From the scores of the calibration data; without any from those of the training samples, each as if the map had
        been trained without it. See `somlib.utils.anomaly`.

        Raises:
            NotFittedError: As in `anomaly_score`.
            ArgumentError: `alpha` is not between 0 and 1.
            DataError: Too few samples for so small an `alpha`.
        """
        return self._known_distances().threshold(alpha)

    def is_anomaly(self, data: Any, alpha: float = 0.01) -> Tensor:
        """Whether each sample's score exceeds `anomaly_threshold(alpha)`, bool, shape (n,)."""
        return self.anomaly_score(data) > self.anomaly_threshold(alpha)

    def normal_reach(self, alpha: float = 0.01) -> Tensor:
        """The distance from each neuron that a new normal sample exceeds with probability at most `alpha`.

        Returns:
            float64, shape (m,): `anomaly_threshold(alpha)` in units of distance, so that `is_anomaly` can be decided
            from distances to the nearest neuron that are known.

        Raises:
            NotFittedError, ArgumentError, DataError: As in `anomaly_threshold`.
        """
        return self.anomaly_threshold(alpha) * self._known_distances().scales.double()

    def labels_of(self, data: Any, clusters: ClusterResult, alpha: float | None = None) -> RowClusters:
        """The cluster of each row, that of its nearest neuron, with its strength.

        Args:
            data: Rows, shape (n, d).
            clusters: What `cluster` gave of this map.
            alpha: Also calls rows off the map, -1, whose distance to it a normal row exceeds with a probability of at
                most `alpha`; see `is_anomaly`. None calls only those off that have no nearest neuron.

        Raises:
            ShapeError: Clusters of a map of another size.
            NotFittedError: An `alpha`, and a map that was not trained.
        """
        samples = self._samples(data)
        off_map = None if alpha is None else self.is_anomaly(samples, alpha)
        self._require_own(clusters)
        return row_clusters(self._winners(samples).index[:, 0], clusters, off_map)

    def _known_distances(self) -> NormalDistances:
        if self._normal is None:
            raise NotFittedError("anomaly scores need the distances seen in training: call fit first")
        return self._normal

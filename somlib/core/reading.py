"""What a map takes to learn from: rows in memory, or batch by batch, and the rule by which it learns from them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from somlib.core.batch_steps import rows_ahead
from somlib.core.remembering import RememberingSOM
from somlib.core.rule import Rule, TrainingSet
from somlib.core.streamed import StreamedRows
from somlib.core.trainer import measured_sample
from somlib.errors import ArgumentError, DataError, NotFittedError
from somlib.utils.batches import IN_BATCHES, is_batches
from somlib.utils.decay import SCHEDULES
from somlib.utils.heuristics import steps_per_epoch
from somlib.utils.initialization import feature_means, streamed_start
from somlib.utils.inputs import feature_names, read_sample_weight, read_samples
from somlib.utils.neighborhood import KERNELS
from somlib.utils.precision import trainable


class ReadingSOM(RememberingSOM):
    """A map that takes rows to learn from."""

    _runs: int

    def _rows_of(self, data: Any, sample_weight: Any) -> TrainingSet | StreamedRows:
        """The rows to learn from, checked: in memory, or a dataset of batches."""
        if not is_batches(data):
            return self._training_set(data, sample_weight)
        if sample_weight is not None:
            raise ArgumentError(IN_BATCHES)
        return self._streamed(data)

    def _training_set(self, data: Any, sample_weight: Any) -> TrainingSet:
        """Rows in memory to learn from, checked."""
        samples = trainable(self._samples(data))
        self._require_feature_weights(samples.shape[1])
        weight = read_sample_weight(sample_weight, len(samples), samples)
        if self._is_double:
            samples = samples.double()
            weight = None if weight is None else weight.double()
        incomplete = self.missing == "mask" and bool(torch.isnan(samples).any())
        self._require_usable(samples, weight, incomplete)
        return TrainingSet(samples, weight, feature_means(samples).to(samples.dtype), incomplete)

    @property
    def _is_double(self) -> bool:
        """Whether rows must be float64 because the map is."""
        return self.initialized and self.weights.dtype == torch.float64

    def _streamed(self, batches: Any) -> StreamedRows:
        """Rows of a dataset of batches to learn from, seen once."""

        def read(rows: Any, name: str, names: list[str] | None) -> Tensor:
            samples = read_samples(
                rows, name=name, num_features=self.num_features, device=self.device, missing=self.config.missing,
                names=self.feature_names or names,
            )  # fmt: skip
            self._require_feature_weights(samples.shape[1])
            return samples

        return StreamedRows(
            batches, read, self.metric, self.device, double=self._is_double, squares=self._needs_axes,
            wanted=self._rows_to_ask,
        )  # fmt: skip

    @property
    def _needs_axes(self) -> bool:
        """Whether size or start come from the principal axes of the rows."""
        return self.x is None or (not self.initialized and streamed_start(self.initialization_mode).axes)

    def _rows_to_ask(self, n: int) -> Iterator[Tensor]:
        """Numbers of the rows that a `fit` on n rows asks for, as far as they are known before one is read."""
        generator = torch.Generator().manual_seed((self.random_seed + self._runs + 1) % 2**63)
        sample = measured_sample(n, generator)
        yield torch.arange(n) if sample is None else sample
        if self.x is None:
            return
        asked = streamed_start(self.initialization_mode).asked
        if asked is not None and not self.initialized:
            yield asked(n, self.grid.m, torch.Generator().manual_seed(self.random_seed))
        rule = self._rule_for(n, weighted=False)
        if rule.batch:
            seen = n if sample is None else len(sample)
            yield from rows_ahead(rule, self.epochs * rule.steps, n, seen, generator, range(self.epochs))

    def _names_with(self, data: Any, rows: TrainingSet | StreamedRows | None = None) -> list[str] | None:
        """The names of the features, those of `data` where none were known."""
        return self.feature_names or (rows.names if isinstance(rows, StreamedRows) else feature_names(data))

    def _require_feature_weights(self, d: int) -> None:
        """Refuse feature weights that are not one for each of `d` features."""
        if self.feature_weights is not None and len(self.feature_weights) != d:
            raise ArgumentError(f"feature_weights must have {d} values, one a feature, got {len(self.feature_weights)}")

    def _require_usable(self, samples: Tensor, weight: Tensor | None, incomplete: bool) -> None:
        """Refuse data of which no row can have a winner and counts."""
        counts = torch.ones(len(samples), dtype=torch.bool, device=samples.device) if weight is None else weight > 0
        angular = self.metric.angular
        if incomplete or angular:
            counts = counts & self.metric.defined(samples)
        if not bool(counts.any()):
            value = f"a value other than 0 ({self.distance_function})" if angular else "an observed value"
            raise DataError(f"data must have a row with {value} and a weight above 0, got none in {len(samples)} rows")

    # ---------------------------------------------------------------- how to learn

    def _rule(self, rows: TrainingSet | StreamedRows) -> Rule:
        return self._rule_for(rows.n, rows.weighted)

    def _rule_for(self, n: int, weighted: bool) -> Rule:
        config = self.config
        if self.sigma is None:
            raise NotFittedError("the map has no size yet: call fit first")
        return Rule(
            grid=self.grid,
            metric=self.metric,
            kernel=KERNELS[config.neighborhood_function],
            batch=config.algorithm == "batch",
            sigma=self.sigma,
            sigma_decay=self._sigma_decay,
            learning_rate=self.learning_rate,
            learning_rate_decay=SCHEDULES[config.lr_decay_function].function,
            batch_size=self.batch_size or n,
            backend=config.search_backend,
            deterministic=config.deterministic,
            steps=self._steps(n, weighted) if config.algorithm == "batch" else 1,
        )

    def _steps(self, n: int, weighted: bool) -> int:
        """Steps of the batch map in an epoch; one, unless asked for, where weights say how often a row counts."""
        asked = self.config.steps_per_epoch
        if asked is not None or weighted:
            return asked or 1
        sigmas = [self._sigma_decay(float(self.sigma or 1), t, self.epochs) for t in range(self.epochs)]
        return steps_per_epoch(self.grid, sigmas, n)

"""Samples in terms of the map: where they fall on it, or how far they are from each of its neurons."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted
from torch import Tensor

from somlib.errors import unknown_name
from somlib.estimators.base import SOMEstimator, trained_map, winners
from somlib.utils.distances import Metric, masked_pairwise
from somlib.utils.estimator_inputs import checked_weight

OUTPUTS = ("positions", "distances")


@dataclass(kw_only=True, eq=False, repr=False)
class SOMTransformer(TransformerMixin, SOMEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Places of samples on a map, or their distances to its neurons; columns named for both.

    Args:
        output: `"positions"`: row and column of the nearest neuron, in cell widths (hexagonal rows are 0.87 apart,
            odd ones shifted by half a cell), two columns whatever the map. `"distances"`: to every neuron in the
            metric of the map, in flat order, as many columns as neurons.

    All other parameters and attributes are those of `SOMEstimator`; among them `som_`, `n_features_in_` and
    `feature_names_in_`. Features are not scaled here: see there. A row without a nearest neuron (nothing observed, a
    zero vector under cosine) is NaN.

    Example:
        >>> X = [[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]]
        >>> SOMTransformer(x=2, y=1).fit_transform(X)
        array([[0., 0.],
               [0., 0.],
               [1., 0.],
               [1., 0.]])
    """

    output: str = "positions"

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a map.

        Args:
            X: Samples, shape (n, d): array, or polars or pandas frame.
            y: Ignored.
            sample_weight: Shape (n,), >= 0; weight k acts like k copies of the sample. None for 1 each.

        Raises:
            ArgumentError: A parameter has a value that is not allowed; it is a `ValueError`.
        """
        del y
        if self.output not in OUTPUTS:
            raise unknown_name("output", self.output, OUTPUTS)
        X = self._read(X)
        self._take_over(trained_map(self._map_settings(), X, checked_weight(sample_weight, X)))
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Positions (n, 2) or distances (n, m) of samples (n, d), in the float type of the samples."""
        X = self._checked(X)
        if self.output == "positions":
            return self._positions(X)
        samples, codebook = self._samples_and_codebook(X)
        return distances_to_all(self.som_.metric, samples, codebook).cpu().numpy().astype(X.dtype, copy=False)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """`som_row` and `som_column`, or `som_distance_<row>_<column>` for each neuron.

        Args:
            input_features: None, or as many names as `fit` saw features (the same, where it saw names).
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features, generate_names=False)
        if self.output == "positions":
            return np.array(["som_row", "som_column"], dtype=object)
        places = self.som_.grid.coordinates.tolist()
        return np.array([f"som_distance_{row}_{column}" for row, column in places], dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _positions(self, X: NDArray[Any]) -> NDArray[Any]:
        nowhere = np.full((1, 2), np.nan)  # row -1
        return np.vstack((self.som_.grid.positions.numpy(), nowhere)).astype(X.dtype)[winners(self.som_, X)]


def distances_to_all(metric: Metric, samples: Tensor, codebook: Tensor) -> Tensor:
    """Distances (n, m) of samples (n, d), NaN where not observed, to neurons (m, d)."""
    incomplete = torch.isnan(samples).any(dim=1)
    if not bool(incomplete.any()):
        return metric.pairwise(samples, codebook)
    distances = samples.new_empty(len(samples), len(codebook))
    distances[~incomplete] = metric.pairwise(samples[~incomplete], codebook)
    distances[incomplete] = masked_pairwise(metric, samples[incomplete], codebook)
    return distances

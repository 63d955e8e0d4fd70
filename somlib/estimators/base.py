"""What all scikit-learn estimators here share: the settings of the map, its training, and questions to it.

Parameters are the fields of dataclasses. A subclass adds its own and inherits the rest, and `__init__` still names
every one of them, which is what `get_params`, `clone` and a grid search read.

A sample weight of k means the same as k copies of the row, and a weight of 0 the same as leaving it out. Training sees
to that with the batch map (mini-batches of weighted rows are other batches than those of the copies). What the map
takes from the data before, its size and start, it takes from the distinct rows alone, so neither copies nor the scale
of the weights, nor the order of the rows, change it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from somlib.core import SOM
from somlib.errors import ArgumentError
from somlib.utils.estimator_inputs import checked
from somlib.utils.inputs import read_samples

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(kw_only=True, eq=False, repr=False)
class SOMEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A map that learns in `fit`; base of the estimators, with the parameters that all of them take.

    They are those of `somlib.SOM` under the same names, checked in `fit`; `num_features` is that of the data, and
    `random_seed` goes by scikit-learn's name. Three defaults differ: the batch map from a PCA start is deterministic,
    fast, and alone makes a sample weight the same as copies.

    **Features are not scaled.** Distances add up differences in whatever units the features have, so one with a large
    range decides alone: put a `StandardScaler` in front.

    Args:
        x: Rows; None together with `y` takes 5 sqrt(n) neurons for n distinct rows, in the proportions of the data.
        y: Columns.
        epochs: Passes over the data.
        batch_size: Largest mini-batch.
        sigma: Neighborhood radius at the start, in cell widths; None takes a sixth of the mean side, at least 2.
        learning_rate: Step of the mini-batch rule at the start.
        neighborhood_order: Hops that count as neighborhood in the maps of `som_`.
        topology: `"rectangular"` or `"hexagonal"`.
        pbc: Periodic boundary conditions: the map is a torus.
        algorithm: `"batch"`, or `"minibatch"`.
        lr_decay_function: A key of `somlib.utils.decay.DECAY_FUNCTIONS`.
        sigma_decay_function: Schedule of the radius; a key of `DECAY_FUNCTIONS`.
        neighborhood_function: A key of `somlib.utils.neighborhood.NEIGHBORHOOD_FUNCTIONS`.
        distance_function: A key of `somlib.utils.distances.DISTANCE_FUNCTIONS`.
        initialization_mode: `"pca"`, or `"random"` rows.
        search_backend: `"torch"`, `"faiss"` or `"auto"`.
        device: A torch device; None takes CUDA where there is one, else the CPU.
        missing: `"error"` refuses NaN, `"mask"` takes it as not observed.
        feature_weights: Factor of each feature's term in the distance, shape (d,).
        deterministic: On CUDA, add in a fixed order: bit-identical maps, slower.
        steps_per_epoch: Steps of the batch map in an epoch. None makes one over all rows: short steps on random rows do
            not take a sample weight for copies.
        final_sigma: Radius at the end, in cell widths, of the schedules to one.
        random_state: Seed of everything random. None takes a fresh one each time, a `RandomState` is drawn from; no
            global random state is read or moved.

    Attributes:
        som_: The trained `somlib.SOM`, for its maps, figures and errors.
        n_features_in_: Number of features.
        feature_names_in_: Their names, where `fit` got a frame with column names that are all text.
        n_iter_: Passes over the data that were made.
    """

    x: int | None = None
    y: int | None = None
    epochs: int = 20
    batch_size: int | None = None
    sigma: float | None = None
    learning_rate: float = 0.5
    neighborhood_order: int = 1
    topology: str = "rectangular"
    pbc: bool = False
    algorithm: str = "batch"
    lr_decay_function: str = "asymptotic_decay"
    sigma_decay_function: str = "asymptotic_decay"
    neighborhood_function: str = "gaussian"
    distance_function: str = "euclidean"
    initialization_mode: str = "pca"
    search_backend: str = "auto"
    device: str | torch.device | None = None
    missing: str = "error"
    feature_weights: Sequence[float] | Tensor | None = None
    deterministic: bool = False
    steps_per_epoch: int | None = None
    final_sigma: float = 1.0
    random_state: int | np.random.RandomState | None = 42

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the quantization error of samples X (n, d), so that higher is better; `y` is ignored."""
        del y
        X = self._checked(X)
        return -self.som_.quantization_error(X, sample_weight=sample_weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags

    def _map_settings(self) -> dict[str, Any]:
        """Arguments of the map; a `RandomState` gives another seed each time."""
        shared = {f.name: getattr(self, f.name) for f in fields(SOMEstimator) if f.name != "random_state"}
        return {**shared, "random_seed": self._seed()}

    def _seed(self) -> int:
        if self.random_state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        if not isinstance(self.random_state, Integral) or int(self.random_state) < 0:
            raise ArgumentError(f"random_state must be None, >= 0 or a RandomState, got {self.random_state!r}")
        return int(self.random_state)

    def _read(self, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
        """Samples of a new fit as an array (n, d), with targets where given."""
        return checked(self, X, y, fresh=True, missing=self.missing, squares=True, **checks)

    def _take_over(self, som: SOM) -> None:
        """Make a trained map the one that answers."""
        names = getattr(self, "feature_names_in_", None)
        som.feature_names = None if names is None else names.tolist()
        self.som_ = som
        self.n_iter_ = som.epochs

    def _checked(self, X: Any) -> NDArray[Any]:
        """New samples as an array (n, d), refused unless they are like those of `fit`."""
        check_is_fitted(self)
        samples: NDArray[Any] = checked(self, X, fresh=False, missing=self.missing, squares=True)
        return samples

    def _samples_and_codebook(self, X: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Checked samples (n, d) and codebook (m, d) as tensors of one type, on the device of the map."""
        samples = read_samples(X, device=self.som_.device, missing=self.som_.missing)
        codebook = self.som_.codebook
        dtype = torch.promote_types(samples.dtype, codebook.dtype)
        return samples.to(dtype), codebook.to(dtype)


def trained_map(settings: Mapping[str, Any], X: NDArray[Any], weight: FloatArray) -> SOM:
    """A map trained on samples.

    Args:
        settings: Arguments of `SOM`.
        X: Checked samples, shape (n, d).
        weight: Checked weight of each, shape (n,).
    """
    X, weight = X[weight > 0], weight[weight > 0]
    som = SOM(**settings, num_features=X.shape[1])
    som.initialize_weights(distinct_rows(X))
    som.fit(X, verbose=False, sample_weight=weight)
    return som


def winners(som: SOM, X: NDArray[Any]) -> IntArray:
    """Flat index of the nearest neuron of checked samples (n, d), -1 where there is none, shape (n,)."""
    samples = read_samples(X, device=som.device, missing=som.missing)
    index: IntArray = som.winners(samples).index[:, 0].cpu().numpy()
    return index


def distinct_rows(X: NDArray[Any]) -> NDArray[Any]:
    """The different rows of X (n, d) in ascending order; NaN equals NaN."""
    return pl.from_numpy(X).unique().sort(pl.all()).to_numpy()

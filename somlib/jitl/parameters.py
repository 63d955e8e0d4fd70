"""The settings of local models on a map, their checks, and what of them a fit keeps."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils import Tags

from somlib.core import SOM
from somlib.errors import ArgumentError, unknown_name
from somlib.jitl import query_models
from somlib.utils.retrieval import RETRIEVAL_MODES

LOCAL_MODELS = ("ridge", "query_ridge", "mean", "pls", "gpr")
NEIGHBORHOODS = ("gaussian", *RETRIEVAL_MODES)
NEVER_CUT = 1e100  # deviations: their squares still are floats
LEAST_SIGMA = 1e-3  # cell widths: the square of much less is no float


@dataclass(kw_only=True, eq=False, repr=False)
class JITLParameters(BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """The parameters that regressor and classifier take.

    A fit keeps a copy of them: what is assigned later (`set_params`) counts from the next fit on.

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

    def _keep_settings(self) -> None:
        """Make the settings of now those that a fit, and all that follows from it, rests on."""
        settings = {**self.get_params(deep=False), "local_model": copy.deepcopy(self.local_model)}
        self._used: Self = type(self)(**settings)

    @property
    def _limit(self) -> float:
        return NEVER_CUT if self.clip is None else float(self.clip)

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

    def _seed(self) -> int:
        if not isinstance(self.random_state, Integral) or not 0 <= int(self.random_state) < 2**32:
            raise ArgumentError(f"random_state must be a whole number from 0 to 2^32 - 1, got {self.random_state!r}")
        return int(self.random_state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "mask"
        return tags

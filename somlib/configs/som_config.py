"""The settings of a map, checked when they are made.

`SOMConfig` holds every argument of the `SOM` constructor under the same name and with the same default; the
constructor builds one from its arguments, so that nothing skips the checks here.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from somlib.configs.names import DistantRegistry, registered
from somlib.errors import ArgumentError
from somlib.utils.decay import SCHEDULES

if TYPE_CHECKING:
    from somlib.utils import distances

KERNELS = DistantRegistry(
    "somlib.utils.neighborhood", "KERNELS", built_in=("gaussian", "mexican_hat", "bubble", "triangle")
)
DISTANCES = DistantRegistry(
    "somlib.utils.distances", "DISTANCES", built_in=("euclidean", "manhattan", "cosine", "chebyshev")
)
INITIALIZATIONS = DistantRegistry("somlib.utils.initialization", "INITIALIZATIONS", built_in=("random", "pca"))

Topology = Literal["rectangular", "hexagonal"]
Algorithm = Literal["minibatch", "batch"]
LearningRateDecay = Annotated[str, registered(SCHEDULES, lambda schedule: schedule.rate)]
SigmaDecay = Annotated[str, registered(SCHEDULES, lambda schedule: schedule.radius)]
Neighborhood = Annotated[str, registered(KERNELS)]
Distance = Annotated[str, registered(DISTANCES)]
Initialization = Annotated[str, registered(INITIALIZATIONS)]
SearchBackend = Literal["auto", "torch", "faiss", "faiss_ivf"]
Missing = Literal["error", "mask"]


# Settings that go together, by what is wanted most; see benchmarks/README.md for what each reaches.
_SHORT_STEPS = {
    "algorithm": "batch",
    "initialization_mode": "pca",
    "sigma_decay_function": "sig_geometric_decay_to_one",
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {**_SHORT_STEPS, "epochs": 1, "steps_per_epoch": 24, "final_sigma": 1.05},
    "balanced": {**_SHORT_STEPS, "epochs": 4, "steps_per_epoch": 12},
    "faithful": {**_SHORT_STEPS, "epochs": 4, "steps_per_epoch": 20, "final_sigma": 1.7},
}
# A wider last radius keeps neighbors together where every cell has eight of them. At the border of a flat hexagonal map
# neurons are drawn inward: row 2 comes as close to row 0 as row 1 does, and is no neighbor. On a torus a wider radius
# cannot undo a fold. There more steps at the usual radius help, and a wider one harms; see benchmarks/README.md.
_FAITHFUL_ELSEWHERE = {"epochs": 6, "steps_per_epoch": 40, "final_sigma": 1.0}


def preset_settings(name: str, topology: str = "rectangular", pbc: bool = False) -> dict[str, Any]:
    """The settings that a preset stands for on a map of this geometry; `name` is a key of `PRESETS`."""
    elsewhere = name == "faithful" and (pbc or topology != "rectangular")
    return {**PRESETS[name], **(_FAITHFUL_ELSEWHERE if elsewhere else {})}


class SOMConfig(BaseModel):
    r"""All settings of a map; frozen, unknown fields refused.

    Beside the fields there is `preset`: `"fast"` (one look at the errors, at the end), `"balanced"`, or `"faithful"`,
    which keeps neighbors together: for a higher quantization error on flat rectangular maps, for more time on others.
    It stands for the settings of `preset_settings`; those given beside it come first. A config holds the settings, not
    the name.

    Raises:
        pydantic.ValidationError: A value is out of bounds or of the wrong type, or a field is unknown. It is a
            `ValueError` and lists every problem at once.

    Example:
        >>> SOMConfig.from_yaml("x: 25\ny: 15\ntopology: hexagonal\nsigma: 1.75\n").topology
        'hexagonal'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    x: int | None = Field(default=None, ge=1, description="Rows of the map; None: from the data")
    y: int | None = Field(default=None, ge=1, description="Columns of the map; None: from the data")
    num_features: int | None = Field(default=None, ge=1, description="Features of a sample; None: from the data")
    epochs: int = Field(default=10, ge=1, description="Passes over the data in one fit")
    batch_size: int | None = Field(
        default=None, ge=1, description="Largest mini-batch; None: from the number of samples"
    )
    sigma: float | None = Field(
        default=None, gt=0, description="Neighborhood radius at the start, in cell widths; None: from the map"
    )
    final_sigma: float = Field(
        default=1.0, gt=0, description="Radius at the end of the schedules to one, in cell widths, in place of 1"
    )
    learning_rate: float = Field(default=0.5, gt=0, description="Step of the mini-batch rule at the start")
    neighborhood_order: int = Field(
        default=1, ge=1, description="Hops that count as neighborhood in maps and retrieval"
    )
    topology: Topology = Field(default="rectangular", description="Cells with 8 or with 6 neighbors")
    pbc: bool = Field(default=False, description="Periodic boundary conditions: the map is a torus")
    algorithm: Algorithm = Field(default="minibatch", description="Training rule; batch is Kohonen's batch map")
    steps_per_epoch: int | None = Field(
        default=None,
        ge=1,
        description="Short steps of the batch map in an epoch, on random rows; 1: one on every row; "
        "None: several where that costs less",
    )
    lr_decay_function: LearningRateDecay = Field(default="asymptotic_decay", description="Schedule of learning_rate")
    sigma_decay_function: SigmaDecay = Field(default="asymptotic_decay", description="Schedule of sigma")
    neighborhood_function: Neighborhood = Field(default="gaussian", description="Influence by grid distance")
    distance_function: Distance = Field(default="euclidean", description="Distance of a sample to a neuron")
    initialization_mode: Initialization = Field(default="random", description="How the first fit starts")
    search_backend: SearchBackend = Field(default="auto", description="How the nearest neurons are found")
    device: str | None = Field(default=None, description="Torch device; None: CUDA where there is one, else CPU")
    random_seed: int = Field(default=42, ge=0, lt=2**63, description="Fixes everything random")
    missing: Missing = Field(default="error", description="NaN in data: refuse, or take as not observed")
    feature_weights: tuple[float, ...] | None = Field(
        default=None, description="Factor of each feature's term in the distance, >= 0; None: 1 each"
    )
    deterministic: bool = Field(
        default=False, description="On CUDA, sums in a fixed order: bit-identical maps, slower training"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "preset" not in values:
            return values
        name = values["preset"]
        if name is not None and name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
        given = {field: value for field, value in values.items() if field != "preset"}
        if name is None:
            return given
        geometry = {field: given[field] for field in ("topology", "pbc") if field in given}
        return {**preset_settings(name, **geometry), **given}

    @field_validator(
        "x", "y", "num_features", "epochs", "batch_size", "sigma", "final_sigma", "steps_per_epoch", "learning_rate",
        "neighborhood_order",
        "random_seed", mode="before",
    )  # fmt: skip
    @classmethod
    def _refuse_bool(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(f"must be a number, not a truth value, got {value}")
        return value

    @field_validator("device")
    @classmethod
    def _device_of_torch(cls, value: str | None) -> str | None:
        if value is None or value in ("cpu", "cuda", "mps"):
            return value
        from torch import device  # a config of the usual settings is read without torch

        try:
            device(value)
        except RuntimeError:
            lower = "cuda" if value.lower() == "gpu" else value.lower()
            cure = lower if lower != value else "cpu, cuda or cuda:1"
            raise ValueError(f"must be one that torch can use here, got {value!r}: write {cure}") from None
        return value

    @field_validator("feature_weights", mode="before")
    @classmethod
    def _weights_as_tuple(cls, value: Any) -> Any:
        try:
            listed = value.tolist() if hasattr(value, "tolist") else value
        except (RuntimeError, NotImplementedError) as error:  # a tensor that holds no plain numbers
            raise ValueError(f"must be a list of numbers, got one that cannot be read: {error}") from error
        return tuple(listed) if isinstance(listed, list) else listed

    @field_validator("feature_weights")
    @classmethod
    def _usable_weights(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        bad = [w for w in value if not math.isfinite(w) or w < 0]
        if bad:
            raise ValueError(f"must be finite and not negative, got {bad[0]}")
        if not any(value):
            raise ValueError("must not all be 0: no feature would count")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.x is None) != (self.y is None):
            only = f"x={self.x} without y" if self.y is None else f"y={self.y} without x"
            raise ValueError(f"x and y must both be given or both be left out, got {only}")
        if self.topology == "hexagonal" and self.pbc and self.x is not None and self.x % 2:
            raise ValueError(f"a hexagonal torus (pbc=True) needs an even number of rows, got x={self.x}")
        given = self.feature_weights
        if not DISTANCES.untouched:  # else it is a built-in one, which takes both
            self._require_suitable(DISTANCES[self.distance_function])
        if given is not None and self.num_features not in (None, len(given)):
            raise ValueError(f"feature_weights must have {self.num_features} values, one a feature, got {len(given)}")
        return self

    def _require_suitable(self, distance: "distances.Distance") -> None:
        """Refuse feature weights and missing values with a distance in which they have no meaning."""
        if self.feature_weights is not None and distance.weighting is None:
            raise ValueError(f"feature_weights must be None with distance_function={self.distance_function!r}")
        if self.missing == "mask" and not distance.takes_missing:
            raise ValueError(
                f"missing must be 'error' with distance_function={self.distance_function!r}, which has no rule for gaps"
            )

    def for_features(self, num_features: int) -> Self:
        """These settings for samples of `num_features` features.

        Raises:
            ArgumentError: They are for another number; or, made anew, they are not allowed.
        """
        if self.num_features not in (None, num_features):
            raise ArgumentError(f"num_features must be the config's {self.num_features}, got {num_features}")
        return self.checked({**self.model_dump(), "num_features": num_features})

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """A config from the values, with problems as `argument must ..., got ...`.

        Raises:
            ArgumentError: Any value is not allowed; all problems in one message.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise ArgumentError("; ".join(readable_problems(error))) from error

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The settings as YAML text, also written to `path` where one is given."""
        return _written(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """The settings as JSON text, also written to `path` where one is given."""
        return _written(json.dumps(self.model_dump(mode="json"), indent=2) + "\n", path)

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """A config from YAML: a path, or the text itself.

        Raises:
            ArgumentError: The path does not exist, or the text is no mapping.
            pydantic.ValidationError: A value is not allowed.
        """
        text = _text_of(source)
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ArgumentError(f"source must be YAML, got text that does not parse: {error}") from error
        return cls.model_validate(_mapping(values, "YAML"))

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """A config from JSON: a path, or the text itself.

        Raises:
            ArgumentError: The path does not exist, or the text is no mapping.
            pydantic.ValidationError: A value is not allowed.
        """
        text = _text_of(source)
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ArgumentError(f"source must be JSON, got text that does not parse: {error}") from error
        return cls.model_validate(_mapping(values, "JSON"))


def readable_problems(error: ValidationError) -> list[str]:
    """One line for each problem that pydantic found: field, what it must be, what came."""
    lines = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{field} is no known setting, got {problem['input']!r}")
        elif problem["type"] == "value_error":
            lines.append(f"{field} {problem['ctx']['error']}".strip())
        else:
            text = problem["msg"].replace("Input should be", "must be", 1)
            lines.append(f"{field} {text}, got {problem['input']!r}")
    return lines


def _text_of(source: str | Path) -> str:
    """The text of a file, or `source` itself where it is text (has a line break, a brace or a colon and blank)."""
    is_text = isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{") or ": " in source)
    if is_text:
        return str(source)
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8
        reason = getattr(error, "strerror", None) or error
        raise ArgumentError(
            f"source must be the path of a file, or the text of a config, got {str(source)[:200]!r}: {reason}"
        ) from error


def _mapping(values: Any, kind: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ArgumentError(f"source must be a {kind} mapping of settings, got {type(values).__name__}")
    return values


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text

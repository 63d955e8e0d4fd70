"""The settings of a tree of maps: those of the root, those of the maps below, and when to stop."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from somlib.configs.som_config import SOMConfig, readable_problems
from somlib.core.growing import GrowingSOMConfig
from somlib.errors import ArgumentError

# What the maps of a tree must have in common, so that an error means the same in each.
SAME_AS_ROOT = ("distance_function", "feature_weights", "missing")
# What a child does not take over from the root: its size, and what follows from size and data.
NOT_INHERITED = {"x", "y", "sigma", "batch_size"}


def _map_config(value: Any) -> Any:
    """The settings of one map: a config as it is; a mapping is a growing map's if it holds a setting of growth."""
    if not isinstance(value, Mapping):
        return value
    of_growth = GrowingSOMConfig.model_fields.keys() - SOMConfig.model_fields.keys()
    return (GrowingSOMConfig if of_growth & value.keys() else SOMConfig).checked(value)


MapConfig = Annotated[SerializeAsAny[SOMConfig], BeforeValidator(_map_config)]


class HierarchicalSOMConfig(BaseModel):
    """All settings of a tree of maps; frozen, unknown fields refused.

    Raises:
        pydantic.ValidationError: A value is out of bounds or of the wrong type, a field is unknown, or the two kinds of
            map measure differently. It is a `ValueError` and lists every problem at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    root: MapConfig = Field(
        default_factory=lambda: GrowingSOMConfig(spread_factor=0.01), description="Settings of the root"
    )
    child: Literal["growing", "fixed"] | MapConfig = Field(
        default="growing", description="Settings of the maps below, or their kind: then the root's, but for the size"
    )
    tau_2: float = Field(
        default=0.1, gt=0, le=1, description="Share of the data's deviation above which a neuron gets a map of its own"
    )
    max_depth: int = Field(default=3, ge=1, strict=True, description="Levels of maps, the root included")
    min_samples: int = Field(default=20, ge=2, strict=True, description="Fewest samples that a map below is trained on")
    max_maps: int = Field(default=100, ge=1, strict=True, description="Most maps in the tree, the root included")

    @field_validator("child", mode="before")
    @classmethod
    def _known_kind(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("growing", "fixed"):
            raise ValueError(f"must be 'growing', 'fixed' or the settings of a map, got {value!r}")
        return value

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        child = self.child_config
        for name in SAME_AS_ROOT:
            own, of_root = getattr(child, name), getattr(self.root, name)
            if own != of_root:
                raise ValueError(f"child.{name} must be the root's {of_root!r}, got {own!r}")
        if child.num_features not in (None, self.root.num_features):
            raise ValueError(
                f"child.num_features must be the root's {self.root.num_features}, got {child.num_features}"
            )
        return self

    @property
    def child_config(self) -> SOMConfig:
        """The settings of the maps below the root."""
        if isinstance(self.child, SOMConfig):
            return self.child
        kind = GrowingSOMConfig if self.child == "growing" else SOMConfig
        inherited = {
            name: value for name, value in self.root if name in kind.model_fields and name not in NOT_INHERITED
        }
        return kind(**inherited)

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

"""The settings of a growing map: those of a flat one, and when to stop growing."""

from typing import Self

from pydantic import Field, model_validator

from somlib.configs.som_config import Algorithm, Initialization, SOMConfig


class GrowingSOMConfig(SOMConfig):
    r"""All settings of a growing map; frozen, unknown fields refused.

    `x` and `y` are the size to start from. The batch map from the plane of the principal axes is the default here.

    Raises:
        pydantic.ValidationError: As `SOMConfig`.

    Example:
        >>> GrowingSOMConfig.from_yaml("spread_factor: 0.8\ntopology: hexagonal\n").x
        2
    """

    x: int = Field(default=2, ge=1, description="Rows to start from")
    y: int = Field(default=2, ge=1, description="Columns to start from")
    sigma: float = Field(default=1.5, gt=0, description="Neighborhood radius at the start of each size, in cell widths")
    algorithm: Algorithm = Field(default="batch", description="Training rule; batch is Kohonen's batch map")
    initialization_mode: Initialization = Field(default="pca", description="How the first fit starts")
    spread_factor: float = Field(
        default=0.5, gt=0, lt=1, description="Larger grows larger: stops where no neuron exceeds -ln of it, in percent"
    )
    growth_epochs: int = Field(default=5, ge=1, strict=True, description="Passes over the data at each size")
    max_growth_steps: int = Field(default=100, ge=0, strict=True, description="Largest number of insertions in one fit")
    max_neurons: int | None = Field(
        default=None, ge=1, strict=True, description="Largest map; None: one neuron a sample, at most 10 000"
    )

    @model_validator(mode="after")
    def _can_grow(self) -> Self:
        if self.x * self.y < 2:
            raise ValueError("x and y must not both be 1: a map grows between two neighbors")
        if self.max_neurons is not None and self.max_neurons < self.x * self.y:
            raise ValueError(f"max_neurons must be at least x * y = {self.x * self.y}, got {self.max_neurons}")
        return self

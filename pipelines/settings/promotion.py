"""When a challenger takes the champion's place: `promotion`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.settings.section import Section

Direction = Literal["lower", "higher"]

# Which way a metric is better, by the last part of its name: jitl/temp/rmse is an rmse.
DIRECTIONS: dict[str, Direction] = {
    **dict.fromkeys(("qe", "te", "rmse", "mae", "log_loss", "calibration_error"), "lower"),
    **dict.fromkeys(("distortion", "combined_error", "davies_bouldin_score"), "lower"),
    **dict.fromkeys(("r2", "accuracy", "balanced_accuracy", "trustworthiness"), "higher"),
    **dict.fromkeys(("neighborhood_preservation", "silhouette_score"), "higher"),
}


class PromotionRule(Section):
    """How a challenger must compare with the champion in one metric, or in each metric of a pattern."""

    metric: str = Field(min_length=1, description="A metric such as qe, or a pattern of several such as jitl/*/rmse")
    required: Literal["improve", "not_worse"] = Field(
        default="improve",
        description="improve: better by at least min_margin, of several metrics one; not_worse: each of them worse by "
        "no more than min_margin",
    )
    min_margin: float = Field(default=0.01, ge=0, lt=1, description="As a share of the champion's value")
    confidence: float | None = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Of the interval that must lie on the right side of the margin; None: the two values alone decide",
    )
    direction: Direction | None = Field(default=None, description="Which is better; None: known from the metric's name")

    @model_validator(mode="after")
    def _known_direction(self) -> Self:
        if self.direction is None and self._measure not in DIRECTIONS:
            raise ValueError(f"direction must be lower or higher, for it is not known for the metric {self.metric!r}")
        return self

    @property
    def _measure(self) -> str:
        return self.metric.rpartition("/")[2]

    @property
    def better(self) -> Direction:
        """Which way the metric is better."""
        return self.direction or DIRECTIONS[self._measure]


class PromotionLimit(Section):
    """What a version must reach in one metric, or in each metric of a pattern, whatever the champion does."""

    metric: str = Field(min_length=1, description="A metric such as te, or a pattern of several such as *coverage")
    lowest: float | None = Field(default=None, description="Smallest value allowed")
    highest: float | None = Field(default=None, description="Largest value allowed")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lowest is None and self.highest is None:
            raise ValueError("lowest or highest must be given")
        if self.lowest is not None and self.highest is not None and self.lowest > self.highest:
            raise ValueError(f"lowest must not be above highest, got {self.lowest} and {self.highest}")
        return self


class PromotionConfig(Section):
    """When a challenger takes the champion's place: every rule and every limit must hold."""

    rules: tuple[PromotionRule, ...] | None = Field(
        default=None,
        description="None: with targets, one of jitl/*/rmse (of classes jitl/*/log_loss) must improve by 1 %, none "
        "worse by over 5 %, nor qe by over 10 %; without targets, qe must improve by 1 %",
    )
    limits: tuple[PromotionLimit, ...] | None = Field(
        default=None, description="None: te at most 0.2, and with targets *coverage from 0.8 to 0.97"
    )
    first: bool = Field(default=True, description="Whether a first version, without a champion, needs its limits only")
    approval: bool = Field(default=False, description="Whether a person must agree before a champion is replaced")

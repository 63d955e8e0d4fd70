"""How figures look: one frozen model of sizes, fonts, colors and file formats."""

from typing import Literal

import matplotlib
from matplotlib.colors import is_color_like
from pydantic import BaseModel, ConfigDict, Field, field_validator

FigureFormat = Literal["png", "svg", "pdf"]

# Paul Tol's "muted" scheme: nine fills that stay apart under the three common kinds of color blindness.
# https://personal.sron.nl/~pault/ (2021), SRON/EPS/TN/09-002.
MUTED = ("#88CCEE", "#CC6677", "#117733", "#DDCC77", "#332288", "#AA4499", "#44AA99", "#999933", "#882255")


class VisualizationConfig(BaseModel):
    """Settings of all figures; frozen, unknown fields refused. Lengths are in inches, text sizes in points.

    Raises:
        pydantic.ValidationError: A value is out of bounds, or no known color, color map or format. It is a
            `ValueError` and lists every problem at once.

    Example:
        >>> VisualizationConfig(formats=["png", "svg"], dpi=200).formats
        ('png', 'svg')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    formats: tuple[FigureFormat, ...] = Field(default=("png",), min_length=1, description="File formats to save in")
    dpi: int = Field(default=150, ge=30, le=1200, description="Dots per inch of png files, and of cells in large maps")

    map_size: float = Field(default=6.0, gt=0.5, le=60, description="Longer side of a map that has a figure to itself")
    sheet_width: float = Field(default=12.0, gt=1, le=60, description="Width of a sheet of several panels, about")
    sheet_height: float = Field(default=9.0, gt=1, le=60, description="Largest height of a sheet of maps, about")
    chart_width: float = Field(default=6.5, gt=1, le=60, description="Width of a chart's axes")
    chart_height: float = Field(default=3.6, gt=1, le=60, description="Height of a chart's axes")
    planes_per_page: int = Field(default=60, ge=1, le=200, description="Component planes on one sheet")

    font_family: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Font families in order of preference; None: matplotlib's own setting"
    )
    title_size: float = Field(default=13.0, gt=0, le=100, description="Titles")
    text_size: float = Field(default=9.5, gt=0, le=100, description="Axis labels, legends, panel titles")
    small_size: float = Field(default=8.0, gt=0, le=100, description="Tick labels, subtitles, notes")
    cell_text: bool = Field(default=True, description="Write values into cells where they fit")

    sequential_colors: str = Field(default="viridis", description="Color map of values from low to high")
    distance_colors: str = Field(default="magma", description="Color map of distances between neurons")
    diverging_colors: str = Field(default="RdBu_r", description="Color map of values around a center")
    cyclic_colors: str = Field(default="twilight", description="Color map of values that begin again, such as hours")
    category_colors: tuple[str, ...] = Field(default=MUTED, min_length=2, description="Colors of classes and clusters")
    empty_color: str = Field(default="#EFEFEF", description="Neurons without a value; hatched as well")
    highlight_color: str = Field(default="#D55E00", description="What a chart points at")
    retrieval_colors: tuple[str, str, str] = Field(
        default=("#0B4F8A", "#86BCE4", "#F2A541"), description="The query's neuron, its neighborhood, the fallback"
    )
    ink: str = Field(default="#1F2328", description="Text and lines")
    muted_ink: str = Field(default="#667079", description="Subtitles, ticks, hatching")
    background: str = Field(default="white", description="Behind everything")

    @field_validator("sequential_colors", "distance_colors", "diverging_colors", "cyclic_colors")
    @classmethod
    def _known_color_map(cls, name: str) -> str:
        if name not in matplotlib.colormaps:
            raise ValueError(f"must be a color map that matplotlib knows, got {name!r}")
        return name

    @field_validator("empty_color", "highlight_color", "ink", "muted_ink", "background")
    @classmethod
    def _known_color(cls, color: str) -> str:
        return _checked_color(color)

    @field_validator("category_colors", "retrieval_colors")
    @classmethod
    def _known_colors(cls, colors: tuple[str, ...]) -> tuple[str, ...]:
        for color in colors:
            _checked_color(color)
        return colors


def _checked_color(color: str) -> str:
    if not is_color_like(color):
        raise ValueError(f"must be a color that matplotlib knows, got {color!r}")
    return color

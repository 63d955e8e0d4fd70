"""From values to colors: ranges that can be fixed from outside, and colors for classes and clusters."""

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, to_rgb

from somlib.errors import ArgumentError
from somlib.visualization.lattice import Floats

LIGHTER, DARKER = 0.5, 0.35  # shares of white and of black that make more colors of the given ones


@dataclass(frozen=True, eq=False)
class Scale:
    """A color for every value between two ends.

    Attributes:
        low: Value at the lower end.
        high: Value at the upper end, above `low`.
        colors: The color map.
        extend: Which ends the values exceed, in matplotlib's words: they get pointed ends in the color bar.
        only: The one value that there is, None where they differ.
    """

    low: float
    high: float
    colors: Colormap
    extend: str = "neither"
    only: float | None = None

    @property
    def mappable(self) -> ScalarMappable:
        """What a color bar is made from."""
        return ScalarMappable(Normalize(self.low, self.high), self.colors)

    def colored(self, values: Floats) -> Floats:
        """RGBA of values of any shape, shape (..., 4); those outside of the ends take the color of the end."""
        return np.asarray(self.mappable.to_rgba(np.nan_to_num(values, nan=self.low)))


def scale_for(
    values: Floats,
    colors: str,
    *,
    reverse: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
    center: float | None = None,
) -> Scale:
    """The scale of the finite values, or of the range that is given.

    Args:
        values: Any shape; NaN is left out.
        colors: Name of a color map.
        reverse: Whether low values take its upper end.
        vmin: Value at the lower end; None takes the smallest.
        vmax: Value at the upper end; None takes the largest.
        center: Value that gets the middle of the color map; the ends move outwards to lie equally far from it.

    Raises:
        ArgumentError: `vmin` is not below `vmax`.
    """
    if vmin is not None and vmax is not None and not vmin < vmax:
        raise ArgumentError(f"vmin must be below vmax, got vmin={vmin} and vmax={vmax}")
    finite = values[np.isfinite(values)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    low, high = least if vmin is None else float(vmin), most if vmax is None else float(vmax)
    if center is not None:
        reach = max(high - center, center - low)
        low, high = center - reach, center + reach
    only = None
    if not low < high:  # one value, or a given end beyond all of them
        only = least if least == most else None
        low, high = _room_around(low, high, vmin, vmax)
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    color_map = matplotlib.colormaps[colors]
    return Scale(low, high, color_map.reversed() if reverse else color_map, extend[least < low, most > high], only)


def _room_around(low: float, high: float, vmin: float | None, vmax: float | None) -> tuple[float, float]:
    room = 0.1 * max(abs(low), abs(high)) or 1.0
    if vmin is not None:
        return low, low + room
    if vmax is not None:
        return high - room, high
    return low - room, high + room


def category_colors(count: int, colors: tuple[str, ...]) -> Floats:
    """A color for each of `count` categories, RGBA, shape (count, 4).

    The given colors first, then lighter and darker ones of the same, then all again.
    """
    plain = np.array([to_rgb(color) for color in colors])
    families = np.concatenate((plain, plain + (1 - plain) * LIGHTER, plain * (1 - DARKER)))
    rgb = families[np.arange(count) % len(families)]
    return np.column_stack((rgb, np.ones(count)))


def readable_on(rgba: Floats) -> list[str]:
    """Black or white for text on each of the backgrounds (m, 4), whichever contrasts more.

    References:
        W3C, Web Content Accessibility Guidelines 2.1, relative luminance and contrast ratio.
    """
    rgb = rgba[:, :3]
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return ["black" if bright else "white" for bright in luminance > 0.179]

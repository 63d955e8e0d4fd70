import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from somlib.errors import ArgumentError
from somlib.visualization.config import MUTED
from somlib.visualization.scale import category_colors, readable_on, scale_for

VIRIDIS = matplotlib.colormaps["viridis"]


def test_smallest_and_largest_value_take_the_ends_of_the_color_map() -> None:
    values = np.array([3.0, np.nan, 7.0, 5.0])
    scale = scale_for(values, "viridis")
    assert (scale.low, scale.high, scale.extend) == (3, 7, "neither")
    np.testing.assert_allclose(scale.colored(np.array([3.0, 5.0, 7.0])), VIRIDIS([0.0, 0.5, 1.0]))


def test_a_given_range_keeps_a_value_at_its_color_whatever_else_is_there() -> None:
    one = scale_for(np.array([1.0, 2.0]), "viridis", vmin=0, vmax=10)
    other = scale_for(np.array([2.0, 90.0]), "viridis", vmin=0, vmax=10)
    np.testing.assert_array_equal(one.colored(np.array([2.0])), other.colored(np.array([2.0])))
    assert (one.extend, other.extend) == ("neither", "max")


def test_values_beyond_a_given_range_are_told_by_pointed_ends() -> None:
    values = np.array([-1.0, 0.5, 2.0])
    assert scale_for(values, "viridis", vmin=0).extend == "min"
    assert scale_for(values, "viridis", vmin=0, vmax=1).extend == "both"


def test_a_center_takes_the_middle_of_the_color_map_with_ends_equally_far() -> None:
    scale = scale_for(np.array([-1.0, 4.0]), "RdBu_r", center=0)
    assert (scale.low, scale.high) == (-4, 4)
    np.testing.assert_allclose(scale.colored(np.array([0.0])), [matplotlib.colormaps["RdBu_r"](0.5)])


def test_reversed_colors_give_the_lowest_value_the_upper_end() -> None:
    scale = scale_for(np.array([0.0, 1.0]), "viridis", reverse=True)
    np.testing.assert_allclose(scale.colored(np.array([0.0])), [VIRIDIS(1.0)])


@pytest.mark.parametrize("value", [0.0, -3.0, 2e9, 1e-30])
def test_values_all_equal_get_a_range_around_them(value: float) -> None:
    scale = scale_for(np.full(4, value), "viridis")
    assert scale.only == value
    assert scale.low < value < scale.high


@pytest.mark.parametrize("limits", [{"vmin": 9.0}, {"vmax": 1.0}, {"vmin": 5.0}, {"vmax": 5.0}])
def test_one_given_end_beyond_all_values_still_makes_a_range(limits: dict[str, float]) -> None:
    scale = scale_for(np.array([5.0, 5.0]), "viridis", **limits)  # type: ignore[arg-type]
    assert scale.low < scale.high
    assert limits.get("vmin", scale.low) == scale.low
    assert limits.get("vmax", scale.high) == scale.high


def test_no_value_at_all_still_makes_a_range() -> None:
    scale = scale_for(np.full(3, np.nan), "viridis")
    assert scale.low < scale.high


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ArgumentError, match="vmin must be below vmax, got vmin=2 and vmax=1"):
        scale_for(np.array([0.0]), "viridis", vmin=2, vmax=1)


def test_categories_begin_with_the_given_colors_and_stay_apart_up_to_three_times_as_many() -> None:
    colors = category_colors(27, MUTED)
    np.testing.assert_allclose(colors[:9, :3], [to_rgb(color) for color in MUTED])
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=-1)[~np.eye(27, dtype=bool)]
    assert apart.min() > 0.1
    np.testing.assert_array_equal(category_colors(28, MUTED)[27], colors[0])


def test_text_has_a_contrast_of_four_and_a_half_on_every_color() -> None:
    backgrounds = np.concatenate([matplotlib.colormaps[name](np.linspace(0, 1, 64)) for name in ("viridis", "RdBu_r")])

    def luminance(rgb: tuple[float, ...]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for background, ink in zip(backgrounds, readable_on(backgrounds), strict=True):
        lighter, darker = sorted((luminance(tuple(background[:3])), luminance(to_rgb(ink))), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5

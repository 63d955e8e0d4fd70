import numpy as np
import pytest
from matplotlib.figure import Figure

from somlib.utils.grid import Grid
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.frame import MapFrame
from somlib.visualization.panel import tick_step
from somlib.visualization.scale import scale_for
from somlib.visualization.sheet import MapSheet, ShortNumbers, short_number
from tests.somlib.visualization.reading import extent, outline, outside, overlapping, shown_texts

CONFIG = VisualizationConfig(dpi=100)


def sheet_of(count: int, x: int, y: int, topology: str = "hexagonal") -> MapSheet:
    frame = MapFrame(Grid(x, y, topology), outline(topology), CONFIG)  # type: ignore[arg-type]
    sheet = frame.sheet(count)
    values = -0.1234 * np.linspace(1, 7, x * y)  # with long tick labels
    for panel in sheet.panels:
        scale = scale_for(values, "viridis")
        panel.fill_values(values, scale)
        sheet.add_bar(panel, scale, "sum of distances to neighbors" if count == 1 else "")
        if count > 1:
            sheet.name(panel, "a feature with quite a long name (unit)")
    sheet.head("Title of the figure", frame.subtitle("a note"))
    return sheet


def inches(figure: Figure, index: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of the axes of that index."""
    place, (width, height) = figure.axes[index].get_position(), figure.get_size_inches()
    return place.x0 * width, place.y0 * height, place.width * width, place.height * height


@pytest.mark.parametrize(
    ("count", "x", "y", "topology"),
    [
        (1, 4, 4, "hexagonal"),
        (1, 40, 40, "hexagonal"),
        (1, 120, 400, "rectangular"),
        (1, 400, 10, "hexagonal"),
        (1, 1, 10, "hexagonal"),
        (1, 10, 1, "rectangular"),
        (1, 1, 1, "hexagonal"),
        (4, 12, 8, "hexagonal"),
        (4, 2, 60, "rectangular"),
        (13, 10, 14, "rectangular"),
        (40, 25, 15, "hexagonal"),
        (60, 6, 30, "rectangular"),
    ],
)
def test_no_label_covers_another_or_is_cut_off(count: int, x: int, y: int, topology: str) -> None:
    figure = sheet_of(count, x, y, topology).finished()
    texts = shown_texts(figure)
    assert overlapping(texts) == []
    assert outside(figure, texts) == []


def test_rows_and_columns_are_numbered_where_their_cells_are() -> None:
    (panel,) = sheet_of(1, 4, 3).panels
    assert [label.get_text() for label in panel.axes.get_yticklabels()] == ["0", "1", "2", "3"]
    np.testing.assert_allclose(panel.axes.get_yticks(), np.arange(4) * np.sqrt(3) / 2)
    np.testing.assert_allclose(panel.axes.get_xticks(), [0.5, 1.5, 2.5])  # of the last row, an odd one


def test_row_zero_is_on_top_and_the_aspect_is_equal() -> None:
    figure = sheet_of(2, 4, 3).finished()
    for panel in figure.axes[:2]:
        bottom, top = panel.get_ylim()
        assert bottom > top
        assert panel.get_aspect() == 1
        left, right = panel.get_xlim()
        box = panel.get_position()
        width, height = figure.get_size_inches()
        per_row, per_column = box.height * height / (bottom - top), box.width * width / (right - left)
        assert per_row == pytest.approx(per_column)


@pytest.mark.parametrize(("count", "x", "y"), [(1, 12, 8), (9, 12, 8)])
def test_a_color_bar_is_as_high_as_its_map(count: int, x: int, y: int) -> None:
    figure = sheet_of(count, x, y).finished()
    (_, bottom, _, height), (_, bar_bottom, _, bar_height) = inches(figure, 0), inches(figure, count)
    assert (bottom, height) == pytest.approx((bar_bottom, bar_height))


def test_a_color_bar_below_a_wide_map_is_as_wide() -> None:
    figure = sheet_of(1, 4, 30).finished()
    (left, bottom, width, _), (bar_left, bar_bottom, bar_width, bar_height) = inches(figure, 0), inches(figure, 1)
    assert (left, width) == pytest.approx((bar_left, bar_width))
    assert bar_bottom + bar_height < bottom


@pytest.mark.parametrize(("x", "y"), [(10, 14), (14, 10)])  # color bars below, and at the side
def test_panels_have_one_size_and_do_not_overlap(x: int, y: int) -> None:
    figure = sheet_of(13, x, y).finished()
    places = [inches(figure, i) for i in range(13)]
    assert {(round(width, 6), round(height, 6)) for _, _, width, height in places} == {
        (round(places[0][2], 6), round(places[0][3], 6))
    }
    frames = [axes.get_window_extent().padded(-1) for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(frames) for b in frames[:i])
    texts = [extent(text).padded(-1) for text in shown_texts(figure)]
    assert not any(text.overlaps(frame) for text in texts for frame in frames)


def test_sixty_planes_fit_a_sheet_of_the_configured_size() -> None:
    figure = sheet_of(60, 25, 15).finished()
    width, height = figure.get_size_inches()
    assert width <= CONFIG.sheet_width + 0.5
    assert height <= CONFIG.sheet_height + 1.0


@pytest.mark.parametrize(
    ("count", "spacing", "needed", "step"),
    [(4, 50, 12, 1), (40, 11, 12, 2), (40, 5, 12, 5), (400, 1.1, 20, 20), (400, 1.1, 12, 20), (400, 0.01, 21, 5000)],
)
def test_ticks_are_thinned_to_the_next_round_step_with_room(
    count: int, spacing: float, needed: float, step: int
) -> None:
    assert tick_step(count, spacing, needed) == step


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (-1.5, "\N{MINUS SIGN}1.5"),
        (1234.5, "1234"),
        (999999.0, "999999"),
        (2.5e9, "2.5e+09"),
        (1e-7, "1e\N{MINUS SIGN}07"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


def test_tick_labels_tell_near_values_apart_with_equal_decimals() -> None:
    ticks = ShortNumbers(aligned=True)
    assert ticks.format_ticks([1013.25, 1013.5, 1013.75]) == ["1013.2", "1013.5", "1013.8"]
    assert ticks.format_ticks([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert ticks.format_ticks([0.0, 10.0, 20.0]) == ["0", "10", "20"]


@pytest.mark.parametrize("aligned", [False, True])
def test_an_end_that_is_zero_but_for_rounding_is_labelled_zero(aligned: bool) -> None:
    assert ShortNumbers(aligned=aligned).format_ticks([8.1e-8, 0.125]) == (
        ["0.000", "0.125"] if aligned else ["0", "0.125"]
    )
    assert ShortNumbers(aligned=False).format_ticks([1e-9, 3e-9]) == ["1e\N{MINUS SIGN}09", "3e\N{MINUS SIGN}09"]

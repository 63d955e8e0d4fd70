import math

import numpy as np
import pytest

from somlib.errors import ShapeError
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.training import training_figure
from tests.somlib.visualization.reading import outside, overlapping, shown_texts

CONFIG = VisualizationConfig(dpi=100)
NAN = math.nan


def test_both_errors_are_curves_by_epoch_on_axes_of_their_own() -> None:
    figure = training_figure([3.0, 2.0, 1.5], [0.2, 0.1, 0.05], None, CONFIG)
    left, right = figure.axes
    for axes, values, label in ((left, [3.0, 2.0, 1.5], "quantization"), (right, [0.2, 0.1, 0.05], "topographic")):
        (line,) = axes.get_lines()
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), values)
        assert label in axes.get_ylabel()
    assert left.get_position().bounds == right.get_position().bounds


def test_topographic_errors_read_in_percent_from_zero() -> None:
    right = training_figure([3.0, 2.0], [0.2, 0.1], None, CONFIG).axes[1]
    assert right.get_ylim()[0] == 0
    assert all(label.get_text().endswith("%") for label in right.get_yticklabels())


def test_sigma_has_axes_beneath_with_the_same_epochs() -> None:
    left, _, beneath = training_figure([3.0, 2.0], [0.2, 0.1], [4.0, 1.0], CONFIG).axes
    assert beneath.get_position().y1 < left.get_position().y0
    assert beneath.get_xlim() == left.get_xlim()
    np.testing.assert_array_equal(beneath.get_lines()[0].get_ydata(), [4, 1])


def test_one_epoch_is_a_visible_point_and_says_its_values() -> None:
    figure = training_figure([1.2345], [0.0567], None, CONFIG)
    (line,) = figure.axes[0].get_lines()
    assert line.get_marker() == "o"
    low, high = figure.axes[0].get_xlim()
    assert low < 1 < high
    assert any("1.234" in text.get_text() and "5.7%" in text.get_text() for text in shown_texts(figure))


def test_an_error_that_is_nowhere_defined_is_said_in_words() -> None:
    figure = training_figure([1.0, 0.5], [NAN, NAN], None, CONFIG)
    assert any(text.get_text() == "topographic error is not defined" for text in shown_texts(figure))


def test_a_curve_that_is_not_defined_at_first_is_drawn_where_it_is() -> None:
    figure = training_figure([1.0, 0.5, 0.4], [NAN, 0.2, 0.1], None, CONFIG)
    low, high = figure.axes[1].get_ylim()
    assert low <= 0.1 <= 0.2 <= high


@pytest.mark.parametrize("epochs", [1, 2, 30, 1000])
def test_no_label_covers_another_or_is_cut_off(epochs: int) -> None:
    values = [1 / (i + 1) for i in range(epochs)]
    figure = training_figure(values, values, values, CONFIG)
    assert overlapping(shown_texts(figure)) == []
    assert outside(figure, shown_texts(figure)) == []


@pytest.mark.parametrize(
    ("qe", "te", "sigmas", "message"),
    [
        ([], [], None, "quantization_errors must be a list of one number an epoch"),
        ([1.0, 2.0], [0.1], None, "topographic_errors must have 2 values, one an epoch, got shape"),
        ([1.0], [0.1], [2.0, 1.0], "sigmas must have 1 values, one an epoch, got shape"),
    ],
)
def test_lists_of_other_lengths_are_refused(
    qe: list[float], te: list[float], sigmas: list[float] | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        training_figure(qe, te, sigmas, CONFIG)

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.report.page import CHARTS, render_report
from pipelines.report.predictions import SHOWN_ROWS, newest, prediction_figure
from tests.pipelines.report_content import METRICS, Page, make_content

SCORES = {
    "rmse": 1.5,
    "rmse_ridge": 2.25,
    "rmse_neighbors": 1.25,
    "r2": 0.814,
    "coverage": 0.875,
    "width": 5.5,
    "fallback": 0.02,
}


def answers(n: int = 8, target: str = "yield", timed: bool = True) -> pl.DataFrame:
    predicted = np.linspace(0.0, 1.0, n)
    table = pl.DataFrame(
        {
            "sample": np.arange(n),
            "target": [target] * n,
            "measured": predicted + 0.1,
            "prediction": predicted,
            "lower": np.where(np.arange(n) == 0, 0.5, predicted - 1),
            "upper": predicted + 1,
            "fallback": [False] * n,
            "ridge": predicted,
            "neighbors": predicted,
        }
    )
    times = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(n)]
    return table.with_columns(pl.Series("time", times)) if timed else table


def page(table: pl.DataFrame | None, **changes: Any) -> Page:
    metrics = METRICS | {f"jitl/yield/{name}": value for name, value in SCORES.items()}
    fields: dict[str, Any] = {"metrics": metrics, "facts": {"coverage": 0.9}, "predictions": table}
    return Page(render_report(make_content(**(fields | changes))))


def test_each_target_has_its_errors_with_the_least_in_bold() -> None:
    found = page(answers())
    assert "yield 1.5 2.25 1.25 0.81 88 % 5.5 2.0 % 8" in found.text
    assert "Within interval (aim 90 %)" in found.text
    html = render_report(make_content(metrics=METRICS | {"jitl/yield/rmse": 1.5}, predictions=answers()))
    assert '<td class="number"><b>1.5</b></td>' in html


def test_a_chart_says_in_words_what_it_shows() -> None:
    (alt,) = (str(image["alt"]) for image in page(answers()).all("img", class_="chart") if "predicted" in str(image))
    assert alt == "Measured and predicted yield of 8 held-out rows; 7 lie within their interval."


def test_a_score_that_is_not_defined_is_a_dash() -> None:
    metrics = {f"jitl/yield/{name}": value for name, value in SCORES.items() if name != "r2"}
    assert "yield 1.5 2.25 1.25 – 88 %" in page(answers(), metrics=METRICS | metrics).text


@pytest.mark.parametrize("table", [None, answers(target="another")])
def test_without_predictions_there_is_no_section(table: pl.DataFrame | None) -> None:
    found = page(table)
    assert "Predictions" not in found.text
    assert not found.all("section", id="predictions")


def test_the_newest_rows_are_shown_in_the_order_of_time() -> None:
    many = answers(3 * SHOWN_ROWS).sample(fraction=1.0, shuffle=True, seed=1)
    assert newest(many)["sample"].to_list() == list(range(2 * SHOWN_ROWS, 3 * SHOWN_ROWS))


def test_without_times_some_of_all_rows_are_shown_by_their_prediction() -> None:
    shown = newest(answers(3 * SHOWN_ROWS, timed=False).sample(fraction=1.0, shuffle=True, seed=1))
    assert len(shown) == SHOWN_ROWS
    assert shown["prediction"].is_sorted()


@pytest.mark.parametrize("timed", [True, False])
def test_the_figure_draws_measured_and_predicted_values_and_the_band(timed: bool) -> None:
    table = answers(timed=timed)
    (axes,) = prediction_figure(table, "yield $1$", CHARTS).axes
    lines = {str(line.get_label()): np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["predicted"], table["prediction"])
    np.testing.assert_array_equal(lines["measured"], table["measured"])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (table["lower"].min(), table["upper"].max())
    assert axes.get_xlabel() == ("time" if timed else "held-out rows by prediction")

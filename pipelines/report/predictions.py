"""How well the targets are predicted: local models beside their rivals, and what they said to the newest rows."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from pipelines.report.content import ReportContent
from pipelines.report.encoding import svg_uri
from pipelines.report.words import number, percent
from somlib.visualization import VisualizationConfig
from somlib.visualization.canvas import (
    axes_at,
    fit_to_content,
    font,
    new_figure,
    style_chart,
    style_legend,
    style_texts,
    title,
)

SHOWN_ROWS = 200  # of a target in its chart: about a week of hours
PREDICTED, INTERVAL = "#0B4F8A", "#C6DCF0"


@dataclass(frozen=True)
class TargetPrediction:
    """How well one target is predicted, as the page shows it.

    Attributes:
        name: Of the target.
        rows: Held-out rows that the scores are of.
        errors: RMSE of local models, of one ridge, and of ridges on the nearest rows, in this order.
        best: Which of the three has the least.
        r2: Share of the variance that local models explain.
        coverage: Share of the rows whose target lies within its interval.
        width: Mean width of the intervals.
        fallback: Share of the rows that lie off the map.
        chart: Measured and predicted values as a data URI.
        chart_alt: What it shows, in words.
    """

    name: str
    rows: str
    errors: tuple[str, str, str]
    best: int
    r2: str
    coverage: str
    width: str
    fallback: str
    chart: str
    chart_alt: str


def target_predictions(content: ReportContent, config: VisualizationConfig) -> Iterator[TargetPrediction]:
    """One for each target that was predicted on held-out rows."""
    answers = content.predictions
    if answers is None:
        return
    for name, stem in content.facts.stems.items():
        own = answers.filter(pl.col("target") == name)
        if len(own):
            yield _target_prediction(content, name, f"jitl/{stem}/", own, config)


def _target_prediction(
    content: ReportContent, name: str, prefix: str, answers: pl.DataFrame, config: VisualizationConfig
) -> TargetPrediction:
    value = {key: content.metric(prefix + key) for key in ("r2", "coverage", "width", "fallback")}
    errors = [content.metric(f"{prefix}rmse{of}") for of in ("", "_ridge", "_neighbors")]
    shown = newest(answers)
    return TargetPrediction(
        name=name,
        rows=f"{len(answers):,}",
        errors=(number(errors[0]), number(errors[1]), number(errors[2])),
        best=int(np.nan_to_num(errors, nan=np.inf).argmin()),
        r2=number(value["r2"], 2),
        coverage=percent(value["coverage"]),
        width=number(value["width"]),
        fallback=percent(value["fallback"], 1),
        chart=svg_uri(prediction_figure(shown, name, config)),
        chart_alt=_in_words(shown, name),
    )


def newest(answers: pl.DataFrame) -> pl.DataFrame:
    """The newest answers of a target in the order of time; without times some of all, by their prediction."""
    if "time" in answers.columns:
        return answers.sort("time", maintain_order=True).tail(SHOWN_ROWS)
    return answers.gather_every(max(1, len(answers) // SHOWN_ROWS)).sort("prediction")


def prediction_figure(answers: pl.DataFrame, name: str, config: VisualizationConfig) -> Figure:
    """Measured values as dots, predicted ones as a line, intervals as a band; in the order of `answers`."""
    figure = new_figure(config)
    axes = axes_at(figure, 0.8, 0.6, config.chart_width, config.chart_height)
    style_chart(axes, config)
    timed = "time" in answers.columns
    place = answers["time"].to_numpy() if timed else np.arange(len(answers))
    lower, upper, predicted, measured = (
        answers[column].to_numpy() for column in ("lower", "upper", "prediction", "measured")
    )
    axes.fill_between(place, lower, upper, color=INTERVAL, linewidth=0, label="interval")
    axes.plot(place, predicted, color=PREDICTED, linewidth=1.4, label="predicted")
    axes.plot(place, measured, ".", color=config.ink, markersize=3.5, label="measured")
    if timed and answers["time"].dtype.is_temporal():
        _date_ticks(axes, config)
    axes.set_xlabel("time" if timed else "held-out rows by prediction")
    style_texts(axes, config)
    style_legend(axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), ncol=3, fontsize=config.small_size), config)
    title(axes, config, name, f"{'newest ' if timed else ''}{len(answers)} of the held-out rows")
    return fit_to_content(figure)


def _date_ticks(axes: Axes, config: VisualizationConfig) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]  # stubs lack it
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # as above
    axes.xaxis.get_offset_text().set_fontproperties(font(config, config.small_size))


def _in_words(answers: pl.DataFrame, name: str) -> str:
    inside = answers.select(pl.col("measured").is_between("lower", "upper").sum()).item()
    return f"Measured and predicted {name} of {len(answers)} held-out rows; {inside} lie within their interval."

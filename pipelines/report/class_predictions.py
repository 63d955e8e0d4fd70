"""How well targets that are classes are predicted: losses beside those of rivals, confusion and calibration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from pipelines.report.content import ReportContent
from pipelines.report.encoding import svg_uri
from pipelines.report.facts import ClassFacts
from pipelines.report.words import number, percent
from pipelines.training.class_scores import RIVALS, confusion
from pipelines.wording import some
from somlib.jitl.pool import BINS
from somlib.visualization import SOMVisualizer, VisualizationConfig
from somlib.visualization.canvas import axes_at, fit_to_content, new_figure, style_chart, style_texts, title

CLASSES_OF_CLUSTER = 3  # of a target, in the profile of a cluster
MOST_CONFUSED = 12  # classes in the table, the most frequent ones
NAMED = "#0B4F8A"
SMALLEST_DOT, LARGEST_DOT = 12.0, 160.0  # area, of bins by their rows


@dataclass(frozen=True)
class ClassPrediction:
    """How well one class is predicted, as the page shows it.

    Attributes:
        name: Of the target.
        rows: Held-out rows that the scores are of.
        losses: Log loss of local models, then of the rivals.
        best: Which of them has the least.
        balanced: Balanced accuracy, in the same order.
        calibration: Calibration error of local models.
        fallback: Share of the rows that lie off the map.
        classes: Those of the table of true against named class.
        confused: A line for each true class: its name, and its rows by named class, then those named otherwise.
        others: How many classes the table leaves out.
        chart: How often named classes are right, by their probability, as a data URI.
        chart_alt: What it shows, in words.
    """

    name: str
    rows: str
    losses: tuple[str, ...]
    best: int
    balanced: tuple[str, ...]
    calibration: str
    fallback: str
    classes: tuple[str, ...]
    confused: tuple[tuple[str, tuple[int, ...]], ...]
    others: int
    chart: str
    chart_alt: str


def class_predictions(content: ReportContent, config: VisualizationConfig) -> Iterator[ClassPrediction]:
    """One for each target that is a class and was predicted on held-out rows."""
    answers = content.class_predictions
    if answers is None:
        return
    for name, stem in content.facts.stems.items():
        own = answers.filter(pl.col("target") == name)
        if len(own):
            yield _prediction(content, name, f"jitl/{stem}/", own, config)


def _prediction(
    content: ReportContent, name: str, prefix: str, answers: pl.DataFrame, config: VisualizationConfig
) -> ClassPrediction:
    suffixes = ("", *(f"_{rival}" for rival in RIVALS))
    losses = [content.metric(f"{prefix}log_loss{of}") for of in suffixes]
    classes, lines, others = confusion_lines(answers)
    calibration = content.metric(f"{prefix}calibration_error")
    return ClassPrediction(
        name=name,
        rows=f"{len(answers):,}",
        losses=tuple(number(loss) for loss in losses),
        best=int(np.nan_to_num(losses, nan=np.inf).argmin()),
        balanced=tuple(percent(content.metric(f"{prefix}balanced_accuracy{of}"), 1) for of in suffixes),
        calibration=number(calibration, 2),
        fallback=percent(content.metric(f"{prefix}fallback"), 1),
        classes=classes,
        confused=lines,
        others=others,
        chart=svg_uri(reliability_figure(answers, name, config)),
        chart_alt=f"Named classes of {name} by their probability and how often they are right; they differ by "
        f"{number(calibration, 2)} on average.",
    )


def confusion_lines(answers: pl.DataFrame) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...], int]:
    """The table of true against named class: its classes, a line for each with its rows, and how many are left out.

    Each line ends with the rows that were named as a class that is left out, if any is.
    """
    found = confusion(answers)
    sizes = found.group_by("measured").agg(pl.col("rows").sum()).sort("rows", "measured", descending=[True, False])
    every = sorted({*found["measured"], *found["prediction"]})
    kept = sorted(sizes["measured"].to_list()[:MOST_CONFUSED]) if len(every) > MOST_CONFUSED else every
    rows = {(true, named): count for true, named, count in found.iter_rows()}
    lines = []
    for true in kept:
        counts = [rows.get((true, named), 0) for named in kept]
        if len(every) > len(kept):
            counts.append(sum(count for (of, _), count in rows.items() if of == true) - sum(counts))
        lines.append((true, tuple(counts)))
    return tuple(kept), tuple(lines), len(every) - len(kept)


def reliability(answers: pl.DataFrame) -> pl.DataFrame:
    """Named classes in bins of equal width by their probability: mean `probability`, share `right`, and `rows`."""
    place = (pl.col("probability") * BINS).floor().clip(0, BINS - 1)
    return (
        answers.group_by(place.alias("bin"))
        .agg(
            pl.col("probability").mean(),
            right=(pl.col("measured") == pl.col("prediction")).mean(),
            rows=pl.len(),
        )
        .sort("bin")
        .drop("bin")
    )


def reliability_figure(answers: pl.DataFrame, name: str, config: VisualizationConfig) -> Figure:
    """How often named classes are right against their probability; on the diagonal they can be relied on."""
    bins = reliability(answers)
    figure = new_figure(config)
    axes = axes_at(figure, 0.8, 0.6, config.chart_width, config.chart_height)
    style_chart(axes, config)
    axes.plot([0, 1], [0, 1], color=config.muted_ink, linewidth=1.0, linestyle=(0, (4, 3)))
    rows = bins["rows"].to_numpy()
    size = SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * rows / rows.max()
    axes.plot(bins["probability"], bins["right"], color=NAMED, linewidth=1.2)
    axes.scatter(bins["probability"], bins["right"], s=size, color=NAMED, zorder=3, clip_on=False)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("probability of the named class")
    axes.set_ylabel("share that is right")
    style_texts(axes, config)
    title(axes, config, name, f"{len(answers):,} held-out rows; larger dots stand for more of them")
    return fit_to_content(figure)


def class_sizes(classes: ClassFacts) -> str:
    """The classes with their shares, the most frequent first."""
    total = max(sum(classes.rows.values()), 1)
    ranked = sorted(classes.rows, key=lambda label: -classes.rows[label])
    return some([f"{label} {percent(classes.rows[label] / total)}" for label in ranked])


def class_maps(content: ReportContent, config: VisualizationConfig) -> Iterator[tuple[str, str]]:
    """The most frequent class of each neuron, as a data URI and in words."""
    draw = SOMVisualizer(content.som, config)
    for name, classes in content.classes.items():
        if classes.counts.any():
            figure = draw.plot_classification_map(statistic=classes.most, class_names=classes.names, target_name=name)
            yield svg_uri(figure), f"Most frequent {name} on each neuron: {some(list(classes.names))}"


def class_shares(content: ReportContent, means: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    """The most frequent classes of a cluster: name, share of its rows, share of all rows.

    Args:
        content: What the page shows.
        means: Over the rows of the cluster by column, of each class its share.
    """
    for name, classes in content.facts.classes.items():
        total = sum(classes.rows.values())
        known = {label: means.get(f"{name}={label}", np.nan) for label in classes.rows}
        for label in sorted(known, key=lambda label: -np.nan_to_num(known[label], nan=-1.0))[:CLASSES_OF_CLUSTER]:
            if known[label] > 0:
                yield f"{name}={label}", percent(known[label]), percent(classes.rows[label] / total)

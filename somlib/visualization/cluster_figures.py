"""Figures of clusterings from plain arrays: the map, the elbow, silhouettes, scores compared, profiles.

Clusters are numbered from 1, noise is -1. A cluster has the same color in every figure.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from somlib.visualization.canvas import (
    MINUS,
    POINTS,
    axes_at,
    fit_to_content,
    font,
    new_figure,
    plain,
    sheet_title,
    shortened,
    style_chart,
    style_texts,
    text_width,
    title,
)
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.frame import MapFrame
from somlib.visualization.lattice import Floats, Ints
from somlib.visualization.map_figures import counted
from somlib.visualization.panel import swatch
from somlib.visualization.scale import category_colors
from somlib.visualization.sheet import short_number

NOISE = -1
ROW = 0.27  # inches from one bar to the next
BAR = 0.7  # of that, filled
SCORE_STEP = 1.95  # inches from one score to the next
SCORED_NAME, PROFILE_NAME = 230.0, 115.0  # points; longer names are cut
SILHOUETTE_ROWS = 600  # neurons of a cluster that are drawn, at most: more than there are dots
NOT_DEFINED = "not defined"

# Key in `ClusterMetrics`, name, whether higher is better.
SCORES: tuple[tuple[str, str, bool], ...] = (
    ("silhouette_score", "Silhouette", True),
    ("davies_bouldin_score", "Davies–Bouldin", False),
    ("calinski_harabasz_score", "Calinski–Harabasz", True),
    ("topological_quality", "Contiguity on the map", True),
    ("noise_ratio", "Share of noise", False),
)


def cluster_figure(frame: MapFrame, labels: Ints, note: str, hits: Floats | None = None) -> Figure:
    """The clusters on the map, outlined and numbered, with their sizes.

    Args:
        frame: What to draw on.
        labels: Cluster of each neuron, shape (m,); numbers that no neuron has are left out.
        note: What the subtitle says.
        hits: Samples of each neuron, shape (m,), for the legend.
    """
    sheet, panel = frame.single(bars=False)
    clusters = numbers_of(labels)
    palette = category_colors(len(clusters), frame.config.category_colors)
    colors = palette[(labels - 1).clip(0)] if len(clusters) else np.ones((len(labels), 4))
    panel.fill(colors, labels == NOISE)
    panel.draw_outlines(labels)
    panel.name_pieces(labels, {cluster: str(cluster) for cluster in clusters})
    present = [k for k in clusters if (labels == k).any()]
    entries = [swatch(palette[k - 1], _size(k, labels, hits), config=frame.config) for k in present]
    if (labels == NOISE).any():
        entries.append(swatch(None, _size(NOISE, labels, hits), hatched=True, config=frame.config))
    sheet.legend(entries, "cluster")
    sheet.head(counted(len(present), "cluster").capitalize(), frame.subtitle(note))
    return sheet.finished()


def elbow_figure(counts: Sequence[int], inertias: Floats, note: str, config: VisualizationConfig) -> Figure:
    """K-Means inertia by number of clusters, with the elbow marked where there is one."""
    figure = new_figure(config)
    axes = axes_at(figure, 0.8, 0.6, config.chart_width, config.chart_height)
    style_chart(axes, config)
    axes.plot(counts, inertias, color=config.ink, lw=1.8, marker="o", markersize=5, mew=1, clip_on=False, zorder=3)
    elbow = elbow_of(inertias)
    if elbow is not None:
        k, inertia = counts[elbow], inertias[elbow]
        axes.plot([k], [inertia], marker="o", markersize=11, mfc="none", mew=2, color=config.highlight_color, zorder=4)
        label = axes.annotate(
            f"elbow: {k} clusters",
            (k, inertia),
            xytext=(10, 10),
            textcoords="offset points",
            color=config.highlight_color,
            fontproperties=font(config, config.text_size, bold=True),
        )
        plain(label)
    axes.set_ylim(0, 1.06 * float(inertias.max()) or 1.0)
    axes.set_xlim(min(counts) - 0.3, max(counts) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
    axes.set(xlabel="number of clusters", ylabel="inertia (sum of squared distances to the centers)")
    style_texts(axes, config)
    title(axes, config, "Elbow: K-Means inertia by number of clusters", note)
    return fit_to_content(figure)


def elbow_of(inertias: Floats) -> int | None:
    """Position of the elbow: the point farthest below the line from the first to the last, both axes at length 1.

    Returns:
        None where the curve has fewer than three points or nowhere lies below that line.

    References:
        Satopää, Albrecht, Irwin and Raghavan, Finding a "kneedle" in a haystack, ICDCS Workshops 2011.
    """
    if len(inertias) < 3 or not inertias[0] > inertias[-1]:
        return None
    falling = (inertias - inertias[-1]) / (inertias[0] - inertias[-1])
    depth = np.linspace(1, 0, len(inertias)) - falling
    return int(depth.argmax()) if depth.max() > 1e-9 else None


def silhouette_figure(values: Floats, labels: Ints, note: str, config: VisualizationConfig) -> Figure:
    """The silhouette of every neuron, by cluster and sorted; the dashed line is the mean.

    Args:
        values: Silhouettes in [-1, 1], NaN where not defined, shape (m,).
        labels: Cluster of each neuron, shape (m,).
        note: What the subtitle says.
        config: How it looks.
    """
    figure = new_figure(config)
    clusters = numbers_of(labels)
    height = max(config.chart_height, 0.32 * len(clusters))
    axes = axes_at(figure, 0.8, 0.6, config.chart_width, height)
    style_chart(axes, config, grid="x")
    defined = values[np.isfinite(values)]
    if defined.size:
        axes.set(xlabel="silhouette", ylabel="cluster (neurons, sorted)")
        _draw_silhouettes(axes, values, labels, clusters, config)
        mean = float(defined.mean())
        axes.axvline(mean, color=config.ink, lw=1.2, ls=(0, (4, 3)), zorder=4)
        note = f"mean {short_number(mean)} (dashed)  ·  {note}"
    else:
        _say(axes, "not defined: silhouettes compare at least two clusters of neurons", config)
    style_texts(axes, config)
    title(axes, config, "Silhouette of every neuron", note)
    return fit_to_content(figure)


def _draw_silhouettes(
    axes: Axes, values: Floats, labels: Ints, clusters: Sequence[int], config: VisualizationConfig
) -> None:
    palette = category_colors(len(clusters), config.category_colors)
    gap = max(1.0, 0.02 * len(values))
    low, middles = 0.0, []
    for k in clusters:
        bars = np.sort(values[labels == k])[::-1]
        edge = np.linspace(low, low + len(bars), min(len(bars), SILHOUETTE_ROWS) + 1)
        shown = bars[np.linspace(0, len(bars) - 1, len(edge) - 1).round().astype(int)]
        axes.stairs(shown, edge, orientation="horizontal", fill=True, color=palette[k - 1])
        middles.append(low + len(bars) / 2)
        low += len(bars) + gap
    axes.set_ylim(low - gap, 0)
    least = float(np.nanmin(values))
    axes.set_xlim(min(0.0, 1.05 * least), max(1.0, float(np.nanmax(values))) if least < 1 else 1.0)
    axes.set_yticks(middles, [str(k) for k in clusters])
    axes.tick_params(axis="y", length=0)


def comparison_figure(
    results: Sequence[Mapping[str, float]], names: Sequence[str], config: VisualizationConfig
) -> Figure:
    """Scores of several clusterings side by side, the best of each filled.

    Args:
        results: For each clustering its `ClusterMetrics`.
        names: One a clustering.
        config: How it looks.
    """
    figure = new_figure(config)
    labels = font(config, config.text_size)
    names = [shortened(figure, name, labels, SCORED_NAME) for name in names]
    left = max(text_width(figure, name, labels) for name in names) / POINTS + 0.15
    for i, (key, name, higher) in enumerate(SCORES):
        values = np.array([float(result[key]) for result in results])
        axes = axes_at(figure, left + i * SCORE_STEP, 0.9, SCORE_STEP - 0.55, ROW * len(results))
        _draw_scores(axes, values, higher, config)
        title(axes, config, name, "higher is better" if higher else "lower is better", size=config.text_size)
        axes.set_yticks(range(len(names)), names if i == 0 else [])
        axes.tick_params(axis="y", length=0, pad=6, labelcolor=config.ink)
        style_texts(axes, config, ticks=config.text_size)
    sheet_title(figure, config, "Clusterings compared", "colored: the best by each score", 0.0, 0.3)
    return fit_to_content(figure)


def _draw_scores(axes: Axes, values: Floats, higher: bool, config: VisualizationConfig) -> None:
    rows = np.arange(len(values))
    finite = np.isfinite(values)
    best = (np.nanmax(values) if higher else np.nanmin(values)) if finite.any() else math.nan
    colors = [config.highlight_color if value == best else "#BFC6CC" for value in values]
    axes.barh(rows, np.nan_to_num(values), height=BAR, color=colors)
    for spine in axes.spines.values():
        spine.set_visible(False)
    low, high = min(0.0, np.nanmin(values, initial=0.0)), max(0.0, np.nanmax(values, initial=0.0))
    reach = (high - low) or 1.0
    axes.set_xlim(low - 0.02 * reach, high + 0.02 * reach)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xticks([])
    axes.axvline(0, color=config.muted_ink, lw=0.8)
    for row, value in zip(rows, values, strict=True):
        text = short_number(value) if math.isfinite(value) else NOT_DEFINED
        at = max(value, 0.0) if math.isfinite(value) else 0.0
        label = axes.annotate(text, (at, row), xytext=(4, 0), textcoords="offset points", va="center_baseline")
        label.set(color=config.ink if math.isfinite(value) else config.muted_ink)
        label.set_fontproperties(font(config, config.small_size, bold=value == best))


def profile_figure(
    effects: Floats, labels: Ints, names: Sequence[str], features: int, note: str, config: VisualizationConfig
) -> Figure:
    """For each cluster the features that set it apart, strongest first.

    Args:
        effects: Standardized differences, one row a cluster, NaN where not defined, shape (k, d).
        labels: Cluster of each neuron, shape (m,), for the sizes; numbers that no neuron has are left out.
        names: One a feature.
        features: How many of them to draw for each cluster, at most.
        note: What the subtitle says.
        config: How it looks.
    """
    figure = new_figure(config)
    count, rows = len(effects), min(features, effects.shape[1])
    columns = _profile_columns(count, config)
    properties = font(config, config.small_size)
    names = [shortened(figure, name, properties, PROFILE_NAME) for name in names]
    left = max(text_width(figure, name, properties) for name in names) / POINTS + 0.15
    size = (max(1.5, min(2.6, config.sheet_width / columns - left - 0.3)), 0.85 * ROW * rows)
    reach = float(np.nanmax(np.abs(effects), initial=0.0)) or 1.0
    colors = category_colors(count, config.category_colors)
    for place, i in enumerate(i for i in range(count) if (labels == i + 1).any()):
        line, column = divmod(place, columns)
        axes = axes_at(figure, left + column * (left + size[0] + 0.3), 0.8 + line * (size[1] + 0.62), *size)
        style_chart(axes, config, grid="x")
        axes.spines["left"].set_visible(False)
        _draw_profile(axes, effects[i], names, rows, reach, colors[i], config)
        own = counted(int((labels == i + 1).sum()), "neuron")
        title(axes, config, f"Cluster {i + 1}: {own}", size=config.text_size)
    if not count:
        _say(axes_at(figure, 0.0, 0.5, config.chart_width, 1.0), "no clusters: all neurons are noise", config)
    sheet_title(figure, config, "What sets each cluster apart", note, 0.0, 0.3)
    return fit_to_content(figure)


def _draw_profile(
    axes: Axes,
    effects: Floats,
    names: Sequence[str],
    rows: int,
    reach: float,
    color: Floats,
    config: VisualizationConfig,
) -> None:
    """The strongest effects of one cluster as bars, on an axis that reaches equally far both ways."""
    if np.isnan(effects).all():
        _say(axes, "not defined: no other neurons", config)
        return
    room = 2.6 * config.small_size / (axes.bbox.width / axes.figure.dpi * POINTS)  # that a number takes, of the width
    axes.set_xlim(-reach / (1 - 2 * room), reach / (1 - 2 * room))
    axes.set_ylim(rows - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], symmetric=True))
    axes.axvline(0, color=config.ink, lw=0.9, zorder=3)
    order = np.argsort(-np.abs(effects), kind="stable")[:rows]
    axes.barh(np.arange(rows), effects[order], height=BAR, color=color)
    axes.set_yticks(np.arange(rows), [names[feature] for feature in order])
    axes.tick_params(axis="y", length=0)
    style_texts(axes, config)
    for position, effect in enumerate(effects[order]):
        side = 1 if effect >= 0 else -1
        text = axes.annotate(
            f"{effect:+.1f}".replace("-", MINUS) if abs(effect) >= 0.05 else "0.0",
            (effect, position),
            xytext=(3 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center_baseline",
        )
        text.set(color=config.ink, fontproperties=font(config, 0.85 * config.small_size))


def standardized_differences(weights: Floats, labels: Ints) -> Floats:
    """How far each cluster stands from the rest of the map in each feature.

    The mean weight of the cluster's neurons minus that of all other neurons (noise among them), divided by the standard
    deviation of the feature over all neurons: +1 says that the cluster lies one standard deviation of the map above the
    others. About 0.2 is little, 0.5 medium, 0.8 and more is much (Cohen 1988, ch. 2, for his closely related d).

    The standard deviation is that of the whole map, not the pooled one within the groups as in Cohen's d, because
    neurons of a cluster can be all but equal, and d then has no bound. With equal groups the value ends at 2.

    Args:
        weights: Neurons, shape (m, d).
        labels: Cluster of each neuron from 1, noise -1, shape (m,).

    Returns:
        One row a cluster, shape (k, d). 0 for a feature that is the same in all neurons; NaN for a cluster that holds
        all of them.
    """
    clusters = numbers_of(labels)
    member = (labels[None, :] == np.array(clusters, dtype=np.int64)[:, None]).astype(np.float64)  # (k, m)
    inside, outside = member.sum(axis=1, keepdims=True), (1 - member).sum(axis=1, keepdims=True)
    centered = weights - weights.mean(axis=0)
    others = np.where(outside > 0, outside, np.nan)
    difference = member @ centered / inside.clip(1) - (1 - member) @ centered / others
    spread = weights.std(axis=0)
    varies = spread > 1e-9 * np.abs(weights).max(axis=0, initial=0.0)
    return np.asarray(np.where(varies, difference / np.where(varies, spread, 1.0), 0.0 * difference))


def numbers_of(labels: Ints) -> list[int]:
    """The clusters 1 to k."""
    return list(range(1, int(labels.max(initial=0)) + 1))


def _size(cluster: int, labels: Ints, hits: Floats | None) -> str:
    members = labels == cluster
    own = int(members.sum())
    text = f"{'noise' if cluster == NOISE else cluster}: {counted(own, 'neuron')} ({own / len(labels):.0%})"
    return text if hits is None else f"{text}, {counted(int(hits[members].sum()), 'sample')}"


def _profile_columns(count: int, config: VisualizationConfig) -> int:
    most = max(1, int(config.sheet_width / 3.6))
    if count <= most:
        return max(count, 1)
    return min(most, math.ceil(math.sqrt(count)))


def _say(axes: Axes, text: str, config: VisualizationConfig) -> None:
    """A sentence in place of what cannot be drawn."""
    note = axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=config.muted_ink)
    note.set_fontproperties(font(config, config.text_size))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)

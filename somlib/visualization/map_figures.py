"""Figures of maps from plain arrays: distances, hits, component planes, target statistics, classes, retrieval."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from somlib.visualization.frame import MapFrame
from somlib.visualization.lattice import Floats, Ints, Lattice
from somlib.visualization.panel import swatch
from somlib.visualization.planes import similarity_order
from somlib.visualization.scale import category_colors, scale_for

Range = tuple[float, float]
DOTTED_CELL = 14.0  # points: neurons of an expanded U-matrix get a dot from here on


@dataclass(frozen=True)
class Wording:
    """What a map is called.

    Attributes:
        title: Title of the figure.
        bar: What its values are.
        note: What the subtitle adds.
        empty: Why a neuron has no value.
    """

    title: str
    bar: str
    note: str = ""
    empty: str = "no samples"


@dataclass(frozen=True)
class Limits:
    """What fixes a color scale from outside; None leaves it to the values. See `scale_for`."""

    vmin: float | None = None
    vmax: float | None = None
    center: float | None = None


def value_figure(
    frame: MapFrame,
    values: Floats,
    wording: Wording,
    colors: str,
    limits: Limits,
    *,
    names: Sequence[str] | None = None,
    reverse: bool = False,
    whole: bool = False,
) -> Figure:
    """One map of values, or a panel for each of several; NaN is empty.

    Args:
        frame: What to draw on.
        values: Shape (o, m).
        wording: What they are.
        colors: Name of a color map.
        limits: Ends and center of the colors, of every panel.
        names: One a panel; None numbers them.
        reverse: Whether low values take the upper end of the color map.
        whole: Whether the values are whole numbers; they are written into the cells where they fit.
    """
    sheet = frame.sheet(len(values))
    for i, (panel, flat) in enumerate(zip(sheet.panels, values, strict=True)):
        scale = scale_for(flat, colors, reverse=reverse, vmin=limits.vmin, vmax=limits.vmax, center=limits.center)
        filled = panel.fill_values(flat, scale)
        if not np.isnan(flat).all():
            sheet.add_bar(panel, scale, wording.bar if sheet.single else "", whole=whole)
        if whole:
            panel.write(["" if np.isnan(value) else f"{value:.0f}" for value in flat], filled)
        if not sheet.single:
            sheet.name(panel, names[i] if names is not None else f"target {i + 1}")
    if np.isnan(values).any():
        sheet.explain_empty(wording.empty)
    sheet.head(wording.title, frame.subtitle(wording.note))
    return sheet.finished()


def expanded_figure(frame: MapFrame, lattice: Lattice, values: Floats, wording: Wording, limits: Limits) -> Figure:
    """A U-matrix with cells between the neurons; `lattice` has the cells of the neurons first."""
    sheet, panel = frame.single(lattice)
    scale = scale_for(values, frame.config.distance_colors, vmin=limits.vmin, vmax=limits.vmax)
    panel.fill_values(values, scale)
    if panel.cell >= DOTTED_CELL:
        size = min(4.5, panel.cell / 7)
        neurons = np.arange(frame.grid.m)
        panel.mark(neurons, marker="o", color="white", markersize=size, markeredgecolor="black", markeredgewidth=0.5)
    sheet.add_bar(panel, scale, wording.bar)
    sheet.head(wording.title, frame.subtitle(wording.note))
    return sheet.finished()


def history_figure(frame: MapFrame, values: Floats, epochs: Sequence[int], note: str) -> Figure:
    """Maps of distances (s, m) at several epochs, all in one color scale."""
    sheet = frame.sheet(len(values))
    scale = scale_for(values, frame.config.distance_colors, vmin=0.0)
    for panel, flat, epoch in zip(sheet.panels, values, epochs, strict=True):
        panel.fill_values(flat, scale)
        sheet.name(panel, f"epoch {epoch}")
    sheet.add_bar(sheet.panels[min(sheet.columns, len(values)) - 1], scale)
    sheet.head("Distance map during training", frame.subtitle(note))
    return sheet.finished()


def plane_figures(
    frame: MapFrame,
    planes: Floats,
    names: Sequence[str],
    *,
    sort: bool,
    center: float | None,
    ranges: Mapping[str, Range],
    cyclic: Collection[str] = (),
) -> Iterator[Figure]:
    """Sheets of component planes, drawn as they are asked for.

    Args:
        frame: What to draw on.
        planes: Weights, one column a feature, shape (m, d).
        names: One a feature.
        sort: Whether similar planes are neighbors; else they keep their order.
        center: Value in the middle of a diverging color map; None takes a sequential one.
        ranges: Ends of the colors by name; a plane without takes its own.
        cyclic: Names of those whose values begin again.
    """
    order = similarity_order(planes) if sort else np.arange(planes.shape[1])
    per_page = frame.config.planes_per_page
    pages = [order[start : start + per_page] for start in range(0, len(order), per_page)]
    for number, page in enumerate(pages, start=1):
        note = f"similar planes side by side, {len(order)} features" if sort and len(order) > 2 else ""
        heading = "Component planes" + (f", sheet {number} of {len(pages)}" if len(pages) > 1 else "")
        yield _plane_sheet(frame, planes, names, page, heading, note, center, ranges, cyclic)


def _plane_sheet(
    frame: MapFrame,
    planes: Floats,
    names: Sequence[str],
    page: Ints,
    heading: str,
    note: str,
    center: float | None,
    ranges: Mapping[str, Range],
    cyclic: Collection[str],
) -> Figure:
    sheet = frame.sheet(len(page))
    straight = frame.config.sequential_colors if center is None else frame.config.diverging_colors
    for panel, feature in zip(sheet.panels, page, strict=True):
        again = names[feature] in cyclic
        low, high = ranges.get(names[feature], (None, None))
        colors, middle = (frame.config.cyclic_colors, None) if again else (straight, center)
        scale = scale_for(planes[:, feature], colors, vmin=low, vmax=high, center=middle)
        panel.fill_values(planes[:, feature], scale)
        sheet.add_bar(panel, scale)
        sheet.name(panel, names[feature])
    sheet.head(heading if not sheet.single else f"Component plane: {names[page[0]]}", frame.subtitle(note))
    return sheet.finished()


def class_figure(
    frame: MapFrame, values: Floats, names: Mapping[float, str], panel_names: Sequence[str], of: str = ""
) -> Figure:
    """Maps of classes (o, m), NaN empty, with one legend; every label of `names` keeps its color on every map."""
    sheet = frame.sheet(len(values), bars=False)
    labels = np.array(sorted(names))
    palette = category_colors(max(1, len(labels)), frame.config.category_colors)  # one at least for empty cells
    for panel, flat, name in zip(sheet.panels, values, panel_names, strict=True):
        index = np.searchsorted(labels, flat).clip(0, len(palette) - 1)  # of NaN, which is drawn as empty, any
        panel.fill(palette[index], np.isnan(flat))
        if len(labels) > len(frame.config.category_colors):  # colors alone no longer distinguish them
            panel.write(["" if np.isnan(label) else names[label] for label in flat], palette[index])
        if not sheet.single:
            sheet.name(panel, name)
    entries = [swatch(palette[i], names[label], config=frame.config) for i, label in enumerate(labels)]
    if np.isnan(values).any():
        entries.append(swatch(None, "no samples", hatched=True, config=frame.config))
    sheet.legend(entries, "class")
    sheet.head(f"Most frequent {of or 'class'}", frame.subtitle())
    return sheet.finished()


def retrieval_figure(frame: MapFrame, distances: Floats, query: int, around: Ints, added: Ints) -> Figure:
    """Where a query's samples come from, over the U-matrix in light gray.

    Args:
        frame: What to draw on.
        distances: U-matrix, shape (m,), in [0, 1].
        query: The query's neuron.
        around: Neurons of its neighborhood.
        added: Neurons that the fallback brought in, in this order.
    """
    sheet, panel = frame.single(bars=False)
    config = frame.config
    fills = np.array([to_rgba(color) for color in config.retrieval_colors])
    colors = scale_for(distances, "Greys", vmin=-0.2, vmax=2.2).colored(distances)  # light: what stands out is on top
    roles = np.zeros(len(distances), dtype=np.int64)
    for role, neurons in enumerate((np.array([query]), around, added), start=1):
        colors[neurons], roles[neurons] = fills[role - 1], role
    panel.fill(colors)
    panel.draw_outlines(roles, background=0)
    order = {int(neuron): str(i) for i, neuron in enumerate(added, start=1)}
    panel.write([order.get(neuron, "") for neuron in range(len(distances))], colors)
    star = {
        "marker": "*",
        "color": "white",
        "markersize": float(np.clip(0.6 * panel.cell, 5, 16)),
        "markeredgewidth": 0,
    }
    panel.mark(np.array([query]), **star)
    row, column = divmod(query, frame.grid.y)
    entries = [swatch(fills[0], f"query's neuron ({row}, {column})", config=config)]
    if len(around):
        entries.append(swatch(fills[1], f"neighborhood: {counted(len(around), 'neuron')}", config=config))
    if len(added):
        entries.append(swatch(fills[2], f"fallback: {counted(len(added), 'neuron')}, nearest first", config=config))
    sheet.legend([*entries, swatch("#C8C8C8", "other neurons (dark: borders)", config=config)])
    sheet.head("Retrieval", frame.subtitle())
    return sheet.finished()


def counted(count: int, noun: str) -> str:
    """A number with its noun: `1 neuron`, `2 neurons`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

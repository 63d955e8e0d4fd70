"""The map that answers: a Bokeh plot of its cells, and the numbers that its layers and cards are made of.

Bokeh draws and zooms; `templates/report.js` fills it, since the corners of the cells follow from their centers and one
outline, which weighs a tenth. Numbers travel as float32 in base64.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d
from bokeh.plotting import figure
from matplotlib.colors import to_hex

from pipelines.report.content import ReportContent
from pipelines.report.encoding import base64_of
from pipelines.report.facts import ColumnFacts
from pipelines.report.mosaic import HATCH_COLOR
from pipelines.report.words import number
from pipelines.training.analysis import ClassMaps
from somlib.utils.precision import tidied
from somlib.utils.topology import neighbor_table
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Floats, Ints, Lattice
from somlib.visualization.scale import Scale, category_colors, scale_for

MOST_CLASSES = 12  # of a target that get a layer each, the most frequent ones
STOPS = 64  # colors that a scale is sent as
MARGIN = 0.06  # around the map, in cell widths


@dataclass(frozen=True, eq=False)
class Layer:
    """What the cells can be colored by.

    Attributes:
        group: Heading in the list of layers.
        name: Its name there.
        note: What to look for.
        values: Shape (m,), NaN where empty.
        palette: `sequential`, `distance`, `cyclic` or `clusters`.
        empty: Why a neuron has no value.
        ends: Values of the first and the last color; None: the smallest and the largest.
    """

    group: str
    name: str
    note: str
    values: Floats
    palette: str = "sequential"
    empty: str = "no rows"
    ends: tuple[float, float] | None = None

    def scale(self, config: VisualizationConfig) -> Scale:
        """Which color a value has."""
        low, high = self.ends or (None, None)
        return scale_for(
            self.values, color_maps(config).get(self.palette, config.sequential_colors), vmin=low, vmax=high
        )


def color_maps(config: VisualizationConfig) -> dict[str, str]:
    """Names of the color maps by palette, but for that of clusters."""
    return {
        "sequential": config.sequential_colors,
        "distance": config.distance_colors,
        "cyclic": config.cyclic_colors,
    }


def layers_of(content: ReportContent) -> list[Layer]:
    """All layers of a map, in the order in which they are offered."""
    hits = np.where(content.hits > 0, content.hits, np.nan)
    clusters = np.where(content.labels >= 1, content.labels, np.nan).astype(np.float64)
    layers = [
        Layer(
            "Map",
            "U-matrix: distance to neighbors",
            "Dark valleys are regions of similar rows, bright ridges part them. 1 is the largest distance.",
            content.distances,
            "distance",
        ),
        Layer("Map", "Rows per neuron", "Where the training rows fell. Hatched neurons are empty.", hits),
        Layer(
            "Map", "Clusters", "Neurons that are alike. Choose one to read its profile.", clusters, "clusters", "noise"
        ),
    ]
    if content.targets or content.classes:
        note = "Training rows of a neuron and its neighbors: what a query there is answered by."
        layers.append(Layer("Map", "Rows in reach", note, rows_in_reach(content)))
    layers += [
        _feature_layer(name, content.facts.features[name], content.planes[:, i])
        for i, name in enumerate(content.features)
    ]
    for name, maps in content.targets.items():
        layers.append(Layer("Targets", f"{name}: mean", "Mean over the training rows of each neuron.", maps["mean"]))
        note = "Standard deviation over the training rows of each neuron: low where the map predicts the target well."
        layers.append(Layer("Targets", f"{name}: standard deviation", note, maps["std"], empty="fewer than 2 rows"))
    for name, classes in content.classes.items():
        layers += _class_layers(name, classes)
    return layers


def _class_layers(name: str, classes: ClassMaps) -> Iterator[Layer]:
    """How sure the class of a row is on each neuron, and the shares of the most frequent classes."""
    note = "Share of the most frequent class among the training rows of each neuron: high where the map tells classes."
    yield Layer("Targets", f"{name}: share of the most frequent class", note, classes.purity.ravel())
    shares, size = classes.shares, classes.counts.sum(axis=(0, 1))
    for place in sorted(np.argsort(-size, kind="stable")[:MOST_CLASSES].tolist()):
        note = "Share of this class among the training rows of each neuron."
        yield Layer("Targets", f"{name}={classes.names[place]}: share", note, shares[:, :, place].ravel())


def _feature_layer(name: str, column: ColumnFacts, values: Floats) -> Layer:
    """What the neurons stand for; of a cycle in colors that begin again with it."""
    note = "Value that each neuron stands for, in the units of the data."
    if column.period is None:
        return Layer("Features", name, note, values)
    ends = (column.start, column.start + column.period)
    return Layer("Features", name, f"{note} The colors begin again where the values do.", values, "cyclic", ends=ends)


def rows_in_reach(content: ReportContent) -> Floats:
    """Training rows of each neuron and its neighbors up to the neighborhood order of the map, shape (m,)."""
    table = neighbor_table(content.som.grid, content.som.neighborhood_order).numpy()
    padded = np.append(content.hits, 0.0)
    return np.asarray(content.hits + padded[table].sum(axis=1))


def map_item(lattice: Lattice, labels: Ints, config: VisualizationConfig) -> Any:
    """The plot as JSON for `Bokeh.embed.embed_item`; it has no cells yet."""
    low, high = lattice.low - MARGIN, lattice.high + MARGIN
    plot = figure(
        name="map",
        aspect_ratio=float((high - low)[1] / (high - low)[0]),
        sizing_mode="stretch_width",
        x_range=Range1d(low[1], high[1]),
        y_range=Range1d(high[0], low[0]),  # row 0 on top
        toolbar_location=None,
        tools="",
        min_border=0,
        outline_line_color=None,
        background_fill_color=config.background,  # without, what lies beyond a zoomed edge is not wiped off
        border_fill_color=config.background,
        output_backend="canvas",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    _add_cells(plot, config)
    _add_marks(plot, lattice, labels, config)
    return json_item(plot)


def _add_cells(plot: Any, config: VisualizationConfig) -> None:
    mapper = LinearColorMapper(palette=["#000000"], low=0, high=1, name="colors")
    plot.patches(
        "xs",
        "ys",
        source=ColumnDataSource({"xs": [], "ys": [], "value": []}, name="cells"),
        fill_color={"field": "value", "transform": mapper},
        line_color={"field": "value", "transform": mapper},
        line_width=0.6,  # closes the seams between cells
        name="cells_drawn",
    )
    # Cells without a value apart from the rest: a hatch on every cell, blank on most, takes seconds to draw.
    plot.patches(
        "xs",
        "ys",
        source=ColumnDataSource({"xs": [], "ys": []}, name="empty"),
        fill_color=config.empty_color,
        line_color=HATCH_COLOR,
        line_width=0.6,
        hatch_pattern="right_diagonal_line",
        hatch_color=HATCH_COLOR,
        hatch_scale=9,
        hatch_weight=1,
    )


def _add_marks(plot: Any, lattice: Lattice, labels: Ints, config: VisualizationConfig) -> None:
    """Borders and numbers of clusters, and the outlines of the neurons that are pointed at and chosen."""
    lines = lattice.lines_between(labels)
    ends = {"x0": lines[:, 0, 1], "y0": lines[:, 0, 0], "x1": lines[:, 1, 1], "y1": lines[:, 1, 0]}
    borders = ColumnDataSource({name: values.astype(np.float32) for name, values in ends.items()})
    for color, width in (("white", 4), (config.ink, 1.6)):
        plot.segment(
            "x0", "y0", "x1", "y1", source=borders, line_color=color, line_width=width, line_cap="round", name="borders"
        )
    named = cluster_places(lattice, labels)
    places = ColumnDataSource(
        {
            "x": [column for _, column in named.values()],
            "y": [row for row, _ in named.values()],
            "text": [str(cluster) for cluster in named],
        }
    )
    plot.text(
        source=places,
        text_align="center",
        text_baseline="middle",
        text_font=value("system-ui, sans-serif"),
        text_font_size="13px",
        text_font_style="bold",
        text_color=config.ink,
        background_fill_color=config.background,
        background_fill_alpha=0.85,
        padding=3,
        border_radius=3,
        name="numbers",
    )
    for name, color, width in (("chosen_halo", "white", 6), ("chosen", config.ink, 3), ("pointed", config.ink, 2)):
        source = ColumnDataSource({"xs": [], "ys": []}, name=name)
        plot.patches("xs", "ys", source=source, fill_color=None, line_color=color, line_width=width, line_join="round")


def cluster_places(lattice: Lattice, labels: Ints) -> dict[int, tuple[float, float]]:
    """Where each cluster is named: the center of the cell in the middle of its largest piece, by its number."""
    places: dict[int, tuple[float, float]] = {}
    for piece in lattice.pieces(labels):  # largest first
        cluster = int(labels[piece[0]])
        if cluster >= 1 and cluster not in places:
            centers = lattice.centers[piece]
            middle = ((centers - centers.mean(axis=0)) ** 2).sum(axis=1).argmin()
            places[cluster] = (float(centers[middle, 0]), float(centers[middle, 1]))
    return dict(sorted(places.items()))


def map_numbers(
    content: ReportContent, layers: Sequence[Layer], lattice: Lattice, config: VisualizationConfig
) -> dict[str, Any]:
    """What `report.js` needs to know of the map; JSON-ready."""
    grid, count = content.som.grid, int(content.labels.max(initial=0))
    facts = content.facts
    first_feature = next(i for i, layer in enumerate(layers) if layer.group == "Features")
    first_target = first_feature + len(content.features)
    return {
        "rows": grid.x,
        "columns": grid.y,
        "torus": grid.pbc,
        "outline": np.round(lattice.outline, 5).tolist(),
        "centers": base64_of(lattice.centers, "<f4"),
        "clusters": base64_of(content.labels, "<i4"),
        "hits": base64_of(content.hits, "<f4"),
        "total": float(content.hits.sum()),
        "palettes": {
            **{palette: _stops(colors) for palette, colors in color_maps(config).items()},
            "clusters": [to_hex(color) for color in category_colors(count, config.category_colors)],
        },
        "layers": [_described(layer, config) for layer in layers],
        "features": [
            {
                "name": name,
                "layer": first_feature + i,
                "mean": _json(column.mean),
                "deviation": _json(column.deviation),
                "period": column.period,
            }
            for i, (name, column) in enumerate(facts.features.items())
        ],
        "targets": [
            {"name": name, "mean": first_target + 2 * i, "std": first_target + 2 * i + 1}
            for i, name in enumerate(content.targets)
        ],
    }


def _described(layer: Layer, config: VisualizationConfig) -> dict[str, Any]:
    """What the page says about a layer, and the ends of its colors."""
    scale = layer.scale(config)
    low, high = (tidied(end, scale.high - scale.low) for end in (scale.low, scale.high))
    ticks = [scale.only] if scale.only is not None else [low, (low + high) / 2, high]
    return {
        "name": layer.name,
        "note": layer.note,
        "values": base64_of(layer.values, "<f4"),
        "palette": layer.palette,
        "low": _json(scale.low),
        "high": _json(scale.high),
        "ticks": [number(tick) for tick in ticks] if np.isfinite(layer.values).any() else [],
        "empty": layer.empty if np.isnan(layer.values).any() else "",
    }


def _stops(colors: str) -> list[str]:
    palette = scale_for(np.array([0.0, 1.0]), colors).colors
    return [to_hex(color) for color in palette(np.linspace(0, 1, STOPS))]


def _json(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None

"""The report as one HTML file: what goes where. `templates/report.html` says how it looks.

Jinja escapes every text; numbers and names reach the scripts as JSON in which `<`, `>`, `&` and `'` are escaped too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import bokeh
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.colors import to_hex

from pipelines.report import words
from pipelines.report.class_predictions import class_maps, class_predictions, class_shares, class_sizes
from pipelines.report.content import ReportContent
from pipelines.report.encoding import svg_uri
from pipelines.report.interactive import (
    Layer,
    cluster_places,
    color_maps,
    layers_of,
    map_item,
    map_numbers,
    rows_in_reach,
)
from pipelines.report.mosaic import Mosaic
from pipelines.report.predictions import target_predictions
from pipelines.report.rows import row_numbers
from pipelines.report.words import number, percent
from pipelines.store.names import COMMIT_TAG, CONFIG_TAG, DATA_TAG, PACKAGE_TAG, PYTHON_TAG
from pipelines.wording import counted
from somlib.utils.precision import tidied
from somlib.visualization import SOMVisualizer, VisualizationConfig
from somlib.visualization.lattice import Ints, Lattice
from somlib.visualization.planes import similarity_order
from somlib.visualization.scale import category_colors, scale_for

TEMPLATES = Path(__file__).parent / "templates"
BOKEH_JS = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
PLANE_PIXELS, MAP_PIXELS = 360, 600  # of the longer side of static maps: twice what they take on a screen
PROFILE_FEATURES = 6  # of a cluster
CHARTS = VisualizationConfig(formats=("svg",), chart_width=4.6, chart_height=2.5, map_size=4.0)


@dataclass(frozen=True)
class StaticMap:
    """A small map with its caption.

    Attributes:
        name: What it shows.
        layer: Number of the same layer of the interactive map.
        image: Data URI.
        low: Value of the darkest color, empty for classes.
        high: Value of the brightest.
        palette: `sequential`, `distance`, `cyclic` or `clusters`.
        empty: What hatched cells are, empty where there are none.
    """

    name: str
    layer: int
    image: str
    low: str
    high: str
    palette: str
    empty: str


@dataclass(frozen=True)
class Effect:
    """How a cluster differs in one feature.

    Attributes:
        name: Of the feature.
        value: Mean over its training rows, in the units of the data.
        overall: Mean over all training rows.
        effect: Their difference in standard deviations of all training rows, with its sign.
        left: Where its bar starts, in percent of the width.
        width: Of the bar.
    """

    name: str
    value: str
    overall: str
    effect: str
    left: float
    width: float


@dataclass(frozen=True)
class Profile:
    """What sets a cluster apart.

    Attributes:
        number: From 1.
        color: Of its neurons on the map.
        size: Neurons, rows and stability.
        effects: Strongest first.
        lack: Why there are none, empty where there are some.
        targets: Name, mean over the rows of the cluster, mean over all rows.
    """

    number: int
    color: str
    size: str
    effects: tuple[Effect, ...]
    lack: str
    targets: tuple[tuple[str, str, str], ...]


def render_report(content: ReportContent) -> str:
    """The report as HTML that needs nothing else: no network, no other file."""
    maps = SOMVisualizer(content.som, CHARTS).maps
    lattice, config = Lattice.of(content.som.grid, maps.outline), maps.config
    layers = layers_of(content)
    large, small = Mosaic(lattice, MAP_PIXELS, config), Mosaic(lattice, PLANE_PIXELS, config)
    first_feature = next(i for i, layer in enumerate(layers) if layer.group == "Features")
    order = first_feature + similarity_order(content.planes)
    overview = [i for i, layer in enumerate(layers) if layer.group == "Map" and layer.palette != "clusters"]
    targets = [i for i, layer in enumerate(layers) if layer.group == "Targets"]
    found = row_numbers(content.rows, content.som.grid)
    context: dict[str, Any] = {
        "title": content.run.experiment,
        "subtitle": _subtitle(content),
        "content": content,
        "facts": content.facts,
        "verdicts": list(words.verdicts(content)),
        "remarks": words.remarks(content),
        "torus": " Opposite edges join: the map is a torus." if content.som.grid.pbc else "",
        "ratio": lattice.width / lattice.height,
        "layers": list(enumerate(layers)),
        "overview": [_static(i, layers[i], large, config) for i in overview],
        "planes": [_static(int(i), layers[i], small, config) for i in order],
        "target_maps": [_static(i, layers[i], large, config) for i in targets],
        "clustering": words.clustering_name(content),
        "choice": words.choice_of_number(content),
        "cluster_map": _cluster_map(content.labels, large, config),
        "profiles": list(_profiles(content, config)),
        "curves": _curves(content),
        "curves_alt": _curves_in_words(content),
        "errors": list(_errors(content)),
        "cluster_scores": list(_cluster_scores(content)),
        "reach": words.reach_in_words(rows_in_reach(content), content.som.neighborhood_order)
        if content.targets or content.classes
        else "",
        "predictions": list(target_predictions(content, CHARTS)),
        "class_predictions": list(class_predictions(content, CHARTS)),
        "class_maps": list(class_maps(content, CHARTS)),
        "origin": list(_origin(content)),
        "columns": list(_columns(content)),
        "settings": list(_settings(content)),
        "rows_found": found,
        "gradients": {name: _gradient(colors) for name, colors in color_maps(config).items()},
        "map_json": map_item(lattice, content.labels, config),
        "data_json": {**map_numbers(content, layers, lattice, config), "found": found},
        "bokeh_js": _bokeh_js(),
    }
    return str(_template().render(context))


@cache
def write_page(content: ReportContent, file: Path) -> None:
    """Write the page of a run."""
    file.write_text(render_report(content), encoding="utf-8")


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Sorted keys would put references in Bokeh's JSON before what they refer to; NaN is no JSON.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"number": number, "percent": percent}
    environment.globals |= {"inline": lambda name: Markup((TEMPLATES / name).read_text(encoding="utf-8"))}
    return environment.get_template("report.html")


@cache
def _bokeh_js() -> Markup:
    return Markup(BOKEH_JS.read_text(encoding="utf-8").replace("</script", r"<\/script"))


def _subtitle(content: ReportContent) -> str:
    grid, rows = content.som.grid, content.facts.rows
    features = counted(len(content.features), "feature")
    kind = f"{grid.x} × {grid.y} {grid.topology} map{' torus' if grid.pbc else ''}"
    day = f"{content.run.started.day} {content.run.started:%B %Y}"
    return f"{kind} of {features}, trained on {counted(rows['train'], 'row')}, {day}"


# ---------------------------------------------------------------- static maps


def _static(number_: int, layer: Layer, mosaic: Mosaic, config: VisualizationConfig) -> StaticMap:
    scale = layer.scale(config)
    known = np.isfinite(layer.values).any()
    ends = (scale.low, scale.high) if scale.only is None else (scale.only, scale.only)
    low, high = (tidied(end, scale.high - scale.low) for end in ends)
    return StaticMap(
        layer.name,
        number_,
        mosaic.values(layer.values, scale),
        number(low) if known else "",
        number(high) if known else "",
        layer.palette,
        layer.empty if np.isnan(layer.values).any() else "",
    )


def _cluster_map(labels: Ints, mosaic: Mosaic, config: VisualizationConfig) -> dict[str, Any]:
    """The clusters as an image, with the lines between them and their numbers as vectors in cell widths."""
    lattice = mosaic.lattice
    count = int(labels.max(initial=0))
    lines = lattice.lines_between(labels)
    return {
        "image": mosaic.categories(labels, category_colors(count, config.category_colors)),
        "left": lattice.low[1],
        "top": lattice.low[0],
        "width": lattice.width,
        "height": lattice.height,
        "size": 0.05 * max(lattice.width, lattice.height),
        "lines": "".join(f"M{a[1]:.2f} {a[0]:.2f}L{b[1]:.2f} {b[0]:.2f}" for a, b in lines),
        "names": [(cluster, place[1], place[0]) for cluster, place in cluster_places(lattice, labels).items()],
        "noise": bool((labels < 1).any()),
    }


def _gradient(colors: str) -> str:
    palette = scale_for(np.array([0.0, 1.0]), colors).colors
    return ", ".join(to_hex(color) for color in palette(np.linspace(0, 1, 17)))


# ---------------------------------------------------------------- clusters


def _profiles(content: ReportContent, config: VisualizationConfig) -> Iterator[Profile]:
    count = int(content.labels.max(initial=0))
    differences = {cluster: _differences(content, cluster) for cluster in range(1, count + 1)}
    known = [abs(value) for each in differences.values() for value in each.values()]
    reach = max((value for value in known if np.isfinite(value)), default=0.0) or 1.0
    for cluster, color in enumerate(category_colors(count, config.category_colors), start=1):
        members = content.labels == cluster
        if not members.any():  # a number that a cluster of an earlier map has
            continue
        whole = members.all()
        yield Profile(
            number=cluster,
            color=to_hex(color),
            size=words.size_of(content, cluster),
            effects=() if whole else tuple(_effects(content, cluster, differences[cluster], reach)),
            lack="It holds all neurons: there are no others to differ from." if whole else _lack(content, members),
            targets=tuple(_target_means(content, cluster)),
        )


def _lack(content: ReportContent, members: Ints) -> str:
    """Why a cluster has no table of features."""
    if content.profiles is None:
        return "The version that made this run kept no means over rows."
    return (
        "" if content.hits[members].any() else "No training row fell on its neurons, so there are no means over rows."
    )


def _row_means(content: ReportContent, cluster: int, role: str) -> dict[str, float]:
    """Means over the training rows of a cluster by column, NaN where no row has a value; empty where not kept."""
    if content.profiles is None:
        return {}
    own = content.profiles.filter(cluster=cluster, role=role)
    return dict(zip(own["column"], own["row_mean"].fill_null(np.nan).to_list(), strict=True))


def _differences(content: ReportContent, cluster: int) -> dict[str, float]:
    """How far the mean of a cluster's rows lies from that of all training rows, in deviations of these, by feature."""
    facts = content.facts.features
    return {
        name: facts[name].difference(mean) / facts[name].deviation if facts[name].deviation > 0 else 0.0
        for name, mean in _row_means(content, cluster, "feature").items()
    }


def _effects(content: ReportContent, cluster: int, differences: Mapping[str, float], reach: float) -> Iterator[Effect]:
    means = _row_means(content, cluster, "feature")
    known = [name for name in content.features if np.isfinite(differences.get(name, np.nan))]
    for name in sorted(known, key=lambda name: -abs(differences[name]))[:PROFILE_FEATURES]:
        difference = differences[name]
        share = 50 * abs(difference) / reach
        yield Effect(
            name=name,
            value=number(means[name]),
            overall=number(content.facts.features[name].mean),
            effect=f"{difference:+.1f}".replace("-", "−") if abs(difference) >= 0.05 else "0.0",
            left=round(50 - share if difference < 0 else 50, 2),
            width=round(share, 2),
        )


def _target_means(content: ReportContent, cluster: int) -> Iterator[tuple[str, str, str]]:
    means, known = _row_means(content, cluster, "target"), content.facts.targets
    yield from ((name, number(means[name]), number(known[name].mean)) for name in known if name in means)
    yield from class_shares(content, means)


# ---------------------------------------------------------------- training


def _curves(content: ReportContent) -> str:
    """The library's own figure of the errors by epoch as a data URI; empty where there is no epoch."""
    if not len(content.quantization_errors):
        return ""
    draw = SOMVisualizer(content.som, CHARTS)
    figure = draw.plot_training_errors(content.quantization_errors, content.topographic_errors, content.sigmas)
    return svg_uri(figure)


def _curves_in_words(content: ReportContent) -> str:
    qe, te = content.quantization_errors, content.topographic_errors
    if not len(qe):
        return ""
    return (
        f"Errors by epoch. Quantization error from {number(qe[0])} to {number(qe[-1])}, topographic error from "
        f"{percent(te[0], 1)} to {percent(te[-1], 1)} in {counted(len(qe), 'epoch')}."
    )


def _errors(content: ReportContent) -> Iterator[tuple[str, str, str]]:
    """Name of an error, its value on training rows, and on held-out rows."""
    yield "Quantization error", number(content.metric("train_qe"), 4), number(content.metric("heldout_qe"), 4)
    yield "Topographic error", percent(content.metric("train_te"), 1), percent(content.metric("heldout_te"), 1)


CLUSTER_SCORES = (
    ("silhouette_score", "Silhouette", "−1 to 1, higher is better"),
    ("davies_bouldin_score", "Davies–Bouldin", "lower is better"),
    ("calinski_harabasz_score", "Calinski–Harabasz", "higher is better"),
    ("topological_quality", "Contiguity on the map", "0 to 1, higher is better"),
    ("noise_ratio", "Share of noise", "neurons in no cluster"),
)


def _cluster_scores(content: ReportContent) -> Iterator[tuple[str, str, str]]:
    for key, name, note in CLUSTER_SCORES:
        value = content.metric(f"cluster/{key}")
        yield name, number(value) if np.isfinite(value) else "not defined", note


# ---------------------------------------------------------------- data, and how to make it again


def _origin(content: ReportContent) -> Iterator[tuple[str, str]]:
    facts, rows = content.facts, content.facts.rows
    if facts.data is not None:
        yield "Source", facts.data
    yield (
        "Rows",
        (
            f"{rows['train']:,} trained, {rows['heldout']:,} held out"
            + (f", {rows['left_out']:,} of {rows['found']:,} left out" if rows["left_out"] else "")
        ),
    )
    if facts.time is not None:
        yield "Time", f"{facts.time.column}: {facts.time.first} to {facts.time.last}"
    yield "Scaling", facts.scaling


def _columns(content: ReportContent) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Role and name of each column, then mean, deviation, smallest and largest value, and missing rows."""
    for role, columns in (("feature", content.facts.features), ("target", content.facts.targets)):
        for name, c in columns.items():
            numbers = tuple(number(value) for value in (c.mean, c.deviation, c.low, c.high))
            yield role, name, (*numbers, f"{c.missing:,}")
    for name, classes in content.facts.classes.items():
        yield "class", f"{name}: {class_sizes(classes)}", ("–", "–", "–", "–", f"{classes.missing:,}")


def _settings(content: ReportContent) -> Iterator[tuple[str, str]]:
    """What decides the map, and what made it."""
    run, tags = content.run, content.run.tags
    yield "MLflow run", f"{run.name} ({run.run_id})"
    yield "Started", f"{run.started:%Y-%m-%d %H:%M} UTC"
    for name, tag in (
        ("Data digest (SHA-256)", DATA_TAG),
        ("Config digest (SHA-256)", CONFIG_TAG),
        ("som-pipelines", PACKAGE_TAG),
        ("Python", PYTHON_TAG),
        ("Git commit", COMMIT_TAG),
    ):
        if tags.get(tag):
            yield name, tags[tag]
    yield "Random seed", str(content.som.random_seed)

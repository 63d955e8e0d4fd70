"""Figures without pyplot: made, measured, cut to their content, and saved.

A `matplotlib.figure.Figure` on an Agg canvas of its own knows nothing of pyplot's list of figures, opens no window, and
needs no backend to be chosen. Axes are placed in inches; `fit_to_content` then gives the figure the size that its texts
and axes need, so that nothing is cut off and nothing wasted.
"""

import logging
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from somlib.errors import ArgumentError
from somlib.visualization.config import VisualizationConfig

logger = logging.getLogger(__name__)

MARGIN = 0.12  # inches around everything
POINTS = 72  # an inch
MINUS = "\N{MINUS SIGN}"
# Measured on figures of a run: level 3 takes half the time of Pillow's 6, for files a tenth larger.
PIXELS: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}}
NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def new_figure(config: VisualizationConfig) -> Figure:
    """An empty figure that pyplot knows nothing of."""
    figure = Figure(dpi=config.dpi, facecolor=config.background, layout="none")  # type: ignore[arg-type]  # missing in the stubs; overrules rcParams
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, `top` counted downwards from the upper edge of the figure."""
    full_width, full_height = figure.get_size_inches()
    box = (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    axes = figure.add_axes(box)
    axes.set_facecolor("none")
    axes.grid(visible=False)
    return axes


def font(config: VisualizationConfig, size: float, *, bold: bool = False) -> FontProperties:
    """The configured family at a size in points."""
    family = None if config.font_family is None else list(config.font_family)
    return FontProperties(family=family, size=size, weight="bold" if bold else "normal")


def plain(text: Text) -> Text:
    """The text as it stands: a dollar sign in a feature name starts no formula, and TeX sees none of it."""
    text.set_parse_math(False)
    text.set_usetex(False)
    return text


def text_width(figure: Figure, text: str, properties: FontProperties) -> float:
    """Width of a line of text in points."""
    width, _, _ = _renderer(figure).get_text_width_height_descent(text, properties, False)  # type: ignore[no-untyped-call]  # stubs lack it
    return float(width) * POINTS / figure.dpi


def shortened(figure: Figure, text: str, properties: FontProperties, width: float) -> str:
    """The text, or its beginning and end where it is wider than `width` points: similar names differ at either."""
    text = " ".join(text.splitlines())  # a renderer that measures has no glyph for a line break
    shown, keep = text, len(text)
    while keep > 2 and text_width(figure, shown, properties) > width:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2].rstrip()}…{text[len(text) - keep // 2 :].lstrip()}"
    return shown


def wrapped(figure: Figure, text: str, properties: FontProperties, width: float) -> str:
    """The text, broken between words into lines of `width` points where they allow it."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(figure, longer, properties) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def title(axes: Axes, config: VisualizationConfig, text: str, subtitle: str = "", size: float | None = None) -> None:
    """A title above the axes, flush left, and a smaller line beneath it."""
    gap = 6.0
    if subtitle:
        note = axes.annotate(
            subtitle,
            (0, 1),
            xytext=(0, gap),
            xycoords="axes fraction",
            textcoords="offset points",
            va="baseline",
            color=config.muted_ink,
            fontproperties=font(config, config.small_size),
        )
        plain(note)
        gap += 1.55 * config.small_size
    heading = axes.set_title(text, loc="left", pad=gap, color=config.ink)
    heading.set_fontproperties(font(config, config.title_size if size is None else size, bold=True))
    plain(heading)


def sheet_title(
    figure: Figure, config: VisualizationConfig, text: str, subtitle: str, left: float, above: float
) -> None:
    """Title and subtitle of several axes; `left` and `above` say in inches where, from the upper left corner."""
    width, height = figure.get_size_inches()
    heading = figure.suptitle(text, x=left / width, y=1 - (above - 0.19) / height, ha="left", va="baseline")
    heading.set(color=config.ink, fontproperties=font(config, config.title_size, bold=True))
    note = figure.text(left / width, 1 - above / height, subtitle, ha="left", va="baseline")
    note.set(color=config.muted_ink, fontproperties=font(config, config.small_size))
    plain(heading)
    plain(note)


def style_chart(axes: Axes, config: VisualizationConfig, *, grid: Literal["x", "y"] = "y") -> None:
    """Quiet axes: two spines, light grid lines behind the data along one axis."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set(color=config.muted_ink, linewidth=0.8)
    axes.tick_params(
        which="both", direction="out", length=3, width=0.8, pad=3.5, color=config.muted_ink, labelcolor=config.ink
    )
    axes.grid(visible=True, axis=grid, color="#E3E6E8", linewidth=0.7, linestyle="-", alpha=1)
    axes.set_axisbelow(True)


def style_texts(axes: Axes, config: VisualizationConfig, ticks: float | None = None) -> None:
    """Fonts of axis and tick labels, the latter small or of a size in points; both as they stand, without formulas."""
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontproperties(font(config, config.text_size))
        label.set_color(config.ink)
        plain(label)
    axes.tick_params(labelsize=config.small_size if ticks is None else ticks)
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        plain(tick)
    if config.font_family is not None:
        axes.tick_params(labelfontfamily=list(config.font_family))


def style_legend(legend: Legend, config: VisualizationConfig) -> Legend:
    """Fonts and colors of a legend without a frame."""
    legend.set_frame_on(False)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_color(config.ink)
        plain(text)
    return legend


def fit_to_content(figure: Figure) -> Figure:
    """The figure, resized to what it shows; axes keep their size in inches."""
    box = figure.get_tightbbox(_renderer(figure))
    old_width, old_height = figure.get_size_inches()
    width, height = box.width + 2 * MARGIN, box.height + 2 * MARGIN
    left, bottom = box.x0 - MARGIN, box.y0 - MARGIN
    places = [axes.get_position(original=True) for axes in figure.axes]  # all first: twins move together
    for axes, place in zip(figure.axes, places, strict=True):
        axes.set_position(
            (
                (place.x0 * old_width - left) / width,
                (place.y0 * old_height - bottom) / height,
                place.width * old_width / width,
                place.height * old_height / height,
            )
        )
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position(((x * old_width - left) / width, (y * old_height - bottom) / height))
    figure.set_size_inches(width, height)
    return figure


def save(figure: Figure, folder: str | Path, name: str, config: VisualizationConfig) -> list[Path]:
    """Write the figure into a folder, which is made if need be, once in each format of the config.

    Returns:
        The files, `<name>.<format>`.

    Raises:
        ArgumentError: `folder` is a file, or `name` is no plain file name.
    """
    folder = require_folder(folder)
    require_file_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for file_format in config.formats:
        path = folder / f"{name}.{file_format}"
        figure.savefig(
            path,
            format=file_format,
            dpi=config.dpi,
            facecolor=config.background,
            transparent=False,
            metadata=NO_DATE[file_format],  # nothing in the file says when it was made
            **(PIXELS if file_format == "png" else {}),
        )
        paths.append(path)
    logger.debug("saved %s", ", ".join(str(path) for path in paths))
    return paths


def require_folder(folder: str | Path) -> Path:
    """The folder to save in, which may not exist yet.

    Raises:
        ArgumentError: It, or something on the way to it, is a file.
    """
    folder = Path(folder)
    for part in (folder, *folder.parents):
        if part.is_file():
            raise ArgumentError(f"save_path must be a folder, got {str(folder)!r}: {str(part)!r} is a file")
    return folder


def require_file_name(name: str) -> None:
    """Refuse names that would leave the folder.

    Raises:
        ArgumentError: Empty, or with a separator of folders.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise ArgumentError(f"fig_name must be a file name without folders, got {name!r}: use save_path for the folder")


def text_box(text: Text, figure: Figure) -> Bbox:
    """Where a text will be drawn, in pixels."""
    return text.get_window_extent(_renderer(figure))


def _renderer(figure: Figure) -> RendererAgg:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # what `new_figure` gave it
    renderer: RendererAgg = canvas.get_renderer()  # type: ignore[no-untyped-call]  # stubs lack it
    return renderer

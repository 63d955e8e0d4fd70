"""The figure of a training: both errors, and the radius beneath where it is known."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from somlib.errors import ShapeError
from somlib.visualization.canvas import (
    axes_at,
    fit_to_content,
    font,
    new_figure,
    style_chart,
    style_texts,
    title,
)
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.lattice import Floats
from somlib.visualization.sheet import short_number

QE_COLOR, TE_COLOR = "#0072B2", "#D55E00"  # Okabe and Ito: apart under every kind of color blindness
MARKED_EPOCHS = 40  # up to here each epoch gets a marker; one epoch would otherwise draw nothing
SIGMA_HEIGHT = 0.28  # of the errors' height


def training_figure(
    quantization_errors: Sequence[float],
    topographic_errors: Sequence[float],
    sigmas: Sequence[float] | None,
    config: VisualizationConfig,
) -> Figure:
    """Quantization error (left axis) and topographic error (right axis, percent) by epoch, and sigma beneath.

    Raises:
        ShapeError: The lists differ in length, or are empty.
    """
    qe, te = np.asarray(quantization_errors, dtype=np.float64), np.asarray(topographic_errors, dtype=np.float64)
    sigma = None if sigmas is None else np.asarray(sigmas, dtype=np.float64)
    _require_same_length(qe, te, sigma)
    figure = new_figure(config)
    left = axes_at(figure, 0.8, 0.6, config.chart_width, config.chart_height)
    style_chart(left, config)
    right = left.twinx()
    right.grid(visible=False)
    _draw_error(left, qe, "quantization error", QE_COLOR, "o", config)
    _draw_error(right, te, "topographic error", TE_COLOR, "s", config)
    right.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    for side, spine in right.spines.items():
        spine.set_visible(side == "right")
        spine.set(color=config.muted_ink, linewidth=0.8)
    _number_epochs(left, len(qe))
    if sigma is None:
        left.set_xlabel("epoch")
    else:
        left.tick_params(labelbottom=False)
        _draw_sigma(figure, left, sigma, config)
    for axes in (left, right):
        style_texts(axes, config)
    left.yaxis.label.set_color(QE_COLOR)
    right.yaxis.label.set_color(TE_COLOR)
    last = f"after {_epochs(len(qe))}: quantization error {_value(qe[-1])}, topographic error {_percent(te[-1])}"
    title(left, config, "Training", last)
    return fit_to_content(figure)


def _draw_error(axes: Axes, values: Floats, label: str, color: str, marker: str, config: VisualizationConfig) -> None:
    epochs = np.arange(1, len(values) + 1)
    few = len(values) <= MARKED_EPOCHS
    style = {"linestyle": "-" if marker == "o" else "--", "linewidth": 1.8, "color": color}
    axes.plot(epochs, values, **style, marker=marker if few else "", markersize=4.5, mew=1, clip_on=False, label=label)  # type: ignore[arg-type]  # line properties
    axes.set_ylabel(label, labelpad=6)
    axes.tick_params(
        axis="y", direction="out", length=3, width=0.8, pad=3.5, color=config.muted_ink, labelcolor=config.ink
    )
    axes.set_facecolor("none")
    finite = values[np.isfinite(values)]
    if not finite.size:
        place = (0.98, 0.95 if marker == "o" else 0.88)
        note = axes.text(*place, f"{label} is not defined", transform=axes.transAxes, ha="right", va="top", color=color)
        note.set_fontproperties(font(config, config.text_size))
        axes.set_yticks([])
        return
    axes.set_ylim(*_limits(float(finite.min()), float(finite.max()), from_zero=marker == "s"))
    axes.yaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3))


def _limits(low: float, high: float, *, from_zero: bool) -> tuple[float, float]:
    """Ends of an axis: a share starts at 0, an error in the units of the features where the curve does."""
    low = 0.0 if from_zero else low
    room = 0.07 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if from_zero else max(low - room, min(low, 0.0))), high + room


def _draw_sigma(figure: Figure, above: Axes, sigma: Floats, config: VisualizationConfig) -> None:
    height = SIGMA_HEIGHT * config.chart_height
    axes = axes_at(figure, 0.8, 0.6 + config.chart_height + 0.22, config.chart_width, height)
    style_chart(axes, config)
    few = len(sigma) <= MARKED_EPOCHS
    axes.plot(
        np.arange(1, len(sigma) + 1),
        sigma,
        color=config.muted_ink,
        lw=1.6,
        marker="." if few else "",
        mew=1,
        clip_on=False,
    )
    axes.set_ylim(0, 1.1 * float(np.nanmax(sigma)))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_ylabel("sigma\n(cells)", labelpad=6)
    axes.set_xlabel("epoch")
    _number_epochs(axes, len(sigma))
    style_texts(axes, config)


def _number_epochs(axes: Axes, count: int) -> None:
    room = 0.5 if count == 1 else 0.02 * (count - 1)
    axes.set_xlim(1 - room, count + room)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))


def _require_same_length(qe: Floats, te: Floats, sigma: Floats | None) -> None:
    if qe.ndim != 1 or not len(qe):
        raise ShapeError(f"quantization_errors must be a list of one number an epoch, got shape {qe.shape}")
    if te.shape != qe.shape:
        raise ShapeError(f"topographic_errors must have {len(qe)} values, one an epoch, got shape {te.shape}")
    if sigma is not None and sigma.shape != qe.shape:
        raise ShapeError(f"sigmas must have {len(qe)} values, one an epoch, got shape {sigma.shape}")


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _value(value: float) -> str:
    return short_number(value, 4) if np.isfinite(value) else "not defined"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%" if np.isfinite(value) else "not defined"

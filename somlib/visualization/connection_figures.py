"""The map's connections: which neurons rows lie between, drawn as lines over the distances of the neurons.

A line joins two neurons that are the two nearest of some row; the thicker, the more rows. Lines between neurons that
are no neighbors on the map are folds: the map is torn there, or has fewer dimensions than the rows.

References:
    Tasdemir and Merenyi, Exploiting data topology in visualization and clustering of self-organizing maps, IEEE Trans.
    Neural Networks 20(4), 2009 (CONNvis).
"""

from collections.abc import Iterator

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from somlib.utils.clustering import Connections
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table
from somlib.visualization.frame import MapFrame
from somlib.visualization.lattice import Floats, Ints, Lattice
from somlib.visualization.panel import MANY_CELLS, MapPanel, swatch, to_axes
from somlib.visualization.scale import scale_for

PALE = 2.5  # the darkest gray is that of this many times the largest distance, so that lines stand out
WIDEST, THINNEST = 0.22, 0.03  # of a cell
BACKGROUND = "Greys"
LINK_COLOR = "#2F6DA8"  # apart from the ink of outlines and from the highlight


def connection_figure(
    frame: MapFrame, distances: Floats, connections: Connections, labels: Ints | None, note: str
) -> Figure:
    """Lines between neurons that share rows, over the distances of neurons to their neighbors.

    Args:
        frame: What to draw on.
        distances: Of each neuron to its neighbors, shape (m,).
        connections: Of rows.
        labels: Clusters to outline, shape (m,); None for none.
        note: What the subtitle says.
    """
    sheet, panel = frame.single(bars=False)
    finite = distances[np.isfinite(distances)]
    scale = scale_for(distances, BACKGROUND, vmin=0.0, vmax=PALE * float(finite.max(initial=0.0)) or 1.0)
    panel.fill_values(distances, scale)
    pairs, shared = connections.pairs.cpu().numpy(), connections.shared.cpu().numpy()
    order = np.argsort(shared, kind="stable")  # the strongest on top
    beside = _are_neighbors(frame.grid, pairs)
    width = panel.cell * np.clip(WIDEST * shared / shared.max(initial=1e-300), THINNEST, WIDEST)
    config = frame.config
    for among, color, name, z in ((~beside, config.highlight_color, "folds", 4), (beside, LINK_COLOR, "links", 5)):
        chosen = order[among[order]]
        _draw(panel, pairs[chosen], width[chosen], color, name, z)
    if labels is not None:
        panel.draw_outlines(labels)
    entries = [swatch(LINK_COLOR, "neighbors on the map", config=config)]
    if (~beside).any():
        share = shared[~beside].sum() / shared.sum()
        entries.append(swatch(config.highlight_color, f"others: {share:.0%} of the rows", config=config))
    sheet.legend(entries, "rows lie between")
    sheet.head("Connections", frame.subtitle(note))
    return sheet.finished()


def _draw(panel: MapPanel, pairs: Ints, width: Floats, color: str, name: str, zorder: int) -> None:
    segments = list(_segments(panel.lattice, pairs))
    lines = LineCollection(
        [to_axes(np.asarray(segment)) for segment in segments],
        colors=color,
        linewidths=np.repeat(width, len(segments) // max(len(pairs), 1)),
        capstyle="round",
        zorder=zorder,
        rasterized=len(segments) > MANY_CELLS,
        gid=name,
    )
    lines.set_in_layout(False)
    panel.axes.add_collection(lines, autolim=False)


def _segments(lattice: Lattice, pairs: Ints) -> Iterator[Floats]:
    """Both ends of each line (2, 2), on a torus the shorter way: twice, from either end, cut at the border."""
    start, end = lattice.centers[pairs[:, 0]], lattice.centers[pairs[:, 1]]
    step = end - start
    if lattice.period is None:
        yield from np.stack((start, end), axis=1)
        return
    step -= np.round(step / np.array(lattice.period)) * np.array(lattice.period)
    for a, b, along in zip(start, end, step, strict=True):
        yield np.stack((a, a + along))
        yield np.stack((b, b - along))


def _are_neighbors(grid: Grid, pairs: Ints) -> NDArray[np.bool_]:
    """Whether the two neurons of each pair (p, 2) are neighbors on the map, shape (p,)."""
    table = neighbor_table(grid, 1).numpy()
    return np.asarray((table[pairs[:, 0]] == pairs[:, 1:]).any(axis=1))

"""Lines between neurons that share rows: which are drawn, how wide, in which color, and across the edges of a torus."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from somlib import SOM, SOMVisualizer, VisualizationConfig
from somlib.errors import ArgumentError, NotFittedError
from tests.somlib.visualization.reading import outside, overlapping, shown_texts

CONFIG = VisualizationConfig(dpi=80)


def plane(x: int, y: int, **settings: Any) -> SOM:
    """A map whose weights are the places of its neurons."""
    som = SOM(x, y, 2, **settings)
    som.weights = som.grid.positions.reshape(x, y, 2).float()
    som.initialized = True
    return som


def drawn(som: SOM, rows: list[list[float]], name: str, **arguments: Any) -> LineCollection:
    figure = SOMVisualizer(som, CONFIG).plot_connections(torch.tensor(rows), **arguments)
    assert not outside(figure, shown_texts(figure))
    assert not overlapping(shown_texts(figure))
    found = [line for line in figure.axes[0].collections if line.get_gid() == name]
    assert len(found) == 1
    assert isinstance(found[0], LineCollection)
    return found[0]


def ends(lines: LineCollection) -> list[list[list[float]]]:
    """Both ends of each line as (row, column)."""
    return [np.asarray(segment)[:, ::-1].tolist() for segment in lines.get_segments()]


def test_a_line_joins_the_two_nearest_neurons_of_rows_the_strongest_last_and_widest() -> None:
    lines = drawn(plane(3, 3), [[0.0, 0.4], [1.4, 2.0], [1.6, 2.0]], "links")
    assert ends(lines) == [[[0.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 2.0]]]
    thin, thick = lines.get_linewidths()
    assert thick == pytest.approx(2 * thin)


def test_lines_between_neurons_that_are_no_neighbors_have_their_own_color() -> None:
    som = plane(1, 4)
    som.weights = torch.tensor([[[0.0, 0.0], [9.0, 0.0], [0.5, 0.0], [9.0, 9.0]]])
    folds = drawn(som, [[0.2, 0.0]], "folds")
    assert ends(folds) == [[[0.0, 0.0], [0.0, 2.0]]]
    np.testing.assert_allclose(folds.get_colors()[0], to_rgba(CONFIG.highlight_color))


def test_lines_around_a_torus_leave_at_both_edges() -> None:
    som = plane(1, 5, pbc=True)
    som.weights = torch.tensor([[[0.0, 0.0], [5.0, 0.0], [9.0, 9.0], [-5.0, 0.0], [0.5, 0.0]]])
    lines = drawn(som, [[0.2, 0.0]], "links")
    assert ends(lines) == [[[0.0, 0.0], [0.0, -1.0]], [[0.0, 4.0], [0.0, 5.0]]]


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
@pytest.mark.parametrize(("x", "y", "d"), [(1, 1, 1), (1, 9, 1), (5, 6, 4), (8, 7, 40)])
def test_maps_of_every_kind_are_drawn_with_clusters(topology: str, x: int, y: int, d: int) -> None:
    som, data = (
        SOM(x, y, d, topology=topology, epochs=2),
        torch.randn(300, d, generator=torch.Generator().manual_seed(0)),
    )
    som.fit(data, verbose=False)
    figure = SOMVisualizer(som, CONFIG).plot_connections(cluster_result=som.cluster(n_clusters=min(2, x * y)))
    assert not outside(figure, shown_texts(figure))
    assert not overlapping(shown_texts(figure))


def test_a_map_without_rows_says_what_it_needs() -> None:
    with pytest.raises(NotFittedError, match="connections need rows: give data, or fit the map first"):
        SOMVisualizer(plane(2, 2), CONFIG).plot_connections()
    with pytest.raises(ArgumentError, match="sample_weight must be given together with data"):
        plane(2, 2).connections(sample_weight=[1.0])

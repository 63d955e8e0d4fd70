"""Every figure of maps that are odd and legal is drawn whole, whatever the names of their features."""

import io
import itertools

import numpy as np
import pytest

from somlib import SOM, SOMVisualizer
from somlib.visualization import VisualizationConfig

pytestmark = pytest.mark.filterwarnings("ignore::somlib.errors.SomlibWarning")  # more neurons than rows

NAMES = ["$x$", "$", "a_b", "{c}", "\\frac{1}", "<b>&amp;", "Größe in µm", "", " ", "a\nb", "n" * 200, "a/b"]


@pytest.mark.parametrize(
    ("size", "shape", "topology", "method"),
    [
        ((1, 1), (1, 1), "rectangular", "kmeans"),
        ((1, 6), (2, 2), "hexagonal", "ward"),
        ((2, 3), (30, 12), "rectangular", "gmm"),
        ((6, 1), (30, 2), "rectangular", "hdbscan"),
    ],
)
def test_figures_of_odd_maps_are_drawn(
    size: tuple[int, int], shape: tuple[int, int], topology: str, method: str
) -> None:
    n, d = shape
    random = np.random.default_rng(0)
    data = random.normal(size=shape)
    data[:, 0] = -1e9  # constant
    if n > 2:
        data[random.random(size=shape) < 0.4] = np.nan
    som = SOM(*size, d, topology=topology, epochs=1, missing="mask")
    errors = som.fit(data, verbose=False)
    target = np.full(n, np.nan) if n == 2 else random.integers(0, 3, n)
    names = [f"{name}{i or ''}" for i, name in zip(range(d), itertools.cycle(NAMES), strict=False)]
    visualizer = SOMVisualizer(som, VisualizationConfig(dpi=30))
    figures = visualizer.plot_all(*errors, data, target, names, cluster_results=[som.cluster(method)])
    assert len(figures) >= 13
    for name, figure in figures.items():
        file = io.BytesIO()
        figure.savefig(file, dpi=30)
        assert file.getvalue().startswith(b"\x89PNG"), name

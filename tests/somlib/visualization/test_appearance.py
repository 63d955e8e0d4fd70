"""A few figures against pictures that a person has looked at.

`python -m tests.somlib.visualization.test_appearance` draws the pictures anew: look at them before you commit them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from somlib import SOM, SOMVisualizer, VisualizationConfig
from tests.somlib.visualization.reading import rising_map, samples_on_neurons

PICTURES = Path(__file__).parent / "pictures"
DIFFERENT = 0.01  # share of pixels that may differ: the edges of letters move with the version of matplotlib
VISIBLE = 32  # of 255, in any channel


def drawn(som: SOM) -> SOMVisualizer:
    return SOMVisualizer(som, VisualizationConfig(dpi=50))


FIGURES: dict[str, Callable[[], Figure]] = {
    "distance_map_hexagonal_torus": lambda: drawn(rising_map("hexagonal", True)).plot_distance_map(expanded=True),
    "hit_map_rectangular": lambda: drawn(rising_map("rectangular", False)).plot_hit_map(samples_on_neurons()),
    "component_planes_hexagonal": lambda: drawn(rising_map("hexagonal", False)).plot_component_planes(),
}


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_as_it_did_when_it_was_looked_at(name: str) -> None:
    now = pixels(FIGURES[name]())
    then = np.asarray(Image.open(PICTURES / f"{name}.png").convert("RGB")).astype(int)
    assert now.shape == then.shape
    different = (np.abs(now - then) > VISIBLE).any(axis=2).mean()
    assert different < DIFFERENT


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        Image.fromarray(pixels(draw()).astype(np.uint8)).save(PICTURES / f"{name}.png", optimize=True)

import base64
import io
import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from pipelines.report.mosaic import Mosaic
from somlib import SOM
from somlib.utils.grid import Grid, Topology
from somlib.visualization import SOMVisualizer, VisualizationConfig
from somlib.visualization.lattice import Lattice
from somlib.visualization.scale import category_colors, scale_for

CONFIG = VisualizationConfig()


def lattice(x: int, y: int, topology: Topology) -> Lattice:
    return Lattice.of(Grid(x, y, topology), SOMVisualizer(SOM(x, y, 1, topology=topology)).maps.outline)


def pixels(uri: str) -> NDArray[np.uint8]:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))


def at_centers(image: NDArray[np.uint8], cells: Lattice) -> NDArray[np.uint8]:
    scale = image.shape[0] / cells.height
    places = ((cells.centers - cells.low) * scale).astype(int)
    return np.asarray(image[places[:, 0], places[:, 1]])


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
@pytest.mark.parametrize(("x", "y"), [(5, 4), (1, 1), (6, 1), (1, 7)])
def test_every_cell_has_the_color_of_its_value(topology: Topology, x: int, y: int) -> None:
    cells = lattice(x, y, topology)
    values = np.linspace(0.0, 1.0, x * y) if x * y > 1 else np.array([0.5])
    scale = scale_for(values, "viridis")
    found = at_centers(pixels(Mosaic(cells, 300, CONFIG).values(values, scale)), cells)
    np.testing.assert_allclose(found / 255, scale.colored(values), atol=0.02)


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
def test_cells_have_equal_areas_and_the_right_one(topology: Topology) -> None:
    cells = lattice(6, 7, topology)
    mosaic = Mosaic(cells, 600, CONFIG)
    areas = np.bincount(mosaic.cell[mosaic.cell >= 0], minlength=42)
    expected = mosaic.scale**2 * (math.sqrt(3) / 2 if topology == "hexagonal" else 1.0)
    np.testing.assert_allclose(areas, expected, rtol=0.03)


def test_row_zero_is_on_top_and_the_corners_of_a_hexagonal_map_are_transparent() -> None:
    cells = lattice(3, 3, "hexagonal")
    values = np.repeat([0.0, 1.0, 2.0], 3)
    image = pixels(Mosaic(cells, 200, CONFIG).values(values, scale_for(values, "viridis")))
    assert image[0, 0, 3] == 0
    middle = image[[20, image.shape[0] - 20], image.shape[1] // 2, :3] / 255
    np.testing.assert_allclose(middle, scale_for(values, "viridis").colored(np.array([0.0, 2.0]))[:, :3], atol=0.02)


def test_a_cell_without_a_value_is_hatched_in_two_grays() -> None:
    cells = lattice(1, 2, "rectangular")
    values = np.array([1.0, np.nan])
    image = pixels(Mosaic(cells, 200, CONFIG).values(values, scale_for(values, "viridis")))
    grays = {tuple(color) for color in image[:, 100:, :3].reshape(-1, 3)}
    assert tuple(round(255 * c) for c in to_rgb(CONFIG.empty_color)) in grays
    assert len(grays) == 2


def test_clusters_have_their_colors_and_noise_is_hatched() -> None:
    cells = lattice(2, 2, "rectangular")
    colors = category_colors(2, CONFIG.category_colors)
    image = pixels(Mosaic(cells, 100, CONFIG).categories(np.array([1, 2, -1, 1]), colors))
    found = at_centers(image, cells)[:, :3] / 255
    np.testing.assert_allclose(found[[0, 1, 3]], colors[[0, 1, 0], :3], atol=0.01)
    assert len(np.unique(image[55:95, 5:45].reshape(-1, 4), axis=0)) == 2

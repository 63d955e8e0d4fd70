import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from somlib.utils.grid import Grid
from somlib.visualization.config import VisualizationConfig
from somlib.visualization.frame import MapFrame
from somlib.visualization.panel import MANY_CELLS, MapPanel, to_axes
from tests.somlib.visualization.reading import cell_corners, cells_of, extent, hatched_centers, outline, overlapping

CONFIG = VisualizationConfig(dpi=100)


def panel_of(x: int, y: int, topology: str = "hexagonal", config: VisualizationConfig = CONFIG) -> MapPanel:
    frame = MapFrame(Grid(x, y, topology), outline(topology), config)  # type: ignore[arg-type]
    _, panel = frame.single()
    return panel


def gray(count: int) -> np.ndarray:
    return np.tile(to_rgba("lightgray"), (count, 1))


def written(panel: MapPanel) -> list[Text]:
    return [text for text in panel.axes.texts if text.get_text()]


def test_columns_become_horizontal_and_rows_vertical() -> None:
    np.testing.assert_array_equal(to_axes(np.array([[2.0, 5.0]])), [[5.0, 2.0]])


def test_cells_are_one_collection_with_the_corners_of_the_lattice() -> None:
    panel = panel_of(4, 3)
    panel.fill(gray(12))
    (collection,) = panel.axes.collections
    np.testing.assert_allclose(cell_corners(panel.axes), panel.lattice.corners)
    assert collection is cells_of(panel.axes)


def test_empty_cells_are_hatched_gray_and_no_others() -> None:
    panel = panel_of(4, 3)
    empty = np.zeros(12, dtype=bool)
    empty[[1, 7]] = True
    panel.fill(gray(12), empty)
    np.testing.assert_allclose(hatched_centers(panel.axes), panel.lattice.centers[[1, 7]], atol=1e-12)
    assert len(cells_of(panel.axes).get_paths()) == 10
    (patch,) = [patch for patch in panel.axes.patches if patch.get_gid() == "empty"]
    assert patch.get_facecolor() == to_rgba(CONFIG.empty_color)


def test_text_stays_within_its_cell() -> None:
    panel = panel_of(8, 8)
    assert panel.write([str(1000 + i) for i in range(64)], gray(64))
    texts = written(panel)
    assert len(texts) == 64
    assert overlapping(texts) == []
    width = panel.cell / 72 * CONFIG.dpi
    assert all(extent(text).width < 0.9 * width for text in texts)


@pytest.mark.parametrize(("x", "text"), [(60, "1"), (8, "a class with a long name")])
def test_text_that_does_not_fit_is_left_out(x: int, text: str) -> None:
    panel = panel_of(x, x)
    assert not panel.write([text] * x * x, gray(x * x))
    assert written(panel) == []


def test_no_cell_text_is_written_where_the_config_forbids_it() -> None:
    panel = panel_of(4, 4, config=VisualizationConfig(cell_text=False))
    assert not panel.write(["1"] * 16, gray(16))


def test_each_connected_piece_gets_its_name_in_one_of_its_cells() -> None:
    panel = panel_of(6, 8, "rectangular")
    labels = np.tile([1, 1, 1, 2, 2, 1, 1, 1], 6)
    panel.name_pieces(labels, {1: "one", 2: "two"})
    places = {(text.get_text(), text.get_position()[0] < 4) for text in written(panel)}
    assert places == {("one", True), ("one", False), ("two", True)}
    for text in written(panel):
        column, row = (int(v) for v in text.get_position())
        assert {"one": 1, "two": 2}[text.get_text()] == labels.reshape(6, 8)[row, column]


def test_names_of_crowded_pieces_do_not_cover_each_other() -> None:
    panel = panel_of(40, 40, "rectangular")
    labels = np.random.default_rng(0).integers(1, 4, 1600)
    panel.name_pieces(labels, {1: "one", 2: "two", 3: "three"})
    texts = written(panel)
    assert {text.get_text() for text in texts} == {"one", "two", "three"}
    assert overlapping(texts) == []


def test_outlines_run_between_the_labels() -> None:
    panel = panel_of(3, 4, "rectangular")
    panel.draw_outlines(np.tile([0, 0, 1, 1], 3))
    (lines,) = panel.axes.collections
    assert isinstance(lines, LineCollection)
    assert {x for segment in lines.get_segments() for x in segment[:, 0]} == {1.5}


@pytest.mark.parametrize(("topology", "pbc"), [("rectangular", False), ("hexagonal", True)])
def test_the_border_of_a_torus_is_dashed(topology: str, pbc: bool) -> None:
    frame = MapFrame(Grid(4, 4, topology, pbc), outline(topology), CONFIG)  # type: ignore[arg-type]
    _, panel = frame.single()
    (border,) = [patch for patch in panel.axes.patches if patch.get_gid() == "border"]
    assert (border.get_linestyle() not in ("solid", "-")) == pbc
    assert ("torus" in frame.subtitle()) == pbc


def test_cells_become_an_image_in_vector_files_only_where_there_are_many() -> None:
    few, many = panel_of(10, 10), panel_of(MANY_CELLS // 50 + 1, 50)
    few.fill(gray(100))
    many.fill(gray(len(many.lattice.centers)))
    assert not cells_of(few.axes).get_rasterized()
    assert cells_of(many.axes).get_rasterized()

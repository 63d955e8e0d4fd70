from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from somlib.errors import ArgumentError
from somlib.visualization.canvas import (
    MARGIN,
    axes_at,
    fit_to_content,
    font,
    new_figure,
    save,
    shortened,
    text_width,
    title,
    wrapped,
)
from somlib.visualization.config import VisualizationConfig
from tests.somlib.visualization.reading import outside, shown_texts

CONFIG = VisualizationConfig()


def titled(config: VisualizationConfig = CONFIG) -> Figure:
    figure = new_figure(config)
    axes = axes_at(figure, 3.0, 2.0, 1.5, 1.0)
    title(axes, config, "A title much wider than the axes below it", "and a subtitle")
    return figure


def test_a_figure_has_its_own_agg_canvas() -> None:
    assert isinstance(new_figure(CONFIG).canvas, FigureCanvasAgg)


def test_axes_keep_their_size_in_inches_when_the_figure_is_fitted() -> None:
    figure = fit_to_content(titled())
    place = figure.axes[0].get_position()
    assert place.width * figure.get_figwidth() == pytest.approx(1.5)
    assert place.height * figure.get_figheight() == pytest.approx(1.0)


def test_a_fitted_figure_cuts_nothing_and_leaves_the_same_margin_all_around() -> None:
    figure = fit_to_content(titled())
    assert outside(figure, shown_texts(figure)) == []
    content = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    margins = (content.x0, content.y0, width - content.x1, height - content.y1)
    assert margins == pytest.approx((MARGIN,) * 4, abs=0.02)


def test_twin_axes_move_once_when_the_figure_is_fitted() -> None:
    figure = titled()
    figure.axes[0].twinx()
    fit_to_content(figure)
    assert figure.axes[0].get_position().bounds == pytest.approx(figure.axes[1].get_position().bounds)
    assert figure.axes[0].get_position().width * figure.get_figwidth() == pytest.approx(1.5)


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    figure, properties = new_figure(CONFIG), font(CONFIG, 8)
    names = [f"temperature of the outer wall, sensor {i}" for i in (1, 2)]
    one, two = (shortened(figure, name, properties, 80) for name in names)
    assert text_width(figure, one, properties) <= 80
    assert one.startswith("temp")
    assert one.endswith("1")
    assert one != two
    assert shortened(figure, "short", properties, 80) == "short"


def test_text_is_wrapped_between_words_where_lines_are_too_wide() -> None:
    figure, properties = new_figure(CONFIG), font(CONFIG, 8)
    lines = wrapped(figure, "sum of distances to neighbors", properties, 70).split("\n")
    assert " ".join(lines) == "sum of distances to neighbors"
    assert len(lines) > 1
    assert all(text_width(figure, line, properties) <= 70 for line in lines)


def test_every_format_is_a_file_of_its_kind_in_a_folder_made_for_it(tmp_path: Path) -> None:
    config = VisualizationConfig(formats=("png", "svg", "pdf"), dpi=80)
    paths = save(fit_to_content(titled(config)), tmp_path / "new" / "folder", "name", config)
    assert [path.name for path in paths] == ["name.png", "name.svg", "name.pdf"]
    with Image.open(paths[0]) as image:
        assert image.format == "PNG"
    assert ElementTree.parse(paths[1]).getroot().tag.endswith("svg")
    assert paths[2].read_bytes().startswith(b"%PDF")


def test_the_dots_of_a_png_are_inches_times_dpi(tmp_path: Path) -> None:
    config = VisualizationConfig(dpi=200)
    figure = fit_to_content(titled(config))
    (path,) = save(figure, tmp_path, "name", config)
    with Image.open(path) as image:
        assert image.size == pytest.approx(figure.get_size_inches() * 200, abs=1)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    config = VisualizationConfig(formats=("png", "pdf"), dpi=50)
    figure = fit_to_content(titled(config))
    first = [path.read_bytes() for path in save(figure, tmp_path / "a", "name", config)]
    assert [path.read_bytes() for path in save(figure, tmp_path / "b", "name", config)] == first


def test_a_save_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ArgumentError, match=r"save_path must be a folder, got .*file"):
            save(titled(), folder, "name", CONFIG)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\\b"])
def test_a_name_that_leaves_the_folder_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="fig_name must be a file name without folders"):
        save(titled(), tmp_path / "new", name, CONFIG)
    assert not (tmp_path / "new").exists()

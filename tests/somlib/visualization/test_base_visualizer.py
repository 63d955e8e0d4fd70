import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from somlib import SOM, SOMVisualizer, VisualizationConfig
from somlib.errors import ArgumentError, ShapeError
from somlib.utils.topology import neighbors
from somlib.visualization import HexagonalVisualizer, RectangularVisualizer
from somlib.visualization.base_visualizer import BaseVisualizer
from somlib.visualization.lattice import Floats
from tests.somlib.visualization.reading import (
    GRIDS,
    cell_centers,
    colors_of,
    hatched_centers,
    outside,
    overlapping,
    rising_map,
    samples_on_neurons,
    shown_texts,
)

FILLED = [0, 4, 17, 25]  # neurons of (0, 0), (0, 4), (3, 2) and (5, 0) on a map of 6 x 5
EMPTY = [k for k in range(30) if k not in FILLED]


def visualizer(som: SOM, **settings: Any) -> BaseVisualizer:
    return SOMVisualizer(som, VisualizationConfig(**{"dpi": 60, **settings})).maps


def color_at(axes: Axes, som: SOM, neuron: int) -> Floats:
    """The color of a neuron's cell."""
    place = som.grid.positions[neuron].numpy()
    (index,) = np.flatnonzero(np.linalg.norm(cell_centers(axes) - place, axis=1) < 1e-6)
    return np.asarray(colors_of(axes)[index])


def scale(name: str, share: float) -> Floats:
    return np.array(matplotlib.colormaps[name](float(share)))


@dataclass(frozen=True)
class Gallery:
    """Every figure of one map."""

    som: SOM
    figures: dict[str, Figure]


@pytest.fixture(scope="module", params=GRIDS, ids=lambda grid: f"{grid[0]}-{'torus' if grid[1] else 'flat'}")
def gallery(request: pytest.FixtureRequest) -> Gallery:
    som, data = rising_map(*request.param), samples_on_neurons()
    maps, target = visualizer(som), torch.arange(len(data)) % 3
    figures = {
        "distance": maps.plot_distance_map(),
        "expanded": maps.plot_distance_map(expanded=True),
        "history": maps.plot_distance_history([som.weights, 2 * som.weights]),
        "planes": maps.plot_component_planes(),
        "hits": maps.plot_hit_map(data),
        "classes": maps.plot_classification_map(target, data),
        "mean": maps.plot_metric_map(target, data),
        "std": maps.plot_metric_map(target, data, reduction_parameter="std"),
        "score": maps.plot_score_map(target, data),
        "rank": maps.plot_rank_map(target, data),
        "retrieval": maps.plot_retrieval(7, fallback=[20, 21]),
    }
    return Gallery(som, figures)


def test_every_map_has_its_cells_where_the_grid_says_with_row_zero_on_top(gallery: Gallery) -> None:
    expected = {tuple(place) for place in np.round(gallery.som.grid.positions.numpy(), 6).tolist()}
    for name, figure in gallery.figures.items():
        axes = figure.axes[0]
        drawn = np.round(np.concatenate((cell_centers(axes), hatched_centers(axes))), 6) + 0.0  # no -0.0
        places = [tuple(place) for place in drawn.tolist()]
        assert len(places) == len(set(places)), name
        assert expected <= set(places) if name == "expanded" else expected == set(places), name
        bottom, top = axes.get_ylim()
        assert bottom > top, name
        assert axes.get_aspect() == 1, name


def test_no_label_of_any_map_covers_another_or_is_cut_off(gallery: Gallery) -> None:
    for name, figure in gallery.figures.items():
        texts = shown_texts(figure)
        assert overlapping(texts) == [], name
        assert outside(figure, texts) == [], name


def test_a_torus_is_marked_and_a_flat_map_is_not(gallery: Gallery) -> None:
    for name, figure in gallery.figures.items():
        border = next(patch for patch in figure.axes[0].patches if patch.get_gid() == "border")
        assert (border.get_linestyle() not in ("solid", "-")) == gallery.som.pbc, name
        assert any("torus" in text.get_text() for text in figure.findobj(Text)) == gallery.som.pbc, name


def test_hits_color_their_neurons_from_zero_up_and_the_rest_is_hatched(som: SOM, data: torch.Tensor) -> None:
    axes = visualizer(som).plot_hit_map(data).axes[0]
    for neuron, hits in {0: 2, 4: 1, 17: 3, 25: 1}.items():
        np.testing.assert_allclose(color_at(axes, som, neuron), scale("viridis", hits / 3))
    np.testing.assert_allclose(hatched_centers(axes), som.grid.positions[EMPTY], atol=1e-12)


def test_hits_are_written_into_their_cells(som: SOM, data: torch.Tensor) -> None:
    axes = visualizer(som).plot_hit_map(data).axes[0]
    found = {tuple(text.get_position()): text.get_text() for text in axes.texts if text.get_text().isdigit()}
    expected = {neuron: str(hits) for neuron, hits in {0: 2, 4: 1, 17: 3, 25: 1}.items()}
    places = som.grid.positions.numpy()
    assert found == {tuple(places[neuron][::-1]): hits for neuron, hits in expected.items()}


def test_a_reference_range_keeps_the_color_of_a_count(som: SOM, data: torch.Tensor) -> None:
    axes = visualizer(som).plot_hit_map(data, vmax=30).axes[0]
    np.testing.assert_allclose(color_at(axes, som, 17), scale("viridis", 3 / 30))


def test_means_are_those_of_the_targets_and_undefined_ones_are_hatched(som: SOM, data: torch.Tensor) -> None:
    target = torch.tensor([1.0, 3.0, 0.0, 10.0, 4.0, 5.0, 6.0])
    axes = visualizer(som).plot_metric_map(target, data).axes[0]
    for neuron, mean in {0: 2, 4: 0, 17: 5, 25: 10}.items():
        np.testing.assert_allclose(color_at(axes, som, neuron), scale("viridis", mean / 10))
    spread = visualizer(som).plot_metric_map(target, data, reduction_parameter="std").axes[0]
    assert len(hatched_centers(spread)) == 28  # one sample has no standard deviation
    np.testing.assert_allclose(color_at(spread, som, 0), scale("viridis", 1))  # sqrt(2), against 1 of neuron 17


def test_a_centered_mean_is_white_in_the_middle(som: SOM, data: torch.Tensor) -> None:
    target = torch.tensor([1.0, -1.0, 0.0, 10.0, -4.0, -5.0, -6.0])
    axes = visualizer(som).plot_metric_map(target, data, center=0).axes[0]
    for neuron, mean in {0: 0, 17: -5, 25: 10}.items():
        np.testing.assert_allclose(color_at(axes, som, neuron), scale("RdBu_r", 0.5 + mean / 20))


def test_the_lowest_rank_and_score_are_the_lightest(som: SOM, data: torch.Tensor) -> None:
    target = torch.tensor([1.0, 9.0, 0.0, 10.0, 4.0, 5.0, 6.0])
    for plot in (visualizer(som).plot_rank_map, visualizer(som).plot_score_map):
        axes = plot(target, data).axes[0]
        assert len(cell_centers(axes)) == 2
        np.testing.assert_allclose(color_at(axes, som, 17), scale("viridis", 1))
        np.testing.assert_allclose(color_at(axes, som, 0), scale("viridis", 0))


def test_several_targets_get_a_panel_each_with_their_names(som: SOM, data: torch.Tensor) -> None:
    target = torch.rand(7, 2, generator=torch.Generator().manual_seed(0))
    figure = visualizer(som).plot_metric_map(target, data, target_names=["dry", "$wet"])
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["dry", "$wet"]
    with pytest.raises(ShapeError, match="target_names must have 2 names"):
        visualizer(som).plot_metric_map(target, data, target_names=["dry"])


def test_classes_take_the_palette_in_the_order_of_their_labels(som: SOM, data: torch.Tensor) -> None:
    target = torch.tensor([7, 7, 2, 30, 2, 2, 30])
    figure = visualizer(som, category_colors=("red", "lime", "blue")).plot_classification_map(
        target, data, class_names={2: "two"}
    )
    for neuron, color in {0: "lime", 4: "red", 17: "red", 25: "blue"}.items():
        np.testing.assert_allclose(color_at(figure.axes[0], som, neuron), to_rgba(color))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["two", "7", "30", "no samples"]


def test_classes_that_are_texts_are_shown_by_them(som: SOM, data: torch.Tensor) -> None:
    target = ["b", "b", "a", "é", "a", "a", "é"]
    maps = visualizer(som, category_colors=("red", "lime", "blue"))
    figure = maps.plot_classification_map(target, data)
    for neuron, color in {0: "lime", 4: "red", 17: "red", 25: "blue"}.items():
        np.testing.assert_allclose(color_at(figure.axes[0], som, neuron), to_rgba(color))
    for names, shown in (
        (None, ["a", "b", "é"]),
        ({"b": "bee"}, ["a", "bee", "é"]),
        (["x", "y", "z"], ["x", "y", "z"]),
    ):
        legend = maps.plot_classification_map(target, data, class_names=names).axes[0].get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == [*shown, "no samples"]


def test_classes_that_are_known_are_drawn_as_those_of_the_samples(som: SOM, data: torch.Tensor) -> None:
    target, maps = torch.tensor([1, 1, 0, 2, 0, 0, 2]), visualizer(som)
    known = som.build_map("classification", data=data, target=target)
    drawn = maps.plot_classification_map(statistic=known, class_names=["ape", "cat", "ox"], target_name="kind")
    expected = maps.plot_classification_map(target, data)
    for neuron in (0, 4, 17, 25):
        np.testing.assert_array_equal(color_at(drawn.axes[0], som, neuron), color_at(expected.axes[0], som, neuron))
    assert drawn.axes[0].get_title(loc="left") == "Most frequent kind"
    with pytest.raises(ArgumentError, match="class_names must name"):
        maps.plot_classification_map(statistic=known)


def test_another_number_of_class_names_is_refused(som: SOM, data: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match="class_names must have 3 names, one a class, got 2"):
        visualizer(som).plot_classification_map([0, 0, 1, 1, 2, 2, 2], data, class_names=["a", "b"])


def test_targets_that_are_all_missing_leave_every_neuron_empty(som: SOM, data: torch.Tensor) -> None:
    masked = SOM.from_config(som.config.model_copy(update={"missing": "mask"}))  # else such a target is refused
    masked.initialize_from(som)
    target = torch.full((7,), math.nan)
    for figure in (
        visualizer(masked).plot_metric_map(target, data),
        visualizer(masked).plot_classification_map(target, data),
    ):
        assert len(hatched_centers(figure.axes[0])) == 30


def test_a_map_of_samples_made_earlier_gives_the_same_figure(som: SOM, data: torch.Tensor) -> None:
    target = torch.arange(7.0)
    samples = som.build_map("bmus_data", data=data)
    one = visualizer(som).plot_metric_map(target, data).axes[0]
    other = visualizer(som).plot_metric_map(target, bmus_data_map=samples).axes[0]
    np.testing.assert_array_equal(colors_of(one), colors_of(other))


def test_known_hits_and_statistics_give_the_figures_of_the_samples(som: SOM, data: torch.Tensor) -> None:
    counts, mean = torch.zeros(30), torch.full((30,), math.nan)  # by hand: see `FILLED` and the test of hits
    counts[[0, 4, 17, 25]] = torch.tensor([2.0, 1.0, 3.0, 1.0])
    mean[[0, 4, 17, 25]] = torch.tensor([0.5, 2.0, 5.0, 3.0])  # of 0, 1; 2; 4, 5, 6; 3
    draw = visualizer(som)
    pairs = [
        (draw.plot_hit_map(data), draw.plot_hit_map(hits=counts.reshape(6, 5))),
        (draw.plot_metric_map(torch.arange(7.0), data), draw.plot_metric_map(statistic=mean.reshape(6, 5).numpy())),
    ]
    for one, other in pairs:
        np.testing.assert_array_equal(colors_of(one.axes[0]), colors_of(other.axes[0]))
        np.testing.assert_array_equal(hatched_centers(one.axes[0]), hatched_centers(other.axes[0]))
        texts = [[text.get_text() for text in shown_texts(figure)] for figure in (one, other)]
        assert texts[0] == texts[1]


def test_what_is_known_stands_for_the_samples_and_not_beside_them(som: SOM, data: torch.Tensor) -> None:
    draw, known = visualizer(som), torch.zeros(6, 5)
    with pytest.raises(ArgumentError, match="either data or hits must be given, got neither"):
        draw.plot_hit_map()
    with pytest.raises(ArgumentError, match="either data or hits must be given, got both"):
        draw.plot_hit_map(data, hits=known)
    with pytest.raises(ArgumentError, match="either target or statistic must be given, got neither"):
        draw.plot_metric_map(data=data)
    for wrong in (torch.zeros(5, 6), torch.zeros(30)):
        with pytest.raises(ShapeError, match=r"hits must have the shape \(6, 5\) of the map, got"):
            draw.plot_hit_map(hits=wrong)
        with pytest.raises(ShapeError, match=r"statistic must have the shape \(6, 5\) of the map, got"):
            draw.plot_metric_map(statistic=wrong)


def test_component_planes_show_the_weights_of_their_feature(som: SOM) -> None:
    figure = visualizer(som).plot_component_planes(["rows", "columns", "both"], sort=False)
    rows, columns, _ = figure.axes[:3]
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["rows", "columns", "both"]
    for neuron in (0, 4, 17, 29):
        row, column = divmod(neuron, 5)
        np.testing.assert_allclose(color_at(rows, som, neuron), scale("viridis", row / 5))
        np.testing.assert_allclose(color_at(columns, som, neuron), scale("viridis", column / 4))


def test_a_feature_range_fixes_the_colors_of_its_plane_only(som: SOM) -> None:
    figure = visualizer(som).plot_component_planes(["a", "b", "c"], sort=False, ranges={"a": (0, 10)})
    np.testing.assert_allclose(color_at(figure.axes[0], som, 29), scale("viridis", 5 / 10))
    np.testing.assert_allclose(color_at(figure.axes[1], som, 29), scale("viridis", 1))
    with pytest.raises(ArgumentError, match="ranges must be one of 'a', 'b', 'c', got 'd'"):
        visualizer(som).plot_component_planes(["a", "b", "c"], ranges={"d": (0, 1)})


def test_a_plane_whose_values_begin_again_has_colors_that_do(som: SOM) -> None:
    planes = visualizer(som).plot_component_planes
    figure = planes(["a", "b", "c"], sort=False, center=0.0, ranges={"a": (0, 5)}, cyclic=["a"])
    for neuron in (0, 17, 29):  # rows 0, 3, and 5, where a begins again
        color = color_at(figure.axes[0], som, neuron)
        np.testing.assert_allclose(color, scale("twilight", neuron // 5 / 5))
    np.testing.assert_allclose(color_at(figure.axes[0], som, 29), color_at(figure.axes[0], som, 0), atol=0.02)
    np.testing.assert_allclose(color_at(figure.axes[1], som, 29), scale("RdBu_r", 1.0))
    with pytest.raises(ArgumentError, match="cyclic must be one of 'a', 'b', 'c', got 'd'"):
        planes(["a", "b", "c"], cyclic=["d"])


def test_centered_planes_are_diverging_around_the_center(som: SOM) -> None:
    figure = visualizer(som).plot_component_planes(sort=False, center=2.0)
    np.testing.assert_allclose(color_at(figure.axes[1], som, 2), scale("RdBu_r", 0.5))


def test_another_number_of_component_names_is_refused(som: SOM) -> None:
    with pytest.raises(ShapeError, match="component_names must have 3 names, one a feature, got 1"):
        visualizer(som).plot_component_planes(["a"])


def test_planes_take_the_column_names_of_the_training_data() -> None:
    import polars

    som = SOM(3, 3, 2, epochs=1)
    som.fit(polars.DataFrame({"price": [1.0, 2.0, 3.0] * 4, "size": [3.0, 1.0, 2.0] * 4}), verbose=False)
    figure = visualizer(som).plot_component_planes()
    assert {axes.get_title(loc="left") for axes in figure.axes} >= {"price", "size"}


def test_planes_beyond_a_page_are_on_further_figures_and_files(tmp_path: Path) -> None:
    som = SOM(2, 2, 5)
    maps = visualizer(som, planes_per_page=2)
    pages = maps.plot_component_plane_pages(sort=False)
    titles = [[axes.get_title(loc="left") for axes in page.axes if axes.get_title(loc="left")] for page in pages]
    assert [len(page) for page in titles] == [2, 2, 1]
    first = maps.plot_component_planes(sort=False, save_path=tmp_path, fig_name="planes")
    assert [axes.get_title(loc="left") for axes in first.axes[:2]] == ["feature 0", "feature 1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planes.png", "planes_2.png", "planes_3.png"]


def test_sixty_planes_are_one_figure() -> None:
    figure = visualizer(SOM(2, 2, 60)).plot_component_planes()
    assert len([axes for axes in figure.axes if axes.get_title(loc="left")]) == 60


def test_the_distance_map_shows_what_build_map_gives(som: SOM) -> None:
    arguments: dict[str, Any] = {"distance_metric": "manhattan", "neighborhood_order": 2, "scaling": "mean"}
    values = som.build_map("distance", **arguments).flatten().double().numpy()
    axes = visualizer(som).plot_distance_map(**arguments, vmin=0, vmax=2).axes[0]
    for neuron in (0, 7, 29):
        np.testing.assert_allclose(color_at(axes, som, neuron), scale("magma", values[neuron] / 2), atol=0.01)


def test_an_unknown_metric_is_refused_in_both_forms(som: SOM) -> None:
    for expanded in (False, True):
        with pytest.raises(ArgumentError, match=r"distance_metric must be one of 'euclidean', .*got 'taxi'"):
            visualizer(som).plot_distance_map("taxi", expanded=expanded)


def test_the_expanded_map_colors_the_cell_between_two_neurons_by_their_distance() -> None:
    som = SOM(1, 3, 1, topology="hexagonal")
    som.weights = torch.tensor([[[0.0], [1.0], [4.0]]])
    axes = visualizer(som).plot_distance_map(expanded=True).axes[0]
    order = np.argsort(cell_centers(axes)[:, 1])
    colors = colors_of(axes)[order]
    values = np.array([1, 1, 2, 3, 3])  # neuron, between, neuron (mean of 1 and 3), between, neuron
    np.testing.assert_allclose(colors, matplotlib.colormaps["magma"]((values - 1) / 2))


def test_snapshots_share_one_scale(som: SOM) -> None:
    figure = visualizer(som).plot_distance_history([som.weights, 2 * som.weights], epochs=[1, 9])
    one, two = figure.axes[:2]
    assert [axes.get_title(loc="left") for axes in (one, two)] == ["epoch 1", "epoch 9"]
    assert np.linalg.norm(colors_of(one) - colors_of(two), axis=1).min() > 0.1


def test_snapshots_of_another_shape_or_number_are_refused(som: SOM) -> None:
    with pytest.raises(ShapeError, match="snapshots must be weights of shape"):
        visualizer(som).plot_distance_history([som.weights[:2]])
    with pytest.raises(ShapeError, match="epochs must have one number a snapshot, got 1 for 2 snapshots"):
        visualizer(som).plot_distance_history([som.weights, som.weights], epochs=[3])
    with pytest.raises(ShapeError, match="got 0 for 0 snapshots"):
        visualizer(som).plot_distance_history([])


def test_retrieval_colors_query_neighborhood_and_fallback(som: SOM) -> None:
    config = VisualizationConfig()
    axes = visualizer(som).plot_retrieval(12, fallback=[29, 12, 0]).axes[0]
    around = neighbors(som.grid, 12).tolist()
    for neurons, color in zip(([12], around, {29, 0} - set(around)), config.retrieval_colors, strict=True):
        for neuron in neurons:
            np.testing.assert_allclose(color_at(axes, som, neuron), to_rgba(color))
    rest = color_at(axes, som, next(k for k in range(30) if k not in {12, *around, 29, 0}))
    assert rest[0] == rest[1] == rest[2]  # gray
    numbers = [text.get_text() for text in axes.texts if text.get_text().isdigit()]
    assert sorted(numbers) == [str(i + 1) for i in range(len({29, 0} - set(around)))]


def test_retrieval_without_neighborhood_or_fallback_shows_the_query_alone(som: SOM) -> None:
    legend = visualizer(som).plot_retrieval(0, neighborhood=[]).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text()[:5] for text in legend.get_texts()] == ["query", "other"]


@pytest.mark.parametrize("arguments", [{"query": 30}, {"query": 0, "fallback": [-1]}])
def test_retrieval_refuses_indices_that_are_no_neurons(som: SOM, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"must be flat indices from 0 to 29, got (30|-1)"):
        visualizer(som).plot_retrieval(**arguments)


def test_a_visualizer_refuses_maps_of_the_other_topology(som: SOM) -> None:
    other = {"rectangular": HexagonalVisualizer, "hexagonal": RectangularVisualizer}[som.topology]
    with pytest.raises(ArgumentError, match="use SOMVisualizer"):
        other(som)


def test_names_with_dollar_signs_are_drawn_as_they_stand(som: SOM, tmp_path: Path) -> None:
    names = ["$cost", "x^2_{3}", r"$\frac{$"]
    figure = visualizer(som).plot_component_planes(names, save_path=tmp_path)
    assert {axes.get_title(loc="left") for axes in figure.axes[:3]} == set(names)


@pytest.mark.parametrize(("x", "y"), [(1, 1), (1, 10), (10, 1), (2, 60)])
def test_maps_of_every_shape_are_drawn_without_labels_that_collide(x: int, y: int) -> None:
    maps = visualizer(SOM(x, y, 2, topology="hexagonal"))
    data = torch.rand(5, 2, generator=torch.Generator().manual_seed(0))
    for figure in (maps.plot_distance_map(), maps.plot_distance_map(expanded=True), maps.plot_hit_map(data)):
        assert overlapping(shown_texts(figure)) == []

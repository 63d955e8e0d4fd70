import inspect
from pathlib import Path

import matplotlib
import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from somlib import SOM, GrowingSOM, SOMVisualizer, VisualizationConfig
from somlib.errors import NotFittedError
from somlib.visualization import BaseVisualizer, ClusteringVisualizer, HexagonalVisualizer, RectangularVisualizer
from tests.somlib.visualization.reading import outside, overlapping, rising_map, shown_texts

CONFIG = VisualizationConfig(dpi=60)
ERRORS = ([0.9, 0.5, 0.4], [0.3, 0.2, 0.1])

# Arguments in their order, as promised to the callers.
CONTRACT = {
    "plot_training_errors": ["quantization_errors", "topographic_errors"],
    "plot_distance_map": ["distance_metric", "neighborhood_order", "scaling"],
    "plot_hit_map": ["data", "batch_size"],
    "plot_component_planes": ["component_names"],
    "plot_classification_map": ["target", "data", "bmus_data_map", "neighborhood_order"],
    "plot_metric_map": ["target", "data", "bmus_data_map", "reduction_parameter"],
    "plot_score_map": ["target", "data", "bmus_data_map"],
    "plot_rank_map": ["target", "data", "bmus_data_map"],
    "plot_cluster_map": ["cluster_result"],
    "plot_elbow_analysis": ["max_k", "feature_space"],
    "plot_silhouette_analysis": ["cluster_result"],
    "plot_cluster_quality_comparison": ["results_list"],
    "plot_all": ["quantization_errors", "topographic_errors", "data", "target", "component_names", "save_path"],
}
ALWAYS = {
    "training_errors",
    "distance_map",
    "distance_map_expanded",
    "hit_map",
    "component_planes",
    "cluster_map",
    "cluster_profiles",
    "silhouette_analysis",
    "elbow_analysis",
}
OF_TARGETS = {"metric_map", "metric_map_std", "score_map", "rank_map"}


@pytest.mark.parametrize("name", CONTRACT)
def test_arguments_keep_their_names_and_order(name: str) -> None:
    arguments = list(inspect.signature(getattr(SOMVisualizer, name)).parameters)[1:]
    assert arguments[: len(CONTRACT[name])] == CONTRACT[name]
    assert "save_path" in arguments
    assert ("fig_name" in arguments) == (name != "plot_all")


def test_the_topology_of_the_map_picks_the_visualizer(som: SOM) -> None:
    visualizer = SOMVisualizer(som, CONFIG)
    expected = {"rectangular": RectangularVisualizer, "hexagonal": HexagonalVisualizer}[som.topology]
    assert type(visualizer.maps) is expected
    assert isinstance(visualizer.clusters, ClusteringVisualizer)
    assert visualizer.som is som
    assert visualizer.config is CONFIG


@pytest.mark.parametrize("part", [BaseVisualizer, ClusteringVisualizer])
def test_every_figure_of_a_part_is_one_of_the_whole_and_can_be_saved(part: type) -> None:
    figures = {name: method for name, method in inspect.getmembers(part, callable) if name.startswith("plot_")}
    assert [name for name in figures if not hasattr(SOMVisualizer, name)] == []
    taken = {name: set(inspect.signature(method).parameters) for name, method in figures.items()}
    assert [name for name, arguments in taken.items() if not {"save_path", "fig_name"} <= arguments] == []


def test_delegated_methods_bring_their_documentation(som: SOM) -> None:
    assert SOMVisualizer.plot_hit_map.__doc__ == RectangularVisualizer.plot_hit_map.__doc__
    assert SOMVisualizer(som).plot_hit_map.__name__ == "plot_hit_map"


def test_keywords_may_come_in_any_order(som: SOM, data: torch.Tensor, tmp_path: Path) -> None:
    figure = SOMVisualizer(som, CONFIG).plot_metric_map(
        fig_name="spread", save_path=tmp_path, reduction_parameter="std", data=data, target=torch.arange(7)
    )
    assert isinstance(figure, Figure)
    assert [path.name for path in tmp_path.iterdir()] == ["spread.png"]


def test_nothing_is_saved_without_a_path(som: SOM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SOMVisualizer(som, CONFIG).plot_distance_map(fig_name="name")
    assert list(tmp_path.iterdir()) == []


def test_plot_all_returns_and_saves_every_figure_by_name(data: torch.Tensor, tmp_path: Path) -> None:
    visualizer = SOMVisualizer(rising_map("hexagonal", True), VisualizationConfig(dpi=40, formats=("png", "svg")))
    figures = visualizer.plot_all(*ERRORS, data, target=torch.arange(7) / 4, save_path=tmp_path / "figures")
    assert set(figures) == ALWAYS | OF_TARGETS
    saved = {path.name for path in (tmp_path / "figures").iterdir()}
    assert saved == {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    for name, figure in figures.items():
        assert overlapping(shown_texts(figure)) == [], name
        assert outside(figure, shown_texts(figure)) == [], name


def test_plot_all_draws_classes_where_the_target_has_some_and_compares_clusterings(data: torch.Tensor) -> None:
    som = SOM(4, 4, 3)
    results = [som.cluster(n_clusters=2), som.cluster(n_clusters=3)]
    figures = SOMVisualizer(som, CONFIG).plot_all(
        *ERRORS, data, target=[0, 0, 1, 1, 2, 2, 2], class_names=["a", "b", "c"], cluster_results=results
    )
    assert set(figures) == ALWAYS | OF_TARGETS | {"classification_map", "cluster_quality_comparison"}


def test_plot_all_draws_texts_as_classes_alone(data: torch.Tensor) -> None:
    figures = SOMVisualizer(SOM(4, 4, 3), CONFIG).plot_all(*ERRORS, data, target=list("aabbccc"))
    assert set(figures) == ALWAYS | {"classification_map"}


def test_plot_all_without_a_target_has_no_target_maps(data: torch.Tensor) -> None:
    assert set(SOMVisualizer(SOM(4, 4, 3), CONFIG).plot_all(*ERRORS, data)) == ALWAYS


def test_plot_all_names_every_page_of_component_planes(tmp_path: Path) -> None:
    visualizer = SOMVisualizer(SOM(3, 3, 5), VisualizationConfig(dpi=40, planes_per_page=2))
    figures = visualizer.plot_all(*ERRORS, torch.rand(9, 5), save_path=tmp_path)
    pages = {"component_planes", "component_planes_2", "component_planes_3"}
    assert pages <= set(figures)
    assert pages <= {path.stem for path in tmp_path.iterdir()}


def test_plot_all_of_a_single_neuron_is_drawn_too() -> None:
    figures = SOMVisualizer(SOM(1, 1, 2), CONFIG).plot_all([0.5], [float("nan")], torch.rand(5, 2), torch.rand(5))
    assert set(figures) == ALWAYS | OF_TARGETS


@pytest.mark.parametrize("style", ["dark_background", "ggplot"])
def test_figures_look_the_same_whatever_the_global_style(style: str, data: torch.Tensor) -> None:
    visualizer = SOMVisualizer(SOM(4, 3, 3, topology="hexagonal"), VisualizationConfig(dpi=40))

    def drawn() -> dict[str, np.ndarray]:
        figures = visualizer.plot_all(*ERRORS, data, torch.arange(7) / 4, sigmas=[3, 2, 1])
        for figure in figures.values():
            figure.canvas.draw()
        return {name: np.asarray(figure.canvas.buffer_rgba()) for name, figure in figures.items()}  # type: ignore[attr-defined]

    plain = drawn()
    with matplotlib.style.context(style):
        styled = drawn()
    for name in plain:
        np.testing.assert_array_equal(plain[name], styled[name], err_msg=name)


def test_a_map_without_a_size_asks_to_be_fitted_first() -> None:
    with pytest.raises(NotFittedError, match="call fit first"):
        SOMVisualizer(SOM()).plot_component_planes()


def test_a_growing_map_is_drawn_like_any_other() -> None:
    som = GrowingSOM(num_features=2, epochs=2)
    data = torch.rand(60, 2, generator=torch.Generator().manual_seed(0))
    som.fit(data, verbose=False)
    figure = SOMVisualizer(som, CONFIG).plot_hit_map(data)
    assert overlapping(shown_texts(figure)) == []

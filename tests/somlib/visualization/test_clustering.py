from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples

from somlib import SOM, SOMVisualizer, VisualizationConfig
from somlib.errors import ArgumentError, ShapeError
from somlib.utils.clustering import ClusterResult
from somlib.visualization import ClusteringVisualizer
from tests.somlib.visualization.reading import (
    cell_centers,
    colors_of,
    hatched_centers,
    outside,
    overlapping,
    shown_texts,
    steps_of,
    width_of,
)

CONFIG = VisualizationConfig(dpi=80)


def clusters_of(som: SOM) -> ClusteringVisualizer:
    return SOMVisualizer(som, CONFIG).clusters


def relabeled(som: SOM, labels: list[int]) -> ClusterResult:
    """A result with these labels; scores and centers stay those of K-Means."""
    result = som.cluster(n_clusters=2)
    result["labels"] = torch.tensor(labels)
    result["n_clusters"] = len({label for label in labels if label > 0})
    return result


def legend_lines(figure: Figure) -> list[str]:
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_the_cluster_map_colors_outlines_and_counts(som: SOM, data: torch.Tensor) -> None:
    labels = [1] * 10 + [2] * 15 + [-1] * 5
    figure = clusters_of(som).plot_cluster_map(relabeled(som, labels), data)
    axes = figure.axes[0]
    colors = colors_of(axes)
    for center, color in zip(cell_centers(axes), colors, strict=True):
        neuron = int(np.linalg.norm(som.grid.positions.numpy() - center, axis=1).argmin())
        np.testing.assert_allclose(color, to_rgba(CONFIG.category_colors[labels[neuron] - 1]))
    np.testing.assert_allclose(hatched_centers(axes), som.grid.positions[25:])
    assert legend_lines(figure) == [
        "1: 10 neurons (33%), 3 samples",
        "2: 15 neurons (50%), 3 samples",
        "noise: 5 neurons (17%), 1 sample",
    ]
    (lines,) = [item for item in axes.collections if isinstance(item, LineCollection)]
    between = 2 * 5 if som.topology == "rectangular" else 2 * 9  # a zigzag, cut off at its ends
    around = 2 if not som.pbc else 3  # borders between the three bands; a torus has one more
    expected = around * (between if not som.pbc or som.topology == "rectangular" else 2 * 10)
    assert len(lines.get_segments()) == expected


def test_known_hits_are_counted_by_cluster(som: SOM) -> None:
    result = relabeled(som, [1] * 10 + [2] * 20)
    hits = torch.zeros(6, 5)
    hits[0, 3], hits[2, 0], hits[5, 4] = 7, 1, 4  # neurons 3, 10 and 29
    figure = clusters_of(som).plot_cluster_map(result, hits=hits)
    assert legend_lines(figure) == ["1: 10 neurons (33%), 7 samples", "2: 20 neurons (67%), 5 samples"]
    with pytest.raises(ShapeError, match="hits must have the shape"):
        clusters_of(som).plot_cluster_map(result, hits=hits.T)


def test_each_cluster_carries_its_number(som: SOM) -> None:
    figure = clusters_of(som).plot_cluster_map(relabeled(som, [1] * 15 + [2] * 15))
    assert {text.get_text() for text in figure.axes[0].texts} >= {"1", "2"}


def test_noise_alone_is_drawn_as_noise(som: SOM) -> None:
    result = relabeled(som, [-1] * 30)
    clusters = clusters_of(som)
    figure = clusters.plot_cluster_map(result)
    assert len(hatched_centers(figure.axes[0])) == 30
    for figure in (clusters.plot_silhouette_analysis(result), clusters.plot_cluster_profiles(result)):
        assert overlapping(shown_texts(figure)) == []


def test_the_elbow_figure_shows_inertias_as_scikit_learn_finds_them(som: SOM) -> None:
    curve = clusters_of(som).plot_elbow_analysis(max_k=3).axes[0].get_lines()[0]
    features = som.weights.reshape(30, 3).double().numpy()
    expected = [KMeans(k, n_init=20, random_state=0).fit(features).inertia_ for k in (1, 2, 3)]
    np.testing.assert_array_equal(curve.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(np.asarray(curve.get_ydata()), expected, rtol=0.02)


def test_the_elbow_of_positions_does_not_depend_on_the_weights(som: SOM) -> None:
    before = clusters_of(som).plot_elbow_analysis(3, "positions").axes[0].get_lines()[0].get_ydata()
    som.weights = som.weights.square()
    after = clusters_of(som).plot_elbow_analysis(3, "positions").axes[0].get_lines()[0].get_ydata()
    np.testing.assert_array_equal(before, after)


def test_silhouettes_are_those_of_scikit_learn(som: SOM) -> None:
    result = som.cluster(n_clusters=2)
    axes = clusters_of(som).plot_silhouette_analysis(result).axes[0]
    expected = silhouette_samples(result["original_data"].numpy(), result["labels"].numpy())
    drawn = np.concatenate([steps_of(patch) for patch in axes.patches])
    np.testing.assert_allclose(np.sort(drawn), np.sort(expected), atol=1e-5)


def test_one_cluster_has_no_silhouette_and_no_profile_but_a_figure(som: SOM) -> None:
    result = som.cluster(n_clusters=1)
    clusters = clusters_of(som)
    for figure in (clusters.plot_silhouette_analysis(result), clusters.plot_cluster_profiles(result)):
        assert any("not defined" in text.get_text() for text in shown_texts(figure))


def test_profiles_name_the_feature_that_sets_the_clusters_apart(som: SOM) -> None:
    result = relabeled(som, [1] * 15 + [2] * 15)  # upper and lower rows
    figure = clusters_of(som).plot_cluster_profiles(result, ["rows", "columns", "both"], max_features=1)
    assert [axes.get_yticklabels()[0].get_text() for axes in figure.axes] == ["rows", "rows"]
    assert [width_of(axes.patches[0]) > 0 for axes in figure.axes] == [False, True]


def test_the_comparison_has_a_row_for_each_result(som: SOM) -> None:
    results = [som.cluster(n_clusters=2), som.cluster("ward", n_clusters=3, feature_space="combined")]
    figure = clusters_of(som).plot_cluster_quality_comparison(results)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["K-Means on weights, k = 2", "Ward's method on combined, k = 3"]
    assert outside(figure, shown_texts(figure)) == []


@pytest.mark.parametrize("method", ["plot_cluster_map", "plot_silhouette_analysis", "plot_cluster_profiles"])
def test_something_else_than_a_cluster_result_is_refused(som: SOM, method: str) -> None:
    with pytest.raises(ArgumentError, match=r"cluster_result must be what som.cluster returns, got (list|dict)"):
        getattr(clusters_of(som), method)([1, 2])
    with pytest.raises(ShapeError, match="cluster_result must label 30 neurons, got labels of shape"):
        getattr(clusters_of(som), method)({**som.cluster(n_clusters=2), "labels": torch.ones(7)})


@pytest.mark.parametrize("results", [[], {"labels": []}])
def test_a_comparison_of_nothing_is_refused(som: SOM, results: Any) -> None:
    with pytest.raises(ArgumentError, match="results_list must be a list of at least one cluster result"):
        clusters_of(som).plot_cluster_quality_comparison(results)


def test_fewer_than_one_feature_a_profile_is_refused(som: SOM) -> None:
    with pytest.raises(ArgumentError, match="max_features must be at least 1, got 0"):
        clusters_of(som).plot_cluster_profiles(som.cluster(n_clusters=2), max_features=0)


def test_large_maps_draw_the_silhouettes_of_a_sample(monkeypatch: pytest.MonkeyPatch, som: SOM) -> None:
    monkeypatch.setattr("somlib.visualization.clustering.SILHOUETTE_NEURONS", 10)
    axes = clusters_of(som).plot_silhouette_analysis(som.cluster(n_clusters=2)).axes[0]
    assert sum(len(steps_of(patch)) for patch in axes.patches) == 10


def test_figures_are_saved_under_their_name(som: SOM, tmp_path: Path) -> None:
    clusters_of(som).plot_elbow_analysis(3, save_path=tmp_path)
    clusters_of(som).plot_elbow_analysis(3, fig_name="bend", save_path=str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bend.png", "elbow_analysis.png"]

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from somlib.visualization.cluster_figures import (
    SCORES,
    comparison_figure,
    elbow_figure,
    elbow_of,
    profile_figure,
    silhouette_figure,
    standardized_differences,
)
from somlib.visualization.config import VisualizationConfig
from tests.somlib.visualization.reading import outside, overlapping, shown_texts, steps_of, width_of

CONFIG = VisualizationConfig(dpi=80)
NAN = math.nan


def test_standardized_differences_match_their_definition() -> None:
    generator = np.random.default_rng(0)
    weights, labels = generator.standard_normal((20, 3)), generator.integers(1, 4, 20)
    labels[:3] = -1
    effects = standardized_differences(weights, labels)
    for k in (1, 2, 3):
        for a in range(3):
            own = [w[a] for w, label in zip(weights, labels, strict=True) if label == k]
            rest = [w[a] for w, label in zip(weights, labels, strict=True) if label != k]
            deviation = math.sqrt(sum((w[a] - weights[:, a].mean()) ** 2 for w in weights) / 20)
            assert effects[k - 1, a] == pytest.approx((np.mean(own) - np.mean(rest)) / deviation)


def test_two_equal_halves_that_differ_in_one_feature_are_two_deviations_apart() -> None:
    weights = np.column_stack((np.repeat([0.0, 1.0], 5), np.full(10, 3.0)))
    effects = standardized_differences(weights, np.repeat([1, 2], 5))
    np.testing.assert_allclose(effects, [[-2, 0], [2, 0]])


def test_a_cluster_of_all_neurons_has_no_differences() -> None:
    assert np.isnan(standardized_differences(np.random.default_rng(0).random((4, 2)), np.ones(4, dtype=int))).all()


@pytest.mark.parametrize(
    ("inertias", "elbow"),
    [
        ([100.0, 20.0, 15.0, 10.0, 5.0, 0.0], 1),
        ([100.0, 90.0, 10.0, 8.0, 6.0, 5.0], 2),
        ([5.0, 4.0, 3.0, 2.0, 1.0], None),  # a straight line has none
        ([5.0, 1.0], None),
        ([0.0, 0.0, 0.0], None),
    ],
)
def test_the_elbow_is_the_point_farthest_below_the_line_between_the_ends(
    inertias: list[float], elbow: int | None
) -> None:
    assert elbow_of(np.array(inertias)) == elbow


def test_the_elbow_figure_marks_it() -> None:
    figure = elbow_figure([1, 2, 3, 4], np.array([10.0, 9.0, 1.0, 0.5]), "", CONFIG)
    curve, mark = figure.axes[0].get_lines()
    np.testing.assert_array_equal(curve.get_ydata(), [10, 9, 1, 0.5])
    assert np.asarray(mark.get_xdata()).tolist() == [3]
    assert any(text.get_text() == "elbow: 3 clusters" for text in shown_texts(figure))


def test_silhouettes_are_sorted_within_their_cluster_in_its_color() -> None:
    labels = np.array([1, 2, 1, 2, 2, -1])
    values = np.array([0.2, 0.5, 0.8, -0.1, 0.3, NAN])
    axes = silhouette_figure(values, labels, "", CONFIG).axes[0]
    one, two = axes.patches
    for patch, expected, color in ((one, [0.8, 0.2], 0), (two, [0.5, 0.3, -0.1], 1)):
        assert steps_of(patch) == expected
        assert patch.get_facecolor() == to_rgba(CONFIG.category_colors[color])
    (mean,) = axes.get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == pytest.approx([0.34, 0.34])


def test_undefined_silhouettes_are_said_in_words() -> None:
    figure = silhouette_figure(np.full(3, NAN), np.ones(3, dtype=int), "", CONFIG)
    assert any("not defined" in text.get_text() for text in shown_texts(figure))


def scores(**values: float) -> dict[str, float]:
    return {key: values.get(key, 0.5) for key, _, _ in SCORES}


def test_the_best_of_each_score_is_colored_whether_high_or_low_is_good() -> None:
    results = [scores(silhouette_score=0.9, davies_bouldin_score=0.9), scores(silhouette_score=NAN), scores()]
    figure = comparison_figure(results, ["a", "b", "c"], CONFIG)
    best = to_rgba(CONFIG.highlight_color)
    silhouette, davies_bouldin = figure.axes[:2]
    assert [bar.get_facecolor() == best for bar in silhouette.patches] == [True, False, False]
    assert [bar.get_facecolor() == best for bar in davies_bouldin.patches] == [False, True, True]
    assert "not defined" in [text.get_text() for text in silhouette.texts]


@pytest.mark.parametrize("count", [1, 12])
def test_no_label_of_a_comparison_covers_another(count: int) -> None:
    names = [f"Gaussian mixture on positions, k = {i}" for i in range(count)]
    figure = comparison_figure([scores(calinski_harabasz_score=1234.5)] * count, names, CONFIG)
    assert overlapping(shown_texts(figure)) == []
    assert outside(figure, shown_texts(figure)) == []


def test_a_profile_shows_the_strongest_features_first() -> None:
    effects = np.array([[0.1, -2.0, 1.0], [-0.1, 1.5, -3.0]])
    figure = profile_figure(effects, np.array([1, 1, 2]), ["a", "b", "c"], 2, "", CONFIG)
    one, two = figure.axes
    assert [label.get_text() for label in one.get_yticklabels()] == ["b", "c"]
    assert [width_of(bar) for bar in two.patches] == [-3.0, 1.5]
    assert one.get_xlim() == two.get_xlim()
    assert two.get_title(loc="left") == "Cluster 2: 1 neuron"


@pytest.mark.parametrize("count", [1, 5])
def test_no_label_of_the_profiles_covers_another(count: int) -> None:
    effects = np.random.default_rng(0).uniform(-2, 2, (count, 30))
    names = [f"a feature with quite a long name, number {i}" for i in range(30)]
    figure = profile_figure(effects, np.arange(count) + 1, names, 8, "a note", CONFIG)
    assert len(figure.axes) == count
    assert overlapping(shown_texts(figure)) == []
    assert outside(figure, shown_texts(figure)) == []


def test_profiles_without_any_cluster_or_with_one_are_said_in_words() -> None:
    none = profile_figure(np.empty((0, 2)), np.array([-1, -1]), ["a", "b"], 8, "", CONFIG)
    assert any("all neurons are noise" in text.get_text() for text in shown_texts(none))
    one = profile_figure(np.full((1, 2), NAN), np.array([1, 1]), ["a", "b"], 8, "", CONFIG)
    assert any("no other neurons" in text.get_text() for text in shown_texts(one))

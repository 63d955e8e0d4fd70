import math
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
import torch
from prefect.utilities.collections import visit_collection

from pipelines.data.classes import Classes
from pipelines.data.scaling import fit_scaler
from pipelines.settings.sections import AnalysisConfig, ClusteringMethod
from pipelines.training.analysis import (
    analyze,
    class_maps_of,
    cluster_profiles,
    cluster_scores,
    file_stems,
    heldout_scores,
    measure,
    tables,
)
from pipelines.training.fitting import TrainedMap, train_som
from somlib import SOMConfig
from somlib.utils.clustering import CLUSTERING_METHODS

RAW = np.random.default_rng(0).normal(size=(120, 3)) * (1.0, 50.0, 0.1) + (0.0, 1000.0, 5.0)
SCALER = fit_scaler(RAW, ("a", "b", "c"), "standard")
SAMPLES = SCALER.transform(RAW)
TARGET = np.where(np.arange(120) % 11 == 0, np.nan, RAW[:, 1] + RAW[:, 0])


TWO = AnalysisConfig(clustering="kmeans", n_clusters=2)


@pytest.fixture(scope="module")
def trained() -> TrainedMap:
    return train_som(SAMPLES, SOMConfig(x=4, y=3, epochs=5, algorithm="batch"), SCALER.features)


@pytest.fixture(scope="module")
def found(trained: TrainedMap) -> Any:
    return analyze(trained.som, SAMPLES, {"y": TARGET}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=3))


def winners(trained: TrainedMap) -> np.ndarray:
    """The nearest neuron of every sample by the definition, in float64."""
    codebook = trained.som.weights.double().numpy().reshape(12, 3)
    return np.array([np.argmin(((codebook - sample) ** 2).sum(axis=1)) for sample in SAMPLES.astype(np.float64)])


def test_hits_count_the_samples_of_each_neuron(trained: TrainedMap, found: Any) -> None:
    np.testing.assert_array_equal(found.hits.ravel(), np.bincount(winners(trained), minlength=12))


def test_the_neuron_of_each_row_and_how_far_it_is_are_kept(trained: TrainedMap, found: Any) -> None:
    np.testing.assert_array_equal(found.winner, winners(trained))
    codebook = trained.som.weights.double().numpy().reshape(12, 3)
    away = np.linalg.norm(SAMPLES.astype(np.float64) - codebook[winners(trained)], axis=1)
    np.testing.assert_allclose(found.distance, away, rtol=1e-5)


def test_targets_are_counted_where_they_are_known(trained: TrainedMap, found: Any) -> None:
    known = ~np.isnan(TARGET)
    expected = np.bincount(winners(trained)[known], minlength=12)
    np.testing.assert_array_equal(found.targets["y"].counts.ravel(), expected)


def test_planes_are_the_weights_in_the_units_of_the_data(trained: TrainedMap, found: Any) -> None:
    weights = trained.som.weights.double().numpy()
    np.testing.assert_allclose(found.planes, weights * RAW.std(axis=0) + RAW.mean(axis=0), rtol=1e-6)


def test_target_maps_leave_rows_without_a_target_out(trained: TrainedMap, found: Any) -> None:
    owner, known = winners(trained), ~np.isnan(TARGET)
    total = known.sum()
    for k in range(12):
        own = TARGET[(owner == k) & known]
        maps = {name: values.ravel()[k] for name, values in found.targets["y"].maps.items()}
        spread = own.std(ddof=1) if len(own) > 1 else math.nan
        score = spread / math.sqrt(len(own)) * math.log(total / len(own)) if len(own) else math.nan
        np.testing.assert_allclose(maps["mean"], own.mean() if len(own) else math.nan, rtol=1e-9)
        np.testing.assert_allclose(maps["std"], spread, rtol=1e-9)
        np.testing.assert_allclose(maps["score"], score, rtol=1e-9)


def test_a_target_that_the_last_rows_lack_has_maps_of_the_others(trained: TrainedMap) -> None:
    early = np.where(np.arange(120) < 60, TARGET, np.nan)
    maps = analyze(trained.som, SAMPLES, {"y": early, "none": np.full(120, np.nan)}, SCALER, AnalysisConfig()).targets
    owner = winners(trained)
    for k in range(12):
        own = early[(owner == k) & ~np.isnan(early)]
        np.testing.assert_allclose(maps["y"].maps["mean"].ravel()[k], own.mean() if len(own) else math.nan, rtol=1e-9)
    assert np.isnan(maps["none"].maps["std"]).all()


def test_profiles_are_means_over_rows_as_a_group_by_finds_them(trained: TrainedMap) -> None:
    gappy = SAMPLES.copy()
    gappy[::7, 2] = np.nan
    som = train_som(gappy, SOMConfig(x=4, y=3, epochs=5, algorithm="batch", missing="mask"), SCALER.features).som
    found = analyze(som, gappy, {"y": TARGET}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=3))
    labels = found.clusters["labels"].numpy()
    winner = som.winners(torch.from_numpy(gappy)).index[:, 0].numpy()
    raw = np.where(np.isnan(gappy), np.nan, RAW)
    rows = pl.DataFrame({"cluster": labels[winner], **dict(zip("abc", raw.T, strict=True)), "y": TARGET}).fill_nan(None)
    table = tables(found)["cluster_profiles"]
    assert table.columns == ["cluster", "column", "role", "rows", "row_mean", "neuron_mean"]
    for name, role in (("a", "feature"), ("b", "feature"), ("c", "feature"), ("y", "target")):
        expected = rows.group_by("cluster").agg(rows=pl.col(name).count(), mean=pl.col(name).mean()).sort("cluster")
        own = table.filter(pl.col("cluster").is_not_null(), column=name, role=role).sort("cluster")
        assert own["rows"].to_list() == expected["rows"].to_list()
        np.testing.assert_allclose(own["row_mean"], expected["mean"], rtol=1e-5)
        (whole,) = table.filter(pl.col("cluster").is_null(), column=name).iter_rows(named=True)
        assert whole["rows"] == rows[name].count()
        np.testing.assert_allclose(whole["row_mean"], rows[name].mean(), rtol=1e-5)
    weights = found.planes.reshape(12, 3)
    for cluster in (1, 2, 3):
        own = table.filter(cluster=cluster, role="feature")["neuron_mean"]
        np.testing.assert_allclose(own, weights[labels == cluster].mean(axis=0), rtol=1e-9)


def test_clusters_are_as_many_as_asked_for(found: Any) -> None:
    assert found.clusters["n_clusters"] == 3


@pytest.mark.parametrize("method", ["connectivity", "mixture"])
def test_methods_that_ask_for_rows_know_those_of_the_training(trained: TrainedMap, method: Any) -> None:
    clusters = analyze(trained.som, SAMPLES, {}, SCALER, AnalysisConfig(clustering=method)).clusters
    assert torch.equal(clusters["labels"], trained.som.cluster(method, data=SAMPLES)["labels"])
    assert cluster_scores(clusters)["clusters"] == clusters["n_clusters"] >= 1


def test_each_of_several_clusters_has_a_stability_and_one_alone_has_none(trained: TrainedMap) -> None:
    several = analyze(trained.som, SAMPLES, {}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=3)).clusters
    expected = trained.som.cluster_stability(several, SAMPLES, 3)
    assert torch.equal(several["stability"], expected)
    scores = cluster_scores(several)
    assert [scores[f"cluster/stability/{k}"] for k in (1, 2, 3)] == expected.tolist()
    alone = analyze(trained.som, SAMPLES, {}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=1)).clusters
    assert "stability" not in alone


def test_where_positions_are_compared_the_default_is_one_that_can() -> None:
    assert AnalysisConfig().clustering == "mixture"
    assert AnalysisConfig(feature_space="combined").clustering == "kmeans"
    assert AnalysisConfig(feature_space="positions", clustering="ward").clustering == "ward"


def test_every_method_of_clustering_can_be_configured_and_has_a_title() -> None:
    assert set(get_args(ClusteringMethod)) == set(CLUSTERING_METHODS)
    assert len({method.title for method in CLUSTERING_METHODS.values()}) == len(CLUSTERING_METHODS)


@pytest.mark.parametrize("method", CLUSTERING_METHODS)
def test_a_number_of_clusters_can_be_asked_for_where_the_method_takes_one(method: str) -> None:
    settings = {"clustering": method, "n_clusters": 3}
    if CLUSTERING_METHODS[method].takes_n_clusters:
        assert AnalysisConfig.model_validate(settings).n_clusters == 3
    else:
        with pytest.raises(ValueError, match=f"left out with {method}"):
            AnalysisConfig.model_validate(settings)


def test_heldout_errors_match_their_definitions(trained: TrainedMap) -> None:
    heldout = np.random.default_rng(5).normal(size=(40, 3)).astype(np.float32)
    codebook = trained.som.weights.double().numpy().reshape(12, 3)
    distances = np.sqrt(((heldout[:, None].astype(np.float64) - codebook) ** 2).sum(axis=2))
    first, second = np.argsort(distances, axis=1)[:, :2].T
    apart = np.maximum(abs(first // 3 - second // 3), abs(first % 3 - second % 3)) > 1
    scores = heldout_scores(trained.som, heldout)
    assert scores["heldout_qe"] == pytest.approx(distances.min(axis=1).mean(), rel=1e-5)
    assert scores["heldout_te"] == pytest.approx(apart.mean())
    assert heldout_scores(trained.som, heldout[:0]) == {}


def test_measure_holds_the_last_errors_of_training_and_the_scores_of_clusters(trained: TrainedMap, found: Any) -> None:
    scores = measure(trained, SAMPLES[:10], found.clusters)
    assert scores["train_qe"] == trained.quantization_errors[-1]
    assert scores["train_te"] == trained.topographic_errors[-1]
    assert scores["clusters"] == 3
    assert scores["cluster/inertia"] == pytest.approx(found.clusters["inertia"])
    assert {"heldout_qe", "heldout_te", "cluster/silhouette_score", "cluster/noise_ratio"} <= set(scores)


def test_an_undefined_cluster_score_stays_nan(trained: TrainedMap) -> None:
    assert math.isnan(cluster_scores(trained.som.cluster(n_clusters=1))["cluster/silhouette_score"])


def test_tables_have_a_row_for_each_neuron_and_join_by_place(found: Any) -> None:
    named = tables(found)
    assert set(named) == {
        *("maps/hits", "maps/distances", "maps/component_planes", "maps/target_y", "clusters", "cluster_profiles")
    }
    del named["cluster_profiles"]  # which has no line for each neuron
    joined = named["maps/hits"].join(named["maps/component_planes"], on=["row", "col"], validate="1:1")
    assert len(joined) == 12
    place = joined.row(by_predicate=(pl.col("row") == 2) & (pl.col("col") == 1), named=True)
    assert place["hits"] == found.hits[2, 1]
    assert place["b"] == found.planes[2, 1, 1]
    labels = named["clusters"].sort("row", "col")["cluster"].to_numpy()
    np.testing.assert_array_equal(labels, found.clusters["labels"].numpy())
    np.testing.assert_array_equal(named["maps/target_y"]["mean"].to_numpy(), found.targets["y"].maps["mean"].ravel())


def test_features_called_row_and_col_do_not_collide_with_the_place(trained: TrainedMap) -> None:
    scaler = fit_scaler(RAW, ("row", "col", "c"), "standard")
    planes = tables(analyze(trained.som, SAMPLES, {}, scaler, AnalysisConfig(clustering="kmeans", n_clusters=2)))[
        "maps/component_planes"
    ]
    assert planes.columns == ["neuron_row", "neuron_col", "row", "col", "c"]
    scaler = fit_scaler(RAW, ("row", "neuron_row", "c"), "standard")
    planes = tables(analyze(trained.som, SAMPLES, {}, scaler, AnalysisConfig(clustering="kmeans", n_clusters=2)))[
        "maps/component_planes"
    ]
    assert planes.columns == ["neuron_neuron_row", "col", "row", "neuron_row", "c"]


def test_file_names_stay_apart_and_inside_of_the_folder() -> None:
    names = ["a/b", "a:b", "A_b", "temp °C", "../x", ""]
    assert file_stems(names) == ["a_b", "a_b_2", "A_b_3", "temp__C", "_x", "_"]


def test_samples_with_missing_values_are_analyzed_over_what_they_have() -> None:
    gaps = SAMPLES.copy()
    gaps[::7, 1] = np.nan
    masked = train_som(gaps, SOMConfig(x=4, y=3, epochs=3, algorithm="batch", missing="mask"), SCALER.features)
    result = analyze(masked.som, gaps, {"y": TARGET}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=2))
    assert result.hits.sum() == 120
    assert bool(torch.isfinite(masked.som.weights).all())


def test_no_collection_in_an_analysis_grows_with_the_rows(trained: TrainedMap) -> None:
    """Prefect visits every entry of the collections that go into a task: a minute for two million rows."""

    def visited(copies: int) -> int:
        samples, target = np.repeat(SAMPLES, copies, axis=0), np.repeat(TARGET, copies)
        found = analyze(trained.som, samples, {"y": target}, SCALER, AnalysisConfig(clustering="kmeans", n_clusters=3))
        entries: list[Any] = []
        visit_collection(found, visit_fn=entries.append, return_data=False)
        return len(entries)

    assert visited(20) == visited(1)


def test_classes_are_counted_on_each_neuron(trained: TrainedMap) -> None:
    codes = np.where(np.arange(120) % 7 == 0, np.nan, np.arange(120) % 3).astype(np.float64)
    classes = {"kind": Classes("text", ("ape", "cat", "ox"))}
    targets = {"y": TARGET, "kind": codes}
    found = analyze(trained.som, SAMPLES, targets, SCALER, AnalysisConfig(n_clusters=3), classes=classes)
    assert list(found.targets) == ["y"]
    maps, shape = found.classes["kind"], found.hits.shape
    expected = np.zeros((*shape, 3), dtype=np.int64)
    for winner, code in zip(found.winner, codes, strict=True):
        if np.isfinite(code):
            expected[(*np.unravel_index(winner, shape), int(code))] += 1
    np.testing.assert_array_equal(maps.counts, expected)
    for row, col in np.ndindex(shape):
        here = expected[row, col]
        if here.sum():
            assert maps.most[row, col] == here.argmax()
            assert maps.purity[row, col] == pytest.approx(here.max() / here.sum())
        else:
            assert np.isnan([maps.most[row, col], maps.purity[row, col]]).all()
    table = tables(found)["maps/target_kind"]
    again = class_maps_of(table, ("ape", "cat", "ox"), trained.som.grid)
    np.testing.assert_array_equal(again.counts, maps.counts)


def test_cluster_profiles_give_shares_of_classes(trained: TrainedMap) -> None:
    codes = (np.arange(120) % 4 == 0).astype(np.float64)
    classes = {"kind": Classes("boolean", ("false", "true"))}
    found = analyze(trained.som, SAMPLES, {"kind": codes}, SCALER, AnalysisConfig(n_clusters=3), classes=classes)
    profiles = cluster_profiles(found)
    cluster = found.clusters["labels"].cpu().numpy()[found.winner]
    for number in np.unique(cluster):
        line = profiles.filter(cluster=number, column="kind=true")
        assert line["row_mean"].item() == pytest.approx(codes[cluster == number].mean())
        assert line["rows"].item() == (cluster == number).sum()
    assert profiles.filter(pl.col("cluster").is_null(), column="kind=false")["row_mean"].item() == 0.75

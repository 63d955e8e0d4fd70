"""Frames are matched by the names of their columns, or refused; arrays go by position."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from somlib import SOM, GrowingSOM, HierarchicalSOM, SOMVisualizer
from somlib.errors import ShapeError
from somlib.utils.inputs import column_order, feature_names

NAMES = ["p", "^q.*$", "t"]
KINDS: dict[str, Callable[[dict[str, Any]], Any]] = {"polars": pl.DataFrame, "pandas": pd.DataFrame, "arrow": pa.table}
VALUES = np.random.default_rng(0).random((120, 3)) * [1, 10, 100]
TARGET = VALUES.sum(axis=1)
PLACES = {(0, 0): [3, 4], (1, 1): [7]}


def columns(*order: int) -> dict[str, Any]:
    return {NAMES[i]: VALUES[:, i] for i in order}


QUESTIONS: dict[str, Callable[[SOM, Any], Any]] = {
    "identify_bmus": lambda som, data: som.identify_bmus(data),
    "winners": lambda som, data: som.winners(data).index,
    "quantization_error": lambda som, data: som.quantization_error(data),
    "topographic_error": lambda som, data: som.topographic_error(data),
    "hit": lambda som, data: som.build_map("hit", data),
    "bmus_data": lambda som, data: som.build_map("bmus_data", data, return_indices=False)[0, 0],
    "metric": lambda som, data: som.build_map("metric", data, TARGET).nan_to_num(),
    "several": lambda som, data: som.build_multiple_maps([{"type": "hit"}], data)["hit"],
    "anomaly": lambda som, data: som.anomaly_score(data),
    "quality": lambda som, data: som.quality_report(data, resamples=5)["combined_error"].value,
    "history": lambda som, data: som.collect_samples(VALUES[0], data, TARGET, PLACES)[0],
    "queries": lambda som, data: som.collect_samples_batch(data, VALUES, PLACES).sample,
    "figure": lambda som, data: len(SOMVisualizer(som).plot_hit_map(data).axes),
    "partial_fit": lambda som, data: som.partial_fit(data),
    "fit": lambda som, data: som.fit(data, verbose=False),
}


def fitted(kind: str) -> SOM:
    som = SOM(5, 4, epochs=2, device="cpu", initialization_mode="pca")
    som.fit(KINDS[kind](columns(0, 1, 2)), verbose=False)
    return som


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_another_order_give_the_answer_of_the_array(kind: str, question: str) -> None:
    by_position = QUESTIONS[question](fitted("polars"), VALUES)
    for other in KINDS.values():
        by_name = QUESTIONS[question](fitted(kind), other(columns(2, 0, 1)))
        torch.testing.assert_close(by_name, by_position, equal_nan=True)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"u": VALUES[:, 0]}, r"got \['t', 'p', '\^q.\*\$', 'u'\]: it has in addition \['u'\]"),
        ({"t": None}, r"columns \['p', '\^q.\*\$', 't'\] that the map .* got \['p', '\^q.\*\$'\]: it lacks \['t'\]"),
        ({"t": None, "T": VALUES[:, 2]}, r"it lacks \['t'\] and has in addition \['T'\]; an array goes by position"),
        ({"id": ["x"] * 120}, r"it has in addition \['id'\]"),
    ],
)
def test_other_columns_are_refused_with_both_lists(question: str, change: dict[str, Any], problem: str) -> None:
    changed = {name: values for name, values in (columns(2, 0, 1) | change).items() if values is not None}
    for kind in KINDS:
        som = fitted(kind)
        before = som.weights.clone()
        with pytest.raises(ShapeError, match=problem):
            QUESTIONS[question](som, KINDS[kind](changed))
        assert torch.equal(som.weights, before)
        assert som.feature_names == NAMES


def test_a_name_twice_is_refused_where_it_is_met() -> None:
    doubled = pd.DataFrame(VALUES, columns=["p", "p", "t"])
    for call in (SOM(2, 2, device="cpu").fit, SOM(2, 2, 3).identify_bmus, fitted("pandas").identify_bmus):
        with pytest.raises(ShapeError, match=r"data must have columns of different names, got 'p' twice"):
            call(doubled)


def test_whole_numbers_are_places_and_no_names() -> None:
    som = fitted("pandas")
    expected = som.identify_bmus(VALUES)
    assert torch.equal(som.identify_bmus(pd.DataFrame(VALUES)), expected)
    som.fit(pd.DataFrame(VALUES), verbose=False)
    assert som.feature_names == NAMES  # what is known is kept
    assert feature_names(pd.DataFrame(VALUES)) is feature_names(VALUES) is feature_names([[1, 2]]) is None


def test_a_map_without_names_takes_them_from_the_first_frame() -> None:
    som = SOM(3, 3, 3, epochs=1, device="cpu")
    som.fit(VALUES, verbose=False)
    assert som.feature_names is None
    som.partial_fit(pl.DataFrame(columns(1, 0, 2)))
    assert som.feature_names == ["^q.*$", "p", "t"]


def test_a_start_from_a_frame_counts_too() -> None:
    som = SOM(3, 3, device="cpu")
    som.initialize_weights(pl.DataFrame(columns(0, 1, 2)), "pca")
    other = SOM(4, 4, device="cpu", initialization_mode="pca")
    other.initialize_weights(pl.DataFrame(columns(2, 0, 1)))
    other.initialize_from(som)  # columns by name
    torch.testing.assert_close(other.codebook.mean(dim=0), som.codebook.mean(dim=0)[[2, 0, 1]])


def test_one_sample_as_a_series_goes_by_its_labels() -> None:
    som, frame = fitted("pandas"), pd.DataFrame(columns(0, 1, 2))
    assert torch.equal(som.identify_bmus(frame.iloc[5][["t", "p", "^q.*$"]]), som.identify_bmus(VALUES[5]))
    expected = pytest.approx(som.quantization_error(VALUES[5]))
    assert som.quantization_error(frame.iloc[5][["t", "p", "^q.*$"]]) == expected


def test_saved_maps_and_stopped_trainings_keep_the_names(tmp_path: Path) -> None:
    som, kept = SOM(3, 3, epochs=3, device="cpu"), []
    som.fit(pl.DataFrame(columns(0, 1, 2)), verbose=False, on_epoch=lambda _: kept.append(som.checkpoint()))
    som.save(tmp_path / "map")
    loaded = SOM.load(tmp_path / "map")
    assert torch.equal(loaded.identify_bmus(pd.DataFrame(columns(2, 1, 0))), som.identify_bmus(VALUES))
    resumed = SOM(3, 3, epochs=3, device="cpu")
    with pytest.raises(ShapeError, match="it lacks"):
        resumed.resume(kept[0], pl.DataFrame(columns(0, 1)), verbose=False)
    assert not resumed.initialized
    resumed.resume(kept[0], pl.DataFrame(columns(1, 2, 0)), verbose=False)
    assert torch.equal(resumed.weights, som.weights)


def test_growing_maps_and_trees_match_by_name() -> None:
    growing = GrowingSOM(max_growth_steps=2, epochs=1, device="cpu")
    tree = HierarchicalSOM(root={"max_growth_steps": 1, "epochs": 1, "device": "cpu"}, max_maps=2)
    for trained in (growing, tree):
        trained.fit(pl.DataFrame(columns(0, 1, 2)), verbose=False)
        assert trained.quantization_error(pd.DataFrame(columns(2, 0, 1))) == trained.quantization_error(VALUES)
    assert torch.equal(tree.assign(pa.table(columns(1, 0, 2))), tree.assign(VALUES))
    with pytest.raises(ShapeError, match="it lacks"):
        tree.assign(pl.DataFrame(columns(0, 1)))


def test_the_order_of_columns_by_hand() -> None:
    assert column_order(["b", "c", "a"], ["a", "b", "c"], "data") == [2, 0, 1]
    assert column_order(["a", "b"], ["a", "b"], "data") is None
    assert column_order(None, ["a"], "data") is column_order(["a"], None, "data") is None

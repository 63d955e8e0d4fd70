from dataclasses import replace
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from pipelines.data import Dataset, find_source, read_dataset, survey
from pipelines.data.samples import Samples, prepare_samples
from pipelines.model.map_model import MapModel
from pipelines.model.profile import Profile
from pipelines.monitoring.assignment import assigned_rows, profile_training
from pipelines.settings.config import PipelineConfig
from pipelines.training.analysis import analyze
from pipelines.training.fitting import train_som
from pipelines.training.local_scores import LocalResults, learn_targets
from tests.pipelines.conftest import WriteDataset, table


class Trained(NamedTuple):
    dataset: Dataset
    samples: Samples
    local: LocalResults
    model: MapModel
    profile: Profile


@pytest.fixture
def trained(config: PipelineConfig, write: WriteDataset) -> Trained:
    """A small model of rows that do not lie in the order of time."""
    write(table().sample(fraction=1, shuffle=True, seed=3))
    source = find_source(config.data)
    dataset = read_dataset(source, survey(source, False), False)
    samples = prepare_samples(dataset, config)
    som = train_som(samples.train.samples, config.som, source.features).som
    local = learn_targets(som, samples, config.jitl, seed=0)
    profile = profile_training(som, dataset, samples, local)
    assert profile is not None
    labels = som.cluster()["labels"]
    return Trained(dataset, samples, local, MapModel(som, samples.scaler, labels, local.models, profile), profile)


def test_the_profile_is_that_of_the_training_rows_and_distances_of_the_held_out_ones(trained: Trained) -> None:
    old, new = table()[:160], table()[160:]
    assert trained.profile.features["a"].mean == pytest.approx(old["a"].mean())
    assert trained.profile.features["b"].deviation == pytest.approx(old["b"].std(ddof=0), rel=1e-6)
    distances = trained.model.predict(new.to_pandas())["quantization_error"]
    assert trained.profile.mean_distance == pytest.approx(distances.mean(), rel=1e-5)
    assert sum(trained.profile.hits) == 160


def test_predictions_in_the_profile_are_those_made_before_the_held_out_rows_were_learned(trained: Trained) -> None:
    assert trained.local.answers is not None
    answers = trained.local.answers["prediction"].to_numpy()
    counts = trained.profile.predictions["y"].counts
    edges = trained.profile.predictions["y"].edges
    expected = [
        int(((answers > low) & (answers <= high)).sum())
        for low, high in zip((-np.inf, *edges), (*edges, np.inf), strict=True)
    ]
    assert list(counts) == expected


def test_placed_rows_answer_like_the_model_in_the_order_of_time(trained: Trained) -> None:
    rows = np.flatnonzero(trained.dataset.time >= np.sort(trained.dataset.time)[150])
    assigned = assigned_rows(trained.model, trained.dataset, rows)
    expected = trained.model.predict(table()[150:].to_pandas())
    np.testing.assert_array_equal(assigned.features["a"], table()["a"][150:].cast(pl.Float32))
    np.testing.assert_array_equal(assigned.winner, expected["row"] * 3 + expected["col"])
    np.testing.assert_allclose(assigned.distance, expected["quantization_error"], rtol=1e-5)
    np.testing.assert_allclose(assigned.predictions["y"], expected["prediction"], rtol=1e-5)


def test_a_row_without_any_value_is_predicted_nothing(config: PipelineConfig) -> None:
    masked = config.model_copy(update={"som": config.som.model_copy(update={"missing": "mask"})})
    source = find_source(config.data)
    dataset = read_dataset(source, survey(source, False), False)
    samples = prepare_samples(dataset, masked)
    som = train_som(samples.train.samples, masked.som, source.features).som
    local = learn_targets(som, samples, masked.jitl, seed=0).models
    values = dataset.features.copy()
    values[3], values[4, 0] = np.nan, np.nan
    model = MapModel(som, samples.scaler, som.cluster()["labels"], local)
    said = assigned_rows(model, replace(dataset, features=values), np.arange(6))
    assert np.isnan(said.predictions["y"]).tolist() == [False, False, False, True, False, False]


def test_what_the_analysis_has_found_gives_the_same_profile(trained: Trained, config: PipelineConfig) -> None:
    som, samples = trained.model.som, trained.samples
    found = analyze(som, samples.train.samples, samples.targets, samples.scaler, config.analysis)
    assert profile_training(som, trained.dataset, samples, trained.local, found) == trained.profile


def test_the_order_of_features_does_not_matter(trained: Trained) -> None:
    rows = np.arange(50)
    reordered = trained.dataset.with_features(("c", "a", "b"))
    np.testing.assert_array_equal(
        assigned_rows(trained.model, reordered, rows).winner, assigned_rows(trained.model, trained.dataset, rows).winner
    )


def test_too_few_rows_are_told_and_give_no_profile(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    few = replace(trained.samples, train=trained.samples.train.take(np.arange(5)))
    assert profile_training(trained.model.som, trained.dataset, few, None) is None
    assert "drift from this model will not be recognized: a drift profile needs at least 8 training rows" in caplog.text

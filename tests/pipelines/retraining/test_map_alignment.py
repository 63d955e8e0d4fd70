from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from pipelines.data import Dataset, find_source, read_dataset, survey
from pipelines.data.samples import Samples, prepare_samples
from pipelines.data.scaling import Scaler
from pipelines.model.map_model import MapModel
from pipelines.retraining.map_alignment import align_to, match_labels, winner
from pipelines.settings.config import PipelineConfig
from pipelines.training.analysis import analyze
from pipelines.training.fitting import TrainedMap, train_som
from somlib.utils.alignment import turns

EVERY = np.arange(200)


@pytest.fixture
def dataset(config: PipelineConfig) -> Dataset:
    source = find_source(config.data)
    return read_dataset(source, survey(source, False), False)


@pytest.fixture
def samples(config: PipelineConfig, dataset: Dataset) -> Samples:
    return prepare_samples(dataset, config)


@pytest.fixture
def trained(config: PipelineConfig, samples: Samples) -> TrainedMap:
    return train_som(samples.train.samples, config.som, samples.scaler.features)


def champion_of(trained: TrainedMap, scaler: Scaler, turn: int, **changes: Any) -> MapModel:
    permutation = turns(trained.som.grid)[turn]
    return MapModel(trained.som.reoriented(permutation), scaler, changes.get("clusters", torch.ones(12)).long())


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_map_is_turned_back_to_how_the_champion_lies(
    dataset: Dataset, samples: Samples, trained: TrainedMap, turn: int
) -> None:
    champion = champion_of(trained, samples.scaler, turn)
    found = align_to(champion, trained, samples.scaler, dataset, EVERY)
    torch.testing.assert_close(found.trained.som.weights, champion.som.weights)
    assert found.moved["moved/share"] == pytest.approx(0, abs=1e-6)
    assert found.moved["moved/grid_distance"] == 0
    assert (found.moved["moved/share_before"] > 0.1) == (turn > 0)


def test_movement_is_told_in_the_units_of_the_data_whatever_the_scalers(
    dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    champion = champion_of(trained, samples.scaler, 0)
    scaler = samples.scaler
    shifted = Scaler("standard", scaler.features, scaler.center + np.array([0.0, 3.0, 0.0]), scaler.scale)
    found = align_to(champion, trained, shifted, dataset, EVERY)
    assert found.moved["moved/feature/b"] == pytest.approx(3, rel=1e-4)
    assert found.moved["moved/feature/a"] == pytest.approx(0, abs=1e-5)


def test_a_map_of_another_grid_stays_as_it_is(
    config: PipelineConfig, dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    larger = train_som(samples.train.samples, config.som.model_copy(update={"x": 5}), samples.scaler.features)
    found = align_to(champion_of(trained, samples.scaler, 0), larger, samples.scaler, dataset, EVERY)
    assert (found.trained, found.moved) == (larger, {})


def test_clusters_take_the_numbers_of_the_champions_that_share_most_rows(
    config: PipelineConfig, dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    som, scaler = trained.som, samples.scaler
    clusters = analyze(
        som, samples.train.samples, {}, scaler, config.analysis.model_copy(update={"n_clusters": 2})
    ).clusters
    labels, centers = clusters["labels"], clusters["centers"]
    champion = champion_of(trained, scaler, 0, clusters=torch.where(labels == 1, 5, 2))
    found = match_labels(champion, som, scaler, clusters, dataset, EVERY)
    assert found.clusters["labels"].tolist() == champion.clusters.tolist()
    torch.testing.assert_close(found.clusters["centers"][[4, 1]], centers)
    assert torch.isnan(found.clusters["centers"][[0, 2, 3]]).all()
    assert found.clusters["n_clusters"] == 2
    assert found.stability == 1


def test_the_probabilities_of_a_mixture_follow_their_clusters(
    config: PipelineConfig, dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    som = trained.som
    clusters = som.cluster("gmm", 2)
    champion = champion_of(trained, samples.scaler, 0, clusters=3 - clusters["labels"])
    found = match_labels(champion, som, samples.scaler, clusters, dataset, EVERY).clusters
    torch.testing.assert_close(found["probabilities"], clusters["probabilities"].flip(1))


def test_probabilities_and_centers_follow_numbers_that_go_round(
    dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    clusters = trained.som.cluster("gmm", 3)
    assert clusters["n_clusters"] == 3
    champion = champion_of(trained, samples.scaler, 0, clusters=clusters["labels"] % 3 + 1)  # 1, 2, 3 become 2, 3, 1
    found = match_labels(champion, trained.som, samples.scaler, clusters, dataset, EVERY).clusters
    torch.testing.assert_close(found["probabilities"], clusters["probabilities"][:, [2, 0, 1]])
    torch.testing.assert_close(found["centers"], clusters["centers"][[2, 0, 1]])


def test_a_new_cluster_takes_no_number_that_the_champion_has_on_neurons_without_rows(
    dataset: Dataset, samples: Samples, trained: TrainedMap
) -> None:
    few = EVERY[:8]  # so that some of the 12 neurons have none
    winners = set(winner(trained.som, samples.scaler, dataset, few).tolist())
    first, *others = sorted(winners)
    empty = next(neuron for neuron in range(12) if neuron not in winners)
    numbers = torch.ones(12, dtype=torch.int64)
    numbers[empty] = 7
    labels = torch.ones(12, dtype=torch.int64)
    labels[first] = 2
    clusters = trained.som.cluster("kmeans", 2)
    clusters["labels"] = labels
    champion = champion_of(trained, samples.scaler, 0, clusters=numbers)
    found = match_labels(champion, trained.som, samples.scaler, clusters, dataset, few).clusters["labels"]
    assert sorted({int(found[first]), int(found[others[0]])}) == [1, 8]


def test_rows_without_a_neuron_say_nothing_of_clusters(config: PipelineConfig, dataset: Dataset) -> None:
    masked = config.model_copy(update={"som": config.som.model_copy(update={"missing": "mask"})})
    values = dataset.features.copy()
    values[20:] = np.nan
    sparse = replace(dataset, features=values)
    scaler = Scaler.identity(dataset.feature_names)
    trained = train_som(values[:20], masked.som, dataset.feature_names)
    clusters = trained.som.cluster("kmeans", 3)
    random = torch.randint(1, 4, (12,), generator=torch.Generator().manual_seed(0))
    champion = champion_of(trained, scaler, 0, clusters=random)
    found = match_labels(champion, trained.som, scaler, clusters, sparse, EVERY)
    place = winner(trained.som, scaler, dataset, EVERY[:20])
    assert found.stability == pytest.approx(adjusted_rand_score(random[place], clusters["labels"][place]))

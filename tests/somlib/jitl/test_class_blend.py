import numpy as np
import torch
from scipy.spatial.distance import cdist

from somlib.core import SOM
from somlib.jitl.assignment import Assigner, Standardizer
from somlib.jitl.class_blend import Labels, neighbor_shares
from somlib.jitl.sample_index import SampleIndex


def test_neighbor_shares_are_those_of_their_definition() -> None:
    rng = np.random.default_rng(0)
    X, code = rng.normal(size=(80, 3)), rng.integers(0, 3, 80)
    som = SOM(1, 1, 3, device="cpu")  # one neuron: every sample is a candidate
    som.weights = torch.zeros(1, 1, 3)
    assigner = Assigner(som, Standardizer.of(X), own_units=False)
    index = SampleIndex.build(som, X.astype(np.float32))
    queries = rng.normal(size=(9, 3))
    found = neighbor_shares(assigner.assign(queries), index, Labels(code, 3))
    prior = (np.bincount(code, minlength=3) + 0.5) / 81.5
    for k in (20, 60):
        for query, shares in zip(queries, found[f"neighbors_{k}"], strict=True):
            distance = cdist(query[None], X)[0]
            nearest = np.argsort(distance)[:k]
            weight = (1 - (distance[nearest] / (1.01 * distance[nearest].max())) ** 3) ** 3
            by_class = np.array([weight[code[nearest] == c].sum() for c in range(3)])
            np.testing.assert_allclose(shares, (by_class + prior) / (weight.sum() + 1), atol=1e-5)


def test_labels_count_half_a_sample_more_of_each_class() -> None:
    labels = Labels(np.array([0, 0, 2]), 4)
    np.testing.assert_allclose(labels.prior, np.array([2.5, 0.5, 1.5, 0.5]) / 5)
    assert labels.of(np.array([2])).code.tolist() == [2]

import numpy as np
import pytest
import torch

from somlib.core import SOM
from somlib.jitl.assignment import Assigner, NearestFew, Standardizer, shares


def trained(**settings: object) -> tuple[SOM, np.ndarray]:
    X = np.random.default_rng(0).normal(size=(300, 4)) * [1, 2, 3, 4] + 50
    som = SOM(9, 8, 4, epochs=5, device="cpu", **settings)  # type: ignore[arg-type]
    som.fit(X, verbose=False)
    return som, X


def test_standardized_values_leave_missing_ones_out() -> None:
    values = np.array([[1.0, 5.0], [np.nan, 5.0], [3.0, 5.0]])
    standard = Standardizer.of(values, limit=5.0)
    assert standard.center.tolist() == [2.0, 5.0]
    assert standard.scale.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(standard.undo(standard.apply(values)), values)
    assert standard.clipped(np.array([[99.0, 5.0]])).tolist() == [[5.0, 0.0]]


@pytest.mark.parametrize("m", [1, 3, 40, 700])
@pytest.mark.parametrize("k", [1, 3])
def test_the_nearest_few_are_those_of_a_full_sort(m: int, k: int) -> None:
    rng = np.random.default_rng(1)
    points, queries = rng.normal(size=(m, 5)), rng.normal(size=(90, 5)) + 1000
    center, factor = np.full(5, 1000.0), np.sqrt([1.0, 0.5, 2.0, 1.0, 3.0])
    index, distance = NearestFew(points * factor, center, factor, min(k, m)).nearest(torch.from_numpy(queries))
    exact = np.sqrt((((queries - 1000)[:, None] - points) ** 2 * factor**2).sum(axis=2))
    order = np.argsort(exact, axis=1)[:, : min(k, m)]
    assert index.tolist() == order.tolist()
    np.testing.assert_allclose(distance, np.take_along_axis(exact, order, axis=1), rtol=1e-9)


def test_equally_near_points_are_ranked_by_index() -> None:
    points = np.array([[1.0], [-1.0], [1.0], [3.0]])
    index, _ = NearestFew(points, np.zeros(1), np.ones(1), 2).nearest(torch.zeros(1, 1, dtype=torch.float64))
    assert index.tolist() == [[0, 1]]


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine", "chebyshev"])
def test_placed_samples_have_the_winners_of_the_map(metric: str) -> None:
    som, X = trained(distance_function=metric)
    assigned = Assigner(som, Standardizer.of(X), own_units=False).assign(X)
    found = som.winners(torch.from_numpy(X), 3, distances=True)
    assert assigned.neuron.tolist() == found.index.tolist()
    np.testing.assert_allclose(assigned.distance, found.distance.numpy(), rtol=1e-6)
    np.testing.assert_allclose(assigned.share.sum(axis=1), 1.0)


def test_one_sample_is_placed_like_many() -> None:
    som, X = trained(feature_weights=[1.0, 0.5, 2.0, 1.0])
    assigner = Assigner(som, Standardizer.of(X), own_units=False, reach=1.5)
    assigned = assigner.assign(X)
    for i in range(20):
        one = assigner.assign_one(X[i])
        assert one is not None
        np.testing.assert_allclose(one[0], assigned.inputs[i])
        assert dict(zip(one[1].tolist(), one[2].tolist(), strict=True)) == pytest.approx(
            dict(zip(assigned.neuron[i].tolist(), assigned.share[i].tolist(), strict=True)), rel=1e-6
        )
        assert one[3] == pytest.approx(assigned.trust[i], rel=1e-6)


def test_shares_go_by_the_inverse_square_and_an_exact_hit_takes_all() -> None:
    np.testing.assert_allclose(shares(np.array([[1.0, 2.0, 2.0]])), [[4 / 6, 1 / 6, 1 / 6]])
    assert shares(np.array([[0.0, 0.0, 2.0]])).tolist() == [[0.5, 0.5, 0.0]]
    assert shares(np.array([[np.nan, np.nan, np.nan]])).tolist() == [[0.0, 0.0, 0.0]]


def test_trust_fades_by_the_square_of_the_distance_beyond_reach() -> None:
    som = SOM(2, 1, 1, device="cpu")
    som.weights = torch.tensor([[[0.0]], [[10.0]]])
    assigner = Assigner(som, Standardizer(np.zeros(1), np.ones(1)), own_units=False, reach=2.0)
    assigned = assigner.assign(np.array([[1.0], [2.0], [14.0]]))
    assert assigned.trust.tolist() == [1.0, 1.0, 0.25]
    assert assigner.trust_at(np.array([np.nan, 0.0, 4.0])).tolist() == [0.0, 1.0, 0.25]


def test_missing_inputs_take_the_value_of_the_nearest_neuron() -> None:
    som = SOM(2, 1, 2, missing="mask", device="cpu")
    som.weights = torch.tensor([[[0.0, 1.0]], [[4.0, 3.0]]])
    assigner = Assigner(som, Standardizer(np.array([0.0, 1.0]), np.array([1.0, 2.0])), own_units=False)
    assigned = assigner.assign(np.array([[3.5, np.nan], [np.nan, np.nan]]))
    assert assigned.inputs.tolist() == [[1.0, 3.5, 1.0], [1.0, 0.0, 0.0]]
    assert assigned.neuron[:, 0].tolist() == [1, -1]
    assert assigned.trust.tolist() == [1.0, 0.0]


def test_columns_without_variety_are_heard_as_in_training() -> None:
    values = np.array([[1.0, 1e15, np.nan, np.nan], [2.0, 1e15, np.nan, 7.0], [4.0, 1e15, np.nan, 7.0]])
    standardizer = Standardizer.of(values)
    assert standardizer.variety is not None
    assert standardizer.variety.tolist() == [2, 1, 0, 1]
    new = np.array([[8.0, 3.0, 5.0, 6.0], [9.0, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(standardizer.heard(new), [[8.0, 1e15, np.nan, 7.0], [9.0, np.nan, np.nan, np.nan]])
    assert standardizer.heard(new.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(standardizer.apply(standardizer.heard(new))[0, [1, 3]], 0.0)
    assert standardizer.unheard(new).tolist() == [False, True, True, True]
    assert standardizer.unheard(values).tolist() == [False] * 4
    assert standardizer.unheard(new[1:]).tolist() == [False] * 4
    assert Standardizer.of(values[:, :1]).variety is None

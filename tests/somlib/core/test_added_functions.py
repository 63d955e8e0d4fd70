"""A distance, kernel or schedule that a user adds: every part of somlib takes it, or says that it cannot."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from somlib import SOM, GrowingSOM, HierarchicalSOM, SOMVisualizer
from somlib.errors import ArgumentError, SavedMapError, ShapeError
from somlib.estimators import SOMTransformer
from somlib.jitl import JITLRegressor
from somlib.utils.decay import DECAY_FUNCTIONS
from somlib.utils.distances import DISTANCE_FUNCTIONS, Metric
from somlib.utils.neighborhood import NEIGHBORHOOD_FUNCTIONS
from somlib.utils.search import make_search


def canberra(data: Tensor, weights: Tensor) -> Tensor:
    a, b = data[:, None], weights.flatten(0, 1)[None]
    return ((a - b).abs() / (a.abs() + b.abs())).nansum(dim=-1).reshape(len(data), *weights.shape[:2])


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    """Canberra: not a function of the differences, and far from every distance that somlib has."""
    DISTANCE_FUNCTIONS["canberra"] = canberra
    yield
    del DISTANCE_FUNCTIONS["canberra"]


@pytest.fixture
def data() -> Tensor:
    return torch.rand(150, 3, generator=torch.Generator().manual_seed(0)) + 0.1


def test_the_registry_gives_back_what_was_put_in() -> None:
    assert DISTANCE_FUNCTIONS["canberra"] is canberra


def new_map(**settings: Any) -> SOM:
    return SOM(5, 4, 3, **{"epochs": 3, "device": "cpu", "distance_function": "canberra", **settings})


def to_neurons(data: Tensor, som: SOM) -> Any:
    return cdist(data.double().numpy(), som.codebook.double().numpy(), "canberra")


@pytest.mark.parametrize("settings", [{}, {"algorithm": "batch"}, {"search_backend": "faiss"}, {"pbc": True}])
def test_a_map_trains_and_answers_by_the_added_distance(settings: dict[str, Any], data: Tensor) -> None:
    som = new_map(**settings)
    errors, _ = som.fit(data, verbose=False)
    distances = to_neurons(data, som)
    assert som.winners(data).index[:, 0].tolist() == distances.argmin(axis=1).tolist()
    assert errors[-1] == pytest.approx(distances.min(axis=1).mean(), rel=1e-5)
    assert errors[-1] < cdist(data.numpy(), data.mean(dim=0)[None].numpy(), "canberra").mean()  # one neuron
    assert som.quantization_error(data) == pytest.approx(errors[-1])


def test_maps_measures_and_figures_use_it(data: Tensor) -> None:
    som = new_map()
    som.fit(data, verbose=False)
    between = cdist(som.codebook.double().numpy(), som.codebook.double().numpy(), "canberra")
    corner = between[0, [1, 4, 5]].sum()
    raw = [between[k, [j for j in range(20) if j != k and som.grid.squared_distances(
        torch.tensor(j), torch.tensor(k)) < 3]].sum() for k in range(20)]  # fmt: skip
    assert float(som.build_map("distance")[0, 0]) == pytest.approx(corner / max(raw), rel=1e-5)
    report = som.quality_report(data, resamples=10)
    assert all(np.isfinite(report[name].value) for name in report.estimates)
    assert float(som.anomaly_score(data).mean()) == pytest.approx(1, abs=0.5)
    assert SOMVisualizer(som).plot_distance_map(expanded=True).axes


def test_trees_estimators_and_local_models_take_it(data: Tensor) -> None:
    settings = {"distance_function": "canberra", "device": "cpu"}
    growing = GrowingSOM(2, 2, 3, max_growth_steps=2, **settings)
    growing.fit(data, verbose=False)
    assert growing.winners(data).index[:, 0].tolist() == to_neurons(data, growing).argmin(axis=1).tolist()
    tree = HierarchicalSOM(root={"max_growth_steps": 1, **settings}, max_maps=3)
    tree.fit(data, verbose=False)
    assert tree.quantization_error(data) < growing.quantization_error(data) * 2
    transformer = SOMTransformer(x=3, y=3, output="distances", **settings).fit(data.numpy())
    distances = cdist(data.numpy(), transformer.som_.codebook.numpy(), "canberra")
    np.testing.assert_allclose(transformer.transform(data.numpy()), distances, rtol=1e-4)
    regressor = JITLRegressor(som=new_map(epochs=2)).fit(data.numpy(), data.sum(dim=1).numpy())
    assert np.isfinite(regressor.predict(data.numpy())).all()


def test_a_saved_map_needs_the_distance_to_be_there(data: Tensor, tmp_path: Path) -> None:
    som = new_map()
    som.fit(data, verbose=False)
    som.save(tmp_path / "map")
    assert SOM.load(tmp_path / "map").quantization_error(data) == som.quantization_error(data)
    DISTANCE_FUNCTIONS.pop("canberra")
    try:
        with pytest.raises(SavedMapError, match=r"distance_function must be 'euclidean'.* got 'canberra'"):
            SOM.load(tmp_path / "map")
    finally:
        DISTANCE_FUNCTIONS["canberra"] = canberra


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"missing": "mask"}, "missing must be 'error' with distance_function='canberra'"),
        ({"feature_weights": (1.0, 2.0, 3.0)}, "feature_weights must be None with distance_function='canberra'"),
    ],
)
def test_what_does_not_follow_from_a_function_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        new_map(**settings)


def test_a_metric_refuses_what_its_distance_lacks() -> None:
    with pytest.raises(ArgumentError, match=r"distance must be one of 'euclidean'.*got 'unheard_of'"):
        Metric("unheard_of").pairwise(torch.zeros(1, 1), torch.zeros(1, 1))
    with pytest.raises(ArgumentError, match="feature_weights must be None with the distance 'canberra'"):
        Metric("canberra", (1.0,))
    with pytest.raises(ArgumentError, match="data must have no missing values: the distance 'canberra'"):
        make_search(torch.ones(2, 2), Metric("canberra")).nearest(torch.tensor([[1.0, torch.nan]]))


def test_a_distance_of_another_shape_says_so() -> None:
    DISTANCE_FUNCTIONS["canberra"] = lambda data, weights: canberra(data, weights).flatten(1)
    with pytest.raises(ShapeError, match=r"must return a tensor of shape \(b, x, y\) = \(7, 1, 20\), got \(7, 20\)"):
        new_map().identify_bmus(torch.rand(7, 3))


def test_an_added_function_replaces_all_that_was_known_of_the_old_one(data: Tensor) -> None:
    som = new_map(distance_function="manhattan", search_backend="faiss")
    before = som.winners(data).index
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DISTANCE_FUNCTIONS, "manhattan", canberra)
        assert som.winners(data).index[:, 0].tolist() == to_neurons(data, som).argmin(axis=1).tolist()
        assert not torch.equal(som.winners(data).index, before)
    assert torch.equal(som.winners(data).index, before)
    assert Metric("manhattan", (1.0, 2.0, 3.0)).distance.takes_missing


def test_an_added_kernel_and_schedule_are_used(data: Tensor) -> None:
    seen: set[tuple[float, int]] = set()

    def half(theta0: float, t: float, T: int) -> float:
        seen.add((t, T))
        return theta0 / 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NEIGHBORHOOD_FUNCTIONS, "alone", lambda squared, sigma: (squared == 0).to(squared.dtype))
        patch.setitem(DECAY_FUNCTIONS, "half", half)
        som = new_map(
            neighborhood_function="alone", sigma_decay_function="half", algorithm="batch", distance_function="euclidean"
        )
        som.initialize_weights(data)
        start = som.codebook.clone()
        som.fit(data, verbose=False)
        assert som.quality_report(data, resamples=5)["distortion"].value > 0
    assert seen == {(0, 3), (1, 3), (2, 3)}
    assert not torch.equal(som.codebook, start)
    for k in range(20):  # K-Means: each neuron is the mean of its own
        own = data[som.winners(data).index[:, 0] == k]
        assert not len(own) or (som.codebook[k] - own.mean(dim=0)).norm() < 0.2

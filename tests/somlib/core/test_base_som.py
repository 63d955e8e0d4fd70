"""Settings, codebook and the questions that every map answers."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from somlib import SOM, SOMConfig
from somlib.errors import ArgumentError, NotFittedError, ShapeError
from tests.somlib import oracle
from tests.somlib.oracle import FOUR, Lattice


def random_map(lattice: Lattice = FOUR[0], d: int = 3) -> SOM:
    return SOM(**lattice.arguments, num_features=d, device="cpu")


def samples(n: int = 30, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("lattice", FOUR, ids=str)
def test_winners_and_errors_are_those_of_the_definition(lattice: Lattice) -> None:
    som, data = random_map(lattice), samples()
    weights = som.codebook.double().numpy()
    winners = [list(divmod(oracle.ranked(sample, weights)[0], lattice.y)) for sample in data.double().numpy()]
    assert som.identify_bmus(data).tolist() == winners
    assert som.identify_bmus(data).dtype == torch.int64
    expected = oracle.errors(weights, data.double().numpy(), lattice)
    assert (som.quantization_error(data), som.topographic_error(data)) == pytest.approx(expected, rel=1e-5)
    share = [float(k % 3) for k in range(30)]
    expected = oracle.errors(weights, data.double().numpy(), lattice, share)
    measured = (som.quantization_error(data, sample_weight=share), som.topographic_error(data, sample_weight=share))
    assert measured == pytest.approx(expected, rel=1e-5)


def test_topographic_error_knows_the_seam_of_a_torus() -> None:
    corners = torch.tensor([[0.0], [0.1]])  # first and second winner in opposite corners
    for pbc, expected in ((False, 1.0), (True, 0.0)):
        som = SOM(4, 5, 1, pbc=pbc, device="cpu", neighborhood_order=9)  # whatever the order
        som.weights.data.fill_(50.0)
        som.weights[0, 0], som.weights[3, 4] = 0.0, 0.1
        assert som.topographic_error(corners) == expected


def test_edge_adjacency_does_not_count_corners() -> None:
    som = SOM(2, 2, 1, device="cpu")
    som.weights.data = torch.tensor([[[0.0], [9.0]], [[9.0], [0.1]]])
    assert som.topographic_error([[0.0]]) == 0.0
    assert som.topographic_error([[0.0]], adjacency="edge") == 1.0


@pytest.mark.parametrize(
    ("one", "many"),
    [
        (torch.zeros(3), torch.zeros(2, 3)),
        (np.zeros(3), np.zeros((2, 3))),
        ([0.0, 0.0, 0.0], [[0.0, 0.0, 0.0]] * 2),
        (pd.Series([0.0, 0.0, 0.0]), pd.DataFrame(np.zeros((2, 3)))),
        ((np.float64(0), 0, 0.0), [np.zeros(3), np.zeros(3)]),
        ([0, 0, 0], [torch.zeros(3), torch.zeros(3)]),
    ],
)
def test_one_sample_has_one_winner_and_many_have_a_row_each(one: object, many: object) -> None:
    som = random_map()
    assert som.identify_bmus(one).shape == (2,)
    assert som.identify_bmus(many).tolist() == [som.identify_bmus(one).tolist()] * 2


def test_samples_without_a_winner_get_minus_one_and_stay_out_of_the_errors() -> None:
    som = SOM(5, 4, 3, missing="mask", device="cpu")
    data = samples()
    holed = torch.cat((torch.full((3, 3), torch.nan), data))
    assert som.identify_bmus(holed)[:3].tolist() == [[-1, -1]] * 3
    assert som.identify_bmus(holed[0]).tolist() == [-1, -1]
    assert som.quantization_error(holed) == pytest.approx(som.quantization_error(data))
    assert som.topographic_error(holed) == som.topographic_error(data)
    assert np.isnan(som.quantization_error(holed[:3]))
    cosine = SOM(5, 4, 3, distance_function="cosine", device="cpu")
    assert cosine.identify_bmus(torch.zeros(3)).tolist() == [-1, -1]


def test_data_of_either_type_meets_a_codebook_of_the_other() -> None:
    som, data = random_map(), samples()
    winners = som.identify_bmus(data)
    assert torch.equal(som.identify_bmus(data.double()), winners)
    som.double()
    assert som.weights.dtype == torch.float64
    assert torch.equal(som.identify_bmus(data), winners)


def test_weights_of_another_shape_are_refused_when_used() -> None:
    som = random_map()
    som.weights.data = torch.zeros(4, 5, 3)
    with pytest.raises(ShapeError, match=r"\(x, y, d\) = \(5, 4, 3\), got \(4, 5, 3\)"):
        som.identify_bmus(samples())


@pytest.mark.parametrize("settings", [{}, {"x": 3, "y": 4}, {"num_features": 3}])
def test_a_map_without_weights_says_what_it_lacks(settings: dict[str, Any]) -> None:
    som = SOM(**settings, device="cpu")
    with pytest.raises(NotFittedError, match="no weights yet: give x, y and num_features, or call fit first"):
        som.identify_bmus(samples())


def test_every_setting_is_an_attribute_under_its_own_name() -> None:
    config = SOMConfig(x=4, y=6, num_features=2, sigma=2.5, topology="hexagonal", pbc=True, device="cpu", epochs=7)
    som = SOM.from_config(config)
    for name, value in config:
        assert getattr(som, name) == (torch.device("cpu") if name == "device" else value), name
    assert som.config == config


def test_what_was_left_open_is_readable_once_it_is_known() -> None:
    assert SOM(24, 12, device="cpu").sigma == 3.0
    assert SOM(24, 12, device="cpu").config.sigma is None


def test_from_config_takes_a_number_of_features_that_does_not_contradict_it() -> None:
    assert SOM.from_config(SOMConfig(x=2, y=2, device="cpu"), num_features=5).weights.shape == (2, 2, 5)
    assert SOM.from_config(SOMConfig(x=2, y=2, num_features=5, device="cpu"), 5).num_features == 5
    with pytest.raises(ArgumentError, match="num_features must be the config's 5, got 4"):
        SOM.from_config(SOMConfig(x=2, y=2, num_features=5, device="cpu"), 4)
    with pytest.raises(ArgumentError, match="num_features must be greater than or equal to 1, got 0"):
        SOM.from_config(SOMConfig(x=2, y=2, device="cpu"), num_features=0)


def test_the_neighborhood_order_changes_alone() -> None:
    som = random_map()
    before = som.weights.clone()
    som.set_neighborhood_order(3)
    assert (som.neighborhood_order, som.config.neighborhood_order) == (3, 3)
    assert torch.equal(som.weights, before)
    for order in (0, -1, True, "many"):
        with pytest.raises(ArgumentError, match="neighborhood_order"):
            som.set_neighborhood_order(order)  # type: ignore[arg-type]  # some of the mistakes under test
    som.set_neighborhood_order("2")  # type: ignore[arg-type]  # read as the constructor reads it
    assert (som.neighborhood_order, som.config.neighborhood_order) == (2, 2)


def test_an_unusable_device_is_refused_with_its_name() -> None:
    with pytest.raises(ArgumentError, match="device must be one that torch can use here, got 'warp'"):
        SOM(2, 2, 1, device="warp")


def test_the_device_is_where_the_weights_are() -> None:
    som = random_map()
    assert som.device == som.weights.device == torch.device("cpu")
    assert "weights" in som.state_dict()
    som.to("meta")
    assert som.device == torch.device("meta")

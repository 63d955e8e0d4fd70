"""Settings of a map are one truth: readable under their names, and refused where they are assigned or deleted."""

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from somlib import SOM, GrowingSOM, HierarchicalSOM
from somlib.errors import ArgumentError, DataTypeError, FixedSettingError

ARGUMENTS = [name for name in inspect.signature(SOM.__init__).parameters if name != "self"]
GROWTH = ["spread_factor", "growth_epochs", "max_growth_steps", "max_neurons"]
TREE = ["root", "child", "tau_2", "max_depth", "min_samples", "max_maps", "config"]
FEW = {"epochs": 2, "device": "cpu"}


@pytest.fixture
def data() -> Tensor:
    return torch.rand(80, 3, generator=torch.Generator().manual_seed(0))


def maps(data: Tensor) -> list[SOM]:
    fixed, growing = SOM(3, 4, preset="fast", **FEW), GrowingSOM(max_growth_steps=2, **FEW)
    for som in (fixed, growing):
        som.fit(data, verbose=False)
    return [SOM(**FEW), SOM(3, 4, 3, **FEW), fixed, growing]


def test_every_argument_can_be_read_and_neither_assigned_nor_deleted(data: Tensor) -> None:
    for som in maps(data):
        for name in [*ARGUMENTS, "config", *(GROWTH if isinstance(som, GrowingSOM) else [])]:
            before = getattr(som, name)
            with pytest.raises(AttributeError, match=f"^{name} is fixed"):
                setattr(som, name, before)
            with pytest.raises(FixedSettingError, match=f"^{name} cannot be deleted"):
                delattr(som, name)
            assert getattr(som, name) is before


def test_the_error_names_the_way_that_works(data: Tensor) -> None:
    som = maps(data)[1]
    with pytest.raises(FixedSettingError, match=r"SOM.from_config\(config.model_copy\(update=\{'sigma': ...\}\)\)"):
        som.sigma = 3.0
    assert SOM.from_config(som.config.model_copy(update={"sigma": 3.0})).sigma == 3.0
    with pytest.raises(FixedSettingError, match="use set_neighborhood_order"):
        som.neighborhood_order = 2
    som.set_neighborhood_order(2)
    assert (som.neighborhood_order, som.config.neighborhood_order) == (2, 2)
    with pytest.raises(FixedSettingError, match="use to"):
        som.device = torch.device("cpu")
    assert som.to("cpu").device == torch.device("cpu")


def test_what_an_argument_left_open_is_read_from_the_data(data: Tensor) -> None:
    som = SOM(**FEW)
    assert (som.x, som.num_features, som.sigma, som.batch_size) == (None, None, None, None)
    som.fit(data, verbose=False)
    assert (som.x, som.y, som.num_features) == tuple(som.weights.shape)
    assert som.config.x is None
    assert som.sigma is not None
    assert som.batch_size is not None


def test_copies_and_pickles_are_as_fixed_and_answer_alike(data: Tensor) -> None:
    for som in maps(data)[1:]:
        for other in (copy.copy(som), copy.deepcopy(som), pickle.loads(pickle.dumps(som))):
            assert other.quantization_error(data) == som.quantization_error(data)
            with pytest.raises(FixedSettingError):
                other.sigma = 1.0


def test_weights_stay_live_and_are_a_tensor_of_numbers(data: Tensor) -> None:
    som = maps(data)[2]
    som.weights.data = torch.zeros(3, 4, 3)
    assert som.quantization_error(data) == pytest.approx(float(data.norm(dim=1).mean()))
    som.weights = torch.ones(3, 4, 3)
    assert som.quantization_error(data) == pytest.approx(float((data - 1).norm(dim=1).mean()))
    for wrong in (None, "abc", [[1.0]], torch.ones(3, 4, 3, dtype=torch.int64)):
        with pytest.raises(DataTypeError, match="weights must be a tensor of real numbers"):
            som.weights = wrong
    with pytest.raises(FixedSettingError, match="weights cannot be deleted"):
        del som.weights


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "b"], "must have 3 names"),
        (["a", "b", "b"], "'b' twice"),
        (["a", "b", 3], "must be texts, got 3"),
        ("abc", "must be a list of names"),
    ],
)
def test_names_of_features_are_checked(names: Any, problem: str) -> None:
    som = SOM(2, 2, 3, **FEW)
    with pytest.raises(ArgumentError, match=problem):
        som.feature_names = names
    assert som.feature_names is None


def test_a_tree_is_as_fixed(data: Tensor, tmp_path: Path) -> None:
    tree = HierarchicalSOM(root={"max_growth_steps": 1, **FEW}, max_maps=2)
    tree.fit(data, verbose=False)
    assert (tree.tau_2, tree.max_maps, tree.child) == (0.1, 2, "growing")
    tree.save(tmp_path / "tree")
    for same in (tree, copy.deepcopy(tree), HierarchicalSOM.load(tmp_path / "tree")):
        for name in TREE:
            with pytest.raises(FixedSettingError, match=f"^{name} is fixed"):
                setattr(same, name, getattr(same, name))
        assert torch.equal(same.assign(data), tree.assign(data))


def test_a_preset_can_be_read_again_and_stands_beside_arrays(tmp_path: Path) -> None:
    som = SOM(6, 5, 3, preset="fast", feature_weights=np.ones(3), **{**FEW, "epochs": 10})
    assert (som.preset, som.epochs, som.feature_weights) == ("fast", 1, (1.0, 1.0, 1.0))
    assert GrowingSOM(preset="balanced").preset == "balanced"
    assert SOM(2, 2, 3, preset="fast", feature_weights=torch.ones(3)).feature_weights == (1.0, 1.0, 1.0)
    som.save(tmp_path / "map")
    assert SOM.load(tmp_path / "map").preset == "fast"
    assert SOM.from_config(som.config).preset is None

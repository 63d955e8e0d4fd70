"""The tree of maps: where it branches by its rule as a loop, what falls where, and that it survives saving."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from somlib import SOM, GrowingSOM, HierarchicalSOM, SOMConfig
from somlib.core.growing import GrowingSOMConfig
from somlib.core.hierarchical import HierarchicalSOMConfig, MapNode
from somlib.errors import ArgumentError, DataError, NotFittedError, SavedMapError, ShapeError
from tests.somlib import oracle

FOUR = SOMConfig(x=2, y=2, algorithm="batch", initialization_mode="pca", sigma=1.0)


def nested_blobs() -> tuple[Tensor, Tensor, Tensor]:
    """Three groups of four blobs of fifty samples, with the number of the group and of the blob of each sample."""
    groups = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
    blobs = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    centers = (groups[:, None] + blobs).flatten(0, 1).repeat_interleave(50, dim=0)
    noise = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    blob = torch.arange(12).repeat_interleave(50)
    return centers + 0.3 * noise, blob // 4, blob


def cloud(n: int = 300) -> Tensor:
    """Five groups in three dimensions, some wide and some narrow."""
    generator = torch.Generator().manual_seed(5)
    centers = 4 * torch.randn(5, 3, generator=generator)
    group = torch.arange(n) % 5
    return centers[group] + (0.5 + group[:, None] / 2) * torch.randn(n, 3, generator=generator)


def fitted(data: Any = None, sample_weight: Any = None, **settings: Any) -> HierarchicalSOM:
    tree = HierarchicalSOM(**settings)
    tree.fit(cloud() if data is None else data, verbose=False, sample_weight=sample_weight)
    return tree


def rows_by_node(tree: HierarchicalSOM, data: Tensor) -> dict[MapNode, list[int]]:
    """The samples that reach each map, one after the other from the root down."""
    reached: dict[MapNode, list[int]] = {node: [] for node in tree}
    for i, sample in enumerate(data):
        node: MapNode | None = tree.root
        while node is not None:
            reached[node].append(i)
            row, column = node.som.identify_bmus(sample).tolist()
            node = node.children.get((row, column))
    return reached


def errors_by_place(node: MapNode, data: Tensor, rows: list[int]) -> dict[tuple[int, int], list[float]]:
    """Distances of some samples to the neurons of a node that won them, by the neurons' places."""
    won: dict[tuple[int, int], list[float]] = {}
    for sample in data[rows].double():
        row, column = node.som.identify_bmus(sample).tolist()
        distance = math.dist(sample.tolist(), node.som.weights[row, column].tolist())
        won.setdefault((row, column), []).append(distance)
    return won


def deviation_by_loop(data: Tensor) -> float:
    samples = data.double().numpy()
    return sum(math.dist(sample, samples.mean(axis=0)) for sample in samples) / len(samples)


# ---------------------------------------------------------------- branching


def test_nested_blobs_give_two_levels_groups_above_and_blobs_below() -> None:
    data, group, blob = nested_blobs()
    tree = fitted(data)
    assert tree.depth == 2
    assert len(tree) == 4
    root_cell = tree.identify_bmus(data).tolist()
    above = {(tuple(cell), int(g)) for cell, g in zip(root_cell, group, strict=True)}
    assert len(above) == len(tree.root.children) == 3  # each group on one neuron of its own, with a map below
    leaf = tree.assign(data)
    assert all(len(set(blob[leaf == number].tolist())) == 1 for number in set(leaf.tolist()))


@pytest.mark.parametrize("settings", [{}, {"tau_2": 0.3}, {"tau_2": 0.25, "min_samples": 40}, {"max_depth": 2}])
def test_a_neuron_has_a_map_exactly_where_the_rule_asks_for_one(settings: dict[str, Any]) -> None:
    data = cloud()
    tree = fitted(data, root=FOUR, child=FOUR, **settings)
    tolerated = tree.config.tau_2 * deviation_by_loop(data)
    reached = rows_by_node(tree, data)
    for node in tree:
        for place, distances in errors_by_place(node, data, reached[node]).items():
            asked = (
                node.depth < tree.config.max_depth
                and len(distances) >= tree.config.min_samples
                and sum(distances) / len(distances) > tolerated
            )
            assert (place in node.children) == asked
    assert len(tree) > 2


def test_deviation_is_the_mean_distance_to_the_mean() -> None:
    data, weight = cloud(80), torch.arange(80) % 3
    assert fitted(data).deviation == pytest.approx(deviation_by_loop(data), rel=1e-5)
    copies = data.repeat_interleave(weight, dim=0)
    assert fitted(data, sample_weight=weight).deviation == pytest.approx(deviation_by_loop(copies), rel=1e-5)


def test_max_maps_serves_the_neurons_of_largest_total_error() -> None:
    data = cloud()
    tree = fitted(
        data, root=FOUR.model_copy(update={"x": 3, "y": 3}), child=FOUR, max_maps=4, max_depth=2, min_samples=4
    )
    total = {place: sum(d) for place, d in errors_by_place(tree.root, data, list(range(len(data)))).items()}
    assert set(tree.root.children) == set(sorted(total, key=lambda place: -total[place])[:3])


def test_one_level_is_the_flat_map() -> None:
    data = cloud()
    tree, flat = fitted(data, root=FOUR, max_depth=1), SOM.from_config(FOUR)
    errors = flat.fit(data, verbose=False)
    assert len(tree) == tree.depth == 1
    assert torch.equal(tree.root.som.weights, flat.weights)
    assert tree.fit(data, verbose=False) == errors
    places = flat.identify_bmus(data)
    assert torch.equal(tree.identify_bmus(data), places)
    assert torch.equal(tree.assign(data), 2 * places[:, 0] + places[:, 1])
    assert tree.quantization_error(data) == flat.quantization_error(data)


def test_a_map_below_is_a_map_of_its_kind_trained_on_what_its_neuron_won() -> None:
    data = cloud()
    tree = fitted(data, root=FOUR, child="growing", max_depth=2)
    assert type(tree.root.som) is SOM
    row, column = next(iter(tree.root.children))
    won = (tree.identify_bmus(data) == torch.tensor([row, column])).all(dim=1)
    child = GrowingSOM.from_config(tree.config.child_config)
    child.fit(data[won], verbose=False)
    assert torch.equal(tree.root.children[row, column].som.weights, child.weights)
    assert child.build_map("hit", data[won]).sum() == won.sum()


def test_fixed_children_take_their_size_from_their_data() -> None:
    tree = fitted(root=GrowingSOMConfig(spread_factor=0.01), child="fixed", max_depth=2)
    assert type(tree.root.som) is GrowingSOM
    children = list(tree.root.children.values())
    assert children
    assert all(type(node.som) is SOM for node in children)
    assert all(node.som.algorithm == "batch" for node in children)  # the root's settings but for the size
    assert len({node.som.grid.m for node in children}) > 1


def test_children_never_start_with_more_neurons_than_samples() -> None:
    data = cloud()
    hits = SOM.from_config(FOUR)
    hits.fit(data, verbose=False)
    count = hits.build_map("hit", data).int()
    neurons = int(count.flatten().sort().values[2])  # two of the four neurons won so many samples
    child = FOUR.model_copy(update={"x": 1, "y": neurons})
    tree = fitted(data, root=FOUR, child=child, min_samples=2, max_depth=2, tau_2=0.01)
    assert set(tree.root.children) == {(i, j) for i in (0, 1) for j in (0, 1) if count[i, j] >= neurons}
    assert len(tree.root.children) == 2


# ---------------------------------------------------------------- leaves


def test_every_sample_falls_into_the_one_leaf_that_its_winners_lead_to() -> None:
    data = cloud()
    tree = fitted(data, min_samples=10)
    leaf = tree.assign(data)
    assert leaf.shape == (300,)
    assert tree.depth > 2
    for sample, number in zip(data, leaf.tolist(), strict=True):
        node, path = tree.root, []
        while True:
            row, column = node.som.identify_bmus(sample).tolist()
            path.append((row, column))
            if (row, column) not in node.children:
                break
            node = node.children[row, column]
        assert tree.leaves[number].path == tuple(path)
        assert tree.leaves[number].node is node


def test_leaves_are_the_neurons_without_a_map_each_once() -> None:
    tree = fitted()
    paths = [leaf.path for leaf in tree.leaves]
    assert len(set(paths)) == len(paths) == sum(node.som.grid.m - len(node.children) for node in tree)
    assert paths == sorted(paths)  # depth first in flat order, so that leaves below one neuron follow each other
    assert tree.leaf_weights.shape == (len(paths), 3)
    assert repr(tree) == f"HierarchicalSOM({len(tree)} maps, {tree.depth} levels, {len(paths)} leaves)"


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "cosine"])
def test_quantization_error_is_the_mean_distance_to_the_leaves(name: str) -> None:
    data, weight = cloud(), torch.arange(300) % 4
    tree = fitted(data, root=FOUR.model_copy(update={"distance_function": name}))
    weights = tree.leaf_weights.double().numpy()[tree.assign(data).numpy()]
    samples = data.double().numpy()
    reach = np.array([oracle.feature_distance(x, w, name) for x, w in zip(samples, weights, strict=True)])
    assert tree.quantization_error(data) == pytest.approx(reach.mean(), rel=1e-5)
    assert tree.quantization_error(data, sample_weight=weight) == pytest.approx(
        float((reach * weight.numpy()).sum() / weight.sum()), rel=1e-5
    )
    assert tree.quantization_error(data) < tree.root.som.quantization_error(data)


def test_iterates_level_by_level() -> None:
    tree = fitted(min_samples=10)
    depths = [node.depth for node in tree]
    assert depths == sorted(depths)
    assert depths[0] == 1
    assert len(depths) == len(tree)
    for node in tree:
        for place, child in node.children.items():
            assert child.path == (*node.path, place)


# ---------------------------------------------------------------- data


def test_missing_values_are_masked_and_empty_rows_have_no_leaf() -> None:
    data = cloud()
    data[torch.rand(data.shape, generator=torch.Generator().manual_seed(2)) < 0.1] = torch.nan
    data[7] = torch.nan
    tree = fitted(data, root=GrowingSOMConfig(spread_factor=0.01, missing="mask"))
    assert len(tree) > 1
    leaf = tree.assign(data)
    assert leaf[7] == -1
    assert (leaf >= 0).sum() == 299
    assert math.isfinite(tree.quantization_error(data))
    assert bool(torch.isfinite(tree.leaf_weights).all())


def test_samples_of_weight_zero_get_no_map_of_their_own() -> None:
    data, group, _ = nested_blobs()
    tree = fitted(data, sample_weight=(group < 2).float(), tau_2=0.05)
    below = {tuple(place) for place in tree.identify_bmus(data[group < 2]).tolist()}
    assert set(tree.root.children) <= below
    assert len(tree) > 1


@pytest.mark.parametrize("n", [2, 5])
def test_few_samples_make_a_tree_of_one_map(n: int) -> None:
    tree = fitted(cloud(n), root=SOMConfig(x=1, y=2))
    assert len(tree) == 1
    assert (tree.assign(cloud(n)) >= 0).all()


def test_column_names_reach_every_map_and_float64_stays() -> None:
    frame = pl.DataFrame(cloud().double().numpy(), schema=["a", "b", "c"], orient="row")
    tree = fitted(frame)
    assert len(tree) > 1
    assert all(node.som.feature_names == ["a", "b", "c"] for node in tree)
    assert all(node.som.weights.dtype == torch.float64 for node in tree)
    assert torch.equal(tree.assign(frame), tree.assign(frame.to_numpy()))


def test_same_settings_give_the_same_tree_and_a_second_fit_starts_anew() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = fitted(), fitted()
    second.fit(cloud(), verbose=False)
    assert [node.path for node in first] == [node.path for node in second]
    assert torch.equal(first.leaf_weights, second.leaf_weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_refused_data_leaves_the_tree_as_it_was() -> None:
    tree = fitted()
    weights = tree.leaf_weights
    for bad, error in ((torch.full((5, 3), torch.nan), DataError), (torch.zeros(5, 2, 2), ShapeError)):
        with pytest.raises(error):
            tree.fit(bad, verbose=False)
    with pytest.raises(ShapeError, match="must have 3 features"):
        tree.assign(torch.zeros(5, 2))
    assert torch.equal(tree.leaf_weights, weights)


def test_verbose_shows_the_maps_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    tree = HierarchicalSOM()
    tree.fit(cloud())
    shown = capsys.readouterr()
    assert f"{len(tree)}/{len(tree)}" in shown.err
    assert not shown.out


def test_a_new_tree_has_an_untrained_root_and_no_leaves() -> None:
    tree = HierarchicalSOM(FOUR.model_copy(update={"num_features": 3}))
    assert tree.identify_bmus(cloud()).shape == (300, 2)
    assert repr(tree) == "HierarchicalSOM(1 maps, 1 levels, not fitted)"
    for question in (lambda: tree.leaves, lambda: tree.assign(cloud()), lambda: tree.quantization_error(cloud())):
        with pytest.raises(NotFittedError, match="call fit first"):
            question()


# ---------------------------------------------------------------- saving


@pytest.mark.parametrize("child", ["growing", "fixed", FOUR], ids=["growing", "fixed", "config"])
def test_a_loaded_tree_answers_exactly(tmp_path: Path, child: Any) -> None:
    data = cloud()
    tree = fitted(data, child=child, min_samples=10)
    tree.save(tmp_path / "tree")
    loaded = HierarchicalSOM.load(tmp_path / "tree", device="cpu")
    assert sorted(path.name for path in (tmp_path / "tree").iterdir()) == ["config.json", "weights.safetensors"]
    assert [repr(node) for node in loaded] == [repr(node) for node in tree]
    assert [type(node.som) for node in loaded] == [type(node.som) for node in tree]
    assert torch.equal(loaded.leaf_weights, tree.leaf_weights)
    assert torch.equal(loaded.assign(data), tree.assign(data))
    assert loaded.quantization_error(data) == tree.quantization_error(data)
    assert loaded.deviation == tree.deviation
    assert loaded.config.child_config == tree.config.child_config.model_copy(
        update={"device": loaded.config.child_config.device}
    )
    for ours, theirs in zip(loaded, tree, strict=True):
        assert torch.equal(ours.som.anomaly_score(data), theirs.som.anomaly_score(data))
    loaded.fit(data, verbose=False)
    assert torch.equal(loaded.leaf_weights, tree.leaf_weights)


def test_only_a_trained_tree_is_saved_and_only_a_tree_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="call fit first"):
        HierarchicalSOM().save(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    SOM(2, 2, 3).save(tmp_path / "flat")
    with pytest.raises(SavedMapError, match=r"must hold a HierarchicalSOM, got a SOM: use SOM\.load"):
        HierarchicalSOM.load(tmp_path / "flat")
    fitted().save(tmp_path / "tree")
    with pytest.raises(SavedMapError, match=r"got a HierarchicalSOM: use HierarchicalSOM\.load"):
        SOM.load(tmp_path / "tree")


# ---------------------------------------------------------------- settings


def test_the_constructor_has_the_defaults_of_the_config() -> None:
    for name, parameter in inspect.signature(HierarchicalSOM).parameters.items():
        if name != "root":
            assert parameter.default == HierarchicalSOMConfig.model_fields[name].default, name
    assert HierarchicalSOM().config == HierarchicalSOMConfig()
    assert HierarchicalSOM().config.root == GrowingSOMConfig(spread_factor=0.01)


def test_settings_travel_as_json() -> None:
    config = HierarchicalSOMConfig(root=GrowingSOMConfig(spread_factor=0.2), child=FOUR, max_maps=7)
    again = HierarchicalSOMConfig(**json.loads(config.model_dump_json()))
    assert again == config
    assert (type(again.root), type(again.child)) == (GrowingSOMConfig, SOMConfig)
    assert HierarchicalSOM.from_config(again).config == config


def test_a_mapping_is_a_growing_map_if_it_says_so() -> None:
    tree = HierarchicalSOM({"x": 4, "y": 5}, {"spread_factor": 0.2})
    assert (type(tree.root.som), type(tree.config.child)) == (SOM, GrowingSOMConfig)


def test_children_inherit_what_is_not_size() -> None:
    root = SOMConfig(x=9, y=9, sigma=3.0, topology="hexagonal", distance_function="manhattan", missing="mask")
    growing, fixed = (HierarchicalSOMConfig(root=root, child=kind).child_config for kind in ("growing", "fixed"))
    for child in (growing, fixed):
        assert (child.topology, child.distance_function, child.missing) == ("hexagonal", "manhattan", "mask")
    assert (growing.x, growing.sigma, fixed.x, fixed.sigma) == (2, 1.5, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau_2": 0}, "tau_2 must be greater than 0, got 0"),
        ({"tau_2": 1.5}, "tau_2 must be less than or equal to 1, got 1.5"),
        ({"max_depth": 0}, "max_depth must be greater than or equal to 1, got 0"),
        ({"min_samples": 1}, "min_samples must be greater than or equal to 2, got 1"),
        ({"max_maps": 2.5}, "max_maps must be a valid integer, got 2.5"),
        ({"child": "growin"}, "child must be 'growing', 'fixed' or the settings of a map, got 'growin'"),
        ({"root": {"x": 0, "y": 3}}, "root x must be greater than or equal to 1, got 0"),
        ({"root": "growing"}, "root .*SOMConfig, got 'growing'"),
        (
            {"child": GrowingSOMConfig(distance_function="cosine")},
            "child.distance_function must be the root's 'euclidean', got 'cosine'",
        ),
        ({"child": SOMConfig(num_features=2)}, "child.num_features must be the root's None, got 2"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        HierarchicalSOM(**arguments)

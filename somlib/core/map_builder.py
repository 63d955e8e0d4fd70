"""The kinds of maps behind `build_map` and `build_multiple_maps`: each one record of `MAPS`.

A record says what the map needs and takes, and builds it. A map of a target is handed checked targets without missing
values, one column at a time where columns lack different ones, and gives flat values; `target_map` puts them on the
grid.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, TypeVar

import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataTypeError, ShapeError
from somlib.utils import maps
from somlib.utils.arguments import require_choice
from somlib.utils.class_labels import text_labels
from somlib.utils.distances import DISTANCE_FUNCTIONS, Metric
from somlib.utils.grid import Grid
from somlib.utils.inputs import read_targets, require_finite
from somlib.utils.maps import NeuronSamples, neuron_samples
from somlib.utils.retrieval import groups_from_dict
from somlib.utils.topology import require_order

SamplesByPlace = dict[tuple[int, int], Any]
Needs = Literal["codebook", "data", "target"]
C = TypeVar("C")


class MapConfig(TypedDict, total=False):
    """One map wanted from `build_multiple_maps`."""

    type: str
    name: str
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class MapInput:
    """What a map is built from.

    Attributes:
        codebook: Neurons, shape (m, d).
        grid: Their grid.
        metric: The map's distance.
        order: The map's `neighborhood_order`.
        arguments: Those of `MapType.arguments` that the caller gave.
        samples: Checked samples, shape (n, d); None without data.
        winner: Nearest neuron of each, -1 for none, shape (n,); None without data.
        groups: Samples by neuron, for maps of a target.
        target: Checked targets, shape (n, o), for maps of a target.
    """

    codebook: Tensor
    grid: Grid
    metric: Metric
    order: int
    arguments: Mapping[str, Any]
    samples: Tensor | None = None
    winner: Tensor | None = None
    groups: NeuronSamples | None = None
    target: Tensor | None = None

    def neighborhood_order(self, least: int = 1) -> int:
        """The order that was asked for, else the map's own."""
        order = self.arguments.get("neighborhood_order")
        if order is None:
            return self.order
        require_order(order, least)
        return int(order)

    def choice(self, name: str, known: Mapping[str, C], default: str) -> C:
        """What the argument of that name selects.

        Raises:
            ArgumentError: An unknown name.
        """
        chosen = self.arguments.get(name, default)
        require_choice(name, chosen, known)
        return known[chosen]


@dataclass(frozen=True)
class MapType:
    """One kind of map that `build_map` knows.

    Attributes:
        build: The map from what it needs. For a target (n, o): flat values (o, m).
        needs: `"codebook"`, `"data"`, or `"target"`, which goes with data or samples grouped earlier.
        arguments: What it takes beside data and target.
        classes: Whether targets are labels, which may be texts.
    """

    build: Callable[[MapInput], Any]
    needs: Needs = "data"
    arguments: tuple[str, ...] = ()
    classes: bool = False


def _hits(given: MapInput) -> Tensor:
    assert given.winner is not None
    return maps.hit_map(given.winner, given.grid.m).reshape(given.grid.x, given.grid.y)


def _distances(given: MapInput) -> Tensor:
    """The U-matrix divided by its maximum, shape (x, y)."""
    scaling = given.choice("scaling", {"sum": "sum", "mean": "mean"}, "sum")
    name = given.arguments.get("distance_metric")
    name = given.metric.name if name is None else name
    require_choice("distance_metric", name, DISTANCE_FUNCTIONS)
    metric = Metric(name, given.metric.feature_weights)
    values = maps.distance_map(given.codebook, given.grid, metric, given.neighborhood_order(), scaling)
    return maps.scaled_to_one(values).reshape(given.grid.x, given.grid.y)


def _samples_by_place(given: MapInput) -> SamplesByPlace:
    """Dict `(row, col) ->` list of sample indices, or the rows themselves."""
    assert given.samples is not None
    assert given.winner is not None
    groups = neuron_samples(given.winner, given.grid.m)
    filled = torch.nonzero(groups.count).flatten().tolist()
    owned = {divmod(k, given.grid.y): groups.of(k) for k in filled}
    as_indices = given.arguments.get("return_indices", True)
    return {place: index.tolist() if as_indices else given.samples[index] for place, index in owned.items()}


def _of_groups(function: Callable[[NeuronSamples, Tensor], Tensor]) -> Callable[[MapInput], Tensor]:
    """A statistic of each neuron's targets as the `build` of a map type."""

    def build(given: MapInput) -> Tensor:
        assert given.groups is not None
        assert given.target is not None
        return function(given.groups, given.target)

    return build


def _reduced(given: MapInput) -> Tensor:
    return _of_groups(given.choice("reduction_parameter", {"mean": maps.mean_map, "std": maps.std_map}, "mean"))(given)


def _classes(given: MapInput) -> Tensor:
    order = given.neighborhood_order(least=0)
    return _of_groups(lambda groups, target: maps.classification_map(groups, target, given.grid, order))(given)


# `batch_size` is taken by all and bounds nothing: the search bounds its own memory.
MAPS: dict[str, MapType] = {
    "hit": MapType(_hits),
    "distance": MapType(_distances, "codebook", ("distance_metric", "neighborhood_order", "scaling")),
    "bmus_data": MapType(_samples_by_place, arguments=("return_indices",)),
    "metric": MapType(_reduced, "target", ("reduction_parameter",)),
    "score": MapType(_of_groups(maps.score_map), "target"),
    "rank": MapType(_of_groups(maps.rank_map), "target"),
    "classification": MapType(_classes, "target", ("neighborhood_order",), classes=True),
}


def require_map_arguments(map_type: str, arguments: Mapping[str, Any]) -> None:
    """Refuse unknown map types and arguments.

    Raises:
        ArgumentError: With the names that are known.
    """
    require_choice("map_type", map_type, MAPS)
    known = (*MAPS[map_type].arguments, "batch_size")
    for name in arguments:
        if name not in known:
            raise ArgumentError(f"build_map({map_type!r}) takes {', '.join(known)}, got {name!r}")
    if not isinstance(arguments.get("return_indices", True), bool):
        raise ArgumentError(f"return_indices must be True or False, got {type(arguments['return_indices']).__name__}")


def target_map(map_type: MapType, given: MapInput) -> Tensor:
    """A map of target statistics, float64: shape (x, y), or (o, x, y) for targets (n, o) with o > 1.

    A target that is NaN counts as not observed: its column leaves the sample out.
    """
    assert given.groups is not None
    assert given.target is not None
    missing = torch.isnan(given.target)
    if given.target.shape[1] > 1 and bool(missing.any()):
        columns = given.target.split(1, dim=1)  # type: ignore[no-untyped-call]  # torch does not annotate it
        return torch.stack([target_map(map_type, replace(given, target=column)) for column in columns])
    flat = map_type.build(replace(given, groups=given.groups.without(missing.any(dim=1))))
    on_grid: Tensor = flat.reshape(-1, given.grid.x, given.grid.y)
    return on_grid[0] if len(on_grid) == 1 else on_grid


def grouped(winner: Tensor | None, bmus_data_map: SamplesByPlace | None, grid: Grid, map_type: str) -> NeuronSamples:
    """Samples by neuron, on the CPU, from winners or from a map of them made earlier.

    Raises:
        ArgumentError: Neither is given, or the map holds rows instead of indices.
    """
    if bmus_data_map is not None:
        return groups_from_dict(bmus_data_map, grid)
    if winner is None:
        raise ArgumentError(f"build_map({map_type!r}) needs data or bmus_data_map, got neither")
    return neuron_samples(winner.cpu(), grid.m)


def targets_for(
    groups: NeuronSamples, target: Any, n: int | None, map_type: str, all_assigned: bool = True, missing: str = "error"
) -> Tensor:
    """Checked targets (n, o) for grouped samples.

    Args:
        groups: Samples by neuron.
        target: As the caller passed it.
        n: Number of samples where known; else the indices of the groups have to do.
        map_type: For the error.
        all_assigned: Whether every sample has a neuron, so that the largest index gives their number.
        missing: `"mask"` lets NaN pass.

    Raises:
        ArgumentError: No target.
        DataTypeError: Targets that are no numbers; texts are welcome on maps of classes.
        ShapeError: Another number of targets than samples.
        DataError: Infinite targets of these samples, or NaN where `missing` is `"error"`.
    """
    if target is None:
        raise ArgumentError(f"build_map({map_type!r}) needs target, got none")
    labels = text_labels(target)
    if labels is not None and not MAPS[map_type].classes:
        raise DataTypeError(f"target must be numeric, got texts: build_map({map_type!r}) is none of classes")
    target = target if labels is None else labels.codes
    covered = int(groups.sample.max()) + 1 if len(groups.sample) else 0
    if n is None and all_assigned and covered == len(groups.sample):
        n = covered  # the samples are exactly 0..n-1
    if n is None:
        n = len(target) if hasattr(target, "__len__") else 0
        if n < covered:
            raise ShapeError(f"target must have a value for each of the {covered} samples, got {n}")
    targets = read_targets(target, n)
    used = torch.zeros(n, 1, dtype=torch.bool)
    used[groups.sample] = True
    require_finite(torch.where(used, targets, 0), "target", missing)
    return targets


def map_keys(configs: Sequence[MapConfig]) -> list[str]:
    """A readable key for each map: its name, else type and argument values joined by `_`; numbered where taken."""
    keys: list[str] = []
    for config in configs:
        parts = [config["type"], *(str(value) for value in config["kwargs"].values())]
        base = key = config["name"] or "_".join(parts)
        count = 2
        while key in keys:
            key, count = f"{base}_{count}", count + 1
        keys.append(key)
    return keys


def require_map_configs(configs: Any) -> list[MapConfig]:
    """The wanted maps, checked, each with its `kwargs`.

    Raises:
        ArgumentError: Not a list of `{"type": ..., "name": optional, "kwargs": {...}}`.
    """
    if not isinstance(configs, Sequence) or isinstance(configs, str):
        raise ArgumentError(f"map_configs must be a list of dicts, got {type(configs).__name__}")
    return [_map_config(i, config) for i, config in enumerate(configs)]


def _map_config(i: int, config: Any) -> MapConfig:
    if not isinstance(config, Mapping) or "type" not in config:
        raise ArgumentError(f"map_configs[{i}] must be a dict with the key 'type', got {config!r}")
    unknown = sorted(set(config) - {"type", "name", "kwargs"})
    if unknown:
        raise ArgumentError(f"map_configs[{i}] takes type, name and kwargs, got {unknown[0]!r}")
    kwargs = {} if config.get("kwargs") is None else config["kwargs"]
    if not isinstance(kwargs, Mapping):
        raise ArgumentError(f"map_configs[{i}]['kwargs'] must be a dict, got {kwargs!r}")
    require_map_arguments(config["type"], kwargs)
    name = config.get("name")
    if name is not None and not isinstance(name, str):
        raise ArgumentError(f"map_configs[{i}]['name'] must be text, got {type(name).__name__}")
    return {"type": config["type"], "name": name or "", "kwargs": dict(kwargs)}

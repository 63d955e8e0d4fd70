"""From a map type and its arguments to a map: the dispatch behind `build_map` and `build_multiple_maps`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor

from somlib.errors import ArgumentError, ShapeError
from somlib.utils import maps
from somlib.utils.arguments import require_choice
from somlib.utils.distances import DISTANCE_FUNCTIONS, Metric
from somlib.utils.grid import Grid
from somlib.utils.inputs import read_targets, require_finite
from somlib.utils.maps import NeuronSamples, neuron_samples
from somlib.utils.retrieval import groups_from_dict
from somlib.utils.topology import require_order

SamplesByPlace = dict[tuple[int, int], Any]


class MapConfig(TypedDict, total=False):
    """One map wanted from `build_multiple_maps`."""

    type: str
    name: str
    kwargs: dict[str, Any]


# What each type takes beside data and target. `batch_size` is taken everywhere and bounds nothing: the search bounds
# its own memory.
MAP_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "hit": (),
    "distance": ("distance_metric", "neighborhood_order", "scaling"),
    "bmus_data": ("return_indices",),
    "metric": ("reduction_parameter",),
    "score": (),
    "rank": (),
    "classification": ("neighborhood_order",),
}
TARGET_MAPS = ("metric", "score", "rank", "classification")


def require_map_arguments(map_type: str, arguments: Mapping[str, Any]) -> None:
    """Refuse unknown map types and arguments.

    Raises:
        ArgumentError: With the names that are known.
    """
    require_choice("map_type", map_type, MAP_ARGUMENTS)
    known = (*MAP_ARGUMENTS[map_type], "batch_size")
    for name in arguments:
        if name not in known:
            raise ArgumentError(f"build_map({map_type!r}) takes {', '.join(known)}, got {name!r}")
    if not isinstance(arguments.get("return_indices", True), bool):
        raise ArgumentError(f"return_indices must be True or False, got {type(arguments['return_indices']).__name__}")


def distance_map(codebook: Tensor, grid: Grid, metric: Metric, order: int, arguments: Mapping[str, Any]) -> Tensor:
    """The U-matrix divided by its maximum, shape (x, y)."""
    scaling = arguments.get("scaling", "sum")
    require_choice("scaling", scaling, ("sum", "mean"))
    name = arguments.get("distance_metric")
    name = metric.name if name is None else name
    require_choice("distance_metric", name, DISTANCE_FUNCTIONS)
    order = _order(arguments, order)
    values = maps.distance_map(codebook, grid, Metric(name, metric.feature_weights), order, scaling)
    return maps.scaled_to_one(values).reshape(grid.x, grid.y)


def target_map(
    map_type: str, groups: NeuronSamples, target: Tensor, grid: Grid, order: int, arguments: Mapping[str, Any]
) -> Tensor:
    """A map of target statistics, float64: shape (x, y), or (o, x, y) for targets (n, o) with o > 1.

    A target that is NaN counts as not observed: its column leaves the sample out.
    """
    if target.shape[1] > 1 and bool(torch.isnan(target).any()):
        columns = target.split(1, dim=1)  # type: ignore[no-untyped-call]  # torch does not annotate it
        return torch.stack([target_map(map_type, groups, column, grid, order, arguments) for column in columns])
    groups = groups.without(torch.isnan(target).any(dim=1))
    if map_type == "metric":
        flat = _reduction(arguments.get("reduction_parameter", "mean"))(groups, target)
    elif map_type == "classification":
        flat = maps.classification_map(groups, target, grid, _order(arguments, order, least=0))
    else:
        flat = {"score": maps.score_map, "rank": maps.rank_map}[map_type](groups, target)
    on_grid = flat.reshape(-1, grid.x, grid.y)
    return on_grid[0] if len(on_grid) == 1 else on_grid


def samples_by_place(groups: NeuronSamples, grid: Grid, samples: Tensor | None) -> SamplesByPlace:
    """Dict `(row, col) ->` list of sample indices, or the rows themselves where `samples` are given."""
    filled = torch.nonzero(groups.count).flatten().tolist()
    owned = {divmod(k, grid.y): groups.of(k) for k in filled}
    return {place: index.tolist() if samples is None else samples[index] for place, index in owned.items()}


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
        all_assigned: Whether every sample has a neuron, so that the largest index tells their number.
        missing: `"mask"` lets NaN pass.

    Raises:
        ArgumentError: No target.
        ShapeError: Another number of targets than samples.
        DataError: Infinite targets of these samples, or NaN where `missing` is `"error"`.
    """
    if target is None:
        raise ArgumentError(f"build_map({map_type!r}) needs target, got none")
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


def _reduction(name: str) -> Callable[[NeuronSamples, Tensor], Tensor]:
    known = {"mean": maps.mean_map, "std": maps.std_map}
    require_choice("reduction_parameter", name, known)
    return known[name]


def _order(arguments: Mapping[str, Any], default: int, least: int = 1) -> int:
    order = arguments.get("neighborhood_order")
    if order is None:
        return default
    require_order(order, least)
    return int(order)

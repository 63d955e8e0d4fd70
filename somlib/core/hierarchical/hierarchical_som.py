r"""The hierarchical map: a map below every neuron that does not represent its samples well enough.

With mqe_0 the mean distance of the data to its mean and mqe_k that of the samples won by neuron k to its weights, both
in the metric of the maps, a neuron gets a map of its own, trained on the samples it won, where

    mqe_k > tau_2 mqe_0

and it won enough samples, and neither the depth nor the number of maps is exhausted. Neurons are served in the order of
their total error, largest first, so that a limit on the number of maps cuts where the least is lost.

References:
    Rauber, Merkl and Dittenbach, The growing hierarchical self-organizing map: exploratory analysis of high-dimensional
    data, IEEE Trans. Neural Networks 13(6), 2002. There the size of a map follows from its share tau_1 of the error of
    the neuron above; here a growing map's size follows from its spread factor (`somlib.core.growing.growth`).
"""

import heapq
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from somlib.configs.som_config import SOMConfig
from somlib.core.fixed import FixedSettings
from somlib.core.growing import GrowingSOM, GrowingSOMConfig
from somlib.core.growing.growth import winners_of_mean
from somlib.core.growing.progress import open_ended_progress
from somlib.core.hierarchical.hierarchical_config import HierarchicalSOMConfig
from somlib.core.hierarchical.tree import Leaf, LeafIndex, MapNode, Place, breadth_first
from somlib.core.persistence import SavedMap, read_map, write_map
from somlib.core.rule import TrainingSet
from somlib.core.som import SOM
from somlib.errors import NotFittedError, SavedMapError
from somlib.utils.arguments import require_truth
from somlib.utils.inputs import read_sample_weight
from somlib.utils.maps import neuron_samples
from somlib.utils.metrics import quantization_error

logger = logging.getLogger(__name__)

MAPS: dict[str, type[SOM]] = {"SOM": SOM, "GrowingSOM": GrowingSOM}


@dataclass(frozen=True, order=True)
class _Candidate:
    """A neuron that may get a map of its own; the one of largest total error comes first, ties by the place.

    Attributes:
        rank: Minus the total error, and the path to the neuron.
        node: The map that it belongs to.
        rows: The rows of the data that it won, int64, shape (n_k,).
    """

    rank: tuple[float, tuple[Place, ...]]
    node: MapNode = field(compare=False)
    rows: Tensor = field(compare=False)


class HierarchicalSOM(FixedSettings):
    """A tree of self-organizing maps, each below a neuron whose samples it represents in more detail.

    Every map of the tree is a `SOM` or a `GrowingSOM` with all its methods: `tree.root.som`, and by place below it
    `tree.root.children[row, col].som`. Iterating over the tree gives its nodes, level by level; `len` counts them.
    A sample falls from the root through the maps below its winners until it reaches a neuron without a map: its leaf.

    Args:
        root: Settings of the root, a `SOMConfig` for a fixed map or a `GrowingSOMConfig`; None for a small growing map.
        child: Settings of the maps below; or `"growing"` or `"fixed"`, which takes the root's settings but
            for the size: growing maps start as theirs do by default, fixed ones take it from their data.
        tau_2: Share in (0, 1] of the data's deviation; a neuron whose mean error exceeds it gets a map of its own.
        max_depth: Levels of maps, the root included.
        min_samples: Fewest samples that a map below is trained on; never fewer than the neurons it starts with.
        max_maps: Most maps in the tree, the root included.

    Attributes:
        config: The settings.
        root: The `MapNode` of the root.
        deviation: Mean distance of the training data to its mean, mqe_0; None before `fit`.

    Raises:
        ArgumentError: An argument is not allowed; it is a `ValueError`, and lists all problems at once.

    Example:
        >>> tree = HierarchicalSOM(max_depth=2)
        >>> data = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
        >>> errors = tree.fit(data, verbose=False)
        >>> leaf = tree.leaves[int(tree.assign(data)[0])]
        >>> leaf.path
        ((1, 2), (1, 2))

    References:
        Rauber, Merkl and Dittenbach, IEEE Trans. Neural Networks 13(6), 2002.
    """

    _cures: ClassVar[Mapping[str, str]] = {"config": "make a new tree with from_config(config)"}
    config: HierarchicalSOMConfig
    root: MapNode
    child: SOMConfig | str
    tau_2: float
    max_depth: int
    min_samples: int
    max_maps: int
    deviation: float | None

    def __init__(
        self,
        root: SOMConfig | Mapping[str, Any] | None = None,
        child: SOMConfig | Mapping[str, Any] | str = "growing",
        *,
        tau_2: float = 0.1,
        max_depth: int = 3,
        min_samples: int = 20,
        max_maps: int = 100,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in HierarchicalSOMConfig.model_fields}
        if root is None:
            del arguments["root"]
        config = HierarchicalSOMConfig.checked(arguments)
        self._take(config=config, **{name: value for name, value in config if name != "root"})
        self._take(root=MapNode(_new_map(config.root)))
        self.deviation = None
        self._index: LeafIndex | None = None

    @classmethod
    def from_config(cls, config: HierarchicalSOMConfig) -> Self:
        """A new tree with the settings of `config`."""
        return cls(**dict(config))

    # ---------------------------------------------------------------- training

    def fit(self, data: Any, verbose: bool = True, *, sample_weight: Any = None) -> tuple[list[float], list[float]]:
        """Train a new tree on samples (n, d); an earlier one is dropped.

        Args:
            data: Samples, shape (n, d).
            verbose: Whether to show progress bars.
            sample_weight: Shape (n,); weight k acts like k copies of the sample. None for 1 each.

        Returns:
            Quantization errors and topographic errors of the root, one of each an epoch, as its own `fit` returns.

        Raises:
            DataTypeError: Data that is not numeric.
            ShapeError: Data of another shape.
            DataError: Data that is empty, not finite, or without any row that could have a winner.
            ArgumentError: Data of another width than `feature_weights`.
        """
        verbose = require_truth("verbose", verbose)
        root = MapNode(_new_map(self.config.root))
        errors = root.som.fit(data, verbose, sample_weight=sample_weight)
        rows = root.som._training_set(data, sample_weight)
        deviation = quantization_error(winners_of_mean(rows, root.som.metric), rows.weight)
        self._branch_out(root, rows, self.config.tau_2 * deviation, verbose)
        self._take(root=root)
        self.deviation, self._index = deviation, LeafIndex(root)
        return errors

    def _branch_out(self, root: MapNode, rows: TrainingSet, tolerated: float, verbose: bool) -> None:
        """Put maps below the neurons whose mean error is not tolerated, those of largest total error first."""
        queue = self._candidates(root, torch.arange(len(rows.data), device=rows.data.device), rows, tolerated)
        heapq.heapify(queue)
        maps, most = 1, self.config.max_maps
        with open_ended_progress("maps", verbose) as show:
            show(maps, maps + len(queue), "root")
            while queue and maps < most:
                candidate = heapq.heappop(queue)
                node = self._branch(candidate, root, rows)
                for below in self._candidates(node, candidate.rows, rows, tolerated):
                    heapq.heappush(queue, below)
                maps += 1
                show(maps, min(maps + len(queue), most), f"level {node.depth}")
        if queue:
            logger.info("max_maps=%d is reached: %d neurons stay without a map of their own", most, len(queue))

    def _candidates(self, node: MapNode, won: Tensor, rows: TrainingSet, tolerated: float) -> list[_Candidate]:
        """The neurons of a node that need a map of their own; `won` are the rows that the node was trained on."""
        if node.depth >= self.config.max_depth:
            return []
        grid = node.som.grid
        found = node.som._winners(rows.data[won], distances=True)
        groups = neuron_samples(found.index[:, 0], grid.m)
        child = self.config.child_config
        fewest = max(self.config.min_samples, (child.x or 1) * (child.y or 1))
        candidates = []
        for neuron in torch.nonzero(groups.count >= fewest).flatten().tolist():
            own = groups.of(neuron)
            distance, weight = found.distance[own, 0].double(), rows.weight_of(won[own])
            weight = torch.ones_like(distance) if weight is None else weight.double()
            total = float(distance @ weight)
            if total > tolerated * float(weight.sum()):
                path = (*node.path, divmod(neuron, grid.y))
                candidates.append(_Candidate((-total, path), node, won[own]))
        return candidates

    def _branch(self, candidate: _Candidate, root: MapNode, rows: TrainingSet) -> MapNode:
        """The new node below a neuron, its map trained on the rows that the neuron won."""
        path = candidate.rank[1]
        som = _new_map(self.config.child_config, device=str(root.som.device))
        som.fit(rows.data[candidate.rows], verbose=False, sample_weight=rows.weight_of(candidate.rows))
        som.feature_names = root.som.feature_names
        child = MapNode(som, path)
        candidate.node.children[path[-1]] = child
        return child

    # ---------------------------------------------------------------- the tree

    def __iter__(self) -> Iterator[MapNode]:
        """Every node, level by level."""
        return breadth_first(self.root)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        leaves = "not fitted" if self._index is None else f"{len(self.leaves)} leaves"
        return f"HierarchicalSOM({len(self)} maps, {self.depth} levels, {leaves})"

    @property
    def depth(self) -> int:
        """Levels of maps."""
        return max(node.depth for node in self)

    @property
    def leaves(self) -> list[Leaf]:
        """The neurons without a map below, in the order of the numbers that `assign` gives.

        Raises:
            NotFittedError: The tree was not trained.
        """
        return self._known_index().leaves

    @property
    def leaf_weights(self) -> Tensor:
        """The weights of the leaves, shape (number of leaves, d).

        Raises:
            NotFittedError: The tree was not trained.
        """
        return torch.stack([leaf.weights for leaf in self.leaves])

    def to(self, device: str | torch.device) -> Self:
        """Move every map to a device."""
        for node in self:
            node.som.to(device)
        return self

    # ---------------------------------------------------------------- questions

    def identify_bmus(self, data: Any) -> Tensor:
        """Row and column of each sample's nearest neuron on the root; as `SOM.identify_bmus`."""
        return self.root.som.identify_bmus(data)

    def assign(self, data: Any) -> Tensor:
        """Number of the leaf that each sample falls into, a position in `leaves`.

        Args:
            data: Samples, shape (n, d).

        Returns:
            int64, shape (n,); -1 where a sample has no nearest neuron.

        Raises:
            NotFittedError: The tree was not trained.
        """
        index = self._known_index()
        return index.winners(self.root.som._samples(data)).index[:, 0]

    def quantization_error(self, data: Any, *, sample_weight: Any = None) -> float:
        """Mean distance of the samples (n, d) to the leaf they fall into, in the metric of the maps.

        Samples without a nearest neuron are left out; NaN where none has one.

        Raises:
            NotFittedError: The tree was not trained.
        """
        index = self._known_index()
        samples = self.root.som._samples(data)
        weight = read_sample_weight(sample_weight, len(samples), samples)
        return quantization_error(index.winners(samples), weight)

    def _known_index(self) -> LeafIndex:
        if self._index is None:
            raise NotFittedError("the tree has no leaves yet: call fit first")
        return self._index

    # ---------------------------------------------------------------- saving

    def save(self, path: str | Path) -> None:
        """Save the tree into the folder `path`: `weights.safetensors`, `config.json`, no other file.

        Raises:
            NotFittedError: The tree was not trained.
            SavedMapError: `path` is a file, or holds something other than a saved map.
        """
        self._known_index()
        maps = [(node.path, node.som._saved()) for node in self]
        state = {
            "deviation": self.deviation,
            "maps": [{"path": at, "kind": m.kind, "config": m.config, "state": m.state} for at, m in maps],
        }
        tensors = {f"{i}.{name}": tensor for i, (_, m) in enumerate(maps) for name, tensor in m.tensors.items()}
        write_map(path, SavedMap(type(self).__name__, self.config.model_dump(mode="json"), state, tensors))

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device | None = None) -> Self:
        """The tree saved in the folder `path`; it answers exactly like the one that was saved.

        Args:
            path: A folder that `save` has written.
            device: Where to put it; None takes what the saved tree was configured for.

        Raises:
            SavedMapError: Missing, damaged, or a flat map.
        """
        saved = read_map(path)
        if saved.kind != cls.__name__:
            raise SavedMapError(f"path must hold a {cls.__name__}, got a {saved.kind}: use {saved.kind}.load")
        settings = saved.config
        if device is not None:
            settings = {**settings, "root": {**settings["root"], "device": str(device)}}
        tree = cls(**settings)
        tree.deviation = saved.state["deviation"]
        nodes: dict[tuple[Place, ...], MapNode] = {}
        for number, entry in enumerate(saved.state["maps"]):
            node = _saved_node(saved, number, entry, device)
            nodes[node.path] = node
            if node.path:
                nodes[node.path[:-1]].children[node.path[-1]] = node
        tree._take(root=nodes[()])
        tree._index = LeafIndex(tree.root)
        return tree


def _new_map(config: SOMConfig, **changed: Any) -> SOM:
    """A map of the kind and with the settings of `config`."""
    kind = GrowingSOM if isinstance(config, GrowingSOMConfig) else SOM
    return kind.from_config(config.model_copy(update=changed))


def _saved_node(saved: SavedMap, number: int, entry: Mapping[str, Any], device: str | torch.device | None) -> MapNode:
    """The node of one entry of a saved tree, without its children."""
    prefix = f"{number}."
    tensors = {name.removeprefix(prefix): t for name, t in saved.tensors.items() if name.startswith(prefix)}
    kind = MAPS[entry["kind"]]
    som = kind._from_saved(SavedMap(entry["kind"], entry["config"], entry["state"], tensors), device)
    return MapNode(som, tuple((row, column) for row, column in entry["path"]))

"""Maps below the neurons of maps: nodes, and the leaves that samples end in."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from somlib.core.som import SOM
from somlib.utils.search import Winners

Place = tuple[int, int]


@dataclass(eq=False)
class MapNode:
    """A map of the tree.

    Attributes:
        som: The map, with all methods of a flat one.
        path: Row and column of the neurons it lies below, from the root's on; empty for the root.
        children: The maps below its own neurons, by row and column.
    """

    som: SOM
    path: tuple[Place, ...] = ()
    children: dict[Place, "MapNode"] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Its level in the tree; 1 for the root."""
        return len(self.path) + 1

    def __repr__(self) -> str:
        return f"MapNode({self.som.x} x {self.som.y}, path={self.path}, children={len(self.children)})"


@dataclass(frozen=True, eq=False)
class Leaf:
    """A neuron without a map below it.

    Attributes:
        node: The map that it belongs to.
        path: Row and column of the neurons on the way to it, from the root's to its own.
    """

    node: MapNode
    path: tuple[Place, ...]

    @property
    def weights(self) -> Tensor:
        """Its weights, shape (d,); a view."""
        return self.node.som.weights.detach()[self.path[-1]]


def breadth_first(root: MapNode) -> Iterator[MapNode]:
    """Every node, level by level."""
    queue = deque([root])
    while queue:
        node = queue.popleft()
        yield node
        queue.extend(node.children.values())


class LeafIndex:
    """The leaves of a tree, numbered depth first and each map in flat order, so that leaves of a region follow another.

    Args:
        root: The tree; it must not change afterwards.
    """

    def __init__(self, root: MapNode) -> None:
        self.root = root
        self.leaves: list[Leaf] = []
        self._numbers: dict[MapNode, Tensor] = {}
        self._number(root)

    def _number(self, node: MapNode) -> None:
        grid = node.som.grid
        numbers = torch.full((grid.m,), -1)
        self._numbers[node] = numbers
        for neuron in range(grid.m):
            place = divmod(neuron, grid.y)
            if place in node.children:
                self._number(node.children[place])
            else:
                numbers[neuron] = len(self.leaves)
                self.leaves.append(Leaf(node, (*node.path, place)))

    def winners(self, samples: Tensor) -> Winners:
        """The leaf that each checked sample (n, d) falls into from map to map, with the distance to it, (n, 1) each.

        The index is -1 and the distance NaN where a sample has no nearest neuron.
        """
        leaf = torch.full((len(samples), 1), -1, device=samples.device)
        distance = samples.new_full((len(samples), 1), torch.nan)
        waiting = [(self.root, torch.arange(len(samples), device=samples.device))]
        while waiting:
            node, rows = waiting.pop()
            found = node.som._winners(samples[rows], distances=True)
            won = found.index[:, 0] >= 0
            rows, neuron = rows[won], found.index[won, 0]
            leaf[rows, 0] = self._numbers[node].to(samples.device)[neuron]
            distance[rows] = found.distance[won].to(distance)
            for (row, column), child in node.children.items():
                below = rows[neuron == row * node.som.grid.y + column]
                if len(below):
                    waiting.append((child, below))
        return Winners(leaf, distance)

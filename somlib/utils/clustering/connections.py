"""What rows say of neurons beyond their weights: how many lie on each, and which neurons share them.

A row between two neurons has these two as its nearest and second nearest. Counted over all rows, the pairs say which
neurons are connected by data, whatever the grid says (Martinetz and Schulten 1994; the connectivity matrix of Tasdemir
and Merenyi 2009).

References:
    Martinetz and Schulten, Topology representing networks, Neural Networks 7(3), 1994.
    Tasdemir and Merenyi, Exploiting data topology in visualization and clustering of self-organizing maps, IEEE Trans.
    Neural Networks 20(4), 2009.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ShapeError

DENSE_NEURONS = 1_024  # up to these, pairs are counted in a table of all (8 MB); beyond, by sorting


@dataclass(frozen=True)
class Connections:
    """Rows of each neuron, and of each pair of neurons.

    Attributes:
        rows: Weight of the rows that each neuron won, float64, shape (m,).
        pairs: Two neurons each, the smaller first, in ascending order, int64, shape (p, 2).
        shared: Weight of the rows whose two nearest neurons these are, in either order, float64, > 0, shape (p,).
    """

    rows: Tensor
    pairs: Tensor
    shared: Tensor

    @classmethod
    def of_winners(cls, index: Tensor, m: int, weight: Tensor | None = None) -> "Connections":
        """Counted from the two nearest neurons of rows.

        Args:
            index: Flat indices, nearest first, -1 for none, int64, shape (n, 2).
            m: Number of neurons.
            weight: Of each row, shape (n,); weight k counts like k rows. None for 1 each.

        Raises:
            ShapeError: `index` is not of shape (n, 2), or `weight` not (n,).

        Example:
            >>> found = Connections.of_winners(torch.tensor([[0, 1], [1, 0], [1, 2], [-1, -1]]), 3)
            >>> found.rows.tolist(), found.pairs.tolist(), found.shared.tolist()
            ([1.0, 2.0, 0.0], [[0, 1], [1, 2]], [2.0, 1.0])
        """
        if index.ndim != 2 or index.shape[1] != 2:
            raise ShapeError(f"index must have shape (n, 2), got {tuple(index.shape)}")
        if weight is not None and weight.shape != (len(index),):
            raise ShapeError(f"weight must have shape ({len(index)},), got {tuple(weight.shape)}")
        counts = torch.ones(len(index), dtype=torch.float64) if weight is None else weight.detach().cpu().double()
        index = index.detach().cpu()
        won = index[:, 0] >= 0
        rows = torch.bincount(index[won, 0], counts[won], minlength=m)
        both = won & (index[:, 1] >= 0) & (counts > 0)
        low, high = index[both].sort(dim=1).values.unbind(1)
        place, shared = _counted(low * m + high, counts[both], m)
        return cls(rows, _pairs(place, m), shared)

    def plus(self, other: "Connections") -> "Connections":
        """Of the rows of both, on the same neurons."""
        m = len(self.rows)
        pairs, shared = torch.cat((self.pairs, other.pairs)), torch.cat((self.shared, other.shared))
        place, total = _counted(pairs[:, 0] * m + pairs[:, 1], shared, m)
        return Connections(self.rows + other.rows, _pairs(place, m), total)

    def reordered(self, order: Tensor) -> "Connections":
        """The same for a map whose neuron k was neuron `order[k]` here, shape (m,)."""
        order = order.cpu()
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        pairs = place[self.pairs].sort(dim=1).values
        sorted_by = (pairs[:, 0] * len(order) + pairs[:, 1]).argsort()
        return Connections(self.rows[order], pairs[sorted_by], self.shared[sorted_by])

    def tensors(self) -> dict[str, Tensor]:
        """What a saved map keeps of it, by name."""
        return {"connections.rows": self.rows, "connections.pairs": self.pairs, "connections.shared": self.shared}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Connections | None":
        """What `tensors` gave, None where a saved map has none of it."""
        if "connections.rows" not in tensors:
            return None
        return cls(*(tensors[f"connections.{name}"].cpu() for name in ("rows", "pairs", "shared")))


def _pairs(place: Tensor, m: int) -> Tensor:
    """The pairs (p, 2) of m neurons in their places (p,) in a table of all."""
    return torch.stack((torch.div(place, m, rounding_mode="floor"), place % m), dim=1)


def _counted(place: Tensor, counts: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The different places in ascending order, and the sum of their counts."""
    if m <= DENSE_NEURONS:
        table = torch.bincount(place, counts, minlength=1)
        kept = torch.nonzero(table).flatten()
        return kept, table[kept]
    kept, inverse = torch.unique(place, return_inverse=True)
    return kept, torch.bincount(inverse, counts, minlength=len(kept))

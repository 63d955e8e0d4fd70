"""What a map knows of its training beside its weights, and how it follows them."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from somlib.core.base_som import BaseSOM
from somlib.utils.alignment import require_symmetry
from somlib.utils.anomaly import NormalDistances
from somlib.utils.clustering import Connections
from somlib.utils.decay import DecayFn, sigma_schedule
from somlib.utils.training import WinnerSums
from somlib.utils.winners import Winners


class RememberingSOM(BaseSOM):
    """A map with the sums, distances and connections of its latest training, where there are any."""

    _sums: WinnerSums | None
    _normal: NormalDistances | None
    _connections: Connections | None
    _winners_of_fit: Winners | None

    @property
    def _sigma_decay(self) -> DecayFn:
        return sigma_schedule(self.config.sigma_decay_function, self.config.final_sigma)

    def reoriented(self, permutation: Tensor) -> Self:
        """A copy of the map, turned: its neuron k is neuron `permutation[k]` of this one, with all that is known of it.

        Args:
            permutation: A symmetry of the grid, such as `somlib.utils.alignment.aligned` finds, int64, shape (m,).

        Raises:
            ArgumentError: Neighbors would not stay neighbors.
        """
        require_symmetry(permutation, self.grid)
        order, turned = permutation.to(self.device), copy.deepcopy(self)
        turned.weights = self.codebook[order].reshape(self.weights.shape)
        if self._sums is not None:
            turned._sums = WinnerSums(self._sums.values[order], self._sums.center)
        if self._normal is not None:
            turned._normal = self._normal.reordered(order)
        if self._connections is not None:
            turned._connections = self._connections.reordered(order)
        turned._winners_of_fit = None
        return turned

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Follow `.to(device)` with what training learned beside the weights."""
        super()._apply(fn, recurse)
        if self._sums is not None:
            self._sums = self._sums.to(self._sums.values.to(self.device))
        if self._normal is not None:
            self._normal = self._normal.to(self.device)
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Count weights from a `state_dict` as a start; what training learned of others does not hold for them."""
        super()._load_from_state_dict(state_dict, prefix, *rest)
        problems = rest[-1]
        if f"{prefix}weights" in state_dict and not problems:
            self.initialized = True
            self._sums = self._normal = self._connections = self._winners_of_fit = None

    def _tensors(self) -> dict[str, Tensor]:
        tensors = super()._tensors()
        if self._sums is not None:
            tensors |= {
                "sums.total": self._sums.total,
                "sums.count": self._sums.count,
                "sums.center": self._sums.center,
            }
        if self._normal is not None:
            tensors |= self._normal.tensors()
        if self._connections is not None:
            tensors |= self._connections.tensors()
        return tensors

    def _restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super()._restore(state, tensors)
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        if "sums.total" in tensors:
            values = torch.cat((tensors["sums.total"], tensors["sums.count"]), dim=1)
            self._sums = WinnerSums(values, tensors["sums.center"])
        self._normal = NormalDistances.of_tensors(tensors)
        self._connections = Connections.of_tensors(tensors)

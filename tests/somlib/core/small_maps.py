"""Small maps and samples, for the tests of starting and training."""

from typing import Any

import torch
from torch import Tensor

from somlib import SOM
from tests.somlib.oracle import FOUR

LATTICE = FOUR[1]  # 5 x 4 hexagons


def samples(n: int = 60, d: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 2


def new_map(**changed: Any) -> SOM:
    return SOM(**{"epochs": 3, "device": "cpu", **LATTICE.arguments, **changed})


def fitted(data: Tensor | None = None, **changed: Any) -> SOM:
    som = new_map(**changed)
    som.fit(samples() if data is None else data, verbose=False)
    return som

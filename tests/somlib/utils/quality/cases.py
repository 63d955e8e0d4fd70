"""Maps and winners to measure."""

import numpy as np
import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.search import TorchSearch, Winners
from tests.somlib import oracle
from tests.somlib.oracle import Lattice

EUCLIDEAN = Metric("euclidean")
METRICS = ("euclidean", "manhattan", "chebyshev", "cosine")


def grid_of(lattice: Lattice) -> Grid:
    return Grid(**lattice.arguments)


def random_map(lattice: Lattice, n: int = 60, d: int = 3, missing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Samples and a codebook that is ordered along its rows and columns, more or less."""
    rng = np.random.default_rng(lattice.m + n)
    codebook = rng.normal(size=(lattice.m, d))
    codebook[:, :2] += [oracle.position(lattice, neuron) for neuron in range(lattice.m)]
    data = codebook[rng.integers(lattice.m, size=n)] + rng.normal(size=(n, d))
    data[rng.random(data.shape) < missing] = np.nan
    return torch.from_numpy(data), torch.from_numpy(codebook)


def winners_of(data: Tensor, codebook: Tensor, metric: Metric = EUCLIDEAN) -> Winners:
    return TorchSearch(codebook, metric).nearest(data, k=2)

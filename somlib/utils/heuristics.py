"""Settings that follow from the data where the user leaves them open.

map size      m = 5 sqrt(n) neurons, sides in the ratio sqrt(lambda_1 / lambda_2) of the two leading eigenvalues of
              the covariance, the longer side down the rows (Vesanto, SOM Toolbox for Matlab 5, report A57, 2000)
sigma         a fifth of the mean side, at least 1.5 cells
batch size    enough steps an epoch for the map to settle: see `minibatch_size`
"""

import math

import torch
from torch import Tensor

from somlib.utils.initialization import leading_axes, moments

LARGEST_RATIO = 4.0
LARGEST_MAP = 10_000


def map_size(data: Tensor, hexagonal: bool = False, pbc: bool = False) -> tuple[int, int]:
    """Rows and columns for samples (n, d); at least one neuron, at most one a sample.

    A hexagonal torus gets an even number of rows.
    """
    n = len(data)
    m = max(1, min(round(5 * math.sqrt(n)), n, LARGEST_MAP))
    first, second = leading_axes(moments(data)[1], 2)[0].tolist()
    ratio = min(math.sqrt(first / second), LARGEST_RATIO) if second > 0 else (LARGEST_RATIO if first > 0 else 1.0)
    row_height = math.sqrt(3) / 2 if hexagonal else 1.0
    rows = max(1, round(math.sqrt(m * ratio / row_height)))
    columns = max(1, round(m / rows))
    if hexagonal and pbc:
        rows += rows % 2
    return rows, columns


def start_sigma(x: int, y: int) -> float:
    """Neighborhood radius to start from, in cell widths."""
    return max(1.5, (x + y) / 10)


def minibatch_size(n: int) -> int:
    """Samples in a mini-batch: about fifty steps an epoch, between 16 and 256 samples each."""
    return int(torch.tensor(n / 50).clamp(16, 256))

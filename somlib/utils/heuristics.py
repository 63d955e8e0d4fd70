"""Settings that follow from the data where the user leaves them open.

map size      m = 5 sqrt(n) neurons, sides in the ratio sqrt(lambda_1 / lambda_2) of the two leading eigenvalues of
              the covariance, the longer side down the rows (Vesanto, SOM Toolbox for Matlab 5, report A57, 2000)
sigma         a sixth of the mean side, at least 2 cells
batch size    enough steps an epoch for the map to settle: see `minibatch_size`
"""

import math

from torch import Tensor

from somlib.utils.initialization import leading_axes, moments

LARGEST_RATIO = 4.0
LARGEST_MAP = 10_000


def map_size(data: Tensor, hexagonal: bool = False, pbc: bool = False) -> tuple[int, int]:
    """Rows and columns for samples (n, d); at least one neuron, at most one a sample.

    A hexagonal torus gets an even number of rows, so at least two neurons.
    """
    n = len(data)
    most = min(n, LARGEST_MAP)
    m = min(round(5 * math.sqrt(n)), most)
    first, second = leading_axes(moments(data)[1], 2)[0].tolist()
    ratio = min(math.sqrt(first / second), LARGEST_RATIO) if second > 0 else (LARGEST_RATIO if first > 0 else 1.0)
    row_height = math.sqrt(3) / 2 if hexagonal else 1.0
    rows = max(1, min(round(math.sqrt(m * ratio / row_height)), most))
    if hexagonal and pbc:
        rows = max(2, rows - rows % 2)
    return rows, max(1, min(round(m / rows), most // rows))


def start_sigma(x: int, y: int) -> float:
    """Neighborhood radius to start from, in cell widths.

    With the default schedule it ends at 0.36 of this, where quantization and topographic error balance: see
    benchmarks/README.md.
    """
    return max(2.0, (x + y) / 12)


def minibatch_size(n: int) -> int:
    """Samples in a mini-batch: some two hundred steps an epoch, which unfold a random start within ten epochs."""
    return min(max(n // 200, 1), 256)

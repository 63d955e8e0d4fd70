"""Settings that follow from the data where the user leaves them open.

map size      m = 5 sqrt(n) neurons, sides in the ratio sqrt(lambda_1 / lambda_2) of the two leading eigenvalues of
              the covariance, the longer side down the rows (Vesanto, SOM Toolbox for Matlab 5, report A57, 2000)
sigma         a sixth of the mean side, at least 2 cells
batch size    enough steps an epoch for the map to converge: see `minibatch_size`
"""

import math
from collections.abc import Sequence

from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.initialization import PLAIN, leading_variances

LARGEST_RATIO = 4.0
LARGEST_MAP = 10_000
ROWS_PER_NEIGHBORHOOD = 35  # that a short step takes for each independent neighborhood
SHORT_STEPS = 4  # an epoch, unless asked for
FEWEST_ROWS = 2_000  # below, an epoch over all of them takes a millisecond or two


def map_size(data: Tensor, hexagonal: bool = False, pbc: bool = False, metric: Metric = PLAIN) -> tuple[int, int]:
    """Rows and columns for samples (n, d); at least one neuron, at most one a sample.

    The proportions are those of the data in the metric that the map trains in. A hexagonal torus gets an even number of
    rows, so at least two neurons.
    """
    return map_size_for(len(data), *leading_variances(data, metric), hexagonal, pbc)


def map_size_for(n: int, first: float, second: float, hexagonal: bool = False, pbc: bool = False) -> tuple[int, int]:
    """Rows and columns for n samples whose two largest variances along axes are these; see `map_size`."""
    most = min(n, LARGEST_MAP)
    m = min(round(5 * math.sqrt(n)), most)
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


def rows_of_step(grid: Grid, sigma: float, n: int) -> int:
    """Rows that a short step of the batch map needs: some for each cell that a neighborhood does not average over.

    A gaussian of radius sigma averages over 2 pi sigma^2 unit areas, so m cells of area a hold m a / (2 pi sigma^2)
    neighborhoods that know nothing of each other.
    """
    independent = grid.m * grid.row_height / (2 * math.pi * sigma**2)
    return min(n, max(1, round(ROWS_PER_NEIGHBORHOOD * independent)))


def steps_per_epoch(grid: Grid, sigmas: Sequence[float], n: int) -> int:
    """Short steps that an epoch of the batch map is made of, where they touch fewer rows than it would, else 1.

    Args:
        grid: The grid.
        sigmas: Radius in each epoch.
        n: Number of rows.
    """
    rows = SHORT_STEPS * sum(rows_of_step(grid, sigma, n) for sigma in sigmas)
    return SHORT_STEPS if n >= FEWEST_ROWS and rows <= len(sigmas) * n else 1

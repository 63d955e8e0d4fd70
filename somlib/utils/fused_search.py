r"""The search of a CUDA device: product and minimum in one kernel, so that the n x m scores are never stored.

The kernel is another first estimate: it gives the smallest scores |w_k|^2 / 2 - x . w_k of every row and one more, and
rows that those do not distinguish go to the exact search. Products run on the tensor cores, each float32 factor split
into two TF32 ones (3xTF32).

How far the scores are off. With u = 2^-24 and S = sum_a |x_a w_a| <= (|x|^2 + |w|^2) / 2, beyond what plain arithmetic
in float32 may be off by (`roundings`):

- A factor is split into its nearest TF32 number and a rest below 2^-11 of it, which the tensor core cuts to 11 bits;
  the product of two rests is left out. Together below 1.25 * 2^-20 S = 20 u S; the bound takes 48 u S, which would
  still hold if the first part were cut, too.
- A tensor core adds blocks of k products to its sum after aligning all to the largest and cutting what sticks out below
  2^-23 of it: below 2 (k + 2) u S a block, 4 u S a feature for every k >= 4 and for k = 2. It does so over the features
  of one tile only; tiles are added by plain arithmetic.

References:
    Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021.
    Fasi, Higham, Lopez, Mary and Mikaitis, Matrix multiplication in multiword arithmetic: error analysis and
    application to GPU tensor cores, SIAM J. Sci. Comput. 45, 2023.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec

import torch
from torch import Tensor

from somlib.utils.distances import Metric
from somlib.utils.torch_search import TINY, Estimates, TorchSearch, largest_square, product_coordinates, roundings
from somlib.utils.winners import Winners, block_entries, collect_winners, row_chunks

# Rows, neurons and features multiplied at a time: the largest of those tried that leave no register to spill on compute
# capability 8.0 to 12.0 (by the compiler's own account; not timed). Up to 64 features go in one tile, so that the rows
# are read once; more go in tiles of 32.
ROWS, NEURONS, WARPS = 128, 32, 8
MOST_FEATURES_AT_ONCE, FEATURES_OF_MANY = 64, 32
MOST_WINNERS = 2  # more rankings than two do not fit into the registers
FEWEST_ROWS = 8_192  # below, too few programs to fill a card; the plain product splits the neurons as well
POINT_ENTRIES = {"cpu": 2**19, "cuda": 2**24}  # entries of the centered copy of the rows at a time


def can_fuse(codebook: Tensor, metric: Metric) -> bool:
    """Whether `FusedSearch` can search `codebook` (m, d): a product in float32, on NVIDIA tensor cores, with Triton."""
    if not (codebook.is_cuda and codebook.dtype == torch.float32 and metric.squared):
        return False
    capable = torch.version.hip is None and torch.cuda.get_device_capability(codebook.device) >= (8, 0)
    return capable and codebook.numel() < 2**31 and _has_triton()


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


class FusedSearch:
    """Exact search whose first estimate never stores a score.

    Args:
        codebook: Neurons, finite, float32, shape (m, d); see `can_fuse`.
        metric: Euclidean or cosine.
    """

    def __init__(self, codebook: Tensor, metric: Metric) -> None:
        self.codebook = codebook
        self.metric = metric

    def nearest(self, data: Tensor, k: int = 1, distances: bool = True) -> Winners:
        """The `k` nearest neurons of each sample (n, d); NaN in a sample means not observed."""
        if k > MOST_WINNERS or len(data) < FEWEST_ROWS:
            return self._exact.nearest(data, k, distances)
        found = [self._nearest_of_chunk(data[rows], k) for rows in self.chunks(len(data))]
        return collect_winners(found, k, data, self.codebook, self.metric, distances)

    def chunks(self, n: int) -> Iterator[slice]:
        """Slices of `n` rows such that their centered copy stays small."""
        d = self.codebook.shape[1]
        return row_chunks(n, max(FEWEST_ROWS, block_entries(POINT_ENTRIES, self.codebook, n * d) // d))

    def _nearest_of_chunk(self, data: Tensor, k: int) -> Tensor:
        points = product_coordinates(data, self.metric, self._neurons.center)[0]
        squares = points.square().sum(dim=1)
        held = torch.isfinite(squares)  # others, with missing values too, have no score that float32 holds
        points = torch.where(held[:, None], points, 0)
        value, index = ranked(points, self._neurons.points, self._neurons.half_squares, k)
        clear = held & self._estimates(squares, points.shape[1], value).tell_apart(value)
        doubtful = torch.nonzero(~clear).flatten()  # the only wait for the device
        if len(doubtful):
            index[doubtful] = self._exact.nearest(data[doubtful], k, distances=False).index
        return index

    def _estimates(self, squares: Tensor, d: int, value: Tensor) -> Estimates:
        rounding = roundings(d, squares.dtype) + tensor_core_roundings(d)
        bound = (
            rounding * (squares + self._neurons.largest_square) + 4 * d * TINY
        )  # each product of parts may fall below
        return Estimates(value, bound)

    @cached_property
    def _neurons(self) -> "Neurons":
        return neurons_of(self.codebook, self.metric)

    @cached_property
    def _exact(self) -> TorchSearch:
        return TorchSearch(self.codebook, self.metric)


@dataclass(frozen=True)
class Neurons:
    """A codebook as the kernel wants it.

    Attributes:
        points: In the coordinates of products, shape (m, d); 0 for a neuron that never wins or whose square overflows.
        half_squares: Half their squared lengths, shape (m,); infinite for such neurons.
        center: Of the coordinates, shape (d,).
        largest_square: The largest squared length; infinite or NaN after an overflow, which no estimate survives.
    """

    points: Tensor
    half_squares: Tensor
    center: Tensor
    largest_square: Tensor


def neurons_of(codebook: Tensor, metric: Metric) -> Neurons:
    """The neurons of a codebook (m, d); zero vectors under cosine never win."""
    points, center = product_coordinates(codebook, metric)
    squares = points.square().sum(dim=1)
    largest = largest_square(squares, metric)
    held = torch.isfinite(squares)
    return Neurons(torch.where(held[:, None], points, 0), squares.where(held, torch.inf) / 2, center, largest)


def ranked(points: Tensor, neurons: Tensor, half_squares: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k + 1` smallest scores half_squares[j] - points[i] . neurons[j] of each row, and where the first `k` stand.

    Args:
        points: Rows, float32, shape (n, d).
        neurons: Shape (m, d).
        half_squares: Shape (m,); infinite for neurons that never win.
        k: 1 or 2.

    Returns:
        Scores (n, k + 1), ascending, infinite where there are no more, and indices (n, k), of no use there. Equal
        scores rank by index. NaN never is the smallest.
    """
    from somlib.utils.fused_kernel import rank_neurons  # only now: somlib works without Triton

    n, d = points.shape
    value = points.new_empty(n, k + 1)
    index = torch.empty(n, k, dtype=torch.int64, device=points.device)
    with torch.cuda.device_of(points):  # type: ignore[no-untyped-call]  # Triton launches on the current device
        rank_neurons[(-(-n // ROWS),)](
            points.contiguous(), neurons, half_squares, value, index, n, len(neurons),
            D=d, WINNERS=k, ROWS=ROWS, NEURONS=NEURONS, FEATURES=features_at_once(d), num_warps=WARPS,
        )  # fmt: skip
    return value, index


def features_at_once(d: int) -> int:
    """How many of `d` features a tile multiplies: a power of 2, at least 16."""
    return FEATURES_OF_MANY if d > MOST_FEATURES_AT_ONCE else max(16, 1 << (d - 1).bit_length())


def tensor_core_roundings(d: int) -> float:
    """What tensor cores add to `roundings`, as a share of |x|^2 + |w|^2; derived above."""
    tile = min(d, features_at_once(d))
    return (2 * (tile + 8) + 24) * torch.finfo(torch.float32).eps / 2

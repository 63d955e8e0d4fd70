r"""The two training rules, from sums per winner.

With c_j the number and S_j the sum of the samples won by neuron j, and h the neighborhood kernel over the grid, a step
needs the smoothed sums (H S)_k = sum_j h(k, j) S_j and (H c)_k only: its cost after the search does not grow with
the number of samples.

    minibatch   w_k += alpha / b * ((H S)_k - (H c)_k w_k)      = alpha * mean over the batch of h(k, bmu) (x - w_k)
    batch       w_k  = (H S)_k / (H c)_k                        Kohonen's batch map; kept where (H c)_k is 0 or rounding

Sums are taken around a fixed center, so that an offset of the data costs no precision. A sample weight multiplies a
sample in S, c and b. A missing value counts for its feature in neither S, c nor b: c and b are then per feature.

References:
    Kohonen, Self-Organizing Maps, 3rd ed., Springer 2001, sec. 3.1 and 3.6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.neighborhood import Kernel
from somlib.utils.smoothing import Smoother
from somlib.utils.torch_search import CHUNK_ENTRIES
from somlib.utils.winners import block_entries, row_chunks

# How far outside of the data a kernel that repels may push a neuron, in ranges of each feature.
CONFINED_TO = 1.0
# Roundings of a sum over a neighborhood, beside the sizes of its terms: as many as maps of 200 x 200 have them at most.
CANCELLED = 2**10


@dataclass(frozen=True)
class WinnerSums:
    """What the samples won by each neuron add up to, around a center.

    Attributes:
        values: Sums of the samples minus the center, and beside them the samples (or their weights) that were added:
            one column, or one a feature where values are missing. Shape (m, d + 1) or (m, 2 d).
        center: What was subtracted, shape (d,).
    """

    values: Tensor
    center: Tensor

    @property
    def total(self) -> Tensor:
        """Sums of the samples minus the center, shape (m, d)."""
        return self.values[:, : len(self.center)]

    @property
    def count(self) -> Tensor:
        """Samples, or their weights, shape (m, 1), or (m, d) where features have missing values."""
        return self.values[:, len(self.center) :]

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest mean of the samples of any neuron, shape (d,) each; inf and -inf where there is none."""
        known = (self.count > 0).expand_as(self.total)
        mean = self.total / torch.where(known, self.count, 1) + self.center
        return torch.where(known, mean, torch.inf).amin(dim=0), torch.where(known, mean, -torch.inf).amax(dim=0)

    def to(self, like: Tensor) -> "WinnerSums":
        """The sums in the dtype and on the device of `like`."""
        return WinnerSums(self.values.to(like), self.center.to(like))

    def forgotten(self, factor: float) -> "WinnerSums":
        """The sums with every sample so far counted `factor` times."""
        return WinnerSums(self.values * factor, self.center)

    def merged(self, other: "WinnerSums") -> "WinnerSums":
        """The sums of both, around this center."""
        width = max(self.count.shape[1], other.count.shape[1])
        count = other.count.expand(-1, width)
        moved = other.total + count * (other.center - self.center)
        both = torch.cat((self.total + moved, self.count.expand(-1, width) + count), dim=1)
        return WinnerSums(both, self.center)


def empty_sums(m: int, center: Tensor, per_feature: bool) -> WinnerSums:
    """Sums of no samples, in the dtype and on the device of `center`."""
    d = len(center)
    return WinnerSums(center.new_zeros(m, 2 * d if per_feature else d + 1), center)


def add_samples(
    sums: WinnerSums, data: Tensor, winner: Tensor, weight: Tensor | None = None, deterministic: bool = False
) -> None:
    """Add samples to the sums, in place.

    Args:
        sums: The running sums.
        data: Samples, NaN where not observed (only if the counts are per feature), shape (b, d).
        winner: Their winners, int64, shape (b,); samples with -1 are left out.
        weight: Sample weights, shape (b,).
        deterministic: Whether CUDA must add in a fixed order; the CPU always does.
    """
    if bool((winner < 0).any()):
        has_winner = winner >= 0
        data, winner = data[has_winner], winner[has_winner]
        weight = None if weight is None else weight[has_winner]
    d = data.shape[1]
    terms = data.new_ones(len(data), sums.values.shape[1])
    torch.sub(data, sums.center, out=terms[:, :d])
    if terms.shape[1] > d + 1:
        terms[:, d:] = ~torch.isnan(data)
        terms[:, :d].nan_to_num_(nan=0.0)
    if weight is not None:
        terms.mul_(weight[:, None])
    add_terms(sums, terms, winner, deterministic)


def add_terms(sums: WinnerSums, terms: Tensor, winner: Tensor, deterministic: bool = False) -> None:
    """Add rows of centered samples and their counts (b, w) to the sums of their winners (b,), in place."""
    if not (deterministic and terms.is_cuda):
        sums.values.index_add_(0, winner, terms)
        return
    m = len(sums.values)  # atomic additions have no order; a product with the one-hot winners has
    for rows in row_chunks(len(terms), max(1, block_entries(CHUNK_ENTRIES, terms, len(terms) * m) // m)):
        sums.values.add_(torch.nn.functional.one_hot(winner[rows], m).T.to(terms.dtype) @ terms[rows])


def minibatch_step(
    codebook: Tensor, sums: WinnerSums, smoother: Smoother, kernel: Kernel, sigma: float, learning_rate: float
) -> Tensor:
    """The codebook (m, d) after one mini-batch.

    A neuron never moves past the mean of the samples that pull it: where `alpha (H c)_k / b` exceeds 1 (a learning
    rate above 1 on a narrow batch), the step ends there. Kernels that repel have no such mean; see `confined`.
    """
    total, count = _smoothed(sums, smoother, kernel, sigma)
    size = sums.count.sum(dim=0)  # (1,) or (d,)
    rate = torch.where(size > 0, learning_rate / torch.where(size > 0, size, 1), 0)
    if not kernel.signed:
        rate = torch.minimum(rate, 1 / count.clamp_min(torch.finfo(count.dtype).tiny))
    return codebook + rate * (total - count * (codebook - sums.center))


def batch_step(codebook: Tensor, sums: WinnerSums, smoother: Smoother, kernel: Kernel, sigma: float) -> Tensor:
    """The codebook (m, d) after one epoch of the batch map.

    Neurons whose denominator is 0, or under a kernel that repels negative or only what rounding leaves of terms that
    cancel, keep their weights.
    """
    total, count = _smoothed(sums, smoother, kernel, sigma)
    usable = count > _rounding(sums, smoother, kernel, sigma)
    if count.device.type == "cpu" and bool(usable.all()):  # nearly always, and one call instead of five
        return torch.addcdiv(sums.center, total, count)
    return torch.where(usable, sums.center + total / torch.where(usable, count, 1), codebook)


def _rounding(sums: WinnerSums, smoother: Smoother, kernel: Kernel, sigma: float) -> Tensor | float:
    """Up to where a denominator of the batch map may be nothing but rounding, shape of the denominators or one."""
    limits = torch.finfo(sums.values.dtype)
    if not kernel.signed:
        return limits.tiny * 2**20  # a sum of terms of one sign is as good as they are, unless they are denormal
    return CANCELLED * limits.eps * smoother.sizes(sums.count, kernel, sigma)


def confined(codebook: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The codebook within the box of the data, widened on each side by its own size.

    Only kernels that repel (mexican hat) can push neurons out of the data; unbounded, they would run to infinity.

    Args:
        codebook: Neurons, shape (m, d).
        low: Smallest value of each feature, shape (d,).
        high: Largest value of each feature, shape (d,).
    """
    reach = CONFINED_TO * (high - low)
    return torch.minimum(torch.maximum(codebook, low - reach), high + reach)


def batch_sizes(n: int, largest: int) -> list[int]:
    """Sizes of the fewest mini-batches of `n` samples, none above `largest`, differing by one at most."""
    count = -(-n // largest)
    small, larger = divmod(n, count)
    return [small + 1] * larger + [small] * (count - larger)


def _smoothed(sums: WinnerSums, smoother: Smoother, kernel: Kernel, sigma: float) -> tuple[Tensor, Tensor]:
    """H S (m, d) and H c (m, 1) or (m, d), in one smoothing."""
    smoothed = WinnerSums(smoother.smooth(sums.values, kernel, sigma), sums.center)
    return smoothed.total, smoothed.count

r"""Mean, covariance and range of rows that come block by block, in one pass.

With a shift s near the mean, z = x - s and o = 1 where x was observed (z = 0 elsewhere), the sums

    P = sum z z^T,    A = sum z o^T,    B = sum o o^T

give the mean s + diag(A) / diag(B), and, with delta = diag(A) / diag(B), the sum of squares and products around it over
what was observed of both, as `moments` of `initialization.py` takes it:

    S_ij = P_ij - delta_i A_ji - delta_j A_ij + delta_i delta_j B_ij

Products are taken in the type of the data and added up in float64.
"""

import copy

import torch
from torch import Tensor

from somlib.utils.initialization import feature_means, rows_at_a_time


class RunningMoments:
    """What is known of the rows so far.

    Args:
        squares: Whether the covariance is wanted, which costs d^2 numbers.

    Attributes:
        n: Number of rows.
        low: Smallest observed value of each feature, shape (d,); inf where there is none.
        high: Largest, -inf where there is none.
        incomplete: Whether a value was missing.
    """

    low: Tensor
    high: Tensor

    def __init__(self, squares: bool = True) -> None:
        self.n = 0
        self.incomplete = False
        self._squares = squares
        self._complete = 0  # rows without a gap, of which A and B are known from sums and their number
        self._products: Tensor | None = None
        self._crossed: Tensor | None = None
        self._both: Tensor | None = None

    def add(self, data: Tensor) -> None:
        """Take more rows (b, d), NaN where not observed."""
        if not self.n:
            self._begin(data)
        for chunk in torch.split(data, rows_at_a_time(data)):
            total = chunk.sum()
            if bool(torch.isfinite(total)):
                self._add_complete(chunk)
            else:
                self._add_incomplete(chunk)
        self.n += len(data)

    def times(self, factor: float) -> "RunningMoments":
        """Those of the rows times a factor > 0."""
        scaled = copy.copy(self)
        scaled.low, scaled.high, scaled._shift = self.low * factor, self.high * factor, self._shift * factor
        scaled._total, scaled._complete_total = self._total * factor, self._complete_total * factor
        scaled._squared = self._squared * factor**2
        scaled._products = None if self._products is None else self._products * factor**2
        scaled._crossed = None if self._crossed is None else self._crossed * factor
        return scaled

    @property
    def count(self) -> Tensor:
        """Observed values of each feature, float64, shape (d,)."""
        return self._observed + self._complete

    @property
    def mean(self) -> Tensor:
        """Mean of the observed values, float64, shape (d,); 0 where there is none."""
        mean = self._shift.double() + self._total / self.count.clamp_min(1)
        return torch.where(self.count > 0, mean, 0.0)

    @property
    def variance(self) -> Tensor:
        """Of the observed values of each feature, divided by their number, float64, shape (d,)."""
        count = self.count.clamp_min(1)
        return (self._squared / count - (self._total / count) ** 2).clamp_min(0.0)

    @property
    def covariance(self) -> Tensor:
        """Of the sample, missing values taken as the mean, float64, shape (d, d); 0 for one row."""
        assert self._products is not None
        delta = self._total / self.count.clamp_min(1)
        crossed, both = self._complete_total[:, None], delta.new_tensor(float(self._complete))
        if self._crossed is not None and self._both is not None:
            crossed, both = crossed + self._crossed, both + self._both
        moved = delta[None, :] * crossed
        scatter = self._products - moved - moved.T + torch.outer(delta, delta) * both
        return scatter / max(self.n - 1, 1)

    def _begin(self, data: Tensor) -> None:
        d, like = data.shape[1], torch.zeros(data.shape[1], dtype=torch.float64, device=data.device)
        self._shift = feature_means(data).to(data.dtype)
        self._total, self._complete_total, self._observed = like.clone(), like.clone(), like.clone()
        self._squared = like.clone()
        self.low = torch.full_like(self._shift, torch.inf)
        self.high = -self.low
        if self._squares:
            self._products = like.new_zeros(d, d)

    def _add_complete(self, chunk: Tensor) -> None:
        low, high = chunk.aminmax(dim=0)
        self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)
        centered = chunk - self._shift
        total = centered.sum(dim=0, dtype=torch.float64)
        self._total += total
        self._complete_total += total
        self._complete += len(chunk)
        self._squared += centered.square().sum(dim=0, dtype=torch.float64)
        if self._products is not None:
            self._products += centered.T @ centered

    def _add_incomplete(self, chunk: Tensor) -> None:
        gaps = torch.isnan(chunk)
        self.incomplete |= bool(gaps.any())
        self.low = torch.minimum(self.low, chunk.masked_fill(gaps, torch.inf).amin(dim=0))
        self.high = torch.maximum(self.high, chunk.masked_fill(gaps, -torch.inf).amax(dim=0))
        centered, known = (chunk - self._shift).masked_fill_(gaps, 0.0), (~gaps).to(chunk.dtype)
        self._total += centered.sum(dim=0, dtype=torch.float64)
        self._observed += known.sum(dim=0, dtype=torch.float64)
        self._squared += centered.square().sum(dim=0, dtype=torch.float64)
        if self._products is not None:
            if self._crossed is None or self._both is None:
                self._crossed, self._both = torch.zeros_like(self._products), torch.zeros_like(self._products)
            self._products += centered.T @ centered
            self._crossed += centered.T @ known
            self._both += known.T @ known

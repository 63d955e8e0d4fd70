r"""In which number type rows can be trained on.

Float32 holds numbers from 1e-38 to 3e38, and a training multiplies: differences with differences, sums of rows with an
influence that falls to 2^-40 along each axis of the grid. So it needs room on both sides. Rows whose features spread
over less than 2^-20 or more than 2^40 are taken in float64, which has it; the map is then float64, too. Beyond that
type, they are refused.
"""

import torch
from torch import Tensor

from somlib.errors import DataError

# From the smallest influence that `batch_step` divides by, 2^20 times the smallest normal number: times a spread of
# 2^-20 it still is a normal number. Above, squares and sums of many rows stay far from the largest.
FLOAT32_SPREADS = (2.0**-20, 2.0**40)
ROUNDING = 2.0**-20  # of a spread, below which a value is 0 as float32 has it
FLOAT64_SPREADS = (1e-140, 1e140)  # squares stay normal numbers


def trainable(samples: Tensor) -> Tensor:
    """The samples (n, d), NaN where not observed, in a type that a training on them does not leave.

    Returns:
        `samples` as they are, or in float64 where float32 is too narrow.

    Raises:
        DataError: A feature spreads over more, or over less but not 0, than float64 has room for.
    """
    spread = _spread(samples)
    if samples.dtype == torch.float32:
        if bool(_fits(spread, FLOAT32_SPREADS).all()):
            return samples
        samples = samples.double()
        spread = _spread(samples)
    fits = _fits(spread, FLOAT64_SPREADS)
    if bool(fits.all()):
        return samples
    low, high = FLOAT64_SPREADS
    worst = int(torch.nonzero(~fits)[0])
    raise DataError(
        f"data must spread over {low:g} to {high:g} in every feature that varies, or float64 cannot hold its squares; "
        f"got {float(spread[worst]):g} in column {worst}: use another unit"
    )


def _spread(samples: Tensor) -> Tensor:
    """Largest less smallest observed value of each feature, shape (d,); 0 where there is none."""
    low, high = samples.aminmax(dim=0)
    if bool(torch.isnan(low).any()):
        low = samples.nan_to_num(nan=torch.inf, posinf=torch.inf).amin(dim=0)
        high = samples.nan_to_num(nan=-torch.inf, neginf=-torch.inf).amax(dim=0)
        return torch.where(low > high, 0, high - low)
    return high - low


def _fits(spread: Tensor, limits: tuple[float, float]) -> Tensor:
    low, high = limits
    return (spread == 0) | ((spread >= low) & (spread <= high))


def tidied(value: float, spread: float) -> float:
    """The value, or 0 where it is only what float32 makes of 0 beside values that differ by `spread`."""
    return 0.0 if abs(value) < ROUNDING * spread else value

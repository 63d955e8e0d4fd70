"""The smallest values of each row of a block, and where they stand: what every search ends with.

On a CPU the place of a minimum is NumPy's to find: its `argmin` is vectorized, those of PyTorch are not and take four
times as long (benchmarks/README.md).
"""

import torch
from torch import Tensor


def place_of_smallest(values: Tensor) -> Tensor:
    """Where the smallest value of each row (b, m) stands, int64, shape (b,): the first of equals, NaN before all."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().argmin(axis=1))
    return values.argmin(dim=1)


def smallest(values: Tensor, k: int, ties: float = 0.0, one_more: bool = True) -> tuple[Tensor, Tensor]:
    """The `k + 1` smallest of each row, and where the first `k` stand; ties go to the lowest index, NaN never wins.

    Args:
        values: Shape (b, m); overwritten.
        k: How many, at least 1; beyond m there is nothing.
        ties: Values that differ by less than `ties` times the root of the smaller count as equal.
        one_more: Whether the value after the `k` smallest is wanted; else infinity comes in its place.

    Returns:
        Values (b, k + 1), ascending, and indices (b, k): infinity and -1 where there is no (further) finite value.
    """
    value = values.new_full((len(values), k + 1), torch.inf)
    index = torch.empty(len(values), k, dtype=torch.int64, device=values.device)
    for rank in range(k):
        best = place_of_smallest(values)[:, None]
        found = values.gather(1, best)
        if rank == 0 and not bool((found > -torch.inf).all()):  # NaN, or what overflowed
            values = values.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
            return smallest(values.masked_fill_(torch.isinf(values), torch.inf), k, ties, one_more)
        if ties:
            reach = found + ties * found.sqrt() + ties**2
            best = (values <= reach).to(torch.uint8).argmax(dim=1, keepdim=True)
        value[:, rank, None], index[:, rank, None] = found, best.masked_fill(torch.isinf(found), -1)
        if rank < k - 1 or one_more:
            values.scatter_(1, best, torch.inf)
    if one_more:
        value[:, k] = values.amin(dim=1)
    return value, index

r"""Random orders of row numbers, as long as they are needed.

Up to a million rows an order is a permutation drawn as a whole. Beyond, drawing one takes longer than a short step on
some of the rows, and holding it more than the rows of that step; so the order is a function of the place in it that is
computed for the wanted places only: a Feistel network of some rounds on the bits of the place, which permutes the
numbers below 4^k, followed from any that is not below n until one is (Black and Rogaway 2002).

References:
    Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, sec. 4 (cycle walking).
"""

import torch
from torch import Tensor

DRAWN_AS_A_WHOLE = 2**20  # rows
ROUNDS = 6
MIXING = 0x45D9F3B  # of 27 bits, so that products with numbers of 32 bits fit into 63


def random_rows(n: int, generator: torch.Generator, count: int | None = None) -> Tensor:
    """The first `count` row numbers, or all, of a random order of n, int64, shape (count,).

    Args:
        n: Number of rows.
        generator: Source of the order, on the CPU; it moves on by the same amount whatever `count` is.
        count: None for n.
    """
    return RandomOrder(n, generator).rows(0, n if count is None else count)


class RandomOrder:
    """A random order of row numbers.

    Args:
        n: Number of rows.
        generator: Source of the order, on the CPU.
    """

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n = n
        self._all = torch.randperm(n, generator=generator) if n <= DRAWN_AS_A_WHOLE else None
        self._keys = [] if n <= DRAWN_AS_A_WHOLE else _keys(generator)
        self._half = (max(n - 1, 1).bit_length() + 1) // 2  # bits

    def rows(self, start: int, stop: int) -> Tensor:
        """The row numbers from one place in the order up to another, int64, shape (stop - start,)."""
        if self._all is not None:
            return self._all[start:stop]
        rows = self._permuted(torch.arange(start, stop))
        while bool((beyond := rows >= self.n).any()):
            rows[beyond] = self._permuted(rows[beyond])
        return rows

    def _permuted(self, numbers: Tensor) -> Tensor:
        """A permutation of the numbers below 4^half."""
        mask = (1 << self._half) - 1
        left, right = numbers >> self._half, numbers & mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        return (left << self._half) | right


def _keys(generator: torch.Generator) -> list[int]:
    return torch.randint(2**32, (ROUNDS,), generator=generator).tolist()


def _mixed(numbers: Tensor) -> Tensor:
    """Numbers below 2^32 with their bits mixed, by multiplications and shifts."""
    for _ in range(2):
        numbers = ((numbers ^ (numbers >> 16)) * MIXING) & 0xFFFFFFFF
    return numbers ^ (numbers >> 16)

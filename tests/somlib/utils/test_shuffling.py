"""Random orders of row numbers, drawn as a whole or place by place."""

import numpy as np
import pytest
import torch

from somlib.utils import shuffling as module
from somlib.utils.shuffling import RandomOrder, random_rows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_few_rows_are_a_permutation_of_torch() -> None:
    expected = torch.randperm(50, generator=seeded())
    assert random_rows(50, seeded(), 7).tolist() == expected[:7].tolist()
    assert random_rows(50, seeded()).tolist() == expected.tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 63, 64, 65, 1_000, 4_097])
def test_many_rows_come_once_each_wherever_one_looks(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAWN_AS_A_WHOLE", 0)
    order = RandomOrder(n, seeded(n))
    rows = order.rows(0, n)
    assert sorted(rows.tolist()) == list(range(n))
    assert order.rows(n // 3, n // 2).tolist() == rows[n // 3 : n // 2].tolist()


def test_a_part_of_many_rows_is_spread_over_all_of_them() -> None:
    n, parts, taken = 3_000_000, 64, 20_000
    for seed in range(3):
        rows = random_rows(n, seeded(seed), taken).numpy()
        assert len(np.unique(rows)) == taken
        counts = np.bincount(rows * parts // n, minlength=parts)
        expected = taken / parts  # chi-squared of 63 degrees: beyond 110 in one of five thousand
        assert np.square(counts - expected).sum() / expected < 110
        assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.03
    assert random_rows(n, seeded(0), 5).tolist() != random_rows(n, seeded(1), 5).tolist()


def test_the_generator_moves_on_by_the_same_amount_however_many_rows_are_asked_for() -> None:
    for n in (10, 2_000_000):
        after = []
        for count in (1, 9):
            generator = seeded()
            random_rows(n, generator, count)
            after.append(int(torch.randint(2**40, (), generator=generator)))
        assert after[0] == after[1]

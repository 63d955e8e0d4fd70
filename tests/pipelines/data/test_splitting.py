"""Which rows are held out, against sorting and counting all of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.data import splitting as module
from pipelines.data.splitting import HeldOut, newest_from

RNG = np.random.default_rng(0)
TIMES: dict[str, NDArray] = {
    "nanoseconds": RNG.integers(1_700_000_000 * 10**9, 1_701_000_000 * 10**9, 3_000),
    "days": RNG.integers(0, 20, 3_000),
    "far apart": np.concatenate([[-(2**62), 2**62], RNG.integers(0, 1_000, 2_998)]),
    "fractions": np.concatenate([RNG.normal(size=2_990) * 1e-3, [0.0, -0.0, 1e300, -1e300, 5.0, 5.0, 5.0, -2.0, 1, 2]]),
    "one": np.array([7]),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("ample", [False, True])
def test_the_newest_rows_begin_where_they_do_when_all_times_are_sorted(
    name: str, ample: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ample:
        monkeypatch.setattr(module, "COUNTED", 16)
        monkeypatch.setattr(module, "SORTED", 10)
    times = TIMES[name]
    for count in {1, len(times) // 3 + 1, len(times)}:
        found = newest_from(lambda: np.array_split(times, 7), len(times), count)
        assert found == np.sort(times)[len(times) - count]


def test_rows_are_held_out_by_chance_the_same_ones_in_whatever_parts_they_come() -> None:
    for n in (1_000, 2_000_000):
        rule = HeldOut(n, n // 5, seed=3)
        whole = rule.among(0, n)
        assert np.array_equal(np.concatenate([rule.among(0, 300), rule.among(300, n - 300)]), whole)
        assert abs(whole.sum() - n // 5) < 4 * np.sqrt(n * 0.16)
        assert not np.array_equal(HeldOut(n, n // 5, seed=4).among(0, n), whole)
        by_place = np.add.reduceat(whole, np.arange(0, n, n // 100))
        spread = np.sqrt(n / 100 * 0.16)  # of each hundredth
        assert np.abs(by_place - n / 500).max() < 5 * spread
    assert not HeldOut(10, 0).among(0, 10).any()


def test_few_rows_are_those_of_a_permutation() -> None:
    expected = np.zeros(50, dtype=bool)
    expected[np.random.default_rng(9).permutation(50)[:10]] = True
    assert np.array_equal(HeldOut(50, 10, seed=9).among(0, 50), expected)

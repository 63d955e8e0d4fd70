import numpy as np
import polars as pl
import pytest

from pipelines.data.likeness import COPIES, SAME, as_numbers, say_the_same, summands, there_with

RANDOM = np.random.default_rng(0)
CODES = RANDOM.integers(0, 3, 200)
VALUES = RANDOM.normal(size=200)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (pl.Series(CODES).replace_strict({0: "x", 1: "y", 2: "z"}), True),
        (pl.Series(CODES * 2.0 + 5), True),
        (pl.Series(CODES == 1), False),  # two of its values are one here
        (pl.Series(RANDOM.permutation(CODES)), False),
        (pl.Series(np.where(np.arange(200) < 100, CODES.astype(float), np.nan)), False),  # half of it is missing
    ],
)
def test_columns_say_the_same_where_each_value_goes_with_one_of_the_other(other: pl.Series, expected: bool) -> None:
    assert say_the_same(as_numbers(pl.Series(CODES)), as_numbers(other), SAME) is expected


def test_numbers_that_are_linear_in_each_other_say_the_same_and_near_ones_only_copy() -> None:
    celsius = as_numbers(pl.Series(VALUES))
    assert say_the_same(celsius, as_numbers(pl.Series(VALUES * 1.8 + 32)), SAME)
    near = as_numbers(pl.Series(VALUES + 1e-4 * RANDOM.normal(size=200)))
    assert say_the_same(celsius, near, COPIES)
    assert not say_the_same(celsius, near, SAME)


def test_a_value_that_is_there_where_the_target_is_high_comes_after_it() -> None:
    target = as_numbers(pl.Series(CODES > 0))
    assert there_with(as_numbers(pl.Series(["boat" if code else None for code in CODES])), target)
    assert not there_with(as_numbers(pl.Series(np.where(VALUES > 0, VALUES, np.nan))), target)
    assert not there_with(as_numbers(pl.Series(VALUES)), target)


def test_two_columns_that_add_up_to_the_target_are_found() -> None:
    parts = {name: as_numbers(pl.Series(RANDOM.integers(0, 50, 200))) for name in ("casual", "registered", "other")}
    total = as_numbers(pl.Series(parts["casual"].values + parts["registered"].values))
    assert summands(total, parts) == ("casual", "registered")
    assert summands(as_numbers(pl.Series(VALUES)), parts) == ()


def test_what_a_few_of_many_rows_do_not_show_is_looked_at_in_all() -> None:
    rare = np.zeros(5_000)
    rare[[1, 7, 23, 1_003, 4_999]] = VALUES[:5]  # never among every fifth row
    other = np.zeros(5_000)
    other[[1, 7]] = VALUES[:2]
    twin = as_numbers(pl.Series(2 * rare + 1))
    assert say_the_same(as_numbers(pl.Series(rare)), twin, SAME)
    assert not say_the_same(as_numbers(pl.Series(other)), twin, SAME)
    broken = np.arange(5_000.0)
    total = as_numbers(pl.Series(broken + rare))
    assert summands(total, {"a": as_numbers(pl.Series(broken)), "b": as_numbers(pl.Series(rare))}) == ("a", "b")
    assert summands(total, {"a": as_numbers(pl.Series(broken)), "b": as_numbers(pl.Series(other))}) == ()

import base64
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.report.rows import row_numbers
from somlib.utils.grid import Grid
from tests.pipelines.report_content import make_rows

GRID = Grid(3, 4)


def decoded(text: str, dtype: str) -> list[int]:
    numbers: list[int] = np.frombuffer(base64.b64decode(text), dtype).tolist()
    return numbers


def test_neurons_are_flat_indices_and_none_is_the_largest_number() -> None:
    found = row_numbers(make_rows([0, 7, -1, 11], 4), GRID)
    assert found is not None
    assert (found["count"], found["step"]) == (4, 1)
    assert decoded(found["neurons"], "<u2") == [0, 7, 65_535, 11]
    assert "seconds" not in found


def test_of_a_part_of_the_rows_the_step_from_one_to_the_next_is_told() -> None:
    found = row_numbers(make_rows([0, 7, 3], 4).with_columns(sample=pl.Series([0, 20, 40])), GRID)
    assert found is not None
    assert (found["count"], found["step"]) == (3, 20)
    one = row_numbers(make_rows([5], 4), GRID)
    assert one is not None
    assert one["step"] == 1


def test_held_out_rows_are_bits_from_the_lowest() -> None:
    heldout = [i in (1, 8) for i in range(10)]
    found = row_numbers(make_rows([0] * 10, 4, heldout=heldout), GRID)
    assert found is not None
    assert decoded(found["heldout"], "u1") == [0b10, 0b1]


@pytest.mark.parametrize(
    ("time", "first", "seconds", "zone"),
    [
        (pl.Series([datetime(2024, 1, 1, 0, 0, 5), datetime(2024, 1, 1)]), datetime(2024, 1, 1), [5, 0], ""),
        (pl.Series([date(2024, 1, 2), date(2024, 1, 1)]), datetime(2024, 1, 1), [86_400, 0], ""),
        (
            pl.Series([datetime(2024, 7, 1, 10), datetime(2024, 7, 1, 11)])
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Europe/Berlin"),
            datetime(2024, 7, 1, 12),
            [0, 3600],
            "Europe/Berlin",
        ),
    ],
    ids=["datetime", "date", "zone"],
)
def test_times_are_seconds_on_the_clocks_of_their_zone(
    time: Any, first: datetime, seconds: list[int], zone: str
) -> None:
    found = row_numbers(make_rows([0, 1], 4, time=time), GRID)
    assert found is not None
    assert found["first"] == int((first - datetime(1970, 1, 1)).total_seconds())
    assert (decoded(found["seconds"], "<u4"), found["zone"]) == (seconds, zone)


def test_a_time_that_is_a_number_or_spans_more_than_136_years_is_left_out() -> None:
    for time in ([1, 2], [datetime(1800, 1, 1), datetime(2024, 1, 1)]):
        found = row_numbers(make_rows([0, 1], 4, time=time), GRID)
        assert found is not None
        assert "seconds" not in found


def test_there_is_nothing_to_find_without_rows_or_on_a_map_too_large_for_two_bytes() -> None:
    assert row_numbers(None, GRID) is None
    assert row_numbers(make_rows([], 4), GRID) is None
    assert row_numbers(make_rows([0], 300), Grid(300, 300)) is None

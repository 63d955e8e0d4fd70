from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from pipelines.data.labels import label, labels, moments, numbers, truth


@pytest.mark.parametrize("value", [3, 3.0, "3", Decimal("3.00"), b"3"])
def test_a_value_has_one_label_whatever_type_a_file_or_a_request_gives_it(value: Any) -> None:
    assert label(value) == "3"


def test_labels_of_other_values_are_their_usual_text() -> None:
    values = [True, False, 2.5, date(2024, 3, 1), "Nice ", float("inf")]
    assert list(map(label, values)) == ["true", "false", "2.5", "2024-03-01", "Nice ", "inf"]


def test_null_nan_and_an_empty_text_have_no_label() -> None:
    assert labels(pl.Series(["a", "", None])).to_list() == ["a", None, None]
    assert labels(pl.Series([1.0, float("nan"), None])).to_list() == ["1", None, None]
    assert labels(pl.Series([None, None])).to_list() == [None, None]


def test_truth_is_read_from_what_files_write_for_it() -> None:
    assert truth(pl.Series(["Yes", "no", "TRUE", "f", None])).to_list() == [1.0, 0.0, 1.0, 0.0, None]
    assert truth(pl.Series([1, 0, None])).to_list() == truth(pl.Series([True, False, None])).to_list() == [1, 0, None]
    with pytest.raises(ValueError, match="must hold true and false, yes and no, or 1 and 0, got 'maybe'"):
        truth(pl.Series(["yes", "maybe"]))
    with pytest.raises(ValueError, match="got '2'"):
        truth(pl.Series([2.0]))


def test_numbers_in_texts_are_read_and_blank_ones_are_missing() -> None:
    assert numbers(pl.Series(["1.5", " ", "2", None])).to_list() == [1.5, None, 2.0, None]
    for odd in ("1_000", "x"):
        with pytest.raises(ValueError, match=f"must hold numbers, got '{odd}'"):
            numbers(pl.Series(["1", odd]))


def test_moments_are_those_of_the_zone_whatever_they_come_as() -> None:
    expected = [datetime(2024, 7, 1, 14, 30), None]
    for texts in (["2024-07-01T12:30:00Z", None], ["2024-07-01 14:30+02:00", " "]):
        assert moments(pl.Series(texts), "Europe/Paris").dt.replace_time_zone(None).to_list() == expected
    aware = pl.Series([datetime(2024, 7, 1, 12, 30, tzinfo=UTC), None])
    assert moments(aware, "Europe/Paris").dt.replace_time_zone(None).to_list() == expected
    assert moments(pl.Series(["2024-07-01T14:30:00+02:00"]), None).dt.hour().to_list() == [12]
    assert moments(pl.Series([date(2024, 7, 1)]), None).to_list() == [datetime(2024, 7, 1)]
    with pytest.raises(ValueError, match=r"must hold dates or times such as .*, got '1/7/24'"):
        moments(pl.Series(["1/7/24"]), None)
    with pytest.raises(ValueError, match="must hold dates or times, got the type Int64"):
        moments(pl.Series([3]), None)

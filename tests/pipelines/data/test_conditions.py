import polars as pl
import pytest

from pipelines.data.conditions import parsed
from pipelines.errors import DatasetError

ROWS = pl.DataFrame({"a": [1.0, 2, None], "b": [3.0, 2, 1], "s": ["x", "y", "xy"], "^a.*$": [9, 8, 7], "*": [1, 2, 3]})


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("a > 1", [1]),
        ("a IS NULL OR b = 3", [0, 2]),
        ("s LIKE 'x%' AND b IN (1, 3)", [0, 2]),
        ("b % 2 = 1 AND NOT (s = 'x')", [2]),
        ("CASE WHEN a > 1 THEN TRUE ELSE FALSE END", [1]),
        ("GREATEST(a, b) >= 2 AND COALESCE(a, 5) > 1", [1]),
        ('"^a.*$" = 8', [1]),
        ('"*" = 3', [2]),
        ("TRUE", [0, 1, 2]),
        ("1 = 2", []),
    ],
)
def test_rows_are_kept_for_which_the_condition_holds(where: str, kept: list[int]) -> None:
    assert parsed(where, ROWS.columns).kept(ROWS).equals(ROWS[kept])


def test_a_condition_knows_its_columns_by_their_own_names() -> None:
    assert set(parsed('"^a.*$" = 8 AND b > 1', ROWS.columns).columns) == {"^a.*$", "b"}


@pytest.mark.parametrize(
    "where",
    [
        "a > AVG(a)",
        "b > 1 AND a = MAX(a)",
        "COUNT(*) > 1",
        "SUM(a) OVER (PARTITION BY s) > 1",
        "a > LAG(a) OVER (ORDER BY b)",
        "ROW_NUMBER() OVER (ORDER BY a) > 1",
        "RANK() OVER (ORDER BY a) = 1",
        "FIRST(a) = a",
    ],
)
def test_a_condition_on_other_rows_is_refused_for_rows_are_read_in_parts(where: str) -> None:
    with pytest.raises(DatasetError, match="must be decided for each row by itself"):
        parsed(where, ROWS.columns)

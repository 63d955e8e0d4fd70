"""Windows against the rows that they select, counted in the frame itself."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.data import find_source, partitions, survey
from pipelines.data.window import choose_window
from pipelines.errors import DatasetError
from pipelines.settings.config import load_config
from pipelines.settings.sections import DataConfig, WindowConfig
from tests.pipelines.conftest import WEATHER, WriteDataset, table

HOURLY = table(10 * 24)  # ten days from 2024-01-01


@pytest.fixture
def file(write: WriteDataset) -> Path:
    return write(HOURLY.sample(fraction=1, shuffle=True, seed=1))


@pytest.fixture
def months(write: WriteDataset) -> Path:
    """Three months over a turn of the year, a day of hours in each."""
    for i, folder in enumerate(("year=2023/month=11", "year=2023/month=12", "year=2024/month=01")):
        path = write(table(24).with_columns(pl.col("time").dt.offset_by(f"{i}mo")), f"parts/{folder}/x.parquet")
    return path.parents[2]


def data_config(path: Path, **settings: Any) -> DataConfig:
    return DataConfig.model_validate({"path": str(path), "features": ["a", "b"]} | settings)


def rows(config: DataConfig, column: str) -> list[Any]:
    """What a part of the window holds, read the way a flow reads it."""
    assert config.holdout == 0
    return pl.concat(list(find_source(config).rows.batches([column])))[column].sort().to_list()


def chosen(config: DataConfig, column: str, **settings: Any) -> tuple[list[Any], list[Any]]:
    window = choose_window(config, WindowConfig.model_validate(settings))
    return rows(window.train, column), rows(window.heldout, column)


def refusal(config: DataConfig, **settings: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        choose_window(config, WindowConfig.model_validate(settings))
    (line,) = caught.value.problems
    return line


# ---------------------------------------------------------------- by time


def test_all_rows_are_cut_where_the_newest_share_begins(file: Path) -> None:
    train, judge = chosen(data_config(file, time="time", holdout=0.25), "time")
    assert train == HOURLY["time"][:180].to_list()
    assert judge == HOURLY["time"][180:].to_list()


def test_rows_of_one_moment_stay_together_and_judge(write: WriteDataset) -> None:
    path = write(pl.DataFrame({"t": [1, 2, 3, 3, 3], "a": 1.0, "b": 2.0}))
    assert chosen(data_config(path, time="t", holdout=0.2), "t") == ([1, 2], [3, 3, 3])


def test_a_sliding_window_holds_the_newest_time_with_what_judges(file: Path) -> None:
    train, judge = chosen(data_config(file, time="time"), "time", mode="sliding", length="3d", holdout="12h")
    assert train == HOURLY["time"][-72:-12].to_list()
    assert judge == HOURLY["time"][-12:].to_list()


def test_a_growing_window_ends_before_a_time_with_or_without_a_zone(file: Path) -> None:
    config = data_config(file, time="time")
    for until in ("2024-01-05T00:00:00", "2024-01-05", "2024-01-05T02:00:00+02:00", datetime(2024, 1, 5, tzinfo=UTC)):
        train, judge = chosen(config, "time", mode="growing", until=until, holdout="1d")
        assert (train, judge) == (HOURLY["time"][:72].to_list(), HOURLY["time"][72:96].to_list())


def test_bounds_of_the_data_itself_stay(file: Path) -> None:
    config = data_config(file, time="time", start="2024-01-03", end="2024-01-09", where="a > 0")
    train, judge = chosen(config, "time", mode="sliding", length="9w", holdout="2d")
    inside = HOURLY.filter(pl.col("a") > 0)["time"].to_list()
    first, last = datetime(2024, 1, 3), max(t for t in inside if t < datetime(2024, 1, 9))
    expected = [t for t in inside if first <= t <= last]
    assert sorted(train + judge) == expected
    assert judge == [t for t in expected if (last - t).total_seconds() < 2 * 86400]


def test_days_count_as_days_where_the_column_holds_dates(write: WriteDataset) -> None:
    daily = HOURLY.group_by(pl.col("time").dt.date(), maintain_order=True).first()
    config = data_config(write(daily), time="time")
    train, judge = chosen(config, "time", mode="sliding", length="5d", holdout="2d")
    assert (train, judge) == (daily["time"][-5:-2].to_list(), daily["time"][-2:].to_list())


def test_a_column_with_a_zone_and_nanoseconds_is_cut_alike(write: WriteDataset) -> None:
    zoned = HOURLY.with_columns(pl.col("time").dt.cast_time_unit("ns").dt.replace_time_zone("Europe/Paris"))
    train, judge = chosen(data_config(write(zoned), time="time"), "time", mode="sliding", length="2d", holdout="6h")
    assert (train, judge) == (zoned["time"][-48:-6].to_list(), zoned["time"][-6:].to_list())


# ---------------------------------------------------------------- by partition


def test_partitions_are_counted_from_the_newest_by_number_over_the_years(months: Path) -> None:
    config = data_config(months, features=["a", "year", "month"])
    assert partitions(config).rows() == [(2023, 11), (2023, 12), (2024, 1)]
    train, judge = chosen(config, "month", mode="sliding", length=2, holdout=1)
    assert (set(train), set(judge)) == ({12.0}, {1.0})
    train, judge = chosen(config, "month", holdout=1)
    assert (set(train), set(judge)) == ({11.0, 12.0}, {1.0})


def test_a_partition_as_end_counts_along(months: Path) -> None:
    config = data_config(months, features=["a", "month"])
    for until in ("month=12", "year=2023/month=12", "year=2023"):
        train, judge = chosen(config, "month", mode="growing", until=until, holdout=1)
        assert (set(train), set(judge)) == ({11.0}, {12.0})


@pytest.mark.parametrize("names", [["day=2024-01-09", "day=2024-01-10"], ["week=W09", "week=W1'0"]])
def test_dates_and_letters_have_their_own_order(names: list[str], write: WriteDataset) -> None:
    for i, name in enumerate(names):
        path = write(table(5).with_columns(a=pl.lit(float(i))), f"parts/{name}/x.parquet")
    train, judge = chosen(data_config(path.parents[1]), "a", holdout=1)
    assert (set(train), set(judge)) == ({0.0}, {1.0})


def test_a_condition_on_the_rows_holds_beside_that_of_the_window(months: Path) -> None:
    config = data_config(months, features=["a", "month"], where="month = 11 or month = 12")
    train, judge = chosen(config, "month", mode="growing", holdout=1)
    assert (set(train), set(judge)) == ({11.0}, {12.0})


def test_partitions_and_times_may_be_mixed(months: Path) -> None:
    config = data_config(months, features=["a", "month"], time="time")
    window = choose_window(config, WindowConfig(mode="sliding", length=2, holdout="6h"))
    assert len(rows(window.train, "month")) == 24 + 18
    assert rows(window.heldout, "month") == [1.0] * 6


def test_fewer_partitions_than_asked_for_are_all_taken_and_told(months: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, judge = chosen(data_config(months, features=["a", "month"]), "month", mode="sliding", length=9, holdout=1)
    assert len(train) + len(judge) == 72
    assert "window.length=9: only 3 partitions are there, all are taken: there are 3 partitions from" in caplog.text


def test_the_shipped_data_can_be_cut_by_both_of_its_orders() -> None:
    frame = pl.read_parquet(WEATHER.parent / "weather")
    data = load_config(WEATHER).data
    for settings, train, judge in (
        ({"length": 3, "holdout": 1}, (10, 11), (12,)),
        ({"length": 6, "holdout": 2, "until": "month=09"}, (4, 5, 6, 7), (8, 9)),
    ):
        window = choose_window(data, WindowConfig(mode="sliding", **settings))
        counted = [survey(find_source(part), False).found for part in (window.train, window.heldout)]
        assert counted == [int(frame["month"].is_in(months).sum()) for months in (train, judge)]
    window = choose_window(data, WindowConfig(mode="sliding", length="90d", holdout="7d"))
    age = frame.select((pl.col("time").max() - pl.col("time")).dt.total_hours())["time"]
    counted = [survey(find_source(part), False).found for part in (window.train, window.heldout)]
    assert counted == [int(((age >= 7 * 24) & (age < 90 * 24)).sum()), int((age < 7 * 24).sum())]


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_cut_is_told_with_what_there_is(file: Path, months: Path, write: WriteDataset) -> None:
    timed, parted = data_config(file, time="time"), data_config(months)
    number = data_config(write(pl.DataFrame({"t": [1, 2], "a": 1.0, "b": 2.0}), "n/x.parquet"), time="t")
    dated = "times from 2024-01-01 00:00:00 to 2024-01-10 23:00:00"
    there = "3 partitions from year=2023/month=11 to year=2024/month=1"
    assert refusal(timed, mode="sliding", length=3).startswith("window.length=3 counts partitions, and no folder of ")
    assert refusal(parted, holdout="90d") == "window.holdout=90d needs data.time, the column of dates or times"
    assert refusal(number, holdout="90d").endswith("needs dates or times in data.time, got numbers from 1 to 2")
    assert refusal(parted).startswith(
        "window.holdout must be given as a number of partitions, for data.time is not set"
    )
    assert refusal(parted, mode="growing", until="month=06", holdout=1).endswith(f"{months}: there are {there}")
    assert (
        refusal(parted, holdout=3) == f"window: no row is left to train on with mode=full, holdout=3: there are {there}"
    )
    assert refusal(timed, mode="growing", until="2023-05-05").endswith(f"no row before it: there are {dated}")
    assert (
        refusal(timed, holdout="3w")
        == f"window: no row is left to train on with mode=full, holdout=3w: there are {dated}"
    )
    assert "leaves no row to hold out" in refusal(data_config(file, time="time", holdout=0))


def test_partitions_that_are_not_in_the_order_of_time_are_refused(write: WriteDataset) -> None:
    write(HOURLY[:100], "parts/site=b/x.parquet")
    path = write(HOURLY[50:150], "parts/site=a/x.parquet").parents[1]
    assert "the partitions are not in the order of time" in refusal(data_config(path, time="time"), holdout=1)

"""Lags and rolling means against their definitions as loops over all rows."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data import find_source, read_dataset, survey
from pipelines.data.window import choose_window
from pipelines.data.window_rows import read_window
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import DataConfig, WindowConfig
from pipelines.training.plan import prepare
from tests.pipelines.data.reading import problems, read, wanted

START = datetime(2024, 3, 30)
LAG = {"kind": "lag", "of": "load", "by": "3h"}
MEAN = {"kind": "rolling_mean", "of": "load", "over": "4h"}
LATE = {"kind": "rolling_mean", "of": "load", "over": "4h", "by": "2h"}
SHORT = {"kind": "lag", "of": "load", "by": "3h", "oldest": "4h"}
COLUMNS = {"lag": LAG, "mean": MEAN, "late": LATE, "short": SHORT}
HOUR = timedelta(hours=1)
Row = tuple[str | None, datetime, float | None]  # series, time, load


def by_hand(rows: list[Row], name: str, row: Row, by_series: bool) -> float:
    """What a row takes from all rows, by the definition of each of `COLUMNS`."""
    ages = [
        (row[1] - time, load) for series, time, load in rows if load is not None and (not by_series or series == row[0])
    ]
    if name in ("lag", "short"):
        within = [(age, load) for age, load in ages if 3 * HOUR <= age <= (4 if name == "short" else 6) * HOUR]
        newest = min((age for age, _ in within), default=None)
        values = [load for age, load in within if age == newest]
    elif name == "mean":
        values = [load for age, load in ages if timedelta(0) < age <= 4 * HOUR]
    else:
        values = [load for age, load in ages if 2 * HOUR <= age < 6 * HOUR]
    return float(np.mean(values)) if values else np.nan


def written(folder: Path, rows: list[Row], parts: int = 2) -> Path:
    """The rows in some files, in the order given."""
    folder.mkdir(exist_ok=True)
    for part, chosen in enumerate(np.array_split(np.arange(len(rows)), parts)):
        series, time, load = (
            (list(column) for column in zip(*(rows[i] for i in chosen), strict=True)) if len(chosen) else ([], [], [])
        )
        frame = pl.DataFrame(
            {
                "series": pl.Series(series, dtype=pl.String),
                "when": pl.Series(time, dtype=pl.Datetime("us")),
                "load": pl.Series(load, dtype=pl.Float64),
            }
        )
        frame.with_columns(x=pl.col("when").dt.hour().cast(pl.Float64)).write_parquet(folder / f"{part}.parquet")
    return folder


def past_of(path: Path, columns: dict[str, Any] | None = None, **options: Any) -> np.ndarray:
    """The features that look back, in the order of `columns`, one line a row."""
    columns = COLUMNS if columns is None else columns
    return read(path, features=["x", *columns], columns=columns, time="when", **options).features[:, 1:]


MINUTES = st.integers(0, 40 * 60)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        MINUTES.map(lambda minutes: START + timedelta(minutes=10 * (minutes // 10))),
        st.none() | st.floats(-100, 100, width=32),
    ),
    min_size=2,
    max_size=40,
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, by_series=st.booleans())
def test_irregular_rows_with_gaps_and_repeated_times_follow_the_definition(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], by_series: bool
) -> None:
    path = written(tmp_path_factory.mktemp("rows"), rows)
    columns = {name: said | ({"series": "series"} if by_series else {}) for name, said in COLUMNS.items()}
    expected = [[by_hand(rows, name, row, by_series) for name in COLUMNS] for row in rows]
    np.testing.assert_allclose(past_of(path, columns), expected, rtol=1e-6, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, now=MINUTES, seed=st.integers(0, 99))
def test_what_happens_from_a_moment_on_changes_no_row_up_to_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], now: int, seed: int
) -> None:
    moment, rng = START + timedelta(minutes=now), np.random.default_rng(seed)
    changed = [row if row[1] < moment else (row[0], row[1], float(rng.normal(0, 1e6))) for row in rows]
    later = [("b", moment + timedelta(minutes=int(rng.integers(0, 300))), 1e9) for _ in range(3)]
    before = past_of(written(tmp_path_factory.mktemp("before"), rows))
    after = past_of(written(tmp_path_factory.mktemp("after"), [*changed, *later]))
    known = [i for i, row in enumerate(rows) if row[1] <= moment]
    np.testing.assert_array_equal(before[known], after[known])  # to the bit


HOURLY: list[Row] = [("a", START + i * HOUR, float(i * i % 17)) for i in range(60)]


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled"])
def test_the_order_of_rows_and_files_changes_nothing(tmp_path: Path, order: str) -> None:
    positions = {
        "sorted": np.arange(60),
        "reversed": np.arange(60)[::-1],
        "shuffled": np.random.default_rng(0).permutation(60),
    }
    rows = [HOURLY[i] for i in positions[order]]
    expected = [[by_hand(HOURLY, name, row, by_series=False) for name in COLUMNS] for row in rows]
    np.testing.assert_allclose(past_of(written(tmp_path, rows, parts=3)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "kind", [pl.Date, pl.Datetime("ms"), pl.Datetime("ns"), pl.Datetime("us", "Europe/Berlin")], ids=str
)
def test_times_of_every_kind_are_looked_back_on(tmp_path: Path, kind: Any) -> None:
    days = [datetime(2024, 3, 29, tzinfo=UTC) + timedelta(days=i) for i in range(6)]  # the clocks change on the 31st
    when = pl.Series("when", [day.replace(tzinfo=None) for day in days])
    zone = getattr(kind, "time_zone", None)
    when = when.dt.replace_time_zone("UTC").cast(kind) if zone else when.cast(kind)
    pl.DataFrame([when]).with_columns(load=pl.arange(6).cast(pl.Float64), x=pl.arange(6) % 2).write_parquet(
        tmp_path / "d.parquet"
    )
    columns = {
        "lag": {"kind": "lag", "of": "load", "by": "2d"},
        "mean": {"kind": "rolling_mean", "of": "load", "over": "2d"},
    }
    found = past_of(tmp_path, columns)
    np.testing.assert_array_equal(found[:, 0], [np.nan, np.nan, 0, 1, 2, 3])
    np.testing.assert_array_equal(found[:, 1], [np.nan, 0, 0.5, 1.5, 2.5, 3.5])


def test_a_part_of_the_data_looks_back_beyond_its_start(tmp_path: Path) -> None:
    path = written(tmp_path, HOURLY)
    config = wanted(path, features=["x", *COLUMNS], columns=COLUMNS, time="when", holdout=0.25)
    window = choose_window(config, WindowConfig(mode="sliding", length="40h"))
    rows = read_window(window, "error")
    expected = [[by_hand(HOURLY, name, row, by_series=False) for name in COLUMNS] for row in HOURLY[20:]]
    np.testing.assert_allclose(rows.dataset.features[:, 1:], expected, rtol=1e-6)
    assert rows.train_count == 30


def test_partitions_look_back_into_older_ones(tmp_path: Path) -> None:
    for day in range(3):
        (tmp_path / f"day={day}").mkdir()
        written(tmp_path / f"day={day}", HOURLY[20 * day : 20 * day + 20], parts=1)
    config = wanted(tmp_path, features=["x", *COLUMNS], columns=COLUMNS, time="when")
    window = choose_window(config, WindowConfig(mode="sliding", length=2, holdout=1))
    expected = [[by_hand(HOURLY, name, row, by_series=False) for name in COLUMNS] for row in HOURLY[20:]]
    np.testing.assert_allclose(read_window(window, "error").dataset.features[:, 1:], expected, rtol=1e-6)


def test_the_configured_data_are_all_there_is(tmp_path: Path) -> None:
    rows = [*HOURLY, ("b", START + HOUR / 2, 1e6)]
    found = past_of(written(tmp_path, rows), where="series = 'a'", start=START + 2 * HOUR)
    expected = [[by_hand(HOURLY[2:], name, row, by_series=False) for name in COLUMNS] for row in HOURLY[2:]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_first_rows_without_a_past_are_refused_masked_or_left_out_with_their_number(tmp_path: Path) -> None:
    path = written(tmp_path, HOURLY)
    given = wanted(path, features=["x", "lag"], columns={"lag": LAG}, time="when")
    found = survey(find_source(given), False)
    assert (found.incomplete, found.used) == (3, 60)
    without = given.model_copy(update={"drop_incomplete": True})
    found = survey(find_source(without), True)
    assert (found.incomplete, found.left_out) == (3, 3)
    assert len(read_dataset(find_source(without), found, True).features) == 57


def test_the_target_itself_may_be_looked_back_on(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, HOURLY), features=["x", "lag"], columns={"lag": LAG}, target="load", time="when")
    np.testing.assert_array_equal(dataset.features[3:, 1], dataset.target[:-3, 0])


def test_columns_of_any_name_are_looked_back_on(tmp_path: Path) -> None:
    names = {"load": "^l.*$", "series": "*", "when": "when = 'x'"}
    frame = pl.DataFrame(HOURLY, schema=["series", "when", "load"], orient="row").rename(names)
    frame.with_columns(x=pl.arange(60) % 7).write_parquet(tmp_path / "d.parquet")
    said = {"kind": "lag", "of": "^l.*$", "by": "3h", "series": ["*"]}
    dataset = read(tmp_path, features=["x", "^lag.*$"], columns={"^lag.*$": said}, time="when = 'x'")
    np.testing.assert_array_equal(dataset.features[3:, 1], [row[2] for row in HOURLY[:-3]])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"of": "lode"}, "data.columns: no column 'lode' in .*: did you mean load"),
        ({"of": "series"}, "data.columns: column 'series' must be numeric, got text"),
        ({"series": ["site"]}, "data.columns: no column 'site' in "),
    ],
)
def test_columns_that_cannot_be_looked_back_on_are_named(tmp_path: Path, said: dict[str, Any], expected: str) -> None:
    path = written(tmp_path, HOURLY)
    with pytest.raises(DatasetError, match=expected):
        read(path, features=["x", "lag"], columns={"lag": LAG | said}, time="when")


def test_a_lag_is_no_column_of_the_files_and_needs_dates(tmp_path: Path) -> None:
    path = written(tmp_path, HOURLY)
    lines = problems(path, features=["x"], columns={"x": LAG}, time="when")
    assert lines == [f"data.columns: x is a column of {path}: give the lag another name"]
    lines = problems(path, features=["load", "lag"], columns={"lag": LAG}, time="x")
    assert lines == ["data.columns: lag is a lag and needs dates or times in data.time, got 'x' of type double"]
    lines = problems(path, features=["x"], columns={"lag": LAG}, time="when")
    assert lines == ["data.columns: lag is no feature: name it in data.features too"]


def test_rows_that_share_their_time_without_a_series_are_spoken_of(tmp_path: Path) -> None:
    data = wanted(written(tmp_path, HOURLY * 2), features=["x", "lag"], columns={"lag": LAG}, time="when")
    config = PipelineConfig.model_validate(
        {"name": "n", "data": data.model_dump(), "som": {"x": 2, "y": 2, "missing": "mask"}}
    )
    (note,) = [note for note in prepare(config).plan.notes if "share their time" in note]
    assert note.endswith("; lag takes their mean: give it the series, the column that tells such rows apart")


def test_an_infinite_value_is_no_past(tmp_path: Path) -> None:
    path = written(tmp_path, [*HOURLY[:5], ("a", START + 6 * HOUR, np.inf)])
    with pytest.raises(DatasetError, match="'load', of which lag is a lag, is infinite in 1 rows"):
        read(path, features=["x", "lag"], columns={"lag": LAG}, time="when")


def test_dates_alone_are_days(tmp_path: Path) -> None:
    days = [date(2024, 2, 27) + timedelta(days=i) for i in range(5)]
    pl.DataFrame({"when": days, "load": [1.0, 2, 4, 8, 16], "x": [0.0, 1, 0, 1, 0]}).write_parquet(
        tmp_path / "d.parquet"
    )
    found = past_of(tmp_path, {"week": {"kind": "rolling_mean", "of": "load", "over": "1w"}})
    np.testing.assert_allclose(found[:, 0], [np.nan, 1, 1.5, 7 / 3, 3.75])


def test_a_part_of_a_part_looks_back_into_the_whole() -> None:
    config = DataConfig.model_validate({"path": "p", "features": ["a"], "time": "t"})
    inner = config.part(start=START).part(end=START + HOUR)
    assert inner.whole is config
    assert config.whole is config
    assert (inner.start, inner.end) == (START, START + HOUR)

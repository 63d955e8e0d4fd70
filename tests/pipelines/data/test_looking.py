from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.data.look import Look
from pipelines.data.looking import look_at, questions
from pipelines.errors import DatasetError
from tests.pipelines.conftest import WriteDataset

N = 400
RANDOM = np.random.default_rng(1)
HOURS = [datetime(2024, 1, 1) + timedelta(hours=3 * i) for i in range(N)]
COLUMNS: dict[str, Any] = {
    "id": np.arange(N) + 17,
    "hour": [moment.hour for moment in HOURS],
    "month": [moment.month for moment in HOURS],
    "wind_dir": RANDOM.integers(0, 361, N).astype(float),
    "zip_code": RANDOM.choice([10115, 80331, 20095], N),
    "flag": RANDOM.choice(["yes", "no"], N),
    "active": RANDOM.random(N) < 0.5,
    "size": RANDOM.choice(["small", "large", "medium"], N),
    "payment": RANDOM.choice(["0%", "10%", "30%"], N),
    "carrier": RANDOM.choice(["AA", "BB", "CC"], N),
    "charges": [f"{value:.2f}" if value > 0 else " " for value in RANDOM.normal(2, 1, N)],
    "note": [f"text {i}" for i in range(N)],
    "flat": ["x"] * N,
    "rare": [1.0 if i % 20 == 0 else None for i in range(N)],
    "temp": RANDOM.normal(size=N),
    "born": [date(1950, 1, 1) + timedelta(days=int(days)) for days in RANDOM.integers(0, 20_000, N)],
    "when": HOURS,
}  # fmt: skip


@pytest.fixture
def path(write: WriteDataset) -> str:
    frame = pl.DataFrame(COLUMNS).with_columns(
        fahrenheit=pl.col("temp") * 1.8 + 32, y=pl.col("temp") * 3 + pl.Series(RANDOM.normal(size=N))
    )
    return str(write(frame.with_columns(y_text=pl.col("y").round(8).cast(pl.String))))


def seen(path: str, *target: str) -> dict[str, Look]:
    return {each.name: each for each in look_at(path, target).columns}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hour", {"kind": "cyclic", "period": 24}),
        ("wind_dir", {"kind": "cyclic", "period": 360}),
        ("zip_code", "category"),
        ("flag", "boolean"),
        ("active", "boolean"),
        ("size", {"kind": "ordinal", "order": ["small", "medium", "large"]}),
        ("payment", {"kind": "ordinal", "order": ["0%", "10%", "30%"]}),
        ("carrier", "category"),
        ("charges", "number"),
        ("temp", None),
        ("born", {"kind": "time", "parts": ["day_of_week", "day_of_year"]}),
        ("month", None),  # two of twelve
    ],
)
def test_a_feature_is_taken_for_what_its_name_and_values_say(path: str, name: str, kind: Any) -> None:
    look = seen(path)[name]
    assert (look.role, look.kind) == ("feature", kind), look.why


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("id", "as many values as rows: it names the row"),
        ("note", "text with 400 values: too many for a category"),
        ("flat", "constant: x in all rows that have a value"),
        ("rare", "nearly empty: 95 % missing"),
        ("fahrenheit", "says the same as temp"),
        ("y_text", "says the target y in other words"),
    ],
)
def test_a_column_of_no_use_is_left_out_with_the_reason(path: str, name: str, why: str) -> None:
    look = seen(path, "y")[name]
    assert (look.role, look.why) == ("left out", why)


def test_the_most_detailed_time_orders_the_rows_and_its_parts_help_to_predict(path: str) -> None:
    assert (seen(path)["when"].role, seen(path)["when"].kind) == ("time", None)
    assert seen(path, "y")["when"].kind == {"kind": "time", "parts": ["day_of_week"]}  # the hour is there already
    by_birth = {each.name: each for each in look_at(path, (), "born").columns}
    assert (by_birth["born"].role, by_birth["when"].role) == ("time", "feature")


def looks(write: WriteDataset, columns: dict[str, Any], target: tuple[str, ...] = ()) -> dict[str, Look]:
    return {each.name: each for each in look_at(str(write(pl.DataFrame(columns))), target).columns}


def test_a_time_that_says_nothing_beside_the_one_that_orders_is_left_out(write: WriteDataset) -> None:
    day = {"day of it": [moment.date() for moment in HOURS], "when": HOURS}
    found = looks(write, day | {"v": RANDOM.normal(size=N)}, ("v",))
    assert (found["day of it"].role, found["when"].role) == ("left out", "time")
    assert found["day of it"].why.endswith("says nothing beside when")
    later = {"later": [moment + timedelta(days=int(RANDOM.integers(0, 90))) for moment in HOURS]}
    assert looks(write, day | later | {"v": RANDOM.normal(size=N)})["later"].role == "feature"


def test_a_counter_orders_rows_that_follow_each_other_by_date(write: WriteDataset) -> None:
    dates = {part: [getattr(moment, part) for moment in HOURS] for part in ("year", "month", "day", "hour")}
    table = {"No": np.arange(N) + 1, **dates, "v": RANDOM.normal(size=N)}
    found = looks(write, table)["No"]
    assert (found.role, found.kind) == ("time", None)
    assert found.why == "counts rows that follow each other by year, month, day, hour"
    assert looks(write, table | {"hour": dates["hour"][::-1]})["No"].role == "left out"
    assert looks(write, {name: table[name] for name in ("No", "hour", "v")})["No"].role == "left out"


def test_a_clock_begins_again_and_is_left_out_where_hour_and_minute_say_it(write: WriteDataset) -> None:
    hour, minute = RANDOM.integers(0, 24, N), RANDOM.integers(0, 60, N)
    other = 100 * RANDOM.permutation(hour) + RANDOM.permutation(minute)
    found = looks(write, {"dep_time": 100 * hour + minute, "arr_time": other, "hour": hour, "minute": minute})
    assert found["arr_time"].kind == {"kind": "cyclic", "period": 2400}
    assert (found["dep_time"].role, found["dep_time"].why) == ("left out", "says the same as hour and minute")
    assert looks(write, {"drive_time": RANDOM.integers(0, 2401, N)})["drive_time"].kind is None


@pytest.mark.parametrize("name", ["flight", "ticket no", "customers"])
def test_a_number_of_a_thing_is_its_name(write: WriteDataset, name: str) -> None:
    assert looks(write, {name: RANDOM.integers(0, 200, N)})[name].role == "left out"
    assert looks(write, {f"{name} size": RANDOM.integers(0, 200, N)})[f"{name} size"].role == "feature"


def test_days_of_a_month_begin_again(write: WriteDataset) -> None:
    assert looks(write, {"day": RANDOM.integers(1, 32, N)})["day"].kind == {"kind": "cyclic", "period": 31, "start": 1}


def test_a_target_or_time_that_nothing_is_made_of_is_refused(write: WriteDataset) -> None:
    path = str(write(pl.DataFrame({"tags": [[1]] * 40, "v": RANDOM.normal(size=40)})))
    for given in ({"target": ("tags",)}, {"time": "tags"}):
        with pytest.raises(DatasetError, match=r"'tags' .* is of no use as target or time: it holds large_list"):
            look_at(path, **given)


def test_a_large_dataset_is_sampled_evenly_and_says_so(write: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.data.looking.SAMPLE_ROWS", 50)
    path = write(pl.DataFrame({"month": np.repeat(np.arange(1, 13), 50), "v": RANDOM.normal(size=600)}))
    looked = look_at(str(path))
    assert (looked.rows, looked.whole) == (50, False)
    assert looked.columns[0].kind == {"kind": "cyclic", "period": 12, "start": 1}


def test_what_is_used_otherwise_than_it_seems_is_asked_about(path: str) -> None:
    asked = list(questions(look_at(path), ["id", "hour", "zip_code", "temp"], ["zip_code"], ["carrier"]))
    assert asked[:2] == [
        "feature id: as many values as rows: it names the row: leave it out?",
        "feature hour: 8 values from 0 to 21: begins again after 24: cyclic with period 24? See data.columns",
    ]
    about = {line.split(":")[0] for line in asked}
    assert "column size is no feature" in about
    assert not about & {"feature zip_code", "feature temp", "column carrier is no feature", "column note is no feature"}


def test_odd_columns_are_looked_at_without_a_fault_or_passed_over(write: WriteDataset) -> None:
    frame = pl.DataFrame(
        {
            "inf": [float("inf")] * 39 + [1.0],
            "nothing": [None] * 40,
            "nan": [float("nan")] * 40,
            "lists": [[1, 2]] * 40,
            "struct": [{"a": 1}] * 40,
            "spans": [timedelta(hours=1)] * 40,
            "bytes": [b"a", b"b"] * 20,
            "": np.arange(40),
            "v": RANDOM.normal(size=40),
        }
    )
    looks = {each.name: each for each in look_at(str(write(frame)), ["nan"]).columns}
    assert {name for name, look in looks.items() if look.role == "feature"} == {"bytes", "v"}
    assert all(looks[name].role == "left out" for name in ("lists", "struct", "spans", ""))
    assert looks["spans"].why == "holds duration[us], which no feature is made of"
    assert look_at(str(write(frame[:0].select("v"), "empty.parquet"))).columns[0].role == "left out"

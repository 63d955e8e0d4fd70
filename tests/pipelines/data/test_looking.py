from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.data.looking import Look, look_at, questions
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
    assert {"lists", "struct", "spans", ""}.isdisjoint(looks)
    assert look_at(str(write(frame[:0].select("v"), "empty.parquet"))).columns[0].role == "left out"

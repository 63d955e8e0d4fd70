"""Whether intervals of local models hold what they promise where samples have gaps.

    python benchmarks/jitl_gaps.py [SEEDS]

Half of the rows of each set are learned and half are asked, over several random splits; in what is asked, 0, 1, 2, 3 or
more values of a row are hidden at random. Learned are rows without gaps (`complete`), or with a third of the rows
lacking one to three values (`gaps`). Coverage of nominal 90 %, in %, over all splits.
"""

import sys
from collections.abc import Callable

import numpy as np
import polars as pl
import torch
from sklearn import datasets

from somlib.jitl import JITLRegressor

Array = np.ndarray
Rows = tuple[Array, Array]
ROWS, GROUPS = 1_500, ("0", "1", "2", "3+")


def weather(target: str) -> Rows:
    frame = pl.read_parquet("data/weather/**/*.parquet")
    inputs = [c for c in frame.columns if c.endswith(("_EWR", "_LGA")) and frame[c].dtype.is_float()]
    frame = frame.select([*inputs, target]).drop_nulls().drop_nans().sample(2 * ROWS, seed=0)
    return frame.select(inputs).to_numpy(), frame[target].to_numpy()


def columns(load: Callable[..., object], name: str, inputs: str = "") -> Rows:
    frame = load(as_frame=True).data  # type: ignore[attr-defined]
    others = [other for other in frame.columns if other != name and other.startswith(inputs)]
    return frame[others].to_numpy(), frame[name].to_numpy()


def waves() -> Rows:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * ROWS, 6))
    X[:, 3] = X[:, 0] + 0.3 * rng.normal(size=2 * ROWS)  # one that knows another
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * (1 + (X[:, 4] > 0)) * rng.normal(size=2 * ROWS)


# The first four were looked at while the intervals were made; the others only once they were done.
SETS: dict[str, Callable[[], Rows]] = {
    "friedman1": lambda: datasets.make_friedman1(2 * ROWS, noise=1.0, random_state=0),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "weather: humidity": lambda: weather("humid_JFK"),
    "waves": waves,
    "friedman2": lambda: datasets.make_friedman2(2 * ROWS, noise=125.0, random_state=0),
    "friedman3": lambda: datasets.make_friedman3(2 * ROWS, noise=0.1, random_state=0),
    "weather: temperature": lambda: weather("temp_JFK"),
    "cancer: worst concavity": lambda: columns(datasets.load_breast_cancer, "worst concavity", "mean"),
    "linear": lambda: datasets.make_regression(2 * ROWS, 20, n_informative=10, noise=50.0, random_state=0),
    "swiss roll": lambda: datasets.make_swiss_roll(2 * ROWS, noise=0.5, random_state=0),
}


def with_gaps(X: Array, count: Array, rng: np.random.Generator) -> Array:
    """Rows (n, d) with so many values hidden in each, never all."""
    count = np.minimum(count, X.shape[1] - 1)
    order = rng.random(X.shape).argsort(axis=1).argsort(axis=1)
    return np.where(order < count[:, None], np.nan, X)


def coverage(X: Array, y: Array, gaps: bool, seeds: int, **settings: object) -> tuple[list[Array], list[float]]:
    """Whether each asked row was held, by number of gaps, and mean widths in deviations of the targets."""
    held: list[list[Array]] = [[] for _ in GROUPS]
    width: list[list[float]] = [[] for _ in GROUPS]
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(X))
        learn, ask = order[: len(X) // 2], order[len(X) // 2 :][:ROWS]
        lacking = rng.integers(1, 4, len(learn)) * (rng.random(len(learn)) < gaps / 3)
        model = JITLRegressor(missing="mask", **settings).fit(with_gaps(X[learn], lacking, rng), y[learn])
        for group in range(len(GROUPS)):
            most = max(4, min(6, X.shape[1] // 2))
            count = np.full(len(ask), group) if group < 3 else rng.integers(3, most, len(ask))
            low, high = model.predict_interval(with_gaps(X[ask], count, rng))
            held[group].append((low <= y[ask]) & (y[ask] <= high))
            width[group].append(float(np.mean(high - low) / y.std()))
    return [np.concatenate(h) for h in held], [float(np.mean(w)) for w in width]


def main(seeds: int, names: list[str]) -> None:
    print(f"| set | learned | {' | '.join(GROUPS)} | 1 to 3 | widths |\n{'| --- ' * 8}|", flush=True)
    for name in names or SETS:
        X, y = SETS[name]()
        for gaps in (False, True):
            held, width = coverage(X, y, gaps, seeds)
            cells = [f"{100 * h.mean():.1f}" for h in (*held, np.concatenate(held[1:]))]
            widths = " ".join(f"{w:.2f}" for w in width)
            print(f"| {name} | {'gaps' if gaps else 'complete'} | {' | '.join(cells)} | {widths} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2:])

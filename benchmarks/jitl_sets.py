"""Just-in-time learning on sets that nobody tuned its defaults on, against what one would do otherwise.

    python benchmarks/jitl_sets.py

The regression sets that scikit-learn ships, its seeded generators, and columns of its classification sets that the
others can be asked for. Ten random splits, three quarters to learn from. `JITLRegressor` and all rivals have their
default settings, on one thread:

    ridge               standardized, alpha 1
    neighbors + ridge   the 80 nearest by standardized distance, ridge on them, a fit a query
    boosting            scikit-learn's histogram gradient boosting

There is no time in these sets, so that a model is fitted once: frozen and refitted rivals are the same here. Linnerud,
the other regression set shipped, has 20 rows, fewer than the neighbors.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import ShuffleSplit
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.jitl import JITLRegressor

ROWS, SPLITS, NEIGHBORS = 1_000, 10, 80
Array = np.ndarray
Rows = tuple[Array, Array]
Answers = Callable[[Array, Array, Array], Array]  # inputs and targets to learn, inputs to answer


def column(load: Callable[..., object], name: str, inputs: str = "") -> Rows:
    """A feature of a set as the target, from the other features whose name starts with `inputs`."""
    frame = load(as_frame=True).data  # type: ignore[attr-defined]
    others = [other for other in frame.columns if other != name and other.startswith(inputs)]
    return frame[others].to_numpy(), frame[name].to_numpy()


def digits() -> Rows:
    X, y = datasets.load_digits(return_X_y=True)
    return X, y.astype(float)


# Noise of Friedman's functions as in Breiman, Bagging predictors, Machine Learning 24, 1996.
SETS: dict[str, Callable[[], Rows]] = {
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "iris: petal width": lambda: column(datasets.load_iris, "petal width (cm)"),
    "wine: proline": lambda: column(datasets.load_wine, "proline"),
    "wine: color intensity": lambda: column(datasets.load_wine, "color_intensity"),
    "cancer: worst area": lambda: column(datasets.load_breast_cancer, "worst area", "mean"),
    "cancer: worst concavity": lambda: column(datasets.load_breast_cancer, "worst concavity", "mean"),
    "digits: the digit": digits,
    "friedman1": lambda: datasets.make_friedman1(ROWS, noise=1.0, random_state=0),
    "friedman2": lambda: datasets.make_friedman2(ROWS, noise=125.0, random_state=0),
    "friedman3": lambda: datasets.make_friedman3(ROWS, noise=0.1, random_state=0),
    "linear": lambda: datasets.make_regression(ROWS, 20, n_informative=10, noise=50.0, random_state=0),
    "swiss roll": lambda: datasets.make_swiss_roll(ROWS, noise=0.5, random_state=0),
    "s curve": lambda: datasets.make_s_curve(ROWS, noise=0.1, random_state=0),
}


def ridge(X: Array, y: Array, queries: Array) -> Array:
    return make_pipeline(StandardScaler(), Ridge()).fit(X, y).predict(queries)


def neighbors_and_ridge(X: Array, y: Array, queries: Array) -> Array:
    scale = StandardScaler().fit(X)
    X, queries = scale.transform(X), scale.transform(queries)
    nearest = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(X))).fit(X).kneighbors(queries, return_distance=False)
    return np.array([Ridge().fit(X[i], y[i]).predict(q[None])[0] for i, q in zip(nearest, queries, strict=True)])


def boosting(X: Array, y: Array, queries: Array) -> Array:
    return HistGradientBoostingRegressor(random_state=0).fit(X, y).predict(queries)


def just_in_time(experts: str) -> Answers:
    return lambda X, y, queries: JITLRegressor(experts=experts).fit(X, y).predict(queries)


RIVALS: dict[str, Answers] = {"ridge": ridge, "neighbors + ridge": neighbors_and_ridge, "boosting": boosting}
OURS: dict[str, Answers] = {"pure": just_in_time("pure"), "blend": just_in_time("blend")}
LINEAR = ("ridge", "neighbors + ridge")
COMPARED = {"pure / linear": ("pure", LINEAR), "pure / best": ("pure", RIVALS), "blend / best": ("blend", RIVALS)}


def errors(X: Array, y: Array) -> dict[str, Array]:
    """Root mean squared error of each method in each split."""
    splits = list(ShuffleSplit(SPLITS, test_size=0.25, random_state=0).split(X))
    return {
        name: np.array([np.sqrt(np.mean((answers(X[a], y[a], X[b]) - y[b]) ** 2)) for a, b in splits])
        for name, answers in {**RIVALS, **OURS}.items()
    }


def ratio(ours: Array, rival: Array) -> tuple[float, float]:
    """Ratio of the mean errors, and its standard error over the splits, which both have in common."""
    found = ours.mean() / rival.mean()
    return float(found), float((ours - found * rival).std(ddof=1) / rival.mean() / np.sqrt(len(ours)))


def main() -> None:
    ratios: dict[str, list[float]] = {column: [] for column in COMPARED}
    header = ["set", "rows x features", *RIVALS, *OURS, *COMPARED]
    print(f"| {' | '.join(header)} |\n{'| --- ' * len(header)}|", flush=True)
    for name, load in SETS.items():
        X, y = load()
        found = errors(X, y)
        cells = [f"{error.mean():.4g}" for error in found.values()]
        for column, (ours, rivals) in COMPARED.items():
            value, spread = ratio(found[ours], min((found[rival] for rival in rivals), key=np.mean))
            ratios[column].append(value)
            cells.append(f"{value:.3f} ± {spread:.3f}")
        print(f"| {name} | {X.shape[0]} x {X.shape[1]} | {' | '.join(cells)} |", flush=True)
    for column, values in ratios.items():
        print(f"{column}: geometric mean {np.exp(np.mean(np.log(values))):.3f}, worst {max(values):.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

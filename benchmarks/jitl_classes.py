"""Classes just in time, against classifiers that one would use otherwise, each set by cross-validation.

    pip install --no-deps river vega_datasets
    python benchmarks/jitl_classes.py [SET ...]

`JITLClassifier` with its default settings, and three rivals of scikit-learn that choose theirs by the log loss of five
folds of the rows to learn from:

    logistic    standardized inputs, C of 0.01 to 100
    neighbors   standardized inputs, 3 to 80 of them, by distance or not
    boosting    histogram gradient boosting, up to 200 rounds

Three quarters to learn from, the classes in equal shares; the same splits for all. The defaults were tuned on the first
group of sets. `river` and `vega_datasets` are read for the files that they ship; sets of packages that are not there
are left out, with a line.
"""

import gzip
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from somlib.jitl import JITLClassifier
from somlib.jitl.pool import calibration_error

SPLITS, FEW = 5, 700  # of sets with fewer rows twice as many
ROUNDS = 200
Array = np.ndarray
Rows = tuple[Array, Array]
Answers = Callable[[Array, Array, Array], Array]  # inputs and classes to learn, inputs to answer


def shipped(package: str, file: str) -> bytes:
    """The content of a file that a package ships, unpacked."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"{package} is not installed")
    path = Path(found.origin).parent / file
    if path.suffix == ".gz":
        return gzip.open(path).read()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            return packed.read(packed.namelist()[0])
    return path.read_bytes()


def table(file: str, target: str) -> Rows:
    """A table of river."""
    rows = pl.read_csv(io.BytesIO(shipped("river", f"datasets/{file}")))
    return rows.drop(target).to_numpy().astype(float), rows[target].to_numpy().astype(str)


def yeast() -> Rows:
    """The first class of genes of yeast."""
    rows = pl.read_csv(io.BytesIO(shipped("river", "datasets/yeast.csv.gz")))
    classes = [name for name in rows.columns if name.startswith("Class")]
    return rows.drop(classes).to_numpy().astype(float), rows["Class1"].to_numpy().astype(str)


def banana() -> Rows:
    """Two interleaved shapes: lines of `-1 1:1.6 2:-0.9`."""
    lines = [line.split() for line in shipped("river", "datasets/banana.zip").decode().splitlines() if line.strip()]
    return np.array([[float(part.split(":")[1]) for part in line[1:]] for line in lines]), np.array(
        [int(float(line[0])) for line in lines]
    )


def cars() -> Rows:
    """Where cars come from."""
    rows = pl.DataFrame(json.loads(shipped("vega_datasets", "_data/cars.json")), infer_schema_length=None).drop_nulls()
    inputs = rows.drop("Name", "Origin").with_columns(pl.col("Year").str.slice(0, 4).cast(pl.Float64))
    return inputs.to_numpy().astype(float), rows["Origin"].to_numpy().astype(str)


made = partial(datasets.make_classification, random_state=0)
TUNED: dict[str, Callable[[], Rows]] = {
    "wine": partial(datasets.load_wine, return_X_y=True),
    "breast cancer": partial(datasets.load_breast_cancer, return_X_y=True),
    "moons": partial(datasets.make_moons, 800, noise=0.3, random_state=0),
    "made, 3 classes": partial(made, 1500, 12, n_informative=6, n_classes=3, flip_y=0.05),
    "made, noisy": partial(made, 1000, 20, n_informative=4, flip_y=0.2),
    "made, 5 % of one": partial(made, 2000, 10, n_informative=4, weights=[0.95], flip_y=0.01),
}
OTHERS: dict[str, Callable[[], Rows]] = {
    "iris": partial(datasets.load_iris, return_X_y=True),
    "cars: origin": cars,
    "phishing": partial(table, "phishing.csv.gz", "is_phishing"),
    "digits": partial(datasets.load_digits, return_X_y=True),
    "segment": partial(table, "segment.csv.zip", "category"),
    "yeast: class 1": yeast,
    "banana": banana,
}


def chosen(model: object, options: dict[str, list[object]]) -> Answers:
    """What a model says with the options of the least log loss in five folds, on standardized inputs."""
    search = GridSearchCV(make_pipeline(StandardScaler(), model), options, scoring="neg_log_loss", cv=5)
    return lambda X, y, queries: search.fit(X, y).predict_proba(queries)


def boosting(X: Array, y: Array, queries: Array) -> Array:
    """Boosting with the rounds of the least log loss in five folds."""
    losses = np.zeros(ROUNDS)
    for known, asked in StratifiedKFold(5).split(X, y):
        model = boosted(ROUNDS).fit(X[known], y[known])
        stages = model.staged_predict_proba(X[asked])
        losses += [log_loss(y[asked], said, labels=model.classes_) * len(asked) for said in stages]
    return boosted(int(losses.argmin()) + 1).fit(X, y).predict_proba(queries)


def boosted(rounds: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=rounds, early_stopping=False, random_state=0)


RIVALS: dict[str, Answers] = {
    "logistic": chosen(LogisticRegression(max_iter=2000), {"logisticregression__C": [0.01, 0.1, 1, 10, 100]}),
    "neighbors": chosen(
        KNeighborsClassifier(),
        {
            "kneighborsclassifier__n_neighbors": [3, 5, 10, 20, 40, 80],
            "kneighborsclassifier__weights": ["uniform", "distance"],
        },
    ),
    "boosting": boosting,
}


def just_in_time(X: Array, y: Array, queries: Array) -> Array:
    return JITLClassifier().fit(X, y).predict_proba(queries)


def compared(name: str, load: Callable[[], Rows]) -> tuple[float, str]:
    """Log loss against that of the best rival, and the line of the table."""
    X, labels = load()
    classes, y = np.unique(labels, return_inverse=True)
    splits = SPLITS if len(X) >= FEW else 2 * SPLITS
    losses: dict[str, list[float]] = {method: [] for method in (*RIVALS, "JITL")}
    said, true = [], []
    for known, asked in StratifiedShuffleSplit(splits, test_size=0.25, random_state=0).split(X, y):
        for method, answers in {**RIVALS, "JITL": just_in_time}.items():
            probability = answers(X[known], y[known], X[asked])
            losses[method].append(log_loss(y[asked], probability, labels=range(len(classes))))
        said.append(probability)
        true.append(y[asked])
    said_all, true_all = np.concatenate(said), np.concatenate(true)
    mean = {method: float(np.mean(found)) for method, found in losses.items()}
    best = min(RIVALS, key=lambda rival: mean[rival])
    ratio = mean["JITL"] / mean[best]
    spread = np.std(np.array(losses["JITL"]) - ratio * np.array(losses[best]), ddof=1) / mean[best] / np.sqrt(splits)
    cells = (
        name,
        f"{X.shape[0]:,} x {X.shape[1]}",
        str(len(classes)),
        *(f"{mean[method]:.4f}" for method in mean),
        f"{ratio:.3f} ± {spread:.3f}",
        f"{calibration_error(said_all, true_all):.3f}",
        f"{np.mean(said_all.argmax(axis=1) == true_all):.3f}",
    )
    return ratio, f"| {' | '.join(cells)} |"


def main(wanted: list[str]) -> None:
    warnings.simplefilter("ignore")
    header = ["set", "rows x features", "classes", *RIVALS, "JITL", "JITL / best", "calibration error", "accuracy"]
    for title, group in (("tuned on", TUNED), ("not tuned on", OTHERS)):
        print(f"\n{title}\n\n| {' | '.join(header)} |\n{'| --- ' * len(header)}|", flush=True)
        ratios = []
        for name, load in group.items():
            if wanted and name not in wanted:
                continue
            try:
                ratio, line = compared(name, load)
            except FileNotFoundError as error:
                print(f"{name} left out: {error}", file=sys.stderr)
                continue
            ratios.append(ratio)
            print(line, flush=True)
        if ratios:
            print(f"\ngeometric mean {np.exp(np.mean(np.log(ratios))):.3f}, worst {max(ratios):.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])

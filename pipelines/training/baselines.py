r"""What one would do without a map: a linear model of all rows, and one of the rows nearest to each query.

Both see standardized inputs, and the mean where an input is missing; both are ridges of strength 1,

    b = (C'C + I)^-1 C'c        C, c: inputs and target minus their means over the rows that are fitted

`ridge_answers` fits one to all rows, `neighbor_answers` one to the 80 nearest rows of each query, many queries at a
time. Local models are compared with them (`local_scores.py`); they are never published.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBORS = 80
STRENGTH = 1.0
QUERIES = 64  # solved at a time: with 300 features their systems take 46 MB
Floats = NDArray[np.float64]


def ridge_answers(samples: NDArray[Any], target: Floats, queries: NDArray[Any]) -> Floats:
    """What one ridge, fitted to samples (n, d) with targets (n,), says to queries (q, d); NaN is a missing input."""
    model = make_pipeline(prepared(), Ridge(alpha=STRENGTH)).fit(samples, target)
    return np.asarray(model.predict(queries), dtype=np.float64)


def neighbor_answers(samples: NDArray[Any], target: Floats, queries: NDArray[Any]) -> Floats:
    """What a ridge of each query's 80 nearest samples says to it; arguments as in `ridge_answers`."""
    units = prepared().fit(samples)
    history, asked = units.transform(samples), units.transform(queries)
    search = NearestNeighbors(n_neighbors=min(NEIGHBORS, len(history)), algorithm="brute").fit(history)
    nearest = search.kneighbors(asked, return_distance=False)
    answers = np.empty(len(asked))
    for start in range(0, len(asked), QUERIES):
        at = slice(start, start + QUERIES)
        answers[at] = _local_ridges(history[nearest[at]], target[nearest[at]], asked[at])
    return answers


def prepared() -> Any:
    """Missing inputs filled with the mean, then all standardized; as float64, whatever comes."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()).set_output(transform="default")


def _local_ridges(rows: Floats, target: Floats, queries: Floats) -> Floats:
    """Answers (b,) to queries (b, d) of ridges fitted to rows (b, k, d) with targets (b, k)."""
    mean, level = rows.mean(axis=1), target.mean(axis=1)
    centered = rows - mean[:, None]
    moments = centered.transpose(0, 2, 1) @ centered + STRENGTH * np.eye(rows.shape[2])
    products = np.einsum("bkd,bk->bd", centered, target - level[:, None])
    slopes = np.linalg.solve(moments, products[..., None])[..., 0]
    answers: Floats = level + np.einsum("bd,bd->b", queries - mean, slopes)
    return answers

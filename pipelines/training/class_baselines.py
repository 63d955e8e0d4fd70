"""What one would ask about a class without a map: a logistic regression, the nearest samples, boosting.

All three are scikit-learn's, on standardized inputs with missing ones filled by the mean (boosting takes them as they
are). Local models are compared with them (`class_scores.py`); they are never published. Of the 30 nearest samples the
classes are counted with one sample's worth of their shares in all, for of a few samples a class is often absent.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from pipelines.training.baselines import prepared
from somlib.jitl.boosting import binnable

NEIGHBORS = 30
ROUNDS = 60  # of boosting: with the 100 of scikit-learn's default, probabilities of a few hundred rows are too sure
STEPS = 1_000
Floats = NDArray[np.float64]


def logistic_shares(samples: NDArray[Any], labels: NDArray[Any], queries: NDArray[Any]) -> Floats:
    """Probabilities (q, c) of the classes of `labels` (n,), ascending, for queries (q, d) by samples (n, d)."""
    return _answered(make_pipeline(prepared(), LogisticRegression(max_iter=STEPS)), samples, labels, queries)


def neighbor_shares(samples: NDArray[Any], labels: NDArray[Any], queries: NDArray[Any]) -> Floats:
    """The same by the 30 nearest samples."""
    k = min(NEIGHBORS, len(samples))
    model = make_pipeline(prepared(), KNeighborsClassifier(k, algorithm="brute"))
    _, counts = np.unique(labels, return_counts=True)
    shares = _answered(model, samples, labels, queries)
    smoothed: Floats = (k * shares + counts / counts.sum()) / (k + 1)
    return smoothed


def boosted_shares(samples: NDArray[Any], labels: NDArray[Any], queries: NDArray[Any]) -> Floats:
    """The same by boosting."""
    model = HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=0)
    return _answered(model, binnable(samples), labels, queries)


def _answered(model: Any, samples: NDArray[Any], labels: NDArray[Any], queries: NDArray[Any]) -> Floats:
    if len(np.unique(labels)) == 1:
        return np.ones((len(queries), 1))
    shares = np.asarray(model.fit(samples, labels).predict_proba(queries), dtype=np.float64)
    scaled: Floats = shares / shares.sum(axis=1, keepdims=True)  # float32 samples make some of them float32
    return scaled

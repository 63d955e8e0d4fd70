"""Classifiers that see all samples at once, as plain arrays: fitted by scikit-learn, kept and answered here.

Like the trees of `boosting.py`, they are saved as numbers, without pickle. Each knows the classes of the samples it was
fitted to, and gives 0 to others.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from somlib.jitl.boosting import Trees, binnable, predict_all
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.pool import softmax

# Chosen on the sets named in `pool.py`, by the log loss of the pool: small leaves held by a penalty. Rounds are chosen
# for each data set, among every `ROUNDS_APART` up to `MOST_ROUNDS`.
BOOSTING: dict[str, Any] = {"max_leaf_nodes": 15, "min_samples_leaf": 5, "l2_regularization": 3.0, "max_bins": 128}
MOST_ROUNDS, ROUNDS_APART = 150, 5
MOST_TREES = 1_500  # of all classes together: with many there are fewer rounds, of larger steps
STEPS = 500  # of the solver of the logistic regression


@dataclass(frozen=True)
class Logistic:
    """Multinomial logistic regression on the inputs of linear models.

    Attributes:
        coefficients: Intercept and slopes of each class that it knows, shape (1 + d, k).
        known: Which classes these are, int64, shape (k,).
        classes: How many there are in all.
    """

    coefficients: FloatArray
    known: IntArray
    classes: int

    @classmethod
    def fitted(cls, inputs: FloatArray, code: IntArray, classes: int, strength: float) -> "Logistic":
        """From inputs (1, x), shape (n, 1 + d), and classes (n,); a smaller strength draws slopes to 0 more."""
        known = np.unique(code)
        if len(known) == 1:
            return cls(np.zeros((inputs.shape[1], 1)), known, classes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # separable classes: near enough after all these steps
            model = LogisticRegression(C=strength, max_iter=STEPS).fit(inputs[:, 1:], code)
        found = np.column_stack((model.intercept_, model.coef_)).T
        if len(known) == 2:  # scikit-learn keeps the second class alone
            found = np.column_stack((np.zeros(len(found)), found))
        return cls(found, known, classes)

    def probability(self, inputs: FloatArray) -> FloatArray:
        """Of each class for inputs (n, 1 + d), shape (n, c)."""
        return spread(softmax(inputs @ self.coefficients), self.known, self.classes)


@dataclass(frozen=True)
class BoostedClasses:
    """Boosted trees of each class that they know; of two classes, of the second alone.

    Attributes:
        trees: Whose sums are log-odds: against the first of two classes, else relative to one another.
        known: Which classes, int64, shape (k,).
        classes: How many there are in all.
    """

    trees: tuple[Trees, ...]
    known: IntArray
    classes: int

    @classmethod
    def of(
        cls, model: HistGradientBoostingClassifier | None, known: IntArray, classes: int, rounds: int
    ) -> "BoostedClasses":
        """The first rounds of a fitted boosting; None for one of a single class."""
        if model is None:
            return cls((), known, classes)
        # Private, like that of `Trees.fitted`, and pinned by a test as well.
        baseline = np.ravel(model._baseline_prediction).astype(np.float64)
        trees = tuple(
            Trees.of([each[output].nodes for each in model._predictors[:rounds]], float(first))
            for output, first in enumerate(baseline)
        )
        return cls(trees, known, classes)

    def probability(self, point: NDArray[Any]) -> FloatArray:
        """Of each class for samples (n, d), shape (n, c)."""
        if not self.trees:
            return spread(np.ones((len(point), 1)), self.known, self.classes)
        score = predict_all(self.trees, point)
        if score.shape[1] == 1:
            score = np.column_stack((np.zeros(len(score)), score))
        return spread(softmax(score), self.known, self.classes)

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """All arrays by name, for saving."""
        found = {f"{prefix}known": torch.from_numpy(self.known)}
        for number, trees in enumerate(self.trees):
            found |= trees.tensors(f"{prefix}trees.{number}.")
        return found

    @classmethod
    def from_tensors(cls, prefix: str, tensors: Mapping[str, torch.Tensor], classes: int) -> "BoostedClasses":
        """From what `tensors` gave."""
        known = tensors[f"{prefix}known"].numpy()
        count = 0 if len(known) == 1 else 1 if len(known) == 2 else len(known)
        trees = tuple(Trees.from_tensors(f"{prefix}trees.{number}.", tensors) for number in range(count))
        return cls(trees, known, classes)


def fit_boosting(
    point: NDArray[Any], code: IntArray, classes: int, rounds: int | None, seed: int
) -> HistGradientBoostingClassifier | None:
    """Boosting of scikit-learn on samples (n, d), NaN where missing, with classes (n,); None where there is but one.

    Args:
        point: Samples.
        code: Their classes.
        classes: How many there are in all, which decides the size of a step.
        rounds: How many; None takes the most.
        seed: Of what is random.
    """
    if len(np.unique(code)) < 2:
        return None
    most = most_rounds(classes)
    model = HistGradientBoostingClassifier(
        max_iter=rounds or most, learning_rate=min(0.3, 0.1 * MOST_ROUNDS / most),
        early_stopping=False, random_state=seed, **BOOSTING,
    )  # fmt: skip
    return model.fit(binnable(point), code)


def most_rounds(classes: int) -> int:
    """Rounds of boosting, at most, for that many classes."""
    trees = 1 if classes <= 2 else classes
    return max(ROUNDS_APART * 6, min(MOST_ROUNDS, MOST_TREES // trees))


def staged(
    model: HistGradientBoostingClassifier | None, point: NDArray[Any], known: IntArray, classes: int
) -> Iterator[FloatArray]:
    """Probabilities (n, c) after every `ROUNDS_APART` rounds; of no boosting, the same again and again."""
    if model is None:
        while True:
            yield spread(np.ones((len(point), 1)), known, classes)
    for number, probability in enumerate(model.staged_predict_proba(point), 1):
        if number % ROUNDS_APART == 0:
            yield spread(probability, known, classes)


def spread(probability: FloatArray, known: IntArray, classes: int) -> FloatArray:
    """Probabilities (n, k) of known classes among all, shape (n, c)."""
    full = np.zeros((len(probability), classes))
    full[:, known] = probability
    return full

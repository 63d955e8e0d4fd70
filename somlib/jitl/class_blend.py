r"""Experts of classes that answer together, put together by `pool.py`.

    ridge           shares of the classes by local ridges, as `JITLClassifier` makes them
    neighbors_K     shares among the K nearest samples, weighted by the tricube of their distance
    logistic        multinomial logistic regression on all samples
    boosting        boosted trees on all samples

The first two learn with every update; the others are fitted with the rest by `fit` and `refit`. Strength of the
logistic regression and rounds of the boosting are those of the least log loss on samples left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from somlib.jitl.assignment import Assignment
from somlib.jitl.class_experts import (
    ROUNDS_APART,
    BoostedClasses,
    Logistic,
    fit_boosting,
    staged,
)
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.pool import Pool, log_losses, with_floor
from somlib.jitl.sample_index import SampleIndex
from somlib.jitl.side_by_side import side_by_side
from somlib.jitl.validation import Split, subset

NEIGHBORS = (20, 60)
CANDIDATES = 4 * NEIGHBORS[-1]  # that the map offers, from which the nearest are taken
LOCAL = ("ridge", *(f"neighbors_{k}" for k in NEIGHBORS))
GLOBAL = ("logistic", "boosting")
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 10.0)  # of the logistic regression, from the strictest
MOST_CHOSEN_BY = 5_000  # samples by which its strength is chosen

Said = Mapping[str, FloatArray]  # probabilities (n, c) by expert


class Labels(NamedTuple):
    """Classes of samples.

    Attributes:
        code: Of each sample, int64, shape (n,).
        classes: How many there are, c.
    """

    code: IntArray
    classes: int

    @property
    def prior(self) -> FloatArray:
        """Shares of the classes among the samples, with half a sample more of each, shape (c,)."""
        count = np.bincount(self.code, minlength=self.classes) + 0.5
        shares: FloatArray = count / count.sum()
        return shares

    def of(self, position: IntArray) -> "Labels":
        """Those of some samples."""
        return Labels(self.code[position], self.classes)


@dataclass(frozen=True)
class ClassBlend:
    """Experts and their pool.

    Attributes:
        pool: Weights of the experts, in the order of `names`, and biases of the classes.
        names: Of the experts.
        logistic: The regression; None where local experts answer alone.
        boosting: The trees; None too.
    """

    pool: Pool
    names: tuple[str, ...]
    logistic: Logistic | None = None
    boosting: BoostedClasses | None = None

    @property
    def weights(self) -> dict[str, float]:
        """Of each expert, as shares that sum to 1."""
        total = float(self.pool.weights.sum()) or 1.0
        return {name: float(weight) / total for name, weight in zip(self.names, self.pool.weights, strict=True)}

    def probability(self, assigned: Assignment, local: FloatArray, index: SampleIndex, labels: Labels) -> FloatArray:
        """Probabilities (n, c) for assigned samples.

        Args:
            assigned: They.
            local: Shares of the classes by local ridges, shape (n, c).
            index: The samples held.
            labels: Of these.
        """
        said = {"ridge": local, **neighbor_shares(assigned, index, labels)}
        if self.logistic is not None and self.boosting is not None:
            said["logistic"] = self.logistic.probability(assigned.inputs)
            said["boosting"] = self.boosting.probability(assigned.point.numpy())
        return self.pool.probability(logarithms(said, labels.prior))

    def state(self) -> dict[str, Any]:
        """What `restored` needs beside `tensors`, as JSON can hold it."""
        return {"names": list(self.names), "weights": self.pool.weights.tolist(), "bias": self.pool.bias.tolist()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """All arrays by name."""
        if self.logistic is None or self.boosting is None:
            return {}
        logistic = {"coefficients": self.logistic.coefficients, "known": self.logistic.known}
        arrays = {f"logistic.{name}": torch.from_numpy(np.ascontiguousarray(a)) for name, a in logistic.items()}
        return arrays | self.boosting.tensors("boosting.")

    @classmethod
    def restored(cls, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> "ClassBlend":
        """The blend that `state` and `tensors` describe."""
        pool = Pool(np.array(state["weights"]), np.array(state["bias"]))
        names, classes = tuple(state["names"]), len(pool.bias)
        if "logistic" not in names:
            return cls(pool, names)
        known = tensors["logistic.known"].numpy()
        logistic = Logistic(tensors["logistic.coefficients"].numpy(), known, classes)
        return cls(pool, names, logistic, BoostedClasses.from_tensors("boosting.", tensors, classes))


def logarithms(said: Said, prior: FloatArray) -> FloatArray:
    """Log-probabilities (e, n, c) of experts, none of them minus infinity."""
    return np.stack([np.log(with_floor(probability, prior)) for probability in said.values()])


def neighbor_shares(assigned: Assignment, index: SampleIndex, labels: Labels) -> dict[str, FloatArray]:
    """Shares (n, c) of the classes among the nearest samples, by expert, with one sample's worth of those among all.

    Args:
        assigned: Samples asked about.
        index: The samples held.
        labels: Of these.
    """
    winner = torch.from_numpy(assigned.winner)
    found = index.retrieve_assigned(assigned.point, winner, "bmu_neighborhood_knn", CANDIDATES, NEIGHBORS[-1])
    offset, n = found.offset.numpy(), len(assigned)
    size = np.diff(offset)
    query = np.repeat(np.arange(n), size)
    rank = np.arange(len(query)) - np.repeat(offset[:-1], size)
    distance, code = found.distance.numpy(), labels.code[found.sample.numpy()]
    shares = {}
    for k in NEIGHBORS:
        near = rank < k
        weight = _tricube(distance[near], query[near], n)
        sums = np.bincount(query[near] * labels.classes + code[near], weight, n * labels.classes)
        sums = sums.reshape(n, labels.classes)
        shares[f"neighbors_{k}"] = (sums + labels.prior) / (sums.sum(axis=1, keepdims=True) + 1)
    return shares


def _tricube(distance: FloatArray, query: IntArray, n: int) -> FloatArray:
    """Weights by distance, in shares of that of the farthest of each of n queries, which counts as a little within."""
    farthest = np.zeros(n)
    np.maximum.at(farthest, query, distance)
    share = np.divide(distance, 1.01 * farthest[query], out=np.zeros_like(distance), where=farthest[query] > 0)
    weight: FloatArray = (1 - share**3) ** 3
    return weight


# ---------------------------------------------------------------- fitting


def fit_class_blend(
    assigned: Assignment,
    labels: Labels,
    splits: Sequence[Split],
    local: FloatArray,
    index_of: Callable[[IntArray], SampleIndex],
    *,
    everything: bool,
    seed: int,
    jobs: int = 1,
    step: Callable[[str], None] = lambda name: None,
) -> tuple[ClassBlend, FloatArray]:
    """The blend, and its probabilities (v, c) for the samples left out, one split after the other.

    Args:
        assigned: All samples.
        labels: Theirs.
        splits: What to learn from and what to answer.
        local: Shares of the classes by local ridges for the samples left out, shape (v, c).
        index_of: Makes an index of some of the samples, by position.
        everything: Whether experts that see all samples take part, or local ones alone.
        seed: Of the boosting.
        jobs: Boostings that are fitted at the same time.
        step: Called after each boosting; from any thread.
    """
    position = np.concatenate([split.answer for split in splits])
    near = [
        neighbor_shares(subset(assigned, split.answer), index_of(split.learn), labels.of(split.learn))
        for split in splits
    ]
    said = {"ridge": local} | {name: np.concatenate([each[name] for each in near]) for name in near[0]}
    logistic = boosting = None
    if everything:
        logistic, said["logistic"] = _fit_logistic(assigned, labels, splits)
        boosting, said["boosting"] = _fit_boosting(assigned, labels, splits, seed, jobs, step)
    logs = logarithms(said, labels.prior)
    pool = Pool.fitted(logs, labels.code[position])
    return ClassBlend(pool, tuple(said), logistic, boosting), pool.probability(logs)


def _fit_logistic(assigned: Assignment, labels: Labels, splits: Sequence[Split]) -> tuple[Logistic, FloatArray]:
    """The regression, and its probabilities for the samples left out."""

    def left_out(strength: float, parts: Sequence[Split]) -> FloatArray:
        fits = [
            Logistic.fitted(assigned.inputs[part.learn], labels.code[part.learn], labels.classes, strength)
            for part in parts
        ]
        return np.concatenate(
            [fit.probability(assigned.inputs[part.answer]) for fit, part in zip(fits, parts, strict=True)]
        )

    few = [Split(_thinned(s.learn, MOST_CHOSEN_BY), _thinned(s.answer, MOST_CHOSEN_BY // len(splits))) for s in splits]
    asked = np.concatenate([part.answer for part in few])

    def loss(strength: float) -> float:
        return float(log_losses(with_floor(left_out(strength, few), labels.prior), labels.code[asked]).mean())

    strength = min(STRENGTHS, key=loss)
    return Logistic.fitted(assigned.inputs, labels.code, labels.classes, strength), left_out(strength, splits)


def _fit_boosting(
    assigned: Assignment, labels: Labels, splits: Sequence[Split], seed: int, jobs: int, step: Callable[[str], None]
) -> tuple[BoostedClasses, FloatArray]:
    """The trees, and their probabilities for the samples left out, after the rounds that suit these best."""
    point, classes = assigned.point.numpy(), labels.classes

    def fitted(split: Split) -> HistGradientBoostingClassifier | None:
        model = fit_boosting(point[split.learn], labels.code[split.learn], classes, None, seed)
        step("boosting")
        return model

    def stages(number: int) -> Iterator[FloatArray]:
        split = splits[number]
        return staged(models[number], point[split.answer], np.unique(labels.code[split.learn]), classes)

    models = side_by_side(fitted, splits, jobs)
    code = [labels.code[split.answer] for split in splits]
    sums: list[float] = []
    # Twice through the rounds, so that no more than two of them are held at a time.
    for found in zip(*(stages(number) for number in range(len(splits))), strict=False):
        sums.append(
            sum(float(log_losses(with_floor(p, labels.prior), c).sum()) for p, c in zip(found, code, strict=True))
        )
        if all(model is None for model in models):
            break
    best = int(np.argmin(sums))
    left_out = [_stage(stages(number), best) for number in range(len(splits))]
    rounds = (best + 1) * ROUNDS_APART
    whole = fit_boosting(point, labels.code, classes, rounds, seed)
    step("boosting")
    return BoostedClasses.of(whole, np.unique(labels.code), classes, rounds), np.concatenate(left_out)


def _stage(stages: Iterator[FloatArray], number: int) -> FloatArray:
    return next(found for place, found in enumerate(stages) if place == number)


def _thinned(position: IntArray, most: int) -> IntArray:
    """At most that many positions, evenly spread."""
    return position[:: max(1, -(-len(position) // max(most, 1)))]

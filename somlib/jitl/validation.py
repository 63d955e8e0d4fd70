r"""Choosing settings by errors on samples left out, in the order of time where there is one.

With timestamps, samples are cut into `BLOCKS` of equal size in time, and each of the last `LAST` is answered from
those before it: what the model will have to do. Folds that are contiguous, shuffled or of one sample choose models that
are too local for data that drifts. Without timestamps, folds are random.

The candidates are few, on purpose: `NEIGHBORHOODS` by `RIDGES` by `LEVELS`. All settings of one neighborhood share its
sums, and a batch of small systems is solved for each.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from somlib.jitl.assignment import Assignment
from somlib.jitl.local_ridge import bounds_of, faded_answers
from somlib.jitl.moments import FloatArray, IntArray, group_sums
from somlib.jitl.neighborhoods import Neighborhood
from somlib.jitl.ridge import Shrinkage, coefficients_of_each, global_coefficients

BLOCKS, LAST = 8, 4
FOLDS = 5
RIDGES = (1.0, 10.0, 100.0)
LEVELS = (3.0, 30.0, 100.0)
OVERALL = (1.0, 10.0, 100.0, 1000.0)  # of the global model
SIGMAS = (0.5, 1.0, 2.0, 4.0)
# Neurons that candidates are compared on, times the cube of the width of a row. Measured on three synthetic sets of 200
# features on 300 neurons: 60 of these or more led to the errors, within 0.2 %, that all led to, 30 to within 1 %.
MOST_WORK = 2e9
MOST_ANSWERED = 20_000  # left-out samples that candidates are compared on, evenly spread over those of each split


@dataclass(frozen=True)
class Split:
    """Positions to learn from and positions to answer, int64."""

    learn: IntArray
    answer: IntArray


def forward_splits(time: FloatArray, blocks: int = BLOCKS, last: int = LAST) -> list[Split]:
    """The last blocks in time, each with all before it; fewer blocks for few samples (n,)."""
    blocks = min(blocks, len(time))
    order = np.array_split(np.argsort(time, kind="stable"), blocks) if blocks else []
    return [Split(np.concatenate(order[:b]), order[b]) for b in range(max(1, blocks - last), blocks)]


def random_splits(n: int, seed: int, folds: int = FOLDS) -> list[Split]:
    """Random folds of n samples, each with all others."""
    parts = np.array_split(np.random.default_rng(seed).permutation(n), min(folds, n)) if n > 1 else []
    return [Split(np.sort(np.concatenate(parts[:f] + parts[f + 1 :])), np.sort(parts[f])) for f in range(len(parts))]


@dataclass(frozen=True)
class Candidate:
    """Settings of local ridges.

    Attributes:
        name: Of the neighborhood.
        neighborhood: The neighborhood.
        shrinkage: How strongly to shrink.
    """

    name: str
    neighborhood: Neighborhood
    shrinkage: Shrinkage


@dataclass(frozen=True)
class LeftOut:
    """Answers to samples that took no part in them.

    Attributes:
        position: Of the samples, int64, shape (v,).
        answer: Shape (v, o).
    """

    position: IntArray
    answer: FloatArray

    def loss(self, targets: FloatArray) -> float:
        """Mean squared error against the targets (n, o) of all samples."""
        return float(np.mean((self.answer - targets[self.position]) ** 2)) if len(self.position) else np.nan


def best_candidate(
    candidates: Sequence[Candidate],
    assigned: Assignment,
    rows: FloatArray,
    splits: list[Split],
    m: int,
    o: int,
    winner: IntArray | None = None,
) -> tuple[int, LeftOut]:
    """Which candidate errs least on samples left out, and its answers to all of these.

    Solving d x d systems of hundreds of neurons for dozens of candidates takes minutes when there are hundreds of
    features. Then part of the neurons stand for all while the choice is made, and of very many samples `MOST_ANSWERED`.

    Args:
        candidates: Settings, those of one neighborhood next to each other.
        assigned: All samples, n of them.
        rows: Their w = (1, x, y), shape (n, 1 + d + o).
        splits: What to learn from and to answer.
        m: Number of neurons.
        o: Number of targets.
        winner: Neuron that each sample teaches, shape (n,), -1 for none; None takes the nearest.
    """
    neurons = _validation_neurons(assigned, m, rows.shape[1])
    every = -(-sum(len(split.answer) for split in splits) // MOST_ANSWERED)
    compared = [Split(split.learn, split.answer[:: max(1, every)]) for split in splits]
    answers = ridge_answers(candidates, assigned, rows, compared, m, o, winner, neurons)
    chosen = best(answers, rows[:, -o:])
    if len(neurons) == m and every <= 1:
        return chosen, answers[chosen]
    return chosen, ridge_answers([candidates[chosen]], assigned, rows, splits, m, o, winner)[0]


def _validation_neurons(assigned: Assignment, m: int, q: int) -> IntArray:
    """Neurons on which candidates are compared, ascending: all, or as many with samples as `MOST_WORK` allows."""
    size = max(int(MOST_WORK // q**3), 1)
    if size >= m:
        return np.arange(m)
    present = np.unique(assigned.winner[assigned.winner >= 0])
    chosen: IntArray = np.sort(np.random.default_rng(0).permutation(present)[:size])
    return chosen


def ridge_answers(
    candidates: Sequence[Candidate],
    assigned: Assignment,
    rows: FloatArray,
    splits: list[Split],
    m: int,
    o: int,
    winner: IntArray | None = None,
    neurons: IntArray | None = None,
) -> list[LeftOut]:
    """Left-out answers of each candidate.

    Args:
        candidates: As all that follow up to `winner`, those of `best_candidate`.
        assigned: All samples.
        rows: Theirs.
        splits: What to learn from and to answer.
        m: Number of neurons.
        o: Number of targets.
        winner: Neuron that each sample teaches.
        neurons: Of which models there are, ascending; samples nearest to one of them are answered by these alone. None
            takes all.
    """
    winner = assigned.winner if winner is None else winner
    neurons = np.arange(m) if neurons is None else neurons
    known = np.isin(assigned.winner, neurons) if len(neurons) < m else np.ones(len(assigned), dtype=bool)
    asked = [split.answer[known[split.answer]] for split in splits]
    found: list[list[FloatArray]] = [[] for _ in candidates]
    for split, position in zip(splits, asked, strict=True):
        queries = among(subset(assigned, position), neurons, m)
        models = split_answers(candidates, queries, rows[split.learn], winner[split.learn], neurons, m, o)
        for answers, answer in zip(found, models, strict=True):
            answers.append(answer)
    position = np.concatenate(asked)
    return [LeftOut(position, np.concatenate(answers)) for answers in found]


def split_answers(
    candidates: Sequence[Candidate], asked: Assignment, rows: FloatArray, winner: IntArray, neurons: IntArray, m: int,
    o: int,
) -> Iterator[FloatArray]:  # fmt: skip
    """Answers of each candidate to samples, as models of some neurons that have learned other rows.

    The same moments serve all candidates, and one smoothing all of a neighborhood.
    """
    sums = group_sums(rows, winner, m)
    total, bounds = sums.sum(axis=0), bounds_of(rows[:, -o:])
    for _, group in groupby(candidates, key=lambda candidate: id(candidate.neighborhood)):
        members = list(group)
        shrinkages = [candidate.shrinkage for candidate in members]
        overall = global_coefficients(total, rows.shape[1] - 1 - o, shrinkages[0].overall)
        smoothed = _smoothed(members[0].neighborhood, sums, neurons)
        for coefficients in coefficients_of_each(smoothed, overall, shrinkages):
            yield faded_answers(asked, coefficients, overall, bounds)


def _smoothed(neighborhood: Neighborhood, sums: FloatArray, neurons: IntArray) -> FloatArray:
    """Moments weighted by the neighborhoods of some neurons (s,), shape (s, q, q), from those of all (m, q, q)."""
    count = sums[:, 0, 0]
    if len(neurons) == len(sums):
        return neighborhood.smoothed(sums, count)
    weights = np.stack([neighborhood.weights(int(neuron), count) for neuron in neurons])
    smoothed: FloatArray = (weights @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])
    return smoothed


def among(assigned: Assignment, neurons: IntArray, m: int) -> Assignment:
    """Samples as seen by some of m neurons alone, ascending and numbered anew: what others had goes to these."""
    if len(neurons) == m:
        return assigned
    number = np.full(m + 1, -1)
    number[neurons] = np.arange(len(neurons))
    neuron = number[assigned.neuron]
    share = np.where(neuron >= 0, assigned.share, 0.0)
    share /= share.sum(axis=1, keepdims=True)
    return replace(assigned, neuron=neuron, share=share)


def global_answers(
    strengths: Iterable[float], assigned: Assignment, rows: FloatArray, splits: list[Split], o: int
) -> list[LeftOut]:
    """Left-out answers of global ridges of several strengths; arguments as in `ridge_answers`."""
    position = np.concatenate([split.answer for split in splits])
    totals = [rows[split.learn].T @ rows[split.learn] for split in splits]
    d = rows.shape[1] - 1 - o
    return [
        LeftOut(position, np.concatenate([
            assigned.inputs[split.answer] @ global_coefficients(total, d, strength)
            for split, total in zip(splits, totals, strict=True)
        ]))
        for strength in strengths
    ]  # fmt: skip


def subset(assigned: Assignment, position: IntArray | NDArray[np.bool_]) -> Assignment:
    """Some of the assigned samples."""
    return Assignment(
        assigned.inputs[position], assigned.neuron[position], assigned.distance[position], assigned.share[position],
        assigned.trust[position], assigned.point[position], assigned.missing[position],
    )  # fmt: skip


def best(answers: list[LeftOut], targets: FloatArray) -> int:
    """Which of the answers has the least error, the first among equals; the first where there are none."""
    losses = [left_out.loss(targets) for left_out in answers]
    return int(np.nanargmin(losses)) if not np.isnan(losses).all() else 0

r"""Choosing settings by errors on samples left out, in the order of time where there is one.

With timestamps, samples are cut into `BLOCKS` of equal size in time, and each of the last `LAST` is answered from
those before it: what the model will have to do. Folds that are contiguous, shuffled or of one sample choose models that
are too local for data that drifts. Without timestamps, folds are random.

The candidates are few, on purpose: `NEIGHBORHOODS` by `RIDGES` by `LEVELS`. All settings of one neighborhood share its
sums, and a batch of small systems is solved for each.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import Neighborhood
from somlib.jitl.placing import Placed
from somlib.jitl.ridge import Shrinkage, global_coefficients

BLOCKS, LAST = 8, 4
FOLDS = 5
RIDGES = (1.0, 10.0, 100.0)
LEVELS = (3.0, 30.0, 100.0)
OVERALL = (1.0, 10.0, 100.0, 1000.0)  # of the global model
SIGMAS = (0.5, 1.0, 2.0, 4.0)


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


def ridge_answers(
    candidates: Iterable[Candidate],
    placed: Placed,
    rows: FloatArray,
    splits: list[Split],
    m: int,
    o: int,
    winner: IntArray | None = None,
) -> list[LeftOut]:
    """Left-out answers of each candidate.

    Args:
        candidates: Settings.
        placed: All samples, n of them.
        rows: Their w = (1, x, y), shape (n, 1 + d + o).
        splits: What to learn from and to answer.
        m: Number of neurons.
        o: Number of targets.
        winner: Neuron that each sample teaches, shape (n,), -1 for none; None takes the nearest.
    """
    candidates, winner = list(candidates), placed.winner if winner is None else winner
    found: list[list[FloatArray]] = [[] for _ in candidates]
    for split in splits:
        asked = subset(placed, split.answer)
        models = _solved(candidates, rows[split.learn], winner[split.learn], m, o)
        for answers, model in zip(found, models, strict=True):
            answers.append(model.answer(asked))
    position = np.concatenate([split.answer for split in splits])
    return [LeftOut(position, np.concatenate(answers)) for answers in found]


def global_answers(
    strengths: Iterable[float], placed: Placed, rows: FloatArray, splits: list[Split], o: int
) -> list[LeftOut]:
    """Left-out answers of global ridges of several strengths; arguments as in `ridge_answers`."""
    position = np.concatenate([split.answer for split in splits])
    totals = [rows[split.learn].T @ rows[split.learn] for split in splits]
    d = rows.shape[1] - 1 - o
    return [
        LeftOut(position, np.concatenate([
            placed.inputs[split.answer] @ global_coefficients(total, d, strength)
            for split, total in zip(splits, totals, strict=True)
        ]))
        for strength in strengths
    ]  # fmt: skip


def _solved(candidates: list[Candidate], rows: FloatArray, neuron: IntArray, m: int, o: int) -> Iterator[LocalRidge]:
    """Models of all candidates from the same moments."""
    d = rows.shape[1] - 1 - o
    shared = None
    for candidate in candidates:
        model = LocalRidge(m, d, o, candidate.neighborhood, candidate.shrinkage)
        if shared is None:
            model.add(rows, neuron)
            shared = model.moments
        model.moments = shared
        model.solve(rows[:, 1 + d :])
        yield model


def subset(placed: Placed, position: IntArray | NDArray[np.bool_]) -> Placed:
    """Some of the placed samples."""
    return Placed(
        placed.inputs[position], placed.neuron[position], placed.distance[position], placed.share[position],
        placed.trust[position], placed.point[position],
    )  # fmt: skip


def best(answers: list[LeftOut], targets: FloatArray) -> int:
    """Which of the answers has the least error, the first among equals; the first where there are none."""
    losses = [left_out.loss(targets) for left_out in answers]
    return int(np.nanargmin(losses)) if not np.isnan(losses).all() else 0

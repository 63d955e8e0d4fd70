"""Samples in which values are hidden, to learn from left-out answers what gaps do to errors.

Training data may have no gaps, or others than what will be asked. So samples that are left out are answered once more
with some of their values hidden, by the same models, which have not seen them: what errors these answers make is what
intervals of samples with gaps rest on until enough of such samples have come with their labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from somlib.jitl.assignment import Assigner, Assignment
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.validation import Candidate, Split, split_answers, subset

SAMPLES = 3_000  # with hidden values: a third with one, with two, with more


@dataclass(frozen=True)
class Hidden:
    """Samples with hidden values.

    Attributes:
        position: Of each among all samples, int64, shape (t,).
        split: Which split leaves it out, int64, shape (t,).
        assigned: They, assigned.
    """

    position: IntArray
    split: IntArray
    assigned: Assignment

    def of(self, split: int) -> tuple[IntArray, Assignment]:
        """Those that one split leaves out: their positions among the t, and they."""
        chosen = np.flatnonzero(self.split == split)
        return chosen, subset(self.assigned, chosen)

    def __len__(self) -> int:
        return len(self.position)


def hidden_samples(X: NDArray[np.floating], assigner: Assigner, splits: Sequence[Split], seed: int) -> Hidden | None:
    """Samples of X (n, d) that splits leave out, with values hidden; None where there is nothing to hide or to answer.

    Of the values that a sample has, one, two or more are hidden, up to half of the features; one stays at least.
    """
    position = np.concatenate([split.answer for split in splits]) if splits else np.empty(0, dtype=np.int64)
    split = np.repeat(np.arange(len(splits)), [len(split.answer) for split in splits])
    rng = np.random.default_rng(seed)
    known = (~np.isnan(X[position])).sum(axis=1)
    enough = np.flatnonzero(known >= 2)
    if not len(enough):
        return None
    drawn = np.resize(rng.permutation(enough), SAMPLES)
    rows = X[position[drawn]].copy()
    more = rng.integers(3, max(4, X.shape[1] // 2 + 1), SAMPLES)
    wanted = np.minimum(np.where(np.arange(SAMPLES) % 3 == 2, more, np.arange(SAMPLES) % 3 + 1), known[drawn] - 1)
    order = np.where(np.isnan(rows), np.inf, rng.random(rows.shape)).argsort(axis=1).argsort(axis=1)
    rows[order < wanted[:, None]] = np.nan
    return Hidden(position[drawn], split[drawn], assigner.assign(rows))


def ridge_answers_to(
    hidden: Hidden, candidate: Candidate, rows: FloatArray, splits: Sequence[Split], winner: IntArray, m: int, o: int
) -> FloatArray:
    """Left-out answers (t, o) of local ridges to samples with hidden values.

    Args:
        hidden: The samples.
        candidate: Settings of the ridges.
        rows: w = (1, x, y) of all samples, shape (n, 1 + d + o).
        splits: What to learn from.
        winner: Neuron that each sample teaches, shape (n,), -1 for none.
        m: Number of neurons.
        o: Number of targets.
    """
    answer = np.empty((len(hidden), o))
    for number, split in enumerate(splits):
        chosen, asked = hidden.of(number)
        learn = split.learn
        answer[chosen] = next(split_answers([candidate], asked, rows[learn], winner[learn], np.arange(m), m, o))
    return answer

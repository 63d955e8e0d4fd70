"""Boosted trees as plain arrays: fitted by scikit-learn, kept and answered here.

A fitted `HistGradientBoostingRegressor` can only be saved by pickling it, which runs code from the file when it is
read. All that it knows are nodes of trees, and those are numbers.

Answering does not walk down each tree. Number the leaves of a tree from left to right as bits of a word, and let an
inner node whose question a sample answers with no strike out the leaves to its left: the lowest bit left is the leaf
that the walk ends in. What the thresholds of one feature strike out together depends only on how many of them lie below
the value, so it is tabled, and a sample costs one word for each feature and tree. Measured with 100 trees against walks
of all rows side by side: 6 times as fast with 16 features, even at some 150, half as fast with 300.

References:
    Lucchese et al., QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees, SIGIR
    2015 (the words of leaves).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from somlib.jitl.moments import FloatArray, IntArray

LEAF = 20  # fewest samples of a leaf, scikit-learn's default: a feature known in fewer can split nothing
BINNED = 200_000  # rows that scikit-learn draws to bin features by
# A blend fits a dozen of them, and half the time of scikit-learn's defaults (255 bins, 100 rounds of 31 leaves at rate
# 0.1) brought nothing there; tables in benchmarks/README.md, "What the local models cost".
SMALL: dict[str, Any] = {"max_bins": 64, "max_iter": 60, "max_leaf_nodes": 24, "learning_rate": 0.2}
LARGE: dict[str, Any] = {"max_bins": 64, "max_iter": 70, "max_leaf_nodes": 31, "learning_rate": 0.15}
MANY = 10_000
WORDS = 2**17  # looked up at a time: half a megabyte, which stays in the cache
ALL = np.uint32(2**32 - 1)  # all leaves; scikit-learn grows 31 a tree at most


@dataclass(frozen=True)
class Trees:
    """Regression trees whose leaves add up, all nodes one after the other.

    Attributes:
        start: First node of each tree, int64, shape (t,).
        feature: Feature that an inner node asks for, int64, shape (nodes,).
        threshold: A sample goes left where its value is at most this, shape (nodes,).
        missing_left: Whether a missing value goes left, bool, shape (nodes,).
        left: Node to the left; a leaf has itself, int64, shape (nodes,).
        right: Node to the right.
        value: What a leaf adds, shape (nodes,).
        first: What the sum starts from, shape (1,).
        depth: Steps from a root to the deepest leaf, int64, shape (1,).
    """

    start: IntArray
    feature: IntArray
    threshold: FloatArray
    missing_left: NDArray[np.bool_]
    left: IntArray
    right: IntArray
    value: FloatArray
    first: FloatArray
    depth: IntArray

    @classmethod
    def fitted(cls, X: NDArray[Any], y: FloatArray, seed: int) -> "Trees":
        """Trees of scikit-learn's histogram gradient boosting, with `boosting_settings`.

        Args:
            X: Samples, NaN where missing, shape (n, d). A feature that hardly any sample has is not asked for.
            y: Targets, shape (n,).
            seed: For the samples set aside for early stopping, which scikit-learn does beyond 10 000.
        """
        model = HistGradientBoostingRegressor(random_state=seed, **boosting_settings(len(X))).fit(binnable(X), y)
        # Private, and pinned by a test against `model.predict`: there is no public way to the nodes.
        return cls.of(
            [predictor.nodes for (predictor,) in model._predictors], float(np.ravel(model._baseline_prediction)[0])
        )

    @classmethod
    def of(cls, trees: Sequence[Any], first: float) -> "Trees":
        """Trees from the nodes that scikit-learn keeps of each, and what their sum starts from."""
        size = np.array([len(nodes) for nodes in trees], dtype=np.int64)
        start = np.cumsum(size) - size
        nodes: Any = np.concatenate(trees)
        own, base = np.arange(len(nodes)), np.repeat(start, size)
        leaf = nodes["is_leaf"].astype(bool)
        return cls(
            start=start,
            feature=np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
            threshold=nodes["num_threshold"].astype(np.float64),
            missing_left=nodes["missing_go_to_left"].astype(bool),
            left=np.where(leaf, own, base + nodes["left"]).astype(np.int64),
            right=np.where(leaf, own, base + nodes["right"]).astype(np.int64),
            value=np.where(leaf, nodes["value"], 0.0),
            first=np.array([first]),
            depth=np.array([nodes["depth"].max(initial=0)], dtype=np.int64),
        )

    def predict(self, X: NDArray[Any]) -> FloatArray:
        """Sums over all trees for samples (n, d), shape (n,)."""
        answer = np.empty(len(X))
        strikes, trees = self._strikes, len(self.start)
        rows = max(1, WORDS // max(trees * len(strikes.feature), 1))
        for first in range(0, len(X), rows):
            chunk = slice(first, first + rows)
            left = strikes.leaves_left(X[chunk])  # (b, t)
            lowest = np.bitwise_count((left & -left) - 1)
            leaf = self._leaves.take(lowest + 32 * np.arange(trees))
            answer[chunk] = self.first[0] + leaf.sum(axis=1)
        return answer

    @cached_property
    def _strikes(self) -> "Strikes":
        leaf_count, leaf_first = self._leaf_ranges
        inner = np.flatnonzero(self.left != np.arange(len(self.left)))
        gone = ((1 << leaf_count[self.left[inner]]) - 1) << leaf_first[inner]
        return Strikes.of(
            self.feature[inner], self.threshold[inner], self.missing_left[inner], self._tree[inner],
            ALL ^ gone.astype(np.uint32), len(self.start),
        )  # fmt: skip

    @cached_property
    def _leaves(self) -> FloatArray:
        """What each leaf adds, from left to right, shape (t, 32) and flat."""
        values = np.zeros((len(self.start), 32))
        leaf = np.flatnonzero(self.left == np.arange(len(self.left)))
        values[self._tree[leaf], self._leaf_ranges[1][leaf]] = self.value[leaf]
        return values.ravel()

    @property
    def _tree(self) -> IntArray:
        """Tree of each node, shape (nodes,)."""
        return np.searchsorted(self.start, np.arange(len(self.left)), side="right") - 1

    @cached_property
    def _leaf_ranges(self) -> tuple[IntArray, IntArray]:
        """How many leaves are under each node, and the number of the first in its tree, both shape (nodes,)."""
        inner = self.left != np.arange(len(self.left))
        count, first = np.ones_like(self.left), np.zeros_like(self.left)
        for _ in range(int(self.depth[0])):  # from the leaves up
            count = np.where(inner, count[self.left] + count[self.right], 1)
        for _ in range(int(self.depth[0])):  # from the roots down
            first[self.left[inner]] = first[inner]
            first[self.right[inner]] = first[inner] + count[self.left[inner]]
        return count, first

    def tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """All arrays by name, for saving."""
        return {
            f"{prefix}{f.name}": torch.from_numpy(np.ascontiguousarray(getattr(self, f.name))) for f in fields(self)
        }

    @classmethod
    def from_tensors(cls, prefix: str, tensors: Mapping[str, torch.Tensor]) -> "Trees":
        """Trees from what `tensors` gave."""
        return cls(**{f.name: tensors[f"{prefix}{f.name}"].numpy() for f in fields(cls)})


@dataclass(frozen=True)
class Strikes:
    """Which leaves are left of each tree, by the place of a value among the thresholds of its feature.

    Attributes:
        feature: Those that trees ask for, f of them, int64, shape (f,).
        threshold: Their thresholds, ascending, infinite where there are no more, shape (f, c).
        start: First row of `word` for each feature, int64, shape (f, 1).
        missing: Row of `word` for a missing value of each, int64, shape (f, 1).
        word: Leaves left of each tree, uint32, shape (rows, t): for each feature one row for any number of thresholds
            below the value, then one for a missing value.
    """

    feature: IntArray
    threshold: torch.Tensor
    start: IntArray
    missing: IntArray
    word: NDArray[np.uint32]

    @classmethod
    def of(
        cls, feature: IntArray, threshold: FloatArray, missing_left: NDArray[np.bool_], tree: IntArray,
        word: NDArray[np.uint32], trees: int,
    ) -> "Strikes":  # fmt: skip
        """From inner nodes (q,): what they ask, and the `word` of leaves left where the answer is no."""
        asked, owner = np.unique(feature, return_inverse=True)
        order = np.lexsort((threshold, owner))
        count = np.bincount(owner, minlength=len(asked))
        start = np.cumsum(count + 2) - (count + 2)
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)  # among its feature's thresholds
        padded = np.full((len(asked), count.max(initial=0)), np.inf)
        padded[owner[order], place] = threshold[order]
        table = np.full((int((count + 2).sum()), trees), ALL)
        table[start[owner[order]] + place + 1, tree[order]] = word[order]
        for first, size in zip(start, count, strict=True):
            block = table[first : first + size + 1]
            np.bitwise_and.accumulate(block, axis=0, out=block)
        no = ~missing_left
        missing = start + count + 1
        np.bitwise_and.at(table, (missing[owner[no]], tree[no]), word[no])
        return cls(asked, torch.from_numpy(padded), start[:, None], missing[:, None], table)

    def leaves_left(self, X: NDArray[Any]) -> NDArray[np.uint32]:
        """Words (b, t) of the leaves left for samples (b, d), NaN where missing."""
        values = np.ascontiguousarray(X[:, self.feature].T, dtype=np.float64)  # (f, b)
        below = torch.searchsorted(self.threshold, torch.from_numpy(values)).numpy()
        row = np.where(np.isnan(values), self.missing, self.start + below)
        left: NDArray[np.uint32] = np.bitwise_and.reduce(self.word[row], axis=0)
        return left


def boosting_settings(n: int) -> dict[str, Any]:
    """Arguments of `HistGradientBoostingRegressor` for `n` samples: what `SMALL` says, or `LARGE` from `MANY` on."""
    return SMALL if n < MANY else LARGE


def predict_all(trees: Sequence[Trees], X: NDArray[Any]) -> FloatArray:
    """Answers (n, o), a column for each of the trees."""
    return np.column_stack([tree.predict(X) for tree in trees])


def binnable(X: NDArray[Any]) -> NDArray[Any]:
    """Samples (n, d) as scikit-learn can bin them: 0 throughout in features that are known in too few to split by.

    It cannot bin a feature without a value among the rows that it draws, which are all, less those for early stopping,
    up to `BINNED`. Features known in fewer than `LEAF` samples add no split, so this changes no tree there; of more
    than `BINNED` rows, as many must be known that some are drawn.
    """
    fewest = LEAF * max(1.0, 2 * len(X) / BINNED)  # drawn: 20 expected or more, none with a chance below 1e-8
    rare = np.count_nonzero(~np.isnan(X), axis=0) < fewest
    return np.where(rare, X.dtype.type(0), X) if rare.any() else X

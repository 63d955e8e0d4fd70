r"""Experts that answer together: local ridges, and boosting with the local correction of its errors.

    ridge               the local ridges alone
    boosting            trees fitted to y, plus local ridges fitted to their errors
    boosting_on_ridge   a ridge, plus trees fitted to what it leaves, plus local ridges fitted to their errors

Trees cannot extrapolate; those on a ridge need not. They are not refitted when data arrives: the errors they make on
it are learned by their local ridges, which answer for all drift since. Errors to learn from before that are
of samples left out: each block in time answered by trees fitted to the blocks before it (without timestamps, random
folds).

The weights are convex least squares of the left-out answers, moved halfway to shares by the inverse of each expert's
mean squared error: weights that are estimated together are known to do worse than such plain ones on few and drifting
data.

References:
    Bates and Granger, The combination of forecasts, Operational Research Quarterly 20, 1969. Breiman, Stacked
    regressions, Machine Learning 24, 1996. Smith and Wallis, A simple explanation of the forecast combination puzzle,
    Oxf. Bull. Econ. Stat. 71, 2009.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from somlib.jitl.assignment import Assignment
from somlib.jitl.boosting import Trees, predict_all
from somlib.jitl.gaps import Hidden, ridge_answers_to
from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray, IntArray
from somlib.jitl.neighborhoods import Neighborhood
from somlib.jitl.ridge import Shrinkage, global_coefficients
from somlib.jitl.row_store import RowStore
from somlib.jitl.side_by_side import side_by_side
from somlib.jitl.validation import Candidate, LeftOut, Split, best_candidate, subset

BOOSTED = ("boosting", "boosting_on_ridge")
Boosted = Mapping[str, FloatArray]  # answers (n, o) of the boosting, by expert
RIDGES, LEVELS = (100.0, 1000.0), (30.0, 300.0)  # of corrections: errors have less structure than targets
SUM_TO_ONE = 1e3  # weight of that condition among the equations of the least squares


@dataclass(frozen=True)
class Base:
    """What stands before the correction: trees, one set a target, on a ridge or on nothing.

    Attributes:
        slopes: Intercept and slopes of the ridge, shape (1 + d, o); zeros for none.
        trees: Of each target.
    """

    slopes: FloatArray
    trees: tuple[Trees, ...]

    @classmethod
    def fitted(cls, assigned: Assignment, rows: FloatArray, o: int, on_ridge: bool, seed: int) -> "Base":
        """From assigned samples and their rows w = (1, x, y), shape (n, 1 + d + o)."""
        d = rows.shape[1] - 1 - o
        slopes = global_coefficients(rows.T @ rows, d) if on_ridge else np.zeros((1 + d, o))
        rest = rows[:, -o:] - assigned.inputs @ slopes
        point = assigned.point.numpy()
        return cls(slopes, tuple(Trees.fitted(point, rest[:, output], seed) for output in range(o)))

    def answer(self, assigned: Assignment) -> FloatArray:
        """Answers (n, o) to assigned samples."""
        answer: FloatArray = assigned.inputs @ self.slopes + predict_all(self.trees, assigned.point.numpy())
        return answer


class CorrectedBoosting:
    """Boosting with local ridges on its errors.

    Args:
        base: The boosting.
        correction: The ridges, still empty.
        settings: Of the correction, by name; kept for saving.
    """

    def __init__(self, base: Base, correction: LocalRidge, settings: Mapping[str, Any]) -> None:
        self.base, self.correction, self.settings = base, correction, dict(settings)
        self._errors = RowStore(torch.empty((0, correction.o), dtype=torch.float64))

    @property
    def errors(self) -> FloatArray:
        """Errors of the base on each sample held, NaN where not known, shape (n, o)."""
        return self._errors.rows.numpy()

    def learn(self, inputs: FloatArray, winner: IntArray, errors: FloatArray) -> None:
        """Take in errors (n, o) on samples, NaN where they are not known."""
        self.correction.add(*_usable(inputs, winner, errors))
        self._errors.append(torch.from_numpy(errors))

    def forget(self, inputs: FloatArray, winner: IntArray, kept: NDArray[np.bool_]) -> None:
        """Take out those of the samples held (n) that are not `kept`."""
        rows, winner = _usable(inputs, winner, self.errors)
        self.correction.remove(rows, winner, kept)
        self._errors.keep_only(torch.from_numpy(kept))

    def restore(self, errors: torch.Tensor) -> None:
        """Take over errors that the moments of the correction know already."""
        self._errors.append(errors)

    def solve(self) -> None:
        """Fit the correction anew."""
        self.correction.solve(self.errors)


class Blend:
    """Local ridges and corrected boosting, mixed by weights.

    Args:
        experts: The boosted ones, by name.
        weights: Of all, the local ridges under `"ridge"`; they sum to 1.
    """

    def __init__(self, experts: dict[str, CorrectedBoosting], weights: dict[str, float]) -> None:
        self.experts, self.weights = experts, weights

    def boosted(self, assigned: Assignment) -> Boosted:
        """What the boosting says to assigned samples, before any correction: most of the time that an answer takes."""
        return {name: expert.base.answer(assigned) for name, expert in self.experts.items()}

    def answer(self, assigned: Assignment, local: FloatArray, boosted: Boosted, bounds: FloatArray) -> FloatArray:
        """Answers (n, o), from those of the local ridges and all others, within `bounds` (2, o)."""
        answer = self.weights["ridge"] * local
        for name, expert in self.experts.items():
            answer = answer + self.weights[name] * (boosted[name] + expert.correction.answer(assigned))
        return np.clip(answer, *bounds)

    def learn(self, assigned: Assignment, rows: FloatArray, boosted: Boosted) -> None:
        """Learn from the errors of the boosting on new samples with rows w = (1, x, y)."""
        for name, expert in self.experts.items():
            expert.learn(assigned.inputs, assigned.winner, rows[:, -expert.correction.o :] - boosted[name])

    def forget(self, rows: FloatArray, winner: IntArray, kept: NDArray[np.bool_]) -> None:
        """Forget those of all samples held, with rows w = (1, x, y), that are not `kept`."""
        for expert in self.experts.values():
            expert.forget(rows[:, : -expert.correction.o], winner, kept)

    def solve(self) -> None:
        """Fit all corrections anew."""
        for expert in self.experts.values():
            expert.solve()


def blend_fitted(
    assigned: Assignment,
    rows: FloatArray,
    ridge_left_out: LeftOut,
    boosting_splits: list[Split],
    splits: list[Split],
    neighborhoods: Mapping[str, Neighborhood],
    ridge: LocalRidge,
    seed: int,
    hidden: Hidden | None = None,
    ridge_hidden: FloatArray | None = None,
    *,
    jobs: int = 1,
    step: Callable[[str], None] = lambda name: None,
) -> tuple[Blend, LeftOut, FloatArray | None]:
    """Experts fitted, their weights chosen; the left-out answers of the blend, also to samples with hidden values.

    Args:
        assigned: All samples.
        rows: Their w = (1, x, y), shape (n, 1 + d + o).
        ridge_left_out: Answers of the local ridges to samples left out.
        boosting_splits: Those by which errors of the boosting become known.
        splits: Those by which corrections and weights are chosen; each is among `boosting_splits`.
        neighborhoods: That corrections may have, by name.
        ridge: The local ridges.
        seed: Of the boosting.
        hidden: Samples with hidden values that `splits` leave out; None for none.
        ridge_hidden: Answers of the local ridges to these, shape (t, o).
        jobs: Boostings that are fitted at the same time.
        step: Called with the name of an expert after each of its boostings; from any thread.
    """
    position = ridge_left_out.position
    o, m = ridge_left_out.answer.shape[1], len(ridge.support)
    experts, answers = {}, {"ridge": ridge_left_out.answer}
    to_hidden = {} if ridge_hidden is None else {"ridge": ridge_hidden}
    every = Split(np.arange(len(rows)), position[:0])

    def fitted(job: tuple[str, Split]) -> Base:
        name, split = job
        known = assigned if split is every else subset(assigned, split.learn)
        learned = rows if split is every else rows[split.learn]
        base = Base.fitted(known, learned, o, name == "boosting_on_ridge", seed)
        step(name)
        return base

    # The largest first: what ends last shall not begin last.
    found = side_by_side(fitted, [(name, split) for split in (every, *boosting_splits[::-1]) for name in BOOSTED], jobs)
    for first, name in enumerate(BOOSTED):
        base, *bases = found[first :: len(BOOSTED)]
        bases = bases[::-1]
        errors = _left_out_errors(assigned, rows, o, boosting_splits, bases)
        settings, corrections = _best_correction(assigned, errors, splits, neighborhoods, m)
        strength = settings["strength"]
        if hidden is not None:
            usable, winner = _usable(assigned.inputs, assigned.winner, errors)
            correction = ridge_answers_to(hidden, _candidate(settings, neighborhoods), usable, splits, winner, m, o)
            to_hidden[name] = base_answers_to(hidden, bases[-len(splits) :]) + strength * correction
        answers[name] = rows[position, -o:] - errors[position] + strength * corrections.answer
        expert = CorrectedBoosting(base, correction_for(settings, neighborhoods, m, ridge.d, o), settings)
        expert.learn(assigned.inputs, assigned.winner, strength * errors)
        expert.solve()
        experts[name] = expert
    weights = convex_weights(np.stack([a.ravel() for a in answers.values()], axis=1), rows[position, -o:].ravel())
    named = {name: float(weight) for name, weight in zip(answers, weights, strict=True)}
    blended = np.sum([named[name] * answer for name, answer in answers.items()], axis=0)
    blended_hidden = None if hidden is None else np.sum([named[name] * to_hidden[name] for name in answers], axis=0)
    return Blend(experts, named), LeftOut(position, blended), blended_hidden


def correction_for(
    settings: Mapping[str, Any], neighborhoods: Mapping[str, Neighborhood], m: int, d: int, o: int
) -> LocalRidge:
    """Empty local ridges, for m neurons, d inputs and o targets, with the settings of a correction."""
    shrinkage = Shrinkage(settings["ridge"], settings["level"])
    return LocalRidge(m, d, o, neighborhoods[settings["neighborhood"]], shrinkage)


def convex_weights(answers: FloatArray, target: FloatArray) -> FloatArray:
    """Weights (e,) of experts, >= 0 with sum 1: half least squares, half by the inverse of their mean squared errors.

    Args:
        answers: Of each expert, shape (v, e).
        target: What they should be, shape (v,).
    """
    e = answers.shape[1]
    loss = np.mean((answers - target[:, None]) ** 2, axis=0)
    share = 1 / np.maximum(loss, np.finfo(np.float64).tiny * 1e10)
    scale = SUM_TO_ONE * max(1.0, float(np.linalg.norm(answers)))
    found, _ = nnls(np.vstack((answers, np.full((1, e), scale))), np.append(target, scale))
    weights: FloatArray = (found / found.sum() + share / share.sum()) / 2
    return weights


def _left_out_errors(
    assigned: Assignment, rows: FloatArray, o: int, splits: list[Split], bases: list[Base]
) -> FloatArray:
    """Errors (n, o) of boosting on samples that took no part in it, NaN for those never left out.

    Base number i has learned what the split of that number learns from.
    """
    errors = np.full((len(rows), o), np.nan)
    for split, base in zip(splits, bases, strict=True):
        errors[split.answer] = rows[split.answer, -o:] - base.answer(subset(assigned, split.answer))
    return errors


def base_answers_to(hidden: Hidden, bases: list[Base]) -> FloatArray:
    """Left-out answers (t, o) of boosting to samples with hidden values, from the base of each split."""
    answer = np.empty((len(hidden), len(bases[0].trees)))
    for number, base in enumerate(bases):
        chosen, asked = hidden.of(number)
        if len(chosen):
            answer[chosen] = base.answer(asked)
    return answer


def _best_correction(
    assigned: Assignment, errors: FloatArray, splits: list[Split], neighborhoods: Mapping[str, Neighborhood], m: int
) -> tuple[dict[str, Any], LeftOut]:
    """Settings of the correction with the least error on samples left out, and what it says to these."""
    settings: list[dict[str, Any]] = [
        {"neighborhood": name, "ridge": ridge, "level": level}
        for name, ridge, level in product(neighborhoods, RIDGES, LEVELS)
    ]
    candidates = [_candidate(chosen, neighborhoods) for chosen in settings]
    usable, winner = _usable(assigned.inputs, assigned.winner, errors)
    chosen, left_out = best_candidate(candidates, assigned, usable, splits, m, errors.shape[1], winner)
    return {**settings[chosen], "strength": _strength(left_out.answer, errors[left_out.position])}, left_out


def _strength(correction: FloatArray, errors: FloatArray) -> float:
    """The part of a correction, in [0, 1], that leaves the least of errors (v, o) on samples left out.

    A base that knew fewer rows made errors that the base of all rows no longer makes.
    """
    square = float((correction**2).sum())
    return float(np.clip((correction * errors).sum() / square, 0.0, 1.0)) if square > 0 else 0.0


def _candidate(settings: Mapping[str, Any], neighborhoods: Mapping[str, Neighborhood]) -> Candidate:
    name = settings["neighborhood"]
    return Candidate(name, neighborhoods[name], Shrinkage(settings["ridge"], settings["level"]))


def _usable(inputs: FloatArray, winner: IntArray, errors: FloatArray) -> tuple[FloatArray, IntArray]:
    """Rows (1, x, error) and their neurons, -1 where the error is not known."""
    known = np.isfinite(errors.sum(axis=1))
    return np.hstack((inputs, np.where(known[:, None], errors, 0.0))), np.where(known, winner, -1)


def blend_state(blend: Blend) -> dict[str, Any]:
    """Weights and settings of a blend, as JSON can hold them."""
    return {"weights": blend.weights, "settings": {name: expert.settings for name, expert in blend.experts.items()}}


def blend_tensors(blend: Blend) -> dict[str, torch.Tensor]:
    """All arrays of a blend, by name."""
    tensors: dict[str, torch.Tensor] = {}
    for name, expert in blend.experts.items():
        moments = expert.correction.moments
        arrays = {"slopes": expert.base.slopes, "moments": moments.sums, "peak": moments.peak, "errors": expert.errors}
        tensors |= {f"{name}.{key}": torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        for output, trees in enumerate(expert.base.trees):
            tensors |= trees.tensors(f"{name}.trees.{output}.")
    return tensors


def blend_from(
    state: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    neighborhoods: Mapping[str, Neighborhood],
    ridge: LocalRidge,
) -> Blend:
    """The blend that `blend_state` and `blend_tensors` describe, beside the local ridges."""
    experts = {}
    for name, settings in state["settings"].items():
        trees = tuple(Trees.from_tensors(f"{name}.trees.{output}.", tensors) for output in range(ridge.o))
        correction = correction_for(settings, neighborhoods, len(ridge.support), ridge.d, ridge.o)
        correction.moments.sums = tensors[f"{name}.moments"].numpy()
        correction.moments.peak = tensors[f"{name}.peak"].numpy()
        expert = CorrectedBoosting(Base(tensors[f"{name}.slopes"].numpy(), trees), correction, settings)
        expert.restore(tensors[f"{name}.errors"])
        expert.solve()
        experts[name] = expert
    return Blend(experts, dict(state["weights"]))

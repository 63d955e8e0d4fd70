"""Settings of local models, chosen by their answers to samples left out."""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from somlib.jitl.answering import LocalAnswers
from somlib.jitl.assignment import Assignment
from somlib.jitl.gaps import Hidden, ridge_answers_to
from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray
from somlib.jitl.sample_index import SampleIndex
from somlib.jitl.validation import (
    LEVELS,
    OVERALL,
    RIDGES,
    SIGMAS,
    Candidate,
    LeftOut,
    Split,
    best,
    best_candidate,
    global_answers,
    subset,
)

NEIGHBORS = (25, 80, 250)
JUDGED_ONE_BY_ONE, JUDGED_BATCHED = 500, 2_000  # left-out rows that per-query models answer in `fit`, at most


class ChosenSettings(LocalAnswers):
    """Local models whose settings are chosen where they are left open."""

    def _choose(self, assigned: Assignment, rows: FloatArray, splits: list[Split], time: FloatArray) -> LeftOut:
        """Set `settings_` to the best by the samples left out; their answers with these settings."""
        overall = OVERALL[0]
        if splits and self._used.shrink == "global":
            globals_ = global_answers(OVERALL, assigned, rows, splits, self._outputs)
            overall = OVERALL[best(globals_, rows[:, -self._outputs :])]
        candidates = self._candidates(overall)
        if not splits:
            self.settings_ = {**candidates[0][0], "n_neighbors": self._used.n_neighbors or NEIGHBORS[1]}
            return LeftOut(np.empty(0, dtype=np.int64), np.empty((0, self._outputs)))
        chosen, left_out = best_candidate(
            [c for _, c in candidates], assigned, rows, splits, self.som_.grid.m, self._outputs
        )
        self.settings_ = {**candidates[chosen][0], "n_neighbors": self._used.n_neighbors or NEIGHBORS[1]}
        if self._used.local_model == "ridge":
            return left_out
        return self._choose_for_queries(assigned, rows, splits, time)

    def _choose_for_queries(
        self, assigned: Assignment, rows: FloatArray, splits: list[Split], time: FloatArray
    ) -> LeftOut:
        """The same for the model that is fitted for each query, with part of the samples left out."""
        options = [self.settings_]
        if self._used.local_model == "query_ridge":
            ridges = RIDGES if self._used.ridge is None else (self._used.ridge,)
            levels = self._levels()
            sizes = NEIGHBORS if self._used.n_neighbors is None else (self._used.n_neighbors,)
            options = [
                {**self.settings_, "ridge": float(ridge), "level": float(level), "n_neighbors": size}
                for ridge, level, size in product(ridges, levels, sizes)
            ]
        cap = JUDGED_BATCHED if self._used.local_model in ("query_ridge", "mean") else JUDGED_ONE_BY_ONE
        found: list[list[FloatArray]] = [[] for _ in options]
        position = []
        for split in splits:
            asked = split.answer[:: max(1, math.ceil(len(split.answer) * len(splits) / cap))]
            position.append(asked)
            history = self._history(assigned, rows, split, time)
            for answers, settings in zip(found, options, strict=True):
                self.settings_ = settings
                answers.append(self._query_answers(subset(assigned, asked), *history))
        every = [LeftOut(np.concatenate(position), np.concatenate(answers)) for answers in found]
        chosen = best(every, rows[:, -self._outputs :])
        self.settings_ = options[chosen]
        return every[chosen]

    def _history(
        self, assigned: Assignment, rows: FloatArray, split: Split, time: FloatArray
    ) -> tuple[LocalRidge, SampleIndex, FloatArray]:
        """What a model of the samples to learn from would hold."""
        known, rows = subset(assigned, split.learn), rows[split.learn]
        index = SampleIndex(self.som_)
        index.order = self._used.neighborhood_order
        time_of_known = torch.from_numpy(time[split.learn])
        index.append_assigned(known.point, torch.from_numpy(known.winner), time_of_known, self.index_.clock)
        ridge = self._new_ridge(self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_))
        ridge.add(rows, known.winner)
        ridge.solve(rows[:, -self._outputs :])
        return ridge, index, rows

    def _candidates(self, overall: float) -> list[tuple[dict[str, Any], Candidate]]:
        """Settings to choose from, with what they stand for; those that are given are kept."""
        ridges = RIDGES if self._used.ridge is None else (self._used.ridge,)
        levels = self._levels()
        candidates = []
        for name, sigma in self._neighborhoods():
            neighborhood = self._neighborhood_of({"neighborhood": name, "sigma": sigma})
            for ridge, level in product(ridges, levels):
                strengths = {"ridge": float(ridge), "level": float(level), "overall": overall}
                settings = {"neighborhood": name, "sigma": sigma, **strengths}
                candidates.append((settings, Candidate(name, neighborhood, self._shrinkage_of(settings))))
        return candidates

    def _levels(self) -> Sequence[float]:
        used = self._used
        return LEVELS if used.level is None and used.shrink == "global" else (used.level or 0.0,)

    def _neighborhoods(self) -> list[tuple[str, float | None]]:
        gaussians: list[tuple[str, float | None]] = [
            ("gaussian", float(s)) for s in (SIGMAS if self._used.sigma is None else (self._used.sigma,))
        ]
        if self._used.neighborhood == "auto":
            return [("bmu_neighborhood_knn", None), *gaussians]
        return gaussians if self._used.neighborhood == "gaussian" else [(self._used.neighborhood, None)]

    def _answers_to(
        self, hidden: Hidden, assigned: Assignment, rows: FloatArray, splits: list[Split], time: FloatArray
    ) -> FloatArray:
        """Left-out answers (t, o) of the local models to samples with hidden values."""
        if self._used.local_model == "ridge":
            neighborhood, shrinkage = self._neighborhood_of(self.settings_), self._shrinkage_of(self.settings_)
            candidate = Candidate(self.settings_["neighborhood"], neighborhood, shrinkage)
            winner, m = assigned.winner, self.som_.grid.m
            return ridge_answers_to(hidden, candidate, rows, splits, winner, m, self._outputs)
        answer = np.full((len(hidden), self._outputs), np.nan)
        most = JUDGED_BATCHED if self._used.local_model in ("query_ridge", "mean") else JUDGED_ONE_BY_ONE
        for number, split in enumerate(splits):
            chosen, _ = hidden.of(number)
            chosen = chosen[: math.ceil(most / len(splits))]
            if len(chosen):
                history = self._history(assigned, rows, split, time)
                answer[chosen] = self._query_answers(subset(hidden.assigned, chosen), *history)
        return answer

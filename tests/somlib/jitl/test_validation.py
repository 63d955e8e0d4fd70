from dataclasses import replace

import numpy as np
import pytest

from somlib.core import SOM
from somlib.jitl import validation
from somlib.jitl.assignment import Assigner, Assignment, Standardizer
from somlib.jitl.local_ridge import LocalRidge
from somlib.jitl.moments import FloatArray
from somlib.jitl.neighborhoods import GaussianNeighborhood
from somlib.jitl.ridge import Shrinkage
from somlib.jitl.validation import Candidate, best_candidate, random_splits, ridge_answers, subset

M = 12
SPLITS = random_splits(300, seed=3)


@pytest.fixture(scope="module")
def problem() -> tuple[Assignment, FloatArray, list[Candidate]]:
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (300, 2))
    y = np.sin(2 * X[:, :1]) + 0.1 * rng.normal(size=(300, 1))
    som = SOM(4, 3, 2, epochs=5, algorithm="batch", initialization_mode="pca", device="cpu")
    som.fit(X, verbose=False)
    assigned = Assigner(som, Standardizer.of(X), own_units=False, k=2).assign(X)
    candidates = [
        Candidate(f"{sigma}", neighborhood, Shrinkage(ridge, level))
        for sigma, neighborhood in ((s, GaussianNeighborhood(som.grid, s)) for s in (0.5, 4.0))
        for ridge, level in ((1.0, 3.0), (1.0, 30.0), (100.0, 3.0))
    ]
    return assigned, np.hstack((assigned.inputs, y)), candidates


def test_each_candidate_answers_as_a_model_of_the_other_samples_would(
    problem: tuple[Assignment, FloatArray, list[Candidate]],
) -> None:
    assigned, rows, candidates = problem
    for candidate, found in zip(candidates, ridge_answers(candidates, assigned, rows, SPLITS, M, 1), strict=True):
        expected = np.empty((300, 1))
        for split in SPLITS:
            model = LocalRidge(M, 2, 1, candidate.neighborhood, candidate.shrinkage)
            model.add(rows[split.learn], assigned.winner[split.learn])
            model.solve(rows[split.learn, 3:])
            expected[split.answer] = model.answer(subset(assigned, split.answer))
        np.testing.assert_allclose(found.answer, expected[found.position], rtol=1e-9, atol=1e-12)


def test_some_neurons_answer_what_is_nearest_to_them_alone(
    problem: tuple[Assignment, FloatArray, list[Candidate]],
) -> None:
    assigned, rows, candidates = problem
    neurons = np.array([1, 4, 5])
    found = ridge_answers(candidates, assigned, rows, SPLITS, M, 1, neurons=neurons)
    # The others' share is nothing, and what is left makes the whole.
    share = np.where(np.isin(assigned.neuron, neurons), assigned.share, 0.0)
    asked = np.isin(assigned.winner, neurons)
    share[asked] /= share[asked].sum(axis=1, keepdims=True)
    every = ridge_answers(candidates, replace(assigned, share=share), rows, SPLITS, M, 1)
    for some, all_ in zip(found, every, strict=True):
        assert sorted(some.position) == np.flatnonzero(asked).tolist()
        expected = np.empty((300, 1))
        expected[all_.position] = all_.answer
        np.testing.assert_allclose(some.answer, expected[some.position], rtol=1e-9, atol=1e-12)


def test_with_too_many_systems_to_solve_part_of_the_neurons_choose_for_all(
    problem: tuple[Assignment, FloatArray, list[Candidate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned, rows, candidates = problem
    chosen, left_out = best_candidate(candidates, assigned, rows, SPLITS, M, 1)
    judged: list[int] = []

    def counted(*arguments: object) -> list[validation.LeftOut]:
        judged.append(M if len(arguments) < 8 else len(arguments[7]))  # type: ignore[arg-type]  # the neurons
        return ridge_answers(*arguments)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(validation, "ridge_answers", counted)
    monkeypatch.setattr(validation, "MOST_WORK", 5 * 4**3)
    by_part, all_answers = best_candidate(candidates, assigned, rows, SPLITS, M, 1)
    assert judged == [5, M]
    assert candidates[by_part].name == candidates[chosen].name == "0.5"
    assert sorted(all_answers.position) == sorted(left_out.position) == list(range(300))


def test_of_very_many_samples_some_of_each_split_choose_and_all_are_answered(
    problem: tuple[Assignment, FloatArray, list[Candidate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assigned, rows, candidates = problem
    chosen, left_out = best_candidate(candidates, assigned, rows, SPLITS, M, 1)
    judged: list[list[int]] = []

    def counted(*arguments: object) -> list[validation.LeftOut]:
        judged.append([len(split.answer) for split in arguments[3]])  # type: ignore[attr-defined]  # splits
        return ridge_answers(*arguments)  # type: ignore[arg-type]  # as given

    monkeypatch.setattr(validation, "ridge_answers", counted)
    monkeypatch.setattr(validation, "MOST_ANSWERED", 150)
    by_part, all_answers = best_candidate(candidates, assigned, rows, SPLITS, M, 1)
    assert judged == [[30] * 5, [60] * 5]
    assert by_part == chosen
    np.testing.assert_array_equal(all_answers.position, left_out.position)
    np.testing.assert_allclose(all_answers.answer, left_out.answer, rtol=1e-9, atol=1e-12)

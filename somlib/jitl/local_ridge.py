"""One linear model a neuron, kept ready to answer: moments, neighborhood and shrinkage put together.

All targets here are standardized, so that one strength of shrinking suits each of several.
"""

import numpy as np
from numpy.typing import NDArray

from somlib.jitl.assignment import Assignment
from somlib.jitl.moments import FloatArray, IntArray, NeuronMoments
from somlib.jitl.neighborhoods import Neighborhood
from somlib.jitl.ridge import Shrinkage, global_coefficients, local_coefficients

MARGIN = 0.1  # of the range of targets, that answers may lie beyond it


class LocalRidge:
    """Local ridge models of all neurons.

    Args:
        m: Number of neurons.
        d: Number of inputs.
        o: Number of targets.
        neighborhood: Whose samples each model is fitted to.
        shrinkage: How strongly models are drawn to the global one.

    Attributes:
        moments: Sums of w w', w = (1, x, y), of each neuron's samples.
        overall: Intercept and slopes of the global model, shape (1 + d, o).
        coefficients: Of each neuron's model, shape (m, 1 + d, o).
        support: Weighted number of samples behind each, shape (m,).
        bounds: Least and greatest answer for each target, shape (2, o).
    """

    def __init__(self, m: int, d: int, o: int, neighborhood: Neighborhood, shrinkage: Shrinkage) -> None:
        self.d, self.o = d, o
        self.neighborhood, self.shrinkage = neighborhood, shrinkage
        self.moments = NeuronMoments(m, 1 + d + o)
        self.overall: FloatArray = np.zeros((1 + d, o))
        self.coefficients: FloatArray = np.zeros((m, 1 + d, o))
        self.support: FloatArray = np.zeros(m)
        self.bounds: FloatArray = np.zeros((2, o))

    def add(self, rows: FloatArray, neuron: IntArray) -> None:
        """Learn from rows w (n, 1 + d + o) of the given neurons (n,)."""
        self.moments.add(rows, neuron)

    def remove(self, rows: FloatArray, neuron: IntArray, kept: NDArray[np.bool_]) -> None:
        """Forget those of all rows learned so far (n, 1 + d + o) that are not `kept`."""
        self.moments.remove(rows, neuron, kept)

    def solve(self, targets: FloatArray) -> None:
        """Fit all models anew to the moments.

        All, because the global model that they shrink to has moved; it is one batched solve.

        Args:
            targets: Of all samples held, shape (n, o), NaN where not known; their range bounds the answers.
        """
        self.overall = global_coefficients(self.moments.sums.sum(axis=0), self.d, self.shrinkage.overall)
        smoothed = self.neighborhood.smoothed(self.moments.sums, self.moments.count)
        self.support = np.ascontiguousarray(smoothed[:, 0, 0])
        self.coefficients = local_coefficients(smoothed, self.overall, self.shrinkage)
        self.bounds = bounds_of(targets)

    def answer(self, assigned: Assignment) -> FloatArray:
        """Answers (n, o) to assigned samples."""
        return faded_answers(assigned, self.coefficients, self.overall, self.bounds)

    def answer_one(self, inputs: FloatArray, neuron: IntArray, share: FloatArray, trust: float) -> FloatArray:
        """The answer (o,) to one sample, as `Assigner.assign_one` places it."""
        answer: FloatArray = share @ (inputs @ self.coefficients[neuron])
        if trust < 1:
            overall = inputs @ self.overall
            answer = overall + trust * (answer - overall)
        bounded: FloatArray = np.minimum(np.maximum(answer, self.bounds[0]), self.bounds[1])
        return bounded


def faded_answers(
    assigned: Assignment, coefficients: FloatArray, overall: FloatArray, bounds: FloatArray
) -> FloatArray:
    """Answers (n, o): of local models (m, 1 + d, o) where the map is to be trusted, fading to a global one off it."""
    everywhere = assigned.inputs @ overall
    local = mixed(coefficients, assigned)
    answer: FloatArray = np.clip(everywhere + assigned.trust[:, None] * (local - everywhere), *bounds)
    return answer


def mixed(coefficients: FloatArray, assigned: Assignment) -> FloatArray:
    """Answers (n, o) of linear models (m, 1 + d, o), mixed by the shares of the nearest neurons."""
    answer = np.zeros((len(assigned), coefficients.shape[2]))
    for rank in range(assigned.neuron.shape[1]):  # one neuron at a time: no block (n, k, 1 + d, o)
        chosen = coefficients[assigned.neuron[:, rank]]
        answer += assigned.share[:, [rank]] * np.einsum("np,npo->no", assigned.inputs, chosen)
    return answer


def bounds_of(targets: FloatArray) -> FloatArray:
    """Least and greatest admissible answer (2, o) by the range of the targets (n, o), NaN left out; 0 without any."""
    low = np.fmin.reduce(targets, axis=0, initial=np.nan)
    high = np.fmax.reduce(targets, axis=0, initial=np.nan)
    margin = MARGIN * (high - low)
    bounds: FloatArray = np.nan_to_num(np.stack((low - margin, high + margin)), nan=0.0)
    return bounds

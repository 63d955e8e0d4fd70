r"""Mixtures of Gaussians fitted to the moments of groups of rows instead of the rows themselves.

The expected log density of the rows of a group with component c is linear in the moments of the group,

    E log p_c(x) = theta_c . T       T = (E x x^T, E x, 1)       theta_c = (-P_c / 2, P_c mu_c, log const)

with P_c the inverse of the covariance; without the products of different features where no form needs them. So a step
of EM is two matrix products whose size is the number of groups, not of rows (Verbeek, Nunnink and Vlassis 2006): all
rows of a group share one responsibility.

Covariances have six forms, each component its own or all the same (tied): full, diagonal, spherical. A prior of the
total covariance keeps components of few rows from collapsing (Fraley and Raftery 2007).

References:
    Verbeek, Nunnink and Vlassis, Accelerated EM-based clustering of large data sets, Data Min. Knowl. Disc. 13, 2006.
    Fraley and Raftery, Bayesian regularization for normal mixture estimation and model-based clustering, J.
    Classification 24, 2007. Schwarz, Estimating the dimension of a model, Ann. Statist. 6(2), 1978 (BIC).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somlib.utils.clustering.neurons import FloatArray, IntArray

STEPS = 100  # of EM, at most
CONVERGED = 1e-4  # gain of log likelihood a row below which EM ends; 1e-5 takes twice as long, for no better clusters
LEAST_VARIANCE = 1e-9  # of the total one, a feature; keeps matrices regular where features depend on each other
BLOCK = 2**22  # entries of the statistics of rows at a time


@dataclass(frozen=True)
class Form:
    """What covariances may look like.

    Attributes:
        shape: `"full"`, `"diagonal"` or `"spherical"`.
        tied: Whether all components have the same.
    """

    shape: str
    tied: bool

    def parameters(self, k: int, d: int) -> int:
        """How many numbers a mixture of k components has."""
        one = {"full": d * (d + 1) // 2, "diagonal": d, "spherical": 1}[self.shape]
        return (1 if self.tied else k) * one + k * d + k - 1


DIAGONAL = tuple(Form(shape, tied) for shape in ("diagonal", "spherical") for tied in (False, True))
FULL = (Form("full", False), Form("full", True))
FORMS = {("tied " if form.tied else "") + form.shape: form for form in FULL + DIAGONAL}


@dataclass(frozen=True)
class Moments:
    """Sums over the rows of each group.

    Attributes:
        rows: Their weight, > 0, shape (u,).
        mean: Shape (u, d).
        square: Mean of the squared values, shape (u, d).
        product: Mean of the products of any two values, shape (u, d * d); None where no form needs them.
    """

    rows: FloatArray
    mean: FloatArray
    square: FloatArray
    product: FloatArray | None

    @classmethod
    def of(cls, values: FloatArray, weight: FloatArray, group: IntArray, products: bool) -> "Moments":
        """Those of rows (n, d) of some weight (n,) in groups numbered from 0 without gaps, shape (n,)."""
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        rows = np.bincount(group, weight).astype(np.float64)
        mean = np.stack([weight[part] @ values[part] for part in parts]) / rows[:, None]
        square = np.stack([weight[part] @ np.square(values[part]) for part in parts]) / rows[:, None]
        if not products:
            return cls(rows, mean, square, None)
        product = np.stack([((weight[part] * values[part].T) @ values[part]).ravel() for part in parts])
        return cls(rows, mean, square, product / rows[:, None])

    @cached_property
    def full(self) -> FloatArray:
        """The statistics T of full covariances, shape (u, d * d + d + 1)."""
        assert self.product is not None
        return np.hstack((self.product, self.mean, np.ones((len(self.mean), 1))))

    @cached_property
    def diagonal(self) -> FloatArray:
        """The statistics T of diagonal covariances, shape (u, 2 d + 1)."""
        return np.hstack((self.square, self.mean, np.ones((len(self.mean), 1))))

    @cached_property
    def total(self) -> FloatArray:
        """Covariance of all rows, shape (d, d), its diagonal alone where products are not known."""
        share = self.rows / self.rows.sum()
        mean, d = share @ self.mean, self.mean.shape[1]
        if self.product is None:
            total = np.diag(share @ self.square - mean**2)
        else:
            total = (share @ self.product).reshape(d, d) - np.outer(mean, mean)
        return np.asarray(total + LEAST_VARIANCE * np.trace(total) / d * np.eye(d))


@dataclass(frozen=True)
class Mixture:
    """Components, each the coefficients theta of its log density, shape (k, d * d + d + 1) or (k, 2 d + 1)."""

    theta: FloatArray
    full: bool

    def joint(self, moments: Moments) -> FloatArray:
        """Expected log density of the rows of each group with each component, shape (u, k)."""
        return (moments.full if self.full else moments.diagonal) @ self.theta.T

    def joint_of_rows(self, values: FloatArray) -> FloatArray:
        """Log density of each row (n, d) with each component, shape (n, k)."""
        return np.concatenate([part @ self.theta.T for part in self._statistics(values)])

    def _statistics(self, values: FloatArray) -> Iterator[FloatArray]:
        n = len(values)
        rows = max(1, BLOCK // self.theta.shape[1])
        for start in range(0, max(n, 1), rows):
            part = values[start : start + rows]
            squares = (part[:, :, None] * part[:, None, :]).reshape(len(part), -1) if self.full else part**2
            yield np.hstack((squares, part, np.ones((len(part), 1))))


def fitted(labels: IntArray, moments: Moments, form: Form) -> tuple[Mixture, float]:
    """EM that begins with labels of groups (u,), from 0 without gaps.

    Returns:
        The mixture, and its log likelihood.
    """
    weight, before = np.eye(labels.max() + 1)[labels], -np.inf
    for _ in range(STEPS):
        mixture = _estimated(weight * moments.rows[:, None], moments, form)
        joint = mixture.joint(moments)
        evidence = log_sum(joint)
        after = float(moments.rows @ evidence)
        if after - before < CONVERGED * moments.rows.sum():
            break
        weight, before = np.exp(joint - evidence[:, None]), after
    return mixture, after


def log_sum(joint: FloatArray) -> FloatArray:
    """Logarithm of the sum of exponentials of each row, shape (n,)."""
    highest = joint.max(axis=1)
    return np.asarray(highest + np.log(np.exp(joint - highest[:, None]).sum(axis=1)))


def _estimated(weight: FloatArray, moments: Moments, form: Form) -> Mixture:
    """The mixture of given responsibilities, in rows, shape (u, k)."""
    full, (k, d) = form.shape == "full", (weight.shape[1], moments.mean.shape[1])
    sums = weight.T @ (moments.full if full else moments.diagonal)
    rows = sums[:, -1] + 1e-10
    second, mean = sums[:, : -1 - d], sums[:, -1 - d : -1] / rows[:, None]
    prior = moments.total / k ** (2 / d)
    spread = (rows + (d if full else 1) + 2)[:, None]
    if full:
        own = (mean[:, :, None] * mean[:, None, :]).reshape(k, -1)
        covariance = _formed((second - rows[:, None] * own + prior.ravel()) / spread, rows, form).reshape(k, d, d)
        precision, (_, log_det) = np.linalg.inv(covariance), np.linalg.slogdet(covariance)
        precision = (precision + precision.transpose(0, 2, 1)) / 2
        linear = (precision @ mean[:, :, None])[:, :, 0]
    else:
        covariance = _formed((second - rows[:, None] * mean**2 + prior.diagonal()) / spread, rows, form)
        precision, log_det = 1 / covariance, np.log(covariance).sum(axis=1)
        linear = precision * mean
    constant = np.log(rows / rows.sum()) - (d * np.log(2 * np.pi) + log_det + (linear * mean).sum(axis=1)) / 2
    return Mixture(np.hstack((-precision.reshape(k, -1) / 2, linear, constant[:, None])), full)


def _formed(covariance: FloatArray, rows: FloatArray, form: Form) -> FloatArray:
    """Covariances (k, c) in a form, from those of each component."""
    if form.tied:
        covariance = np.broadcast_to(np.average(covariance, axis=0, weights=rows), covariance.shape)
    if form.shape == "spherical":
        covariance = np.broadcast_to(covariance.mean(axis=1, keepdims=True), covariance.shape)
    return covariance

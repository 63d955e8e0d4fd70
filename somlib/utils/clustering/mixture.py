r"""Clusters as mixtures of Gaussians whose components are merged where rows bridge them.

1. The rows of each neuron become moments, on large maps those of neighboring neurons together. EM runs on these; BIC
   chooses the number of components and the form of their covariances (`gaussians.py`).
2. Components describe shapes, not groups: a ring takes several. Two are merged, those that overlap most first (Hennig
   2010), unless the rows of both show a valley between them that chance cannot make (`valleys.py`), or hardly any row
   could belong to either. One cluster is an answer like any other.
3. A neuron belongs to the cluster that its rows most likely do, one without rows to that of the nearest with rows.

More clusters than a mixture shows, where they are asked for, are those of K-Means, without a strength.

The strength of a neuron is the mean probability of its cluster over its rows: 1 within a cluster, one half where two
meet.

References:
    Hennig, Methods for merging Gaussian mixture components, Adv. Data Anal. Classif. 4, 2010.
    Baudry, Raftery, Celeux, Lo and Gottardo, Combining mixture components for clustering, J. Comput. Graph. Statist.
    19(2), 2010.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from somlib.errors import ArgumentError
from somlib.utils.arguments import require_choice
from somlib.utils.clustering.gaussians import DIAGONAL, FORMS, FULL, Form, Mixture, Moments, fitted, log_sum
from somlib.utils.clustering.kmeans import KMEANS
from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one
from somlib.utils.clustering.neurons import FloatArray, IntArray, Neurons, is_whole, nearest
from somlib.utils.clustering.row_sample import RowSample, without_steps
from somlib.utils.clustering.valleys import discriminant, valley

logger = logging.getLogger(__name__)

MOST_COMPONENTS = 20
FIRST = 8  # numbers of components that every form is tried with: a ring gains nothing from two, but from six
FEW_FEATURES = 16  # up to which they are: rings lie in few
PATIENCE = 3  # numbers of components in a row beyond that a form does not gain from
UNITS = 400  # groups of rows that EM sees; one a neuron on maps up to this size
FULL_FEATURES = 100  # beyond, covariances are diagonal: their products take too long
# Both chosen on the sets of TUNING in benchmarks/cluster_sets.py.
SURE = 4.8  # standard score from which a valley is real: uniform and normal rows pass 4.5 in under 1 of 100
APART = 0.008  # overlap below which two components are no parts of one shape
FEWEST = 3  # rows of a component below which no line between it and another can be drawn


def _mixture(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    sample, wanted = _known(neurons), _wanted(options)
    values = without_steps(sample.complete(neurons.points, neurons.seed), neurons.seed)
    varying = np.ptp(values, axis=0) > 0
    if neurons.distinct == 1 or not varying.any():
        return Partition(all_in_one(neurons), probabilities=np.ones(len(neurons.points)))
    largest = np.abs(values[:, varying]).max()  # its square may have no place in float64
    unit = largest * math.sqrt(np.square((values[:, varying] - values[:, varying].mean(axis=0)) / largest).mean())
    values, points = values[:, varying] / unit, neurons.points[:, varying] / unit
    moments = _moments(values, points, sample, neurons.seed)
    mixture, chosen = best_mixture(moments, neurons.seed, replace(wanted, least=n_clusters or 1))
    rows = Rows.of(values, sample.weight, mixture)
    groups = merged(rows, n_clusters)
    labels, strength = _neurons(points, sample, probabilities(rows.joint, groups))
    if n_clusters is not None and len(np.unique(labels)) < n_clusters:
        logger.info("no mixture shows %d clusters that hold neurons: K-Means divides them", n_clusters)
        return replace(KMEANS.fit(neurons, n_clusters, {}), scores={})
    return Partition(labels, probabilities=strength, scores=chosen)


def _wanted(options: Mapping[str, Any]) -> "Wanted":
    components, name = options.get("n_components"), options.get("covariance_type")
    if components is not None and not is_whole(components, least=1):
        raise ArgumentError(f"n_components must be None or a whole number of at least 1, got {components!r}")
    if name is not None:
        require_choice("covariance_type", name, FORMS)
    return Wanted(components, None if name is None else FORMS[name])


def _known(neurons: Neurons) -> RowSample:
    if neurons.rows is None:
        raise ArgumentError("method='mixture' needs rows: give data")
    if not len(neurons.rows.values):
        raise ArgumentError("method='mixture' needs rows that have a nearest neuron, got none")
    return neurons.rows


# ---------------------------------------------------------------- components


def _moments(values: FloatArray, points: FloatArray, sample: RowSample, seed: int) -> Moments:
    """Moments of the rows of each neuron, or of about `UNITS` groups of neurons with rows."""
    held, group = np.unique(sample.winner, return_inverse=True)
    if len(held) > UNITS:
        from sklearn.cluster import KMeans  # slow to import, and no map needs it to train

        model = KMeans(UNITS, init="random", n_init=1, max_iter=20, random_state=seed)
        group = np.unique(model.fit(points[held]).labels_[group], return_inverse=True)[1]
    # Values drawn in place of missing ones keep no product with others.
    products = values.shape[1] <= FULL_FEATURES and not np.isnan(sample.values).any()
    return Moments.of(values, sample.weight, group, products)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a mixture.

    Attributes:
        components: How many, where there are as many groups of rows; None chooses.
        form: Of the covariances; None chooses.
        least: Components that it has at least, where there are as many groups of rows.
    """

    components: int | None = None
    form: Form | None = None
    least: int = 1

    def numbers(self, groups: int) -> range:
        """The numbers of components to try."""
        least = min(self.components or self.least, groups)
        return range(least, least + 1 if self.components else min(max(MOST_COMPONENTS, least), groups) + 1)

    def forms(self, moments: Moments) -> list[Form]:
        """The forms to try, full ones only where products are known."""
        forms = DIAGONAL if moments.product is None else FULL + DIAGONAL
        return [form for form in forms if self.form in (None, form)] or list(DIAGONAL)


def best_mixture(moments: Moments, seed: int, wanted: Wanted) -> tuple[Mixture, dict[str, Any]]:
    """The mixture of the lowest BIC, and its number of components and form by the names of the options.

    Args:
        moments: Of u groups of rows.
        seed: Fixes the starts, below 2^32.
        wanted: What it is to be like.
    """
    n, (u, d) = float(moments.rows.sum()), moments.mean.shape
    numbers, forms = wanted.numbers(u), wanted.forms(moments)
    first = FIRST if d <= FEW_FEATURES else 0
    lowest, at, best = dict.fromkeys(forms, np.inf), dict.fromkeys(forms, numbers[0]), {}
    for k in numbers:
        waiting = [form for form in forms if k <= max(at[form] + PATIENCE, first)]
        begins = _starts(moments, k, seed) if waiting else []
        for form in waiting:
            if form.shape == "full" and (1 if form.tied else k) * (d + 1) > n and len(forms) > 1:
                continue  # too few rows to tell a covariance from them
            mixture, likelihood = max((fitted(begin, moments, form) for begin in begins), key=lambda fit: fit[1])
            bic = np.log(n) * form.parameters(k, d) - 2 * likelihood
            if bic < lowest[form]:
                lowest[form], at[form], best[form] = bic, k, mixture
    form = min(best, key=lambda each: lowest[each])
    name = next(name for name, each in FORMS.items() if each == form)
    logger.info("%d components, %s", at[form], name)
    return best[form], {"n_components": at[form], "covariance_type": name}


def _starts(moments: Moments, k: int, seed: int) -> list[IntArray]:
    """Labels of the groups that EM begins with."""
    if k == 1:
        return [np.zeros(len(moments.rows), np.int64)]
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.cluster import KMeans

    tree = linkage(moments.mean, "ward")
    k_means = KMeans(k, n_init=3, random_state=seed).fit(moments.mean, sample_weight=moments.rows)
    both = fcluster(tree, k, "maxclust"), k_means.labels_
    return [np.unique(labels, return_inverse=True)[1] for labels in both]


# ---------------------------------------------------------------- merging

Group = tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """Rows in the eyes of a mixture.

    Attributes:
        values: Shape (n, d).
        weight: Shape (n,).
        joint: Log density of each with each component, shape (n, k).
        component: The likeliest of each, shape (n,).
    """

    values: FloatArray
    weight: FloatArray
    joint: FloatArray
    component: IntArray

    @classmethod
    def of(cls, values: FloatArray, weight: FloatArray, mixture: Mixture) -> "Rows":
        """Rows (n, d) of some weight (n,), as a mixture sees them."""
        joint = mixture.joint_of_rows(values)
        return cls(values, weight, joint, joint.argmax(axis=1))

    def overlap(self) -> FloatArray:
        """The share of a component's rows that are likelier of another, the larger of both ways, shape (k, k)."""
        k = self.joint.shape[1]
        share = np.exp(self.joint - log_sum(self.joint)[:, None]) * self.weight[:, None]
        found = np.stack([np.bincount(self.component, of, k) / max(of.sum(), 1e-9) for of in share.T])
        return np.asarray(np.maximum(found, found.T))

    def on_a_line(self, one: int, other: int) -> float:
        """The valley between two components on the line on which they overlap least."""
        first, second = self.component == one, self.component == other
        if min(first.sum(), second.sum()) < FEWEST:
            return 0.0
        a, b = self.values[first], self.values[second]
        of_a, of_b = self.weight[first], self.weight[second]
        line = discriminant(a, of_a, b, of_b)
        return valley(np.concatenate((a, b)) @ line, np.concatenate((of_a, of_b)))

    def on_odds(self, one: Group, other: Group) -> float:
        """The valley between two groups of components on the log odds of the two."""
        mine = np.isin(self.component, one + other)
        odds = log_sum(self.joint[mine][:, one]) - log_sum(self.joint[mine][:, other])
        return valley(odds, self.weight[mine])


def merged(rows: Rows, n_clusters: int | None = None) -> list[Group]:
    """Components in groups, merged until any two are apart, or to a number of groups."""
    scores = _Scores(rows)
    groups: list[Group] = [(c,) for c in range(rows.joint.shape[1])]
    while len(groups) > (n_clusters or 1):
        pairs = [(scores.overlap(*pair), *pair) for pair in combinations(groups, 2)]
        pairs.sort(key=lambda each: -each[0])
        found = next(((one, other) for _, one, other in pairs if scores.apart(one, other) < SURE), None)
        if found is None and n_clusters is None:
            break
        one, other = found or min((each[1:] for each in pairs), key=lambda pair: scores.apart(*pair))
        groups = [*(group for group in groups if group not in (one, other)), one + other]
    return groups


class _Scores:
    """How much groups of components are apart, each pair measured once."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._overlap = rows, rows.overlap()
        self._known: dict[tuple[Group, Group], float] = {}
        self._lines: dict[tuple[int, int], float] = {}

    def overlap(self, one: Group, other: Group) -> float:
        """The largest overlap of two of their components."""
        return float(self._overlap[np.ix_(one, other)].max())

    def apart(self, one: Group, other: Group) -> float:
        """The standard score of a valley between them; at least `SURE` where they hardly overlap."""
        if (one, other) not in self._known:
            overlap = self._overlap[np.ix_(one, other)]
            i, j = np.unravel_index(overlap.argmax(), overlap.shape)
            score = max(self._on_a_line(one[i], other[j]), self._rows.on_odds(one, other))
            self._known[one, other] = score if overlap.max() >= APART else SURE + score
        return self._known[one, other]

    def _on_a_line(self, one: int, other: int) -> float:
        pair = min(one, other), max(one, other)
        if pair not in self._lines:
            self._lines[pair] = self._rows.on_a_line(*pair)
        return self._lines[pair]


# ---------------------------------------------------------------- neurons


def _neurons(points: FloatArray, sample: RowSample, of_rows: FloatArray) -> tuple[IntArray, FloatArray]:
    """Cluster and strength of every neuron, shape (m,) each, from the probabilities (n, g) of rows."""
    m = len(points)
    rows = np.bincount(sample.winner, sample.weight, minlength=m)
    sums = [np.bincount(sample.winner, sample.weight * share, minlength=m) for share in of_rows.T]
    share = np.stack(sums, axis=1) / np.where(rows > 0, rows, 1.0)[:, None]
    empty, held = np.flatnonzero(rows == 0), np.flatnonzero(rows > 0)
    share[empty] = share[held[nearest(points[empty], points[held])]]
    labels = share.argmax(axis=1)
    return labels, np.minimum(share[np.arange(m), labels], 1.0)


def probabilities(joint: FloatArray, groups: list[Group]) -> FloatArray:
    """Of each group at each place, from the log density with each component (n, k), shape (n, g)."""
    together = np.stack([log_sum(joint[:, group]) for group in groups], axis=1)
    return np.asarray(np.exp(together - log_sum(together)[:, None]))


MIXTURE = ClusteringMethod(
    _mixture, "merged Gaussian mixture", ("n_components", "covariance_type"), finds_number=True, needs_data=True
)

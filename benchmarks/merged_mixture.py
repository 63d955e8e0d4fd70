r"""A prototype: mixtures of Gaussians fitted to the moments of neurons, their components merged where rows bridge them.

1. Rows in moments: number, mean and scatter of the rows of each neuron. EM runs on these, with one responsibility a
   neuron, so that a step costs no more for a million rows (Verbeek, Nunnink and Vlassis 2006).
2. Number of components and form of their covariance by BIC, with the prior of Fraley and Raftery (2007).
3. Components describe shapes, not groups: two are merged, those that overlap most first (Hennig 2010), unless the rows
   show a valley between them, or hardly any row could belong to either.

References:
    Verbeek, Nunnink and Vlassis, Accelerated EM-based clustering of large data sets, Data Min. Knowl. Disc. 13, 2006.
    Fraley and Raftery, Bayesian regularization for normal mixture estimation, J. Classification 24, 2007.
    Hennig, Methods for merging Gaussian mixture components, Adv. Data Anal. Classif. 4, 2010.
"""

from dataclasses import dataclass

import numpy as np
from cells import Array
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.special import logsumexp
from sklearn.cluster import KMeans

FORMS = ("full", "tied", "diagonal", "tied diagonal", "spherical", "tied spherical")
MOST = 20  # components
PATIENCE = 3  # numbers of components in a row that no form gains from
SURE = 4.5  # deviance of a valley, as a standard score: uniform and normal rows pass it in under 1 of 100
APART = 0.012  # overlap below which two components are no parts of one shape
DEEP = 0.6  # of the lower peak; a valley above is none
BINS = [round(5 * 2 ** (i / 2)) for i in range(10)]


@dataclass(frozen=True)
class Moments:
    """Number (h,), mean (h, d) and covariance (h, d, d) of the rows of each neuron that has some, and its place."""

    rows: Array
    mean: Array
    scatter: Array
    place: Array

    @classmethod
    def of(cls, rows: Array, winner: Array) -> "Moments":
        held, place, count = np.unique(winner, return_inverse=True, return_counts=True)
        mean = np.zeros((len(held), rows.shape[1]))
        np.add.at(mean, place, rows)
        mean /= count[:, None]
        apart = rows - mean[place]
        scatter = np.stack([apart[place == j].T @ apart[place == j] / count[j] for j in range(len(held))])
        return cls(count.astype(float), mean, scatter, place)


@dataclass(frozen=True)
class Mixture:
    """Logarithm of the shares (k,), means (k, d) and covariances (k, d, d)."""

    share: Array
    mean: Array
    spread: Array

    def joint(self, points: Array, scatter: Array | None = None) -> Array:
        """Log density of points with each component, in the mean over rows of that scatter, shape (n, k)."""
        found, d = np.empty((len(points), len(self.share))), points.shape[1]
        for c, (mean, spread) in enumerate(zip(self.mean, self.spread, strict=True)):
            precision = np.linalg.inv(spread)
            apart = points - mean
            squared = ((apart @ precision) * apart).sum(axis=1)
            if scatter is not None:
                squared += scatter.reshape(len(points), -1) @ precision.ravel()
            found[:, c] = self.share[c] - (d * np.log(2 * np.pi) + np.linalg.slogdet(spread)[1] + squared) / 2
        return found


def parameters(form: str, k: int, d: int) -> int:
    of_one = {"full": d * (d + 1) // 2, "diagonal": d, "spherical": 1}[
        form.removeprefix("tied ").replace("tied", "full")
    ]
    return (1 if form.startswith("tied") else k) * of_one + k * d + k - 1


def formed(scatter: Array, rows: Array, form: str) -> Array:
    """Covariances (k, d, d) of a form from scatter matrices and how many rows each is of."""
    d = scatter.shape[1]
    if form.startswith("tied"):
        scatter = np.repeat(np.average(scatter, axis=0, weights=rows)[None], len(rows), axis=0)
    if form.endswith("diagonal"):
        return np.stack([np.diag(np.diag(one)) for one in scatter])
    return np.stack([np.trace(one) / d * np.eye(d) for one in scatter]) if form.endswith("spherical") else scatter


def estimated(weight: Array, moments: Moments, form: str, total: Array) -> Mixture:
    """The mixture of given responsibilities (h, k)."""
    weight = weight * moments.rows[:, None]
    rows, d = weight.sum(axis=0) + 1e-10, total.shape[0]
    mean = (weight.T @ moments.mean) / rows[:, None]
    scatter = []
    for c in range(len(rows)):
        apart = moments.mean - mean[c]
        own = np.tensordot(weight[:, c], moments.scatter, 1) + (weight[:, [c]] * apart).T @ apart
        scatter.append((own + total / len(rows) ** (2 / d)) / (rows[c] + d + 2))
    return Mixture(np.log(rows / rows.sum()), mean, formed(np.stack(scatter), rows, form))


def fitted(labels: Array, moments: Moments, form: str, total: Array) -> tuple[Mixture, float]:
    """EM from labels of neurons; the mixture and its log likelihood."""
    weight, before = np.eye(labels.max() + 1)[labels], -np.inf
    for _ in range(100):
        mixture = estimated(weight, moments, form, total)
        joint = mixture.joint(moments.mean, moments.scatter)
        evidence = logsumexp(joint, axis=1)
        weight, after = np.exp(joint - evidence[:, None]), float(moments.rows @ evidence)
        if after - before < 1e-5 * moments.rows.sum():
            break
        before = after
    return mixture, after


def best_mixture(moments: Moments) -> Mixture:
    """The mixture of least BIC."""
    n, d = moments.rows.sum(), moments.mean.shape[1]
    apart = moments.mean - moments.rows @ moments.mean / n
    total = (np.tensordot(moments.rows, moments.scatter, 1) + (moments.rows[:, None] * apart).T @ apart) / n
    total += 1e-9 * np.trace(total) / d * np.eye(d)
    tree = linkage(moments.mean, "ward")
    best, least, found_at = None, np.inf, 0
    for k in range(1, min(MOST, len(moments.rows) - 1) + 1):
        if k > found_at + PATIENCE and best is not None:
            break
        starts = [fcluster(tree, k, "maxclust") - 1]
        if k > 1:
            starts.append(KMeans(k, n_init=3, random_state=0).fit(moments.mean, sample_weight=moments.rows).labels_)
        for form in FORMS:
            mixture, likelihood = max((fitted(start, moments, form, total) for start in starts), key=lambda fit: fit[1])
            bic = np.log(n) * parameters(form, k, d) - 2 * likelihood
            if bic < least:
                best, least, found_at = mixture, bic, k
    assert best is not None
    return best


def valley(line: Array) -> float:
    """The standard score of the deepest valley in values on a line (n,): counts against the peaks on both sides."""
    low, width = line.min(), np.ptp(line)
    if len(line) < 9 or not width:
        return 0.0
    best, at = 0.0, (line - low) / width
    for bins in BINS:
        for offset in (0.0, 0.5):
            count = np.bincount((at * (bins - 1e-9) + offset).astype(int), minlength=bins + 1).astype(float)
            peak = np.minimum(np.maximum.accumulate(count), np.maximum.accumulate(count[::-1])[::-1])
            deep = (peak > 0) & (count < DEEP * peak)
            p, c = peak[deep], count[deep]
            deviance = 2 * (p * np.log(2 * p / (p + c)) + c * np.log(np.maximum(2 * c / (p + c), 1e-300)))
            best = max(best, float(deviance.max(initial=0.0)))
    return best**0.5


def discriminant(one: Array, other: Array) -> Array:
    """The direction on which two groups of rows overlap least (Anderson and Bahadur 1962), shape (d,)."""
    d = one.shape[1]
    first, second = (np.cov(rows.T, bias=True).reshape(d, d) for rows in (one, other))
    between, least = other.mean(axis=0) - one.mean(axis=0), 1e-3 * np.trace(first + second) / 2 / d * np.eye(d)
    lines = [np.linalg.solve(q * first + (1 - q) * second + least, between) for q in np.linspace(0.03, 0.97, 9)]
    return max(lines, key=lambda w: w @ between / (np.sqrt(w @ first @ w) + np.sqrt(w @ second @ w)))


def merged(rows: Array, joint: Array) -> list[list[int]]:
    """Components in groups; `joint` is the log density of rows with each, shape (n, k)."""
    groups = [[c] for c in range(joint.shape[1])]
    share, own = np.exp(joint - logsumexp(joint, axis=1)[:, None]), joint.argmax(axis=1)
    overlap = np.stack([np.bincount(own, column, len(groups)) / max(column.sum(), 1e-9) for column in share.T])
    overlap = np.maximum(overlap, overlap.T)
    on_line: dict[tuple[int, int], float] = {}

    def between(one: int, other: int) -> float:
        if (one, other) not in on_line:
            first, second = rows[own == one], rows[own == other]
            few = min(len(first), len(second)) < 3
            on_line[one, other] = 0.0 if few else valley(np.concatenate((first, second)) @ discriminant(first, second))
        return on_line[one, other]

    while True:
        together = np.stack([logsumexp(joint[:, group], axis=1) for group in groups], axis=1)
        at = together.argmax(axis=1)
        pairs = [
            max((overlap[p, q], i, j, p, q) for p in groups[i] for q in groups[j])
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        ]
        for most, i, j, p, q in sorted(pairs, reverse=True):
            mine = (at == i) | (at == j)
            if most >= APART and max(valley(together[mine, i] - together[mine, j]), between(p, q)) < SURE:
                groups[i] += groups.pop(j)
                break
        else:
            return groups


def merged_mixture(rows: Array, winner: Array, m: int) -> Array:
    """Cluster of each neuron, 0 for those without rows, shape (m,)."""
    rows = rows.astype(np.float64)
    moments = Moments.of(rows, winner)
    mixture = best_mixture(moments)
    groups = merged(rows, mixture.joint(rows))
    joint = mixture.joint(moments.mean, moments.scatter)
    found = np.zeros(m, dtype=int)
    found[np.unique(winner)] = np.stack([logsumexp(joint[:, group], axis=1) for group in groups], axis=1).argmax(axis=1)
    return found

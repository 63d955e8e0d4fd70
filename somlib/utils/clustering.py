r"""Groups of similar neurons, and how well they stand apart.

    kmeans    smallest sum of squared distances to k means; k by silhouette
    gmm       most likely mixture of k Gaussians (EM); k by BIC, 1 included
    hdbscan   dense regions, the rest is noise; finds its own k
    ward      merges the two neighboring clusters that add the least variance: every cluster is one connected piece of
              the grid, torus included; k by silhouette

Neurons are compared by Euclidean distance in one of three feature spaces, whatever the map's own distance is:

    weights     w_k as they are                                                     f = d
    positions   row and column of the cell's center                                 f = 2
    combined    both, each block divided by the root of its total variance          f = d + 2

Positions are those of the flat grid. On a torus the cells at the seam are therefore far apart in `positions` and
`combined`; Ward's contiguity and `topological_quality` do know the torus.

Neurons that training pulled together differ by rounding only. Splitting on that would be noise, so the methods see
features rounded to 2^-20 of their spread, and neurons equal on that lattice count as one distinct neuron.

HDBSCAN is scikit-learn's: exact (the `hdbscan` package takes an approximate spanning tree by default and meets tiny
maps with errors from its tree code), and kept and released together with the other three.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN, KMeans, ward_tree
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_samples
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from somlib.errors import ArgumentError, DataError, ShapeError, unknown_name, warn
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table

logger = logging.getLogger(__name__)

FeatureSpace = Literal["weights", "positions", "combined"]
FEATURE_SPACES: tuple[FeatureSpace, ...] = ("weights", "positions", "combined")
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESOLUTION = 2.0**-20  # in units of the spread; its square stays far above float64 rounding of squared distances
ROUNDINGS = 8  # a feature is constant if it varies by no more than so many rounding errors of its size
MOST_CLUSTERS = 20  # upper end of an automatic k, with the root of m (Vesanto and Alhoniemi 2000) on smaller maps
SILHOUETTE_NEURONS = 5_000  # its cost is quadratic: 0.4 s for these on one core, 8 s for a choice of k
LEAST_CLUSTERED = 0.5  # share of neurons below which scores of the clustered ones say nothing of the map
WORKING_MEMORY_MB = 64


class ClusterMetrics(TypedDict):
    """How good a partition is. A score that is not defined is NaN; the reason is logged at level INFO.

    The first three are over the clustered neurons, in the feature space. They need two clusters, fewer clusters than
    clustered neurons, and at least half of the neurons clustered: the silhouette of the few that are not noise would
    praise a clustering that explains little of the map.

    Attributes:
        silhouette_score: Mean silhouette, in [-1, 1], higher is better; over a fixed random sample of 5 000 neurons
            on larger maps.
        davies_bouldin_score: Mean over the clusters of their worst ratio of spread to separation, >= 0, lower is
            better. Not defined if two clusters share one center.
        calinski_harabasz_score: Variance between over variance within clusters, > 0, higher is better. Not defined
            without variance within.
        n_noise_points: Number of neurons in no cluster.
        noise_ratio: Their share.
        topological_quality: Contiguity on the grid, see `topological_quality`.
    """

    silhouette_score: float
    davies_bouldin_score: float
    calinski_harabasz_score: float
    n_noise_points: int
    noise_ratio: float
    topological_quality: float


class ClusterResult(TypedDict):
    """A partition of the neurons; tensors on the device and in the float type of the codebook.

    Attributes:
        labels: Cluster of each neuron in flat order, int64, shape (m,): from 1 without gaps, numbered by first
            appearance, so that equal partitions get equal labels; noise is -1.
        centers: Row k - 1 is the center of cluster k, in the space of `original_data`, shape (k, f): the means of the
            mixture for `"gmm"`, else the mean of the members.
        n_clusters: The clusters that the labels show.
        method: As asked.
        feature_space: As asked.
        metrics: See `ClusterMetrics`.
        original_data: The features that were clustered: weights first, then row and column position, shape (m, f).
        inertia: `"kmeans"`: sum of squared distances to the centers, in squared units of `original_data`.
        bic: `"gmm"`: Bayesian information criterion, lower is better; NaN where all neurons are equal. Constant
            features are left out of the density.
        aic: `"gmm"`: Akaike's criterion, likewise.
        probabilities: `"gmm"`: of each cluster by neuron, shape (m, k), rows sum to 1. `"hdbscan"`: strength of each
            neuron's membership in its cluster, shape (m,), 0 for noise.
    """

    labels: Tensor
    centers: Tensor
    n_clusters: int
    method: str
    feature_space: str
    metrics: ClusterMetrics
    original_data: Tensor
    inertia: NotRequired[float]
    bic: NotRequired[float]
    aic: NotRequired[float]
    probabilities: NotRequired[Tensor]


@dataclass(frozen=True)
class Neurons:
    """What a method clusters.

    Attributes:
        points: Features around their mean, on the lattice of resolution, in their own units, shape (m, f).
        distinct: Number of different rows of `points`.
        grid: Their grid.
        seed: Fixes everything random, below 2^32.
    """

    points: FloatArray
    distinct: int
    grid: Grid
    seed: int

    @property
    def most_clusters(self) -> int:
        """Upper end of an automatic k: sqrt(m), but 2 at least, and no more than there are distinct neurons."""
        return min(max(2, math.isqrt(len(self.points))), MOST_CLUSTERS, self.distinct)


@dataclass(frozen=True)
class Partition:
    """What a method answers, in its own numbering of clusters from 0.

    Attributes:
        labels: Cluster of each neuron, -1 for noise, shape (m,); numbers may be missing.
        centers: Row c for cluster c, around the mean of the features; None for the mean of the members.
        probabilities: By neuron, shape (m,), or by neuron and cluster, one column for each row of `centers`.
        scores: Further numbers for the result.
    """

    labels: IntArray
    centers: FloatArray | None = None
    probabilities: FloatArray | None = None
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusteringMethod:
    """A way to cluster.

    Attributes:
        fit: From neurons, the number of clusters (None: the method chooses) and options to a partition.
        options: Names of the options, which are those of the scikit-learn estimator.
        takes_n_clusters: Whether the number of clusters can be asked for.
    """

    fit: Callable[[Neurons, int | None, Mapping[str, Any]], Partition]
    options: tuple[str, ...] = ()
    takes_n_clusters: bool = True


def cluster_neurons(
    codebook: Tensor,
    grid: Grid,
    method: str = "kmeans",
    n_clusters: int | None = None,
    feature_space: str = "weights",
    random_seed: int = 0,
    **kwargs: Any,
) -> ClusterResult:
    """The neurons of a map in clusters.

    Maps of any size work; neurons that are all equal are one cluster, whatever the method. The same arguments give the
    same result every time, whatever the number of threads.

    Args:
        codebook: Weights in flat order, finite, shape (m, d).
        grid: The grid of the m neurons.
        method: A key of `CLUSTERING_METHODS`.
        n_clusters: From 1 to the number of distinct neurons; None chooses, up to sqrt(m) and at most 20. `"kmeans"`
            and `"ward"` take the best silhouette from 2 up. `"gmm"` takes the best BIC from 1 up among mixtures whose
            every component holds enough neurons to estimate its covariance. `"hdbscan"` finds its own and warns if a
            number is asked for.
        feature_space: `"weights"`, `"positions"` or `"combined"`.
        random_seed: Fixes the starts of `"kmeans"` and `"gmm"`, and the sample of the silhouette on large maps; >= 0.
        **kwargs: Options of the scikit-learn estimator: for `"kmeans"` n_init, max_iter, tol, algorithm; for `"gmm"`
            covariance_type, tol, reg_covar (in units of the features' mean variance), max_iter, n_init, init_params;
            for `"hdbscan"` min_cluster_size (half the root of m unless given, at least 3), min_samples (2 unless
            given: neurons are means of samples already), max_cluster_size, cluster_selection_epsilon,
            cluster_selection_method, allow_single_cluster, alpha; none for `"ward"`.

    Returns:
        Labels, centers, metrics and what the method adds.

    Raises:
        ArgumentError: An unknown method, feature space or option, an option's value that scikit-learn refuses, or
            `n_clusters` below 1 or beyond the distinct neurons.
        ShapeError: `codebook` is not of shape (m, d) for the grid.
        DataError: `codebook` is not finite.

    Example:
        >>> codebook = torch.tensor([[0.0], [0.1], [5.0], [5.1], [5.2]])
        >>> cluster_neurons(codebook, Grid(1, 5))["labels"]
        tensor([1, 1, 2, 2, 2])

    References:
        Vesanto and Alhoniemi, Clustering of the self-organizing map, IEEE Trans. Neural Networks 11(3), 2000.
        Rousseeuw, Silhouettes, J. Comput. Appl. Math. 20, 1987. Schwarz, Estimating the dimension of a model,
        Ann. Statist. 6(2), 1978. Campello, Moulavi and Sander, Density-based clustering based on hierarchical density
        estimates, PAKDD 2013. Murtagh, A survey of algorithms for contiguity-constrained clustering, Comput. J. 28(1),
        1985 (Ward with contiguity).
    """
    chosen = _method(method, kwargs)
    features = _features(codebook, grid, feature_space)
    neurons = _neurons(features, torch.finfo(codebook.dtype).eps, grid, random_seed)
    _require_n_clusters(n_clusters, neurons, feature_space)
    if n_clusters is not None and not chosen.takes_n_clusters:
        warn(f"n_clusters={n_clusters} has no effect: method={method!r} finds the number of clusters itself")
    with _one_thread():
        partition = _fit(chosen, method, neurons, n_clusters, kwargs)
    result = _result(partition, features, neurons, codebook)
    if chosen.takes_n_clusters and n_clusters not in (None, result["n_clusters"]):
        warn(f"n_clusters={n_clusters} was asked for, but only {result['n_clusters']} hold neurons")
    return {**result, "method": method, "feature_space": feature_space}


def neuron_features(codebook: Tensor, grid: Grid, feature_space: str = "weights") -> Tensor:
    """The features by which neurons are compared: weights first, then row and column position.

    Args:
        codebook: Weights in flat order, finite, shape (m, d).
        grid: The grid of the m neurons.
        feature_space: `"weights"`, `"positions"` or `"combined"`; a block of `"combined"` without variance is left as
            it is.

    Returns:
        Features, device and dtype of `codebook`, shape (m, f).

    Raises:
        ArgumentError: The feature space is unknown.
        ShapeError: `codebook` is not of shape (m, d) for the grid.
        DataError: `codebook` is not finite.
    """
    return torch.from_numpy(_features(codebook, grid, feature_space)).to(codebook)


def kmeans_inertias(features: Tensor, max_k: int, random_seed: int = 0) -> tuple[list[int], list[float]]:
    """The K-Means inertia by number of clusters: the curve with the elbow.

    Args:
        features: Features of the neurons, finite, shape (m, f).
        max_k: Largest number of clusters, at least 1; the curve ends earlier where fewer neurons are distinct.
        random_seed: Fixes the starts, >= 0.

    Returns:
        Numbers of clusters from 1 up, and the sum of squared distances to the centers for each.

    Raises:
        ArgumentError: `max_k` is below 1, or `random_seed` below 0.
        ShapeError: `features` is not of shape (m, f).
        DataError: `features` is not finite.
    """
    if not _is_whole(max_k, least=1):
        raise ArgumentError(f"max_k must be a whole number of at least 1, got {max_k!r}")
    values = _checked(features, "features")
    neurons = _neurons(values, torch.finfo(features.dtype).eps, Grid(1, len(values)), random_seed)
    counts = list(range(1, min(max_k, neurons.distinct) + 1))
    with _one_thread():
        return counts, [float(_fit_kmeans(neurons, k, {}).inertia_) for k in counts]


def silhouette_values(features: Tensor, labels: Tensor) -> Tensor:
    """The silhouette of every neuron: (b - a) / max(a, b).

    `a` is the mean distance to the rest of its cluster, `b` the smallest mean distance to another cluster. A neuron
    alone in its cluster has 0 (Rousseeuw 1987).

    Args:
        features: Features of the neurons, finite, shape (m, f).
        labels: Cluster of each neuron, negative for noise, shape (m,).

    Returns:
        Silhouettes in [-1, 1], device and dtype of `features`, shape (m,). NaN for noise, and everywhere where there
        is one cluster or each clustered neuron is its own.

    Raises:
        ShapeError: `features` is not of shape (m, f), or `labels` not (m,).
        DataError: `features` is not finite.
    """
    values, numbers = _checked(features, "features"), labels.detach().cpu().numpy()
    if numbers.shape != (len(values),):
        raise ShapeError(f"labels must have shape ({len(values)},), one a neuron, got {tuple(numbers.shape)}")
    clustered = numbers >= 0
    silhouettes = np.full(len(values), np.nan)
    reason = _incomparable(numbers[clustered])
    if reason:
        logger.info("silhouettes are not defined: %s", reason)
    else:
        silhouettes[clustered] = _silhouettes(_unit(values)[clustered], numbers[clustered])
    return torch.from_numpy(silhouettes).to(features)


def topological_quality(labels: Tensor, grid: Grid) -> float:
    """Contiguity of the clusters on the grid: the share of clustered neurons in the main piece of their cluster.

    The pieces of a cluster are what stays connected by steps to neighbors of order 1 (around the edges on a torus);
    the main piece is the largest.

    Args:
        labels: Cluster of each neuron in flat order, negative for noise, shape (m,).
        grid: The grid of the m neurons.

    Returns:
        In (0, 1]; 1 if every cluster is one connected piece. NaN if no neuron is in a cluster, with the reason logged.

    Raises:
        ShapeError: `labels` is not of shape (m,) for the grid.
    """
    numbers = labels.detach().cpu().numpy()
    if numbers.shape != (grid.m,):
        raise ShapeError(f"labels must have shape ({grid.m},) on a {grid.x} x {grid.y} grid, got {numbers.shape}")
    clusters = np.unique(numbers[numbers >= 0])
    if not len(clusters):
        return _undefined("topological_quality", "all neurons are noise")
    first, second = _neighbor_pairs(grid)
    same = numbers[first] == numbers[second]
    _, piece = connected_components(_graph(first[same], second[same], grid.m), directed=False)
    size = np.bincount(piece)
    in_main = sum(int(size[piece[numbers == cluster]].max()) for cluster in clusters)
    return in_main / int((numbers >= 0).sum())


def _kmeans(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    def partition(k: int) -> Partition:
        model = _fit_kmeans(neurons, k, options)
        return Partition(model.labels_.astype(np.int64), scores={"inertia": float(model.inertia_)})

    return partition(n_clusters) if n_clusters else _best_silhouette(neurons, partition)


def _fit_kmeans(neurons: Neurons, k: int, options: Mapping[str, Any]) -> KMeans:
    # No tolerance: it ends when no neuron moves, so that the centers are the means of their members.
    defaults = {"n_init": 10, "tol": 0.0}
    return KMeans(k, random_state=neurons.seed, **{**defaults, **options}).fit(neurons.points)


def _ward(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        return _all_in_one(neurons)
    connectivity = _graph(*_neighbor_pairs(neurons.grid), neurons.grid.m)
    merges = ward_tree(neurons.points, connectivity=connectivity)[0]

    def partition(k: int) -> Partition:
        return Partition(_cut(merges, k))

    return partition(n_clusters) if n_clusters else _best_silhouette(neurons, partition)


def _cut(merges: NDArray[np.integer[Any]], k: int) -> IntArray:
    """The k clusters after the first m - k merges; row i joins two nodes into node m + i, shape (m - 1, 2)."""
    m = len(merges) + 1
    done = merges[: m - k]
    parents = np.repeat(np.arange(m, m + len(done)), 2)
    _, cluster = connected_components(_graph(done.ravel(), parents, m + len(done)), directed=False)
    return cluster[:m].astype(np.int64)


def _best_silhouette(neurons: Neurons, partition: Callable[[int], Partition]) -> Partition:
    """The partition of the largest mean silhouette from 2 clusters up, the smallest k of equals; 1 if all are equal."""
    if neurons.distinct == 1:
        return partition(1)
    candidates = [partition(k) for k in range(2, neurons.most_clusters + 1)]
    unit = _unit(neurons.points)
    scores = [_mean_silhouette(unit, candidate.labels, neurons.seed) for candidate in candidates]
    best = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
    logger.info("chose %d of 2..%d clusters, silhouette %.3f", best + 2, neurons.most_clusters, scores[best])
    return candidates[best]


def _gmm(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        undefined = _undefined("bic and aic", "all neurons are equal, so their likelihood has no bound")
        scores = {"bic": undefined, "aic": undefined}
        return Partition(np.zeros(len(neurons.points), np.int64), probabilities=_ones(neurons), scores=scores)
    # Constant features tell no cluster from another, but would add to the parameters that BIC counts.
    varying = neurons.points.any(axis=0)
    scale = math.sqrt(np.square(neurons.points[:, varying]).mean())
    points = neurons.points[:, varying] / scale
    model = _mixture(points, n_clusters, neurons.seed, options) if n_clusters else _best_bic(points, neurons, options)
    centers = np.zeros((len(model.means_), neurons.points.shape[1]))
    centers[:, varying] = model.means_ * scale
    units = 2 * points.size * math.log(scale)  # -2 log likelihood in the features' own units
    scores = {"bic": float(model.bic(points)) + units, "aic": float(model.aic(points)) + units}
    return Partition(model.predict(points).astype(np.int64), centers, model.predict_proba(points), scores)


def _mixture(points: FloatArray, k: int, seed: int, options: Mapping[str, Any]) -> GaussianMixture:
    # Overlapping components converge slowly; 100 steps, the default, end some fits of ordinary maps early.
    return GaussianMixture(k, random_state=seed, **{"max_iter": 1_000, **options}).fit(points)


def _best_bic(points: FloatArray, neurons: Neurons, options: Mapping[str, Any]) -> GaussianMixture:
    """The mixture of the smallest BIC from 1 component up.

    A component with no more neurons than features has a singular covariance: its likelihood is that of the
    regularization and grows without bound, and BIC would count it as a gain.
    """
    m, f = points.shape
    least = f + 1 if options.get("covariance_type", "full") == "full" else 2
    best = _mixture(points, 1, neurons.seed, options)
    largest = min(neurons.most_clusters, m // least)
    for k in range(2, largest + 1):
        model = _mixture(points, k, neurons.seed, options)
        supported = model.weights_.min() * m >= least and len(np.unique(model.predict(points))) == k
        if supported and model.bic(points) < best.bic(points):
            best = model
    logger.info("chose %d of 1..%d clusters by BIC", best.n_components, max(1, largest))
    return best


def _hdbscan(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        return Partition(np.zeros(len(neurons.points), np.int64), probabilities=_ones(neurons)[:, 0])
    defaults = {"min_cluster_size": max(3, math.isqrt(len(neurons.points)) // 2), "min_samples": 2}
    model = HDBSCAN(copy=True, **{**defaults, **options}).fit(neurons.points)
    return Partition(model.labels_.astype(np.int64), probabilities=model.probabilities_)


CLUSTERING_METHODS: dict[str, ClusteringMethod] = {
    "kmeans": ClusteringMethod(_kmeans, ("n_init", "max_iter", "tol", "algorithm")),
    "gmm": ClusteringMethod(_gmm, ("covariance_type", "tol", "reg_covar", "max_iter", "n_init", "init_params")),
    "hdbscan": ClusteringMethod(
        _hdbscan,
        (
            "min_cluster_size",
            "min_samples",
            "max_cluster_size",
            "cluster_selection_epsilon",
            "cluster_selection_method",
            "allow_single_cluster",
            "alpha",
        ),
        takes_n_clusters=False,
    ),
    "ward": ClusteringMethod(_ward),
}

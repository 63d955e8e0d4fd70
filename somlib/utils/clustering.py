r"""Groups of similar neurons, and how well they stand apart.

    kmeans    smallest sum of squared distances to k means; k by silhouette
    gmm       most likely mixture of k Gaussians (EM, several starts); k by silhouette, 1 where none is high
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
features rounded to about a millionth of their spread, and neurons equal on that lattice count as one distinct neuron.

HDBSCAN is scikit-learn's: its spanning tree is exact (that of the `hdbscan` package is approximate by default), and it
is kept and released together with the other three.
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
from threadpoolctl import threadpool_limits
from torch import Tensor

from somlib.errors import ArgumentError, DataError, DataTypeError, ShapeError, unknown_name, warn
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table

logger = logging.getLogger(__name__)

FeatureSpace = Literal["weights", "positions", "combined"]
FEATURE_SPACES: tuple[FeatureSpace, ...] = ("weights", "positions", "combined")
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESOLUTION = 2.0**-20  # of the spread; its square stays far above the float64 rounding of squared distances
ROUNDINGS = 8  # a feature is constant if it varies by no more than so many rounding errors of its size
MOST_CLUSTERS = 20  # upper end of an automatic k, with the root of m (Vesanto and Alhoniemi 2000) on smaller maps
SILHOUETTE_NEURONS = 2_000  # its cost is quadratic: 0.07 s for these on one core, 1.3 s for a choice of k
STRUCTURE = 0.5  # mean silhouette from which there is "a reasonable structure" (Kaufman and Rousseeuw 1990, ch. 2)
KMEANS_STARTS, KMEANS_STARTED = 10, 20_000  # starts, and neurons that all starts have together where a map is large
GMM_STARTS, GMM_STARTED = 10, 4_000
LEAST_CLUSTERED = 0.5  # share of neurons below which scores of the clustered ones say nothing of the map
WORKING_MEMORY_MB = 64


class ClusterMetrics(TypedDict):
    """How good a partition is. A score that is not defined is NaN; the reason is logged at level INFO.

    The first three are over the clustered neurons, in the feature space. They need two clusters, fewer clusters than
    clustered neurons, and at least half of the neurons clustered: the silhouette of the few that are not noise would
    praise a clustering that explains little of the map.

    Attributes:
        silhouette_score: Mean silhouette, in [-1, 1], higher is better; over a fixed random sample of 2 000 neurons
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
        uniform: Whether all neurons lie equally dense, as cells do on the grid.
    """

    points: FloatArray
    distinct: int
    grid: Grid
    seed: int
    uniform: bool = False

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
            and `"ward"` take the best silhouette from 2 up. `"gmm"` does so among mixtures whose every component
            holds enough neurons to estimate its covariance, and takes 1 where no silhouette reaches 0.5. `"hdbscan"`
            finds its own and warns if a number is asked for.
        feature_space: `"weights"`, `"positions"` or `"combined"`.
        random_seed: Fixes the starts of `"kmeans"` and `"gmm"`, and the sample of the silhouette on large maps; >= 0.
        **kwargs: Options of the scikit-learn estimator: for `"kmeans"` n_init, max_iter, tol, algorithm; for `"gmm"`
            covariance_type, tol, reg_covar (in units of the features' mean variance), max_iter, n_init, init_params;
            for `"hdbscan"` min_cluster_size (half the root of m unless given, at least 5), min_samples (2 unless
            given: neurons are means of samples already), max_cluster_size, cluster_selection_epsilon,
            cluster_selection_method, allow_single_cluster, alpha; none for `"ward"`.

    Returns:
        Labels, centers, metrics and what the method adds.

    Raises:
        ArgumentError: An unknown method, feature space or option, an option's value that scikit-learn refuses, or
            `n_clusters` below 1 or beyond the distinct neurons.
        ShapeError: `codebook` is not of shape (m, d) for the grid.
        DataError: `codebook` is not finite.
        DataTypeError: `codebook` is not of a float type.

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
    uniform = feature_space == "positions"
    neurons = _neurons(features, torch.finfo(codebook.dtype).eps, grid, random_seed, uniform)
    _require_n_clusters(n_clusters, neurons, feature_space)
    if n_clusters is not None and not chosen.takes_n_clusters:
        warn(f"n_clusters={n_clusters} has no effect: method={method!r} finds the number of clusters itself")
    with _one_thread():
        partition = _fit(chosen, method, neurons, n_clusters, kwargs)
        result = _result(partition, features, neurons, codebook, method, feature_space)
    if chosen.takes_n_clusters and n_clusters not in (None, result["n_clusters"]):
        warn(f"n_clusters={n_clusters} was asked for, but only {result['n_clusters']} of them hold neurons")
    return result


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
        DataTypeError: `codebook` is not of a float type.
    """
    return torch.from_numpy(_features(codebook, grid, feature_space)).to(codebook, copy=True)


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
        DataTypeError: `features` is not of a float type.
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
        DataTypeError: `features` is not of a float type.
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
        points = _unit(_on_lattice(values, torch.finfo(features.dtype).eps))
        silhouettes[clustered] = _silhouettes(points[clustered], numbers[clustered])
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
    clustered = numbers >= 0
    if not clustered.any():
        return _undefined("topological_quality", "all neurons are noise")
    first, second = _neighbor_pairs(grid)
    same = numbers[first] == numbers[second]
    piece = _pieces(_graph(first[same], second[same], grid.m))
    main = np.zeros(numbers.max() + 1, dtype=np.int64)  # size of the main piece by cluster
    np.maximum.at(main, numbers[clustered], np.bincount(piece)[piece[clustered]])
    return int(main.sum()) / int(clustered.sum())


def _kmeans(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    def partition(k: int) -> Partition:
        model = _fit_kmeans(neurons, k, options)
        return Partition(model.labels_.astype(np.int64), scores={"inertia": float(model.inertia_)})

    return partition(n_clusters) if n_clusters else _best_silhouette(neurons, partition)


def _fit_kmeans(neurons: Neurons, k: int, options: Mapping[str, Any]) -> KMeans:
    # No tolerance: it ends when no neuron moves, so that the centers are the means of their members.
    defaults = {"n_init": _starts(len(neurons.points), KMEANS_STARTS, KMEANS_STARTED), "tol": 0.0}
    return KMeans(k, random_state=neurons.seed, **{**defaults, **options}).fit(neurons.points)


def _ward(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        return Partition(_all_in_one(neurons))
    connectivity = _graph(*_neighbor_pairs(neurons.grid), neurons.grid.m)
    merges = ward_tree(neurons.points, connectivity=connectivity)[0].astype(np.int64)

    def partition(k: int) -> Partition:
        return Partition(_cut(merges, k))

    return partition(n_clusters) if n_clusters else _best_silhouette(neurons, partition)


def _cut(merges: IntArray, k: int) -> IntArray:
    """The k clusters after the first m - k merges; row i joins two nodes into node m + i, shape (m - 1, 2)."""
    m = len(merges) + 1
    done = merges[: m - k]
    parents = np.repeat(np.arange(m, m + len(done)), 2)
    cluster = _pieces(_graph(done.ravel(), parents, m + len(done)))
    return cluster[:m]


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
        undefined = _undefined("BIC and AIC", "all neurons are equal, so their likelihood has no bound")
        probabilities = np.ones((len(neurons.points), 1))
        return Partition(_all_in_one(neurons), None, probabilities, {"bic": undefined, "aic": undefined})
    # Constant features tell no cluster from another, but would add to the parameters that BIC counts.
    varying = neurons.points.any(axis=0)
    scale = math.sqrt(np.square(neurons.points[:, varying]).mean())
    points = neurons.points[:, varying] / scale
    model = _mixture(points, n_clusters or _reasonable_components(points, neurons, options), neurons.seed, options)
    centers = np.zeros((len(model.means_), neurons.points.shape[1]))
    centers[:, varying] = model.means_ * scale
    units = 2 * points.size * math.log(scale)  # -2 log likelihood in the features' own units
    scores = {"bic": float(model.bic(points)) + units, "aic": float(model.aic(points)) + units}
    return Partition(model.predict(points).astype(np.int64), centers, model.predict_proba(points), scores)


def _mixture(points: FloatArray, k: int, seed: int, options: Mapping[str, Any]) -> GaussianMixture:
    """The likeliest of several mixtures of k Gaussians.

    EM ends at the nearest peak of the likelihood: of four clear groups one start may find three.
    """
    # On maps of 50 x 50 neurons EM took up to 93 steps; 100, the default, would leave no room.
    defaults = {"max_iter": 1_000, "n_init": _starts(len(points), GMM_STARTS, GMM_STARTED) if k > 1 else 1}
    return GaussianMixture(k, random_state=seed, **{**defaults, **options}).fit(points)


def _starts(m: int, most: int, together: int) -> int:
    """How often a method starts on m neurons: less often on a large map, which leaves less to chance."""
    return max(1, min(most, together // m))


def _reasonable_components(points: FloatArray, neurons: Neurons, options: Mapping[str, Any]) -> int:
    """The number of components of the best silhouette, 1 where it shows no structure.

    BIC counts how well Gaussians describe the sheet of the map, not how many groups there are: on maps of 1 to 8 clear
    blobs it was right in 4 of 36 cases, the silhouette in 33 (benchmarks/README.md). A component with no more neurons
    than features has a singular covariance, so it is none.
    """
    m, f = points.shape
    singular = f if options.get("covariance_type", "full") == "full" else 1
    best, best_score = 1, STRUCTURE
    for k in range(2, min(neurons.most_clusters, m // (singular + 1)) + 1):
        model = _mixture(points, k, neurons.seed, options)
        labels = model.predict(points)
        if model.weights_.min() * m <= singular or len(np.unique(labels)) < k:
            continue
        score = _mean_silhouette(points, labels, neurons.seed)
        if score > best_score:
            best, best_score = k, score
    logger.info("chose %d of 1..%d components, silhouette %.3f", best, neurons.most_clusters, best_score)
    return best


def _hdbscan(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    m = len(neurons.points)
    if neurons.distinct == 1:
        return Partition(_all_in_one(neurons), probabilities=np.ones(m))
    defaults = {"min_cluster_size": max(5, math.isqrt(m) // 2), "min_samples": 2}
    model = HDBSCAN(copy=True, **{**defaults, **options}).fit(neurons.points)
    if neurons.uniform and model.labels_.max() > 0:
        logger.info("no dense regions: cells are equally dense, and only rounding tells their distances apart")
        return Partition(np.full(m, -1), probabilities=np.zeros(m))
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


def _method(name: str, options: Mapping[str, Any]) -> ClusteringMethod:
    if name not in CLUSTERING_METHODS:
        raise unknown_name("method", name, CLUSTERING_METHODS)
    method = CLUSTERING_METHODS[name]
    for option in options:
        if option not in method.options:
            known = ", ".join(method.options) or "none"
            raise ArgumentError(f"method={name!r} takes the options {known}, got {option!r}")
    return method


def _fit(
    method: ClusteringMethod, name: str, neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]
) -> Partition:
    try:
        return method.fit(neurons, n_clusters, options)
    except ValueError as error:
        if not options:
            raise  # no fault of the caller's
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ArgumentError(f"method={name!r} cannot use {given}: {error}") from error


def _one_thread() -> threadpool_limits:
    """Keeps sums in one order, and small matrices from waiting for threads.

    K-Means adds up the partial sums of its threads in the order in which they end: with 8 threads and 5 000 neurons,
    30 equal fits of scikit-learn 1.9 gave 29 different sets of centers.
    """
    return threadpool_limits(limits=1)


def _require_n_clusters(n_clusters: int | None, neurons: Neurons, feature_space: str) -> None:
    if n_clusters is None:
        return
    m = len(neurons.points)
    if not _is_whole(n_clusters, least=1):
        raise ArgumentError(f"n_clusters must be None or a whole number of at least 1, got {n_clusters!r}")
    if n_clusters > m:
        raise ArgumentError(f"n_clusters must be at most {m}, the number of neurons, got {n_clusters}")
    if n_clusters > neurons.distinct:
        raise ArgumentError(
            f"n_clusters must be at most {neurons.distinct}, the number of neurons that differ in "
            f"feature_space={feature_space!r}, got {n_clusters}"
        )


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def _checked(values: Tensor, name: str) -> FloatArray:
    """The values as float64 on the CPU, refused unless they are a finite matrix."""
    if not values.is_floating_point():
        raise DataTypeError(f"{name} must be of a float type, got {values.dtype}")
    if values.ndim != 2 or not values.numel():
        raise ShapeError(f"{name} must have shape (m, f), one row a neuron, got {tuple(values.shape)}")
    bad = torch.nonzero(~torch.isfinite(values))
    if len(bad):
        row, column = bad[0].tolist()
        raise DataError(f"{name} must be finite, got {float(values[row, column])} at neuron {row}, feature {column}")
    return values.detach().to("cpu", torch.float64).numpy()


def _features(codebook: Tensor, grid: Grid, feature_space: str) -> FloatArray:
    """`neuron_features` in float64."""
    if feature_space not in FEATURE_SPACES:
        raise unknown_name("feature_space", feature_space, FEATURE_SPACES)
    weights, positions = _checked(codebook, "codebook"), grid.positions.numpy()
    if len(weights) != grid.m:
        raise ShapeError(f"codebook must have {grid.m} rows on a {grid.x} x {grid.y} grid, got {len(weights)}")
    if feature_space == "weights":
        return weights
    if feature_space == "positions":
        return positions
    eps = torch.finfo(codebook.dtype).eps
    return np.hstack([block / (_spread(_deviations(block, eps)) or 1.0) for block in (weights, positions)])


def _neurons(features: FloatArray, eps: float, grid: Grid, random_seed: int, uniform: bool = False) -> Neurons:
    if not _is_whole(random_seed, least=0):
        raise ArgumentError(f"random_seed must be a whole number of at least 0, got {random_seed!r}")
    points = _on_lattice(features, eps)
    seed = int(np.random.SeedSequence(int(random_seed)).generate_state(1)[0])  # scikit-learn's seeds end at 2^32
    return Neurons(points, len(np.unique(points, axis=0)), grid, seed, uniform)


def _on_lattice(features: FloatArray, eps: float) -> FloatArray:
    """The deviations from the mean, rounded to the resolution, shape (m, f)."""
    deviations = _deviations(features, eps)
    # A power of two: whole numbers keep their exact differences, and grid cells their ties.
    step = math.ldexp(RESOLUTION, math.frexp(_spread(deviations))[1] - 1)
    return np.round(deviations / step) * step


def _deviations(features: FloatArray, eps: float) -> FloatArray:
    """The deviations from the mean (m, f), exactly 0 in a column that varies by rounding (`eps`) only."""
    deviations = features - features.mean(axis=0)
    constant = np.abs(deviations).max(axis=0) <= ROUNDINGS * eps * np.abs(features).max(axis=0)
    return np.where(constant, 0.0, deviations)


def _spread(deviations: FloatArray) -> float:
    """The root of the total variance."""
    return float(np.sqrt(np.square(deviations).sum(axis=1).mean()))


def _unit(points: FloatArray) -> FloatArray:
    """The points at total variance 1 (0 if they are all equal); scikit-learn's scores have absolute tolerances."""
    return points / (_spread(points) or 1.0)


def _all_in_one(neurons: Neurons) -> IntArray:
    return np.zeros(len(neurons.points), np.int64)


def _neighbor_pairs(grid: Grid) -> tuple[IntArray, IntArray]:
    """Both ends of every pair of grid neighbors, each pair in both directions."""
    table = neighbor_table(grid, 1).numpy()
    neuron, slot = np.nonzero(table >= 0)
    return neuron, table[neuron, slot]


def _graph(first: IntArray, second: IntArray, size: int) -> csr_array:
    return csr_array((np.ones(len(first)), (first, second)), shape=(size, size))


def _pieces(graph: csr_array) -> IntArray:
    """The number of the connected component of each node."""
    _, piece = connected_components(graph, directed=False)
    return np.asarray(piece, dtype=np.int64)


def _result(
    partition: Partition, features: FloatArray, neurons: Neurons, codebook: Tensor, method: str, feature_space: str
) -> ClusterResult:
    numbers, order = _numbered(partition.labels)
    labels = torch.from_numpy(numbers)
    if partition.centers is None:
        centers = _means(features, numbers)
    else:
        centers = features.mean(axis=0) + partition.centers[order]
    result: ClusterResult = {
        "labels": labels.to(codebook.device),
        "centers": torch.from_numpy(centers).to(codebook),
        "n_clusters": len(order),
        "method": method,
        "feature_space": feature_space,
        "metrics": _metrics(_unit(neurons.points), labels, neurons),
        "original_data": torch.from_numpy(features).to(codebook, copy=True),
    }
    if partition.probabilities is not None:
        result["probabilities"] = torch.from_numpy(_renumbered(partition.probabilities, order)).to(codebook)
    return {**result, **partition.scores}  # type: ignore[typeddict-item]  # the scores are keys of ClusterResult


def _numbered(labels: IntArray) -> tuple[IntArray, IntArray]:
    """Clusters from 1 by first appearance, noise -1, shape (m,); and the old number of each cluster, shape (k,)."""
    old, first = np.unique(labels[labels >= 0], return_index=True)
    order = old[np.argsort(first)]
    new = np.full(int(labels.max()) + 2, -1, dtype=np.int64)  # the last entry is that of noise
    new[order] = np.arange(1, len(order) + 1)
    return new[labels], order


def _renumbered(probabilities: FloatArray, order: IntArray) -> FloatArray:
    """The columns of the clusters in their new order, rows summing to 1; strengths of membership as they are."""
    if probabilities.ndim == 1:
        return probabilities
    kept: FloatArray = probabilities[:, order] / probabilities[:, order].sum(axis=1, keepdims=True)
    return kept


def _means(features: FloatArray, labels: IntArray) -> FloatArray:
    """The mean of each cluster from 1 up, shape (k, f)."""
    sums = np.zeros((max(int(labels.max()), 0), features.shape[1]))
    np.add.at(sums, labels[labels > 0] - 1, features[labels > 0])
    return sums / np.bincount(labels[labels > 0], minlength=len(sums) + 1)[1:, None]


def _metrics(unit: FloatArray, labels: Tensor, neurons: Neurons) -> ClusterMetrics:
    numbers = labels.numpy()
    clustered = numbers > 0
    noise = int((~clustered).sum())
    silhouette, davies_bouldin, calinski_harabasz = _separation(unit, numbers, neurons.seed)
    return {
        "silhouette_score": silhouette,
        "davies_bouldin_score": davies_bouldin,
        "calinski_harabasz_score": calinski_harabasz,
        "n_noise_points": noise,
        "noise_ratio": noise / len(numbers),
        "topological_quality": topological_quality(labels, neurons.grid),
    }


def _separation(unit: FloatArray, labels: IntArray, seed: int) -> tuple[float, float, float]:
    """Silhouette, Davies-Bouldin and Calinski-Harabasz score of the clustered neurons."""
    clustered = labels > 0
    reason = _incomparable(labels[clustered])
    if not reason and clustered.mean() < LEAST_CLUSTERED:
        reason = f"only {clustered.sum()} of {len(labels)} neurons are in a cluster"
    if reason:
        undefined = _undefined("silhouette, Davies-Bouldin and Calinski-Harabasz score", reason)
        return undefined, undefined, undefined
    points, labels = unit[clustered], labels[clustered]
    return _mean_silhouette(points, labels, seed), _davies_bouldin(points, labels), _calinski_harabasz(points, labels)


def _incomparable(labels: IntArray) -> str:
    """Why the labels of the clustered neurons allow no comparison of clusters; empty if they do."""
    k = len(np.unique(labels))
    if k == 0:
        return "all neurons are noise"
    if k == 1:
        return "there is only one cluster"
    return "every neuron is a cluster of its own" if k == len(labels) else ""


def _davies_bouldin(points: FloatArray, labels: IntArray) -> float:
    centers = np.round(_means(points, labels) / RESOLUTION)
    if len(np.unique(centers, axis=0)) < len(centers):
        return _undefined("Davies-Bouldin score", "two clusters share one center")
    return float(davies_bouldin_score(points, labels))


def _calinski_harabasz(points: FloatArray, labels: IntArray) -> float:
    within = np.square(points - _means(points, labels)[labels - 1]).mean()
    if within < RESOLUTION**2:
        return _undefined("Calinski-Harabasz score", "the neurons of each cluster are all equal")
    return float(calinski_harabasz_score(points, labels))


def _mean_silhouette(points: FloatArray, labels: IntArray, seed: int) -> float:
    """The mean silhouette, of a fixed sample where there are many points; NaN where it is not defined."""
    if len(points) > SILHOUETTE_NEURONS:
        rows = np.random.default_rng(seed).choice(len(points), SILHOUETTE_NEURONS, replace=False)
        points, labels = points[rows], labels[rows]
    reason = _incomparable(labels)  # a sample may miss a small cluster
    return _undefined("silhouette score", reason) if reason else float(_silhouettes(points, labels).mean())


def _silhouettes(points: FloatArray, labels: IntArray) -> FloatArray:
    with sklearn.config_context(working_memory=WORKING_MEMORY_MB):
        silhouettes: FloatArray = silhouette_samples(points, labels)
    return silhouettes


def _undefined(score: str, reason: str) -> float:
    """NaN, with the reason in the log."""
    logger.info("%s not defined: %s", score, reason)
    return math.nan

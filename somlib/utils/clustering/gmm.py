"""The most likely mixture of k Gaussians."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from somlib.utils.clustering.choosing import STRUCTURE
from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one, starts
from somlib.utils.clustering.neurons import FloatArray, Neurons
from somlib.utils.clustering.result import undefined_score
from somlib.utils.clustering.scores import SILHOUETTE_NEURONS, mean_silhouette

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

logger = logging.getLogger(__name__)

GMM_STARTS, GMM_STARTED = 10, 4_000  # starts, and neurons that all starts have together where a map is large


def _gmm(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    if neurons.distinct == 1:
        undefined = undefined_score("BIC and AIC", "all neurons are equal, so their likelihood has no bound")
        probabilities = np.ones((len(neurons.points), 1))
        return Partition(all_in_one(neurons), None, probabilities, {"bic": undefined, "aic": undefined})
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


def _mixture(points: FloatArray, k: int, seed: int, options: Mapping[str, Any]) -> "GaussianMixture":
    """The likeliest of several mixtures of k Gaussians.

    EM ends at the nearest peak of the likelihood: of four clear groups one start may find three.
    """
    from sklearn.mixture import GaussianMixture  # slow to import, and no map needs it to train

    # On maps of 50 x 50 neurons EM took up to 93 steps; 100, the default, would leave no room.
    defaults = {"max_iter": 1_000, "n_init": starts(len(points), GMM_STARTS, GMM_STARTED) if k > 1 else 1}
    return GaussianMixture(k, random_state=seed, **{**defaults, **options}).fit(points)


def _reasonable_components(points: FloatArray, neurons: Neurons, options: Mapping[str, Any]) -> int:
    """The number of components of the best silhouette, 1 where it shows no structure.

    BIC counts how well Gaussians describe the sheet of the map, not how many groups there are: on maps of 1 to 8 clear
    blobs it was right in 4 of 36 cases, the silhouette in 35 (benchmarks/README.md). A component with no more neurons
    than features has a singular covariance, so it is none.
    """
    if len(points) > SILHOUETTE_NEURONS:  # the number of groups shows in the sample that the scores would be of
        points = points[np.random.default_rng(neurons.seed).choice(len(points), SILHOUETTE_NEURONS, replace=False)]
    m, f = points.shape
    singular = f if options.get("covariance_type", "full") == "full" else 1
    best, best_score = 1, STRUCTURE
    for k in range(2, min(neurons.most_clusters, m // (singular + 1)) + 1):
        model = _mixture(points, k, neurons.seed, options)
        labels = model.predict(points)
        if model.weights_.min() * m <= singular or len(np.unique(labels)) < k:
            continue
        score = mean_silhouette(points, labels, neurons.seed)
        if score > best_score:
            best, best_score = k, score
    logger.info("chose %d of 1..%d components, silhouette %.3f", best, neurons.most_clusters, best_score)
    return best


GMM = ClusteringMethod(
    _gmm, "Gaussian mixture", ("covariance_type", "tol", "reg_covar", "max_iter", "n_init", "init_params")
)

"""The order of component planes on a sheet: features that vary alike over the map stand next to each other."""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from somlib.visualization.lattice import Floats, Ints

OPTIMAL_UP_TO = 400  # features; finding the best leaf order takes 0.1 s there and grows with the cube


def similarity_order(planes: Floats) -> Ints:
    """An order in which similar component planes are neighbors.

    Average linkage on `1 - r`, with `r` the correlation of two planes over the neurons, leaves turned so that the sum
    of the distances between neighbors is least. Planes of one value correlate with nothing and come last. The order
    starts at that end which holds the feature with the smaller index, so that it is fixed.

    Args:
        planes: One column a feature, shape (m, d).

    Returns:
        Feature indices, shape (d,).

    References:
        Vesanto, SOM-based data visualization methods, Intelligent Data Analysis 3, 1999 (reordered planes).
        Bar-Joseph, Gifford and Jaakkola, Fast optimal leaf ordering for hierarchical clustering, Bioinformatics 17,
        2001.
    """
    spread = planes.std(axis=0)
    varies = spread > 1e-9 * np.abs(planes).max(axis=0, initial=0.0)
    moving, still = np.flatnonzero(varies), np.flatnonzero(~varies)
    if len(moving) < 3:
        return np.concatenate((moving, still))
    standard = (planes[:, moving] - planes[:, moving].mean(axis=0)) / spread[moving]
    distance = 1 - standard.T @ standard / len(planes)
    np.fill_diagonal(distance, 0)
    pairs = squareform(distance.clip(0, 2), checks=False)
    tree = linkage(pairs, method="average", optimal_ordering=len(moving) <= OPTIMAL_UP_TO)
    order = moving[leaves_list(tree)]
    if order[0] > order[-1]:
        order = order[::-1]
    return np.concatenate((order, still))

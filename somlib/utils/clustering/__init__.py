r"""Groups of similar neurons, and how well they stand apart.

    kmeans    smallest sum of squared distances to k means; k by silhouette, 1 where rows show no valley
    gmm       most likely mixture of k Gaussians (EM, several starts); k by silhouette, 1 where none is high
    hdbscan   dense regions, the rest is noise; finds its own k
    ward      merges the two neighboring clusters that add the least variance: every cluster is one connected piece of
              the grid, torus included; k by silhouette, 1 where rows show no valley
    connectivity  dense regions of neurons that share rows, with valleys between them that counts can prove; finds its
              own k, 1 included
    mixture   mixture of Gaussians on the rows of neurons, its components merged where rows bridge them; finds its own
              k, 1 included; needs rows

Neurons are compared by Euclidean distance in one of three feature spaces, whatever the map's own distance is:

    weights     w_k as they are                                                     f = d
    positions   row and column of the cell's center                                 f = 2
    combined    both, each block divided by the root of its total variance          f = d + 2

Positions are those of the flat grid. On a torus the cells at the seam are therefore far apart in `positions` and
`combined`; Ward's contiguity and `topological_quality` do know the torus.

Neurons that training pulled together differ by rounding only. Splitting on that would be noise, so the methods see
features rounded to about a millionth of their spread, and neurons equal on that lattice count as one distinct neuron.

HDBSCAN is that of the `hdbscan` package, with an exact spanning tree: it knows soft membership, outlier scores and a
relative validity beside what scikit-learn's gives.
"""

from somlib.utils.clustering.clusters import CLUSTERING_METHODS, cluster_neurons
from somlib.utils.clustering.connections import Connections
from somlib.utils.clustering.contiguity import topological_quality
from somlib.utils.clustering.kmeans import kmeans_inertias
from somlib.utils.clustering.method import ClusteringMethod, Partition
from somlib.utils.clustering.neurons import FEATURE_SPACES, MOST_CLUSTERS, FeatureSpace, Neurons, neuron_features
from somlib.utils.clustering.result import ClusterMetrics, ClusterResult
from somlib.utils.clustering.row_sample import ROWS, RowSample, sampled
from somlib.utils.clustering.rows import RowClusters, neuron_strength, row_clusters
from somlib.utils.clustering.scores import SILHOUETTE_NEURONS, silhouette_values
from somlib.utils.clustering.stability import cluster_stability

__all__ = [
    "CLUSTERING_METHODS",
    "FEATURE_SPACES",
    "MOST_CLUSTERS",
    "ROWS",
    "SILHOUETTE_NEURONS",
    "ClusterMetrics",
    "ClusterResult",
    "ClusteringMethod",
    "Connections",
    "FeatureSpace",
    "Neurons",
    "Partition",
    "RowClusters",
    "RowSample",
    "cluster_neurons",
    "cluster_stability",
    "kmeans_inertias",
    "neuron_features",
    "neuron_strength",
    "row_clusters",
    "sampled",
    "silhouette_values",
    "topological_quality",
]

r"""How good a map is: five measures beyond the two errors of `metrics.py`, and a report of all with intervals.

With c(i) the winner of sample i, c'(i) its second, h the neighborhood kernel and k a number of neighbors:

    distortion                 mean_i sum_j h(c(i), j) |x_i - w_j|^2
    combined error             mean_i d(x_i, w_c(i)) + shortest path from c(i) to c'(i), from neighbor to neighbor, each
                               step as long as its two neurons are apart in feature space
    trustworthiness            1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in U_i} (r(i, j) - k)
    neighborhood preservation  1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in V_i} (s(i, j) - k)
    topographic product        1 / (m (m - 1)) sum_j sum_k log P3(j, k)

In `U_i` are the samples among the k nearest to i on the map that are not among the k nearest in the data, in `V_i` the
reverse; r and s rank the samples by their distance to i in the data and on the map, 1 the nearest. `P3` is written out
at `topographic_product`.

Samples of one neuron lie at one place of the map, and cells at one distance are many, so ranks on the map have ties
everywhere. Two rules, the same for both spaces, decide them. Who is among the k nearest: of those tied at the border,
each with equal probability, and the expected value is taken, as Kaski et al. (2003) average over all compatible orders.
How far off a sample is: its rank is one more than the number of those strictly closer. (Averaged as well, it would call
it an error to be equally far: a map with all of a cluster of equal samples on one neuron would lose by it.) In
neighborhood preservation a map that puts everything on one neuron thus scores 1, since it tears nothing apart, but not
in trustworthiness: read the two together.

Which distance counts: winners, the combined error and all ranks use the map's own metric. The distortion uses squared
differences (times the feature weights), since those are what the training rules reduce, whichever metric finds the
winner. The topographic product multiplies ratios of distances and takes the map's metric too, but the root of the
cosine distance, which is half of a square.

Missing values: the distortion is over the observed features, times d / observed, as the distances are; distances
between two samples are over the features that both have, scaled the same way; a pair that shares none is the farthest.
Samples without a winner are left out of everything.
"""

from somlib.utils.quality.bootstrap import Estimate, bootstrap_intervals
from somlib.utils.quality.energy import distortion
from somlib.utils.quality.measures import MEASURES, Measure
from somlib.utils.quality.neighborhoods import neighborhood_preservation, trustworthiness
from somlib.utils.quality.paths import combined_error
from somlib.utils.quality.report import QualityReport, quality_report
from somlib.utils.quality.topographic import topographic_product

__all__ = [
    "MEASURES",
    "Estimate",
    "Measure",
    "QualityReport",
    "bootstrap_intervals",
    "combined_error",
    "distortion",
    "neighborhood_preservation",
    "quality_report",
    "topographic_product",
    "trustworthiness",
]

r"""Clusters that the map itself shows: dense regions of connected neurons with valleys between them.

1. Neurons without rows wait. Two neurons are linked if some row has them as its two nearest; pieces that share no row
   are joined by their shortest links.
2. The density of rows is estimated at neurons and between linked ones (`density.py`).
3. Each neuron climbs to a peak over links; regions merge until a valley that counts can prove lies between any two that
   are linked (`merging.py`). How sure it must be grows with the number of neurons, so that about `FALSE_VALLEYS` of all
   that chance could make are taken for real. One cluster is an answer like any other.
4. Neurons without rows join the cluster of the nearest neuron with rows.

The strength of a neuron is the share of its cluster in the density there, at a width of the typical distance: 1 within
a cluster, one half where two meet.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from somlib.errors import ArgumentError
from somlib.utils.clustering.connections import Connections
from somlib.utils.clustering.contiguity import graph_of, pieces
from somlib.utils.clustering.density import ENTRIES, RowDensity, bridges, typical_distance
from somlib.utils.clustering.merging import Merge, merges, regions
from somlib.utils.clustering.method import ClusteringMethod, Partition, all_in_one
from somlib.utils.clustering.neurons import FloatArray, IntArray, Neurons, nearest, unit_variance
from somlib.utils.winners import row_chunks

logger = logging.getLogger(__name__)

# Expected a map. Of 0.1, 0.2 and 0.4 the best on the sets of TUNING in benchmarks/cluster_sets.py: more of them find
# groups that touch, and cut rings, which one sparse place divides.
FALSE_VALLEYS = 0.1


@dataclass(frozen=True)
class _Held:
    """The neurons that hold rows, renumbered from 0.

    Attributes:
        index: Their numbers on the map, shape (h,).
        points: Shape (h, f).
        rows: Weight of the rows of each, shape (h,).
        links: Pairs that share rows, shape (e, 2).
        shared: Weight of these rows, shape (e,).
    """

    index: IntArray
    points: FloatArray
    rows: FloatArray
    links: IntArray
    shared: FloatArray

    @classmethod
    def of(cls, points: FloatArray, connections: Connections) -> "_Held":
        rows, pairs = connections.rows.numpy(), connections.pairs.numpy()
        index = np.flatnonzero(rows > 0)
        number = np.full(len(rows), -1)
        number[index] = np.arange(len(index))
        links = number[pairs]
        both = (links >= 0).all(axis=1)
        return cls(index, points[index], rows[index], links[both], connections.shared.numpy()[both])


def _connectivity(neurons: Neurons, n_clusters: int | None, options: Mapping[str, Any]) -> Partition:
    points = unit_variance(neurons.points)
    held = _Held.of(points, _known(neurons))
    distance = typical_distance(held.points, held.links, held.shared)
    joined = bridges(held.points, held.links, pieces(graph_of(held.links[:, 0], held.links[:, 1], len(held.index))))
    links = np.concatenate((held.links, joined))
    distance = distance or typical_distance(held.points, links, np.ones(len(links)))
    if not distance:
        return Partition(all_in_one(neurons), probabilities=np.ones(len(points)))
    density = RowDensity(held.points, held.rows, distance)
    region = regions(density.at_neurons[0], held.links)
    if n_clusters is not None and n_clusters > region.max() + 1:
        region = np.arange(len(held.index))
    all_merges = merges(region, links, density)
    done = _chosen(all_merges, int(region.max()) + 1, n_clusters, len(held.index))
    cluster = _merged(region, done)
    labels, strength = _spread(points, held, cluster, distance)
    return Partition(labels, probabilities=strength)


def _known(neurons: Neurons) -> Connections:
    connections = neurons.connections
    if connections is None:
        raise ArgumentError("method='connectivity' needs rows: give data, or fit the map first")
    if not bool((connections.rows > 0).any()):
        raise ArgumentError("method='connectivity' needs rows that have a nearest neuron, got none")
    return connections


def required_score(neurons: int) -> float:
    """The standard score from which a valley is taken for real on a map of `neurons` neurons with rows."""
    from scipy.stats import norm  # slow to import, and no map needs it to train

    return float(norm.isf(min(FALSE_VALLEYS / neurons, 0.5)))


def _chosen(done: list[Merge], count: int, n_clusters: int | None, neurons: int) -> list[Merge]:
    """The merges that are to be made of all: up to the number asked for, or until every valley is real."""
    if n_clusters is not None:
        return done[: max(count - n_clusters, 0)]
    required = required_score(neurons)
    wanted = next((i for i, merge in enumerate(done) if merge.score >= required), len(done))
    logger.info("%d of %d dense regions have valleys of standard score %.2f between", count - wanted, count, required)
    return done[:wanted]


def _merged(region: IntArray, done: list[Merge]) -> IntArray:
    """The region of each neuron after merges, shape (m,)."""
    into = np.arange(int(region.max()) + 1)
    for merge in reversed(done):  # the last one knows where a region ends up
        into[merge.gone] = into[merge.kept]
    return into[region]


def _spread(points: FloatArray, held: _Held, cluster: IntArray, width: float) -> tuple[IntArray, FloatArray]:
    """Cluster and strength of every neuron, shape (m,) each, from those of the neurons with rows."""
    labels, strength = np.empty(len(points), np.int64), np.empty(len(points))
    labels[held.index] = cluster
    waiting = np.setdiff1d(np.arange(len(points)), held.index)
    labels[waiting] = cluster[nearest(points[waiting], held.points)]
    where, neurons, rows = (torch.from_numpy(values) for values in (points, held.points, held.rows))
    own, lengths = torch.from_numpy(cluster), torch.from_numpy(held.points).square().sum(dim=1)
    for chunk in row_chunks(len(points), max(1, ENTRIES // len(neurons))):
        apart = torch.addmm(lengths, where[chunk], neurons.T, alpha=-2)  # but for what is the same for all neurons
        kernel = apart.sub_(apart.min(dim=1, keepdim=True).values).mul_(-0.5 / width**2).exp_().mul_(rows)
        total = kernel.sum(dim=1)
        inside = own == torch.from_numpy(labels[chunk])[:, None]
        strength[chunk] = (kernel.mul_(inside).sum(dim=1) / total).numpy()
    return labels, strength


CONNECTIVITY = ClusteringMethod(_connectivity, "density and shared rows", finds_number=True, needs_rows=True)

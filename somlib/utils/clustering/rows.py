"""Rows in clusters: each belongs where its nearest neuron does."""

from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ShapeError
from somlib.utils.clustering.result import ClusterResult

NOISE = -1


@dataclass(frozen=True)
class RowClusters:
    """The cluster of each row, and how surely it belongs there.

    Attributes:
        labels: Numbers of the clustering, -1 for rows of noise and rows off the map, int64, shape (n,).
        strength: In [0, 1], 0 where the label is -1, NaN where the method gives neurons no strength, shape (n,).
    """

    labels: Tensor
    strength: Tensor


def row_clusters(winner: Tensor, clusters: ClusterResult, off_map: Tensor | None = None) -> RowClusters:
    """The clusters of rows, by their nearest neurons.

    Args:
        winner: Flat index of each row's nearest neuron, -1 for none, int64, shape (n,).
        clusters: Of the neurons of the same map.
        off_map: Rows that belong nowhere although they have a nearest neuron, bool, shape (n,); None for no other row.

    Raises:
        ShapeError: A winner that the clustering does not know, or `off_map` of another length.

    Example:
        >>> codebook = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> from somlib.utils.clustering import cluster_neurons
        >>> from somlib.utils.grid import Grid
        >>> row_clusters(torch.tensor([3, 0, -1]), cluster_neurons(codebook, Grid(1, 4), "ward")).labels
        tensor([ 2,  1, -1])
    """
    neurons = clusters["labels"].to(winner.device)
    if len(winner) and int(winner.max()) >= len(neurons):
        raise ShapeError(f"clusters must be of the neurons of this map, got {len(neurons)} of them")
    if off_map is not None and off_map.shape != winner.shape:
        raise ShapeError(f"off_map must have shape {tuple(winner.shape)}, like winner, got {tuple(off_map.shape)}")
    away = winner < 0 if off_map is None else (winner < 0) | off_map.to(winner.device)
    labels = neurons[winner.clamp_min(0)].masked_fill(away, NOISE)
    strength = neuron_strength(clusters).to(winner.device)[winner.clamp_min(0)]
    return RowClusters(labels, strength.masked_fill(labels == NOISE, 0.0))


def neuron_strength(clusters: ClusterResult) -> Tensor:
    """How surely each neuron belongs to its own cluster, shape (m,); NaN where the method does not say."""
    labels, probabilities = clusters["labels"], clusters.get("probabilities")
    if probabilities is None:
        return clusters["original_data"].new_full((len(labels),), torch.nan)
    if probabilities.ndim == 1:
        return probabilities
    return probabilities.gather(1, (labels - 1).clamp_min(0)[:, None])[:, 0]

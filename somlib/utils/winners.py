"""The nearest neurons of samples, once found, and how far they are.

Distances come from differences, in float64 within; see `distances.py`. Rows go in chunks, so that memory does not grow
with their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.distances import Metric

# Entries of the rows gathered at a time for exact distances, so that the passes over them stay in the cache: at 300
# features four times faster than 65 536 rows at a time.
EXACT_ENTRIES = {"cpu": 2**16, "cuda": 2**24}
# All that an entry of a block takes at its peak, where every neuron is a candidate: its score and exact distance in
# float64, a copy of the score, and the pair of indices, twice.
BYTES_OF_AN_ENTRY = 64
SURELY_FREE = 2**20  # entries that a card has room for


@dataclass(frozen=True)
class Winners:
    """The nearest neurons of some samples, nearest first.

    Attributes:
        index: Flat neuron indices, int64, shape (n, k); -1 where a sample has no distance to any neuron.
        distance: Distances in the map's metric, shape (n, k), NaN where the index is -1; empty (n, 0) if not asked for.
    """

    index: Tensor
    distance: Tensor


def collect_winners(
    found: list[Tensor], k: int, data: Tensor, codebook: Tensor, metric: Metric, distances: bool
) -> Winners:
    """The winners (b, k) of all chunks, with exact distances where wanted."""
    index = torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64, device=data.device)
    if not distances:
        return Winners(index, data.new_empty(len(data), 0))
    return Winners(index, exact_distances(data, codebook, index, metric))


def exact_distances(data: Tensor, codebook: Tensor, index: Tensor, metric: Metric) -> Tensor:
    """Distances (n, k) of samples (n, d) to the neurons of their `index` (n, k), NaN where it is -1."""
    distances = data.new_empty(index.shape)
    for rank in range(index.shape[1]):
        for rows in _exact_chunks(data, len(data)):
            chosen = index[rows, rank]
            values = metric.rowwise(data[rows], codebook[chosen.clamp_min(0)])
            distances[rows, rank] = values.masked_fill(chosen < 0, torch.nan)
    return distances


def paired_distances(data: Tensor, codebook: Tensor, sample: Tensor, neuron: Tensor, metric: Metric) -> Tensor:
    """Distances (p,) of pairs of a sample and a neuron, given by their indices (p,)."""
    distances = data.new_empty(len(sample))
    for pairs in _exact_chunks(data, len(sample)):
        distances[pairs] = metric.rowwise(data[sample[pairs]], codebook[neuron[pairs]])
    return distances


def _exact_chunks(data: Tensor, n: int) -> Iterator[slice]:
    return row_chunks(n, max(1, block_entries(EXACT_ENTRIES, data, n * data.shape[1]) // data.shape[1]))


def row_chunks(n: int, rows: int, first: int = 0) -> Iterator[slice]:
    """Slices of the rows from `first` up to `n`, `rows` at a time."""
    return (slice(start, min(start + rows, n)) for start in range(first, n, rows))


def block_entries(limits: dict[str, int], tensor: Tensor, wanted: int) -> int:
    """How many entries of a block to work on at a time, on the device of `tensor`.

    Args:
        limits: By type of device; one that is not listed has the limit of the CPU.
        tensor: Any tensor on the device.
        wanted: Entries of the whole block.
    """
    entries = min(wanted, limits.get(tensor.device.type, limits["cpu"]))
    if tensor.is_cuda and entries > SURELY_FREE:  # asking takes longer than a small block
        entries = min(entries, free_bytes(tensor.device) // BYTES_OF_AN_ENTRY)
    return entries


def free_bytes(device: torch.device) -> int:
    """Memory of a CUDA device that PyTorch can still get: what is free, and what it holds without using it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)

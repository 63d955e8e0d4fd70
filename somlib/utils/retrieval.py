r"""Which historical samples are relevant to a query: the retrieval of just-in-time learning (JITL).

What is retrieved depends only on the query's winner `b`:

    bmu_only                the samples of b
    bmu_neighborhood        those and the samples of all neurons within `order` hops of b
    bmu_neighborhood_knn    the same; then, while there are fewer than `threshold` samples, all samples of the next
                            neuron by codebook distance from b

so a batch of queries costs one row of work for each distinct winner, and no Python loop over samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils.arguments import require_choice, require_number
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import NeuronSamples
from somlib.utils.topology import hop_distances

RETRIEVAL_MODES = ("bmu_only", "bmu_neighborhood", "bmu_neighborhood_knn")
BLOCK_ENTRIES = 2**20  # winners by neurons at a time


@dataclass(frozen=True)
class Retrieved:
    """The samples retrieved for each query, as flat arrays.

    Attributes:
        sample: Indices into the historical samples: those of the winner first, then of its neighborhood in flat
            order, then of the fallback neurons, nearest first; int64, shape (total,).
        offset: Query `i` has `sample[offset[i]:offset[i + 1]]`, int64, shape (q + 1,).
    """

    sample: Tensor
    offset: Tensor

    def of(self, query: int) -> Tensor:
        """Sample indices of one query."""
        return self.sample[self.offset[query] : self.offset[query + 1]]


def retrieve(
    winner: Tensor,
    groups: NeuronSamples,
    codebook: Tensor,
    grid: Grid,
    metric: Metric,
    mode: str = "bmu_neighborhood_knn",
    order: int = 1,
    threshold: int = 50,
) -> Retrieved:
    """The samples for each of the queries, by the winner of each.

    Args:
        winner: Flat index of each query's winner, int64, shape (q,); a query with -1 gets nothing.
        groups: Samples of each neuron.
        codebook: Neurons, shape (m, d).
        grid: The grid.
        metric: Distance between codebook vectors, for the fallback.
        mode: How far to go.
        order: Hops of the neighborhood.
        threshold: Number of samples below which the fallback adds neurons.

    Raises:
        ArgumentError: Unknown mode, or a negative threshold.
    """
    require_choice("retrieval_mode", mode, RETRIEVAL_MODES)
    if not require_number("min_buffer_threshold", threshold, "be a number of at least 0") >= 0:
        raise ArgumentError(f"min_buffer_threshold must be at least 0, got {threshold}")
    distinct, query_of = torch.unique(winner, return_inverse=True)
    found: list[Tensor] = []
    size: list[Tensor] = []
    if len(distinct) and int(distinct[0]) < 0:
        found, size, distinct = [winner.new_empty(0)], [winner.new_zeros(1)], distinct[1:]
    for block in distinct.split(max(1, BLOCK_ENTRIES // grid.m)):
        ranked, taken = _ranked_neurons(block, groups.count, codebook, grid, metric, mode, order, threshold)
        found.append(expanded(groups, ranked[taken]))
        size.append((groups.count[ranked] * taken).sum(dim=1))
    per_winner = NeuronSamples(torch.cat(found), _offsets(torch.cat(size)))
    return Retrieved(expanded(per_winner, query_of), _offsets(per_winner.count[query_of]))


def _ranked_neurons(
    winner: Tensor,
    count: Tensor,
    codebook: Tensor,
    grid: Grid,
    metric: Metric,
    mode: str,
    order: int,
    threshold: int,
) -> tuple[Tensor, Tensor]:
    """For each winner (u,) all neurons in the order in which they are visited (u, m), and which are taken (u, m)."""
    hops = hop_distances(grid, winner[:, None], torch.arange(grid.m, device=winner.device))  # (u, m)
    near = hops <= (0 if mode == "bmu_only" else order)
    distance = metric.pairwise(codebook[winner].double(), codebook.double())
    # Ascending: the winner, its neighborhood in flat order, then the others by distance (ties: flat order).
    key = torch.where(near, -1.0, distance.nan_to_num(nan=torch.inf))
    key = torch.where(hops == 0, -2.0, key)
    ranked = key.argsort(dim=1, stable=True)
    taken = near.gather(1, ranked)
    if mode == "bmu_neighborhood_knn":
        visited = count[ranked]
        before = visited.cumsum(dim=1) - visited
        taken = taken | (before < threshold)
    return ranked, taken


def expanded(groups: NeuronSamples, neuron: Tensor) -> Tensor:
    """The samples of the given neurons (r,), one after the other, int64."""
    size = groups.count[neuron]
    start = groups.offset[neuron] - (size.cumsum(0) - size)
    return groups.sample[torch.repeat_interleave(start, size) + torch.arange(int(size.sum()), device=neuron.device)]


def groups_from_dict(
    samples: Mapping[tuple[int, int], Sequence[int]], grid: Grid, n: int | None = None
) -> NeuronSamples:
    """Flat arrays from a dict `(row, col) -> sample indices`; neurons that it lacks have no samples.

    Args:
        samples: Indices by place.
        grid: The grid.
        n: How many samples there are, None where that is not known.

    Raises:
        ArgumentError: A key is no place on the map, a value is no list of indices, an index is negative or not below
            `n`, or a sample stands twice.
    """
    if not isinstance(samples, Mapping):
        raise ArgumentError(f"the map of samples must be a dict (row, col) -> indices, got {type(samples).__name__}")
    lists = {_neuron_at(place, grid): _indices_at(place, indices) for place, indices in samples.items()}
    size = torch.zeros(grid.m, dtype=torch.int64)
    for neuron, owned in lists.items():
        size[neuron] = len(owned)
    sample = torch.cat([lists[neuron] for neuron in sorted(lists)]) if lists else torch.empty(0, dtype=torch.int64)
    low, high = (int(sample.min()), int(sample.max())) if len(sample) else (0, -1)
    if low < 0 or (n is not None and high >= n):
        wanted = "indices from 0" if n is None else f"indices of the {n} samples"
        raise ArgumentError(f"the map of samples must hold {wanted}, got {low} to {high}")
    if n is not None and len(sample) and int(torch.bincount(sample).max()) > 1:
        raise ArgumentError(f"the map of samples must hold each sample once, got {int(sample.mode().values)} twice")
    return NeuronSamples(sample, _offsets(size))


def _neuron_at(place: tuple[int, int], grid: Grid) -> int:
    """The flat index of a place."""
    whole = isinstance(place, tuple) and len(place) == 2 and all(isinstance(at, Integral) for at in place)
    on_map = whole and place[0] in range(grid.x) and place[1] in range(grid.y)
    if not on_map:
        raise ArgumentError(f"the map of samples must have keys (row, col) on a {grid.x} x {grid.y} map, got {place!r}")
    return int(place[0]) * grid.y + int(place[1])


def _indices_at(place: tuple[int, int], indices: Sequence[int]) -> Tensor:
    try:
        values = torch.as_tensor(indices)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"the map of samples must hold lists of sample indices, got others at {place}") from error
    if values.ndim != 1 or (values.is_floating_point() and len(values)):
        raise ArgumentError(
            f"the map of samples must hold lists of sample indices, got something else at {place}: "
            "build it with return_indices=True"
        )
    return values.to("cpu", torch.int64)


def _offsets(size: Tensor) -> Tensor:
    return torch.cat((size.new_zeros(1), size.cumsum(0)))

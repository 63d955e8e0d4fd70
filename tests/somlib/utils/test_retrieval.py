"""Retrieval against a loop that visits neurons one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from somlib.errors import ArgumentError
from somlib.utils import retrieval as retrieval_module
from somlib.utils.distances import Metric
from somlib.utils.grid import Grid
from somlib.utils.maps import neuron_samples
from somlib.utils.retrieval import RETRIEVAL_MODES, groups_from_dict, retrieve
from tests.somlib import oracle
from tests.somlib.largest import largest_tensor
from tests.somlib.oracle import FOUR, SMALL, Lattice

MODES = ("bmu_only", "bmu_neighborhood", "bmu_neighborhood_knn")


def codebook_of(lattice: Lattice, seed: int = 0) -> Tensor:
    """Neurons with many equal distances between them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (lattice.m, 2), generator=generator).double()


def winners_of(lattice: Lattice, n: int, seed: int = 0) -> Tensor:
    return torch.randint(-1, lattice.m, (n,), generator=torch.Generator().manual_seed(seed))


def visited(
    winner: int,
    samples: list[list[int]],
    codebook: Tensor,
    lattice: Lattice,
    mode: str,
    order: int,
    threshold: int,
    metric: str = "euclidean",
) -> list[int]:
    """The definition: the winner, its neighborhood, then the next nearest neuron while there are too few samples."""
    if winner < 0:
        return []
    taken = [winner]
    if mode != "bmu_only":
        taken += oracle.within(lattice, winner, order)
    found = [i for k in taken for i in samples[k]]
    if mode == "bmu_neighborhood_knn":
        own = codebook[winner].numpy()
        left = [k for k in range(lattice.m) if k not in taken]
        while len(found) < threshold and left:
            reach = {k: oracle.feature_distance(own, codebook[k].numpy(), metric) for k in left}
            reach = {k: math.inf if math.isnan(r) else r for k, r in reach.items()}
            nearest = min(left, key=lambda k: (reach[k], k))
            found += samples[nearest]
            left.remove(nearest)
    return found  # fmt: skip


@pytest.mark.parametrize("lattice", [*FOUR, *SMALL[::6]], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("order", "threshold"), [(1, 0), (1, 5), (1, 30), (2, 12), (9, 1_000)])
def test_every_mode_finds_what_the_loop_finds_in_its_order(
    lattice: Lattice, mode: str, order: int, threshold: int
) -> None:
    winner, codebook = winners_of(lattice, 40), codebook_of(lattice)
    groups, grid = neuron_samples(winner, lattice.m), Grid(**lattice.arguments)
    samples = [groups.of(k).tolist() for k in range(lattice.m)]
    queries = torch.arange(-1, lattice.m).repeat(2)
    found = retrieve(queries, groups, codebook, grid, Metric("euclidean"), mode, order, threshold)
    for i, query in enumerate(queries.tolist()):
        expected = visited(query, samples, codebook, lattice, mode, order, threshold)
        assert found.of(i).tolist() == expected
        assert len(set(expected)) == len(expected)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev", "cosine"])
def test_the_next_nearest_neuron_is_so_in_the_metric_of_the_map(metric: str) -> None:
    lattice = FOUR[0]
    codebook = torch.randn(lattice.m, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    codebook[3] = 0  # has no cosine to any other: comes last
    groups = neuron_samples(winners_of(lattice, 30), lattice.m)
    samples = [groups.of(k).tolist() for k in range(lattice.m)]
    found = retrieve(torch.arange(lattice.m), groups, codebook, Grid(5, 4), Metric(metric), threshold=25)
    for k in range(lattice.m):
        assert found.of(k).tolist() == visited(k, samples, codebook, lattice, MODES[2], 1, 25, metric)


@given(
    st.sampled_from(SMALL),
    st.sampled_from(MODES),
    st.integers(1, 3),
    st.integers(0, 60),
    st.integers(0, 80),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_a_batch_finds_for_each_query_what_the_query_alone_finds(
    lattice: Lattice, mode: str, order: int, threshold: int, n: int, seed: int
) -> None:
    codebook, grid = codebook_of(lattice, seed), Grid(**lattice.arguments)
    groups = neuron_samples(winners_of(lattice, n, seed), lattice.m)
    queries = winners_of(lattice, 9, seed + 1)
    batch = retrieve(queries, groups, codebook, grid, Metric("euclidean"), mode, order, threshold)
    assert len(batch.offset) == 10
    for i in range(9):
        alone = retrieve(queries[i : i + 1], groups, codebook, grid, Metric("euclidean"), mode, order, threshold)
        own = batch.of(i).tolist()
        assert own == alone.of(0).tolist()
        assert len(set(own)) == len(own)
        if mode == "bmu_neighborhood_knn" and queries[i] >= 0:
            assert len(own) >= min(threshold, len(groups.sample))


def test_the_blocks_of_a_large_batch_change_nothing_and_bound_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lattice = Lattice(12, 10, False, False)
    codebook, grid = codebook_of(lattice), Grid(12, 10)
    groups = neuron_samples(winners_of(lattice, 200), lattice.m)
    queries = winners_of(lattice, 5_000)
    expected = retrieve(queries, groups, codebook, grid, Metric("euclidean"), threshold=1)
    monkeypatch.setattr(retrieval_module, "BLOCK_ENTRIES", 600)
    found = retrieve(queries, groups, codebook, grid, Metric("euclidean"), threshold=1)
    assert torch.equal(found.sample, expected.sample)
    assert torch.equal(found.offset, expected.offset)
    made = largest_tensor(lambda: retrieve(queries, groups, codebook, grid, Metric("euclidean"), MODES[0]))
    assert made < 5_000 * 10  # queries by samples found, not by neurons


def test_an_unknown_mode_lists_the_known_ones_and_a_negative_threshold_is_refused() -> None:
    groups, grid, codebook = neuron_samples(torch.tensor([0, 1]), 4), Grid(2, 2), torch.zeros(4, 1)
    assert set(RETRIEVAL_MODES) == set(MODES)
    with pytest.raises(ArgumentError, match="retrieval_mode must be one of 'bmu_only', 'bmu_neighborhood', 'bmu_neig"):
        retrieve(torch.tensor([0]), groups, codebook, grid, Metric("euclidean"), "nearest")
    with pytest.raises(ArgumentError, match="min_buffer_threshold must be at least 0, got -1"):
        retrieve(torch.tensor([0]), groups, codebook, grid, Metric("euclidean"), threshold=-1)


# ---- samples by place


def test_a_dict_of_places_gives_the_samples_of_each_neuron_and_none_where_it_lacks_one() -> None:
    groups = groups_from_dict({(1, 0): [4, 2], (0, 2): np.array([0]), (0, 0): torch.tensor([1, 3]), (1, 1): []}, Grid(2, 3), 5)  # type: ignore[dict-item]  # fmt: skip  # noqa: E501
    assert [groups.of(k).tolist() for k in range(6)] == [[1, 3], [], [0], [4, 2], [], []]
    assert groups_from_dict({}, Grid(2, 3), 5).count.tolist() == [0] * 6
    assert groups_from_dict({(np.int64(1), np.int64(2)): [0]}, Grid(2, 3)).of(5).tolist() == [0]  # type: ignore[dict-item]  # fmt: skip


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({(2, 0): [0]}, r"have keys \(row, col\) on a 2 x 3 map, got \(2, 0\)"),
        ({(0, 3): [0]}, r"have keys \(row, col\) on a 2 x 3 map, got \(0, 3\)"),
        ({(-1, 0): [0]}, r"got \(-1, 0\)"),
        ({(0.5, 0): [0]}, r"got \(0.5, 0\)"),
        ({4: [0]}, "got 4"),
        ({(0, 0, 0): [0]}, r"got \(0, 0, 0\)"),
        ({(0, 0): [5]}, "hold indices of the 5 samples, got 5 to 5"),
        ({(0, 0): [-1, 2]}, "hold indices of the 5 samples, got -1 to 2"),
        ({(0, 0): [1, 1]}, "hold each sample once, got 1 twice"),
        ({(0, 0): [1], (1, 1): [2, 1]}, "hold each sample once, got 1 twice"),
        (
            {(0, 0): torch.zeros(2, 3)},
            r"lists of sample indices, got something else at \(0, 0\): .*return_indices=True",
        ),
        ({(0, 0): [0.5]}, "hold lists of sample indices"),
        ({(0, 0): 3}, "hold lists of sample indices"),
    ],
)
def test_a_dict_that_does_not_fit_the_map_or_the_samples_is_refused(places: dict, message: str) -> None:  # type: ignore[type-arg]  # anything  # fmt: skip
    with pytest.raises(ArgumentError, match=f"^the map of samples must .*{message}"):
        groups_from_dict(places, Grid(2, 3), 5)

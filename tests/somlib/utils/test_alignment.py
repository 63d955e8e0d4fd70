"""AlignedMap maps and cluster numbers, against all distance-keeping renumberings found by search, and loops."""

import itertools
import math

import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from somlib import SOM
from somlib.errors import ArgumentError, ShapeError
from somlib.utils.alignment import (
    aligned,
    cluster_stability,
    inverse,
    matched_labels,
    require_symmetry,
    symmetries,
)
from somlib.utils.grid import Grid
from tests.somlib import oracle
from tests.somlib.oracle import Lattice

LATTICES = [
    Lattice(x, y, hexagonal, pbc)
    for hexagonal, pbc in itertools.product((False, True), (False, True))
    for x, y in ((1, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 3), (4, 4), (4, 3), (5, 3))
    if not (hexagonal and pbc and (x % 2 or x == 2))
]
GRIDS = [Grid(5, 4), Grid(4, 4), Grid(5, 4, "hexagonal"), Grid(4, 5, "hexagonal"), Grid(4, 5, pbc=True)]
GRIDS += [Grid(4, 4, pbc=True), Grid(6, 5, "hexagonal", pbc=True)]


def kept_distances(lattice: Lattice) -> set[tuple[int, ...]]:
    """Every renumbering that keeps all grid distances, neuron by neuron."""
    table = oracle.distances(lattice)
    partial: list[tuple[int, ...]] = [()]
    for k in range(lattice.m):
        partial = [
            (*chosen, c)
            for chosen in partial
            for c in range(lattice.m)
            if c not in chosen and all(abs(table[c, chosen[i]] - table[k, i]) < 1e-9 for i in range(k))
        ]
    return set(partial)


def codebook(grid: Grid, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(grid.m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(rows: list[list[int]]) -> list[int]:
    """A renumbering as one reads it off a picture of the grid."""
    return [neuron for row in rows for neuron in row]


# ---------------------------------------------------------------- symmetries


@pytest.mark.parametrize("lattice", LATTICES, ids=str)
def test_the_symmetries_are_all_renumberings_that_keep_grid_distances(lattice: Lattice) -> None:
    found = [tuple(permutation.tolist()) for permutation in symmetries(Grid(**lattice.arguments))]
    assert len(found) == len(set(found))
    assert set(found) == kept_distances(lattice)
    assert found[0] == tuple(range(lattice.m))


def test_a_rectangle_is_mirrored_and_turned_by_half() -> None:
    found = {tuple(permutation.tolist()) for permutation in symmetries(Grid(2, 3))}
    assert found == {(0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2), (2, 1, 0, 5, 4, 3), (5, 4, 3, 2, 1, 0)}


def test_hexagons_in_an_odd_number_of_rows_are_mirrored_top_to_bottom_only() -> None:
    (_, mirrored) = symmetries(Grid(3, 4, "hexagonal"))
    assert mirrored.tolist() == places([[8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]])


def test_hexagons_in_an_even_number_of_rows_are_turned_by_half_only() -> None:
    (_, turned) = symmetries(Grid(4, 3, "hexagonal"))
    assert turned.tolist() == list(range(11, -1, -1))


def test_a_hexagonal_torus_shifted_by_one_row_moves_half_a_cell_to_the_side() -> None:
    shifted = torch.tensor(places([[3, 4, 5], [7, 8, 6], [9, 10, 11], [1, 2, 0]]))
    assert any(torch.equal(shifted, permutation) for permutation in symmetries(Grid(4, 3, "hexagonal", pbc=True)))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_only_symmetries_are_accepted(grid: Grid) -> None:
    for permutation in symmetries(grid):
        require_symmetry(permutation, grid)
    swapped = torch.arange(grid.m)
    swapped[:2] = torch.tensor([1, 0])
    with pytest.raises(ArgumentError, match="permutation must keep the distances on the grid"):
        require_symmetry(swapped, grid)
    with pytest.raises(ArgumentError, match=f"permutation must hold each of the {grid.m} neurons once"):
        require_symmetry(torch.zeros(grid.m, dtype=torch.int64), grid)


# ---------------------------------------------------------------- alignment


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_map_that_was_only_turned_is_turned_back(grid: Grid) -> None:
    old = codebook(grid)
    for permutation in itertools.islice(symmetries(grid), 0, None, 3):
        new = old[inverse(permutation)]
        found = aligned(old, new, grid)
        assert torch.equal(new[found.permutation], old)
        assert found.after.share == 0


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_best_of_all_symmetries_is_found(grid: Grid) -> None:
    old, new = codebook(grid, seed=1), codebook(grid, seed=2)
    scale = torch.cat((old, new)).std(dim=0)
    losses = {tuple(p.tolist()): ((old - new[p]) / scale).square().mean().item() for p in symmetries(grid)}
    found = aligned(old, new, grid)
    assert losses[tuple(found.permutation.tolist())] == pytest.approx(min(losses.values()))


def test_a_map_that_no_turn_improves_stays_as_it_is() -> None:
    grid = Grid(3, 3, pbc=True)
    flat = torch.ones(grid.m, 2)
    assert aligned(flat, flat + 1, grid).permutation.tolist() == list(range(9))


def test_a_feature_in_large_numbers_does_not_decide_alone() -> None:
    grid = Grid(1, 3)
    old = torch.tensor([[0.0, 0.0, 1000.0], [1.0, 1.0, 1000.5], [2.0, 2.0, 1001.0]]).double()
    new = torch.tensor([[2.0, 2.0, 1000.4], [1.0, 1.0, 1000.5], [0.0, 0.0, 1000.6]]).double()
    assert aligned(old * torch.tensor([1, 1, 1e3]), new * torch.tensor([1, 1, 1e3]), grid).permutation.tolist() == [
        2, 1, 0
    ]  # fmt: skip


def test_displacement_is_told_in_the_units_of_the_data_and_of_the_grid() -> None:
    grid = Grid(1, 3)
    old = torch.tensor([[0.0], [10.0], [20.0]])
    new = torch.tensor([[23.0], [10.0], [0.0]])
    found = aligned(old, new, grid, torch.tensor([0, 2, -1]), torch.tensor([2, 1, 0]))
    assert found.permutation.tolist() == found.places.tolist() == [2, 1, 0]
    assert found.before.by_feature.tolist() == pytest.approx([43 / 3])
    assert found.after.by_feature.tolist() == [1.0]
    deviation = math.sqrt(200 / 3)
    assert found.before.share == pytest.approx(math.sqrt((23**2 + 20**2) / 3) / deviation)
    assert found.after.share == pytest.approx(math.sqrt(9 / 3) / deviation)
    assert found.before.grid_distance == (2 + 1) / 2
    assert found.after.grid_distance == (0 + 1) / 2


def test_displacement_says_where_it_is_not_defined() -> None:
    grid, flat, nowhere = Grid(1, 2), torch.ones(2, 1), torch.tensor([-1])
    assert math.isnan(aligned(flat, flat, grid).after.share)
    assert aligned(flat, flat, grid).after.grid_distance is None
    distance = aligned(flat, flat, grid, nowhere, nowhere).after.grid_distance
    assert distance is not None
    assert math.isnan(distance)


def test_codebooks_and_winners_that_do_not_fit_are_refused() -> None:
    grid, winner = Grid(2, 2), torch.tensor([0, 1])
    with pytest.raises(ShapeError, match=r"old must be a codebook of shape \(4, d\) for a grid of 2 x 2, got \(6, 3\)"):
        aligned(torch.zeros(6, 3), torch.zeros(4, 3), grid)
    with pytest.raises(ShapeError, match="new must have 3 features, like old, got 2"):
        aligned(torch.zeros(4, 3), torch.zeros(4, 2), grid)
    with pytest.raises(ArgumentError, match="must be given together"):
        aligned(torch.zeros(4, 3), torch.zeros(4, 3), grid, winner)
    with pytest.raises(ShapeError, match=r"new_winner must be of the same rows as old_winner, got \(1,\) and \(2,\)"):
        aligned(torch.zeros(4, 3), torch.zeros(4, 3), grid, winner, winner[:1])


def test_a_reoriented_som_answers_like_before_at_other_places() -> None:
    data = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
    som = SOM(4, 5, 3, epochs=3, topology="hexagonal", pbc=True)
    som.fit(data, verbose=False)
    permutation = list(symmetries(som.grid))[23]
    turned = som.reoriented(permutation)
    before, after = (s.winners(data, distances=True) for s in (som, turned))
    assert torch.equal(after.index[:, 0], inverse(permutation)[before.index[:, 0]])
    assert torch.equal(after.distance, before.distance)
    torch.testing.assert_close(turned.anomaly_score(data), som.anomaly_score(data))
    assert turned.topographic_error(data) == som.topographic_error(data)
    som.partial_fit(data, forgetting_factor=0.5)
    turned.partial_fit(data, forgetting_factor=0.5)
    torch.testing.assert_close(turned.codebook, som.codebook[permutation])


def test_reorienting_leaves_the_map_alone_and_refuses_what_would_fold_it() -> None:
    som = SOM(2, 3, 2)
    before = som.weights.clone()
    assert torch.equal(som.reoriented(torch.arange(5, -1, -1)).weights, before.flip(0, 1))
    assert torch.equal(som.weights, before)
    with pytest.raises(ArgumentError, match="permutation must keep the distances"):
        som.reoriented(torch.tensor([1, 0, 2, 3, 4, 5]))


# ---------------------------------------------------------------- clusters


def test_clusters_keep_the_numbers_of_those_they_overlap_most() -> None:
    old = torch.tensor([1, 1, 1, 2, 2, 3, 3, 3, 3])
    new = torch.tensor([2, 2, 1, 3, 3, 1, 1, 1, 2])
    assert matched_labels(old, new).tolist() == [1, 1, 3, 2, 2, 3, 3, 3, 1]


@pytest.mark.parametrize("seed", range(5))
def test_no_other_pairing_keeps_more_rows(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    old = torch.randint(1, 5, (60,), generator=generator)
    new = torch.randint(1, 4, (60,), generator=generator)
    best = max(
        sum(int((old[new == label] == number).sum()) for label, number in zip((1, 2, 3), numbers, strict=True))
        for numbers in itertools.permutations((1, 2, 3, 4), 3)
    )
    assert int((matched_labels(old, new) == old).sum()) == best


def test_new_clusters_get_numbers_that_were_never_used() -> None:
    old = torch.tensor([1, 1, 4, 4])
    new = torch.tensor([1, 2, 3, 3])
    assert sorted(matched_labels(old, new)[:2].tolist()) == [1, 5]
    assert sorted(matched_labels(old, new, highest=7)[:2].tolist()) == [1, 8]


def test_a_cluster_that_shares_no_row_with_any_old_one_is_new() -> None:
    assert matched_labels(torch.tensor([-1, 1]), torch.tensor([1, 2])).tolist() == [2, 1]


def test_noise_stays_noise() -> None:
    assert matched_labels(torch.tensor([-1, -1, 2]), torch.tensor([-1, 1, -1])).tolist() == [-1, 3, -1]
    assert matched_labels(torch.tensor([-1]), torch.tensor([1])).tolist() == [1]


def test_neurons_are_renumbered_by_what_rows_say_also_those_without_rows() -> None:
    rows_old, rows_new = torch.tensor([1, 1, 2]), torch.tensor([2, 2, 1])
    neurons = torch.tensor([[2, 1], [3, -1]])
    assert matched_labels(rows_old, rows_new, neurons).tolist() == [[1, 2], [3, -1]]


def test_stability_is_the_adjusted_rand_index_of_each_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    labelings = [torch.randint(1, 4, (50,), generator=generator) for _ in range(3)]
    pairs = [adjusted_rand_score(a, b) for a, b in itertools.combinations(labelings, 2)]
    assert cluster_stability(*labelings) == pytest.approx(sum(pairs) / 3)
    assert cluster_stability(labelings[0], labelings[0] + 5) == 1


def test_stability_is_undefined_where_nothing_is_told_apart() -> None:
    one, two = torch.ones(4, dtype=torch.int64), torch.tensor([1, 1, 2, 2])
    assert math.isnan(cluster_stability(one, one))
    assert math.isnan(cluster_stability(two))
    assert math.isnan(cluster_stability())
    assert cluster_stability(one, two) == 0


def test_labels_of_different_rows_are_refused() -> None:
    for compare in (matched_labels, cluster_stability):
        with pytest.raises(ShapeError, match=r"labels must be of the same rows, shape \(n,\), got \(2,\) and \(3,\)"):
            compare(torch.ones(2, dtype=torch.int64), torch.ones(3, dtype=torch.int64))


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_have_moved_nowhere_on_a_map_that_is_the_old_one_turned_or_shifted(grid: Grid) -> None:
    """Under every symmetry, also those that are not undone by being done again."""
    old = torch.randn(grid.m, 2, generator=torch.Generator().manual_seed(0))
    neurons = torch.arange(grid.m)
    for permutation in itertools.islice(symmetries(grid), 40):
        winner = torch.tensor([int((permutation == neuron).nonzero()) for neuron in neurons])
        assert aligned(old, old[permutation], grid, neurons, winner).after.grid_distance == 0


def test_rows_without_a_neuron_on_either_map_count_for_no_movement() -> None:
    grid = Grid(3, 2)
    codebook = torch.randn(grid.m, 2, generator=torch.Generator().manual_seed(0))
    old, new = torch.tensor([0, 1, 2, -1]), torch.tensor([0, 1, -1, 3])
    assert aligned(codebook, codebook, grid, old, new).after.grid_distance == 0


def test_a_map_stays_as_it_is_where_a_turn_gains_no_more_than_rounding() -> None:
    """Mirrored, (1 + e, 0, 1) and (2, 0, 2 + e) are nearer by the share e^2 only."""
    for gain, turned in ((1e-6, False), (1e-2, True)):
        old, new = torch.tensor([[1 + gain], [0.0], [1.0]]).double(), torch.tensor([[2.0], [0.0], [2 + gain]]).double()
        assert (aligned(old, new, Grid(1, 3)).permutation.tolist() == [2, 1, 0]) == turned


def test_a_cluster_takes_no_number_of_one_that_it_shares_nothing_with() -> None:
    old, new = torch.tensor([1] * 5 + [2] + [1] * 3), torch.tensor([1] * 6 + [2] * 3)
    assert matched_labels(old, new).tolist() == [1] * 6 + [3] * 3

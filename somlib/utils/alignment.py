r"""A new map beside an old one: turned so that the same things lie at the same places, with the same cluster numbers.

A map says how neurons lie to each other, not which way up: trained again, it may come out mirrored, turned, or, as a
torus, shifted. None of that changes an answer, all of it confuses a reader. The symmetries of a grid are the
renumberings of its neurons that keep all grid distances:

    flat, rectangular    mirrored in either axis, half a turn; squares also a quarter turn and both diagonals
    flat, hexagonal      mirrored top to bottom where the number of rows is odd, half a turn where it is even: odd rows
                         are half a cell to the right, and must stay there
    torus                each of the mirrored ones and half a turn, squares also transposed, all shifted by any place;
                         hexagons shifted by an odd number of rows move half a cell to the side as well

They are not listed here but found: a symmetry of a flat grid keeps its center and turns its lattice into itself, so it
is one of the 8 (hexagons: 12) turns and reflections about the center that map cells to cells. Those of a torus keep its
periods as well, and any shift may follow: the best one is a maximum of the cross-correlation, which the fast Fourier
transform gives for all shifts at once.

Codebooks are compared in the units of the data, for two scalers have two kinds of units of their own: undo the scaling
of both first. There, features are made comparable by their spread over both maps.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.errors import ArgumentError, DataTypeError, ShapeError
from somlib.utils.arguments import require_indices
from somlib.utils.grid import Grid
from somlib.utils.topology import neighbor_table

NOISE = -1
CLOSE = 1e-6  # of a cell width: places are multiples of half a cell
NO_BETTER = 1e-9  # as a share: the map stays as it is rather than be turned for a gain of rounding


@dataclass(frozen=True)
class Displacement:
    """How far a map lies from another, neuron by neuron.

    Attributes:
        by_feature: Mean absolute difference of weights, in the units of the data, float64, shape (d,).
        share: Root mean squared difference of weights as a share of the deviation over the neurons of the old map,
            mean over the features that vary there; 0 for equal maps, about 1.4 for unrelated ones, NaN where nothing
            varies.
        grid_distance: Mean distance on the grid, in cell widths, between the neurons of the same rows on both maps;
            NaN where no row has a place on both, None where no rows were given.
    """

    by_feature: Tensor
    share: float
    grid_distance: float | None = None


@dataclass(frozen=True)
class Alignment:
    """How to turn a new map so that it lies like an old one.

    Attributes:
        permutation: Neuron of the new map that belongs at each place, int64, shape (m,): the turned codebook is
            `new[permutation]`.
        before: Displacement of the new map as it is.
        after: Displacement of the turned map.
    """

    permutation: Tensor
    before: Displacement
    after: Displacement

    @property
    def places(self) -> Tensor:
        """Where each neuron of the new map goes, int64, shape (m,): its winners move from w to `places[w]`."""
        return inverse(self.permutation)


def aligned(
    old: Tensor, new: Tensor, grid: Grid, old_winner: Tensor | None = None, new_winner: Tensor | None = None
) -> Alignment:
    """The symmetry of the grid under which a new codebook differs least from an old one.

    Args:
        old: Codebook in the units of the data, shape (m, d).
        new: The new codebook, of the same grid and features.
        grid: Of both maps.
        old_winner: Neurons of some rows on the old map, flat indices, -1 for none, int64, shape (n,).
        new_winner: Neurons of the same rows on the new map.

    Raises:
        ShapeError: Codebooks that do not fit the grid or each other, or winners of different rows.
    """
    _require_codebooks(old, new, grid)
    _require_winners(old_winner, new_winner)
    old, new = old.detach().double(), new.detach().double()
    scale = torch.cat((old, new)).std(dim=0, correction=0)
    before, after = (codebook / torch.where(scale > 0, scale, 1) for codebook in (old, new))
    permutation = _least_different(before, after, grid)
    unchanged = torch.arange(grid.m, device=permutation.device)
    return Alignment(
        permutation,
        _displacement(old, new, unchanged, grid, old_winner, new_winner),
        _displacement(old, new, permutation, grid, old_winner, new_winner),
    )


def symmetries(grid: Grid) -> Iterator[Tensor]:
    """All renumberings of neurons that keep grid distances, the identity first, int64, shape (m,) each; none twice.

    A torus of two rows of hexagons has more, which swap single cells and turn nothing; these are left out.
    """
    seen = set()
    for shift in range(grid.m) if grid.pbc else (0,):
        for turn in turns(grid):
            permutation = turn[_shifted(grid, shift)]
            key = tuple(permutation.tolist())
            if key not in seen:
                seen.add(key)
                yield permutation


def turns(grid: Grid) -> list[Tensor]:
    """The symmetries that keep the center of a flat grid, or neuron 0 of a torus, the identity first."""
    positions = grid.positions
    center = torch.zeros(2, dtype=torch.float64) if grid.pbc else positions.mean(dim=0)
    found: list[Tensor] = []
    for matrix in _lattice_turns(grid):
        neurons = _neurons_at(grid, (positions - center) @ matrix.T + center)
        if neurons is not None and not any(torch.equal(neurons, other) for other in found):
            found.append(neurons)
    return found


def inverse(permutation: Tensor) -> Tensor:
    """The permutation that undoes one, shape (m,)."""
    require_indices("permutation", permutation)
    undone = torch.empty_like(permutation)
    undone[permutation] = torch.arange(len(permutation), device=permutation.device)
    return undone


def require_symmetry(permutation: Tensor, grid: Grid) -> None:
    """Refuse a renumbering that does not keep the distances of neighbors, and so those of all neurons.

    Raises:
        ArgumentError: It does not, or is none.
    """
    require_indices("permutation", permutation)
    every = torch.arange(grid.m)
    permutation = permutation.cpu()
    if permutation.shape != (grid.m,) or not torch.equal(permutation.sort().values, every):
        raise ArgumentError(f"permutation must hold each of the {grid.m} neurons once, got shape {permutation.shape}")
    table = neighbor_table(grid)
    pair = table >= 0
    first, second = every[:, None].expand_as(table)[pair], table[pair]
    before, after = (
        grid.squared_distances(first, second),
        grid.squared_distances(permutation[first], permutation[second]),
    )
    if not torch.allclose(before, after):
        raise ArgumentError(
            "permutation must keep the distances on the grid: take one of somlib.utils.alignment.symmetries"
        )


# ---------------------------------------------------------------- lattice


def _lattice_turns(grid: Grid) -> Iterator[Tensor]:
    """Turns and reflections, shape (2, 2), that map the lattice of the grid to itself, and a torus to itself."""
    steps = 6 if grid.hexagonal else 4
    periods = torch.tensor([grid.x * grid.row_height, float(grid.y)], dtype=torch.float64)
    for reflected in (1.0, -1.0):
        for step in range(steps):
            angle = 2 * math.pi * step / steps
            sin, cos = math.sin(angle), math.cos(angle)
            matrix = torch.tensor([[cos, -sin * reflected], [sin, cos * reflected]], dtype=torch.float64)
            turned = matrix * periods / periods[:, None]  # a period of the torus, turned, in periods
            if not grid.pbc or ((turned - turned.round()).abs() < CLOSE).all():
                yield matrix


def _neurons_at(grid: Grid, places: Tensor) -> Tensor | None:
    """The neurons at places (m, 2) in cell widths, int64, shape (m,); None where one is at none."""
    exact = places / torch.tensor([grid.row_height, 0.5], dtype=torch.float64)  # rows and half columns
    near = exact.round()
    if ((exact - near).abs() > CLOSE).any():
        return None
    rows, halves = near.long().unbind(1)
    if grid.pbc:
        rows, halves = rows % grid.x, halves % (2 * grid.y)
    elif ((rows < 0) | (rows >= grid.x) | (halves < 0) | (halves > 2 * grid.y)).any():
        return None
    neurons = _half_cells(grid)[rows, halves]
    return None if (neurons < 0).any() else neurons


def _half_cells(grid: Grid) -> Tensor:
    """The neuron at each row and half column, -1 where there is none, int64, shape (x, 2 y + 1)."""
    table = torch.full((grid.x, 2 * grid.y + 1), -1)
    table[grid.coordinates[:, 0], grid.half_columns] = torch.arange(grid.m)
    return table


def _shifted(grid: Grid, shift: int) -> Tensor:
    """The neuron at each neuron's place plus that of neuron `shift`, on a torus; on a flat grid for shift 0 only."""
    rows, halves = grid.coordinates[:, 0], grid.half_columns
    moved_rows, moved_halves = rows + rows[shift], halves + halves[shift]
    if grid.pbc:
        moved_rows, moved_halves = moved_rows % grid.x, moved_halves % (2 * grid.y)
    return _half_cells(grid)[moved_rows, moved_halves]


# ---------------------------------------------------------------- the best one


def _least_different(old: Tensor, new: Tensor, grid: Grid) -> Tensor:
    """The symmetry that leaves the least mean squared difference; the identity where others gain nothing."""
    identity = torch.arange(grid.m, device=old.device)
    candidates = [identity]
    for turn in turns(grid):
        turned = turn.to(old.device)
        shift = _best_shift(old, new[turned], grid) if grid.pbc else 0
        candidates.append(turned[_shifted(grid, shift).to(old.device)])
    losses = torch.stack([(old - new[candidate]).square().mean() for candidate in candidates])
    return candidates[int((losses <= losses.min() + NO_BETTER * losses[0]).nonzero()[0])]


def _best_shift(old: Tensor, new: Tensor, grid: Grid) -> int:
    """The neuron by whose place a torus must be shifted to be most like the old one.

    In half columns a hexagonal torus is an ordinary one, with every other place empty, and so is a rectangular one.
    """
    spectra = []
    for codebook in (old, new):
        cells = codebook.new_zeros(grid.x, 2 * grid.y, codebook.shape[1])
        cells[grid.coordinates[:, 0], grid.half_columns] = codebook
        spectra.append(torch.fft.rfft2(cells, dim=(0, 1)))
    product = (spectra[0].conj() * spectra[1]).sum(dim=2)
    likeness = torch.fft.irfft2(product, s=(grid.x, 2 * grid.y))  # of old at p and new at p + shift
    return int(likeness[grid.coordinates[:, 0], grid.half_columns].argmax())


def _displacement(
    old: Tensor, new: Tensor, permutation: Tensor, grid: Grid, old_winner: Tensor | None, new_winner: Tensor | None
) -> Displacement:
    difference = new[permutation] - old
    spread = old.std(dim=0, correction=0)
    share = (difference.square().mean(dim=0).sqrt() / spread)[spread > 0].mean()
    distance = None
    if old_winner is not None and new_winner is not None:
        placed = (old_winner >= 0) & (new_winner >= 0)
        moved = inverse(permutation).to(new_winner.device)[new_winner[placed]]
        distance = float(grid.squared_distances(old_winner[placed], moved).sqrt().mean())
    return Displacement(difference.abs().mean(dim=0), float(share), distance)


def _require_codebooks(old: Tensor, new: Tensor, grid: Grid) -> None:
    if not isinstance(grid, Grid):
        raise ArgumentError(f"grid must be a Grid, got {type(grid).__name__}")
    for name, codebook in (("old", old), ("new", new)):
        if not isinstance(codebook, Tensor) or not codebook.is_floating_point():
            raise DataTypeError(f"{name} must be a tensor of real numbers, got {type(codebook).__name__}")
        if codebook.ndim != 2 or len(codebook) != grid.m:
            raise ShapeError(
                f"{name} must be a codebook of shape ({grid.m}, d) for a grid of {grid.x} x {grid.y}, "
                f"got {tuple(codebook.shape)}"
            )
    if old.shape != new.shape:
        raise ShapeError(f"new must have {old.shape[1]} features, like old, got {new.shape[1]}")


def _require_winners(old: Tensor | None, new: Tensor | None) -> None:
    if (old is None) != (new is None):
        raise ArgumentError("old_winner and new_winner must be given together, got one of them")
    if old is not None and new is not None and (old.ndim != 1 or old.shape != new.shape):
        raise ShapeError(
            f"new_winner must be of the same rows as old_winner, got {tuple(new.shape)} and {tuple(old.shape)}"
        )


# ---------------------------------------------------------------- clusters


def matched_labels(old: Tensor, new: Tensor, labels: Tensor | None = None, highest: int = 0) -> Tensor:
    """New cluster labels that carry the numbers of the old clusters that they overlap most.

    The pairing of clusters is the one with the most rows (or neurons) in pairs. A cluster without a partner gets a
    number above all old ones, so that no number ever changes its meaning; noise, -1, stays noise.

    Args:
        old: Label of each row, or each neuron of aligned maps, int64, shape (n,).
        new: Labels of the same under the new map.
        labels: What to renumber, such as the labels of all neurons where `old` and `new` are those of rows; None for
            `new`.
        highest: The highest number that was ever given, if that is above those of `old`.

    Returns:
        int64, in the shape of `labels`.

    Raises:
        ShapeError: `old` and `new` are not of the same rows.

    Example:
        >>> matched_labels(torch.tensor([1, 1, 2, 2, -1]), torch.tensor([2, 2, 3, 1, -1])).tolist()
        [1, 1, 3, 2, -1]
    """
    _require_labels(old, new)
    labels = new if labels is None else labels
    numbers = _partners(old, new)
    following = max(highest, int(old.max()) if len(old) else 0, 0) + 1
    for label in torch.unique(labels).tolist():
        if label not in numbers:
            numbers[label], following = following, following + 1
    renumbered = labels.clone()
    for label, number in numbers.items():
        renumbered[labels == label] = number
    return renumbered


def _partners(old: Tensor, new: Tensor) -> dict[int, int]:
    """The old number of each new cluster that has one; noise is its own."""
    from scipy.optimize import linear_sum_assignment  # slow to import, and no map needs it to train

    both = (old != NOISE) & (new != NOISE)
    old_labels, old_place = torch.unique(old[both], return_inverse=True)
    new_labels, new_place = torch.unique(new[both], return_inverse=True)
    shape = (len(new_labels), len(old_labels))
    overlap = torch.bincount(new_place * shape[1] + old_place, minlength=shape[0] * shape[1]).reshape(shape).cpu()
    pairs = zip(*linear_sum_assignment(overlap, maximize=True), strict=True)
    partners = {int(new_labels[i]): int(old_labels[j]) for i, j in pairs if overlap[i, j] > 0}
    return {NOISE: NOISE, **partners}


def cluster_stability(*labelings: Tensor) -> float:
    """Adjusted Rand index of clusterings of the same rows, mean over all pairs: 1 for equal ones, about 0 for chance.

    Of the rows' clusters under champion and challenger, it says how much of the old clusters the new map keeps. Of
    their clusters under one map clustered several times (other seeds, resampled neurons), it says how much the clusters
    depend on chance.

    Args:
        *labelings: Label of each row, int64, shape (n,) each. Noise, -1, counts as one group: leave rows without a
            winner out.

    Returns:
        NaN for fewer than two clusterings or rows, and where no clustering tells any two rows apart.

    Raises:
        ShapeError: They are not of the same rows.

    References:
        Hubert and Arabie, Comparing partitions, Journal of Classification 2 (1985).
    """
    for labels in labelings:
        _require_labels(labelings[0], labels)
    divided = [len(torch.unique(labels)) > 1 for labels in labelings]
    pairs = [(i, j) for i in range(len(labelings)) for j in range(i) if divided[i] or divided[j]]
    if not pairs:
        return math.nan
    from sklearn.metrics import adjusted_rand_score  # slow to import, and no map needs it to train

    arrays = [labels.cpu().numpy() for labels in labelings]
    return float(sum(adjusted_rand_score(arrays[i], arrays[j]) for i, j in pairs) / len(pairs))


def _require_labels(old: Tensor, new: Tensor) -> None:
    require_indices("labels", old)
    require_indices("labels", new)
    if old.ndim != 1 or old.shape != new.shape:
        raise ShapeError(f"labels must be of the same rows, shape (n,), got {tuple(old.shape)} and {tuple(new.shape)}")

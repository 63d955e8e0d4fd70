"""Ranks of distances in their rows, where many are tied."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from somlib.utils.grid import Grid
from somlib.utils.search import CHUNK_ENTRIES, row_chunks


@dataclass(frozen=True)
class Places:
    """For each entry of a row: how many of the row are strictly closer, and how many are closer or as far, itself too.

    Tied entries share the ranks closer + 1 .. within.
    """

    closer: Tensor
    within: Tensor


def places_of(distances: Tensor) -> Places:
    """The places of distances (b, n) in their rows. By runs of one sort; a binary search for each is twice as slow."""
    ordered, order = distances.sort(dim=1)
    n = distances.shape[1]
    starts = ordered[:, 1:] > ordered[:, :-1]  # whether a run of equals starts here
    place = torch.arange(1, n, device=distances.device)
    closer, within = torch.zeros_like(order), torch.full_like(order, n)
    closer[:, 1:] = torch.where(starts, place, 0).cummax(dim=1).values
    within[:, :-1] = torch.where(starts, place, n).flip(1).cummin(dim=1).values.flip(1)
    return Places(*(torch.empty_like(order).scatter_(1, order, found) for found in (closer, within)))


def among_nearest(places: Places, k: int) -> Tensor:
    """Probability to be among the k nearest, those tied at the border in random order."""
    return ((k - places.closer).double() / (places.within - places.closer)).clamp(0, 1)


def ranks_beyond(places: Places, k: int) -> Tensor:
    """By how much the rank exceeds k, ties at the smallest rank that they share."""
    return (places.closer + 1 - k).clamp_min(0)


def mean_by_rank(distances: Tensor, by_rank: Tensor) -> Tensor:
    """The value (n,) at the rank of each distance (b, n) in its row, on average over the ranks that ties share."""
    places = places_of(distances)
    running = torch.cat((by_rank.new_zeros(1), by_rank.cumsum(0)))
    return (running[places.within] - running[places.closer]) / (places.within - places.closer)


def grid_levels(grid: Grid, a: Tensor, b: Tensor) -> Tensor:
    """Four times the squared grid distance: whole numbers on every grid, so that equal distances compare equal."""
    return (4 * grid.squared_distances(a, b)).round()


def chunks_of(n: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices of `n` rows of `width` entries each, such that a block stays small."""
    return row_chunks(n, max(64, CHUNK_ENTRIES.get(device.type, CHUNK_ENTRIES["cpu"]) // max(width, 1)))

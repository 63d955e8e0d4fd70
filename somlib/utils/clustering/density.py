r"""How dense rows lie at neurons and between them, as the map sees it.

Every neuron stands for its rows. With n_j rows on neuron j and h a width in feature space,

    f(x)    = sum_j n_j K(x, w_j)                          K(x, w) = exp(-|x - w|^2 / (2 h^2))
    N(x)    = f(x)^2 / sum_j n_j K(x, w_j)^2               how many rows the density rests on

Neurons are means, so the noise of single rows, which makes all distances alike in many dimensions, is gone from their
distances, and one factor serves 2 features and 100: widths are multiples of the typical distance of two neurons that
share rows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from somlib.utils.clustering.contiguity import graph_of, pieces
from somlib.utils.clustering.neurons import FloatArray, IntArray
from somlib.utils.winners import row_chunks

WIDTHS = 4  # each the root of 2 times the one before
NARROWEST = 2.0**-0.5  # in typical distances of connected neurons
ENTRIES = 2**21  # of kernels at a time
EXACT = 2**26  # kernels up to which sums are in float64; beyond, in half the time, in float32: scores differ by 1e-3
TINY = 1e-300


@dataclass(frozen=True)
class RowDensity:
    """The density of rows at several widths, the narrowest first.

    Attributes:
        points: Neurons, shape (m, f).
        rows: Weight of the rows of each, > 0, shape (m,).
        distance: Typical distance of two connected neurons, > 0.
    """

    points: FloatArray
    rows: FloatArray
    distance: float

    @cached_property
    def at_neurons(self) -> FloatArray:
        """Density at each neuron, shape (s, m)."""
        return self._sums(self.points)[0]

    def between(self, links: IntArray) -> FloatArray:
        """Density halfway between the two neurons of each link (e, 2), shape (s, e)."""
        return self._sums((self.points[links[:, 0]] + self.points[links[:, 1]]) / 2)[0]

    def resting_on(self, neurons: IntArray) -> FloatArray:
        """How many rows the density at some neurons (q,) rests on, shape (s, q)."""
        f, squares = self._sums(self.points[neurons], squared=True)
        return f**2 / np.maximum(squares, TINY)

    def _sums(self, at: FloatArray, squared: bool = False) -> tuple[FloatArray, FloatArray]:
        """Density at some places (q, f), and the sum of squared kernels where asked, shape (s, q) each.

        A kernel of half the squared width is the square of the wider one, so one exponential serves all widths.
        """
        exact = len(at) * len(self.points) <= EXACT
        dtype = torch.float64 if exact else torch.float32
        where, neurons, weight = (torch.from_numpy(values).to(dtype) for values in (at, self.points, self.rows))
        widest = self.distance * NARROWEST * 2 ** ((WIDTHS - 1) / 2)
        lengths = neurons.square().sum(dim=1)
        sums = torch.zeros(WIDTHS + 1, len(at), dtype=dtype)
        for chunk in row_chunks(len(at), max(1, ENTRIES // len(neurons))):
            part = where[chunk]
            apart = torch.addmm(lengths, part, neurons.T, alpha=-2).add_(part.square().sum(dim=1, keepdim=True))
            kernel = apart.clamp_min_(0).mul_(-0.5 / widest**2).exp_()
            for width in range(WIDTHS, 0, -1):
                torch.mv(kernel, weight, out=sums[width, chunk])
                if width > 1 or squared:
                    kernel.square_()
            if squared:
                torch.mv(kernel, weight, out=sums[0, chunk])
        sums = sums.double()
        return sums[1:].numpy(), sums[:-1].numpy()  # squares of a width are the kernels of the one before


def typical_distance(points: FloatArray, links: IntArray, shared: FloatArray) -> float:
    """The median length of links, each counted by the rows that it shares; 0 where there is none of any length."""
    length = np.linalg.norm(points[links[:, 0]] - points[links[:, 1]], axis=1)
    order = np.argsort(length, kind="stable")
    order = order[length[order] > 0]
    if not len(order):
        return 0.0
    weight = np.cumsum(shared[order])
    return float(length[order[np.searchsorted(weight, weight[-1] / 2)]])


def bridges(points: FloatArray, links: IntArray, piece: IntArray) -> IntArray:
    """Links that join pieces that share no rows, each to its nearest until all are one, shape (b, 2).

    Whether rows lie close there all the same is for the density to say: a map of few neurons may have torn a ring.

    Args:
        points: Neurons, shape (m, f).
        links: Pairs within pieces, shape (e, 2).
        piece: The piece of each neuron, from 0, shape (m,).
    """
    found = links[:0]
    while piece.max(initial=0) > 0:
        nearest, squared = _nearest_outside(points, piece)
        order = np.lexsort((np.arange(len(points)), squared, piece))
        ends = order[np.unique(piece[order], return_index=True)[1]]  # the closest neuron of each piece
        found = np.concatenate((found, np.sort(np.stack((ends, nearest[ends]), axis=1), axis=1)))
        both = np.concatenate((links, found))
        piece = pieces(graph_of(both[:, 0], both[:, 1], len(points)))
    return np.unique(found, axis=0)


def _nearest_outside(points: FloatArray, piece: IntArray) -> tuple[IntArray, FloatArray]:
    """For each neuron the nearest one of another piece, and the squared distance to it, shape (m,) each."""
    neurons, of = torch.from_numpy(points), torch.from_numpy(piece)
    index, squared = torch.empty(len(points), dtype=torch.int64), torch.empty(len(points), dtype=torch.float64)
    for chunk in row_chunks(len(points), max(1, ENTRIES // len(points))):
        apart = torch.cdist(neurons[chunk], neurons, compute_mode="donot_use_mm_for_euclid_dist").square_()
        squared[chunk], index[chunk] = apart.masked_fill_(of[chunk, None] == of, torch.inf).min(dim=1)
    return index.numpy(), squared.numpy()

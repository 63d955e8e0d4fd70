r"""Passes over the rows of a training: who won each row, and the sums per winner.

A step of a training needs the sums only, and a winner that is the nearest neuron but for the rounding of its own number
type serves it as well as the nearest one. So the passes of a training take the fast way: a chunk of rows is copied into
a buffer beside a column of ones, one product with the codebook ranks all neurons,

    [x - c, 1] . [-(w_k - c), |w_k - c|^2 / 2] = |x - w_k|^2 / 2 - |x - c|^2 / 2

and the same buffer is then added to the sums of the winners: its ones count them. With missing values the ones become
one column a feature, 1 where it was observed, and |w_k - c|^2 one term a feature, so that the product is still the
distance over what was observed. Buffers are kept from chunk to chunk and from pass to pass; memory does not grow with
the rows.

What rests on a pass for good, the winners after the last epoch, are the true ones (`certain`): rows whose neurons
rounding does not tell apart go to the search that is sure. So does everything where the fast way does not apply: other
distances than the Euclidean, the FAISS backends, and data that lies so far out beside the distances that count that
rounding could decide between neurons.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from somlib.core.rule import Rule, TrainingSet
from somlib.utils.distances import masked_pairwise
from somlib.utils.fused_search import FEWEST_ROWS, POINT_ENTRIES, can_fuse, ranked
from somlib.utils.search import make_search
from somlib.utils.torch_search import (
    CHUNK_ENTRIES,
    LANES,
    LANES_OF_LARGE_MAP,
    LARGE_MAP,
    SMALL_BLOCK,
    TINY,
    roundings,
    smallest_by_lanes,
)
from somlib.utils.training import WinnerSums, add_samples, add_terms, empty_sums
from somlib.utils.winners import Winners, block_entries, row_chunks

FEWEST, MOST_ON_CPU = 64, 1_024  # rows of a chunk; between them as many as keep its scores in the cache
TRUSTED_SHARE = 0.1  # of a typical squared distance to the winner: what rounding may come to, at the very worst
ASKED_ROWS = 32  # at least, where there are so many, to learn what a typical distance is
PLAIN_SQUARES = (1e-30, 1e30)  # between them float32 neither rounds squares to nothing nor overflows


@dataclass(frozen=True)
class Pass:
    """What a pass over some rows found.

    Attributes:
        winners: The two nearest neurons of every row (n, 2), with the distance to the nearest (n, 1).
        sums: Per winner.
    """

    winners: Winners
    sums: WinnerSums


class Scan:
    """Passes over the rows of one training, with buffers that are kept from one to the next.

    Args:
        rows: What to learn from.
        rule: How; its grid, distance, backend and determinism count here.
    """

    def __init__(self, rows: TrainingSet, rule: Rule) -> None:
        self.rows = rows
        self.rule = rule
        m = rule.grid.m
        self._lanes = LANES if m < LARGE_MAP else LANES_OF_LARGE_MAP
        self._columns = m + -m % self._lanes
        self._fused = False  # whether one kernel takes product and minimum
        self._fast: bool | None = None  # until asked

    def sums(self, codebook: Tensor, index: Tensor | None = None) -> WinnerSums:
        """The sums per winner of the rows of that `index` (b,), or of all."""
        if not self._is_fast(codebook):
            return self._sure_pass(codebook, index, 1).sums
        sums = self._empty_sums()
        self._encode(codebook)
        for chunk in row_chunks(self._count(index), self._chunk):
            terms = self._load(self._taken(chunk, index))
            self._add(sums, terms, self._nearest(terms), self._taken(chunk, index))
        return sums

    def measured(self, codebook: Tensor, index: Tensor | None = None, certain: bool = False) -> Pass:
        """The winners of the rows of that `index` (b,), or of all, and their sums.

        Args:
            codebook: Shape (m, d).
            index: Row numbers; None for all rows.
            certain: Whether the winners must be the true ones, also where rounding does not tell neurons apart.
        """
        if not self._is_fast(codebook, again=True) or (certain and (self.rows.incomplete or self._fused)):
            return self._sure_pass(codebook, index, 2)
        found, sums = self._empty_winners(index, 2), self._empty_sums()
        doubtful = torch.zeros(self._count(index), dtype=torch.bool, device=codebook.device)
        self._encode(codebook)
        for chunk in row_chunks(self._count(index), self._chunk):
            taken = self._taken(chunk, index)
            terms = self._load(taken)
            nearest, gap = self._two_nearest(terms, certain)
            if certain:
                doubtful[chunk] = ~(gap > self._rounding(terms))
                terms.masked_fill_(doubtful[chunk, None], 0)  # added once their winner is sure
            found.index[chunk] = nearest
            found.distance[chunk, 0] = self._distances(self._data(taken), codebook, nearest[:, 0])
            self._add(sums, terms, nearest[:, 0].clamp_min(0), taken)
        if certain:
            self._decide(torch.nonzero(doubtful).flatten(), found, sums, codebook, index)
        return Pass(found, sums)

    # ---------------------------------------------------------------- rows

    def _count(self, index: Tensor | None) -> int:
        return len(self.rows.data) if index is None else len(index)

    def _taken(self, chunk: slice, index: Tensor | None) -> slice | Tensor:
        return chunk if index is None else index[chunk]

    def _data(self, taken: slice | Tensor) -> Tensor:
        return self.rows.data[taken] if isinstance(taken, slice) else self.rows.data.index_select(0, taken)

    def _empty_winners(self, index: Tensor | None, k: int) -> Winners:
        n, like = self._count(index), self.rows.data
        return Winners(torch.empty(n, k, dtype=torch.int64, device=like.device), like.new_empty(n, int(k > 1)))

    def _empty_sums(self) -> WinnerSums:
        return empty_sums(self.rule.grid.m, self.rows.center, self.rows.incomplete)

    def _distances(self, data: Tensor, codebook: Tensor, winner: Tensor) -> Tensor:
        """Distances (b,) of samples (b, d) to their winners; NaN without one."""
        neurons = codebook.index_select(0, winner.clamp_min(0))
        metric = self.rule.metric
        simple = metric.name == "euclidean" and metric.feature_weights is None and not self.rows.incomplete
        if not simple or data.is_cuda:
            return metric.rowwise(data, neurons).masked_fill(winner < 0, torch.nan)
        squares = torch.sub(neurons, data).square_().sum(dim=1)
        low, high = PLAIN_SQUARES
        plain = (squares > low) & (squares < high)
        distance = squares.sqrt_()
        if not bool(plain.all()):
            distance[~plain] = metric.rowwise(data[~plain], neurons[~plain])
        return distance

    # ---------------------------------------------------------------- the sure way

    def _sure_pass(self, codebook: Tensor, index: Tensor | None, k: int) -> Pass:
        search = make_search(codebook, self.rule.metric, self.rule.backend)
        found, sums = self._empty_winners(index, k), self._empty_sums()
        for chunk in search.chunks(self._count(index)):
            taken = self._taken(chunk, index)
            data = self._data(taken)
            found.index[chunk] = search.nearest(data, k, distances=False).index
            winner = found.index[chunk, 0]
            if k > 1:
                found.distance[chunk, 0] = self._distances(data, codebook, winner)
            add_samples(sums, data, winner, self.rows.weight_of(taken), self.rule.deterministic)
        return Pass(found, sums)

    # ---------------------------------------------------------------- the fast way

    def _is_fast(self, codebook: Tensor, again: bool = False) -> bool:
        """Whether the fast way serves; asked of the first codebook, and `again` of each that is measured.

        It hangs on rows and codebook alone, so that a training that is taken up goes the way that it would have gone.
        """
        if self.rule.metric.name != "euclidean" or self.rule.backend not in ("auto", "torch"):
            return False
        if self._fast is None or again:
            self._fast = self._can_trust(codebook)
            self._fused = can_fuse(codebook, self.rule.metric) and len(self.rows.data) >= FEWEST_ROWS
        return self._fast

    def _can_trust(self, codebook: Tensor) -> bool:
        """Whether rounding, which grows with the distance to the center, is small beside most distances to winners.

        Rows that lie on a neuron do not count, and few that lie far out do not speak for the others.
        """
        pairwise = partial(masked_pairwise, self.rule.metric) if self.rows.incomplete else self.rule.metric.pairwise
        squares = pairwise(self._asked.double(), codebook.double()).amin(dim=1).square()
        typical = float(squares[squares > 0].median())  # NaN where none is known
        furthest = float((codebook - self.rows.center).abs().amax()) ** 2
        low, high = PLAIN_SQUARES
        worst = 4 * roundings(self.rows.data.shape[1], self.rows.data.dtype) * self._square
        return low < self._square and max(self._square, furthest) < high and worst < TRUSTED_SHARE * typical

    @cached_property
    def _asked(self) -> Tensor:
        return self.rows.data[:: max(1, len(self.rows.data) // ASKED_ROWS)]

    @cached_property
    def _square(self) -> float:
        """Mean squared distance of rows to the center."""
        return float((self._asked - self.rows.center).double().square().nansum(dim=1).mean())

    @cached_property
    def _chunk(self) -> int:
        """Rows at a time."""
        n, like = len(self.rows.data), self.rows.data
        if self._fused:
            return max(FEWEST_ROWS, block_entries(POINT_ENTRIES, like, n * like.shape[1]) // like.shape[1])
        fitting = max(FEWEST, block_entries(CHUNK_ENTRIES, like, n * self._columns) // self._columns)
        return min(fitting, n, MOST_ON_CPU if like.device.type == "cpu" else n)

    @cached_property
    def _terms(self) -> Tensor:
        """Room for the rows of a chunk, their counts beside them, shape (chunk, w)."""
        return self.rows.data.new_empty(self._chunk, self._empty_sums().values.shape[1])

    @cached_property
    def _scores(self) -> Tensor:
        """Room for the scores of a chunk, shape (chunk, columns)."""
        return self.rows.data.new_empty(self._chunk, self._columns)

    @cached_property
    def _coded(self) -> Tensor:
        """What the product with a row of terms makes the neurons' scores of, shape (columns, w)."""
        coded = self.rows.data.new_zeros(self._columns, self._terms.shape[1])
        # Scores above all others for the columns that fill up the lanes; finite, as 0 times it must be 0.
        coded[:, self.rows.data.shape[1] :] = torch.finfo(coded.dtype).max
        return coded

    def _encode(self, codebook: Tensor) -> None:
        m, d = codebook.shape
        points, rest = self._coded[:m, :d], self._coded[:m, d:]
        torch.sub(self.rows.center, codebook, out=points)
        weights = self.rule.metric.feature_weights
        squares = points.square() if weights is None else points.square().mul_(points.new_tensor(weights))
        if weights is not None:
            points.mul_(points.new_tensor(weights))
        torch.mul(squares if self.rows.incomplete else squares.sum(dim=1, keepdim=True), 0.5, out=rest)

    def _load(self, taken: slice | Tensor) -> Tensor:
        """The terms of some rows, in their room, shape (b, w)."""
        data = self._data(taken)
        b, d = data.shape
        terms = self._terms[:b]
        torch.sub(data, self.rows.center, out=terms[:, :d])
        if self.rows.incomplete:
            terms[:, d:] = ~torch.isnan(data)
            terms[:, :d].nan_to_num_(nan=0.0)
        else:
            terms[:, d:] = 1
        return terms

    def _score(self, terms: Tensor) -> Tensor:
        """What ranks the neurons for each row, smaller is nearer, shape (b, columns)."""
        return torch.mm(terms, self._coded.T, out=self._scores[: len(terms)])

    def _ranked(self, terms: Tensor, k: int) -> Tensor:
        """The `k` nearest neurons (b, k) of rows, by the kernel of product and minimum."""
        coded = self._coded[: self.rule.grid.m]
        return ranked(terms, coded.neg(), coded.new_zeros(len(coded)), k)[1]

    def _nearest(self, terms: Tensor) -> Tensor:
        """The winners (b,) of rows; any neuron for those of which nothing was observed."""
        if self._fused:
            return self._ranked(terms, 1)[:, 0]
        scores = self._score(terms)
        if scores.numel() < SMALL_BLOCK:
            winner = scores.argmin(dim=1)
        else:
            by_lane = scores.view(len(scores), -1, self._lanes)
            lane = by_lane.amin(dim=1).argmin(dim=1)
            column = by_lane.gather(2, lane[:, None, None].expand(-1, by_lane.shape[1], 1))[:, :, 0]
            winner = column.argmin(dim=1).mul_(self._lanes).add_(lane)
        return winner.clamp_max_(self.rule.grid.m - 1) if self.rows.incomplete else winner

    def _two_nearest(self, terms: Tensor, certain: bool) -> tuple[Tensor, Tensor]:
        """The two nearest neurons (b, 2) of rows, and the least difference (b,) to the score that comes next.

        The neurons are -1 where nothing was observed or there is no second one.
        """
        if self._fused:
            index, gap = self._ranked(terms, 2), terms[:, 0]
        else:
            score, index = smallest_by_lanes(self._score(terms), 2, self._lanes, one_more=certain)
            gap = (score[:, 1:] - score[:, :-1]).amin(dim=1)
        if self.rule.grid.m == 1:
            index[:, 1] = -1
        if self.rows.incomplete:
            index.masked_fill_(~terms[:, self.rows.data.shape[1] :].any(dim=1, keepdim=True), -1)
        return index, gap

    def _rounding(self, terms: Tensor) -> Tensor:
        """How far two scores of a row must lie apart for rounding to leave their order, shape (b,)."""
        d = self.rows.data.shape[1]
        largest = 2 * self._coded[: self.rule.grid.m, d:].amax()
        squares = self.rule.metric.scaled(terms[:, :d]).square().sum(dim=1) + largest
        return 2 * (roundings(d + 1, terms.dtype) * squares + TINY)

    def _decide(
        self, doubtful: Tensor, found: Winners, sums: WinnerSums, codebook: Tensor, index: Tensor | None
    ) -> None:
        """Let the sure search find the neurons of doubtful rows, and add these to the sums of their winners."""
        if not len(doubtful):
            return
        rows = doubtful if index is None else index[doubtful]
        data = self._data(rows)
        search = make_search(codebook.double(), self.rule.metric, self.rule.backend)
        sure = search.nearest(data.double(), 2, distances=False).index
        for part in row_chunks(len(rows), self._chunk):
            self._add(sums, self._load(rows[part]), sure[part, 0], rows[part])
        found.index[doubtful] = sure
        found.distance[doubtful, 0] = self._distances(data, codebook, sure[:, 0])

    def _add(self, sums: WinnerSums, terms: Tensor, winner: Tensor, taken: slice | Tensor) -> None:
        weight = self.rows.weight_of(taken)
        if weight is not None:
            terms.mul_(weight[:, None])
        add_terms(sums, terms, winner, self.rule.deterministic)

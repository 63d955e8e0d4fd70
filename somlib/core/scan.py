r"""Passes over the rows of a training: who won each row, and the sums per winner.

A step of a training needs the sums only, and a winner that is the nearest neuron but for the rounding of its own number
type serves it as well as the nearest one. So the passes of a training take the fast way: the rows of a chunk stand
beside a column of ones, one product with the codebook ranks all neurons,

    [x - c, 1] . [-(w_k - c), |w_k - c|^2 / 2] = |x - w_k|^2 / 2 - |x - c|^2 / 2

and the same terms are then added to the sums of the winners: their ones count them. With missing values the ones become
one column a feature, 1 where it was observed, and |w_k - c|^2 one term a feature, so that the product is still the
distance over what was observed. Terms are kept for all rows where they take little room; else a buffer holds those of a
chunk, and memory does not grow with the rows.

What rests on a pass for good, the winners after the last epoch, are the true ones (`certain`): rows whose neurons
rounding does not distinguish go to the search that is sure. So does everything where the fast way does not apply: other
distances than the Euclidean, the FAISS backends, and data that lies so far out beside the distances that count that
rounding could decide between neurons.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property

import torch
from torch import Tensor

from somlib.core.found import Pass
from somlib.core.rule import Rule, TrainingSet
from somlib.core.subspace import Subspace
from somlib.core.trust import PLAIN_SQUARES, Trust
from somlib.utils.fused_search import FEWEST_ROWS, POINT_ENTRIES, ranked
from somlib.utils.search import make_search
from somlib.utils.smallest import place_of_smallest, smallest
from somlib.utils.torch_search import CHUNK_ENTRIES, TINY, roundings
from somlib.utils.training import WinnerSums, add_samples, add_terms, batch_sizes, empty_sums
from somlib.utils.winners import Winners, block_entries, row_chunks
from somlib.utils.workers import Workers

FEWEST, MOST_ON_CPU = 64, 4_096  # rows of a chunk; between them as many as keep its scores near
# A large chunk takes fewer calls, a small one less memory that is touched for the first time, which a training of a few
# milliseconds feels: as many chunks a pass as give at least this number of scores.
CHUNKS_OF_A_PASS, FEWEST_SCORES = 16, 2**18
WORK_OF_MINIMUM = 16  # of one score, in products
KEPT_ENTRIES = 2**23  # at most, of terms that are kept: 32 MB in float32


class Scan:
    """Passes over the rows of one training, with buffers that are kept from one to the next.

    Args:
        rows: What to learn from.
        rule: How; its grid, distance, backend and determinism count here.
        workers: Threads to share the work with; None for none.
        trust: Which way to take, where the rows are part of others; None asks them.
        keep: Whether to keep the terms of all rows for the next pass where they take little room.
    """

    def __init__(
        self,
        rows: TrainingSet,
        rule: Rule,
        workers: Workers | None = None,
        trust: Trust | None = None,
        keep: bool = True,
    ) -> None:
        self.rows = rows
        self.rule = rule
        self.workers = workers
        self.trust = trust or Trust.of(rows, rule)
        self._keep = keep

    def sums(self, codebook: Tensor, index: Tensor | None = None) -> WinnerSums:
        """The sums per winner of the rows of that `index` (b,), or of all."""
        if not self.trust.serves(codebook):
            return self._sure_pass(codebook, index, 1).sums
        self._encode(codebook)

        def of_part(room: int, part: slice) -> WinnerSums:
            sums = self._empty_sums()
            for chunk in row_chunks(part.stop, self._chunk, part.start):
                terms = self._load(self._taken(chunk, index), room)
                self._add(sums, terms, self._nearest(terms, room), self._taken(chunk, index))
            return sums

        return self._added_up(self._shared(of_part, self._count(index)))

    def measured(self, codebook: Tensor, index: Tensor | None = None, certain: bool = False) -> Pass:
        """The winners of the rows of that `index` (b,), or of all, and their sums.

        Args:
            codebook: Shape (m, d).
            index: Row numbers; None for all rows.
            certain: Whether the winners must be the true ones, also where rounding does not distinguish neurons.
        """
        if not self.trust.serves(codebook, again=True) or (certain and (self.rows.incomplete or self.trust.fused)):
            return self._sure_pass(codebook, index, 2)
        found, count, m = self._empty_winners(index, 2), self._count(index), self.rule.grid.m
        doubtful = torch.zeros(count, dtype=torch.bool, device=codebook.device)
        self._encode(codebook)

        def of_part(room: int, part: slice) -> WinnerSums:
            sums = empty_sums(m + 1, self.rows.center, self.rows.incomplete)  # the last for doubtful rows
            for chunk in row_chunks(part.stop, self._chunk, part.start):
                taken = self._taken(chunk, index)
                terms = self._load(taken, room)
                score, nearest = self._two_nearest(terms, room, certain)
                distance = self._distances(self._data(taken), codebook, nearest[:, 0])
                found.index[chunk], found.distance[chunk, 0] = nearest, distance
                winner = nearest[:, 0].clamp_min(0)
                if certain:
                    doubtful[chunk] = ~self._tells_apart(score, distance)
                    winner = winner.masked_fill(doubtful[chunk], m)  # until they are decided
                self._add(sums, terms, winner, taken)
            return WinnerSums(sums.values[:m], sums.center)

        sums = self._added_up(self._shared(of_part, count))
        if certain:
            self._decide(torch.nonzero(doubtful).flatten(), found, sums, codebook, index)
        return Pass(found, sums, self._weight(index))

    def finished(self, codebook: Tensor, sample: Tensor | None) -> Pass:
        """What a trained map remembers of all rows, by their true winners; no `sample` of them is needed."""
        del sample
        return self.measured(codebook, certain=True)

    def batches(self, generator: torch.Generator) -> Iterator[tuple["Scan", Tensor | None]]:
        """Shuffled mini-batches: passes over rows and which of these rows, None for all where one batch holds them."""
        n = len(self.rows.data)
        if self.rule.batch_size >= n:
            yield self, None
            return
        order = torch.randperm(n, generator=generator).to(self.rows.data.device)
        for batch in torch.split(order, batch_sizes(n, self.rule.batch_size)):
            yield self, batch

    def within(self, subspace: Subspace) -> "Scan":
        """Passes over the same rows in the coordinates of a subspace."""
        return Scan(subspace.rows(self.rows), self.rule, self.workers)

    def expect(self, ahead: Callable[[range], Iterator[Tensor]], epochs: range) -> None:
        """Be ready for the rows of some epochs; all rows are at hand."""

    def is_plain(self, codebook: Tensor) -> bool:
        """Whether winners follow from products of rows with the codebook (m, d), as they are."""
        return not self.rows.incomplete and self.rule.metric.feature_weights is None and self.trust.serves(codebook)

    # ---------------------------------------------------------------- rows

    def _shared(self, act: Callable[[int, slice], WinnerSums], n: int) -> list[WinnerSums]:
        """What `act(room, part)` gives for the parts that the workers take of `n` rows, each in rooms of its own."""
        if self.workers is None:
            return [act(0, slice(0, n))]
        return self.workers.map(act, self.workers.parts(n, self.rule.grid.m * (self._width + WORK_OF_MINIMUM)))

    @staticmethod
    def _added_up(parts: list[WinnerSums]) -> WinnerSums:
        first, *others = parts
        for other in others:
            first.values.add_(other.values)
        return first

    def _count(self, index: Tensor | None) -> int:
        return len(self.rows.data) if index is None else len(index)

    def _taken(self, chunk: slice, index: Tensor | None) -> slice | Tensor:
        return chunk if index is None else index[chunk]

    def _data(self, taken: slice | Tensor) -> Tensor:
        return self.rows.data[taken] if isinstance(taken, slice) else self.rows.data.index_select(0, taken)

    def _weight(self, index: Tensor | None) -> Tensor | None:
        return self.rows.weight if index is None else self.rows.weight_of(index)

    def _empty_winners(self, index: Tensor | None, k: int) -> Winners:
        n, like = self._count(index), self.rows.data
        return Winners(torch.empty(n, k, dtype=torch.int64, device=like.device), like.new_empty(n, int(k > 1)))

    def _empty_sums(self) -> WinnerSums:
        return empty_sums(self.rule.grid.m, self.rows.center, self.rows.incomplete)

    def _distances(self, data: Tensor, codebook: Tensor, winner: Tensor) -> Tensor:
        """Distances (b,) of samples (b, d) to their winners; NaN without one."""
        neurons = codebook.index_select(0, winner.clamp_min(0))
        metric = self.rule.metric
        simple = metric.euclidean and metric.feature_weights is None and not self.rows.incomplete
        if not simple or data.is_cuda:
            return metric.rowwise(data, neurons).masked_fill(winner < 0, torch.nan)
        squares = torch.sub(neurons, data).square_().sum(dim=1)
        low, high = PLAIN_SQUARES
        least, largest = squares.aminmax()
        if not (least > low and largest < high):
            hard = ~((squares > low) & (squares < high))
            squares.sqrt_()[hard] = metric.rowwise(data[hard], neurons[hard])
            return squares
        return squares.sqrt_()

    # ---------------------------------------------------------------- the sure way

    def _sure_pass(self, codebook: Tensor, index: Tensor | None, k: int) -> Pass:
        with nullcontext() if self.workers is None else self.workers.resting():
            return self._sure_pass_alone(codebook, index, k)

    def _sure_pass_alone(self, codebook: Tensor, index: Tensor | None, k: int) -> Pass:
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
        return Pass(found, sums, self._weight(index))

    # ---------------------------------------------------------------- the fast way

    @cached_property
    def _chunk(self) -> int:
        """Rows at a time."""
        n, like = len(self.rows.data), self.rows.data
        if self.trust.fused:
            return max(FEWEST_ROWS, block_entries(POINT_ENTRIES, like, n * like.shape[1]) // like.shape[1])
        m, on_cpu = self.rule.grid.m, like.device.type == "cpu"
        wanted = max(FEWEST_SCORES, n * m // CHUNKS_OF_A_PASS) if on_cpu else n * m
        fitting = max(FEWEST, block_entries(CHUNK_ENTRIES, like, wanted) // m)
        return min(fitting, n, MOST_ON_CPU if on_cpu else n)

    @cached_property
    def _width(self) -> int:
        return self._empty_sums().values.shape[1]

    @cached_property
    def _terms(self) -> list[Tensor]:
        """Rooms for the rows of a chunk, their counts beside them, shape (chunk, w) each."""
        return [self.rows.data.new_empty(self._chunk, self._width) for _ in self._rooms]

    @cached_property
    def _scores(self) -> list[Tensor]:
        """Rooms for the scores of a chunk, shape (chunk, m) each."""
        return [self.rows.data.new_empty(self._chunk, self.rule.grid.m) for _ in self._rooms]

    @property
    def _rooms(self) -> range:
        return range(1 if self.workers is None else self.workers.count)

    @cached_property
    def _coded(self) -> Tensor:
        """What the product with a row of terms makes the neurons' scores of, shape (m, w)."""
        return self.rows.data.new_empty(self.rule.grid.m, self._width)

    def _encode(self, codebook: Tensor) -> None:
        d = codebook.shape[1]
        points, rest = self._coded[:, :d], self._coded[:, d:]
        torch.sub(self.rows.center, codebook, out=points)
        weights = self.rule.metric.feature_weights
        squares = points.square() if weights is None else points.square().mul_(points.new_tensor(weights))
        if weights is not None:
            points.mul_(points.new_tensor(weights))
        torch.mul(squares if self.rows.incomplete else squares.sum(dim=1, keepdim=True), 0.5, out=rest)

    def _load(self, taken: slice | Tensor, room: int) -> Tensor:
        """The terms of some rows, shape (b, w); not to be written into."""
        if self._kept is None:
            data = self._data(taken)
            return self._write_terms(data, self._terms[room][: len(data)])
        if isinstance(taken, slice):
            return self._kept[taken]
        return torch.index_select(self._kept, 0, taken, out=self._terms[room][: len(taken)])

    @cached_property
    def _kept(self) -> Tensor | None:
        """The terms of all rows, None where they take much room."""
        data, width = self.rows.data, self._width
        if not self._keep or len(data) * width > KEPT_ENTRIES:
            return None
        kept = data.new_empty(len(data), width)
        for chunk in row_chunks(len(data), self._chunk):
            self._write_terms(data[chunk], kept[chunk])
        return kept

    def _write_terms(self, data: Tensor, terms: Tensor) -> Tensor:
        """Writes the terms of rows (b, d) into their room (b, w)."""
        d = data.shape[1]
        torch.sub(data, self.rows.center, out=terms[:, :d])
        if self.rows.incomplete:
            terms[:, d:] = ~torch.isnan(data)
            terms[:, :d].nan_to_num_(nan=0.0)
        else:
            terms[:, d:] = 1
        return terms

    def _score(self, terms: Tensor, room: int) -> Tensor:
        """What ranks the neurons for each row, smaller is nearer, shape (b, m)."""
        return torch.mm(terms, self._coded.T, out=self._scores[room][: len(terms)])

    def _ranked(self, terms: Tensor, k: int) -> Tensor:
        """The `k` nearest neurons (b, k) of rows, by one kernel; of no use beyond the last one."""
        return ranked(terms, self._coded.neg(), self._coded.new_zeros(len(self._coded)), k)[1]

    def _nearest(self, terms: Tensor, room: int) -> Tensor:
        """The winners (b,) of rows; any neuron for those of which nothing was observed."""
        if self.trust.fused:
            return self._ranked(terms, 1)[:, 0]
        return place_of_smallest(self._score(terms, room))

    def _two_nearest(self, terms: Tensor, room: int, certain: bool) -> tuple[Tensor, Tensor]:
        """The two nearest neurons (b, 2) of rows, after the three least scores (b, 3) if they must be `certain`.

        The neurons are -1 where nothing was observed or there is no second one.
        """
        if self.trust.fused:
            score, index = terms[:, :1], self._ranked(terms, 2)
            if self.rule.grid.m == 1:
                index[:, 1] = -1
        elif certain:
            score, index = smallest(self._score(terms, room), 2)
        else:
            score = self._score(terms, room)
            first = place_of_smallest(score)[:, None]
            second = place_of_smallest(score.scatter_(1, first, torch.inf))[:, None]
            index = torch.cat((first, second if self.rule.grid.m > 1 else torch.full_like(second, -1)), dim=1)
        if self.rows.incomplete:
            index.masked_fill_(~terms[:, self.rows.data.shape[1] :].any(dim=1, keepdim=True), -1)
        return score, index

    def _tells_apart(self, score: Tensor, distance: Tensor) -> Tensor:
        """Whether ascending scores (b, k) of rows lie further apart than rounding, bool, shape (b,).

        Of complete rows, at those distances (b,) from their winners; a score is half the square of a distance less half
        the squared length of the row.
        """
        d = self.rows.data.shape[1]
        squares = distance.square() - 2 * score[:, 0] + 2 * self._coded[:, d:].amax()
        reach = 2 * (roundings(d + 1, score.dtype) * squares + TINY)
        return (score[:, 1:] - score[:, :-1]).amin(dim=1) > reach

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
            self._add(sums, self._load(rows[part], 0), sure[part, 0], rows[part])
        found.index[doubtful] = sure
        found.distance[doubtful, 0] = self._distances(data, codebook, sure[:, 0])

    def _add(self, sums: WinnerSums, terms: Tensor, winner: Tensor, taken: slice | Tensor) -> None:
        weight = self.rows.weight_of(taken)
        if weight is not None:
            terms = terms * weight[:, None]
        add_terms(sums, terms, winner, self.rule.deterministic)

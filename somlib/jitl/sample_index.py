r"""Which historical samples each neuron holds, kept up to date as samples come and go.

The lists of all neurons lie one after the other in one array. New samples go to the end of their neuron's list and
expired ones are taken out, each in one pass over that array: no list is sorted again and no winner searched twice.

A sample has a *position*, its row among those that the index holds now, and a *number*, given by arrival, that it
keeps. Positions follow the numbers, so they move up when earlier samples expire.

Retrieval by neuron is `somlib.utils.retrieval.retrieve`. On top come what a fit needs:

    cap        the nearest `max_samples` of a buffer, by their distance to the query itself
    recency    weight 2^(-age / half_life)
    exclusion  of one sample a query: itself, when the query is one of the history
"""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, Self

import torch
from torch import Tensor

from somlib.core.base_som import BaseSOM
from somlib.errors import ArgumentError, ShapeError, unknown_name
from somlib.jitl.row_store import RowStore
from somlib.jitl.times import Clock, read_time, read_times
from somlib.utils.distances import Metric, masked_pairwise
from somlib.utils.inputs import read_samples
from somlib.utils.maps import NeuronSamples, neuron_samples
from somlib.utils.retrieval import expanded, retrieve
from somlib.utils.search import make_search

Keep = Literal["newest", "nearest"]
CAPPED_QUERIES = 4096  # at a time, which bounds the pairs of query and sample in memory


@dataclass(frozen=True)
class Buffers:
    """The samples retrieved for each query, as flat arrays.

    Attributes:
        sample: Positions in the index: in the order of `somlib.utils.retrieval.Retrieved`, or, where a cap was given,
            nearest to the query first; int64, shape (total,).
        offset: Query `i` has `sample[offset[i]:offset[i + 1]]`, int64, shape (q + 1,).
        weight: Recency weight of each entry of `sample`, in (0, 1], float64, shape (total,); 1 without a half-life.
        distance: Distance of each to its query, float64, shape (total,); empty where no cap was given.
    """

    sample: Tensor
    offset: Tensor
    weight: Tensor
    distance: Tensor

    def of(self, query: int) -> Tensor:
        """Positions of one query's samples."""
        return self.sample[self.offset[query] : self.offset[query + 1]]


class SampleIndex:
    """The samples of each neuron of a map, with retrieval for just-in-time models.

    The index belongs to the weights that the map has now: train the map further, and a new index is needed.

    Args:
        som: A trained map. Its metric, grid, `neighborhood_order` and way with missing values are those of the index,
            and frames are put in the order of its `feature_names`.

    Attributes:
        winner: Flat index of the neuron that holds each, -1 where none does, int64, shape (n,).
        number: The number of each by arrival, ascending, int64, shape (n,).
        time: The time of each, float64, shape (n,): microseconds since 1970 for dates; the number by arrival where no
            timestamps were given.
        clock: Whether `time` shows `"dates"`, `"numbers"` or, without timestamps, `"rows"`.
        arrived: How many samples ever arrived: the next number.

    Example:
        >>> som = SOM(2, 1, 1)
        >>> som.weights = torch.tensor([[[0.0]], [[10.0]]])
        >>> index = SampleIndex(som)
        >>> index.append([[1.0], [9.0], [2.0]]).tolist()
        [0, 1, 2]
        >>> index.retrieve([[0.5]], mode="bmu_only").of(0).tolist()
        [0, 2]
    """

    def __init__(self, som: BaseSOM) -> None:
        self.codebook = som.codebook.cpu().clone()
        self.grid, self.metric, self.order = som.grid, som.metric, som.neighborhood_order
        self.missing, self.feature_names = som.missing, som.feature_names
        self._store = RowStore(self.codebook.new_empty(0, self.codebook.shape[1]))
        self.winner = torch.empty(0, dtype=torch.int64)
        self.number = torch.empty(0, dtype=torch.int64)
        self.time = torch.empty(0, dtype=torch.float64)
        self.clock: Clock = "rows"
        self.groups = NeuronSamples(self.winner, torch.zeros(self.grid.m + 1, dtype=torch.int64))
        self.arrived = 0

    @classmethod
    def build(cls, som: BaseSOM, samples: Any, timestamps: Any = None) -> Self:
        """An index of the given samples; arguments and errors as `append`."""
        index = cls(som)
        index.append(samples, timestamps)
        return index

    @property
    def samples(self) -> Tensor:
        """What the index holds, shape (n, d), on the CPU; a view that the next change makes stale."""
        return self._store.rows

    def __len__(self) -> int:
        return len(self.number)

    # ---------------------------------------------------------------- coming and going

    def append(self, samples: Any, timestamps: Any = None) -> Tensor:
        """Take in samples.

        Args:
            samples: Shape (n, d).
            timestamps: Numbers or dates, shape (n,), in any order; None where the samples before had none.

        Returns:
            Their numbers, int64, shape (n,).

        Raises:
            DataTypeError, ShapeError, DataError: Samples or timestamps that cannot be read.
            ArgumentError: Timestamps of another kind than before, or missing where there were some.
        """
        rows = self._read(samples, "samples")
        return self.append_assigned(rows, self._winners(rows), *self.read_times(timestamps, len(rows)))

    def append_assigned(self, samples: Tensor, winner: Tensor, time: Tensor, clock: Clock) -> Tensor:
        """Take in checked samples (n, d) whose winners (n,) and times (n,), as from `read_times`, are known."""
        first = len(self)
        number = torch.arange(self.arrived, self.arrived + len(samples))
        new = neuron_samples(winner, self.grid.m)
        groups = _merged(self.groups, NeuronSamples(new.sample + first, new.offset))
        self._store.append(samples)
        self.winner, self.time = torch.cat((self.winner, winner)), torch.cat((self.time, time))
        self.number, self.groups, self.clock = torch.cat((self.number, number)), groups, clock
        self.arrived += len(samples)
        return number

    def read_times(self, timestamps: Any, n: int) -> tuple[Tensor, Clock]:
        """Times of the next `n` samples, float64, shape (n,), and what they show; changes nothing.

        Raises:
            ArgumentError: Of another kind than those before, or missing where there were some.
        """
        if timestamps is None:
            time, clock = torch.arange(self.arrived, self.arrived + n, dtype=torch.float64), "rows"
        else:
            values, clock = read_times(timestamps, n)
            time = torch.from_numpy(values.copy())
        if self.arrived and clock != self.clock:
            raise ArgumentError(f"timestamps must be {_KINDS[self.clock]}, like those before, got {_KINDS[clock]}")
        return time, clock  # type: ignore[return-value]  # a Clock in both branches

    def forget(self, before: Any = None, per_neuron: int | None = None, keep: Keep = "newest") -> Tensor:
        """Take samples out: first all older than `before`, then what a neuron has beyond `per_neuron`.

        Args:
            before: A time on the clock of the timestamps (without any, a number by arrival); samples at it stay.
            per_neuron: The most that a neuron may hold, at least 1.
            keep: Which of a neuron's samples stay: the `"newest"` (later arrivals among equal times) or the
                `"nearest"` to the neuron (earlier arrivals among equally near).

        Returns:
            Which of the samples held before were kept, bool, shape (n,).

        Raises:
            ArgumentError: Unknown `keep`, or `per_neuron` below 1.
            DataTypeError: `before` is a date where the timestamps are numbers, or the other way around.
        """
        kept = self.within(before, per_neuron, keep)
        self.keep_only(kept)
        return kept

    def within(self, before: Any = None, per_neuron: int | None = None, keep: Keep = "newest") -> Tensor:
        """Which samples `forget` would keep, bool, shape (n,); arguments and errors as there."""
        if keep not in ("newest", "nearest"):
            raise unknown_name("keep", keep, ("newest", "nearest"))
        if per_neuron is not None and not (isinstance(per_neuron, Integral) and per_neuron >= 1):
            raise ArgumentError(f"per_neuron must be a whole number of at least 1, got {per_neuron!r}")
        kept = torch.ones(len(self), dtype=torch.bool)
        if before is not None:
            kept = self.time >= read_time(before, self.clock, "before")
        return kept if per_neuron is None else self._within_cap(kept, per_neuron, keep)

    def _within_cap(self, kept: Tensor, per_neuron: int, keep: Keep) -> Tensor:
        """Of the samples that `kept` (n,) leaves, those within the cap of their neuron, bool, shape (n,)."""
        groups = _filtered(self.groups, kept)
        crowded = torch.nonzero(groups.count > per_neuron).flatten()
        kept = kept.clone()
        for neuron in crowded.tolist():
            held = groups.of(neuron)
            if keep == "newest":
                order = (-self.time[held]).flip(0).argsort(stable=True)
                ranked = held.flip(0)[order]
            else:
                distance = self._distances(self.samples[held], self.codebook[[neuron]])[:, 0]
                ranked = held[distance.argsort(stable=True)]
            kept[ranked[per_neuron:]] = False
        return kept

    def keep_only(self, kept: Tensor) -> None:
        """Take out the samples that are not `kept`, bool, shape (n,)."""
        if bool(kept.all()):
            return
        groups = _filtered(self.groups, kept)
        position = kept.cumsum(0) - 1
        self.groups = NeuronSamples(position[groups.sample], groups.offset)
        self._store.keep_only(kept)
        self.winner, self.time, self.number = self.winner[kept], self.time[kept], self.number[kept]

    def restore(
        self, samples: Tensor, winner: Tensor, time: Tensor, number: Tensor, clock: Clock, arrived: int
    ) -> None:
        """Take over what another index of the same map holds, by the attributes of these names."""
        self._store = RowStore(samples[:0])
        self._store.append(samples)
        self.winner, self.time, self.number, self.clock, self.arrived = winner, time, number, clock, arrived
        self.groups = neuron_samples(winner, self.grid.m)

    # ---------------------------------------------------------------- retrieval

    def retrieve(
        self,
        queries: Any,
        mode: str = "bmu_neighborhood_knn",
        min_buffer_threshold: int = 50,
        *,
        max_samples: int | None = None,
        half_life: float | None = None,
        now: Any = None,
        exclude: Any = None,
    ) -> Buffers:
        """The samples relevant to each query.

        Args:
            queries: Shape (q, d), or one of shape (d,).
            mode: `"bmu_only"`, `"bmu_neighborhood"`, or `"bmu_neighborhood_knn"` with the fallback.
            min_buffer_threshold: The fallback adds neurons, nearest to the winner in the codebook first, while there
                are fewer samples than this.
            max_samples: Keep at most this number, the nearest to the query (earlier arrivals among equally near).
            half_life: Age at which a sample weighs half, in units of the timestamps (seconds for dates).
            now: The time from which age counts; None takes the latest of the samples. Later samples weigh 1.
            exclude: Position of one sample for each query that it must not get, -1 for none, shape (q,). Taken out
                after the fallback, so a buffer may have one sample less than the threshold.

        Raises:
            ArgumentError: Unknown mode, or a number out of its range.
            ShapeError: Queries of another width, or `exclude` of another length.
        """
        if max_samples is not None and max_samples < 1:
            raise ArgumentError(f"max_samples must be at least 1, got {max_samples}")
        rows = self._read(queries, "queries", single=True)
        left_out = torch.full((len(rows),), -1) if exclude is None else torch.as_tensor(exclude).reshape(-1)
        if len(left_out) != len(rows):
            raise ShapeError(f"exclude must have {len(rows)} values, one a query, got {len(left_out)}")
        found = self.retrieve_assigned(rows, self._winners(rows), mode, min_buffer_threshold, max_samples, left_out)
        return Buffers(found.sample, found.offset, self.recency(found.sample, half_life, now), found.distance)

    def retrieve_assigned(
        self,
        queries: Tensor,
        winner: Tensor,
        mode: str,
        threshold: int,
        max_samples: int | None = None,
        exclude: Tensor | None = None,
    ) -> Buffers:
        """As `retrieve` for checked queries (q, d) whose winners (q,) are known; all weigh 1."""
        parts = [
            self._retrieve_chunk(queries[rows], winner[rows], mode, threshold, max_samples,
                                 None if exclude is None else exclude[rows])
            for rows in _chunks(len(queries), CAPPED_QUERIES if max_samples else max(len(queries), 1))
        ]  # fmt: skip
        size = torch.cat([part.offset.diff() for part in parts])
        sample = torch.cat([part.sample for part in parts])
        return Buffers(sample, _offsets(size), torch.ones(len(sample)).double(), torch.cat([p.distance for p in parts]))

    def _retrieve_chunk(
        self, queries: Tensor, winner: Tensor, mode: str, threshold: int, cap: int | None, exclude: Tensor | None
    ) -> Buffers:
        # One row of work for each distinct winner; its queries share the candidates.
        distinct, owner = torch.unique(winner, return_inverse=True)
        found = retrieve(distinct, self.groups, self.codebook, self.grid, self.metric, mode, self.order, threshold)
        shared = NeuronSamples(found.sample, found.offset)
        if cap is None:
            sample, size = expanded(shared, owner), shared.count[owner]
            distance = torch.empty(0, dtype=torch.float64)
            if exclude is not None:
                keep = sample != torch.repeat_interleave(exclude, size)
                query = torch.repeat_interleave(torch.arange(len(queries)), size)
                sample, size = sample[keep], torch.bincount(query[keep], minlength=len(queries))
            return Buffers(sample, _offsets(size), torch.empty(0), distance)
        return self._nearest(queries, owner, shared, cap, exclude)

    def _nearest(
        self, queries: Tensor, owner: Tensor, shared: NeuronSamples, cap: int, exclude: Tensor | None
    ) -> Buffers:
        """The `cap` nearest of each query's candidates, which are those of its `owner` in `shared`."""
        sample = torch.full((len(queries), cap), -1, dtype=torch.int64)
        distance = torch.full((len(queries), cap), torch.inf, dtype=torch.float64)
        asking = neuron_samples(owner, len(shared.offset) - 1)
        for winner in range(len(shared.offset) - 1):
            candidates, rows = shared.of(winner).sort().values, asking.of(winner)
            if not len(candidates):
                continue
            between = self._distances(queries[rows], self.samples[candidates])  # (r, c)
            if exclude is not None:
                between = between.masked_fill(candidates == exclude[rows, None], torch.inf)
            value, order = between.sort(dim=1, stable=True)
            width = min(cap, len(candidates))
            found = candidates[order[:, :width]]
            sample[rows, :width] = found.masked_fill(torch.isinf(value[:, :width]), -1)
            distance[rows, :width] = value[:, :width]
        taken = sample >= 0
        return Buffers(sample[taken], _offsets(taken.sum(dim=1)), torch.empty(0), distance[taken])

    def _distances(self, queries: Tensor, samples: Tensor) -> Tensor:
        """Distances (q, s) in float64, over the features observed in both; infinite where there is none."""
        queries, samples = queries.double(), samples.double()
        holes = torch.isnan(samples)
        if not bool(holes.any()) and not bool(torch.isnan(queries).any()):
            return self.metric.pairwise(queries, samples).nan_to_num(nan=torch.inf)
        if not bool(holes.any()):
            return masked_pairwise(self.metric, queries, samples).nan_to_num(nan=torch.inf)
        return torch.stack([_to_incomplete(self.metric, queries, row) for row in samples], dim=1)

    def recency(self, sample: Tensor, half_life: float | None, now: Any = None) -> Tensor:
        """Weights 2^(-age / half_life) of samples by position (s,), float64; 1 without a half-life.

        Raises:
            ArgumentError: A half-life that is not above 0.
        """
        if half_life is None:
            return torch.ones(len(sample), dtype=torch.float64)
        if not half_life > 0:
            raise ArgumentError(f"half_life must be > 0, got {half_life}")
        if not len(self):
            return torch.empty(0, dtype=torch.float64)
        present = float(self.time.max()) if now is None else read_time(now, self.clock, "now")
        unit = 1e6 if self.clock == "dates" else 1.0
        age: Tensor = (present - self.time[sample]).clamp_min(0) / unit
        return torch.exp2(-age / half_life)

    def _read(self, data: Any, name: str, single: bool = False) -> Tensor:
        d = self.codebook.shape[1]
        cpu = torch.device("cpu")
        return read_samples(
            data, name=name, num_features=d, device=cpu, missing=self.missing, single=single, names=self.feature_names
        )

    def _winners(self, samples: Tensor) -> Tensor:
        dtype = torch.promote_types(samples.dtype, self.codebook.dtype)
        search = make_search(self.codebook.to(dtype), self.metric)
        return search.nearest(samples.to(dtype), distances=False).index[:, 0]


_KINDS = {"rows": "none", "numbers": "numbers", "dates": "dates"}


def _merged(held: NeuronSamples, new: NeuronSamples) -> NeuronSamples:
    """Both lists of each neuron as one, the new samples at its end."""
    old_place = torch.arange(len(held.sample)) + new.offset[held.neuron]
    new_place = torch.arange(len(new.sample)) + held.offset[new.neuron + 1]
    sample = torch.empty(len(held.sample) + len(new.sample), dtype=torch.int64)
    sample[old_place], sample[new_place] = held.sample, new.sample
    return NeuronSamples(sample, held.offset + new.offset)


def _filtered(groups: NeuronSamples, kept: Tensor) -> NeuronSamples:
    """The lists without the samples that `kept` (n,) drops; positions as before."""
    stays = kept[groups.sample]
    before = _offsets(stays.long())  # entries that stay before each entry
    return NeuronSamples(groups.sample[stays], before[groups.offset])


def _to_incomplete(metric: Metric, queries: Tensor, sample: Tensor) -> Tensor:
    """Distances (q,) to one sample that lacks values; they count as not observed in the queries."""
    known = ~torch.isnan(sample)
    seen = torch.where(known, queries, torch.nan)
    target = torch.where(known, sample, 0.0).expand_as(seen)
    return metric.rowwise(seen, target).nan_to_num(nan=torch.inf)


def _chunks(n: int, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, max(n, 1), rows))


def _offsets(size: Tensor) -> Tensor:
    return torch.cat((size.new_zeros(1), size.cumsum(0)))

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from somlib.core import SOM
from somlib.errors import ArgumentError, DataTypeError, ShapeError
from somlib.jitl import SampleIndex

MODES = ("bmu_only", "bmu_neighborhood", "bmu_neighborhood_knn")


def rows(n: int, seed: int, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["rectangular", "hexagonal"])
def som(request: pytest.FixtureRequest) -> SOM:
    som = SOM(5, 4, 3, topology=request.param, epochs=3, device="cpu")
    som.fit(rows(200, 0), verbose=False)
    return som


def same_groups(index: SampleIndex, rebuilt: SampleIndex) -> None:
    assert index.groups.offset.tolist() == rebuilt.groups.offset.tolist()
    assert index.groups.sample.tolist() == rebuilt.groups.sample.tolist()
    torch.testing.assert_close(index.samples, rebuilt.samples, rtol=0, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_a_query_gets_what_collect_samples_collects(som: SOM, mode: str) -> None:
    history, queries = rows(150, 1), rows(20, 2)
    index = SampleIndex.build(som, history)
    by_place = som.build_map("bmus_data", history)
    found = index.retrieve(queries, mode, 30)
    for i, query in enumerate(queries):
        expected = som.collect_samples(query, history, history, by_place, 30, True, mode)[2]
        assert found.of(i).tolist() == expected.tolist()
        assert index.retrieve(query, mode, 30).of(0).tolist() == expected.tolist()


def test_appending_in_pieces_equals_building_at_once(som: SOM) -> None:
    history = rows(150, 1)
    index = SampleIndex(som)
    numbers = [index.append(part) for part in (history[:70], history[70:71], history[71:])]
    assert torch.cat(numbers).tolist() == list(range(150))
    same_groups(index, SampleIndex.build(som, history))


def test_expiring_before_a_time_equals_building_from_the_rest(som: SOM) -> None:
    history, time = rows(150, 1), torch.randperm(150, generator=torch.Generator().manual_seed(3))
    index = SampleIndex.build(som, history, time)
    kept = index.forget(before=60)
    assert kept.tolist() == [t >= 60 for t in time.tolist()]
    same_groups(index, SampleIndex.build(som, history[time >= 60], time[time >= 60]))
    assert index.number.tolist() == torch.nonzero(time >= 60).flatten().tolist()
    index.append(rows(10, 5), range(10))
    assert index.number[-10:].tolist() == list(range(150, 160))


@pytest.mark.parametrize("keep", ["newest", "nearest"])
def test_a_cap_keeps_the_newest_or_nearest_of_each_neuron(som: SOM, keep: str) -> None:
    history, time = rows(150, 1), torch.randint(0, 40, (150,), generator=torch.Generator().manual_seed(3))
    index = SampleIndex.build(som, history, time)
    winner = index.winner.tolist()
    expected = set()
    for neuron in range(20):
        held = [i for i in range(150) if winner[i] == neuron]
        if keep == "newest":
            held.sort(key=lambda i: (-int(time[i]), -i))
        else:
            held.sort(key=lambda i: float((history[i] - som.codebook[neuron]).double().norm()))
        expected |= set(held[:5])
    kept = index.forget(per_neuron=5, keep=keep)  # type: ignore[arg-type]
    assert set(torch.nonzero(kept).flatten().tolist()) == expected
    assert int(index.groups.count.max()) == 5


def test_a_capped_buffer_has_the_nearest_to_the_query_first(som: SOM) -> None:
    history, queries = rows(150, 1), rows(10, 2)
    index = SampleIndex.build(som, history)
    everything, capped = index.retrieve(queries), index.retrieve(queries, max_samples=7)
    for i, query in enumerate(queries):
        pool = sorted(everything.of(i).tolist(), key=lambda j: float((history[j] - query).double().norm()))
        assert capped.of(i).tolist() == pool[:7]
        reach = slice(int(capped.offset[i]), int(capped.offset[i + 1]))
        expected = (history[capped.of(i)] - query).double().norm(dim=1)
        torch.testing.assert_close(capped.distance[reach], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cap", [None, 6, 1000])
def test_a_query_of_the_history_can_leave_itself_out(som: SOM, cap: int | None) -> None:
    history = rows(60, 1)
    index = SampleIndex.build(som, history)
    with_self = index.retrieve(history, max_samples=1000)
    without = index.retrieve(history, max_samples=cap, exclude=torch.arange(60))
    for i in range(60):
        expected = [j for j in with_self.of(i).tolist() if j != i]
        assert set(without.of(i).tolist()) == set(expected if cap is None else expected[:cap])


def test_a_sample_of_half_life_age_weighs_half(som: SOM) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    dates = [start + timedelta(hours=h) for h in range(50)]
    index = SampleIndex.build(som, rows(50, 1), pl.Series(dates))
    found = index.retrieve(rows(1, 2), min_buffer_threshold=50, half_life=7200.0)
    expected = [2.0 ** (-(49 - int(i)) / 2) for i in found.sample]
    torch.testing.assert_close(found.weight, torch.tensor(expected, dtype=torch.float64))
    at = index.retrieve(rows(1, 2), min_buffer_threshold=50, half_life=7200.0, now=dates[10])
    assert float(at.weight.max()) == 1.0


def test_dates_of_all_kinds_show_the_same_time(som: SOM) -> None:
    naive = [datetime(2020, 1, 1, h) for h in range(3)]
    aware = [t.replace(tzinfo=UTC) for t in naive]
    kinds = [naive, aware, np.array(naive, dtype="datetime64[ns]"), pl.Series(aware), pl.Series(naive).to_pandas()]
    times = [SampleIndex.build(som, rows(3, 1), kind).time.tolist() for kind in kinds]
    assert times == [[1577836800e6 + h * 3600e6 for h in range(3)]] * len(kinds)


def test_missing_values_in_history_and_queries_count_as_not_observed() -> None:
    history = rows(80, 1)
    history[::3, 1] = torch.nan
    som = SOM(3, 3, 3, epochs=3, missing="mask", device="cpu")
    som.fit(history, verbose=False)
    index, query = SampleIndex.build(som, history), torch.tensor([0.3, torch.nan, -0.2])
    found = index.retrieve(query, max_samples=5)
    pool = index.retrieve(query).of(0)
    gaps = {int(j): float(((history[j] - query)[[0, 2]].double().square().sum() * 3 / 2).sqrt()) for j in pool}
    assert found.of(0).tolist() == sorted(gaps, key=lambda j: gaps[j])[:5]


def test_refused_calls_change_nothing(som: SOM) -> None:
    index = SampleIndex.build(som, rows(20, 1), range(20))
    with pytest.raises(ArgumentError, match="timestamps must be numbers, like those before, got none"):
        index.append(rows(2, 2))
    with pytest.raises(ShapeError, match=r"timestamps must have shape \(2,\)"):
        index.append(rows(2, 2), [1])
    with pytest.raises(DataTypeError, match="before must be one of the numbers"):
        index.forget(before=datetime(2020, 1, 1))
    with pytest.raises(ArgumentError, match="per_neuron must be a whole number of at least 1, got 0"):
        index.forget(per_neuron=0)
    with pytest.raises(ArgumentError, match="keep must be one of 'newest', 'nearest'"):
        index.forget(per_neuron=1, keep="oldest")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="retrieval_mode must be one of"):
        index.retrieve(rows(1, 2), "everything")
    with pytest.raises(ArgumentError, match="max_samples must be at least 1, got 0"):
        index.retrieve(rows(1, 2), max_samples=0)
    with pytest.raises(ArgumentError, match="half_life must be > 0"):
        index.retrieve(rows(1, 2), half_life=0.0)
    with pytest.raises(ShapeError, match="exclude must have 1 values"):
        index.retrieve(rows(1, 2), exclude=[1, 2])
    assert len(index) == 20


def test_an_empty_index_retrieves_nothing(som: SOM) -> None:
    index = SampleIndex(som)
    assert index.retrieve(rows(3, 1)).offset.tolist() == [0, 0, 0, 0]
    assert index.retrieve(rows(3, 1), max_samples=4, half_life=1.0).offset.tolist() == [0, 0, 0, 0]
    assert index.forget(before=5).tolist() == []

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from pipelines.data import Dataset, Survey, find_source, read_dataset, survey
from pipelines.data.columns import CategoryColumn
from pipelines.data.samples import (
    Labelled,
    evenly,
    fitted_encoding,
    prepare_samples,
    samples_of,
    split_rows,
    unknown_values,
)
from pipelines.data.scaling import fit_scaler
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from tests.pipelines.conftest import table


def dataset(time: np.ndarray | None, rows: int = 100) -> Dataset:
    found = Survey(found=rows, incomplete=0, used=rows, columns={})
    return Dataset("p", ("a",), (), np.zeros((rows, 1), np.float32), np.zeros((rows, 0)), time, "0" * 64, found)


def test_with_a_time_the_newest_rows_are_held_out_whatever_their_order() -> None:
    time = np.random.default_rng(0).permutation(100)
    split = split_rows(dataset(time), holdout=0.25, seed=1)
    np.testing.assert_array_equal(np.sort(time[split.heldout]), np.arange(75, 100))
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(100))
    assert (np.diff(split.train) > 0).all()


def test_rows_of_one_moment_stay_on_one_side() -> None:
    split = split_rows(dataset(np.arange(100) // 30), holdout=0.2, seed=1)  # moments 0, 1, 2 and ten rows of 3
    np.testing.assert_array_equal(split.heldout, np.arange(60, 100))


def test_without_a_time_a_random_share_is_held_out_that_follows_the_seed() -> None:
    one, same, other = (split_rows(dataset(None), 0.2, seed) for seed in (1, 1, 2))
    assert (len(one.train), len(one.heldout)) == (80, 20)
    np.testing.assert_array_equal(one.heldout, same.heldout)
    assert not np.array_equal(one.heldout, other.heldout)
    assert not set(one.train) & set(one.heldout)


def test_no_share_holds_nothing_out() -> None:
    assert len(split_rows(dataset(np.arange(100)), 0.0, 1).heldout) == 0


def test_holding_out_everything_is_refused() -> None:
    with pytest.raises(DatasetError, match="all 100 rows are of one time"):
        split_rows(dataset(np.ones(100)), 0.2, 1)


def test_scaling_knows_the_training_rows_only(config: PipelineConfig) -> None:
    source = find_source(config.data)
    samples = prepare_samples(read_dataset(source, survey(source, False), False), config)
    train, heldout = (part.select("a", "b", "c").to_numpy() for part in (table()[:160], table()[160:]))
    np.testing.assert_allclose(samples.train.samples, (train - train.mean(0)) / train.std(0), atol=1e-4)
    np.testing.assert_allclose(samples.heldout.samples, (heldout - train.mean(0)) / train.std(0), atol=1e-4)
    np.testing.assert_array_equal(samples.targets["y"], table()["y"][:160])
    assert samples.counts == {"train": 160, "heldout": 40}


def test_both_parts_know_their_targets_times_and_row_numbers(config: PipelineConfig) -> None:
    source = find_source(config.data)
    samples = prepare_samples(read_dataset(source, survey(source, False), False), config)
    for part, rows in ((samples.train, table()[:160]), (samples.heldout, table()[160:])):
        np.testing.assert_array_equal(part.targets["y"], rows["y"])
        assert part.moments is not None
        assert part.moments.to_list() == rows["time"].to_list()
    np.testing.assert_array_equal(samples.heldout.numbers, np.arange(160, 200))


def test_rows_are_taken_with_all_that_is_known_of_them() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan, 5.0])
    times = pl.Series("time", [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 6)])
    rows = Labelled(np.arange(10, dtype=np.float32).reshape(5, 2), {"y": values}, times, np.arange(10, 15))
    taken = rows.take(rows.known("y")[::-1].copy())
    np.testing.assert_array_equal(taken.samples, [[8, 9], [4, 5], [0, 1]])
    np.testing.assert_array_equal(taken.targets["y"], [5.0, 3.0, 1.0])
    np.testing.assert_array_equal(taken.numbers, [14, 12, 10])
    assert taken.moments is not None
    assert [moment.day for moment in taken.moments] == [5, 3, 1]
    assert taken.moments.dtype == times.dtype


def test_positions_are_thinned_evenly_from_first_to_last() -> None:
    positions = np.arange(100, 201)
    assert evenly(positions, 5).tolist() == [100, 125, 150, 175, 200]
    np.testing.assert_array_equal(evenly(positions, 101), positions)
    assert len(evenly(positions[:0], 5)) == 0


def test_rare_values_are_those_of_the_training_rows_and_held_out_ones_may_be_unknown() -> None:
    codes = np.array([0.0] * 60 + [1.0] * 39 + [2.0] + [3.0] * 10)  # the last ten are held out
    found = Survey(found=110, incomplete=0, used=110, columns={})
    dataset = Dataset(
        "p", ("c",), (), codes[:, None], np.zeros((110, 0)), None, "0" * 64, found,
        columns=(CategoryColumn(name="c", least_share=0.05),), levels={"c": ("a", "b", "rare", "unseen")},
    )  # fmt: skip
    encoding = fitted_encoding(dataset, np.arange(100))
    assert encoding is not None
    assert encoding.features == ("c=a", "c=b", "c=(other)")
    scaler = fit_scaler(encoding.recoded(codes[:, None], dataset.levels), ("c",), "none", encoding=encoding)
    np.testing.assert_array_equal(
        samples_of(dataset, scaler, np.array([0, 60, 99, 100])), [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    )
    assert list(unknown_values(dataset, scaler)) == [
        "c: 11 of 110 rows have a value without a feature of its own, unseen in 10, rare in 1: they are one value "
        "together"
    ]

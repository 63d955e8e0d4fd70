import numpy as np
import pytest

from pipelines.config import PipelineConfig
from pipelines.data import Dataset, Survey, find_source, read_dataset, survey
from pipelines.errors import DatasetError
from pipelines.samples import prepare_samples, split_rows
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
    np.testing.assert_allclose(samples.train, (train - train.mean(0)) / train.std(0), atol=1e-4)
    np.testing.assert_allclose(samples.heldout, (heldout - train.mean(0)) / train.std(0), atol=1e-4)
    np.testing.assert_array_equal(samples.targets["y"], table()["y"][:160])
    assert samples.counts == {"train": 160, "heldout": 40}

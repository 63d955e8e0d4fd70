from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.data import find_source, read_dataset, survey
from pipelines.data.window import choose_window
from pipelines.data.window_rows import WindowRows, joined, read_window, window_samples
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from tests.pipelines.conftest import WriteDataset, table


def read(config: PipelineConfig, **window: Any) -> WindowRows:
    return read_window(choose_window(config.data, config.window.model_validate(window)), config.som.missing)


def on(config: PipelineConfig, frame: pl.DataFrame, write: WriteDataset, **som: Any) -> PipelineConfig:
    path = str(write(frame, "other/part-0.parquet"))
    settings = {"data": config.data.model_copy(update={"path": path}), "som": config.som.model_copy(update=som)}
    return config.model_copy(update=settings)


def test_the_rows_that_train_come_first_then_those_that_judge(config: PipelineConfig) -> None:
    rows = read(config, mode="sliding", length="100h", holdout="30h")
    assert rows.train_count == 70
    np.testing.assert_array_equal(rows.dataset.features, table()[100:].select("a", "b", "c").cast(pl.Float32))
    np.testing.assert_array_equal(rows.dataset.target[:, 0], table()["y"][100:])
    assert rows.dataset.moments is not None
    assert rows.dataset.moments.to_list() == table()["time"][100:].to_list()


def test_what_is_known_of_both_parts_is_what_is_known_of_the_whole(config: PipelineConfig) -> None:
    rows = read(config)
    source = find_source(config.data)
    assert rows.dataset.survey == survey(source, False)
    whole = read_dataset(source, survey(source, False), False)
    np.testing.assert_array_equal(rows.dataset.features, whole.features)


def test_the_digest_is_that_of_the_content_and_of_which_part_it_is_in(config: PipelineConfig) -> None:
    same, other = read(config, mode="sliding", length="100h"), read(config, mode="sliding", length="100h", holdout="9h")
    again = read(config, mode="sliding", length="100h")
    assert same.dataset.sha256 == again.dataset.sha256 != other.dataset.sha256
    first = same.dataset
    assert joined(first, first).sha256 != first.sha256


def test_samples_are_scaled_by_the_rows_that_train(config: PipelineConfig) -> None:
    rows = read(config, mode="sliding", length="100h", holdout="30h")
    samples = window_samples(rows, config)
    trained = table()[100:170].select("a", "b", "c").to_numpy()
    np.testing.assert_allclose(samples.train.samples, (trained - trained.mean(axis=0)) / trained.std(axis=0), atol=1e-5)
    np.testing.assert_array_equal(samples.heldout.numbers, np.arange(70, 100))
    np.testing.assert_array_equal(samples.heldout.targets["y"], table()["y"][170:])


def test_a_sensor_may_stand_still_where_rows_judge_but_not_where_they_train(
    config: PipelineConfig, write: WriteDataset
) -> None:
    late = pl.int_range(pl.len()) >= 190
    still = on(config, table().with_columns(c=pl.when(late).then(7.0).otherwise("c")), write)
    assert len(read(still, mode="sliding", length="200h", holdout="10h").dataset.features) == 200
    early = on(config, table().with_columns(c=pl.when(late).then("c").otherwise(7.0)), write)
    with pytest.raises(DatasetError, match="column 'c' is constant, 7 in all rows"):
        read(early, mode="sliding", length="200h", holdout="10h")


def test_missing_values_are_refused_where_rows_judge_too(config: PipelineConfig, write: WriteDataset) -> None:
    gap = table().with_columns(a=pl.when(pl.int_range(pl.len()) != 195).then("a"))
    with pytest.raises(DatasetError, match="1 of 40 rows has missing values"):
        read(on(config, gap, write))
    assert np.isnan(read(on(config, gap, write, missing="mask")).dataset.features).sum() == 1

"""Training rows that are streamed, against the same rows in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pipelines.data import find_source, read_dataset, survey
from pipelines.data import rows as reading
from pipelines.data import streaming as module
from pipelines.data.samples import Samples, prepare_samples
from pipelines.data.source import Source
from pipelines.data.streaming import read_ahead, stream_samples
from pipelines.errors import DatasetError
from pipelines.settings.config import PipelineConfig
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.fitting import train_som
from pipelines.training.plan import plan_training, read_rows
from somlib.core import blocks, trainer

N = 1_500


def frame(n: int = N, gaps: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(n, 2)) * [3, 0.1] + [10, -5]
    values[:, 0] += np.linspace(0, 4, n)
    a = np.where(rng.random(n) < 0.2, np.nan, values[:, 0]) if gaps else values[:, 0]
    return pl.DataFrame(
        {
            "a": a,
            "b": values[:, 1],
            "hour": rng.integers(0, 24, n).astype(float),
            "kind": rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1]),
            "y": values.sum(axis=1),
            "when": rng.permutation(n) // 3 * 1_000_000,
        }
    ).with_columns(pl.col("when").cast(pl.Datetime("us", "UTC")))


CASES: dict[str, dict[str, Any]] = {
    "by time": {"data": {"time": "when"}},
    "by chance": {},
    "none held out": {"data": {"holdout": 0}, "scaling": {"method": "minmax"}},
    "gaps": {"gaps": True, "som": {"missing": "mask"}},
    "complete rows": {"gaps": True, "data": {"drop_incomplete": True, "time": "when"}},
    "columns": {
        "data": {
            "features": ["a", "b", "hour", "kind"],
            "columns": {"hour": {"kind": "cyclic", "period": 24}, "kind": "category"},
        }
    },
    "one part of two": {"data": {"where": "hour < 12"}, "scaling": {"method": "none"}},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches, blocks and samples that are parts of a few rows."""
    monkeypatch.setattr(reading, "BATCH_ROWS", 200)
    monkeypatch.setattr(blocks, "BLOCK_ENTRIES", 1_000)
    monkeypatch.setattr(trainer, "MEASURED_ROWS", 300)
    monkeypatch.setattr(module, "SAMPLE_ROWS", 400)


def experiment(folder: Path, gaps: bool = False, **sections: Any) -> PipelineConfig:
    folder.mkdir(exist_ok=True)
    rows = frame(gaps=gaps)
    rows[:900].write_parquet(folder / "0.parquet", row_group_size=250)
    rows[900:].write_parquet(folder / "1.parquet", row_group_size=1_000)
    data = {"path": str(folder), "features": ["a", "b"], "target": ["y"]} | sections.pop("data", {})
    som = {"x": 5, "y": 4, "algorithm": "batch", "initialization_mode": "pca", "epochs": 3} | sections.pop("som", {})
    return PipelineConfig.model_validate({"name": "small", "data": data, "som": som} | sections)


def in_memory(config: PipelineConfig) -> tuple[Source, Samples]:
    source = find_source(config.data)
    found = survey(source, config.data.drop_incomplete)
    return source, prepare_samples(read_dataset(source, found, config.data.drop_incomplete), config)


@pytest.mark.parametrize("name", CASES)
def test_map_scaler_and_split_are_those_of_the_rows_in_memory(name: str, tmp_path: Path) -> None:
    config = experiment(tmp_path / "data", **{**CASES[name]})
    source, memory = in_memory(config)
    found = survey(source, config.data.drop_incomplete)
    dataset, streamed = stream_samples(source, found, config)
    assert streamed.streamed is not None
    assert streamed.counts == memory.counts
    np.testing.assert_allclose(streamed.scaler.center, memory.scaler.center, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(streamed.scaler.scale, memory.scaler.scale, rtol=1e-12)
    assert streamed.scaler.features == memory.scaler.features
    rows = torch.cat(list(streamed.streamed)).numpy()
    np.testing.assert_allclose(rows, memory.train.samples, rtol=1e-5, atol=1e-6)
    assert dataset.step > 1
    for part, whole in ((streamed.train, memory.train), (streamed.heldout, memory.heldout)):
        places = np.searchsorted(whole.numbers, part.numbers)
        assert (whole.numbers[places] == part.numbers).all()  # rows of the same number are the same rows
        assert (part.numbers % dataset.step == 0).all()
        np.testing.assert_allclose(part.samples, whole.samples[places], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(part.targets["y"], whole.targets["y"][places])
        if whole.moments is not None:
            assert part.moments is not None
            assert part.moments.to_list() == whole.moments.gather(places).to_list()
    one = train_som(memory.train.samples, config.som, memory.scaler.features)
    other = train_som(streamed.streamed, config.som, streamed.scaler.features)
    torch.testing.assert_close(other.som.weights, one.som.weights, atol=1e-4, rtol=1e-4)
    assert other.quantization_errors == pytest.approx(one.quantization_errors, rel=1e-5)
    assert other.topographic_errors == pytest.approx(one.topographic_errors, abs=0.005)
    assert other.som.feature_names == one.som.feature_names


def test_quartiles_are_those_of_the_rows_that_stand_for_all(tmp_path: Path) -> None:
    config = experiment(tmp_path / "data", scaling={"method": "robust"})
    source, memory = in_memory(config)
    _, streamed = stream_samples(source, survey(source, False), config)
    low, middle, high = np.quantile(memory.scaler.inverse(memory.train.samples)[:, 1], (0.25, 0.5, 0.75))
    assert streamed.scaler.center[1] == pytest.approx(middle, abs=0.2 * (high - low))
    assert streamed.scaler.scale[1] == pytest.approx(high - low, rel=0.2)


def test_rows_are_streamed_where_they_take_more_than_they_may(tmp_path: Path) -> None:
    config = experiment(tmp_path / "data", som={"x": None, "y": None})
    source, memory = in_memory(config)
    found = survey(source, False)
    dataset, streamed = read_rows(source, found, config)
    assert streamed is None
    assert dataset.step == 1
    whole = plan_training(config, source, dataset, memory)
    scarce = config.model_copy(update={"runtime": config.runtime.model_copy(update={"memory": 1_000})})
    dataset, streamed = read_rows(source, found, scarce)
    assert streamed is not None
    plan = plan_training(scarce, source, dataset, streamed)
    assert plan.size == whole.size
    assert plan.rows == whole.rows
    assert any("the map trains on all 1,200 rows" in note and "every 5th" in note for note in plan.notes)
    assert dataset.rows == N


def test_the_digest_follows_the_content_alone(tmp_path: Path) -> None:
    digests = []
    for change in (False, False, True):
        folder = tmp_path / str(len(digests))
        config = experiment(folder)
        if change:
            rows = pl.read_parquet(folder / "1.parquet")
            rows[7, "y"] = 0.0
            rows.write_parquet(folder / "1.parquet")
        else:
            pl.read_parquet(folder / "1.parquet").write_parquet(folder / "1.parquet", row_group_size=77)
        source = find_source(config.data)
        digests.append(stream_samples(source, survey(source, False), config)[0].sha256)
    assert digests[0] == digests[1] != digests[2]


def test_a_training_that_was_killed_goes_on_with_the_streamed_rows(tmp_path: Path) -> None:
    config = experiment(tmp_path / "data")
    source = find_source(config.data)
    _, streamed = stream_samples(source, survey(source, False), config)
    assert streamed.streamed is not None
    whole = train_som(streamed.streamed, config.som, ["a", "b"])

    def stop(report: Any) -> None:
        if report.epoch == 1:
            raise KeyboardInterrupt

    kept = Checkpoints(tmp_path, "small", "key", 0)
    with pytest.raises(KeyboardInterrupt):
        train_som(streamed.streamed, config.som, ["a", "b"], checkpoints=kept, on_epoch=stop)
    resumed = train_som(streamed.streamed, config.som, ["a", "b"], checkpoints=kept)
    assert torch.equal(resumed.som.weights, whole.som.weights)


def test_a_dataset_that_changes_or_does_not_vary_is_refused(tmp_path: Path) -> None:
    config = experiment(tmp_path / "data")
    source = find_source(config.data)
    found = survey(source, False)
    _, streamed = stream_samples(source, found, config)
    assert streamed.streamed is not None
    frame(40).write_parquet(tmp_path / "data" / "1.parquet")
    with pytest.raises(DatasetError, match="changed while it was read"):
        stream_samples(source, found, config)
    with pytest.raises(DatasetError, match="changed while it was read"):
        train_som(streamed.streamed, config.som, ["a", "b"])
    times = frame().with_columns(a=pl.when(pl.col("when").rank("ordinal") > N * 0.7).then(pl.col("a")).otherwise(1.0))
    times.write_parquet(tmp_path / "flat.parquet")
    flat = config.model_copy(
        update={"data": config.data.model_copy(update={"path": str(tmp_path / "flat.parquet"), "time": "when",
                                                       "holdout": 0.4})}
    )  # fmt: skip
    source = find_source(flat.data)
    with pytest.raises(DatasetError, match="the values of a are equal in all"):
        stream_samples(source, survey(source, False), flat)


def test_reading_ahead_keeps_order_and_tells_faults() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("broken")

    ahead = read_ahead(items())
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="broken"):
        next(ahead)

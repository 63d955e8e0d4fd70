import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import circmean, circstd

from pipelines.data.columns import CyclicColumn
from pipelines.data.encoding import Encoding
from pipelines.data.samples import Labelled
from pipelines.data.scaling import Scaler
from pipelines.errors import TrackingError
from pipelines.report.facts import (
    MOST_ROWS,
    Facts,
    RunData,
    column_facts,
    flow_facts,
    notebook_facts,
    one_neuron_error,
    row_table,
)
from pipelines.settings.config import PipelineConfig
from pipelines.settings.sections import AnalysisConfig, JITLConfig
from pipelines.training.fitting import train_som
from pipelines.training.plan import prepare
from somlib import SOM
from tests.pipelines.conftest import WriteDataset, table
from tests.pipelines.report_content import make_facts


def facts_of_flow(config: PipelineConfig) -> RunData:
    found = prepare(config)
    trained = train_som(found.samples.train.samples, found.plan.som, found.dataset.feature_names)
    return flow_facts(trained.som, config, found)


def test_the_coverage_that_intervals_aim_at_is_known_where_there_are_local_models(config: PipelineConfig) -> None:
    assert facts_of_flow(config).facts.coverage == 0.9
    without = config.model_copy(update={"jitl": JITLConfig(enabled=False)})
    assert facts_of_flow(without).facts.coverage is None


def test_column_facts_are_those_of_the_observed_values() -> None:
    found = column_facts(np.array([1.0, np.nan, 4.0, 7.0]))
    assert (found.mean, found.low, found.high, found.missing) == (4.0, 1.0, 7.0, 1)
    assert found.deviation == pytest.approx(math.sqrt((9 + 0 + 9) / 3))


def test_a_column_without_values_has_no_facts_but_their_absence() -> None:
    found = column_facts(np.full(3, np.nan))
    assert found.missing == 3
    assert all(math.isnan(value) for value in (found.mean, found.deviation, found.low, found.high))


def test_what_float32_makes_of_zero_is_zero() -> None:
    assert column_facts(np.array([1e-9, 1.0])).low == 0.0
    assert column_facts(np.array([1e-9, 2e-9])).low == 1e-9


@pytest.mark.parametrize("distance", ["euclidean", "manhattan", "chebyshev"])
def test_the_error_of_one_neuron_is_the_mean_distance_to_the_mean(distance: str) -> None:
    samples = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    order = {"euclidean": 2, "manhattan": 1, "chebyshev": np.inf}[distance]
    mean = samples.astype(np.float64).mean(axis=0)
    expected = np.mean([np.linalg.norm(row - mean, ord=order) for row in samples.astype(np.float64)])
    som = SOM(4, 4, num_features=3, topology="hexagonal", pbc=True, distance_function=distance)
    assert one_neuron_error(som, samples, mean) == pytest.approx(expected, rel=1e-5)


def test_facts_survive_their_file_with_undefined_values(tmp_path: Path) -> None:
    facts = make_facts(["<b>", "ü"], ["y"], one_neuron_error=math.nan, remarks=("one",))
    facts.write(tmp_path)
    again = Facts.read(tmp_path)
    assert math.isnan(again.one_neuron_error)
    assert again.model_copy(update={"one_neuron_error": 1.0}) == facts.model_copy(update={"one_neuron_error": 1.0})
    assert list(again.features) == ["<b>", "ü"]


def test_missing_and_damaged_facts_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no facts\.json among its artifacts"):
        Facts.read(tmp_path)
    (tmp_path / "facts.json").write_text('{"rows": 3}')
    with pytest.raises(TrackingError, match=r"facts\.json of the run is damaged"):
        Facts.read(tmp_path)


def test_a_flow_knows_rows_times_and_what_it_told_the_user(write: WriteDataset, config: PipelineConfig) -> None:
    frame = table().with_columns(y=pl.when(pl.int_range(200) % 10 == 3).then(None).otherwise(pl.col("y")))
    write(frame)
    data = facts_of_flow(config)
    facts = data.facts
    assert facts.rows == {"found": 200, "left_out": 0, "train": 160, "heldout": 40}
    assert facts.time is not None
    assert (facts.time.column, facts.time.first) == ("time", "2024-01-01 00:00:00")
    assert facts.remarks == ("target y is missing in 20 of 200 rows, which its maps leave out",)
    assert facts.features["b"].mean == pytest.approx(frame["b"][:160].mean(), rel=1e-5)
    assert facts.targets["y"].missing == 16


def test_rows_are_in_reading_order_with_their_time_and_their_part(write: WriteDataset, config: PipelineConfig) -> None:
    write(table().sample(fraction=1.0, shuffle=True, seed=1))
    rows = facts_of_flow(config).rows
    assert rows is not None
    stored = pl.read_parquet(config.data.path)
    assert rows["time"].to_list() == stored["time"].to_list()
    newest = set(stored["time"].sort()[160:].to_list())
    assert rows["heldout"].to_list() == [moment in newest for moment in stored["time"]]
    assert rows["sample"].to_list() == list(range(200))


def test_each_row_has_the_neuron_that_the_map_gives_it() -> None:
    som = SOM(3, 4, num_features=2)
    samples = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    data = notebook_facts(som, samples, {}, Scaler.identity(("a", "b")), AnalysisConfig())
    assert data.rows is not None
    np.testing.assert_array_equal(data.rows.select("row", "col").to_numpy(), som.identify_bmus(samples).numpy())
    assert not data.rows["heldout"].any()


def labelled(values: np.ndarray, numbers: list[int]) -> Labelled:
    return Labelled(values.astype(np.float32), {}, None, np.array(numbers, dtype=np.int64))


def test_a_row_without_a_neuron_has_no_place() -> None:
    som = SOM(2, 2, num_features=2, missing="mask")
    parts = labelled(np.array([[np.nan, np.nan]]), [0]), labelled(np.array([[0.0, 0.0]]), [1])
    table = row_table(som, parts)
    assert table.select("row", "col").row(0) == (-1, -1)
    assert table["heldout"].to_list() == [False, True]
    assert table["distance"].is_null().to_list() == [True, False]
    assert table["anomaly"].to_list() == [None, None]  # the weights of this map were not trained
    assert row_table(som, (parts[0], labelled(np.empty((0, 2)), []))).schema == table.schema


def test_each_row_has_its_distance_and_how_unusual_that_is() -> None:
    rng = np.random.default_rng(0)
    train, far = rng.normal(size=(200, 2)), np.array([[9.0, 9.0], [np.nan, np.nan]])
    som = SOM(3, 3, num_features=2, algorithm="batch", missing="mask")
    som.fit(train.astype(np.float32), verbose=False)
    table = row_table(som, (labelled(train, list(range(200))), labelled(far, [200, 201])))
    apart = np.linalg.norm(train[:, None] - som.codebook.numpy(), axis=2)  # (n, m)
    np.testing.assert_allclose(table["distance"][:200], apart.min(axis=1), rtol=1e-4)
    neuron, anomaly = apart.argmin(axis=1), table["anomaly"].to_numpy()
    for k in np.unique(neuron):  # each neuron has one unit
        unit = table["distance"].to_numpy()[:200][neuron == k] / anomaly[:200][neuron == k]
        np.testing.assert_allclose(unit, unit[0], rtol=1e-5)
    assert 0.8 < np.mean(anomaly[:200]) < 1.2
    assert anomaly[200] > 5
    assert table.row(201)[1:5] == (-1, -1, None, None)


def test_of_more_rows_than_are_kept_every_third_is_with_its_own_neuron_part_and_time() -> None:
    som = SOM(2, 2, num_features=1)
    n = 2 * MOST_ROWS + 1
    numbers = np.random.default_rng(0).permutation(n)
    values = np.linspace(-1, 1, n)[:, None]
    train, heldout = numbers[: n // 2], np.sort(numbers[n // 2 :])
    time = pl.Series(range(n)) + 7
    table = row_table(som, (labelled(values[train], train.tolist()), labelled(values[heldout], heldout.tolist())), time)
    kept = np.arange(0, n, 3)
    np.testing.assert_array_equal(table["sample"], kept)
    np.testing.assert_array_equal(table["time"], kept + 7)
    np.testing.assert_array_equal(table["heldout"], np.isin(kept, heldout))
    expected = som.identify_bmus(values[kept].astype(np.float32)).numpy()
    np.testing.assert_array_equal(table.select("row", "col").to_numpy(), expected)


def test_as_many_rows_as_can_be_kept_are_all_kept() -> None:
    som = SOM(2, 2, num_features=1)
    for n, kept in ((MOST_ROWS, MOST_ROWS), (MOST_ROWS + 1, MOST_ROWS // 2 + 1)):
        samples = torch.linspace(-1, 1, n).reshape(-1, 1).numpy()
        rows = notebook_facts(som, samples, {}, Scaler.identity(("a",)), AnalysisConfig()).rows
        assert rows is not None
        assert len(rows) == kept


def test_run_data_comes_back_from_its_folder(tmp_path: Path) -> None:
    som = SOM(2, 2, num_features=1)
    samples = np.array([[0.0], [1.0]], dtype=np.float32)
    data = notebook_facts(som, samples, {"y": np.array([1.0, np.nan])}, Scaler.identity(("a",)), AnalysisConfig())
    data.write(tmp_path)
    again = RunData.read(tmp_path)
    assert again.facts == data.facts
    assert again.rows is not None
    assert data.rows is not None
    assert again.rows.equals(data.rows)


def test_mean_and_deviation_of_a_cycle_are_those_on_the_circle() -> None:
    hours = np.array([23.0, 1.0, 0.5, 22.0, np.nan])
    found = column_facts(hours, period=24)
    assert found.mean % 24 == pytest.approx(circmean(hours[:4], high=24))
    assert found.deviation == pytest.approx(circstd(hours[:4], high=24))
    assert (found.missing, found.low, found.high) == (1, 0.5, 23.0)
    assert found.difference((found.mean + 22) % 24) == pytest.approx(-2)
    assert column_facts(np.array([1.0, 3.0])).difference(0.0) == -2


def test_a_cycle_is_described_with_its_length_and_where_it_begins() -> None:
    encoding = Encoding((CyclicColumn(name="w", period=7, start=1),))
    days = encoding.expand(np.arange(1.0, 8.0)[:, None]).astype(np.float32)
    scaler = Scaler("none", encoding.features, np.zeros(2), np.ones(2), encoding)
    som = SOM(2, 2, num_features=2)
    found = notebook_facts(som, days, {}, scaler, AnalysisConfig()).facts.features["w"]
    assert (found.period, found.start) == (7, 1)
    assert (found.low, found.high) == pytest.approx((1, 7), abs=1e-5)


def test_each_row_has_the_cluster_and_strength_of_its_neuron() -> None:
    som = SOM(2, 3, num_features=2, missing="mask")
    som.weights = torch.tensor([[0.0, 0], [0.1, 0], [9, 9], [0, 0.1], [9, 9.1], [50, 50]]).reshape(2, 3, 2)
    values = np.array([[9.0, 9.2], [0.0, 0.1], [np.nan, np.nan], [50.0, 49.0]])
    table = row_table(som, (labelled(values, [0, 1, 2, 3]), labelled(values[:0], [])))
    clusters = som.cluster("kmeans", 2)
    clusters["labels"] = torch.tensor([4, 4, 2, 4, 2, -1])  # numbers as a retraining may keep them, and noise
    clusters["probabilities"] = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    facts = notebook_facts(som, values[:2].astype(np.float32), {}, Scaler.identity(("a", "b")), AnalysisConfig()).facts
    found = RunData(facts, table).clustered(clusters, som.grid).rows
    assert found is not None
    assert found["cluster"].to_list() == [2, 4, -1, -1]
    assert found["strength"].to_list() == pytest.approx([0.9, 0.8, 0.0, 0.0])
    del clusters["probabilities"]
    found = RunData(facts, table).clustered(clusters, som.grid).rows
    assert found is not None
    assert found["strength"].to_list() == [None, None, 0.0, 0.0]
    assert RunData(facts, None).clustered(clusters, som.grid).rows is None

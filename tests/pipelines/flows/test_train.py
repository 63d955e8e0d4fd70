import json
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
import torch
from mlflow import MlflowClient
from prefect.exceptions import ParameterTypeError

from pipelines import train_flow
from pipelines.data import find_source, read_dataset, streaming, survey
from pipelines.data.samples import prepare_samples
from pipelines.errors import ConfigError, DatasetError, TrackingError
from pipelines.flows.train import _earlier
from pipelines.model.map_model import MapModel
from pipelines.progress import listening
from pipelines.publishing.train_result import TrainResult
from pipelines.settings.config import PipelineConfig, load_config
from pipelines.store.finished import Work, finished_runs
from pipelines.store.run_life import open_run
from pipelines.store.tracking import TrackedRun
from pipelines.training.fitting import train_som
from somlib.errors import SomlibWarning
from tests.pipelines.conftest import WriteDataset, small_experiment, table
from tests.pipelines.flows.conftest import opened
from tests.pipelines.flows.kills import ends
from tests.pipelines.test_progress import Recorder

pytestmark = pytest.mark.usefixtures("prefect_api", "store")


def changed(config: PipelineConfig, section: str, **values: Any) -> PipelineConfig:
    settings = config.model_dump(mode="json", exclude_unset=True)
    return PipelineConfig.model_validate(settings | {section: settings.get(section, {}) | values})


def latest_run(experiment: str = "demo") -> Any:
    client = MlflowClient()
    (run, *_) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return run


@dataclass(frozen=True)
class Finished:
    """A training that nothing interrupted, and the folder with its store."""

    folder: Path
    config: PipelineConfig
    result: TrainResult
    heard: list[object]


@pytest.fixture(scope="module")
def only_run(prefect_api: None, _empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    with opened(tmp_path_factory.mktemp("finished"), _empty_store, _empty_store.parent) as shop:
        table().write_parquet(shop.folder / "part-0.parquet")
        config = small_experiment(shop.folder / "part-0.parquet")
        with listening(recorder := Recorder()):
            return Finished(shop.folder, config, train_flow(config), recorder.heard)


@pytest.fixture
def finished(only_run: Finished, store: str, tmp_path: Path) -> Finished:
    """That training, and a copy of its store for the test."""
    shutil.copy(only_run.folder / "mlflow.db", tmp_path / "mlflow.db")
    return only_run


def test_a_run_goes_from_parquet_to_a_registered_model(finished: Finished) -> None:
    result = finished.result
    stages = ["connect", "load", "scale", "train", "analyze", "local models", "draw", "log", "publish"]
    assert [heard[1] for heard in finished.heard if isinstance(heard, tuple) and heard[0] == "started"] == stages
    assert list(result.seconds) == stages
    assert result.rows == {"found": 200, "left_out": 0, "train": 160, "heldout": 40}
    assert result.map_size == (4, 3)
    run = latest_run()
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert {name: run.data.metrics[name] for name in ("train_qe", "heldout_te")} == {
        name: result.metrics[name] for name in ("train_qe", "heldout_te")
    }
    model = mlflow.pyfunc.load_model("models:/demo@champion")
    answer = model.predict(table().to_pandas())
    distances = answer["quantization_error"].to_numpy()
    assert distances[:160].mean() == pytest.approx(result.metrics["train_qe"], rel=1e-4)
    assert distances[160:].mean() == pytest.approx(result.metrics["heldout_qe"], rel=1e-4)


def test_nothing_after_the_version_is_registered_ends_the_run_as_failed(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is gone just then; otherwise a run would be FAILED whose model serves."""
    log = TrackedRun.metrics

    def gone_after_publishing(run: TrackedRun, values: dict[str, float], **others: Any) -> None:
        if any(name.endswith("/publish") for name in values):
            raise TrackingError("MLflow is gone")
        log(run, values, **others)

    monkeypatch.setattr(TrackedRun, "metrics", gone_after_publishing)
    recorder = Recorder()
    with listening(recorder):
        result = train_flow(config)
    assert "the seconds of publishing are not in the run: MLflow is gone" in str(recorder.heard)
    assert latest_run().info.status == "FINISHED"
    assert result.published is not None
    assert result.published.version == "1"


def test_local_models_are_judged_logged_and_published(finished: Finished) -> None:
    result = finished.result
    run = latest_run()
    judged = pl.read_parquet(MlflowClient().download_artifacts(run.info.run_id, "jitl.parquet"))
    np.testing.assert_array_equal(judged["measured"], table()["y"][160:])
    assert judged["time"].to_list() == table()["time"][160:].to_list()
    for name, column in (("rmse", "prediction"), ("rmse_ridge", "ridge"), ("rmse_neighbors", "neighbors")):
        error = judged[column] - judged["measured"]
        assert run.data.metrics[f"jitl/y/{name}"] == pytest.approx(np.sqrt((error**2).mean()))
        assert result.metrics[f"jitl/y/{name}"] == run.data.metrics[f"jitl/y/{name}"]
    assert run.data.params["jitl.experts"] == "pure"
    assert run.data.params["jitl/y/weight_ridge"] == "1.0"
    model = mlflow.pyfunc.load_model("models:/demo@champion")
    answer = model.predict(table().to_pandas())
    assert {column.name: column.type.name for column in model.metadata.signature.outputs} == {
        **dict.fromkeys(("row", "col", "cluster"), "long"),
        **dict.fromkeys(("quantization_error", "strength", "prediction", "lower", "upper", "n_samples"), "double"),
        "fallback": "boolean",
    }
    assert list(answer.columns) == model.metadata.signature.outputs.input_names()
    inside = (answer["lower"] <= table()["y"].to_numpy()) & (table()["y"].to_numpy() <= answer["upper"])
    assert inside.mean() > 0.8
    assert f"held out, ridge {result.metrics['jitl/y/rmse_ridge']:.4g}" in result.markdown()


def test_there_are_no_local_models_where_they_are_switched_off(config: PipelineConfig) -> None:
    result = train_flow(changed(config, "jitl", enabled=False))
    assert "local models" not in result.seconds
    assert not [name for name in result.metrics if name.startswith("jitl/")]
    assert "prediction" not in mlflow.pyfunc.load_model("models:/demo@champion").predict(table().to_pandas())


def test_a_target_with_too_few_values_is_told_and_not_predicted(config: PipelineConfig, write: WriteDataset) -> None:
    rare = table().with_columns(y=pl.when(pl.int_range(pl.len()) % 5 == 0).then("y"))
    recorder = Recorder()
    with listening(recorder):
        result = train_flow(changed(config, "data", path=str(write(rare, "rare/part-0.parquet"))))
    assert "no local model of y: 32 training rows have a value, it takes at least 50" in recorder.heard
    assert not [name for name in result.metrics if name.startswith("jitl/")]


def test_days_to_keep_need_dates(config: PipelineConfig, write: WriteDataset) -> None:
    numbered = table().with_columns(time=pl.int_range(pl.len()))
    path = str(write(numbered, "numbered/part-0.parquet"))
    with pytest.raises(ConfigError, match=r"jitl\.keep_days needs dates or times in data\.time, got Int64"):
        train_flow(changed(changed(config, "data", path=path), "jitl", keep_days=3))
    assert latest_run().info.status == "FAILED"


def test_the_same_config_gives_the_same_map(finished: Finished) -> None:
    first, second = finished.result, train_flow(finished.config, force=True)
    assert first.metrics == second.metrics
    tags = [MlflowClient().get_run(result.run_id).data.tags for result in (first, second)]
    for name in ("som.config_digest", "som.data_sha256", "som.model_sha256"):
        assert tags[0][name] == tags[1][name]
    assert second.published is not None
    assert (second.published.version, second.published.aliases) == ("2", ("challenger",))


def test_the_same_work_is_recognized_and_not_done_again(finished: Finished) -> None:
    first, recorder = finished.result, Recorder()
    with listening(recorder):
        again = train_flow(changed(finished.config, "runtime", threads=1))
    said = f"already done: run {first.run_name} ({first.run_id}), use --force to train again"
    assert said in recorder.heard
    assert again.run_id == first.run_id == latest_run().info.run_id
    assert list(again.lines())[:5] == list(first.lines())[:5]
    assert (again.model_uri, again.report) == (first.model_uri, first.report)
    assert again.published is not None
    assert again.seconds == pytest.approx(first.seconds)
    assert [str(version.version) for version in MlflowClient().search_model_versions("name='demo'")] == ["1"]


def test_a_finished_run_whose_model_is_not_registered_is_no_result_where_one_shall_be(config: PipelineConfig) -> None:
    work = Work("train", config.digest, "d" * 64)
    with open_run("demo", None, work.tags, None):
        pass
    with open_run("demo", None, {}, None) as run:
        assert len(list(finished_runs(run, work))) == 1
        assert _earlier(config, run, work) is None


def test_bad_rows_fail_the_run_with_their_reason_and_publish_nothing(
    config: PipelineConfig, write: WriteDataset
) -> None:
    path = write(table().with_columns(c=pl.lit(7.0)), "flat/part-0.parquet")
    with pytest.raises(DatasetError, match="column 'c' is constant, 7 in all rows"):
        train_flow(changed(config, "data", path=str(path)))
    run = latest_run()
    assert run.info.status == "FAILED"
    assert run.data.tags["som.failure"].startswith("DatasetError: data.features: column 'c' is constant")
    assert run.data.params["data.path"] == str(path)
    assert MlflowClient().search_registered_models() == []
    assert MlflowClient().list_artifacts(run.info.run_id) == []


def test_settings_that_the_map_refuses_fail_the_run(config: PipelineConfig) -> None:
    with pytest.raises(ConfigError, match=r"som\.feature_weights must have 3 values"):
        train_flow(changed(config, "som", feature_weights=[1.0, 2.0]))
    assert latest_run().info.status == "FAILED"
    assert "feature_weights must have 3 values" in latest_run().data.tags["som.failure"]


def test_few_rows_are_a_warning_not_an_error(config: PipelineConfig) -> None:
    with pytest.warns(SomlibWarning, match="8 rows for 12 neurons: most will stay empty, use a smaller map"):
        result = train_flow(changed(config, "data", end="2024-01-01T10:00:00"))
    assert result.rows["train"] == 8


def test_rows_with_gaps_are_dropped_or_masked_and_counted(config: PipelineConfig, write: WriteDataset) -> None:
    gaps = table().with_columns(a=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("a"))
    data = {"path": str(write(gaps, "gaps/part-0.parquet")), "holdout": 0}
    recorder = Recorder()
    with listening(recorder):
        dropped = train_flow(changed(config, "data", **data, drop_incomplete=True))
    assert "40 of 200 rows are left out because a feature is missing in them" in recorder.heard
    assert dropped.rows == {"found": 200, "left_out": 40, "train": 160, "heldout": 0}
    assert "40 left out" in dropped.markdown()
    assert "heldout_qe" not in dropped.metrics
    masked = train_flow(changed(changed(config, "data", **data), "som", missing="mask"))
    assert masked.rows["train"] == 200
    assert np.isfinite(masked.metrics["train_qe"])


def test_a_run_may_leave_the_registry_alone(config: PipelineConfig) -> None:
    result = train_flow(changed(config, "tracking", publish=False, experiment="trials"))
    assert result.published is None
    assert "not registered" in result.markdown()
    assert MlflowClient().search_registered_models() == []
    assert latest_run("trials").info.run_id == result.run_id
    assert mlflow.pyfunc.load_model(result.model_uri).metadata.run_id == result.run_id


def test_sizes_left_to_the_data_are_logged_as_taken(config: PipelineConfig) -> None:
    result = train_flow(changed(config, "som", x=None, y=None))
    params = MlflowClient().get_run(result.run_id).data.params
    assert (int(params["som.x"]), int(params["som.y"])) == result.map_size
    assert float(params["som.sigma"]) > 0
    assert json.loads(params["data.features"]) == ["a", "b", "c"]


def test_rows_that_are_streamed_make_the_same_map_and_a_model_that_knows_some_of_them(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "SAMPLE_ROWS", 100)
    result = train_flow(changed(finished.config, "runtime", memory="1kB"))
    assert result.rows == finished.result.rows
    for name in ("train_qe", "train_te"):
        assert result.metrics[name] == pytest.approx(finished.result.metrics[name], rel=1e-5)
    client = MlflowClient()
    inputs = client.get_run(result.run_id).inputs.dataset_inputs[0].dataset
    assert json.loads(inputs.profile)["num_rows"] == 200
    rows = pl.read_parquet(client.download_artifacts(result.run_id, "rows.parquet"))
    assert rows["sample"].to_list() == list(range(0, 200, 2))
    whole = pl.read_parquet(client.download_artifacts(finished.result.run_id, "rows.parquet")).filter(
        pl.col("sample") % 2 == 0
    )
    assert rows.select("sample", "row", "col", "heldout", "time").equals(
        whole.select("sample", "row", "col", "heldout", "time")
    )
    model = mlflow.pyfunc.load_model(f"models:/demo/{result.published.version if result.published else 0}")
    assert len(model.predict(table().to_pandas())) == 200


def test_a_deployment_passes_plain_parameters_and_bad_ones_start_nothing(config: PipelineConfig) -> None:
    settings = config.model_dump(mode="json", exclude_unset=True)
    assert train_flow(settings).map_size == (4, 3)
    with pytest.raises(ParameterTypeError, match=r"config\.som\.epochs: Input should be a valid integer"):
        train_flow(settings | {"som": {"epochs": "many"}})
    experiment = MlflowClient().get_experiment_by_name("demo")
    assert len(MlflowClient().search_runs([experiment.experiment_id])) == 1


def test_nothing_is_written_beside_the_stores(finished: Finished) -> None:
    assert {path.name for path in finished.folder.iterdir()} == {"part-0.parquet", "mlflow.db", "mlruns"}


# ---------------------------------------------------------------- processes of their own

PLACES = ("after register", "after alias challenger", "before end")  # at which one is killed; more are in `benchmarks/`
LONG = {"x": 8, "y": 6, "epochs": 1_000}
CHECKPOINTS = {"checkpoint_seconds": 0.05, "threads": 1}


@pytest.fixture(scope="module")
def in_processes(prefect_api: None, _empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of stores after trainings in processes: killed at each of `PLACES` or late in a long one; two at once."""
    folders = {name: tmp_path_factory.mktemp("processes") for name in (*PLACES, "epoch 900", "two")}
    for name, folder in folders.items():
        shutil.copy(_empty_store, folder / "mlflow.db")
        table().write_parquet(folder / "part-0.parquet")
        config = small_experiment(folder / "part-0.parquet")
        config = changed(config, "tracking", uri=f"sqlite:///{folder}/mlflow.db")
        if name == "epoch 900":
            config = changed(changed(config, "som", **LONG), "runtime", **CHECKPOINTS)
            config = changed(changed(config, "data", target=[]), "tracking", publish=False)
        (folder / "demo.yaml").write_text(config.to_yaml())
    points = [(folder / "demo.yaml", "" if name == "two" else name) for name, folder in folders.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(_empty_store.parent))
        assert ends("train_flow", [*points, points[-1]]) == [-signal.SIGKILL] * 4 + [0, 0]
    return folders


@pytest.fixture
def after(in_processes: dict[str, Path], _empty_store: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The store that the test asks for, open, and its folder."""
    folder = in_processes[request.param]
    with opened(folder, folder / "mlflow.db", _empty_store.parent):
        yield folder


@pytest.mark.parametrize("after", ["epoch 900"], indirect=True)
def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_map(
    after: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(after / "demo.yaml")
    assert latest_run().info.status == "RUNNING"
    result = train_flow(config)
    found = re.search(r"training goes on after epoch (\d+) of 1000, from \.som/checkpoints/demo-", caplog.text)
    assert found is not None
    assert 1 <= int(found[1]) < 1000
    source = find_source(config.data)
    samples = prepare_samples(read_dataset(source, survey(source, False), False), config)
    whole = train_som(samples.train.samples, config.som, source.features, threads=1)
    model = TrackedRun(result.run_id).fetch_model(after / "model")
    assert torch.equal(MapModel.load(model).som.weights, whole.som.weights)
    curve = MlflowClient().get_metric_history(result.run_id, "qe")
    assert [point.step for point in curve] == list(range(1000))
    assert [point.value for point in curve] == whole.quantization_errors
    assert not (after / ".som").exists()


def published_state() -> dict[str, Any]:
    """What must be the same however often a training was killed, or done at once, on its way."""
    client = MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    versions = client.search_model_versions("name='demo'")
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return {
        "versions": [str(version.version) for version in versions],
        "runs": [run.info.status for run in runs],
        "of": [version.run_id for version in versions] == [run.info.run_id for run in finished],
        "aliases": {alias: str(number) for alias, number in client.get_registered_model("demo").aliases.items()},
        "metrics": sorted(name for run in finished for name in run.data.metrics if not name.endswith("/publish")),
        "model": [version.tags["som.model_sha256"] for version in versions],
        "failures": ["som.failure" in run.data.tags for run in runs],
        "checkpoints": Path(".som").exists(),
    }


@pytest.mark.parametrize("after", PLACES, indirect=True)
def test_killed_while_it_publishes_and_run_again_it_leaves_one_whole_version(after: Path, only_run: Finished) -> None:
    assert latest_run().info.status == "RUNNING"
    resumed = train_flow(load_config(after / "demo.yaml"))
    assert resumed.published is not None
    assert sorted(resumed.published.aliases) == ["challenger", "champion"]
    found = published_state()
    assert found | {"metrics": [], "model": []} == {
        "versions": ["1"],
        "runs": ["FINISHED"],
        "of": True,
        "aliases": {"challenger": "1", "champion": "1"},
        "metrics": [],
        "model": [],
        "failures": [False],
        "checkpoints": False,
    }
    with opened(only_run.folder, only_run.folder / "mlflow.db", Path()):
        whole = MlflowClient().get_run(only_run.result.run_id).data
    assert found["metrics"] == sorted(name for name in whole.metrics if not name.endswith("/publish"))
    assert found["model"] == [whole.tags["som.model_sha256"]]


@pytest.mark.parametrize("after", ["two"], indirect=True)
def test_two_at_once_leave_one_version_and_one_finished_run(after: Path) -> None:
    found = published_state()
    assert (found["versions"], found["runs"], found["of"], found["failures"]) == (["1"], ["FINISHED"], True, [False])
    assert found["aliases"] == {"challenger": "1", "champion": "1"}
    assert not found["checkpoints"]

"""Small Parquet datasets, and stores for MLflow and Prefect that belong to one test or one session."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.settings.config import PipelineConfig

REPOSITORY = Path(__file__).parents[2]
WEATHER = REPOSITORY / "data" / "weather.yaml"

WriteDataset = Callable[..., Path]


def table(rows: int = 200, seed: int = 0) -> pl.DataFrame:
    """Three features around two centers, a target that follows them, an hourly time."""
    random = np.random.default_rng(seed)
    side = random.integers(0, 2, rows)
    values = random.normal(size=(rows, 3)) * (1.0, 5.0, 0.1) + side[:, None] * (4.0, 20.0, 1.0)
    return pl.DataFrame(
        {
            "time": pl.datetime_range(
                pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(hours=rows - 1), "1h", eager=True
            ),
            "a": values[:, 0],
            "b": values[:, 1],
            "c": values[:, 2],
            "y": 2 * values[:, 0] + side,
        }
    )


@pytest.fixture
def write(tmp_path: Path) -> WriteDataset:
    """Writes a frame as a Parquet file below the test's folder, and returns the path."""

    def write_parquet(frame: pl.DataFrame, name: str = "data/part-0.parquet") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
        return path

    return write_parquet


@pytest.fixture
def config(write: WriteDataset) -> PipelineConfig:
    """A small experiment on `table()`."""
    return PipelineConfig.model_validate(
        {
            "name": "demo",
            "data": {"path": str(write(table())), "features": ["a", "b", "c"], "target": "y", "time": "time"},
            "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch", "initialization_mode": "pca"},
            "jitl": {"experts": "pure"},
        }
    )


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; to make one takes seconds, to copy it does not."""
    from pipelines.store.connection import connect

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with contextlib.chdir(path.parent):  # MLflow makes its folder of artifacts where it is
        connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(_empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URI of an empty MLflow store of the test's own, which MLflow takes by default; artifacts lie beside it."""
    import mlflow

    monkeypatch.chdir(tmp_path)
    shutil.copy(_empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("XDG_STATE_HOME", str(_empty_store.parent))  # locks of models
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API of the session's own. Without heartbeats, each of which would cost a flow run a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield

"""Small Parquet datasets, and stores for MLflow and Prefect that belong to one test or one session."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from filelock import FileLock

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


def small_experiment(path: Path) -> PipelineConfig:
    """A small experiment on the file of `table()`."""
    return PipelineConfig.model_validate(
        {
            "name": "demo",
            "data": {"path": str(path), "features": ["a", "b", "c"], "target": "y", "time": "time"},
            "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch", "initialization_mode": "pca"},
            "jitl": {"experts": "pure"},
        }
    )


@pytest.fixture
def config(write: WriteDataset) -> PipelineConfig:
    """A small experiment on `table()`."""
    return small_experiment(write(table()))


@pytest.fixture(scope="session")
def _empty_store(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs; to make one takes seconds, to copy it does not.

    The folder is the worker's own, for locks of models are beside it.
    """
    from pipelines.store.connection import connect

    path, made = tmp_path_factory.mktemp("mlflow") / "empty.db", shared_folder / "empty.db"
    with FileLock(shared_folder / "store.lock"):
        if not made.exists():
            with contextlib.chdir(path.parent):  # MLflow makes its folder of artifacts where it is
                connect(f"sqlite:///{path}")
            shutil.copy(path, made)
    shutil.copy(made, path)
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
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all workers of a session."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """The Prefect API that a command without a server has: of this process, with what a run asks for and no more.

    Tests that need all of Prefect's server are in `tests/pipelines/operations`, where one runs.
    """
    from pipelines.operations.engine import flow_engine

    with ExitStack() as stack:
        stack.enter_context(flow_engine())()
        yield

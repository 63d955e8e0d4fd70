"""A store in which a first champion serves, made once; and the rows that have come since."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.settings.config import PipelineConfig
from tests.pipelines.conftest import table

SETTINGS: dict[str, Any] = {
    "name": "demo",
    "data": {"features": ["a", "b", "c"], "target": "y", "time": "time"},
    "som": {"x": 4, "y": 3, "epochs": 3, "algorithm": "batch", "initialization_mode": "pca"},
    "jitl": {"experts": "pure"},
    "promotion": {"limits": [{"metric": "te", "highest": 0.6}]},
    "runtime": {"checkpoint_seconds": 0},
}
KNOWN = 200  # rows that the champion knows


def old_rows() -> pl.DataFrame:
    """Rows of one process."""
    return table(500)


def changed_rows() -> pl.DataFrame:
    """The same, but that after the rows that the champion knows two sensors moved, and the target follows otherwise."""
    later = pl.int_range(pl.len()) >= KNOWN
    return old_rows().with_columns(
        a=pl.when(later).then(pl.col("a") * 2 - 8).otherwise("a"),
        b=pl.when(later).then(pl.col("b") + 60).otherwise("b"),
        y=pl.when(later).then(pl.col("y") * -3 + pl.col("c") * 5).otherwise("y"),
    )


@dataclass(frozen=True)
class Shop:
    """A store with a champion, and a place for data.

    Attributes:
        folder: Where all of it is.
        uri: Of the store.
    """

    folder: Path
    uri: str

    def config(self, rows: pl.DataFrame, **sections: Any) -> PipelineConfig:
        """The experiment on these rows, which are written."""
        path = self.folder / "data.parquet"
        rows.write_parquet(path)
        settings = SETTINGS | {"data": SETTINGS["data"] | {"path": str(path)}}
        for name, values in sections.items():
            settings[name] = settings.get(name, {}) | values
        return PipelineConfig.model_validate(settings)


@contextlib.contextmanager
def opened(folder: Path, database: Path, locks: Path) -> Iterator[Shop]:
    """A copy of a store, in a folder that is the working folder inside; it may be the one that it is in."""
    import mlflow

    if database != folder / "mlflow.db":
        shutil.copy(database, folder / "mlflow.db")
    before = mlflow.get_tracking_uri()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(locks))
        uri = f"sqlite:///{folder}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        yield Shop(folder, uri)
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def first_champion(_empty_store: Path, prefect_api: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store in which a first version was promoted."""
    from pipelines.flows import retrain_flow

    with opened(tmp_path_factory.mktemp("champion"), _empty_store, _empty_store.parent) as shop:
        assert retrain_flow(shop.config(old_rows()[:KNOWN])).outcome == "promoted"
        return shop.folder / "mlflow.db"


@pytest.fixture
def shop(first_champion: Path, store: str, tmp_path: Path) -> Shop:
    """A store of the test's own in which version 1 serves."""
    shutil.copy(first_champion, tmp_path / "mlflow.db")
    return Shop(tmp_path, store)

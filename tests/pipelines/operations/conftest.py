"""Servers and a worker that really run, for as long as tests of this folder need them."""

from collections.abc import Iterator

import mlflow
import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.pipelines.conftest import table
from tests.pipelines.deployment import Deployment, deployed_on
from tests.pipelines.live import Live, started


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Prefect server, an MLflow server and a worker that really run."""
    with started(tmp_path_factory.mktemp("live")) as servers:
        yield servers


@pytest.fixture(scope="package")
def deployed(live: Live) -> Iterator[Deployment]:
    """An experiment that `som deploy` has deployed there."""
    with deployed_on(live, table()) as deployment:
        yield deployment


@pytest.fixture
def server(live: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the Prefect server, which flows and commands of this process use, and send their events to."""
    monkeypatch.setenv("PREFECT_API_URL", f"{live.prefect}/api")
    monkeypatch.setattr(EventsWorker, "_client_override", None)  # which the API of this process may have set
    with temporary_settings({PREFECT_API_URL: f"{live.prefect}/api"}):
        yield live.prefect


@pytest.fixture
def connected(live: Live, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands of this process use the servers that run."""
    monkeypatch.chdir(live.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", live.mlflow)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(live.mlflow)  # another test may have set one, and then the variable does not count
    yield
    mlflow.set_tracking_uri(before)

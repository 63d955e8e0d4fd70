"""The Prefect API of a run ends while it is at work: the run has its result, published and FINISHED."""

import pytest
from mlflow import MlflowClient
from prefect.server.database.dependencies import temporary_database_interface
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pipelines.flows.train import train_flow
from pipelines.operations import temporary
from pipelines.operations.engine import flow_engine, run_flow
from pipelines.progress import listening
from pipelines.settings.config import PipelineConfig
from tests.pipelines.test_progress import Recorder


class Kept(temporary.TemporaryServer):
    """Where the test can end it."""

    all: list["Kept"] = []  # noqa: RUF012

    def start(self) -> None:
        Kept.all.append(self)
        super().start()


class Ender(Recorder):
    """Ends the server of the run as soon as it trains."""

    def stage_started(self, stage: str) -> None:
        super().stage_started(stage)
        if stage == "train":
            (server,) = Kept.all
            server.stop()
            assert not server._thread.is_alive()


def test_a_run_whose_prefect_api_ends_is_finished_and_says_so(
    config: PipelineConfig,
    prefect_api: None,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(temporary, "TemporaryServer", Kept)
    recorder = Ender()
    alone = temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}, restore_defaults={PREFECT_API_URL})
    with alone, temporary_database_interface(), flow_engine() as wait, listening(recorder):
        wait()
        address = str(PREFECT_API_URL.value())
        result = run_flow(train_flow, config)
    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert (run.info.run_id, run.info.status) == (result.run_id, "FINISHED")
    assert [each.run_id for each in client.search_model_versions("name = 'demo'")] == [run.info.run_id]
    lost = [note for note in recorder.heard if isinstance(note, str) and "Prefect" in note]
    assert len(lost) == 1, lost
    assert lost[0].startswith(f"the run is complete, but Prefect could not be notified: Prefect API at {address}: ")
    assert "Traceback" not in capfd.readouterr().err

import pytest

from pipelines.progress import Stages, announced, listener, listening, tell
from somlib.core.trainer import EpochReport

REPORT = EpochReport(epoch=0, epochs=2, quantization_error=1.5, topographic_error=0.25, sigma=1.0, learning_rate=0.5)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def stage_started(self, stage: str) -> None:
        self.heard.append(("started", stage))

    def stage_ended(self, stage: str, seconds: float, well: bool) -> None:
        self.heard.append(("ended", stage, well))

    def epoch_ended(self, report: EpochReport) -> None:
        self.heard.append(report)

    def remark(self, text: str) -> None:
        self.heard.append(text)


def test_stages_epochs_and_remarks_reach_who_listens_in_their_order() -> None:
    recorder, then = Recorder(), []
    with listening(recorder):
        with Stages()("load"):
            tell(["mind the gap"])
        announced(then.append)(REPORT)
    assert recorder.heard == [("started", "load"), "mind the gap", ("ended", "load", True), REPORT]
    assert then == [REPORT]
    assert listener() is not recorder


def test_a_stage_that_fails_is_told_and_timed() -> None:
    recorder, stages = Recorder(), Stages()
    with listening(recorder), pytest.raises(ZeroDivisionError), stages("train", rows=10):
        _ = 1 / 0
    assert recorder.heard[-1] == ("ended", "train", False)
    assert stages.seconds["train"] >= 0
    assert "rows_per_second/train" not in stages.metrics()


def test_metrics_are_seconds_and_rows_a_second() -> None:
    stages = Stages()
    stages.seconds, stages.rows = {"load": 2.0, "train": 4.0}, {"train": 100}
    assert stages.metrics() == {"seconds/load": 2.0, "seconds/train": 4.0, "rows_per_second/train": 25.0}


def test_without_a_listener_events_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="pipelines.progress"), Stages()("load"):
        tell(["mind the gap"])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.messages[0] == "mind the gap"
    assert caplog.messages[1].startswith("load: done in ")

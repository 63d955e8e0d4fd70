from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.progress import Stages, advance, announced, listener, listening, steps, tell
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

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        self.heard.append((done, of, doing, result))

    def remark(self, text: str) -> None:
        self.heard.append(text)


def test_stages_epochs_and_remarks_reach_who_listens_in_their_order() -> None:
    recorder, then = Recorder(), []
    with listening(recorder):
        with Stages()("load"):
            tell(["mind the gap"])
        announced(then.append)(REPORT)
    epoch = (1, 2, "epoch 1 of 2", "QE 1.5, TE 25.0%")
    assert recorder.heard == [("started", "load"), "mind the gap", ("ended", "load", True), epoch]
    assert then == [REPORT]
    assert listener() is not recorder


def test_steps_are_counted_whatever_thread_ends_them() -> None:
    recorder = Recorder()
    with listening(recorder):
        step = steps(50)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(step, map(str, range(50))))
    assert sorted(done for done, *_ in recorder.heard) == list(range(1, 51))  # type: ignore[misc]
    assert {doing for _, _, doing, _ in recorder.heard} == {str(i) for i in range(50)}  # type: ignore[misc]


def test_a_stage_may_say_itself_how_far_it_is() -> None:
    recorder = Recorder()
    with listening(recorder):
        advance()(30, 100, "boosting of yield")
    assert recorder.heard == [(30, 100, "boosting of yield", "")]


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

"""A real second process; where calls were made is told by the number of the process that they write."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.progress import LogListener, listening, steps
from pipelines.second_process import SecondProcess, prepared

HERE = __name__


def write_process(file: Path, *words: str) -> None:
    """What the tests let be called."""
    step = steps(len(words))
    for word in words:
        sys.stdout.write(f"{word}\n")  # which no answer is taken from
        step(word)
    file.write_text(str(os.getpid()))


def fail(reason: str) -> None:
    raise ValueError(reason)


class Heard(LogListener):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []

    def advanced(self, done: int, of: int, doing: str, result: str = "") -> None:
        self.steps.append((done, of, doing))


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[SecondProcess]:
    with prepared([HERE]):
        yield SecondProcess(tmp_path)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def call(process: SecondProcess, file: Path, *words: str) -> int:
    """Where a call was made."""
    process.submit(f"{HERE}:write_process", file, *words)
    process.finish()
    return int(file.read_text())


def test_calls_are_made_in_one_other_process_in_their_order_and_heard_of_here(
    beside: SecondProcess, tmp_path: Path
) -> None:
    heard = Heard()
    with listening(heard):
        beside.submit(f"{HERE}:write_process", tmp_path / "first", "einen", "Zöpfe ✓")
        where = call(beside, tmp_path / "second", "drei\nvier")
    assert where == int((tmp_path / "first").read_text())
    assert where != os.getpid()
    assert heard.steps == [(1, 2, "einen"), (2, 2, "Zöpfe ✓"), (1, 1, "drei\nvier")]
    assert call(beside, tmp_path / "later") == where


def test_without_a_process_calls_are_made_here_once_they_are_asked_for(tmp_path: Path) -> None:
    before = children()
    with prepared([]):
        process = SecondProcess(tmp_path)
        process.submit(f"{HERE}:write_process", tmp_path / "file")
        assert not (tmp_path / "file").exists()
        process.finish()
        assert children() == before
    assert (tmp_path / "file").read_text() == str(os.getpid())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_an_ended_process_has_not_done_is_done_here(
    tmp_path: Path, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = children()
    with prepared([HERE]):
        process = SecondProcess(tmp_path)
        assert call(process, tmp_path / "done") != os.getpid()
        (child,) = children() - before
        os.kill(child, number)
        psutil.wait_procs([psutil.Process(child)], timeout=30)
        assert call(process, tmp_path / "left") == os.getpid()
        assert call(process, tmp_path / "later") == os.getpid()
    assert capfd.readouterr().err == ""


def test_an_error_of_the_work_is_raised_here(beside: SecondProcess, tmp_path: Path) -> None:
    beside.submit(f"{HERE}:fail", "no room")
    beside.submit(f"{HERE}:write_process", tmp_path / "never")
    with pytest.raises(ValueError, match="no room"):
        beside.finish()


def test_no_process_is_left_whatever_it_is_doing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with prepared([HERE]):
            SecondProcess(tmp_path).submit("time:sleep", 600)
            raise KeyboardInterrupt

    before = children()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert children() == before


def test_where_no_process_can_be_started_all_is_done_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    with prepared([HERE]):
        assert call(SecondProcess(tmp_path), tmp_path / "file") == os.getpid()

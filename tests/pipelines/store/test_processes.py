import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pipelines.store.processes import ProcessName


def test_this_process_lives() -> None:
    own = ProcessName.own()
    assert own.number == os.getpid()
    assert own.lives() is True


def test_a_process_that_has_ended_does_not() -> None:
    name = "from pipelines.store.processes import ProcessName; print(ProcessName.own())"
    ended = subprocess.run([sys.executable, "-c", name], capture_output=True, text=True, check=True)
    process = ProcessName.parse(ended.stdout.strip())
    assert process is not None
    assert process.lives() is False


def test_a_process_that_only_waits_to_be_buried_does_not_live() -> None:
    name = "from pipelines.store.processes import ProcessName; print(ProcessName.own(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", name], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        process = ProcessName.parse(child.stdout.readline().strip())
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process is not None
        assert process.lives() is False


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    own = ProcessName.own()
    assert replace(own, started=own.started - 86_400).lives() is False


def test_a_process_still_lives_after_the_clock_was_set() -> None:
    own = ProcessName.own()
    assert replace(own, started=own.started - 60).lives() is True


def test_a_process_of_another_machine_cannot_be_seen() -> None:
    assert replace(ProcessName.own(), host="elsewhere").lives() is None


def test_a_name_is_read_as_it_was_written() -> None:
    process = ProcessName("worker:with:colons", 17, 1764000000.25)
    assert str(process) == "worker:with:colons:17:1764000000.25"
    assert ProcessName.parse(str(process)) == process


@pytest.mark.parametrize("text", ["", "host", "host:1", "host:one:2"])
def test_anything_else_is_no_name(text: str) -> None:
    assert ProcessName.parse(text) is None

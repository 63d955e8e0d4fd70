"""Real processes, real signals: nothing here can be seen from inside of the process that ends."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

Start = Callable[[str], "subprocess.Popen[str]"]

HEAD = """
import hashlib, pathlib, sys, time
from pipelines.interruption import deferred, last_act, orderly_end, until_asked
def say(text): print(text, flush=True)
"""
# Between two steps of Python, and in one that lasts a quarter of an hour, in which Python runs no handler.
WORK = {
    "python": "while True: time.sleep(0.01)",
    "native": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "swallowing": """
while True:
    try: time.sleep(0.01)
    except BaseException: pass
""",
}

# The same within a block, and the first line only once nothing it raises is heard any more.
DEAF = """while True:
        try: said = said or say('working') or True; time.sleep(0.01)
        except BaseException: pass"""


@pytest.fixture
def start() -> Start:
    """Starts a script in a process group of its own, as a shell does, and waits for its first line."""

    def run(script: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        return process

    return run


def indented(code: str, depth: int = 1) -> str:
    return "\n".join(f"{depth * '    '}{line}" for line in code.strip().splitlines())


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_one_line_whatever_it_is_doing(
    start: Start, number: signal.Signals, work: str
) -> None:
    process = start(f"with orderly_end():\n    say('working')\n{indented(WORK[work])}")
    os.killpg(process.pid, number)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert problems == {2: "error: interrupted\n", 15: "error: ended by SIGTERM\n"}[number]


@pytest.mark.parametrize("work", WORK)
def test_what_must_be_done_is_done_once_or_more_also_under_further_signals(
    start: Start, work: str, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    act = f"pathlib.Path({str(done)!r}).write_text('closed')"
    script = f"""
def close(): {act}
with orderly_end(), last_act(close):
    try:
        say('working')
{indented(WORK[work], 2)}
    finally:
        say('unwinding')
        time.sleep(0.5)
        close()
"""
    process = start(script)
    os.killpg(process.pid, signal.SIGINT)
    if work == "python":
        assert process.stdout is not None
        assert process.stdout.readline() == "unwinding\n"
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
    _, problems = process.communicate(timeout=60)
    assert (process.returncode, problems) == (130, "error: interrupted\n")
    assert done.read_text() == "closed"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_in_order_while_it_is_still_importing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "typer.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "--help"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    os.killpg(process.pid, number)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert problems == {2: "error: interrupted\n", 15: "error: ended by SIGTERM\n"}[number]


def test_it_ends_where_an_interruption_has_left_the_lock_of_imports_taken(start: Start) -> None:
    """As one does that comes up in the callback of a module's lock, where Python ignores it besides."""
    process = start(f"import _imp\nsaid = False\nwith orderly_end():\n    _imp.acquire_lock()\n    {DEAF}")
    process.terminate()
    try:
        _, problems = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, problems) == (128 + signal.SIGTERM, "error: ended by SIGTERM\n")


def test_its_children_end_with_a_process_that_cannot_unwind(start: Start) -> None:
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
    process = start(f"import subprocess\nsaid = False\nwith orderly_end():\n    {child}\n    {DEAF}")
    family = psutil_children(process.pid)
    process.terminate()
    try:
        process.communicate(timeout=60)
        alive = psutil.wait_procs(family, timeout=10)[1]  # killed a moment before their parent has ended
    finally:
        for each in (process, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()
    assert len(family) == 1
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in alive)


def test_a_deferred_block_is_finished_first(start: Start) -> None:
    script = (
        "with orderly_end():\n    with deferred():\n        say('working')\n        time.sleep(1)\n        say('whole')"
    )
    process = start(script + "\n    say('never')")
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "whole\n")


def test_a_main_thread_that_waits_hears_of_a_signal_that_came_to_another_thread(start: Start) -> None:
    script = """
import signal
from threading import Event, Thread, get_ident
waiting = Event()
def other():
    waiting.wait()
    time.sleep(0.3)
    signal.pthread_kill(get_ident(), signal.SIGINT)
    time.sleep(600)
with orderly_end():
    Thread(target=other, daemon=True).start()
    try:
        say('working')
        waiting.set()
        time.sleep(600)
    finally:
        say('unwinding')
"""
    process = start(script)
    told, problems = process.communicate(timeout=60)
    assert (process.returncode, told, problems) == (130, "unwinding\n", "error: interrupted\n")


def test_a_deferred_block_of_another_thread_holds_nobody_up(start: Start) -> None:
    script = """
from threading import Event, Thread
inside, over = Event(), Event()
def other():
    with deferred():
        inside.set()
        over.wait()
with orderly_end():
    Thread(target=other, daemon=True).start()
    inside.wait()
    try:
        say('working')
        time.sleep(600)
    finally:
        say('unwinding')
"""
    process = start(script)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "unwinding\n")


def test_a_block_that_runs_until_it_is_asked_to_end_ends_well(start: Start) -> None:
    process = start("with orderly_end():\n    with until_asked():\n        say('working')\n        time.sleep(600)")
    process.terminate()
    told, problems = process.communicate(timeout=60)
    assert (process.returncode, told, problems) == (0, "", "")


def test_a_signal_that_was_ignored_stays_ignored(start: Start) -> None:
    script = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nwith orderly_end():\n    say('working')\n"
    process = start(script + "    time.sleep(600)")
    process.send_signal(signal.SIGHUP)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def psutil_children(number: int) -> list[psutil.Process]:
    return psutil.Process(number).children(recursive=True)

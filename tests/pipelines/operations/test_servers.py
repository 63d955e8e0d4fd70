import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import ServerError
from pipelines.operations.servers import Child, Service, require_free, running, wait_until_healthy
from tests.pipelines.live import SOM, Live, eventually, free_port

# A server that starts a helper in a session of its own, as a worker does with flow runs, and says which.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
# As above, but deaf to a request to end.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def python(code: str, *arguments: str, health: str | None = None) -> Service:
    return Service("test server", [sys.executable, "-c", code, *arguments], {}, health)


def test_up_prints_where_both_servers_are_and_they_answer(live: Live) -> None:
    for told in (live.prefect, live.mlflow, "export PREFECT_API_URL=", "export MLFLOW_TRACKING_URI=", ".som/logs"):
        assert told in live.told
    for page in (f"{live.prefect}/api/health", f"{live.mlflow}/health", live.prefect, live.mlflow):
        with urlopen(page, timeout=10) as answer:
            assert answer.status == 200
    with urlopen(f"{live.prefect}/ui-settings", timeout=10) as answer:
        assert f"{live.prefect}/api" in answer.read().decode()


def test_a_second_up_on_the_same_ports_is_refused_with_what_to_do(live: Live) -> None:
    port = live.prefect.rpartition(":")[2]
    refused = CliRunner().invoke(app, ["up", "--prefect-port", port])
    assert refused.exit_code == 8
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("error: "))
    assert f"port {port} of 127.0.0.1 cannot be used" in line
    assert "choose another with --prefect-port" in line


def test_a_child_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    broken = python("import sys; print('first'); sys.exit('no such table')", health="http://127.0.0.1:9/health")
    with (
        Child(broken, tmp_path, tmp_path / "server.log") as child,
        pytest.raises(ServerError, match=r"the test server ended with code 1: no such table; see .*server\.log"),
    ):
        wait_until_healthy([child])


def test_a_server_that_never_answers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.operations.servers.START_SECONDS", 0.3)
    silent = python("import time; time.sleep(600)", health="http://127.0.0.1:9/health")
    with (
        Child(silent, tmp_path, tmp_path / "server.log") as child,
        pytest.raises(ServerError, match=r"the test server does not answer after 0 s: see .*server\.log"),
    ):
        wait_until_healthy([child])


def test_what_a_server_started_ends_with_it(tmp_path: Path) -> None:
    with Child(python(PARENT), tmp_path, tmp_path / "server.log") as child:
        helper = int(eventually(lambda: (tmp_path / "server.log").read_text().strip(), seconds=20))
        assert psutil.pid_exists(helper)
    assert child.process.poll() is not None
    assert not psutil.pid_exists(helper)


def test_what_a_killed_server_had_started_ends_too(tmp_path: Path) -> None:
    with Child(python(PARENT), tmp_path, tmp_path / "server.log") as child:
        helper = int(eventually(lambda: (tmp_path / "server.log").read_text().strip(), seconds=20))
        child.require_alive()
        child.process.kill()
        child.process.wait()
        with pytest.raises(ServerError, match="ended with code -9"):
            child.require_alive()
    assert not psutil.pid_exists(helper)


def test_a_server_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.operations.servers.LEAVE_SECONDS", 0.2)
    with Child(python(DEAF), tmp_path, tmp_path / "server.log") as child:
        eventually(lambda: (tmp_path / "server.log").read_text(), seconds=20)
    assert child.process.returncode == -signal.SIGKILL


def test_a_port_in_use_is_found_before_anything_starts(tmp_path: Path, live: Live) -> None:
    used = int(live.mlflow.rpartition(":")[2])
    with (
        pytest.raises(ServerError, match=rf"--mlflow-port: port {used} of 127\.0\.0\.1 cannot be used"),
        running(tmp_path, free_port(), used, "som"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_free_port_is_free() -> None:
    require_free(free_port(), "--prefect-port")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_ended_while_they_start_they_leave_nothing_behind(number: signal.Signals, code: int, tmp_path: Path) -> None:
    command = [*SOM, "up", "--prefect-port", str(free_port()), "--mlflow-port", str(free_port())]
    heeded = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by its children too
    up = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    signal.signal(signal.SIGHUP, heeded)
    with contextlib.ExitStack() as at_worst:
        at_worst.callback(up.terminate)
        family = eventually(lambda: psutil.Process(up.pid).children(recursive=True))
        time.sleep(0.5)
        up.send_signal(number)
        told, problems = up.communicate(timeout=60)
    assert (up.returncode, told) == (code, b"")
    line = {signal.SIGINT: "interrupted", signal.SIGHUP: "ended by SIGHUP"}[number]
    assert [line for line in problems.decode().splitlines() if "error" in line] == [f"error: {line}"]
    assert [process for process in family if process.is_running()] == []

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import ModelBusyError, TrackingError
from pipelines.store.connection import tracking_store
from pipelines.store.locks import exclusive

pytestmark = pytest.mark.usefixtures("store")


def enter(name: str, uri: str | None = None) -> str:
    with tracking_store(uri), exclusive(name, timeout=0.05):
        return "entered"


def elsewhere(name: str, uri: str | None = None) -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(enter, name, uri).result()


def test_another_thread_is_kept_out_until_the_block_ends_and_the_same_may_enter_again() -> None:
    with exclusive("demo"):
        with pytest.raises(
            ModelBusyError, match=rf"'demo' is still being changed by process {os.getpid()} \(.* after 0.05 s"
        ):
            elsewhere("demo")
        assert enter("demo") == "entered"
        with pytest.raises(ModelBusyError):  # leaving the inner block has not let go
            elsewhere("demo")
    assert elsewhere("demo") == "entered"


def test_an_error_in_the_block_lets_go() -> None:
    with pytest.raises(KeyError), exclusive("demo"):
        raise KeyError
    assert elsewhere("demo") == "entered"


def test_other_models_and_other_stores_are_free_but_the_same_store_by_another_name_is_not(tmp_path: Path) -> None:
    with exclusive("demo"):
        assert elsewhere("other") == "entered"
        assert elsewhere("demo", f"sqlite:///{tmp_path}/other.db") == "entered"
        with pytest.raises(ModelBusyError):
            elsewhere("demo", "sqlite:///mlflow.db")  # the store of this test, seen from its folder


def test_a_process_that_is_killed_lets_go(store: str) -> None:
    code = (
        "import time; from pipelines.store.locks import exclusive\n"
        "with exclusive('demo'): print('entered', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "entered\n"
        with pytest.raises(ModelBusyError, match=f"process {other.pid} "):
            enter("demo")
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert enter("demo") == "entered"


def test_a_state_folder_that_cannot_be_made_is_told_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(TrackingError, match=r"which cannot be written .*: set XDG_STATE_HOME to a folder that can"):
        enter("demo")

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import TrackingError
from pipelines.store import database
from pipelines.store.database import ready

MAKE = "import sys; from pipelines.store.connection import connect; connect(None); print('ready')"


def making(folder: Path) -> subprocess.Popen[str]:
    """A process that uses a folder for the first time, without any setting of MLflow's."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", MAKE],
        cwd=folder,
        env=variables | {"XDG_STATE_HOME": str(folder.parent / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def made(_empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(_empty_store, tmp_path / "mlflow.db"))


def test_processes_that_begin_at_once_in_a_new_folder_all_find_a_whole_store(tmp_path: Path, made: Path) -> None:
    expected = tables(made)
    made.unlink()
    folder = tmp_path / "my plant%20#1"
    folder.mkdir()
    processes = [making(folder) for _ in range(3)]
    ends = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert [out for out, _ in ends] == ["ready\n"] * 3
    assert tables(folder / "mlflow.db") == expected
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my plant%20#1", "state"]


def sizes(folder: Path) -> list[int]:
    """Of the files there; a journal may go away while one looks."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(path.stat().st_size)
    return found


def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with making(folder) as process:
        while not any(size > 100_000 for size in sizes(folder)):  # many tables, not all
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (folder / "mlflow.db").exists()
    monkeypatch.setattr(database, "LEFT_SECONDS", -1.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(folder)
    ready("sqlite:///mlflow.db")
    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]


def test_an_empty_file_becomes_a_store_and_one_made_meanwhile_is_kept(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (new := tmp_path / "new").write_bytes(made.read_bytes())
    database._put(new, tmp_path / "empty.db")
    assert tables(tmp_path / "empty.db") == tables(made)
    change(made, "CREATE TABLE mine (x)")
    (new := tmp_path / "new").write_bytes((tmp_path / "empty.db").read_bytes())
    database._put(new, made)
    assert "mine" in tables(made)


def test_without_links_a_store_is_put_in_its_place_all_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    expected = tables(made)
    database._put(made, tmp_path / "there.db")
    assert tables(tmp_path / "there.db") == expected


def test_a_folder_that_cannot_be_written_is_told_with_a_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(TrackingError, match=r"mlflow\.db, which cannot be made \(.*\): work in a folder that can be"):
        ready(f"sqlite:///{tmp_path}/file/mlflow.db")


@pytest.mark.parametrize(("runs", "cure"), [(True, "make a copy of it, then run"), (False, "delete it, or run")])
def test_a_store_without_all_tables_is_refused_with_the_command_that_helps(
    made: Path, runs: bool, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MADE_SECONDS", -1.0)
    change(made, "DROP TABLE datasets")
    if runs:
        change(made, "INSERT INTO runs (run_uuid) VALUES ('a')")
    with pytest.raises(TrackingError, match="lacks 1 tables") as caught:
        ready(f"sqlite:///{made}")
    assert f"{cure}: mlflow db upgrade sqlite:///{made}" in str(caught.value)


def test_a_store_that_another_program_is_making_is_waited_for(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(made, "ALTER TABLE datasets RENAME TO later")
    monkeypatch.setattr(time, "sleep", lambda _: change(made, "ALTER TABLE later RENAME TO datasets"))
    ready(f"sqlite:///{made}")


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(TrackingError, match=r"MLflow at .*text\.db: file is not a database"):
        ready(f"sqlite:///{tmp_path}/text.db")
    change(tmp_path / "other.db", "CREATE TABLE flows (x)")
    with pytest.raises(TrackingError, match="is the database of another program"):
        ready(f"sqlite:///{tmp_path}/other.db")


def test_a_locked_store_is_told_in_one_line(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(made, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="database is locked: another process holds it"):
            ready(f"sqlite:///{made}")
    ready(f"sqlite:///{made}")


def test_other_stores_are_left_to_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("http://127.0.0.1:9", "postgresql://h/x", "sqlite:///:memory:", "file:///nowhere"):
        ready(uri)
    assert list(tmp_path.iterdir()) == []

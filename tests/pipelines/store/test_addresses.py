import contextlib
import shlex
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines.errors import TrackingError
from pipelines.store.addresses import (
    artifact_root,
    is_server,
    local_artifacts,
    short_uri,
    sqlite_path,
    sqlite_uri,
    ui_command,
    upgrade_command,
)

FOLDERS = (
    "plain",
    "my plant",
    "Werk Süd",
    "a%20b",
    "a%b",
    "a#b",
    "a?b",
    "Line 2 [north]",
    "it's",
    "50% & $HOME",
    "a;b",
)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_database_lies_in_the_very_folder_that_it_is_asked_for(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with contextlib.chdir(folder):
        engine = create_engine(sqlite_uri(folder / "mlflow.db"))
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE here (x)"))
        engine.dispose()
        found = sqlite_path(sqlite_uri(folder / "mlflow.db"))
        assert found is not None
        assert found.resolve() == folder / "mlflow.db"
        command = shlex.split(ui_command(sqlite_uri(folder / "mlflow.db")))
    assert sqlite3.connect(folder / "mlflow.db").execute("SELECT name FROM sqlite_master").fetchall() == [("here",)]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert command == ["mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db"]


def test_a_question_mark_that_cannot_be_avoided_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"has a question mark, .*: work in its folder"):
        sqlite_uri(tmp_path / "a?b" / "mlflow.db")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folder_of_artifacts_is_understood_as_it_is_meant(name: str, tmp_path: Path) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    (tmp_path / name / "mlruns").mkdir(parents=True)
    root = artifact_root(tmp_path / name)
    assert LocalArtifactRepository(root).artifact_dir == str(tmp_path / name / "mlruns")
    assert local_artifacts(root) == tmp_path / name / "mlruns"


def test_artifacts_elsewhere_have_no_folder_here() -> None:
    assert local_artifacts("s3://bucket/1/artifacts") is None
    assert local_artifacts("mlflow-artifacts:/1") is None


@pytest.mark.parametrize("uri", ["sqlite:///:memory:", "sqlite://", "sqlite:///file:x?uri=true", "http://h", "mlruns"])
def test_what_is_no_plain_file_has_no_path(uri: str) -> None:
    assert sqlite_path(uri) is None


def test_commands_can_be_pasted_and_show_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_uri(f"sqlite:///{tmp_path}/sub/runs.db") == "sqlite:///sub/runs.db"
    away = "sqlite:////other place/it's/mlflow.db"
    assert shlex.split(ui_command(away))[-1] == away
    assert shlex.split(upgrade_command(away)) == ["mlflow", "db", "upgrade", away]
    assert shlex.split(ui_command("postgresql://me:secret@h/x"))[-1] == "postgresql://me:***@h/x"


def test_a_server_is_known_by_its_scheme() -> None:
    assert is_server("https://h")
    assert not is_server("sqlite:///http.db")

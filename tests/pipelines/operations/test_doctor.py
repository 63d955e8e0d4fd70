import sqlite3
import time
from contextlib import closing
from pathlib import Path

import prefect
import pytest
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from pipelines.commands.operations import doctor as printed
from pipelines.errors import TrackingError
from pipelines.operations import doctor
from pipelines.operations.doctor import MIGRATIONS, Finding, clock, folder, foreign_revision, packages, prefect_api
from pipelines.operations.doctor import store as store_found


def test_packages_that_are_absent_or_of_another_version_are_named_with_the_command() -> None:
    assert packages().mend is None
    needed = ["numpy>=1", "polars>=99,<100", "no-such-package>=1", "also-absent; extra == 'dev'"]
    mend = packages(needed).mend
    assert mend is not None
    assert mend.startswith("pip install 'polars<100,>=99' (installed: ")
    assert mend.endswith("'no-such-package>=1' (not installed)")


def test_a_folder_has_room_and_can_be_written_to(tmp_path: Path) -> None:
    assert folder("here", tmp_path, least=0) == Finding("here", folder("here", tmp_path, 0).found)
    assert list(tmp_path.iterdir()) == []
    assert folder("here", tmp_path, least=1e30).mend == "free some: 1e+21 GB are little enough"
    unwritable = folder("here", Path("/proc")).mend
    assert unwritable is not None
    assert unwritable.startswith("let it be written to: ")


def test_a_store_that_is_not_there_yet_is_none_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/new.db"
    assert store_found(address).found == f"{address}: none yet, som train makes it"
    assert clock(address).mend is None
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_somebody_else_holds_is_named(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store_found(store) == Finding("tracking store", f"{store} answers")
    monkeypatch.setattr(doctor, "LOCK_SECONDS", 0.1)
    path = store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = store_found(store)
    assert "cannot be written to: database is locked" in found.found
    assert found.mend == f"free or unlock {path}"


def test_a_run_of_the_future_says_that_the_clock_is_behind(store: str) -> None:
    client = MlflowClient()
    client.create_run("0")
    assert clock(store).mend is None
    client.create_run("0", start_time=int((time.time() + 86_400) * 1000))
    assert clock(store).mend == "set the clock, see NTP"


def test_a_prefect_server_that_does_not_answer_and_a_foreign_home_are_named(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: "http://user:secret@127.0.0.1:1/api"}):
        silent = prefect_api()
    assert silent.mend is not None
    assert silent.mend.startswith("start it (som up), or unset PREFECT_API_URL")
    assert "secret" not in silent.found
    database(tmp_path / "prefect.db", "ffffffffffff")
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        foreign = prefect_api()
    assert "of another version of Prefect: revision ffffffffffff" in foreign.found
    assert foreign.mend is not None
    assert prefect.__version__ in foreign.mend


def test_a_database_of_this_version_of_prefect_is_not_foreign(tmp_path: Path) -> None:
    newest = max(path.stem for path in MIGRATIONS.glob("*.py") if path.stem[0].isdigit())
    database(tmp_path / "known.db", newest.split("_")[4])
    assert foreign_revision(tmp_path / "known.db") is None
    database(tmp_path / "empty.db", None)
    assert foreign_revision(tmp_path / "empty.db") is None
    assert foreign_revision(tmp_path / "absent.db") is None


def database(path: Path, revision: str | None) -> None:
    with closing(sqlite3.connect(path)) as connection:
        if revision is not None:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
            connection.commit()


def test_what_breaks_in_one_place_hides_no_other_and_is_printed_with_its_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def down(uri: str | None) -> Finding:
        raise TrackingError("MLflow at http://x [down] cannot be reached")

    monkeypatch.setattr(doctor, "store", down)
    monkeypatch.setattr(doctor, "clock", lambda uri: 1 / 0)
    for name in ("gpu", "packages", "prefect_api"):
        monkeypatch.setattr(doctor, name, lambda name=name: Finding(name, "fine"))
    monkeypatch.setattr(doctor, "folder", lambda place, path: Finding(place, "fine"))
    assert printed(None) is False
    out = capsys.readouterr().out
    assert "mend  tracking store: cannot be used\n      MLflow at http://x [down] cannot be reached\n" in out
    assert "mend  clock: cannot be examined\n      ZeroDivisionError: division by zero\n" in out
    assert out.count("well  ") == 5

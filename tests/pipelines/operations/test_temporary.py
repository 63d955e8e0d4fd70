"""A process of its own for each: what is tested is what a run finds where no test has set anything up."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import prefect
import pytest

RUN = """
import json, threading
import psutil
from prefect import flow, task
from prefect.settings import PREFECT_API_URL
from pipelines.errors import FlowEngineError
from pipelines.flows.prefect_run import this_run
from pipelines.operations.engine import flow_engine, run_flow
from pipelines.operations.orchestration import lasting_api

@task
def double(number): return 2 * number

@flow(name="som-doubled")
def doubled(number): return double(number), dict(this_run().tags), lasting_api()

try:
    with flow_engine() as wait:
        wait()
        result, tags, lasting = run_flow(doubled, 4)
        children = len(psutil.Process().children(recursive=True))
    after = str(PREFECT_API_URL.value())
    print(json.dumps([result, tags["prefect.flow_run_url"], lasting, children, after]))
except FlowEngineError as error:
    print(error)
"""
FINE = '[8, null, null, 0, "None"]'


def run(home: Path, **variables: str) -> str:
    """What the script says, which is all that anybody says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "XDG_"))}
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL", "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN],
        env={**kept, **quiet, **variables},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.strip()


def kept(home: Path) -> Path:
    return home / ".cache" / "som" / f"prefect-{prefect.__version__}.db"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a flow has run before, whatever another version of Prefect has left there."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".prefect").mkdir()
    (folder / ".prefect" / "prefect.db").write_text("of another world")
    assert run(folder) == FINE
    return folder


def test_a_run_keeps_an_empty_database_and_leaves_those_of_prefect_alone(home: Path) -> None:
    with sqlite3.connect(kept(home)) as database:
        assert database.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
    assert [path.name for path in (home / ".prefect").iterdir()] == ["prefect.db"]
    assert (home / ".prefect" / "prefect.db").read_text() == "of another world"


def test_the_kept_database_is_used_as_it_is(home: Path) -> None:
    before = kept(home).stat().st_mtime_ns
    assert run(home) == FINE
    assert kept(home).stat().st_mtime_ns == before


def test_a_damaged_one_is_made_anew(home: Path) -> None:
    whole = kept(home).read_bytes()
    kept(home).write_bytes(whole[: len(whole) // 2])
    assert run(home) == FINE
    with sqlite3.connect(kept(home)) as database:
        assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)


def test_without_a_place_to_keep_it_a_run_makes_its_own(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(home, XDG_CACHE_HOME=str(tmp_path / "file"), PREFECT_HOME=str(tmp_path / "file" / "prefect")) == FINE


def test_a_database_of_the_user_s_is_used_and_named_where_another_prefect_made_it(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.db"
    mine.write_bytes(kept(home).read_bytes())
    with sqlite3.connect(mine) as database:
        database.execute("UPDATE alembic_version SET version_num = 'f00dfeedf00d'")
    said = run(home, PREFECT_API_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{mine}")
    assert f"Prefect's database sqlite+aiosqlite:///{mine} cannot be used by Prefect {prefect.__version__}: " in said
    assert "f00dfeedf00d" in said
    assert "unset PREFECT_API_DATABASE_CONNECTION_URL" in said

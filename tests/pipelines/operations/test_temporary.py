"""What a run finds that has no Prefect API; the settings of Prefect are as where nobody has set any."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import prefect
import psutil
import pytest
from fastapi import FastAPI
from prefect import flow, task
from prefect.context import SettingsContext
from prefect.events.worker import EventsWorker
from prefect.server.database.dependencies import provide_database_interface, temporary_database_interface
from prefect.settings import PREFECT_API_URL, Profile, Settings

from pipelines.errors import FlowEngineError
from pipelines.flows.prefect_run import this_run
from pipelines.operations.engine import flow_engine, run_flow
from pipelines.operations.orchestration import lasting_api
from pipelines.operations.run_api import application
from pipelines.store.names import FLOW_PAGE_TAG
from tests.pipelines.conftest import REPOSITORY

RUN = "import json; from tests.pipelines.operations.test_temporary import found; print(json.dumps(found()))"
FINE = [8, None, None, 0, None]


@task
def double(number: int) -> int:
    return 2 * number


@flow(name="som-doubled")
def doubled(number: int) -> tuple[Any, ...]:
    return double(number), this_run().tags[FLOW_PAGE_TAG], lasting_api()


async def started(app: FastAPI) -> None:
    """Begin and end an application."""
    async with app.router.lifespan_context(app):
        pass


def family() -> int:
    return len(psutil.Process().children(recursive=True))


def found() -> list[Any]:
    """What a run returns, knows of its Prefect, and starts as processes; and what is set after it."""
    before = family()
    with flow_engine() as wait:
        wait()
        answers = run_flow(doubled, 4)
        processes = family() - before
    return [*answers, processes, PREFECT_API_URL.value()]


def variables(home: Path, **others: str) -> dict[str, str]:
    """Those of a user in this home who has set no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "XDG_"))}
    return {**kept, "HOME": str(home), **others}


@contextmanager
def fresh(home: Path, **others: str) -> Iterator[None]:
    """As in a new process of that user."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(there := variables(home, **others)):
            patch.delenv(name)
        for name, value in there.items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")  # what an earlier run still has to tell a server that is gone
        patch.setattr(EventsWorker, "_client_override", None)
        with (
            SettingsContext(profile=Profile(name="fresh", settings={}), settings=Settings()),
            temporary_database_interface(),  # Prefect keeps the address of the first database of a process
        ):
            yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a flow has run, in a process of its own, whatever another version of Prefect has left there."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".prefect").mkdir()
    (folder / ".prefect" / "prefect.db").write_text("of another world")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN],
        env=variables(folder, PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="CRITICAL"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == FINE
    return folder


def test_a_run_leaves_the_home_of_the_user_as_it_was(home: Path) -> None:
    assert [path.name for path in home.iterdir()] == [".prefect"]
    assert [path.name for path in (home / ".prefect").iterdir()] == ["prefect.db"]
    assert (home / ".prefect" / "prefect.db").read_text() == "of another world"


def test_a_run_needs_no_home_that_can_be_written(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with fresh(tmp_path / "file", PREFECT_HOME=str(tmp_path / "file" / "prefect")):
        assert found() == FINE


def test_the_tables_are_those_of_prefects_models_and_no_row_comes_twice(home: Path, tmp_path: Path) -> None:
    """What the API asks for: every column, and every key by which Prefect adds a row only where it is missing."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}"
    with fresh(home, PREFECT_API_DATABASE_CONNECTION_URL=url):
        models = provide_database_interface().Base.metadata.tables
        asyncio.run(started(application()))
    with sqlite3.connect(tmp_path / "prefect.db") as database:
        for name, table in models.items():
            assert [row[1] for row in database.execute(f"PRAGMA table_info({name})")] == list(table.columns.keys())
            unique = {
                tuple(column[2] for column in database.execute(f"PRAGMA index_info({index[1]!r})"))
                for index in database.execute(f"PRAGMA index_list({name})")
                if index[2]
            }
            assert {tuple(index.columns.keys()) for index in table.indexes if index.unique} <= unique


def test_a_database_of_the_user_s_is_used_and_named_where_another_prefect_made_it(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.db"
    with sqlite3.connect(mine) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('f00dfeedf00d')")
    address = f"sqlite+aiosqlite:///{mine}"
    with fresh(home, PREFECT_API_DATABASE_CONNECTION_URL=address), pytest.raises(FlowEngineError) as refused:
        found()
    said = str(refused.value)
    assert f"Prefect's database {address} cannot be used by Prefect {prefect.__version__}: " in said
    assert "f00dfeedf00d" in said
    assert "unset PREFECT_API_DATABASE_CONNECTION_URL" in said

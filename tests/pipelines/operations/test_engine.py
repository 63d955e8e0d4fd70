from pathlib import Path

import pytest
from prefect.context import SettingsContext
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    Profile,
    Settings,
    temporary_settings,
)

from pipelines.errors import FlowEngineError
from pipelines.operations.engine import quick_flows, start_engine


def test_flows_started_from_a_terminal_send_no_heartbeats_unless_the_user_wants_them() -> None:
    with SettingsContext(profile=Profile(name="fresh", settings={}), settings=Settings()), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == 60


def test_an_api_that_answers_is_waited_for(prefect_api: None) -> None:
    start_engine()()


def test_a_home_that_cannot_be_written_is_told_instead_of_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(home=tmp_path / "file" / "home")
    with (
        SettingsContext(profile=Profile(name="fresh", settings={}), settings=settings),
        pytest.raises(FlowEngineError, match=r"Prefect keeps its database in .*file/home, which cannot be written"),
    ):
        start_engine()


def test_an_api_that_does_not_answer_is_named_with_the_reason() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(FlowEngineError, match=r"Prefect API at http://127\.0\.0\.1:9/api cannot be reached: .*refused"),
    ):
        start_engine()()

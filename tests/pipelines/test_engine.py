import pytest
from prefect.context import SettingsContext
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    Profile,
    Settings,
    temporary_settings,
)

from pipelines.engine import quick_flows, start_engine
from pipelines.errors import FlowEngineError


def test_flows_started_from_a_terminal_send_no_heartbeats_unless_the_user_wants_them() -> None:
    with SettingsContext(profile=Profile(name="fresh", settings={}), settings=Settings()), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == 60


def test_an_api_that_answers_is_waited_for(prefect_api: None) -> None:
    start_engine()()


def test_an_api_that_does_not_answer_is_named_with_the_reason() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(FlowEngineError, match=r"Prefect API at http://127\.0\.0\.1:9/api cannot be reached: .*refused"),
    ):
        start_engine()()

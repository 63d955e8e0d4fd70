import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SettingsContext
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    Profile,
    Settings,
    temporary_settings,
)

from pipelines.errors import DatasetError, FlowEngineError
from pipelines.flows.prefect_run import publish_summary
from pipelines.operations.engine import flow_engine, quick_flows, run_flow
from pipelines.progress import listening
from tests.pipelines.test_progress import Recorder

AWAY = "http://127.0.0.1:9/api"  # where nothing answers


@contextmanager
def answering(status: int, body: str, kind: str = "application/json") -> Iterator[str]:
    """The address of a server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@flow(name="som-doubled")
def doubled(number: int) -> int:
    if number < 0:
        raise DatasetError("no rows")
    return 2 * number


def test_flows_started_from_a_terminal_send_no_heartbeats_unless_the_user_wants_them() -> None:
    with SettingsContext(profile=Profile(name="fresh", settings={}), settings=Settings()), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 2
    wanted: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60, PREFECT_CLIENT_MAX_RETRIES: 9}
    with temporary_settings(wanted), quick_flows():
        assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() == 60
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 9


def test_an_api_that_answers_is_waited_for(prefect_api: None) -> None:
    with flow_engine() as wait:
        wait()


def problem_of(address: str) -> str:
    with temporary_settings({PREFECT_API_URL: address}), flow_engine() as wait, pytest.raises(FlowEngineError) as found:
        wait()
    (line,) = found.value.problems
    assert "\n" not in line
    return line


def test_an_api_that_does_not_answer_is_named_with_the_reason() -> None:
    line = problem_of(AWAY)
    assert line.startswith("Prefect API at http://127.0.0.1:9/api: [Errno 111] Connection refused; start it, correct")


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, "{}", "application/json", ["401 Unauthorized", "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"]),
        (404, "{}", "application/json", ["404 Not Found", "no Prefect server answers there", "ends in /api"]),
        (200, "<html>a router</html>", "text/html", ["no Prefect server answers there"]),
        (200, "{}", "application/json", ["no Prefect server answers there"]),
        (500, "oops", "text/plain", ["500 Internal Server Error"]),
        (200, json.dumps("2.19.0"), "application/json", ["no Prefect server answers there"]),
    ],
)
def test_what_is_no_prefect_server_is_told_in_a_line_with_what_to_do(
    status: int, body: str, kind: str, words: list[str]
) -> None:
    with answering(status, body, kind) as address:
        line = problem_of(address)
    assert [word for word in (address, *words) if word not in line] == []


def test_a_password_in_the_address_is_not_told() -> None:
    assert "secret" not in problem_of("http://me:secret@127.0.0.1:9/api")


def test_a_server_of_another_major_version_is_refused(prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyncPrefectClient, "api_version", lambda self: "2.20.1")
    line = problem_of(str(PREFECT_API_URL.value()))
    assert "is of version 2.20.1" in line


# ---------------------------------------------------------------- running a flow


def test_a_flow_returns_its_result_and_raises_its_own_error(prefect_api: None) -> None:
    assert run_flow(doubled, 4) == 8
    with pytest.raises(DatasetError, match="no rows"):
        run_flow(doubled, -1)


def test_a_run_whose_server_ends_has_its_result_and_a_remark(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @flow(name="som-lonely")
    def lonely(number: int) -> int:
        monkeypatch.setattr(SyncPrefectClient, "set_flow_run_state", _refused)  # the server of all tests must stay
        return number

    recorder = Recorder()
    with listening(recorder):
        assert run_flow(lonely, 3) == 3
    (remark,) = recorder.heard
    assert str(remark).startswith("the run is complete, but Prefect could not be notified: Prefect API at")


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")
def test_a_summary_that_prefect_does_not_take_is_a_remark() -> None:
    recorder = Recorder()
    with temporary_settings({PREFECT_API_URL: AWAY}), listening(recorder):
        publish_summary("som-lonely", "| |")
    (remark,) = recorder.heard
    assert str(remark).startswith(f"som-lonely is not shown in Prefect: Prefect API at {AWAY}: ")


def _refused(self: SyncPrefectClient, *_: Any, **__: Any) -> None:
    SyncPrefectClient(AWAY).hello()

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType

from pipelines.flows import approval
from pipelines.flows.approval import Answer, asked_for_approval
from tests.pipelines.live import eventually

pytestmark = pytest.mark.usefixtures("prefect_api")
PAUSED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))


@flow
def asking(hours: float) -> Answer:
    return asked_for_approval("Shall demo version 2 serve?", hours)


@pytest.fixture
def deployed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "1b4cd7a2-0000-0000-0000-000000000000")
    monkeypatch.setattr(approval, "POLL_SECONDS", 0.2)


@contextmanager
def waiting() -> Iterator[tuple[FlowRun, "Future[Any]"]]:
    """A flow run that asks, and what will come of it."""
    with ThreadPoolExecutor(max_workers=1) as pool, get_client(sync_client=True) as client:
        future = pool.submit(copy_context().run, asking, 1.0)
        yield eventually(lambda: client.read_flow_runs(flow_run_filter=PAUSED))[0], future


@pytest.mark.usefixtures("deployed_run")
@pytest.mark.parametrize("answer", [Answer(True, "seen the maps"), Answer(False, "")])
def test_a_deployed_run_waits_for_a_person(answer: Answer) -> None:
    with waiting() as (run, future), get_client(sync_client=True) as client:
        client.resume_flow_run(run.id, run_input={"promote": answer.promote, "reason": answer.reason})
        assert future.result(timeout=60) == answer


@pytest.mark.usefixtures("deployed_run")
def test_silence_is_a_no() -> None:
    assert asking(1 / 3600) == Answer(False, "nobody approved it within 0.000277778 h")


def test_a_run_from_a_terminal_asks_nobody() -> None:
    assert asking(1.0) == Answer(None, "not run by a deployment, so that nobody could be asked")

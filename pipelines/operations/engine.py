"""Running a flow from a terminal: a Prefect API for it, and no waiting that helps nobody.

What a run leaves is in MLflow. Prefect is notified how it went; where it cannot be any more, because its server has
ended meanwhile, the run has its result all the same.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from pipelines.interruption import take_signals
from pipelines.operations.orchestration import API_PROBLEMS, described, prefect_errors, require_api
from pipelines.operations.temporary import temporary_server
from pipelines.progress import tell

RETRIES = 2  # of a request that an API in use does not answer: 2 and 4 s; Prefect's own 5 are a minute

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def flow_engine() -> Iterator[Callable[[], None]]:
    """Begin to reach the Prefect API, for flows inside of the block; the function given waits until it answers.

    Without `PREFECT_API_URL` it is one of this process, which takes a while to start; the caller has other things to
    load.

    Raises:
        FlowEngineError: The API cannot be started; or, from the function, not be reached.
    """
    with quick_flows():
        if PREFECT_API_URL.value() is None:
            with temporary_server() as wait:
                yield wait
        else:
            yield _contact()


def _contact() -> Callable[[], None]:
    """Ask the API of the user's settings for its version, in the background."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefect-contact")
    contact = pool.submit(copy_context().run, require_api)  # Prefect's settings live in the context
    pool.shutdown(wait=False)
    return contact.result


def run_flow(flow: Flow[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """What a flow returns; also where Prefect, at its end, cannot be reached.

    Raises:
        FlowEngineError: Prefect cannot be reached before the flow has done its work.
        Exception: Whatever the flow raises.
    """
    results: list[R] = []
    problems: list[Exception] = []

    @wraps(flow.fn)
    def watched(*arguments: P.args, **named: P.kwargs) -> R:
        take_signals()  # Prefect has its own handler of SIGTERM, which every further one interrupts
        try:
            results.append(flow.fn(*arguments, **named))
        except Exception as error:  # broad: whatever the flow raises is kept, and raised once Prefect is done with it
            problems.append(error)
            raise
        return results[0]

    try:
        return flow_of(flow, watched)(*arguments, **named)
    except API_PROBLEMS as error:
        if problems:  # of the work itself, whatever Prefect has made of it
            raise problems[0] from None
        if not results:
            with prefect_errors():
                raise
        tell([f"the run is complete, but Prefect could not be notified: {described(error)}"])
        return results[0]


def flow_of(flow: Flow[P, R], function: Callable[P, R]) -> Flow[P, R]:
    """A flow of the same name and settings that runs another function."""
    return Flow(function, name=flow.name, validate_parameters=flow.should_validate_parameters)


@contextmanager
def quick_flows() -> Iterator[None]:
    """Flow runs inside send no heartbeats and retry requests for seconds only, unless the user has set these.

    Heartbeats tell a server that a run on another machine is alive. Here the process that started the run is still
    waiting for it, and the thread that sends them costs every run the second that it sleeps.
    """
    ours = get_current_settings()
    settings: dict[Any, Any] = {}
    if "heartbeat_frequency" not in ours.flows.model_fields_set:
        settings[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None  # None cannot be given as a default
    if "max_retries" not in ours.client.model_fields_set:
        settings[PREFECT_CLIENT_MAX_RETRIES] = RETRIES
    with temporary_settings(settings):
        yield

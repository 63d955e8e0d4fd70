"""What the Prefect API knows of our deployments and flow runs."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import prefect
from httpx import DecodingError, HTTPError, HTTPStatusError, InvalidURL, RequestError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.server.schemas import schedules
from prefect.settings import PREFECT_API_URL
from pydantic import TypeAdapter

from pipelines.errors import FlowEngineError, PipelineError
from pipelines.masking import masked, masked_uri

FLOW_PREFIX = "som-"
REASON_CHARACTERS = 300
# What Prefect's client raises: of the connection, of the answer, of an answer that is none of Prefect's.
API_PROBLEMS = (HTTPError, InvalidURL, PrefectException, RuntimeError, ValueError)
TEMPORARY_API: ContextVar[str | None] = ContextVar("temporary_api", default=None)  # the one of this process, if any


@dataclass(frozen=True)
class Deployed:
    """A deployment of one of our flows.

    Attributes:
        id: In Prefect.
        flow: Name of its flow without `som-`: train, retrain, ...
        experiment: Name of the experiment that it runs.
        schedule: When it runs, for a person; empty where it runs on demand only.
        next_run: When it runs next, in UTC; None where it will not run by itself.
    """

    id: UUID
    flow: str
    experiment: str
    schedule: str
    next_run: datetime | None

    @property
    def name(self) -> str:
        """What Prefect's commands and UI call it."""
        return f"{FLOW_PREFIX}{self.flow}/{self.experiment}"


def lasting_api() -> str | None:
    """The address of the Prefect API, where it is one that still answers tomorrow; None where there is none."""
    address = PREFECT_API_URL.value()
    return None if address in (None, TEMPORARY_API.get()) else str(address)


def of_this_process() -> bool:
    """Whether the Prefect API is one that this process serves for the time of a run."""
    return PREFECT_API_URL.value() is not None and lasting_api() is None


def require_server() -> str:
    """The address of the Prefect API, where it is one that stays.

    Raises:
        FlowEngineError: There is none.
    """
    address = lasting_api()
    if address is None:
        raise FlowEngineError(
            "this needs a Prefect server that stays: set PREFECT_API_URL to one, `som up` starts one on this machine"
        )
    return address


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect API.

    Raises:
        FlowEngineError: It cannot be reached, or refuses.
    """
    with prefect_errors(), get_client(sync_client=True) as client:
        yield client


@contextmanager
def prefect_errors() -> Iterator[None]:
    """Turns what Prefect's client raises inside into one line with the address of the API."""
    try:
        yield
    except API_PROBLEMS as error:
        if isinstance(error, PipelineError):
            raise
        raise FlowEngineError(described(error)) from error


def described(error: Exception) -> str:
    """A problem with the Prefect API in one line, with its address."""
    reason = " ".join(str(error).split()).partition("For more information check")[0] or type(error).__name__
    return f"Prefect API at {_address()}: {_shortened(masked(reason, PREFECT_API_URL.value()))}"


def require_api() -> None:
    """Make sure that the Prefect API of the settings answers, and is of a version that understands our client.

    Raises:
        FlowEngineError: Nothing answers there, or something else does; with what to do.
    """
    try:
        with get_client(sync_client=True) as client:
            version = client.api_version()
            client.read_flows(limit=1)  # whoever may ask for the version need not be allowed to do more
        major = int(str(version).partition(".")[0])
    except API_PROBLEMS as error:
        raise FlowEngineError(f"{described(error)}; {_advice(error)}") from error
    if major != int(prefect.__version__.partition(".")[0]):
        raise FlowEngineError(
            f"Prefect API at {_address()} is of version {version}, but {prefect.__version__} is used here"
        )


def _advice(error: Exception) -> str:
    if isinstance(error, HTTPStatusError) and error.response.status_code in (401, 403):
        return "set PREFECT_API_KEY or PREFECT_API_AUTH_STRING to what it asks for"
    if isinstance(error, RequestError) and not isinstance(error, DecodingError):
        return "start it, correct PREFECT_API_URL, or unset it to run without a server"
    return "no Prefect server answers there: correct PREFECT_API_URL, which ends in /api, or unset it"


def _address() -> str:
    return str(masked_uri(PREFECT_API_URL.value())) if PREFECT_API_URL.value() else "its temporary address"


def _shortened(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS else f"{reason[:REASON_CHARACTERS]}…"


def deployed(experiment: str) -> list[Deployed]:
    """The deployments of an experiment, in the order of their flows' names.

    Raises:
        FlowEngineError: The Prefect API cannot be reached, or refuses.
    """
    with prefect_client() as client:
        found = client.read_deployments(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[experiment]))
        )
        flows = {each.flow_id: client.read_flow(each.flow_id).name for each in found}
    ours = [each for each in found if flows[each.flow_id].startswith(FLOW_PREFIX)]
    return sorted((_deployed(each, flows[each.flow_id]) for each in ours), key=lambda each: each.flow)


@dataclass(frozen=True)
class FlowRunLife:
    """What Prefect knows of whether a flow run lives.

    Attributes:
        ended: Name of the state that it ended in, None where Prefect takes it for going on.
        heartbeat: When it was last heard of, in UTC; None where it sends no heartbeats, or they are forgotten.
    """

    ended: str | None
    heartbeat: datetime | None


def flow_run_life(flow_run_id: str) -> FlowRunLife | None:
    """Whether a flow run lives, as far as Prefect knows; None where it has no such run.

    Raises:
        FlowEngineError: The Prefect API cannot be reached, or refuses.
    """
    with prefect_client() as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
        except (ObjectNotFound, ValueError):
            return None
        ended = run.state.name if run.state is not None and run.state.is_final() else None
        return FlowRunLife(ended, _heartbeat(client, flow_run_id))


def _heartbeat(client: SyncPrefectClient, flow_run_id: str) -> datetime | None:
    newest_first = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run_id}"]),
        order=EventOrder.DESC,
    )
    events = client.read_events(newest_first, limit=1).events
    return max((event.occurred for event in events), default=None)


def _deployed(found: DeploymentResponse, flow: str) -> Deployed:
    active = [] if found.paused else [each.schedule for each in found.schedules if each.active]
    return Deployed(
        id=found.id,
        flow=flow.removeprefix(FLOW_PREFIX),
        experiment=found.name,
        schedule="; ".join(sorted(_told(each) for each in active)),
        next_run=_next_run(active),
    )


def _next_run(active: Sequence[Any]) -> datetime | None:
    """The first time of several schedules; asked of Prefect's own calendar, for it makes the runs only in a while."""
    calendar = TypeAdapter(schedules.SCHEDULE_TYPES)
    now = datetime.now(UTC)
    times = [
        time
        for each in active
        for time in asyncio.run(calendar.validate_python(each.model_dump()).get_dates(1, start=now))
    ]
    return min(times, default=None)


def _told(schedule: Any) -> str:
    """A schedule for a person."""
    zone = getattr(schedule, "timezone", None) or "UTC"
    for kind in ("cron", "rrule"):
        if hasattr(schedule, kind):
            return f"{getattr(schedule, kind)} ({zone})"
    return f"every {schedule.interval}"

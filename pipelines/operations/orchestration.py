"""What the Prefect API knows of our deployments and flow runs."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.filters import EventFilter, EventNameFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.server.schemas import schedules
from prefect.settings import PREFECT_API_URL
from pydantic import TypeAdapter

from pipelines.errors import FlowEngineError

FLOW_PREFIX = "som-"


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


def require_server() -> str:
    """The address of the Prefect API, where it is one that stays.

    Raises:
        FlowEngineError: There is only the temporary one of this process.
    """
    address = PREFECT_API_URL.value()
    if address is None:
        raise FlowEngineError(
            "this needs a Prefect server that stays: set PREFECT_API_URL to one, `som up` starts one on this machine"
        )
    return str(address)


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
    except (HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        if isinstance(error, FlowEngineError):
            raise
        address = PREFECT_API_URL.value() or "its temporary address"
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise FlowEngineError(f"Prefect API at {address}: {reason}") from error


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

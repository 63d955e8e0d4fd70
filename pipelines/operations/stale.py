"""Runs that MLflow calls running though nobody runs them any more, such as those of a worker that was killed.

A run is taken for dead only on evidence; one that may live is left alone. What is known, from the surest down:

1. Its process, where it ran on this machine: lives or does not.
2. Its flow run in Prefect: heard of within minutes, ended, or gone.
3. Its silence: no start, point of a curve or heartbeat for many hours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect.settings import PREFECT_UI_URL

from pipelines.operations.orchestration import FlowRunLife, flow_run_life, lasting_api
from pipelines.store.connection import tracking_store
from pipelines.store.names import FLOW_PAGE_TAG, FLOW_RUN_TAG, PROCESS_TAG
from pipelines.store.origin import RunFacts
from pipelines.store.processes import ProcessName
from pipelines.store.runs import close, last_point, open_runs

SILENCE = timedelta(hours=24)
FRESH = timedelta(minutes=10)  # Prefect's flows send a heartbeat every three minutes


@dataclass(frozen=True)
class Evidence:
    """What is known of a run that MLflow calls running.

    Attributes:
        process_lives: None where it cannot be seen from here.
        ended: How Prefect says that its flow run ended; None where it does not say so.
        heartbeat: When Prefect last heard of it, in UTC; None where it never has.
        last_sign: When anybody last did, its start included.
    """

    process_lives: bool | None
    ended: str | None
    heartbeat: datetime | None
    last_sign: datetime


@dataclass(frozen=True)
class StaleRun:
    """A run that nobody runs any more.

    Attributes:
        run: Which one.
        reason: How one knows.
    """

    run: RunFacts
    reason: str


def why_dead(evidence: Evidence, now: datetime, silence: timedelta = SILENCE) -> str | None:
    """How one knows that a run is dead; None where it may live.

    Args:
        evidence: What is known of it.
        now: In UTC.
        silence: How long nothing may be heard of a run that nothing else is known of.
    """
    heard = evidence.heartbeat is not None and now - evidence.heartbeat < FRESH
    if evidence.process_lives or heard:
        return None
    if evidence.process_lives is False:
        return "its process is gone"
    if evidence.ended is not None:
        return f"its flow run is {evidence.ended} in Prefect"
    if now - evidence.last_sign >= silence:
        return f"nothing was heard of it since {evidence.last_sign:%Y-%m-%d %H:%M} UTC"
    return None


def stale_runs(silence: timedelta = SILENCE) -> list[StaleRun]:
    """The runs in the current tracking store that nobody runs any more.

    Args:
        silence: See `why_dead`.

    Raises:
        TrackingError: MLflow cannot be reached, or refuses.
        FlowEngineError: Prefect cannot be reached, where `PREFECT_API_URL` says that it knows of flow runs.
    """
    now = datetime.now(UTC)
    examined = ((run, why_dead(evidence(run), now, silence)) for run in open_runs())
    return [StaleRun(run, reason) for run, reason in examined if reason is not None]


def close_stale_runs(uri: str | None = None, silence: timedelta = SILENCE) -> list[StaleRun]:
    """Mark the runs that nobody runs any more as FAILED, each with its reason in the tag `som.failure`.

    Args:
        uri: The tracking store; None takes MLflow's own settings.
        silence: See `why_dead`.

    Returns:
        Those that were closed.

    Raises:
        TrackingError: See `stale_runs`.
        FlowEngineError: See `stale_runs`.
    """
    with tracking_store(uri):
        return [stale for stale in stale_runs(silence) if close(stale.run.run_id, f"left open: {stale.reason}")]


def evidence(run: RunFacts, look_up: Callable[[str], FlowRunLife | None] = flow_run_life) -> Evidence:
    """What is known of a run.

    Args:
        run: An open run of ours.
        look_up: Asks Prefect for a flow run.
    """
    process = ProcessName.parse(run.tags.get(PROCESS_TAG, ""))
    lives = process.lives() if process else None
    life = None if lives else _life(run, look_up)  # nothing that Prefect says could count more
    heartbeat = life.heartbeat if life else None
    signs = (run.started, last_point(run.run_id), heartbeat)
    return Evidence(
        process_lives=lives,
        ended=life.ended if life else None,
        heartbeat=heartbeat,
        last_sign=max(sign for sign in signs if sign is not None),
    )


def _life(run: RunFacts, look_up: Callable[[str], FlowRunLife | None]) -> FlowRunLife | None:
    """What Prefect knows of a run.

    That it knows nothing says something only where the run was made with this server: another team's server, or the
    temporary one of a laptop, may know it well.
    """
    flow_run_id = run.tags.get(FLOW_RUN_TAG)
    if flow_run_id is None or lasting_api() is None:
        return None
    life = look_up(flow_run_id)
    made_here = run.tags.get(FLOW_PAGE_TAG, "").startswith(str(PREFECT_UI_URL.value()))
    return FlowRunLife("gone", None) if life is None and made_here else life


def lines(closed: Sequence[StaleRun]) -> Iterator[tuple[str, str]]:
    """Name and reason of each, for a terminal."""
    for each in closed:
        yield each.run.name, f"{each.run.experiment}, started {each.run.started:%Y-%m-%d %H:%M} UTC: {each.reason}"

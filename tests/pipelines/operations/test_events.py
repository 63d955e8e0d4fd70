from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter

from pipelines.flows.refresh import refresh_flow
from pipelines.operations.events import DRIFT_DETECTED, model_resource
from tests.pipelines.live import eventually
from tests.pipelines.refreshed import LAST, LATER, NEW, Served, first_version, retrain_meanwhile, runs, served_in


@pytest.fixture
def served(_empty_store: Path, store: str, tmp_path: Path) -> Served:
    (tmp_path / "trained").mkdir()
    return served_in(first_version(_empty_store, tmp_path / "trained"), tmp_path)


def test_the_names_that_automations_know_do_not_change() -> None:
    # Automations that were made by an earlier version wait for these.
    assert DRIFT_DETECTED == "som.drift.detected"
    assert model_resource("weather") == "som.model.weather"


def drift_events(since: datetime) -> list[Any]:
    """Those that Prefect has taken in: once it has a mark that is sent after them, it has them all."""
    mark = f"test.mark.{since.timestamp()}"
    emit_event(mark, resource={"prefect.resource.id": "test"})
    names, occurred = EventNameFilter(name=[DRIFT_DETECTED, mark]), EventOccurredFilter(since=since)

    def taken_in() -> list[Any] | None:
        with get_client(sync_client=True) as client:
            events = client.read_events(EventFilter(event=names, occurred=occurred), limit=50).events
        return events if mark in (each.event for each in events) else None

    return [each for each in eventually(taken_in) if each.event != mark]


def test_drift_is_recorded_and_told_once_of_each_map(served: Served, server: str) -> None:
    start = datetime.now(UTC)
    anything = served.config(refresh={"rmse_ratio": None, "coverage": None, "fallback": None})
    for rows, name in ((NEW, "new"), (LATER, "later"), (LAST, "last")):
        served.add(rows.with_columns(pl.col("a") + 6), name)
        assert refresh_flow(anything).outcome == "promoted"
        if name == "later":
            retrain_meanwhile(served)
    assert [run.data.tags["som.map_version"] for run in runs()] == ["4", "1", "1"]
    assert [run.data.tags["som.drift"].partition(":")[0] for run in runs()] == ["drift"] * 3
    assert all(run.data.metrics["drift/feature/a"] > 0.25 for run in runs())
    both = drift_events(start)
    assert len(both) == 2
    assert {event.resource.id for event in both} == {"som.model.demo"}
    assert all("a: mean moved by" in event.payload["reasons"] for event in both)

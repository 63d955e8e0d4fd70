"""Let the local models of what serves learn new labelled rows: find, evaluate, learn, log, publish."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect import flow

from pipelines.errors import ChampionChanged
from pipelines.flows import refresh_tasks as tasks
from pipelines.flows.prefect_run import publish_summary, this_run
from pipelines.monitoring.drift import DriftReport
from pipelines.operations.events import drift_detected
from pipelines.progress import Stages, tell
from pipelines.refreshing.acceptance import settings_digest
from pipelines.refreshing.new_rows import NewRows, require_dated_models
from pipelines.refreshing.refresh_result import RefreshResult, idle_reason
from pipelines.serving.smoke import smoke_test
from pipelines.settings.config import PipelineConfig
from pipelines.store import registry
from pipelines.store.connection import tracking_store
from pipelines.store.finished import Work
from pipelines.store.names import (
    CHAMPION,
    DRIFT_TAG,
    KIND_TAG,
    MAP_TAG,
    MODEL_TAG,
    PARENT_TAG,
    ROWS_TAG,
    VERDICT_REASON_TAG,
    VERDICT_TAG,
    WATERMARK_BEFORE_TAG,
    WATERMARK_TAG,
)
from pipelines.store.origin import RunFacts, environment_tags
from pipelines.store.run_life import open_run
from pipelines.store.run_place import RunPlace, place_of
from pipelines.store.runs import last_run
from pipelines.store.tracking import REASON_CHARACTERS, TrackedRun
from pipelines.store.versions import Version

KIND = "refresh"
REPEATS = 3  # times that another champion may come in between
REPORT = "refresh.json"


@flow(name="som-refresh")
def refresh_flow(config: PipelineConfig) -> RefreshResult:
    """Let the local models of the champion learn the labelled rows that have come since, if they were predicted well.

    What comes of it is a new version with the same map, which takes the champion's place once it has passed a smoke
    test. Where rows are refused the champion stays, and they are evaluated again with those that come next. Where none
    have come nothing is written: an empty run every hour would bury those that say something.

    Args:
        config: The experiment.

    Raises:
        ChampionChanged: Again and again, another version took the champion's place in between.
        pipelines.errors.PipelineError: There is no champion with local models, the data cannot be used, or the new
            version does not pass its smoke test. The MLflow run, if there is one by then, is FAILED with the reason in
            its tag `som.failure`.
    """
    for _ in range(REPEATS):
        try:
            return _refresh(config)
        except ChampionChanged as error:
            tell([str(error)])
    return _refresh(config)


def _refresh(config: PipelineConfig) -> RefreshResult:
    """One attempt, on whichever version serves now."""
    stages, me = Stages(), this_run()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(tracking_store(config.tracking.uri))
        with stages("fetch"):
            champion = registry.holding(config.model_name, CHAMPION)
            model = tasks.fetch(champion, folder / "model")
            local = require_dated_models(model, config, f"{champion.name} version {champion.version}")
            before = str(local.watermark)
        with stages("find"):
            new_rows = tasks.find_new_rows(model, local, config)
            tell(new_rows.remarks)
        work = Work(KIND, settings_digest(config), new_rows.dataset.sha256, champion.version)
        last = last_run(config.experiment_name, KIND)
        if idle := _nothing_to_do(champion, new_rows, before, config, work, last):
            return RefreshResult("idle", [idle], champion, new_rows, (before, before), stages.seconds)
        facts = _facts(champion, new_rows, before)
        tags = {**environment_tags(), **me.tags, **work.tags, **facts}
        run = stack.enter_context(open_run(config.experiment_name, None, tags, me.name))
        with stages("judge", rows=len(new_rows.samples)):
            run.params(config.resolved())
            run.dataset(new_rows.dataset, config.name)
            acceptance = tasks.evaluate(model, local, new_rows, champion.metrics, config)
            run.metrics(acceptance.metrics)
            _tell_drift(config.model_name, acceptance.drift, facts, last)
        published, refits = None, {}
        if acceptance.passes:
            with stages("learn", rows=len(new_rows.samples)):
                tasks.learn(local, new_rows.samples, config.jitl)
                refits = tasks.refit(local)
                run.metrics({"refits": float(len(refits))})
            with stages("log"):
                model_id, digest = tasks.log_model(run, model, new_rows.dataset.examples, step=0)
                facts |= {WATERMARK_TAG: str(local.watermark), MODEL_TAG: digest}
            with stages("publish"):
                new = tasks.register(champion.name, model_id, run.run_id, work.key, facts)
                published = tasks.promote(
                    champion.name, new.version, expected=champion.version, check=smoke_test, reason=_learned(new_rows)
                )
        result = RefreshResult(
            outcome="kept" if published is None else "promoted",
            reasons=acceptance.reasons,
            champion=champion,
            new_rows=new_rows,
            watermarks=(before, str(local.watermark)),
            seconds=stages.seconds,
            acceptance=acceptance,
            run=RunPlace(**place_of(run, config.experiment_name)),
            published=published,
            refits=refits,
        )
        _record(run, facts, result, folder)
        run.metrics(stages.metrics())
    publish_summary(f"som-refresh-{config.name}", result.markdown())
    return result


def _nothing_to_do(
    champion: Version, new_rows: NewRows, mark: str, config: PipelineConfig, work: Work, last: RunFacts | None
) -> str:
    """Why there is nothing to do; empty where there is something."""
    if not new_rows.new:
        return idle_reason(champion, new_rows, mark, config.refresh.fewest_rows)
    if last is not None and last.tags.get(VERDICT_TAG) == "kept" and work.tags.items() <= last.tags.items():
        return f"run {last.name} has refused these rows, and none have come since: {last.tags[VERDICT_REASON_TAG]}"
    return ""


def _facts(champion: Version, new_rows: NewRows, before: str) -> dict[str, str]:
    """Where a refreshed version comes from, for its tags and those of its run."""
    return {
        KIND_TAG: KIND,
        PARENT_TAG: champion.version,
        MAP_TAG: champion.tags.get(MAP_TAG, champion.version),
        ROWS_TAG: str(len(new_rows.samples)),
        WATERMARK_BEFORE_TAG: before,
    }


def _tell_drift(name: str, drift: DriftReport | None, facts: Mapping[str, str], last: RunFacts | None) -> None:
    """Send the event where rows have drifted from the map, unless the refresh before found so already.

    What retrains on it may take longer than the hour until the next refresh: started each time, it would never end.
    """
    tags = {} if last is None else last.tags
    known = tags.get(DRIFT_TAG, "").startswith("drift") and tags.get(MAP_TAG) == facts[MAP_TAG]
    if drift is not None and drift.level == "drift" and not known:
        drift_detected(name, {"level": drift.level, "reasons": "; ".join(drift.reasons), **drift.metrics})


def _learned(new_rows: NewRows) -> str:
    return "refreshed with new rows: " + ", ".join(f"{count} of {target}" for target, count in new_rows.new.items())


def _record(run: TrackedRun, facts: Mapping[str, str], result: RefreshResult, folder: Path) -> None:
    """Leave the verdict in the run: as tags, and with all its sentences as a file."""
    acceptance = result.acceptance
    if acceptance is not None:
        found = {
            VERDICT_TAG: result.outcome,
            VERDICT_REASON_TAG: "; ".join(result.reasons),
            DRIFT_TAG: acceptance.drift_text,
        }
        run.tags({**facts, **{name: text[:REASON_CHARACTERS] for name, text in found.items()}})
        (folder / REPORT).write_text(json.dumps(acceptance.to_dict(), indent=1) + "\n", encoding="utf-8")
        run.file(folder / REPORT, REPORT)
